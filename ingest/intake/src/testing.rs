//! Sources and batches that tests begin with, here and in the rooms that read files and records.

use std::fmt::Write;

use floodmark_features::definition::{self, WhenAllIdle};
use floodmark_features::schema::{Column, Schema};
use floodmark_features::time::Span;
use floodmark_features::value::Type;

use crate::batch::SourceBatch;
use crate::payload::payload_of;

/// A source of payments: `customer` (position 2) is the key.
pub fn payments() -> definition::Source {
    source(&[
        ("id", Type::Int64),
        ("at", Type::Timestamp),
        ("customer", Type::Int64),
        ("amount", Type::Float64),
        ("fraud", Type::Bool),
        ("note", Type::String),
    ])
}

/// A source whose first column is the event id and whose second is the event time.
pub fn source(columns: &[(&str, Type)]) -> definition::Source {
    definition::Source {
        name: "payments".to_owned(),
        schema: Schema { columns: columns.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect() },
        event_time: 1,
        event_id: Some(0),
        max_out_of_orderness: Span::ZERO,
        allowed_lateness: Span::ZERO,
        max_future_skew: Span::from_secs(600),
        idle_timeout: Span::from_secs(60),
        when_all_idle: WhenAllIdle::Hold,
        retention: None,
    }
}

/// A batch as text: rows with their offsets, then rejects, then the end.
pub fn show(batch: &SourceBatch) -> String {
    assert_eq!(batch.offsets.len(), batch.columns.num_rows());
    let mut out = String::new();
    for (row, offset) in batch.offsets.iter().enumerate() {
        let _ = writeln!(out, "{offset} {}", payload_of(&batch.columns, row));
    }
    for reject in &batch.rejects {
        let _ = writeln!(out, "{} {} {}", reject.offset, reject.reason.code(), reject.payload);
    }
    let _ = write!(out, "end {}", batch.end);
    out
}
