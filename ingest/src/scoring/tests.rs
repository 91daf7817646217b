//! What a scorer is given, when, and what its answers do.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use floodmark_features::definition::Definitions;
use floodmark_features::key::EventId;
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode, OwnEvent};
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_store::{ScoreRecord, Settings};

use floodmark_proto::v1::value::Kind;

use super::*;
use crate::replay::{Input, replay_scored};

/// Without an event id: an event is known by where it stands.
const DEFINITIONS: &str = r#"
sources:
  payments:
    schema: { at: timestamp, card: int64, shop: string, amount: float64, known: bool }
    event_time: at
    max_out_of_orderness: 1m
entities:
  card: { keys: [card] }
  shop: { keys: [shop] }
views:
  spend: { entity: card, source: payments, features: { n: { count: "*", windows: [1h] }, sum: { sum: amount, windows: [1h] } } }
  load: { entity: shop, source: payments, features: { n: { count: "*", windows: [1h] } } }
services:
  all: { features: [spend.*, load.*] }
"#;

fn open(directory: &Path) -> Arc<Store> {
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    Arc::new(Store::open(&directory.join("store"), definitions, DEFINITIONS, Settings::default()).expect("a store"))
}

/// Payments of three cards, a few at the same instant; one line is broken, and one lies in the future.
fn payments(directory: &Path) -> PathBuf {
    let line = |n: i64| match n {
        17 => "no event\n".to_owned(),
        23 => format!("{{\"at\":{},\"card\":1,\"shop\":\"a\"}}\n", i64::MAX / 2),
        _ => format!("{{\"at\":{},\"card\":{},\"shop\":\"s{}\",\"amount\":{n}.5,\"known\":true}}\n", n / 3 * 60_000_000, n % 3, n % 2),
    };
    let path = directory.join("payments.jsonl");
    std::fs::write(&path, (0..90).map(line).collect::<String>()).expect("a file");
    path
}

fn scoring(scorer: impl Fn(&Events) -> Result<Option<Vec<Vec<u8>>>, StoreError> + Send + Sync + 'static) -> Option<Scoring> {
    Some(Scoring { sources: vec![0], scorer: Arc::new(scorer) })
}

fn take(store: &Arc<Store>, path: PathBuf, scoring: Option<Scoring>) -> Result<(), String> {
    let input = Input { source: "payments".to_owned(), path };
    replay_scored(store, &[input], scoring, &mut |_| ()).map(|_| ()).map_err(|error| error.to_string())
}

/// The values of a row, as a scorer reads them.
fn own_event(row: &v1::EntityRow) -> OwnEvent {
    let event = row.event.as_ref().expect("an event");
    let value = |value: &v1::Value| match &value.kind {
        None | Some(Kind::ListValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(*b),
        Some(Kind::Int64Value(i)) => Value::Int(*i),
        Some(Kind::DoubleValue(x)) => Value::Float(*x),
        Some(Kind::StringValue(s)) => Value::Str(s.as_str().into()),
        Some(Kind::TimestampMicros(t)) => Value::Time(Time::from_micros(*t)),
    };
    let fields: Vec<Value> = event.values.iter().map(value).collect();
    let (Some(v1::Value { kind: Some(Kind::Int64Value(id)) }), Value::Time(time)) = (&event.id, &fields[0]) else { panic!("{event:?}") };
    OwnEvent { source: 0, id: EventId::Int(*id), time: *time, fields: Some(fields), exclude: false }
}

fn read(store: &Store, event: &OwnEvent, version: u64, with_itself: bool) -> Vec<Value> {
    let lookup = Lookup::of_service(store.definitions().clone(), 0);
    let fields = event.fields.as_ref().expect("fields");
    let keys: Vec<_> = lookup.keys.columns.iter().map(|key| fields[if key.name == "card" { 1 } else { 2 }].as_ref()).collect();
    let own_event = with_itself.then_some(event);
    let ask = Ask { keys: &keys, request: &[], as_of: event.time, version: Some(version), own_event, mode: Mode::AsServed };
    let mut answer = Answer::default();
    store.read(&lookup, &ask, &mut answer).expect("an answer");
    answer.cells.into_iter().map(|cell| cell.value).collect()
}

#[test]
fn events_without_an_id_are_known_by_where_they_stand() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let asked = store.clone();
    let seen = Arc::new(Mutex::new(0));
    let counted = seen.clone();
    let scorer = move |events: &Events| {
        assert_eq!((events.request.rows.len(), events.version), (events.sequences.len(), asked.version()));
        let mut records = Vec::new();
        for (n, row) in events.request.rows.iter().enumerate() {
            let event = own_event(row);
            // Three payments an instant, of three cards: nobody else is at a card's instant, so with and without itself is the same.
            let (with, without) = (read(&asked, &event, events.version, true), read(&asked, &event, events.version, false));
            assert_eq!(with[..2], without[..2], "row {n} counts itself once");
            records.push(n.to_be_bytes().to_vec());
        }
        *counted.lock().expect("a count") += records.len();
        Ok(Some(records))
    };
    take(&store, payments(home.path()), scoring(scorer)).expect("a replay");
    assert_eq!(*seen.lock().expect("a count"), 88, "all but the broken one and the one in the future");
    let mut sequences = Vec::new();
    let each = |record: ScoreRecord| {
        sequences.push(record.sequence);
        true
    };
    store.scores(each).expect("scores");
    assert_eq!(sequences, (0..88).collect::<Vec<u64>>());
    assert_eq!(store.waiting_for_scores(), []);
}

#[test]
fn a_scorer_that_is_not_ready_is_asked_again() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let scorer = move |events: &Events| {
        let ready = count.fetch_add(1, Ordering::Relaxed) >= 2;
        Ok(ready.then(|| vec![Vec::new(); events.sequences.len()]))
    };
    take(&store, payments(home.path()), scoring(scorer)).expect("a replay");
    assert_eq!((calls.load(Ordering::Relaxed), store.waiting_for_scores()), (3, Vec::new()));
}

#[test]
fn what_was_not_scored_waits_and_comes_first() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    // It dies at work, so to speak: fewer records than events.
    let failed = take(&store, payments(home.path()), scoring(|_| Ok(Some(Vec::new())))).expect_err("no record for an event");
    assert!(failed.contains("one record for each event"), "{failed}");
    drop(store);
    let store = open(home.path());
    let before = store.waiting_for_scores();
    assert_eq!(before.iter().map(|waiting| waiting.events).sum::<u64>(), 88);
    // Without a scorer nothing happens to it, and a checkpoint loses nothing.
    let more = home.path().join("more.jsonl");
    std::fs::write(&more, "{\"at\":1,\"card\":7,\"shop\":\"z\"}\n").expect("a file");
    take(&store, more, None).expect("a replay");
    assert_eq!(store.waiting_for_scores(), before);
    let last = home.path().join("last.jsonl");
    std::fs::write(&last, "{\"at\":9000000000,\"card\":7,\"shop\":\"z\"}\n").expect("a file");
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let scorer = move |events: &Events| {
        seen.lock().expect("a list").push(events.sequences.len());
        Ok(Some(vec![Vec::new(); events.sequences.len()]))
    };
    take(&store, last, scoring(scorer)).expect("a replay");
    assert_eq!(*order.lock().expect("a list"), [88, 1]);
}
