//! An oracle too simple to be wrong: the demo's features in plain loops over everything that arrived.
//!
//! It goes through the arrivals in their order, moves the watermark as T6 says, and so knows from when on each event counts (T9)
//! and whether it counts at all (T10). It shares no code with the engine, only the definitions.

use std::collections::HashMap;

use floodmark_features::aggregate::Function;
use floodmark_features::definition::{Definitions, FeatureRef, Slot, View};
use floodmark_features::engine::{Outcome, ViewCounts};
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_features::window::{Frame, Window};
use floodmark_store::Tally;

use super::world::Sample;
use crate::simulator::Arrival;

/// Sums are added up here in another order than in the store, whose sums are exact.
const RELATIVE_ERROR: f64 = 1e-12;

/// What everything is worth.
#[derive(Debug)]
pub(super) struct Recount<'a> {
    definitions: &'a Definitions,
    /// For each view, the events that it took, by key, in the order of time and id.
    views: Vec<HashMap<i64, Vec<Seen>>>,
    /// What became of the events of each view.
    pub(super) counts: Vec<ViewCounts>,
    /// What became of the records.
    pub(super) tally: Tally,
}

/// An event, and from when on it counts.
#[derive(Clone, Debug)]
struct Seen {
    time: i64,
    id: i64,
    visible: i64,
    amount: Option<f64>,
    fraud: bool,
}

impl<'a> Recount<'a> {
    /// Goes through everything that arrived.
    pub(super) fn of(definitions: &'a Definitions, arrivals: &[Arrival]) -> Recount<'a> {
        let views = definitions.views.len();
        let (counts, tally) = (vec![ViewCounts::default(); views], Tally::default());
        let mut recount = Recount { definitions, views: vec![HashMap::new(); views], counts, tally };
        let mut newest: Option<i64> = None;
        for arrival in arrivals {
            recount.tally.read += 1;
            if arrival.lost_customer {
                recount.tally.rejected += 1;
                continue;
            }
            recount.take(arrival, newest);
            newest = newest.max(Some(arrival.transaction.tx_datetime));
        }
        recount
    }

    fn take(&mut self, arrival: &Arrival, newest: Option<i64>) {
        let transaction = &arrival.transaction;
        let source = &self.definitions.sources[0];
        let final_until = newest.map(|at| at - source.max_out_of_orderness.micros() - 1 - source.allowed_lateness.micros());
        let event = Seen {
            time: transaction.tx_datetime,
            id: transaction.transaction_id,
            visible: final_until.map_or(transaction.tx_datetime, |at| transaction.tx_datetime.max(at + 1)),
            amount: (!arrival.lost_amount).then_some(transaction.amount),
            fraud: transaction.fraud,
        };
        let mut best = Outcome::Late;
        for at in 0..self.views.len() {
            let view = &self.definitions.views[at];
            let key = key_of(self.definitions, view, transaction.customer_id, transaction.terminal_id);
            let outcome = put(view, self.views[at].entry(key).or_default(), &event);
            count(&mut self.counts[at], outcome);
            best = best.min(outcome);
        }
        match best {
            Outcome::Accepted | Outcome::Unassigned => self.tally.accepted += 1,
            Outcome::PartiallyLate => {
                self.tally.accepted += 1;
                self.tally.partially_late += 1;
            }
            Outcome::Duplicate => self.tally.duplicates += 1,
            Outcome::Late => self.tally.late += 1,
        }
    }

    /// Whether a value is what the recount says; else what it says.
    pub(super) fn compare(&self, name: &str, sample: &Sample, found: &Value) -> Option<Result<(), Value>> {
        let at = self.definitions.output(name)?;
        let expected = self.expected(at, sample);
        let same = match (&expected, found) {
            (Value::Float(a), Value::Float(b)) => (a - b).abs() <= RELATIVE_ERROR * a.abs().max(1.0),
            (a, b) => a == b,
        };
        Some(if same { Ok(()) } else { Err(expected) })
    }

    fn expected(&self, at: FeatureRef, sample: &Sample) -> Value {
        let view = &self.definitions.views[at.view];
        let output = &view.outputs[at.output];
        let feature = &view.features[output.feature];
        let key = key_of(self.definitions, view, sample.customer, sample.terminal);
        let events = self.views[at.view].get(&key).map(Vec::as_slice).unwrap_or_default();
        let counted = counted(&output.frame, events, sample.as_of);
        if feature.function == Function::Count {
            return Value::Int(counted.len() as i64);
        }
        let is_fraud = column_name(self.definitions, view, &view.slots[feature.slot]) == Some("fraud");
        let value = |event: &&Seen| if is_fraud { Some(f64::from(u8::from(event.fraud))) } else { event.amount };
        let values: Vec<f64> = counted.iter().filter_map(value).collect();
        match values.len() {
            0 => feature.default.clone(),
            n => Value::Float(values.iter().sum::<f64>() / n as f64),
        }
    }
}

fn key_of(definitions: &Definitions, view: &View, customer: i64, terminal: i64) -> i64 {
    if definitions.entities[view.entity].name == "customer" { customer } else { terminal }
}

fn column_name<'a>(definitions: &'a Definitions, view: &View, slot: &Slot) -> Option<&'a str> {
    let column = view.columns[slot.column?];
    Some(&definitions.sources[view.source].schema.columns[column].name)
}

