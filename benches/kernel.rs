//! What a read costs as a key grows, and what ingest costs as windows and disorder grow. In process, one thread.
//!
//! `cargo bench --bench kernel`

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use floodmark_features::definition::Definitions;
use floodmark_features::engine::Shard;
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode};
use floodmark_features::time::{Span, Time};
use floodmark_features::value::ValueRef;
use floodmark_features::watermark::SourceProgress;
use floodmark_intake::batch::SourceBatch;
use floodmark_intake::columns::arrow_schema;
use floodmark_intake::offsets::Offsets;
use floodmark_intake::router::Router;
use floodmark_store::{Commit, Settings, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FRAUD: &str = include_str!("../examples/fraud/floodmark.yaml");
const DAY: i64 = 86_400_000_000;
const START: i64 = 1_522_540_800_000_000;

fn main() {
    divan::main();
}

/// Transactions `(time, customer, terminal)` as a source batch.
fn batch(definitions: &Definitions, rows: &[(i64, i64, i64)], first_id: i64) -> SourceBatch {
    let schema = arrow_schema(&definitions.sources[0].schema);
    let ids: Int64Array = (0..rows.len() as i64).map(|i| first_id + i).collect::<Vec<_>>().into();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| (r.0 / 1_000_000 % 10_000) as f64 / 100.0))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|r| Some(r.0 % 7 == 0)))),
    ];
    let columns = RecordBatch::try_new(schema, columns).expect("the source's columns");
    SourceBatch {
        offsets: Offsets::Range(0..rows.len() as u64),
        end: rows.len() as u64,
        appended: Vec::new(),
        rejects: Vec::new(),
        columns,
    }
}

/// A store whose customer 1 and terminal 1 have `events` events in 30 days.
fn hot_key(events: i64) -> (tempfile::TempDir, Store, Lookup) {
    filled((0..events).map(|i| (START + i * (30 * DAY / events), 1, 1)))
}

/// A store with these transactions.
fn filled(rows: impl Iterator<Item = (i64, i64, i64)>) -> (tempfile::TempDir, Store, Lookup) {
    let definitions = Arc::new(Definitions::parse("floodmark.yaml", FRAUD).expect("definitions"));
    let home = tempfile::tempdir().expect("a directory");
    let store = Store::open(home.path(), definitions.clone(), FRAUD, Settings::default()).expect("a store");
    let mut router = Router::new(store.plan().clone(), 0, store.partitions(), store.progress(0));
    let partition = router.progress_mut().open("bench");
    let all: Vec<(i64, i64, i64)> = rows.collect();
    for (n, rows) in all.chunks(32_768).enumerate() {
        let routed = router.route(&batch(&definitions, rows, n as i64 * 32_768), partition, Time::from_micros(START + 200 * DAY));
        let mut commits = [routed];
        let versions = store.commit(&mut commits, Time::from_micros(START + n as i64)).expect("a commit");
        let outputs = store.apply_on_all_cores(versions[0], &commits[0]).expect("applied");
        store.publish(versions[0], &commits[0], outputs);
    }
    let lookup = Lookup::of_service(definitions.clone(), definitions.service("fraud").expect("the service").0);
    (home, store, lookup)
}

/// All twelve features of one customer and one terminal, as of moments spread over the last days.
#[divan::bench(args = [10, 100, 1_000, 10_000, 100_000, 1_000_000], sample_count = 1_000)]
fn read_twelve_features(bencher: divan::Bencher<'_, '_>, events: i64) {
    let (_home, store, lookup) = hot_key(events);
    let keys = [ValueRef::Int(1), ValueRef::Int(1)];
    let mut answer = Answer::default();
    let mut moment = 0;
    let mut read = || {
        moment = (moment + 7_919_000_003) % (8 * DAY);
        let as_of = Time::from_micros(START + 30 * DAY + moment);
        let ask = Ask { keys: &keys, request: &[ValueRef::Null; 2], as_of, version: None, own_event: None, mode: Mode::AsServed };
        store.read(&lookup, &ask, &mut answer).expect("an answer");
        answer.version
    };
    // Partials are made when they are first asked for; here they are to be there.
    (0..10_000).for_each(|_| {
        read();
    });
    bencher.bench_local(read);
}

