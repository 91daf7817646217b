//! What the features are worth in a run in which nothing happens: plain loops over the records of the input. Features that depend on how
//! the partitions of a topic come together (sessions that late events join) are left to the fold of the log.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::Lookup;
use floodmark_features::value::Value;

use super::verifier::{Fold, Payment, for_each_ask, seen};
use crate::harness::kafka::Kafka;

const HOUR: i64 = 3_600_000_000;

/// Where the fold of the log and the recount differ.
pub(super) fn differences(kafka: &Kafka, input: &str, definitions: &Arc<Definitions>, fold: &Fold) -> Vec<String> {
    let events = accepted(kafka, input);
    let lookup = Lookup::of_service(definitions.clone(), 0);
    let mut problems = Vec::new();
    for_each_ask(&mut |ask| {
        let cells = fold.answer(&lookup, ask);
        let (card, shop) = (ask.keys[0].to_value(), ask.keys[1].to_value());
        let at = ask.as_of.micros();
        for (column, cell) in lookup.columns.iter().zip(&cells) {
            let of_card = |event: &&(Payment, i64)| Value::Int(event.0.card) == card;
            let of_shop = |event: &&(Payment, i64)| Value::Str(event.0.shop.as_str().into()) == shop;
            let within =
                |size: i64| move |event: &&(Payment, i64)| event.0.at > at.saturating_sub(size) && event.0.at <= at && event.1 <= at;
            let count = |size| Value::Int(events.iter().filter(of_card).filter(within(size)).count() as i64);
            let expected = match &**column {
                "spend.n_1h" => count(HOUR),
                "spend.n_1d" => count(24 * HOUR),
                "spend.n_lifetime" => count(i64::MAX),
                "spend.sum_1d" => sum(events.iter().filter(of_card).filter(within(24 * HOUR))),
                "spend.shops_1d" => {
                    let shops: HashSet<&str> =
                        events.iter().filter(of_card).filter(within(24 * HOUR)).map(|event| event.0.shop.as_str()).collect();
                    Value::Int(shops.len() as i64)
                }
                "shop_load.biggest_12h" => {
                    let amounts = events.iter().filter(of_shop).filter(within(12 * HOUR)).map(|event| event.0.amount);
                    amounts.reduce(f64::max).map_or(Value::Null, Value::Float)
                }
                _ => continue,
            };
            if expected != cell.value {
                problems.push(format!("{column} of {card} {shop} as of {}: {:?} and not {expected:?}", ask.as_of, cell.value));
            }
        }
    });
    problems
}

/// Each event once, the first of its partition to come (T13), with the time from which it counts (T9).
fn accepted(kafka: &Kafka, input: &str) -> Vec<(Payment, i64)> {
    let mut known: BTreeSet<(i64, i64, i64)> = BTreeSet::new();
    let mut watermarks: BTreeMap<i32, i64> = BTreeMap::new();
    let mut events = Vec::new();
    for found in kafka.records(input, "read_uncommitted") {
        let Some((payment, visible)) = seen(&found, watermarks.entry(found.partition).or_insert(i64::MIN)) else { continue };
        if known.insert((payment.id, payment.at, payment.card)) {
            events.push((payment, visible));
        }
    }
    events
}

/// In units in which each amount is a whole number: the sum is exact, and rounded once.
fn sum<'a>(events: impl Iterator<Item = &'a (Payment, i64)>) -> Value {
    const UNIT: f64 = (1_u128 << 70) as f64;
    let units: i128 = events.map(|event| (event.0.amount * UNIT) as i128).sum();
    Value::Float(units as f64 / UNIT)
}
