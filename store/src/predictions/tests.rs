//! Records come back in the order of time, the oldest make room, and a store of before opens.

use std::path::Path;
use std::sync::Arc;

use floodmark_features::definition::Definitions;

use super::*;
use crate::Settings;

const TEXT: &str = r#"
sources:
  payments:
    schema: { id: int64, at: timestamp, card: int64 }
    event_time: at
    event_id: id
entities:
  card: { keys: [card] }
views:
  spend:
    entity: card
    source: payments
    features: { n: { count: "*", windows: [1h] } }
services:
  all: { features: [spend.*] }
"#;

fn open(directory: &Path) -> Store {
    let definitions = Arc::new(Definitions::parse("payments.yaml", TEXT).expect("a store that works"));
    Store::open(directory, definitions, TEXT, Settings::default()).expect("a store that works")
}

fn record(at: i64, text: &str) -> (Time, Vec<u8>) {
    (Time::from_micros(at), text.as_bytes().to_vec())
}

fn between(store: &Store, from: i64, to: i64) -> Vec<String> {
    let mut found = Vec::new();
    let each = |key: PredictionKey, bytes: &[u8]| {
        found.push(format!("{}:{}", key.at.micros(), String::from_utf8_lossy(bytes)));
        true
    };
    store.predictions(PredictionKey::between(Time::from_micros(from), Time::from_micros(to)), each).expect("a store that works");
    found
}

fn all(store: &Store) -> Vec<String> {
    between(store, i64::MIN, i64::MAX)
}

#[test]
fn records_come_back_in_the_order_of_time() {
    let home = tempfile::tempdir().expect("a store that works");
    let store = open(home.path());
    assert!(all(&store).is_empty(), "a store without the table has none");
    store.append_predictions(&[record(5, "c"), record(-7, "a"), record(5, "d")], u64::MAX, false).expect("a store that works");
    store.append_predictions(&[record(0, "b"), record(5, "e")], u64::MAX, true).expect("a store that works");
    assert_eq!(all(&store), ["-7:a", "0:b", "5:c", "5:d", "5:e"]);
    assert_eq!(between(&store, -7, 0), ["-7:a", "0:b"]);
    assert!(between(&store, 9, 3).is_empty());
    let mut last = None;
    let first_two = |key: PredictionKey, _: &[u8]| last.replace(key).is_none();
    store.predictions(PredictionKey::between(Time::NONE, Time::MAX), first_two).expect("a store that works");
    assert_eq!(last.expect("a store that works"), PredictionKey { at: Time::from_micros(0), counter: 3 });
    drop(store);
    let store = open(home.path());
    store.append_predictions(&[record(5, "f")], u64::MAX, true).expect("a store that works");
    assert_eq!(between(&store, 5, 5), ["5:c", "5:d", "5:e", "5:f"], "numbers go on after opening");
}

#[test]
fn the_oldest_make_room() {
    let home = tempfile::tempdir().expect("a store that works");
    let store = open(home.path());
    let of_ten_bytes = |at| record(at, "0123456789");
    let three = 3 * (10 + LENGTH) as u64;
    store.append_predictions(&[of_ten_bytes(1), of_ten_bytes(2), of_ten_bytes(3)], three, false).expect("a store that works");
    assert_eq!((all(&store).len(), store.prediction_bytes().expect("a store that works")), (3, three));
    let appended = store.append_predictions(&[of_ten_bytes(4), of_ten_bytes(5)], three, false).expect("a store that works");
    assert_eq!(appended, Appended { removed: 2, bytes: three });
    assert_eq!(between(&store, 0, 9), ["3:0123456789", "4:0123456789", "5:0123456789"]);
    let appended = store.append_predictions(&[], 5, false).expect("a store that works");
    assert_eq!(appended, Appended { removed: 3, bytes: 0 }, "a bound that is less than one record keeps none");
}
