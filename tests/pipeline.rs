//! The pipeline over several processes, on a real Kafka and a real Redis: what route and apply make of a topic is what the embedded store
//! makes of the same records, whoever shares the work.

mod away;
mod given;
mod lost;
mod moving;
pub(crate) mod world;
mod zombie;

use std::path::Path;
use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_store::redis::Reader;
use floodmark_store::{Settings, Store};
use serde_json::{Value, json};

use crate::crash::{DEFINITIONS, EVENTS, write_payments};
use crate::harness::kafka::{Kafka, Record, until};
use crate::harness::real::{floodmark_lines, printed, text};
use crate::harness::redis::Redis;
use crate::push::start_defined;
use world::World;

/// Rows to be asked about: each card with a shop, as of several times.
pub(crate) fn asked(definitions: &Arc<Definitions>, read: &mut dyn FnMut(&Lookup, &Ask<'_>) -> Answer) -> Vec<Answer> {
    let lookup = Lookup::of_service(definitions.clone(), 0);
    let mut answers = Vec::new();
    for card in 0..701 {
        for hours in [10, 60, 138, 200] {
            let shop = format!("s{}", card % 41);
            let keys = [ValueRef::Int(card), ValueRef::Str(&shop)];
            let as_of = Time::from_micros(1_700_000_000_000_000 + hours * 3_600_000_000);
            let ask = Ask { keys: &keys, request: &[], as_of, version: None, own_event: None, mode: Mode::AsServed };
            // Versions are times of day.
            answers.push(Answer { version: 0, ..read(&lookup, &ask) });
        }
    }
    answers
}

/// What the online store answers.
pub(crate) fn online(redis: &Redis, name: &str) -> Vec<Answer> {
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let reader = Reader::open(redis.settings(name), definitions.clone()).expect("a reader");
    asked(&definitions, &mut |lookup, ask| reader.read(lookup, &[*ask]).pop().expect("one").expect("an answer"))
}

/// What the embedded store answers.
pub(crate) fn embedded(store: &Path) -> Vec<Answer> {
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let store = Store::open(store, definitions.clone(), DEFINITIONS, Settings::default()).expect("a store");
    asked(&definitions, &mut |lookup, ask| {
        let mut answer = Answer::default();
        store.read(lookup, ask, &mut answer).expect("an answer");
        answer
    })
}

/// The embedded store's lines of a side output, in order of their text.
pub(crate) fn kept(store: &Path, command: &str) -> Vec<String> {
    let mut lines: Vec<String> = printed(&[command, "--store", &text(store), "--json"]).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// The same of a topic.
pub(crate) fn sent(kafka: &Kafka, topic: &str) -> Vec<String> {
    let mut lines: Vec<String> = kafka.committed(topic).into_iter().map(|(_, value)| value).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn one_partition_becomes_what_the_embedded_store_makes_of_it() {
    let (Some(kafka), Some(redis)) = (Kafka::shared(), Redis::start(None)) else { return };
    let mut world = World::new(&kafka, &redis, "one", DEFINITIONS, "payments");
    let file = world.home().join("payments.jsonl");
    write_payments(&file);
    let payments = std::fs::read_to_string(&file).expect("payments");
    kafka.make_topic("one-in", 1);
    kafka.produce("one-in", payments.lines().map(|line| Record { partition: 0, payload: Some(line.as_bytes()), timestamp: None }));
    let store = world.home().join("store");
    embed(&world, &store, &format!("payments=kafka://{}/one-in", kafka.bootstrap), EVENTS);
    world.route("a", &["one-in"]);
    world.apply("a");
    world.until_taken("spend", EVENTS);
    until("a status that says so", || {
        let (pipeline, input) = (format!("kafka://{}/one", kafka.bootstrap), format!("payments=kafka://{}/one-in", kafka.bootstrap));
        let lines = floodmark_lines(&["status", "--json", "--pipeline", &pipeline, &input]);
        let [source, log @ ..] = lines.as_slice() else { return false };
        assert_eq!((source["partition"].as_str(), &source["next_offset"], &source["lag"]), (Some("one-in-0"), &json!(EVENTS), &json!(0)));
        assert_eq!(log.len(), 4);
        let same = |line: &Value| line["watermarks"]["payments"] == source["watermark"] && line["held_back_by"]["payments"] == "one-in-0";
        log.iter().all(|line| line["lag"] == 0 && same(line))
    });
    let metrics = world.workers[0].metrics().expect("a page");
    assert_eq!(metrics["floodmark_pipeline_read_total{role=\"route\",source=\"payments\"}"], EVENTS as f64);
    world.stop_all();
    assert!(online(&redis, "one") == embedded(&store), "answers");
    for (command, topic, least) in [("late", "one.late", 5_000), ("windows", "one.windows", 50_000), ("rejects", "one.rejects", 50)] {
        let (kept, sent) = (kept(&store, command), sent(&kafka, topic));
        eprintln!("{topic}: {} kept, {} sent", kept.len(), sent.len());
        assert!(kept.len() > least && kept == sent, "{topic}");
    }
}

/// Lets the embedded store read what the pipeline reads.
pub(crate) fn embed(world: &World, store: &Path, input: &str, events: u64) {
    let running = start_defined(&world.definitions(), store, &["--http", "127.0.0.1:0", input]);
    let read = || world::metrics(&running.http).unwrap_or_default().get("floodmark_events_read_total{source=\"payments\"}").copied();
    until(&format!("{events} records"), || read().is_some_and(|read| read as u64 >= events));
    running.terminate();
    assert!(running.ended(), "it ends in order");
}
