//! A training set as a stream of batches, worked on as it is read.

use std::collections::VecDeque;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ffi_stream::RecordBatchStreamReader;
use floodmark_training::TrainingStream;

/// Rows that are worked on together.
const BLOCK_ROWS: usize = 1 << 20;

/// Rows in, the same rows with their features out.
pub(crate) struct TrainingReader {
    set: TrainingStream,
    rows: RecordBatchStreamReader,
    ready: VecDeque<RecordBatch>,
    ended: bool,
}

impl TrainingReader {
    pub(crate) fn new(set: TrainingStream, rows: RecordBatchStreamReader) -> TrainingReader {
        TrainingReader { set, rows, ready: VecDeque::new(), ended: false }
    }

    fn fill(&mut self) -> Result<(), ArrowError> {
        let (mut block, mut rows) = (Vec::new(), 0);
        while rows < BLOCK_ROWS && !self.ended {
            match self.rows.next().transpose()? {
                Some(batch) => {
                    rows += batch.num_rows();
                    block.push(batch);
                }
                None => self.ended = true,
            }
        }
        self.ready = self.set.add(&block).map_err(|error| ArrowError::ExternalError(Box::new(error)))?.into();
        Ok(())
    }
}

impl Iterator for TrainingReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.ended {
            if let Err(error) = self.fill() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl RecordBatchReader for TrainingReader {
    fn schema(&self) -> SchemaRef {
        self.set.schema().clone()
    }
}
