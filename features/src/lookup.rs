//! A look-up: the features that a service or a list of names asks for, resolved once, and what one answer looks like.
//!
//! A [`Lookup`] is made when a service is first asked for; an [`Ask`] is one entity row; an [`Answer`] is reused from row to row.

use std::sync::Arc;

use crate::definition::{Definitions, FeatureRef, OutputType, View, of_columns};
use crate::evaluate::{Moment, Own, OwnRows, Plan, own_row};
use crate::expression::Inputs;
use crate::key::{EventId, encode_key};
use crate::row::{Layout, Row, RowBuffer};
use crate::schema::{Column, Schema};
use crate::time::Time;
use crate::timeline::Timeline;
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
    pub reads: Vec<ViewRead>,
}

/// What is read of one view.
#[derive(Debug)]
pub struct ViewRead {
    /// Position in [`Definitions::views`].
    pub view: usize,
    /// For each key of the view's entity, its position in [`Lookup::keys`].
    pub keys: Vec<usize>,
    /// How its outputs are computed, and where they go.
    pub plan: Plan,
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

    /// Changes with name, type, order or definition of a column. Where answers and models say what they are made of.
    pub fn columns_id(&self) -> u64 {
        of_columns(self)
    }

    fn plan(definitions: Arc<Definitions>, features: Vec<FeatureRef>, derived: Vec<Arc<str>>) -> Lookup {
        let mut keys: Vec<Column> = Vec::new();
        let mut wanted: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
        for (position, feature) in features.iter().enumerate() {
            match wanted.iter_mut().find(|(view, _)| *view == feature.view) {
                Some((_, outputs)) => outputs.push((feature.output, position)),
                None => wanted.push((feature.view, vec![(feature.output, position)])),
            }
        }
        let mut read = |(view, outputs): (usize, Vec<(usize, usize)>)| {
            let found = &definitions.views[view];
            let entity = &definitions.entities[found.entity];
            let keys = entity.keys.columns.iter().map(|key| position_or_push(&mut keys, key)).collect();
            ViewRead { view, keys, plan: Plan::new(found, &outputs) }
        };
        let reads = wanted.into_iter().map(&mut read).collect();
        let outputs = features.iter().map(|f| definitions.output_at(*f));
        let columns = outputs.clone().map(|o| o.full_name.clone()).chain(derived.iter().cloned()).collect();
        let kinds = outputs.map(|o| Some(o.kind)).chain(derived.iter().map(|_| None)).collect();
        Lookup { service: None, features, keys: Schema { columns: keys }, request: Schema::default(), columns, kinds, reads, definitions }
    }
}

impl ViewRead {
    /// Appends the bytes of the entity key of this view in an ask.
    pub fn encode_key(&self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        for key in &self.keys {
            encode_key(&ask.keys[*key..=*key], out);
        }
    }

    /// Fills the cells of this view; `timeline` is `None` for an entity that the store does not know.
    pub fn evaluate(&self, view: &View, layout: &Layout, timeline: Option<&Timeline>, ask: &Ask<'_>, known: Known, cells: &mut [Cell]) {
        let mut buffer = RowBuffer::default();
        let event = ask.own_event.filter(|event| event.source == view.source);
        let has_row = event.is_some_and(|event| own_row(view, event, &mut buffer));
        let rows = OneRow { buffer: &buffer, layout };
        let own = event.map(|event| Own { event, row: has_row.then_some((&rows as &dyn OwnRows, 0)) });
        let moment = Moment { as_of: ask.as_of, version: known.version, mode: ask.mode, own, final_until: known.final_until };
        self.plan.evaluate(view, layout, timeline, &moment, cells);
    }
}

/// The row of the one own event of a look-up.
#[derive(Debug)]
struct OneRow<'a> {
    buffer: &'a RowBuffer,
    layout: &'a Layout,
}

impl OwnRows for OneRow<'_> {
    fn own_row(&self, at: usize) -> Option<Row<'_>> {
        Some(self.buffer.rows(self.layout).row(at))
    }
}

/// What a read may know of a view.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Events committed later are not known.
    pub version: u64,
    /// `W - allowed_lateness` of the view's source: values as of later may still change.
    pub final_until: Time,
}

impl Lookup {
    /// Fills the derived features from the features and the request.
    pub fn derive(&self, ask: &Ask<'_>, cells: &mut [Cell]) {
        let Some(service) = self.service else { return };
        let (features, derived) = cells.split_at_mut(self.features.len());
        let scope = Together { features, request: ask.request };
        for (cell, definition) in derived.iter_mut().zip(&self.definitions.services[service].derived) {
            let value = definition.expression.evaluate(&scope);
            let inputs = definition.expression.inputs();
            let mut used = inputs.iter().filter_map(|at| scope.features.get(*at));
            let status = if value == Value::Null { Status::Null } else { Status::Present };
            let provisional = used.clone().any(|c| c.provisional);
            *cell = Cell { value, status, provisional, approximate: used.any(|c| c.approximate) };
        }
    }
}

/// What a derived feature may name: the service's features first, then the request's fields.
struct Together<'a> {
    features: &'a [Cell],
    request: &'a [ValueRef<'a>],
}

impl Inputs for Together<'_> {
    fn input(&self, position: usize) -> ValueRef<'_> {
        match self.features.get(position) {
            Some(cell) => cell.value.as_ref(),
            None => self.request.get(position - self.features.len()).copied().unwrap_or(ValueRef::Null),
        }
    }
}

fn position_or_push(keys: &mut Vec<Column>, key: &Column) -> usize {
    keys.iter().position(|k| k == key).unwrap_or_else(|| {
        keys.push(key.clone());
        keys.len() - 1
    })
}
