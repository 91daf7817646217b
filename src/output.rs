//! What commands print: JSON a line, values and keys as JSON and as text.

use std::io::{self, BufWriter, StdoutLock, Write};

use floodmark_features::definition::{Definitions, View};
use floodmark_features::engine::ViewCounts;
use floodmark_features::key::decode_key;
use floodmark_features::lookup::Status;
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use serde::{Serialize, Serializer};

/// Standard output, buffered; to be flushed at the end, so that an error is seen.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// One object on one line.
pub(crate) fn json_line(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

/// Named things as an object in their own order.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<T>(pub(crate) Vec<(String, T)>);

impl<T: Serialize> Serialize for Pairs<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A value as JSON: an instant is RFC 3339 text, and what JSON has no number for is null.
#[derive(Clone, Debug)]
pub(crate) struct Json(pub(crate) Value);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(i) => serializer.serialize_i64(*i),
            Value::Float(x) if x.is_finite() => serializer.serialize_f64(*x),
            Value::Float(_) => serializer.serialize_unit(),
            Value::Str(s) => serializer.serialize_str(s),
            Value::Time(t) => serializer.collect_str(t),
            Value::List(items) => serializer.collect_seq(items.iter().map(|item| Json(item.clone()))),
        }
    }
}

/// The key of an entity, by the names of its columns.
pub(crate) fn entity_of(definitions: &Definitions, view: &View, key: &[u8]) -> Pairs<Json> {
    let names = definitions.entities[view.entity].keys.columns.iter().map(|column| column.name.clone());
    let values = decode_key(key).unwrap_or_default().into_iter().map(Json);
    Pairs(names.zip(values).collect())
}

/// `customer_id=596 terminal_id=3`
pub(crate) fn text_of(pairs: &Pairs<Json>) -> String {
    let words: Vec<String> = pairs.0.iter().map(|(name, value)| format!("{name}={}", value.0)).collect();
    words.join(" ")
}

/// As the contract writes it.
pub(crate) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Present => "PRESENT",
        Status::Null => "NULL",
        Status::NotFound => "NOT_FOUND",
        Status::Expired => "EXPIRED",
    }
}

/// A watermark for people; JSON has [`Time`]'s own text.
pub(crate) fn watermark_text(watermark: Time) -> String {
    match watermark {
        Time::NONE => "none yet".to_owned(),
        Time::MAX => "the end of time (every input has ended)".to_owned(),
        at => at.to_string(),
    }
}

/// What became of the events of a view.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counts {
    accepted: u64,
    partially_late: u64,
    late: u64,
    duplicates: u64,
    unassigned: u64,
}

impl From<ViewCounts> for Counts {
    fn from(counts: ViewCounts) -> Counts {
        let ViewCounts { accepted, partially_late, late, duplicates, unassigned } = counts;
        Counts { accepted, partially_late, late, duplicates, unassigned }
    }
}
