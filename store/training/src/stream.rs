//! A training set of rows that come in batches: features beside them, block by block, all as of one version.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use floodmark_store::Store;

use crate::error::TrainingError;
use crate::matrix::SEGMENT_ROWS;
use crate::spine::Spine;
use crate::sweep::Sweeper;
use crate::{TrainingSpec, columns_of, missing_request_fields, notes, schema_of};

/// What the spine of a stream is called in errors.
const NAME: &str = "stream";

/// Adds features to blocks of rows. The rows of a block are worked on together: the larger, the better; its memory is a multiple of theirs.
#[derive(Debug)]
pub struct TrainingStream {
    store: Arc<Store>,
    spec: TrainingSpec,
    spine: Spine,
    schema: SchemaRef,
    /// How many of its columns are the rows' own.
    carried: usize,
}

impl TrainingStream {
    /// For rows of these columns. The version that is the newest now, unless another one is asked for, is that of all blocks.
    pub fn new(store: Arc<Store>, mut spec: TrainingSpec, columns: &SchemaRef) -> Result<TrainingStream, TrainingError> {
        let spine = Spine::new(NAME.to_owned(), columns.clone(), &spec)?;
        let version = store.sweep(&spec.lookup, spec.version, spec.mode)?.version();
        spec.version = Some(version);
        let added = schema_of(&spec);
        let fields: Vec<Arc<Field>> = columns.fields().iter().chain(added.fields()).cloned().collect();
        let told = notes(&spec, version).into_iter().map(|(name, value)| (name.to_owned(), value));
        let metadata: HashMap<String, String> =
            columns.metadata().clone().into_iter().filter(|(name, _)| name != "pandas").chain(told).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        Ok(TrainingStream { store, spec, spine, schema, carried: columns.fields().len() })
    }

    /// The same, which gives only what is added: for callers that have the rows.
    pub fn without_rows(mut self) -> TrainingStream {
        let added = self.schema.fields()[self.carried..].to_vec();
        self.schema = Arc::new(Schema::new_with_metadata(added, self.schema.metadata().clone()));
        self.carried = 0;
        self
    }

    /// The columns of the rows, then those that are added, and what the training set is built with.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Request fields that the rows do not have: null for derived features.
    pub fn missing_request_fields(&self) -> Vec<String> {
        missing_request_fields(&self.spec, &self.spine)
    }

    /// The same rows in the same order, with the features beside them.
    pub fn add(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, TrainingError> {
        let broken = |error: arrow::error::ArrowError| TrainingError::Rows { spine: NAME.to_owned(), detail: error.to_string() };
        let block = self.spine.block_of(batches)?;
        let sweeper = Sweeper::new(&self.store, &self.spec, &self.spine, block.rows as u64, &|_| ())?;
        let swept = sweeper.sweep(&block, sweeper.route(&block)?)?;
        let pieces = columns_of(&self.spec, &self.spine, &block, &swept)?;
        let carried = match self.carried {
            0 => Vec::new(),
            _ => {
                let columns = batches.first().map_or_else(|| self.rows_schema(), RecordBatch::schema);
                arrow::compute::concat_batches(&columns, batches).map_err(broken)?.columns().to_vec()
            }
        };
        let of_piece = |(at, piece): (usize, Vec<ArrayRef>)| {
            let start = at * SEGMENT_ROWS;
            let many = SEGMENT_ROWS.min(block.rows - start);
            let columns = carried.iter().map(|column| column.slice(start, many)).chain(piece).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(many));
            RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(broken)
        };
        pieces.into_iter().enumerate().map(of_piece).collect()
    }

    fn rows_schema(&self) -> SchemaRef {
        Arc::new(self.spine.schema().clone())
    }
}
