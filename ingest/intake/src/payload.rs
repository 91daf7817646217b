//! A record as text: one JSON object, as the late and rejected side outputs keep it.

use std::fmt::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;

/// A payload in a side output is cut at this many bytes.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024;

/// Marks where a payload was cut.
const CUT: &str = "…";

/// One row of a batch as a JSON object, in the order of its columns, times as RFC 3339 in UTC with microseconds.
///
/// Made for the types of a source; any other type is written as its text.
pub fn payload_of(batch: &RecordBatch, row: usize) -> String {
    let schema = batch.schema_ref();
    object(
        schema.fields().iter().zip(batch.columns()).map(|(field, column)| (field.name().as_str(), column)),
        |column, out| match value_at(column, row) {
            Some(value) => write_value(value, out),
            None => write_other(column, row, out),
        },
    )
}

/// A row of values as a JSON object.
pub fn payload_of_values<'a>(fields: impl IntoIterator<Item = (&'a str, ValueRef<'a>)>) -> String {
    object(fields, write_value)
}

/// Cuts a text at [`MAX_PAYLOAD_BYTES`], between two characters.
pub fn bounded(mut text: String) -> String {
    if text.len() > MAX_PAYLOAD_BYTES {
        text.truncate(text.floor_char_boundary(MAX_PAYLOAD_BYTES - CUT.len()));
        text.push_str(CUT);
        text.shrink_to_fit();
    }
    text
}

/// The beginning of some bytes as text, what is not UTF-8 replaced.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_PAYLOAD_BYTES + 1)]).into_owned()
}

/// The beginning of some bytes: as text where they are text, else in hexadecimal digits.
pub fn text_or_hex(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        // A character more than fits, so that the cut will show.
        return text[..text.floor_char_boundary(MAX_PAYLOAD_BYTES + 4)].to_owned();
    }
    bytes.iter().take(MAX_PAYLOAD_BYTES / 2 + 1).fold(String::from("0x"), |mut out, byte| {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The value of a column of one of the types that a [`crate::batch::SourceBatch`] has; `None` for another type.
pub fn value_at(column: &dyn Array, row: usize) -> Option<ValueRef<'_>> {
    if column.is_null(row) {
        return Some(ValueRef::Null);
    }
    Some(match column.data_type() {
        DataType::Boolean => ValueRef::Bool(column.as_boolean().value(row)),
        DataType::Int64 => ValueRef::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => ValueRef::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => ValueRef::Str(column.as_string::<i32>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            ValueRef::Time(Time::from_micros(column.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        _ => return None,
    })
}

fn object<'a, V>(fields: impl IntoIterator<Item = (&'a str, V)>, mut write_field: impl FnMut(V, &mut String)) -> String {
    let mut out = String::from("{");
    for (position, (name, value)) in fields.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_text(name, &mut out);
        out.push(':');
        write_field(value, &mut out);
    }
    out.push('}');
    out
}

/// A value as JSON has it.
pub fn write_value(value: ValueRef<'_>, out: &mut String) {
    // Writing to a String does not fail.
    let _ = match value {
        ValueRef::Null => out.write_str("null"),
        ValueRef::Bool(b) => write!(out, "{b}"),
        ValueRef::Int(i) => write!(out, "{i}"),
        ValueRef::Float(x) if x.is_finite() => write!(out, "{x:?}"),
        ValueRef::Float(x) => write!(out, "\"{x}\""),
        ValueRef::Str(s) => return write_text(s, out),
        ValueRef::Time(t) => write!(out, "\"{t}\""),
    };
}

/// A value of a type that no schema has: a number as it is, anything else as its text; an instant beyond the calendar as its ticks.
fn write_other(column: &dyn Array, row: usize, out: &mut String) {
    let kind = column.data_type();
    let options = FormatOptions::default().with_display_error(false);
    let text = |column: &dyn Array, row| {
        let formatter = ArrayFormatter::try_new(column, &options).ok()?;
        formatter.value(row).try_to_string().ok()
    };
    match text(column, row) {
        Some(number) if kind.is_integer() || kind.is_decimal() => out.push_str(&number),
        Some(other) => write_text(&other, out),
        None => {
            let ticks = cast(&column.slice(row, 1), &DataType::Int64).ok();
            out.push_str(&ticks.and_then(|ticks| text(&ticks, 0)).unwrap_or_else(|| "null".to_owned()));
        }
    }
}

/// A text as JSON has it, in quotes.
pub fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests;