/// The same of any of 5,000 customers and 10,000 terminals with half a year of events, as of any time in the last days: in no cache.
#[divan::bench(args = [1, 183], sample_count = 1_000, sample_size = 100)]
fn read_of_random_entities(bencher: divan::Bencher<'_, '_>, days: i64) {
    const EVENTS: i64 = 1_750_000;
    let (_home, store, lookup) = filled((0..EVENTS).map(|i| (START + i * (183 * DAY / EVENTS), i * 48_271 % 5_000, i * 69_621 % 10_007)));
    let mut answer = Answer::default();
    let mut state = 1_i64;
    let mut below = |bound: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((i128::from(state as u64 >> 1) * i128::from(bound)) >> 63) as i64
    };
    let mut read = || {
        let keys = [ValueRef::Int(below(5_000)), ValueRef::Int(below(10_007))];
        let as_of = Time::from_micros(START + (183 - days) * DAY + below(days * DAY));
        let ask = Ask { keys: &keys, request: &[ValueRef::Null; 2], as_of, version: None, own_event: None, mode: Mode::AsServed };
        store.read(&lookup, &ask, &mut answer).expect("an answer");
        answer.version
    };
    (0..200_000).for_each(|_| {
        read();
    });
    bencher.bench_local(read);
}

fn sliding_windows(windows: usize) -> String {
    let list: Vec<String> = (1..=windows).map(|n| format!("{{ sliding: {}m, every: 5m }}", n * 5)).collect();
    format!(
        "sources:\n  transactions:\n    schema: {{ transaction_id: int64, tx_datetime: timestamp, customer_id: int64, terminal_id: int64, amount: float64, fraud: bool }}\n    event_time: tx_datetime\n    event_id: transaction_id\n    max_out_of_orderness: 1m\nentities:\n  customer: {{ keys: [customer_id] }}\nviews:\n  spend:\n    entity: customer\n    source: transactions\n    features:\n      total: {{ sum: amount, windows: [{}] }}\n",
        list.join(", ")
    )
}

/// Routes and applies 100,000 events of 5,000 customers; `disordered` of a hundred come up to an hour late.
fn route_and_apply(bencher: divan::Bencher<'_, '_>, text: &str, disordered: i64) {
    const EVENTS: i64 = 100_000;
    let definitions = Arc::new(Definitions::parse("bench.yaml", text).expect("definitions"));
    let plan = Arc::new(floodmark_features::engine::EnginePlan::new(definitions.clone()));
    let late = |i: i64| if i * 37 % 100 < disordered { (i * 7_919 % 3_600) * 1_000_000 } else { 0 };
    let rows: Vec<_> = (0..EVENTS).map(|i| (START + i * 1_000_000 - late(i), i * 48_271 % 5_000, i % 10_000)).collect();
    let input = batch(&definitions, &rows, 0);
    bencher.counter(divan::counter::ItemsCount::new(EVENTS as usize)).bench_local(|| {
        let mut router = Router::new(plan.clone(), 0, 1, SourceProgress::new(Span::from_secs(3_600)));
        let partition = router.progress_mut().open("bench");
        let commit: Commit = router.route(&input, partition, Time::MAX);
        let mut shard = Shard::new(plan.clone());
        let mut outputs = floodmark_features::engine::Outputs::default();
        for (at, section) in commit.partitions[0].iter().enumerate() {
            shard.apply(at, section, 0..section.len(), 1, &commit.trail, 0, &mut outputs);
        }
        shard.bytes()
    });
}

#[divan::bench(args = [1, 8, 80], sample_count = 20)]
fn ingest_with_sliding_windows(bencher: divan::Bencher<'_, '_>, windows: usize) {
    route_and_apply(bencher, &sliding_windows(windows), 0);
}

#[divan::bench(args = [0, 10], sample_count = 20)]
fn ingest_with_percent_out_of_order(bencher: divan::Bencher<'_, '_>, percent: i64) {
    route_and_apply(bencher, &sliding_windows(8), percent);
}
