//! The table of a source's events: its columns, and how what waits in the store becomes rows.
//!
//! ```text
//!   the source's columns | _visible_from | [_event_id] | _partition | _offset | _version | _sequence
//! ```
//!
//! Each accepted event is one row; late ones and duplicates are none. `_event_id` is there where the source declares no id of its own.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;
use floodmark_features::definition::Source;
use floodmark_features::value::Type;
use floodmark_store::Kept;
use floodmark_store::kept::column;

use crate::error::OfflineError;

/// An instant, as tables hold it.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn type_of(kind: Type) -> DataType {
    match kind {
        Type::Bool => DataType::Boolean,
        Type::Int64 => DataType::Int64,
        Type::Float64 => DataType::Float64,
        Type::String => DataType::Utf8,
        Type::Timestamp => instant(),
    }
}

/// What the table of a source's events is called.
pub(crate) fn table_of(source: &Source) -> String {
    format!("events/{}", source.name)
}

/// The columns of a source's table.
pub(crate) fn schema_of(source: &Source) -> SchemaRef {
    let mut fields: Vec<Field> = source.schema.columns.iter().map(|column| Field::new(&column.name, type_of(column.kind), true)).collect();
    fields.push(Field::new(column::VISIBLE_FROM, instant(), true));
    if source.event_id.is_none() {
        fields.push(Field::new(column::EVENT_ID, DataType::Int64, true));
    }
    fields.push(Field::new(column::PARTITION, DataType::Utf8, true));
    for name in [column::OFFSET, column::VERSION, column::SEQUENCE] {
        fields.push(Field::new(name, DataType::Int64, true));
    }
    Arc::new(Schema::new(fields))
}

/// The columns of a source's table that are read where these of the source's are needed: its time and id with them, and the store's own.
pub(crate) fn names_of<'a>(source: &Source, schema: &'a Schema, needed: &[usize]) -> Vec<&'a str> {
    let always = |at: usize| at >= source.schema.columns.len() || at == source.event_time || source.event_id == Some(at);
    (0..schema.fields().len()).filter(|at| always(*at) || needed.contains(at)).map(|at| schema.field(at).name().as_str()).collect()
}

/// What the table of a source's events is called that came too late for every view.
pub(crate) fn late_table_of(source: &Source) -> String {
    format!("late_events/{}", source.name)
}

/// The accepted events of a commit, as rows of that schema.
pub(crate) fn rows_of(kept: &Kept, schema: &SchemaRef) -> Result<Vec<RecordBatch>, OfflineError> {
    rows_with(kept, schema, |sequence| kept.refused.binary_search(&sequence).is_err())
}

/// Its events that came too late for every view, in the same way.
pub(crate) fn late_rows_of(kept: &Kept, schema: &SchemaRef) -> Result<Vec<RecordBatch>, OfflineError> {
    match kept.late.is_empty() {
        true => Ok(Vec::new()),
        false => rows_with(kept, schema, |sequence| kept.late.binary_search(&sequence).is_ok()),
    }
}

fn rows_with(kept: &Kept, schema: &SchemaRef, wanted: impl Fn(u64) -> bool) -> Result<Vec<RecordBatch>, OfflineError> {
    let mut first = kept.first;
    let mut all = Vec::new();
    let stream = StreamReader::try_new(kept.bytes.as_slice(), None)?;
    let partition = stream.schema().metadata().get(column::PARTITION).cloned().unwrap_or_default();
    for batch in stream {
        let batch = batch?;
        let rows = batch.num_rows();
        let sequences: Vec<i64> = (first..first + rows as u64).map(|sequence| sequence as i64).collect();
        first += rows as u64;
        let taken: BooleanArray = sequences.iter().map(|sequence| Some(wanted(*sequence as u64))).collect();
        let versions = Int64Array::from_value(kept.version as i64, rows);
        let partitions = StringArray::from_iter_values(std::iter::repeat_n(&partition, rows));
        // By name: what waits may be older than the definitions.
        let column = |field: &Arc<Field>| -> ArrayRef {
            match field.name().as_str() {
                column::PARTITION => Arc::new(partitions.clone()),
                column::VERSION => Arc::new(versions.clone()),
                column::SEQUENCE => Arc::new(Int64Array::from(sequences.clone())),
                name => batch.column_by_name(name).map_or_else(|| new_null_array(field.data_type(), rows), in_utc),
            }
        };
        let batch = RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect())?;
        all.push(if taken.true_count() == rows { batch } else { filter_record_batch(&batch, &taken)? });
    }
    all.retain(|batch| batch.num_rows() > 0);
    Ok(all)
}

/// The same rows with these columns: those that a file does not have are null. Files that others have written may hold the same values in
/// another form, such as text with other offsets; a value that the column cannot hold is an error.
pub(crate) fn filled(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, OfflineError> {
    let exactly = CastOptions { safe: false, ..CastOptions::default() };
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        Some(found) if found.data_type() == field.data_type() => Ok(found.clone()),
        Some(found) => cast_with_options(found, field.data_type(), &exactly),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Instants say that they are of UTC.
fn in_utc(column: &ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(instants) => Arc::new(instants.clone().with_timezone("UTC")),
        None => column.clone(),
    }
}
