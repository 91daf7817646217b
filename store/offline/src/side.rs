//! The tables of side outputs: late events (T10), rejected records and closed windows (T11), each of all sources.
//!
//! ```text
//!   late      source | view | entity | event_id | event_time | outcome | reason | watermark | lateness_us | partition | offset | payload | _sequence
//!   rejects   source | partition | offset | code | message | payload | _version
//!   windows   view | entity | window | start | end | revision | deleted | values | _sequence
//! ```
//!
//! `entity` and `values` are objects in JSON. A watermark that there was not is null.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use floodmark_features::definition::{Definitions, View};
use floodmark_features::engine::{ClosedWindow, LateEvent, Outcome};
use floodmark_features::key::decode_key;
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_store::{Output, OutputKind, RejectedRecord};
use serde_json::{Map, Value as Json};

use crate::error::OfflineError;
use crate::events::instant;

/// The kinds that have tables here.
pub const KINDS: [OutputKind; 3] = [OutputKind::Late, OutputKind::Rejected, OutputKind::Closed];

/// What a kind's table is called.
pub fn table_of(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Late => "late",
        OutputKind::Rejected => "rejects",
        OutputKind::Closed => "windows",
        OutputKind::Score => "scores",
    }
}

/// Its columns.
pub fn schema_of(kind: OutputKind) -> SchemaRef {
    let (text, number) = (DataType::Utf8, DataType::Int64);
    let columns: &[(&str, DataType)] = match kind {
        OutputKind::Late => &[
            ("source", text.clone()),
            ("view", text.clone()),
            ("entity", text.clone()),
            ("event_id", text.clone()),
            ("event_time", instant()),
            ("outcome", text.clone()),
            ("reason", text.clone()),
            ("watermark", instant()),
            ("lateness_us", number.clone()),
            ("partition", text.clone()),
            ("offset", number.clone()),
            ("payload", text),
            ("_sequence", number),
        ],
        OutputKind::Rejected => &[
            ("source", text.clone()),
            ("partition", text.clone()),
            ("offset", number.clone()),
            ("code", text.clone()),
            ("message", text.clone()),
            ("payload", text),
            ("_version", number),
        ],
        OutputKind::Closed | OutputKind::Score => &[
            ("view", text.clone()),
            ("entity", text.clone()),
            ("window", text.clone()),
            ("start", instant()),
            ("end", instant()),
            ("revision", number.clone()),
            ("deleted", DataType::Boolean),
            ("values", text),
            ("_sequence", number),
        ],
    };
    Arc::new(Schema::new(columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>()))
}

/// Side outputs of one kind, with their places, as rows of its table.
pub fn rows_of(definitions: &Definitions, kind: OutputKind, outputs: &[(u64, Output)]) -> Result<RecordBatch, OfflineError> {
    let columns = match kind {
        OutputKind::Late => late_columns(definitions, outputs),
        OutputKind::Rejected => reject_columns(definitions, outputs),
        OutputKind::Closed | OutputKind::Score => window_columns(definitions, outputs),
    };
    Ok(RecordBatch::try_new(schema_of(kind), columns)?)
}

fn late_columns(definitions: &Definitions, outputs: &[(u64, Output)]) -> Vec<ArrayRef> {
    let events: Vec<&LateEvent> =
        outputs.iter().filter_map(|(_, output)| if let Output::Late(late) = output { Some(late) } else { None }).collect();
    let view = |late: &LateEvent| &definitions.views[late.view];
    let is_partial = |late: &LateEvent| late.outcome == Outcome::PartiallyLate;
    let behind = |late: &LateEvent| if late.watermark == Time::NONE { 0 } else { late.watermark.since(late.event_time).micros() };
    vec![
        texts(events.iter().map(|late| definitions.sources[view(late).source].name.clone())),
        texts(events.iter().map(|late| view(late).name.clone())),
        texts(events.iter().map(|late| entity(definitions, view(late), &late.key))),
        texts(events.iter().map(|late| late.event_id.clone())),
        instants(events.iter().map(|late| late.event_time)),
        texts(events.iter().map(|late| if is_partial(late) { "partially_late" } else { "late" }.to_owned())),
        texts(events.iter().map(|late| if is_partial(late) { "some_values_final" } else { "all_windows_final" }.to_owned())),
        instants(events.iter().map(|late| late.watermark)),
        numbers(events.iter().map(|late| behind(late))),
        texts(events.iter().map(|late| late.position.partition.clone())),
        numbers(events.iter().map(|late| late.position.offset as i64)),
        texts(events.iter().map(|late| late.payload.clone())),
        numbers(events.iter().map(|late| late.sequence as i64)),
    ]
}

