//! Disorder: input shuffled within the allowed out-of-orderness changes nothing, and what comes later than that is found in
//! the late side output with its outcome, while reads, training sets and a recount in plain loops agree on all the rest.

use std::path::Path;
use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::engine::Outcome;
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::{Value, ValueRef};
use floodmark_ingest::replay::{Input, replay};
use floodmark_store::{Settings, Store};

const EVENTS: usize = 60_000;
pub(crate) const CARDS: u64 = 150;
const SECOND: i64 = 1_000_000;
pub(crate) const DAY: i64 = 86_400 * SECOND;

pub(crate) const DEFINITIONS: &str = r#"
sources:
  payments:
    schema: { id: int64, at: timestamp, card: int64, amount: float64 }
    event_time: at
    event_id: id
    max_out_of_orderness: 1m
entities:
  card: { keys: [card] }
views:
  rolling:
    entity: card
    source: payments
    features:
      n: { count: "*", windows: [1d, 30d] }
      mean: { mean: amount, windows: [1d, 30d] }
  daily:
    entity: card
    source: payments
    features:
      n: { count: "*", windows: [{ tumbling: 1d }] }
services:
  all: { features: [rolling.*, daily.*] }
"#;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Payment {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) card: i64,
    pub(crate) amount: f64,
    pub(crate) visible: i64,
    pub(crate) behind: bool,
}

/// A small generator, the same everywhere.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

pub(crate) fn payments() -> Vec<Payment> {
    let mut chance = Chance(77);
    let mut at = 1_600_000_000 * SECOND;
    let payment = |id| {
        at += chance.below(300) as i64 * SECOND;
        let (card, cents) = (chance.below(CARDS) as i64, chance.below(50_000));
        Payment { id, at, card, amount: cents as f64 / 100.0, visible: at, behind: false }
    };
    (0..EVENTS as i64).map(payment).collect()
}

/// Sorted by when they arrive, each with the time from which it counts, by the rules (T6, T9).
pub(crate) fn arriving(mut payments: Vec<(i64, Payment)>) -> Vec<Payment> {
    payments.sort_by_key(|(arrival, payment)| (*arrival, payment.id));
    let mut newest = i64::MIN / 2;
    let arrive = |(_, mut payment): (i64, Payment)| {
        let watermark = newest - 60 * SECOND - 1;
        payment.visible = payment.at.max(watermark + 1);
        payment.behind = payment.visible > payment.at;
        newest = newest.max(payment.at);
        payment
    };
    payments.into_iter().map(arrive).collect()
}

fn store_of(directory: &Path, payments: &[Payment]) -> (Arc<Store>, Lookup) {
    store_with(directory, payments, DEFINITIONS, Settings::default())
}

/// A store of these payments, in this order of arrival.
pub(crate) fn store_with(directory: &Path, payments: &[Payment], text: &str, settings: Settings) -> (Arc<Store>, Lookup) {
    let lines: String =
        payments.iter().map(|p| format!("{{\"id\":{},\"at\":{},\"card\":{},\"amount\":{}}}\n", p.id, p.at, p.card, p.amount)).collect();
    let file = directory.join("payments.jsonl");
    std::fs::write(&file, lines).expect("a file");
    let definitions = Arc::new(Definitions::parse("definitions.yaml", text).expect("definitions"));
    let store = Store::open(&directory.join("store"), definitions.clone(), text, settings).expect("a store");
    let store = Arc::new(store);
    let summary = replay(&store, &[Input { source: "payments".to_owned(), path: file }], &mut |_| ()).expect("a replay");
    assert_eq!(summary.tally.read, EVENTS as u64);
    assert_eq!(summary.tally.read, summary.tally.accepted + summary.tally.late + summary.tally.rejected + summary.tally.duplicates);
    (store, Lookup::of_service(definitions, 0))
}

pub(crate) fn read(store: &Store, lookup: &Lookup, card: i64, as_of: i64, mode: Mode) -> Vec<Value> {
    let keys = [ValueRef::Int(card)];
    let ask = Ask { keys: &keys, request: &[], as_of: Time::from_micros(as_of), version: None, own_event: None, mode };
    let mut answer = Answer::default();
    store.read(lookup, &ask, &mut answer).expect("an answer");
    answer.cells.into_iter().map(|cell| cell.value).collect()
}

