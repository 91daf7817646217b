//! The events of a source between two times: what statistics and samples are made of.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use floodmark_features::definition::Source;
use floodmark_features::time::Time;
use floodmark_store::kept::column;

use crate::error::OfflineError;
use crate::{OfflineStore, events};

impl OfflineStore {
    /// The source's columns of its events from one time to before another; of more than `most`, so many that are chosen by what does not
    /// depend on them, the same ones each time.
    pub fn between(&self, source: usize, from: Time, to: Time, most: usize) -> Result<RecordBatch, OfflineError> {
        let (table, definition) = (&self.events[source], &self.definitions.sources[source]);
        let schema = events::schema_of(definition);
        let own: Vec<usize> = (0..definition.schema.columns.len()).collect();
        let sequence = schema.index_of(column::SEQUENCE)?;
        let mut found = Vec::new();
        for file in table.files()? {
            for batch in table.read_file(&file, None)? {
                let batch = events::filled(&batch, &schema)?;
                let times = batch.column(definition.event_time).as_primitive::<TimestampMicrosecondType>();
                let inside = |time: Option<i64>| time.is_some_and(|time| (from.micros()..to.micros()).contains(&time));
                let inside: BooleanArray = times.iter().map(|time| Some(inside(time))).collect();
                found.push(filter_record_batch(&batch, &inside)?);
            }
        }
        let all = concat_batches(&schema, &found)?;
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