fn reject_columns(definitions: &Definitions, outputs: &[(u64, Output)]) -> Vec<ArrayRef> {
    let rejected =
        |(version, output): &(u64, Output)| if let Output::Rejected(record) = output { Some((*version, record.clone())) } else { None };
    let records: Vec<(u64, RejectedRecord)> = outputs.iter().filter_map(rejected).collect();
    let source =
        |record: &RejectedRecord| definitions.sources.get(record.source as usize).map_or_else(String::new, |source| source.name.clone());
    vec![
        texts(records.iter().map(|(_, record)| source(record))),
        texts(records.iter().map(|(_, record)| record.position.partition.clone())),
        numbers(records.iter().map(|(_, record)| record.position.offset as i64)),
        texts(records.iter().map(|(_, record)| record.code.clone())),
        texts(records.iter().map(|(_, record)| record.message.clone())),
        texts(records.iter().map(|(_, record)| record.payload.clone())),
        numbers(records.iter().map(|(version, _)| *version as i64)),
    ]
}

fn window_columns(definitions: &Definitions, outputs: &[(u64, Output)]) -> Vec<ArrayRef> {
    let windows: Vec<&ClosedWindow> =
        outputs.iter().filter_map(|(_, output)| if let Output::Closed(window) = output { Some(window) } else { None }).collect();
    let view = |window: &ClosedWindow| &definitions.views[window.view];
    let values = |window: &ClosedWindow| {
        let named = window.values.iter().map(|(at, value)| (view(window).features[*at].name.clone(), json(value)));
        Json::Object(named.collect()).to_string()
    };
    let deleted: BooleanArray = windows.iter().map(|window| Some(window.deleted)).collect();
    vec![
        texts(windows.iter().map(|window| view(window).name.clone())),
        texts(windows.iter().map(|window| entity(definitions, view(window), &window.key))),
        texts(windows.iter().map(|window| window.window.label())),
        instants(windows.iter().map(|window| window.start)),
        instants(windows.iter().map(|window| window.end)),
        numbers(windows.iter().map(|window| i64::from(window.revision))),
        Arc::new(deleted),
        texts(windows.iter().map(|window| values(window))),
        numbers(windows.iter().map(|window| window.sequence as i64)),
    ]
}

fn texts(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn numbers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn instants(values: impl Iterator<Item = Time>) -> ArrayRef {
    let known = values.map(|time| (time != Time::NONE && time != Time::MAX).then(|| time.micros()));
    Arc::new(known.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// The key of an entity, by the names of its columns.
fn entity(definitions: &Definitions, view: &View, key: &[u8]) -> String {
    let names = definitions.entities[view.entity].keys.columns.iter().map(|column| column.name.clone());
    let values = decode_key(key).unwrap_or_default();
    Json::Object(names.zip(values.iter().map(json)).collect::<Map<String, Json>>()).to_string()
}

fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::from(*b),
        Value::Int(i) => Json::from(*i),
        // What JSON has no number for is null.
        Value::Float(x) => Json::from(*x),
        Value::Str(s) => Json::from(&**s),
        Value::Time(t) => Json::from(t.to_string()),
        Value::List(items) => Json::from(items.iter().map(json).collect::<Vec<_>>()),
    }
}
