//! What a feature read on Redis costs beside a bare pipelined HMGET of the same bytes.
//!
//! `cargo bench --bench online [-- READS]`: a Redis of its own holds 50,000 customers and 50,000 terminals with 20 transactions each, as a
//! mirror of an embedded store wrote them. Then rows of service `fraud`, of random customers and terminals, are read in turns: by
//! floodmark, in process, over one connection; and as one pipeline of HMGET that asks for every field of the same hashes by name. Prints
//! JSON. Client and server share the machine's cores.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/harness/redis.rs"]
#[allow(dead_code)]
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_features::definition::Definitions;
use floodmark_features::key::{encode_key, hash_key, partition_of};
use floodmark_features::lookup::{Ask, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_ingest::replay::{Input, replay};
use floodmark_store::redis::{Mirror, Reader};
use floodmark_store::{Settings, Store};
use serde_json::json;

const CUSTOMERS: i64 = 50_000;
const TERMINALS: i64 = 50_000;
const EVENTS: i64 = 20 * CUSTOMERS;
const START: i64 = 1_522_540_800_000_000;
const STEP: i64 = 2_000_000;

fn main() {
    let reads = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).next().unwrap_or(40_000);
    let Some(redis) = server::Redis::start(None) else { return };
    let home = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/floodmark.yaml")).unwrap();
    let definitions = Arc::new(Definitions::parse("floodmark.yaml", &text).unwrap());
    let store = Arc::new(Store::open(&home.path().join("store"), definitions.clone(), &text, Settings::default()).unwrap());
    let file = home.path().join("transactions.jsonl");
    std::fs::write(&file, events()).unwrap();
    replay(&store, &[Input { source: "transactions".to_owned(), path: file }], &mut |_| ()).unwrap();
    let settings = redis.settings("bench");
    Mirror::attach(store.clone(), &settings).unwrap().catch_up().unwrap();
    let reader = Reader::open(settings, definitions.clone()).unwrap();
    let lookup = Lookup::of_service(definitions.clone(), 0);
    let mut bare = Bare::connect(&redis.url(), &definitions, store.partitions());
    let (mut ours, mut theirs, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..reads {
        let mut below = |bound: i64| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            (chance % bound as u64) as i64
        };
        let (customer, terminal) = (below(CUSTOMERS), below(TERMINALS));
        let as_of = Time::from_micros(START + EVENTS * STEP - below(EVENTS / 10) * STEP);
        let keys = [ValueRef::Int(customer), ValueRef::Int(terminal)];
        let request = [ValueRef::Float(12.5), ValueRef::Time(as_of)];
        let ask = Ask { keys: &keys, request: &request, as_of, version: None, own_event: None, mode: Mode::AsServed };
        let fields = bare.fields(customer, terminal);
        let began = Instant::now();
        let answer = reader.read(&lookup, &[ask]).pop().unwrap();
        ours.push(began.elapsed());
        assert!(answer.is_ok(), "{answer:?}");
        let began = Instant::now();
        bytes += bare.read(&fields);
        theirs.push(began.elapsed());
    }
    let (ours, theirs) = (percentiles(ours), percentiles(theirs));
    let ratio = |at: usize| ours[at] / theirs[at];
    println!(
        "{}",
        json!({
            "reads": reads, "entities": CUSTOMERS + TERMINALS, "events": EVENTS, "bytes_of_a_read": bytes / reads,
            "floodmark": { "p50_us": ours[0], "p99_us": ours[1] }, "hmget": { "p50_us": theirs[0], "p99_us": theirs[1] },
            "ratio": { "p50": ratio(0), "p99": ratio(1) },
        })
    );
}

fn events() -> String {
    let line = |n: i64| {
        format!(
            "{{\"transaction_id\":{n},\"tx_datetime\":{},\"customer_id\":{},\"terminal_id\":{},\"amount\":{}.25,\"fraud\":{}}}\n",
            START + n * STEP,
            n * 7919 % CUSTOMERS,
            n * 104_729 % TERMINALS,
            n % 300,
            n % 113 == 0
        )
    };
    (0..EVENTS).map(line).collect()
}

/// Microseconds: p50, p99.
fn percentiles(mut all: Vec<Duration>) -> [f64; 2] {
    all.sort_unstable();
    [0.5, 0.99].map(|share| all[((all.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6)
}

/// A hash and its fields, as a command is given them.
type Hash = (Vec<u8>, Vec<Vec<u8>>);

/// The bare client.
struct Bare {
    connection: redis::Connection,
    /// Positions of the views of service `fraud`, and whether each is of a customer.
    views: Vec<(u16, bool)>,
    partitions: usize,
}

impl Bare {
    fn connect(url: &str, definitions: &Definitions, partitions: usize) -> Bare {
        let connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let named = |name: &str| definitions.views.iter().position(|view| view.name == name).unwrap() as u16;
        Bare { connection, views: vec![(named("customer_spend"), true), (named("terminal_risk"), false)], partitions }
    }

    /// Where the timelines of a row are, and what is in them: asked beforehand.
    fn fields(&mut self, customer: i64, terminal: i64) -> Vec<Hash> {
        let mut all = Vec::new();
        for (view, of_customer) in self.views.clone() {
            let mut key = Vec::new();
            encode_key(&[ValueRef::Int(if of_customer { customer } else { terminal })], &mut key);
            let partition = partition_of(hash_key(&key), self.partitions);
            let mut hash = format!("fm:{{bench:{partition}}}:t:").into_bytes();
            hash.extend(view.to_be_bytes());
            hash.extend(key);
            let fields: Vec<Vec<u8>> = redis::cmd("HKEYS").arg(&hash).query(&mut self.connection).unwrap();
            assert!(!fields.is_empty(), "the hash is there");
            all.push((hash, fields));
        }
        all
    }

    /// Bytes that were read.
    fn read(&mut self, hashes: &[Hash]) -> usize {
        let mut pipe = redis::pipe();
        for (hash, fields) in hashes {
            pipe.cmd("HMGET").arg(hash).arg(fields);
        }
        let found: Vec<Vec<Vec<u8>>> = pipe.query(&mut self.connection).unwrap();
        found.iter().flatten().map(Vec::len).sum()
    }
}
