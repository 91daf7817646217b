//! A source of the definition file.

use super::error::Problems;
use super::grammar::SOURCE;
use super::reader::Item;
use super::{Source, WhenAllIdle};
use crate::schema::Schema;
use crate::time::Span;
use crate::value::Type;

/// `None` if its columns are unknown; else what is wrong with the rest has been told.
pub(super) fn parse(name: &str, item: &Item<'_>, problems: &mut Problems) -> Option<Source> {
    let fields = item.fields(&SOURCE, problems)?;
    let span_or = |key: &str, default: Span, problems: &mut Problems| match fields.get(key) {
        Some(item) => item.span(problems).unwrap_or(default),
        None => default,
    };
    let max_out_of_orderness = span_or("max_out_of_orderness", Span::ZERO, problems);
    let allowed_lateness = span_or("allowed_lateness", Span::ZERO, problems);
    let max_future_skew = span_or("max_future_skew", Span::from_secs(10 * 60), problems);
    let idle_timeout = span_or("idle_timeout", Span::from_secs(60), problems);
    let when_all_idle = match fields.get("when_all_idle") {
        Some(item) => item.one_of(&[("hold", WhenAllIdle::Hold), ("advance", WhenAllIdle::Advance)], problems).unwrap_or_default(),
        None => WhenAllIdle::default(),
    };
    let retention = fields.get("retention").and_then(|item| item.positive_span(problems));

    let schema_at = fields.get("schema")?;
    let schema = schema_at.schema(problems)?;
    if schema.columns.is_empty() {
        schema_at.wrong("expected at least one column", problems);
    }
    let event_time = column_of(fields.get("event_time")?, &schema, &[Type::Timestamp], problems)?;
    let event_id = fields.get("event_id").and_then(|item| column_of(item, &schema, &[Type::Int64, Type::String], problems));
    Some(Source {
        name: name.to_owned(),
        schema,
        event_time,
        event_id,
        max_out_of_orderness,
        allowed_lateness,
        max_future_skew,
        idle_timeout,
        when_all_idle,
        retention,
    })
}

/// The column that is named there, if it has one of these types.
fn column_of(item: &Item<'_>, schema: &Schema, kinds: &[Type], problems: &mut Problems) -> Option<usize> {
    let position = item.column(schema, problems)?;
    let column = &schema.columns[position];
    if kinds.contains(&column.kind) {
        return Some(position);
    }
    let expected: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    item.wrong(format!("column \"{}\" is {}, expected {}", column.name, column.kind, expected.join(" or ")), problems);
    None
}
