//! Definitions: sources, entities, views and services, proven as a whole.
//!
//! What a user writes is YAML ([`Definitions::parse`]); what the rest of the house gets is [`Definitions`], in which every name is
//! resolved, every type is checked and every number is in range. There is no other way to make one.

mod error;
mod feature;
mod fingerprint;
mod grammar;
mod json_schema;
mod parse;
mod reader;
mod service;
mod source;
mod view;
mod windows;
mod yaml;

use std::sync::Arc;

pub use error::{DefinitionError, DefinitionErrors};
pub(crate) use fingerprint::of_columns;
pub use json_schema::json_schema;

use crate::aggregate::Function;
use crate::expression::Expression;
use crate::schema::Schema;
use crate::time::Span;
use crate::value::{Type, Value};
use crate::window::{Bounds, Frame, Window};

/// Everything that a definition file says. Positions in one list are used as references from the others.
#[derive(Debug)]
pub struct Definitions {
    /// Where events come from.
    pub sources: Vec<Source>,
    /// What features describe.
    pub entities: Vec<Entity>,
    /// Groups of features over one entity and one source.
    pub views: Vec<View>,
    /// What a model or a client asks for together.
    pub services: Vec<Service>,
}

/// A stream of events.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the definition calls it.
    pub name: String,
    /// The columns of an event.
    pub schema: Schema,
    /// Position in the schema of the event time, a `timestamp`.
    pub event_time: usize,
    /// Position of the event id (`int64` or `string`); without one an id is made from partition and offset.
    pub event_id: Option<usize>,
    /// How far behind the newest event another may come and still be on time (T6).
    pub max_out_of_orderness: Span,
    /// How long after the watermark values may still change (T9).
    pub allowed_lateness: Span,
    /// An event more than this ahead of its append time is rejected (T7).
    pub max_future_skew: Span,
    /// A caught-up partition is idle after this long (T8).
    pub idle_timeout: Span,
    /// What the watermark does when every partition is idle (T8).
    pub when_all_idle: WhenAllIdle,
    /// How far back of the watermark values can be asked for; `None` keeps everything.
    pub retention: Option<Span>,
}

/// What the watermark does when every partition of a source is idle (T8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenAllIdle {
    /// It stays where it is.
    #[default]
    Hold,
    /// It follows the clock: `now - idle_timeout - max_out_of_orderness`.
    Advance,
}

/// What features describe: a customer, a terminal.
#[derive(Debug)]
pub struct Entity {
    /// As the definition calls it.
    pub name: String,
    /// Names and types of its key columns.
    pub keys: Schema,
}

/// A group of features of one entity, computed from one source.
#[derive(Debug)]
pub struct View {
    /// As the definition calls it.
    pub name: String,
    /// Position in [`Definitions::entities`].
    pub entity: usize,
    /// Position in [`Definitions::sources`].
    pub source: usize,
    /// For each key of the entity, the position of its column in the source's schema.
    pub key_columns: Vec<usize>,
    /// The source's columns that a timeline of this view keeps, as positions in the source's schema, ascending.
    pub columns: Vec<usize>,
    /// Their types.
    pub column_types: Vec<Type>,
    /// What chunks keep partial aggregates of; features that differ only in their windows share one.
    pub slots: Vec<Slot>,
    /// As written, in order.
    pub features: Vec<Feature>,
    /// One for each feature and window, in the order of the definition: what can be asked for.
    pub outputs: Vec<Output>,
    /// Ends of rolling windows.
    pub bounds: Bounds,
    /// A value is `EXPIRED` if the newest event is older than this.
    pub ttl: Option<Span>,
    /// Whether closed windows are emitted (T11).
    pub closed_windows: ClosedWindows,
    /// xxh3 of the canonical text of everything above that a value depends on, the source's and entity's parts included.
    pub fingerprint: u64,
}

/// Whether and how a view emits its tumbling, sliding and session windows when they close (T11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClosedWindows {
    /// `emit_closed_windows: false`, the default: a window costs nothing until it is read.
    #[default]
    Silent,
    /// `emit_closed_windows: true`: each firing holds everything in the window.
    Accumulating,
    /// `emit_closed_windows: discarding`: each firing holds what came since the one before.
    Discarding,
}

