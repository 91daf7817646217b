//! A story that can be followed by hand. What happens by chance is told where the kernel is held to the same rules.

use floodmark_features::definition::Definitions;

use super::*;
use crate::sum::exact_sum;

const DEFINITIONS: &str = "
sources:
  taps:
    schema: { id: int64, at: timestamp, card: int64, amount: float64 }
    event_time: at
    event_id: id
    max_out_of_orderness: 10s
entities: { card: { keys: [card] } }
views:
  spent:
    entity: card
    source: taps
    ttl: 2m
    features:
      sum: { sum: amount, windows: [60s, { tumbling: 60s }, { session: 20s }] }
      mean: { mean: amount, windows: [60s], default: -1 }
";

fn event(id: i64, second: i64, seen: i64, amount: f64) -> Event {
    let at = |second: i64| Time::from_micros(second * 1_000_000);
    Event { time: at(second), id: EventId::Int(id), visible_from: at(seen), version: 1, values: vec![Value::Float(amount)] }
}

fn values(recount: &Recount<'_>, second: i64, mode: Mode) -> Vec<(Value, Status)> {
    let moment = Moment { as_of: Time::from_micros(second * 1_000_000), version: 1, mode };
    (0..4).map(|output| recount.value(output, &moment)).map(|r| (r.value.value(), r.status)).collect()
}

fn floats(recount: &Recount<'_>, second: i64, mode: Mode) -> Vec<Value> {
    values(recount, second, mode).into_iter().map(|(value, _)| value).collect()
}

#[test]
fn a_story_told_by_hand() {
    let definitions = Definitions::parse("d.yaml", DEFINITIONS).expect("definitions");
    let mut recount = Recount::new(&definitions.views[0]);
    let of = |numbers: [f64; 4]| numbers.map(Value::Float).to_vec();
    assert_eq!(values(&recount, 0, Mode::AsServed), [0.0, 0.0, 0.0, -1.0].map(|x| (Value::Float(x), Status::NotFound)));
    assert_eq!(recount.take(event(1, 10, 10, 1.0)), Fate::Accepted);
    assert_eq!(recount.take(event(2, 25, 25, 2.0)), Fate::Accepted);
    assert_eq!(recount.take(event(2, 25, 26, 2.0)), Fate::Duplicate);
    // Of minute 0, seen in minute 1: the minute was told, the last 60 s may still change.
    assert_eq!(recount.take(event(3, 30, 70, 4.0)), Fate::PartiallyLate);
    // Nothing that holds it can change.
    assert_eq!(recount.take(event(4, 5, 300, 8.0)), Fate::Late);
    assert_eq!(floats(&recount, 40, Mode::AsServed), of([3.0, 0.0, 3.0, 1.5]));
    assert_eq!(floats(&recount, 40, Mode::AsCorrected), of([7.0, 0.0, 7.0, 7.0 / 3.0]));
    // As of 70 s the event at 10 s has just left, and the minute that was complete at 60 s has not the late one.
    assert_eq!(floats(&recount, 70, Mode::AsServed), of([6.0, 3.0, 0.0, 3.0]));
    // 2 min after the event at 30 s, and a tick later.
    assert!(values(&recount, 150, Mode::AsServed).iter().all(|(_, status)| *status != Status::Expired));
    assert!(values(&recount, 151, Mode::AsServed).iter().all(|(_, status)| *status == Status::Expired));
}

#[test]
fn sums_are_rounded_once() {
    assert_eq!(exact_sum([].into_iter()), 0.0);
    assert_eq!(exact_sum([0.1; 10].into_iter()), 1.0);
    assert_eq!(exact_sum([1e100, 1.0, -1e100].into_iter()), 1.0);
    // Half-way between two floats, and what is left decides.
    assert_eq!(exact_sum([1.0, f64::EPSILON / 2.0, 1e-40].into_iter()), 1.0 + f64::EPSILON);
    assert_eq!(exact_sum([1.0, f64::EPSILON / 2.0, -1e-40].into_iter()), 1.0);
}
