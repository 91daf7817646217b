//! Batches of other types become batches of a source: columns are handed through as they are, and cast only where the types differ.

mod checks;
mod widen;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

use super::Layout;
use crate::batch::SourceBatch;
use crate::offsets::Offsets;
use crate::payload::payload_of;
use crate::reject::Reject;
use checks::Faults;
pub use widen::widens;

/// Which columns of a batch are those of a source.
pub struct Typed {
    layout: Layout,
    /// For each column of the source, its position in a batch.
    order: Vec<usize>,
}

impl Typed {
    /// Each of these columns has a type that [`widens`] to the source's.
    pub fn new(layout: Layout, order: Vec<usize>) -> Typed {
        Typed { layout, order }
    }

    /// The rows that are events, and the others as rejects; the first one stands at `first`.
    pub fn batch_of(&self, raw: &RecordBatch, first: u64) -> Result<SourceBatch, ArrowError> {
        let mut faults = Faults::default();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.order.len());
        for (position, (column, place)) in self.layout.columns.iter().zip(&self.order).enumerate() {
            let given = raw.column(*place);
            let values = widen::widen(given, column.kind)?;
            faults.check(given, &values, column, self.layout.roles[position]);
            columns.push(values);
        }
        let rows = raw.num_rows();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = RecordBatch::try_new_with_options(self.layout.schema.clone(), columns, &options)?;
        let end = first + rows as u64;
        if faults.rows.is_empty() {
            return Ok(SourceBatch { columns, offsets: Offsets::Range(first..end), appended: Vec::new(), rejects: Vec::new(), end });
        }
        let good = BooleanArray::from_iter((0..rows).map(|row| Some(!faults.rows.contains_key(&row))));
        let mut offsets = Offsets::default();
        (0..rows).filter(|row| good.value(*row)).for_each(|row| offsets.push(first + row as u64));
        let rejects = faults.rows.into_iter().map(|(row, reason)| Reject::new(first + row as u64, reason, payload_of(raw, row)));
        Ok(SourceBatch { columns: filter_record_batch(&columns, &good)?, offsets, appended: Vec::new(), rejects: rejects.collect(), end })
    }
}
