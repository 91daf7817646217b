//! What a commit keeps for the offline store: its records with all columns of their source, and what the router knows of each, as an Arrow
//! stream. Its schema's metadata says of which partition they are.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use floodmark_features::definition::Source;
use floodmark_features::time::Time;
use floodmark_store::CommitEvents;
use floodmark_store::kept::column;

/// The records of a commit that are routed.
pub(crate) struct Keeping {
    first: u64,
    rows: Vec<u32>,
    visible: Vec<i64>,
    /// Where the source declares no id.
    ids: Option<Vec<i64>>,
    offsets: Vec<i64>,
}

impl Keeping {
    /// No records of a source yet; the first one will have this sequence number.
    pub(crate) fn new(source: &Source, first: u64, room: usize) -> Keeping {
        let numbers = || Vec::with_capacity(room);
        let ids = source.event_id.is_none().then(numbers);
        Keeping { first, rows: Vec::with_capacity(room), visible: numbers(), ids, offsets: numbers() }
    }

    /// Adds a row of the batch.
    pub(crate) fn push(&mut self, row: usize, visible: Time, made_id: u64, offset: u64) {
        self.rows.push(row as u32);
        self.visible.push(visible.micros());
        self.ids.iter_mut().for_each(|ids| ids.push(made_id as i64));
        self.offsets.push(offset as i64);
    }

    /// For the commit; nothing if there are no rows.
    pub(crate) fn finish(self, batch: &RecordBatch, partition: &str) -> Option<CommitEvents> {
        let rows = self.rows.len() as u64;
        if rows == 0 {
            return None;
        }
        let sequences = self.first..self.first + rows;
        // Its columns are of one length, and an Arrow stream holds columns of any type.
        let bytes = self.encode(batch, partition).expect("a batch as an Arrow stream");
        Some(CommitEvents { sequences, bytes })
    }

    fn encode(self, batch: &RecordBatch, partition: &str) -> Result<Vec<u8>, ArrowError> {
        let batch = match self.rows.len() == batch.num_rows() {
            true => batch.clone(),
            false => take_record_batch(batch, &UInt32Array::from(self.rows))?,
        };
        let numbers = |numbers: Vec<i64>| Arc::new(Int64Array::from(numbers)) as ArrayRef;
        let mut more: Vec<(&str, ArrayRef)> = vec![(column::VISIBLE_FROM, Arc::new(TimestampMicrosecondArray::from(self.visible)))];
        more.extend(self.ids.map(|ids| (column::EVENT_ID, numbers(ids))));
        more.push((column::OFFSET, numbers(self.offsets)));
        let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
        fields.extend(more.iter().map(|(name, column)| Arc::new(Field::new(*name, column.data_type().clone(), true))));
        let columns = batch.columns().iter().cloned().chain(more.into_iter().map(|(_, column)| column)).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, HashMap::from([(column::PARTITION.to_owned(), partition.to_owned())])));
        let mut stream = StreamWriter::try_new(Vec::new(), &schema)?;
        stream.write(&RecordBatch::try_new(schema, columns)?)?;
        stream.into_inner()
    }
}
