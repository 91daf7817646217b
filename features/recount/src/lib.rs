//! A recount: what features are worth by the rules of time and truth alone, with plain lists and loops.
//!
//! Nothing here is taken from the engine: no timelines, no partials, no chunks, only the words of the definitions (windows, functions,
//! filters). It is slow, and that is the point: it is what fast answers are verified against. The number of a rule stands at each line
//! that follows it.

mod arrival;
mod sum;
#[cfg(test)]
mod tests;
mod value;
mod window;

use floodmark_features::definition::View;
use floodmark_features::key::EventId;
use floodmark_features::lookup::{Mode, Status};
use floodmark_features::time::Time;
use floodmark_features::value::Value;

pub use arrival::Fate;
pub use value::Expected;
use window::Ticks;

/// An event of one entity, as a view sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Event time.
    pub time: Time,
    /// Its id, which decides between events of the same time.
    pub id: EventId,
    /// From when on it counts (T9).
    pub visible_from: Time,
    /// The commit that took it in (T14).
    pub version: u64,
    /// Its columns, by [`View::columns`].
    pub values: Vec<Value>,
}

/// What a value is as of.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The as-of time.
    pub as_of: Time,
    /// Commits after this one are not known.
    pub version: u64,
    /// As served or as corrected (T15).
    pub mode: Mode,
}

/// The events of one entity in one view.
#[derive(Clone, Debug)]
pub struct Recount<'a> {
    view: &'a View,
    /// Those that the view accepted, in the total order of events.
    events: Vec<Event>,
    /// For each of the view's session windows that is emitted, the first and last event time of each session that may still be joined.
    sessions: Vec<Vec<(Ticks, Ticks)>>,
}

/// A recounted value.
#[derive(Clone, Debug, PartialEq)]
pub struct Recounted {
    /// What the value may be.
    pub value: Expected,
    /// How it came to be (T17).
    pub status: Status,
}

impl<'a> Recount<'a> {
    /// No events yet.
    pub fn new(view: &'a View) -> Recount<'a> {
        Recount { view, events: Vec::new(), sessions: vec![Vec::new(); view.outputs.len()] }
    }

    /// An output of the view.
    pub fn value(&self, output: usize, moment: &Moment) -> Recounted {
        let of = &self.view.outputs[output];
        let empty = self.emptiness(moment);
        let inside = if empty.is_some() { Vec::new() } else { self.inside(output, moment) };
        let value = value::value(self.view, of, &inside, moment.as_of);
        let null = matches!(value, Expected::Exactly(Value::Null));
        Recounted { value, status: empty.unwrap_or(if null { Status::Null } else { Status::Present }) }
    }

    /// The events that an output is made of, oldest first.
    pub fn inside(&self, output: usize, moment: &Moment) -> Vec<&Event> {
        window::inside(&self.view.outputs[output].frame, &self.events, moment)
    }

    /// T17: an entity of which nothing is known, and one that was not heard of for long, have the value of an empty window.
    fn emptiness(&self, moment: &Moment) -> Option<Status> {
        if !self.events.iter().any(|event| event.version <= moment.version) {
            return Some(Status::NotFound);
        }
        let ttl = self.view.ttl?;
        let known = window::known(&self.events, moment.as_of, moment).filter(|event| event.time <= moment.as_of);
        let newest = known.map(|event| event.time).max();
        newest.is_none_or(|newest| moment.as_of.since(newest) > ttl).then_some(Status::Expired)
    }
}
