//! A look-up: the features that a service or a list of names asks for, resolved once, and what one answer looks like.
//!
//! A [`Lookup`] is made when a service is first asked for; an [`Ask`] is one entity row; an [`Answer`] is reused from row to row.

use std::sync::Arc;

use crate::definition::{Definitions, FeatureRef, OutputType};
use crate::key::EventId;
use crate::schema::{Column, Schema};
use crate::time::Time;
use crate::value::{Value, ValueRef};

/// The features of a service, or named one by one, with the key columns and request fields that they need.
#[derive(Debug)]
pub struct Lookup {
    /// What the positions below refer to.
    pub definitions: Arc<Definitions>,
    /// The service, where it is one: its derived features follow the features.
    pub service: Option<usize>,
    /// What to read, in the order of the answer.
    pub features: Vec<FeatureRef>,
    /// The key columns of all entities involved, without repeats, in the order of first need.
    pub keys: Schema,
    /// The fields that a request carries for derived features.
    pub request: Schema,
    /// The columns of an answer: features, then derived features.
    pub columns: Vec<Arc<str>>,
    /// Their types; `None` for a derived feature (its type follows its inputs).
    pub kinds: Vec<Option<OutputType>>,
    /// The reads, one for each view.
    pub(crate) reads: Vec<ViewRead>,
}

/// What is read of one view.
#[derive(Debug)]
pub(crate) struct ViewRead {
    /// Position in [`Definitions::views`].
    pub(crate) view: usize,
    /// For each key of the view's entity, its position in [`Lookup::keys`].
    pub(crate) keys: Vec<usize>,
    /// `(output of the view, position in the answer)`.
    pub(crate) outputs: Vec<(usize, usize)>,
}

/// One entity row to look up.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// By the order of [`Lookup::keys`], none of them null.
    pub keys: &'a [ValueRef<'a>],
    /// By the order of [`Lookup::request`]; may be null.
    pub request: &'a [ValueRef<'a>],
    /// The values are as of this event time.
    pub as_of: Time,
    /// Only commits up to this version are seen; `None` for the newest.
    pub version: Option<u64>,
    /// The event that the row stands for, if it does (T5).
    pub own_event: Option<&'a OwnEvent>,
    /// Whether late and future knowledge is left out (T15).
    pub mode: Mode,
}

/// Which events a value counts (T15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// As it was served: an event counts from its `visible_from` on (T9).
    #[default]
    AsServed,
    /// As known now: every accepted event whose event time is in the window.
    AsCorrected,
}

/// The event that is being scored (T5).
#[derive(Clone, Debug)]
pub struct OwnEvent {
    /// Position of its source in [`Definitions::sources`].
    pub source: usize,
    /// Its id; events at the same instant with a greater id are not counted.
    pub id: EventId,
    /// Its event time.
    pub time: Time,
    /// Its columns by the source's schema; `None` if only id and time are known: then it counts if it is in the store.
    pub fields: Option<Vec<Value>>,
    /// `exclude_self`: it is left out of its own windows.
    pub exclude: bool,
}

/// How a value came to be (T17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// There is a value.
    #[default]
    Present,
    /// No event to aggregate, and no default.
    Null,
    /// The store holds nothing for this entity; the value is that of an empty window.
    NotFound,
    /// The newest event is older than the view's ttl; the value is that of an empty window.
    Expired,
}

/// One value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The value, `Null` where there is none.
    pub value: Value,
    /// How it came to be.
    pub status: Status,
    /// The as-of time is above the watermark: the value may still change.
    pub provisional: bool,
    /// The value is an estimate: a sketch took over from exact counting.
    pub approximate: bool,
}

impl Default for Cell {
    fn default() -> Cell {
        Cell { value: Value::Null, status: Status::Null, provisional: false, approximate: false }
    }
}

/// What a look-up of one row gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// One for each of [`Lookup::columns`].
    pub cells: Vec<Cell>,
    /// The least watermark of the sources involved; [`Time::NONE`] before the first event.
    pub watermark: Time,
    /// The version that was read.
    pub version: u64,
}

impl Lookup {
    /// The features of a service.
    pub fn of_service(definitions: Arc<Definitions>, service: usize) -> Lookup {
        let found = &definitions.services[service];
        let (features, request) = (found.features.clone(), found.request.clone());
        let derived: Vec<Arc<str>> = found.derived.iter().map(|d| d.name.clone()).collect();
        Lookup { service: Some(service), request, ..Lookup::plan(definitions, features, derived) }
    }

    /// Features one by one.
    pub fn of_features(definitions: Arc<Definitions>, features: Vec<FeatureRef>) -> Lookup {
        Lookup::plan(definitions, features, Vec::new())
    }

    fn plan(definitions: Arc<Definitions>, features: Vec<FeatureRef>, derived: Vec<Arc<str>>) -> Lookup {
        let mut keys: Vec<Column> = Vec::new();
        let mut reads: Vec<ViewRead> = Vec::new();
        for (position, feature) in features.iter().enumerate() {
            let read = match reads.iter_mut().find(|r| r.view == feature.view) {
                Some(read) => read,
                None => {
                    let entity = &definitions.entities[definitions.views[feature.view].entity];
                    let keys = entity.keys.columns.iter().map(|key| position_or_push(&mut keys, key)).collect();
                    reads.push(ViewRead { view: feature.view, keys, outputs: Vec::new() });
                    reads.last_mut().expect("just pushed")
                }
            };
            read.outputs.push((feature.output, position));
        }
        let outputs = features.iter().map(|f| definitions.output_at(*f));
        let columns = outputs.clone().map(|o| o.full_name.clone()).chain(derived.iter().cloned()).collect();
        let kinds = outputs.map(|o| Some(o.kind)).chain(derived.iter().map(|_| None)).collect();
        Lookup { service: None, features, keys: Schema { columns: keys }, request: Schema::default(), columns, kinds, reads, definitions }
    }
}

fn position_or_push(keys: &mut Vec<Column>, key: &Column) -> usize {
    keys.iter().position(|k| k == key).unwrap_or_else(|| {
        keys.push(key.clone());
        keys.len() - 1
    })
}