fn count(counts: &mut ViewCounts, outcome: Outcome) {
    match outcome {
        Outcome::Accepted => counts.accepted += 1,
        Outcome::PartiallyLate => {
            counts.accepted += 1;
            counts.partially_late += 1;
        }
        Outcome::Late => counts.late += 1,
        Outcome::Duplicate => counts.duplicates += 1,
        Outcome::Unassigned => counts.unassigned += 1,
    }
}

/// Takes an event into the list of its key, if some value can still hold it.
fn put(view: &View, events: &mut Vec<Seen>, event: &Seen) -> Outcome {
    let place = match events.binary_search_by_key(&(event.time, event.id), |e| (e.time, e.id)) {
        Ok(_) => return Outcome::Duplicate,
        Err(place) => place,
    };
    if event.visible == event.time {
        events.insert(place, event.clone());
        return Outcome::Accepted;
    }
    if !view.outputs.iter().any(|output| may_still_count(&output.frame, events, event)) {
        return Outcome::Late;
    }
    events.insert(place, event.clone());
    Outcome::PartiallyLate
}

/// Whether some value that can still change would hold an event (T9, T10).
fn may_still_count(frame: &Frame, events: &[Seen], event: &Seen) -> bool {
    match frame.window {
        Window::Rolling { size } => event.visible < event.time + size.micros() + frame.delay.micros(),
        Window::Lifetime => true,
        Window::Session { gap } => {
            let mut last = event.time;
            for next in events.iter().filter(|e| e.time >= event.time) {
                if next.time - last >= gap.micros() {
                    break;
                }
                last = next.time;
            }
            event.visible - frame.delay.micros() - last < gap.micros()
        }
        Window::Tumbling { .. } | Window::Sliding { .. } => {
            let (size, every, offset) = grid(frame);
            let start = (event.time - offset).div_euclid(every) * every + offset;
            event.time < start + size && event.visible < start + size + frame.delay.micros()
        }
    }
}

/// The events in a window as of a time (T1 to T4).
fn counted<'e>(frame: &Frame, events: &'e [Seen], as_of: Time) -> Vec<&'e Seen> {
    let t = as_of.micros();
    let until = t - frame.delay.micros();
    match frame.window {
        Window::Rolling { size } => events.iter().filter(|e| e.time > until - size.micros() && e.time <= until && e.visible <= t).collect(),
        Window::Lifetime => events.iter().filter(|e| e.time <= until && e.visible <= t).collect(),
        Window::Session { gap } => {
            let mut session = Vec::new();
            let mut next = until;
            for event in events.iter().rev().filter(|e| e.time <= until && e.visible <= t) {
                if next - event.time >= gap.micros() {
                    break;
                }
                next = event.time;
                session.push(event);
            }
            session
        }
        Window::Tumbling { .. } | Window::Sliding { .. } => {
            let (size, every, offset) = grid(frame);
            let start = (until + 1 - size - offset).div_euclid(every) * every + offset;
            let seen_by = start + size - 1 + frame.delay.micros();
            events.iter().filter(|e| e.time >= start && e.time < start + size && e.visible <= seen_by).collect()
        }
    }
}

/// Size, distance and offset of a tumbling or sliding window.
fn grid(frame: &Frame) -> (i64, i64, i64) {
    match frame.window {
        Window::Tumbling { size, offset } => (size.micros(), size.micros(), offset.micros()),
        Window::Sliding { size, every, offset } => (size.micros(), every.micros(), offset.micros()),
        _ => (1, 1, 0),
    }
}