/// One partial aggregate that each chunk of a view keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// What is aggregated how.
    pub function: Function,
    /// Position in [`View::columns`]; `None` for `"*"`.
    pub column: Option<usize>,
    /// Its type; `None` for `"*"`.
    pub kind: Option<Type>,
    /// Only events for which this is true; its inputs are positions in [`View::columns`].
    pub filter: Option<Arc<Expression>>,
}

/// A feature as written: a function of a column, over one or more windows.
#[derive(Debug)]
pub struct Feature {
    /// As the definition calls it, such as `nb_tx`.
    pub name: String,
    /// How the slot's partial becomes a value.
    pub function: Function,
    /// Position in [`View::slots`].
    pub slot: usize,
    /// What it is over.
    pub windows: Vec<Window>,
    /// How long the answer waits (T2).
    pub delay: Span,
    /// The value where there is nothing to aggregate; `Null` if none is set.
    pub default: Value,
}

/// One feature over one window: what can be asked for by name.
#[derive(Debug)]
pub struct Output {
    /// `nb_tx_1d`.
    pub name: String,
    /// `customer_spend.nb_tx_1d`.
    pub full_name: Arc<str>,
    /// Position in [`View::features`].
    pub feature: usize,
    /// The window with the view's bounds and the feature's delay.
    pub frame: Frame,
    /// What its value is, when there is one; `None` for a list.
    pub kind: OutputType,
}

/// The type of a feature's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputType {
    /// One value of that type.
    Scalar(Type),
    /// Several: `first_k`, `last_k`, `top_k`.
    List(Type),
}

/// The features that a model or a client asks for together, in order.
#[derive(Debug)]
pub struct Service {
    /// As the definition calls it.
    pub name: String,
    /// Features in the order of the response; derived features follow them.
    pub features: Vec<FeatureRef>,
    /// Fields that a request carries.
    pub request: Schema,
    /// Computed from features and request fields, in order.
    pub derived: Vec<Derived>,
}

/// Which output of which view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeatureRef {
    /// Position in [`Definitions::views`].
    pub view: usize,
    /// Position in [`View::outputs`].
    pub output: usize,
}

/// An expression over a service's features and request fields.
#[derive(Debug)]
pub struct Derived {
    /// As the definition calls it.
    pub name: Arc<str>,
    /// Its inputs are positions: the service's features first (`0..features.len()`), then the request's fields.
    pub expression: Expression,
}

impl Definitions {
    /// The view of that name with its position.
    pub fn view(&self, name: &str) -> Option<(usize, &View)> {
        self.views.iter().enumerate().find(|(_, v)| v.name == name)
    }

    /// The source of that name with its position.
    pub fn source(&self, name: &str) -> Option<(usize, &Source)> {
        self.sources.iter().enumerate().find(|(_, s)| s.name == name)
    }

    /// The service of that name with its position.
    pub fn service(&self, name: &str) -> Option<(usize, &Service)> {
        self.services.iter().enumerate().find(|(_, s)| s.name == name)
    }

    /// The output of that full name, such as `customer_spend.nb_tx_1d`.
    pub fn output(&self, full_name: &str) -> Option<FeatureRef> {
        let (view_name, output_name) = full_name.split_once('.')?;
        let (view, found) = self.view(view_name)?;
        let output = found.outputs.iter().position(|o| o.name == output_name)?;
        Some(FeatureRef { view, output })
    }

    /// The output that a reference names.
    pub fn output_at(&self, at: FeatureRef) -> &Output {
        &self.views[at.view].outputs[at.output]
    }
}

impl View {
    /// What the words of this view's rows mean.
    pub fn layout(&self, sources: &[Source]) -> crate::row::Layout {
        let source = &sources[self.source];
        let id_is_text = source.event_id.is_some_and(|id| source.schema.columns[id].kind == Type::String);
        crate::row::Layout { types: self.column_types.clone().into(), id_is_text }
    }
}

#[cfg(test)]
mod tests;
