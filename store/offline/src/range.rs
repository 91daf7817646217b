//! The events of a source between two times: what statistics and samples are made of.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{and, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Float64Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use floodmark_features::definition::Source;
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_store::kept::column;

use crate::error::OfflineError;
use crate::{OfflineStore, events};

impl OfflineStore {
    /// The source's columns of its events from one time to before another, of those with these values in these of its columns; of more than
    /// `most`, so many that are chosen by what does not depend on them, the same ones each time.
    pub fn between(
        &self,
        source: usize,
        (from, to): (Time, Time),
        only: &[(usize, Value)],
        most: usize,
    ) -> Result<RecordBatch, OfflineError> {
        let (table, definition) = (&self.events[source], &self.definitions.sources[source]);
        let schema = events::schema_of(definition);
        let own: Vec<usize> = (0..definition.schema.columns.len()).collect();
        let sequence = schema.index_of(column::SEQUENCE)?;
        let mut found = Vec::new();
        for (file, _) in table.files_within(&definition.schema.columns[definition.event_time].name, (from, to))? {
            for batch in table.read_file(&file, None)? {
                let batch = events::filled(&batch?, &schema)?;
                let times = batch.column(definition.event_time).as_primitive::<TimestampMicrosecondType>();
                let inside = |time: Option<i64>| time.is_some_and(|time| (from.micros()..to.micros()).contains(&time));
                let inside: BooleanArray = times.iter().map(|time| Some(inside(time))).collect();
                let inside = only.iter().try_fold(inside, |inside, (at, value)| and(&inside, &is(batch.column(*at), value)))?;
                found.push(filter_record_batch(&batch, &inside)?);
            }
        }
        let all = concat_batches(&schema, &found)?;
        drop(found);
        if all.num_rows() <= most {
            return Ok(all.project(&own)?);
        }
        let sequences = all.column(sequence).as_primitive::<Int64Type>().values();
        let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
        order.select_nth_unstable_by_key(most, |row| scattered(sequences[*row as usize] as u64));
        order.truncate(most);
        order.sort_unstable();
        Ok(take_record_batch(&all.project(&own)?, &UInt32Array::from(order))?)
    }
}

/// Which rows have a value.
fn is(column: &ArrayRef, value: &Value) -> BooleanArray {
    match value {
        Value::Bool(b) => column.as_boolean().iter().map(|found| Some(found == Some(*b))).collect(),
        Value::Int(i) => column.as_primitive::<Int64Type>().iter().map(|found| Some(found == Some(*i))).collect(),
        Value::Float(x) => column.as_primitive::<Float64Type>().iter().map(|found| Some(found == Some(*x))).collect(),
        Value::Str(s) => column.as_string::<i32>().iter().map(|found| Some(found == Some(s))).collect(),
        Value::Time(t) => column.as_primitive::<TimestampMicrosecondType>().iter().map(|found| Some(found == Some(t.micros()))).collect(),
        Value::Null | Value::List(_) => (0..column.len()).map(|row| Some(column.is_null(row))).collect(),
    }
}

/// A file of a source's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFile {
    /// Its path in the table.
    pub path: String,
    /// Whether its events came too late for every view of then.
    pub late: bool,
    /// How many there are.
    pub events: u64,
}

impl OfflineStore {
    /// The files that may hold events of a source from one time to another, both included: those whose statistics do not say otherwise.
    pub fn event_files(&self, source: usize, within: (Time, Time)) -> Result<Vec<EventFile>, OfflineError> {
        let definition = &self.definitions.sources[source];
        let time = &definition.schema.columns[definition.event_time].name;
        let mut files = Vec::new();
        for (late, table) in [(false, Some(&self.events[source])), (true, self.late[source].as_ref())] {
            let found = table.map_or(Ok(Vec::new()), |table| table.files_within(time, within))?;
            files.extend(found.into_iter().map(|(path, events)| EventFile { path, late, events }));
        }
        Ok(files)
    }

    /// The events of a file batch by batch: those of its source's columns that are asked for by their places, and those of [`column`].
    pub fn read_events(
        &self,
        source: usize,
        file: &EventFile,
        columns: &[usize],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, OfflineError>>, OfflineError> {
        let definition = &self.definitions.sources[source];
        let whole = events::schema_of(definition);
        let own = definition.schema.columns.len();
        let wanted: Vec<usize> = columns.iter().copied().chain(own..whole.fields().len()).collect();
        let schema = Arc::new(whole.project(&wanted)?);
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let table = if file.late { self.late[source].as_ref() } else { Some(&self.events[source]) };
        let batches = table.map(|table| table.read_file(&file.path, Some(&names))).transpose()?;
        Ok(batches.into_iter().flatten().map(move |batch| events::filled(&batch?, &schema)))
    }
}

/// The columns of [`OfflineStore::between`].
pub fn columns_of(source: &Source) -> SchemaRef {
    let fields = events::schema_of(source).fields()[..source.schema.columns.len()].to_vec();
    Arc::new(Schema::new(fields))
}

/// A number that looks like chance (the finaliser of SplitMix64).
fn scattered(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
