//! A record of a scored event in words of the house: what `floodmark scores` prints.

use floodmark_features::definition::{Definitions, Source};
use floodmark_features::time::Time;
use floodmark_features::value::{Type, Value};
use floodmark_proto::v1;
use floodmark_proto::v1::prediction::Outcome;
use floodmark_store::ScoreRecord;
use prost::Message;

use crate::wire::read_value;

/// An event that was scored as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamScore {
    /// Its id, an integer or text.
    pub event_id: Value,
    /// When it happened.
    pub event_time: Option<Time>,
    /// The keys of all entities that its source has views on, by name.
    pub keys: Vec<(String, Value)>,
    /// Which model scored.
    pub model: String,
    /// Which version of it; empty if none was there.
    pub model_version: String,
    /// The event time that the features are as of.
    pub as_of: Option<Time>,
    /// The score and what it is made of, or why there is none.
    pub outcome: Result<Made, v1::ScoreError>,
}

/// A score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made {
    /// The score.
    pub score: f64,
    /// How many of the model's inputs were missing.
    pub missing: u32,
    /// How many of the features were provisional.
    pub provisional: u32,
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of a score cannot be read. version={version} sequence={sequence}")]
pub struct Unreadable {
    version: u64,
    sequence: u64,
}

/// Reads a record as [`floodmark_store::Store::scores`] gives it.
pub fn read(definitions: &Definitions, record: &ScoreRecord) -> Result<StreamScore, Unreadable> {
    let unreadable = Unreadable { version: record.version, sequence: record.sequence };
    let prediction = v1::Prediction::decode(record.record.as_slice()).map_err(|_| unreadable)?;
    let (request, outcome) = prediction.request.zip(prediction.outcome).ok_or(unreadable)?;
    let source = definitions.sources.get(record.source).ok_or(unreadable)?;
    let names = request.event_shape.as_ref().map_or(&[][..], |shape| &shape.columns);
    let event = request.rows.first().and_then(|row| row.event.as_ref()).ok_or(unreadable)?;
    let columns = Columns { source, names, event };
    let event_id = match (source.event_id, &event.id) {
        (Some(column), _) => columns.value(column),
        (None, Some(id)) => read_value(id, Type::Int64).map_or(Value::Null, |id| id.to_value()),
        (None, None) => Value::Null,
    };
    let event_time = if let Value::Time(time) = columns.value(source.event_time) { Some(time) } else { None };
    Ok(StreamScore {
        event_id,
        event_time,
        keys: keys(definitions, record.source, &columns),
        model: request.model,
        model_version: request.model_version,
        as_of: request.as_of_micros.map(Time::from_micros),
        outcome: match outcome {
            Outcome::Row(v1::ScoreRow { score, missing, provisional, .. }) => Ok(Made { score, missing, provisional }),
            Outcome::Error(error) => Err(error),
        },
    })
}

/// The columns of a record's event.
struct Columns<'a> {
    source: &'a Source,
    names: &'a [String],
    event: &'a v1::OwnEvent,
}

impl Columns<'_> {
    fn value(&self, column: usize) -> Value {
        let column = &self.source.schema.columns[column];
        let place = self.names.iter().position(|name| *name == column.name);
        let value = place.and_then(|at| self.event.values.get(at));
        value.and_then(|value| read_value(value, column.kind).ok()).map_or(Value::Null, |value| value.to_value())
    }
}

fn keys(definitions: &Definitions, source: usize, columns: &Columns<'_>) -> Vec<(String, Value)> {
    let mut keys: Vec<(String, Value)> = Vec::new();
    for view in definitions.views.iter().filter(|view| view.source == source) {
        for (key, column) in definitions.entities[view.entity].keys.columns.iter().zip(&view.key_columns) {
            if !keys.iter().any(|(name, _)| *name == key.name) {
                keys.push((key.name.clone(), columns.value(*column)));
            }
        }
    }
    keys
}
