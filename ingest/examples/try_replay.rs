use std::sync::Arc;
use floodmark_features::definition::Definitions;
use floodmark_features::lookup::*;
use floodmark_features::value::*;
use floodmark_features::time::Time;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[1]).unwrap();
    let d = Arc::new(Definitions::parse("x", &text).unwrap());
    let t = std::time::Instant::now();
    let store = Arc::new(floodmark_store::Store::open(std::path::Path::new(&args[2]), d.clone(), &text, Default::default()).unwrap());
    println!("open {:?} version {} tally {:?}", t.elapsed(), store.version(), store.tally(0));
    let s = floodmark_ingest::replay::replay(&store, &[floodmark_ingest::replay::Input { source: "transactions".into(), path: args[3].clone().into() }], &mut |_| ()).unwrap();
    println!("{s:?} rate {}", s.tally.read as f64 / s.seconds);
    println!("memory {} MB", store.memory() >> 20);
    let service = d.service("fraud").unwrap().0;
    let lookup = Lookup::of_service(d.clone(), service);
    let mut a = Answer::default();
    for round in 0..3 {
        let n = 200_000u64;
        let mut x = 88172645463325252u64;
        let t = std::time::Instant::now();
        for _ in 0..n {
            x ^= x << 13; x ^= x >> 7; x ^= x << 17;
            let keys = [ValueRef::Int((x % 4990) as i64), ValueRef::Int((x >> 20) as i64 % 10000)];
            let at = Time::from_micros(1522540800_000000 + ((x >> 34) % (183 * 86400)) as i64 * 1_000_000);
            store.read(&lookup, &Ask { keys: &keys, request: &[ValueRef::Null, ValueRef::Null], as_of: at, version: None, own_event: None, mode: Mode::AsServed }, &mut a).unwrap();
        }
        println!("round {round}: {:?} a read", t.elapsed() / n as u32);
    }
    println!("{a:?}");
}