/// `n` and `mean` over the last day and 30 days, and `n` of the last whole day, by filtering everything.
fn recount(payments: &[Payment], card: i64, as_of: i64, mode: Mode) -> Vec<Value> {
    let corrected = mode == Mode::AsCorrected;
    let (mut counts, mut means) = (Vec::new(), Vec::new());
    let of_card = || payments.iter().filter(|p| p.card == card);
    for days in [1, 30] {
        let inside = of_card().filter(|p| p.at > as_of - days * DAY && p.at <= as_of && (corrected || p.visible <= as_of));
        // Late beyond the last value that could hold it: in the side output only.
        let amounts: Vec<f64> = inside.filter(|p| p.visible < p.at + 30 * DAY).map(|p| p.amount).collect();
        counts.push(Value::Int(amounts.len() as i64));
        means.push(if amounts.is_empty() { Value::Null } else { Value::Float(amounts.iter().sum::<f64>() / amounts.len() as f64) });
    }
    let end = (as_of + 1).div_euclid(DAY) * DAY;
    let today = of_card().filter(|p| p.at >= end - DAY && p.at < end);
    let seen = today.filter(|p| p.visible < p.at.div_euclid(DAY) * DAY + DAY);
    let count = seen.count();
    [counts, means, vec![Value::Int(count as i64)]].concat()
}

fn same(a: &[Value], b: &[Value]) -> bool {
    let close = |(a, b): (&Value, &Value)| match (a, b) {
        (Value::Float(a), Value::Float(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
        _ => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(close)
}

#[test]
fn a_shuffle_within_a_minute_changes_nothing() {
    let (home, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let mut chance = Chance(5);
    let ordered = payments();
    let shuffled = arriving(ordered.iter().map(|p| (p.at + chance.below(60) as i64 * SECOND, *p)).collect());
    assert!(shuffled.windows(2).any(|pair| pair[0].at > pair[1].at) && shuffled.iter().all(|p| !p.behind));
    let (in_order, lookup) = store_of(home.path(), &ordered);
    let (disordered, _) = store_of(other.path(), &shuffled);
    for payment in &ordered {
        let [a, b] = [&in_order, &disordered].map(|store| read(store, &lookup, payment.card, payment.at, Mode::AsServed));
        assert_eq!(a, b, "to the bit: {payment:?}");
    }
}

#[test]
fn what_comes_too_late_is_named_and_the_rest_agrees() {
    let home = tempfile::tempdir().expect("a directory");
    let mut chance = Chance(6);
    let mut delay = |p: &Payment| match chance.below(1_000) {
        0 => p.at + 120 * SECOND + chance.below(60 * 86_400) as i64 * SECOND,
        _ => p.at + chance.below(60) as i64 * SECOND,
    };
    let arrived = arriving(payments().iter().map(|p| (delay(p), *p)).collect());
    let behind: Vec<&Payment> = arrived.iter().filter(|p| p.behind).collect();
    assert!(behind.len() > 20, "{}", behind.len());
    let (store, lookup) = store_of(home.path(), &arrived);

    let mut found = Vec::new();
    store
        .late_events(|event| {
            found.push((event.event_id.clone(), event.view, event.outcome));
            true
        })
        .expect("late events");
    found.sort();
    let mut expected = Vec::new();
    for p in &behind {
        let rolling = if p.visible < p.at + 30 * DAY { Outcome::PartiallyLate } else { Outcome::Late };
        let daily = if p.visible < p.at.div_euclid(DAY) * DAY + DAY { Outcome::PartiallyLate } else { Outcome::Late };
        expected.extend([(p.id.to_string(), 0, rolling), (p.id.to_string(), 1, daily)]);
    }
    expected.sort();
    assert_eq!(found, expected);

    let last = arrived.iter().map(|p| p.at).max().unwrap_or_default();
    for n in 0..600 {
        let payment = &arrived[chance.below(EVENTS as u64) as usize];
        let as_of = if n % 2 == 0 { payment.at } else { last - chance.below(100 * 86_400) as i64 * SECOND };
        for mode in [Mode::AsServed, Mode::AsCorrected] {
            let (got, want) = (read(&store, &lookup, payment.card, as_of, mode), recount(&arrived, payment.card, as_of, mode));
            assert!(same(&got, &want), "card {} as of {as_of} {mode:?}: {got:?} and not {want:?}", payment.card);
        }
    }
}
