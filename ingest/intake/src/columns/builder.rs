//! The builder of a [`SourceBatch`], row by row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use floodmark_features::definition::Source;
use floodmark_features::schema::Column;
use floodmark_features::value::{Type, ValueRef};
use smallvec::SmallVec;

use super::Layout;
use super::json_row;
use crate::batch::{BATCH_BYTES, BATCH_ROWS, SourceBatch};
use crate::field::{Raw, typed_text};
use crate::offsets::Offsets;
use crate::payload::payload_of_values;
use crate::reject::{Reject, RejectReason};

/// Collects rows of one source, typed by its schema; [`RowBuilder::finish`] makes a batch of them and starts anew.
///
/// Offsets are expected in ascending order.
#[derive(Debug)]
pub struct RowBuilder {
    layout: Layout,
    columns: Vec<ColumnBuilder>,
    offsets: Offsets,
    /// How many the last batch had.
    last: usize,
    rejects: Vec<Reject>,
    /// Bytes of text taken, accepted or not.
    bytes: usize,
    /// Of the next row, columns that are taken from here where it says nothing of them.
    beside: Vec<(usize, Option<String>)>,
}

impl RowBuilder {
    /// An empty builder. `required` are the positions of columns that must not be null beside the event time and the event id.
    pub fn new(source: &Source, required: &[usize]) -> RowBuilder {
        let layout = Layout::new(source, required);
        let columns = layout.columns.iter().map(|column| ColumnBuilder::with_capacity(column.kind, 0)).collect();
        RowBuilder { layout, columns, offsets: Offsets::default(), last: 0, rejects: Vec::new(), bytes: 0, beside: Vec::new() }
    }

    /// Takes a row of values in the order of the schema; an integer will do for a float. `false` if it was rejected.
    pub fn push(&mut self, offset: u64, row: &[ValueRef<'_>]) -> bool {
        let expected = self.columns.len();
        let taken = if row.len() == expected {
            self.take(offset, |position, _| Ok(row[position]))
        } else {
            Err(RejectReason::FieldCount { expected, found: row.len() })
        };
        let payload = |names: &[Column]| payload_of_values(names.iter().map(|c| c.name.as_str()).zip(row.iter().copied()));
        self.settle(offset, taken, payload)
    }

    /// Takes a JSON object: fields by name, unknown ones ignored, missing ones null. `false` if it was rejected.
    pub fn push_json(&mut self, offset: u64, record: &serde_json::Value) -> bool {
        let taken = match record.as_object() {
            Some(fields) => {
                let raws: Vec<Raw<'_>> =
                    self.layout.columns.iter().map(|column| fields.get(&column.name).map_or(Raw::Null, Raw::of_json)).collect();
                self.take(offset, |position, column| raws[position].typed(column))
            }
            None => Err(RejectReason::NotAnObject),
        };
        self.settle(offset, taken, |_| record.to_string())
    }

    /// Takes the text of a JSON object, as [`RowBuilder::push_json`] does. `false` if it was rejected.
    pub fn push_json_text(&mut self, offset: u64, text: &str) -> bool {
        let mut row = json_row::Raws::new();
        let parsed = json_row::parse(text, &self.layout.columns, &mut row);
        self.push_raws(offset, text.len(), |_| parsed.map(|()| row.as_slice()), || text.to_owned())
    }

    /// Takes a record of that many bytes that `parse` makes one field for each column of; the payload is made only if it has to be
    /// rejected.
    pub fn push_raws<'a, R: AsRef<[Raw<'a>]>>(
        &mut self,
        offset: u64,
        bytes: usize,
        parse: impl FnOnce(&[Column]) -> Result<R, RejectReason>,
        payload: impl FnOnce() -> String,
    ) -> bool {
        let parsed = parse(&self.layout.columns);
        let taken = parsed.and_then(|raws| self.take(offset, |position, column| raws.as_ref()[position].typed(column)));
        self.bytes += bytes;
        self.settle(offset, taken, |_| payload())
    }

    /// Takes a row that `read` gives field by field; the payload is made only if it has to be rejected.
    pub fn push_with<'a>(
        &mut self,
        offset: u64,
        read: impl FnMut(usize, &Column) -> Result<ValueRef<'a>, RejectReason>,
        payload: impl FnOnce() -> String,
    ) -> bool {
        let taken = self.take(offset, read);
        self.settle(offset, taken, |_| payload())
    }

    /// Columns of the next record, by position, that are this text where the record itself says nothing of them.
    pub fn set_beside(&mut self, columns: Vec<(usize, Option<String>)>) {
        self.beside = columns;
    }

    /// Puts a record that is not a row at all among the rejects.
    pub fn reject(&mut self, reject: Reject) {
        self.bytes += reject.payload.len();
        self.rejects.push(reject);
    }

    /// Rows and rejects so far.
    pub fn len(&self) -> usize {
        self.offsets.len() + self.rejects.len()
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// Whether nothing was taken and nothing was rejected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is time to [`RowBuilder::finish`]: [`BATCH_ROWS`] or [`BATCH_BYTES`] are reached.
    pub fn is_full(&self) -> bool {
        self.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// The batch of what was taken and rejected since the last one; `end` is the position after it.
    pub fn finish(&mut self, end: u64) -> SourceBatch {
        let offsets = std::mem::take(&mut self.offsets);
        self.last = offsets.len();
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(offsets.len()));
        let columns = RecordBatch::try_new_with_options(self.layout.schema.clone(), arrays, &options)
            .expect("the builders have the types of the schema and equal lengths");
        self.bytes = 0;
        SourceBatch { columns, offsets, appended: Vec::new(), rejects: std::mem::take(&mut self.rejects), end }
    }

    /// Appends the row if every field of it is good.
    fn take<'a>(
        &mut self,
        offset: u64,
        mut read: impl FnMut(usize, &Column) -> Result<ValueRef<'a>, RejectReason>,
    ) -> Result<(), RejectReason> {
        let mut row: SmallVec<[ValueRef<'_>; json_row::FIELDS]> = SmallVec::new();
        for (position, column) in self.layout.columns.iter().enumerate() {
            let value = match (read(position, column)?, self.beside.iter().find(|(beside, _)| *beside == position)) {
                (ValueRef::Null, Some((_, Some(text)))) => typed_text(text, column)?,
                (value, _) => value,
            };
            row.push(self.layout.checked(position, value)?);
        }
        if self.offsets.is_empty() {
            // A batch tends to be about as long as the last one, and columns that grow are copied each time. Not before there is a row: a
            // partition at rest holds no memory.
            let room = |column: &Column| ColumnBuilder::with_capacity(column.kind, self.last);
            self.columns = self.layout.columns.iter().map(room).collect();
        }
        for (builder, value) in self.columns.iter_mut().zip(row) {
            if let ValueRef::Str(text) = value {
                self.bytes += text.len();
            }
            builder.append(value);
        }
        self.offsets.push(offset);
        Ok(())
    }

    fn settle(&mut self, offset: u64, taken: Result<(), RejectReason>, payload: impl FnOnce(&[Column]) -> String) -> bool {
        match taken {
            Ok(()) => true,
            Err(reason) => {
                let reject = Reject::new(offset, reason, payload(&self.layout.columns));
                self.reject(reject);
                false
            }
        }
    }
}

#[derive(Debug)]
enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Str(StringBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl ColumnBuilder {
    /// With room for so many rows.
    fn with_capacity(kind: Type, rows: usize) -> ColumnBuilder {
        match kind {
            Type::Bool => ColumnBuilder::Bool(BooleanBuilder::with_capacity(rows)),
            Type::Int64 => ColumnBuilder::Int(Int64Builder::with_capacity(rows)),
            Type::Float64 => ColumnBuilder::Float(Float64Builder::with_capacity(rows)),
            Type::String => ColumnBuilder::Str(StringBuilder::with_capacity(rows, 0)),
            Type::Timestamp => ColumnBuilder::Time(TimestampMicrosecondBuilder::with_capacity(rows)),
        }
    }

    /// The value is of the column's type; anything else would be null.
    fn append(&mut self, value: ValueRef<'_>) {
        match (self, value) {
            (ColumnBuilder::Bool(builder), ValueRef::Bool(b)) => builder.append_value(b),
            (ColumnBuilder::Bool(builder), _) => builder.append_null(),
            (ColumnBuilder::Int(builder), ValueRef::Int(i)) => builder.append_value(i),
            (ColumnBuilder::Int(builder), _) => builder.append_null(),
            (ColumnBuilder::Float(builder), ValueRef::Float(x)) => builder.append_value(x),
            (ColumnBuilder::Float(builder), _) => builder.append_null(),
            (ColumnBuilder::Str(builder), ValueRef::Str(s)) => builder.append_value(s),
            (ColumnBuilder::Str(builder), _) => builder.append_null(),
            (ColumnBuilder::Time(builder), ValueRef::Time(t)) => builder.append_value(t.micros()),
            (ColumnBuilder::Time(builder), _) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::Bool(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Int(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Float(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Str(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Time(builder) => Arc::new(builder.finish()),
        }
    }
}
