//! A spine in a Parquet file: its row groups, and how their columns are read.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::compute::concat_batches;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;

use crate::TrainingRequest;
use crate::error::TrainingError;
use crate::spine::{Block, Needed, Spine};
use crate::tasks::in_parallel;
use crate::words::Words;

/// Rows decoded at once.
const BATCH_ROWS: usize = 1 << 16;

/// An open file.
#[derive(Debug)]
pub(crate) struct SpineFile {
    pub(crate) path: PathBuf,
    pub(crate) metadata: ArrowReaderMetadata,
    pub(crate) spine: Spine,
}

pub(crate) fn open(path: &Path) -> Result<File, TrainingError> {
    File::open(path).map_err(|error| TrainingError::Open { path: path.to_owned(), error })
}

impl SpineFile {
    pub(crate) fn open(request: &TrainingRequest) -> Result<SpineFile, TrainingError> {
        let path = request.spine.clone();
        let file = open(&path)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options)
            .map_err(|error| TrainingError::NotParquet { path: path.clone(), detail: error.to_string() })?;
        let spine = Spine::new(path.display().to_string(), metadata.schema().clone(), &request.spec)?;
        Ok(SpineFile { path, metadata, spine })
    }

    /// Rows of all.
    pub(crate) fn rows(&self) -> u64 {
        self.metadata.metadata().file_metadata().num_rows().max(0) as u64
    }

    /// Rows of a row group.
    pub(crate) fn rows_in(&self, row_group: usize) -> usize {
        self.metadata.metadata().row_group(row_group).num_rows().max(0) as usize
    }

    /// Row groups that are worked on together: as many as stay below `rows`, and at least one.
    pub(crate) fn blocks(&self, rows: usize) -> Vec<std::ops::Range<usize>> {
        let mut blocks: Vec<std::ops::Range<usize>> = Vec::new();
        let mut filled = 0;
        for group in 0..self.metadata.metadata().num_row_groups() {
            let more = self.rows_in(group);
            match blocks.last_mut() {
                Some(block) if filled + more <= rows => {
                    block.end = group + 1;
                    filled += more;
                }
                _ => {
                    blocks.push(group..group + 1);
                    filled = more;
                }
            }
        }
        blocks
    }

    /// Decodes the needed columns of some row groups, each column of each row group by itself.
    pub(crate) fn read(&self, groups: std::ops::Range<usize>, threads: usize) -> Result<Block, TrainingError> {
        let columns = self.spine.needed.len();
        let parts = in_parallel(threads, groups.len() * columns, |at| {
            self.read_column(groups.start + at / columns, &self.spine.needed[at % columns])
        })?;
        let mut all: Vec<Words> = self.spine.needed.iter().map(|needed| Words::new(needed.kind)).collect();
        for (at, part) in parts.into_iter().enumerate() {
            if !all[at % columns].extend(part) {
                return Err(self.spine.too_much_text(&self.spine.needed[at % columns]));
            }
        }
        Ok(Block { rows: groups.map(|group| self.rows_in(group)).sum(), columns: all })
    }

    /// Some columns of some row groups, by their positions, which ascend.
    pub(crate) fn read_rows(&self, groups: std::ops::Range<usize>, positions: &[usize]) -> Result<RecordBatch, TrainingError> {
        let broken = |detail: String| TrainingError::Read { path: self.path.clone(), row_group: groups.start, detail };
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(open(&self.path)?, self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), positions.iter().copied());
        let builder = builder.with_projection(mask).with_row_groups(groups.clone().collect()).with_batch_size(BATCH_ROWS);
        let reader = builder.build().map_err(|error| broken(error.to_string()))?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| broken(error.to_string()))?;
        concat_batches(&schema, &batches).map_err(|error| broken(error.to_string()))
    }

    fn read_column(&self, row_group: usize, needed: &Needed) -> Result<Words, TrainingError> {
        let broken = |detail: String| TrainingError::Read { path: self.path.clone(), row_group, detail };
        // A file of its own: handles that are cloned share their position.
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(open(&self.path)?, self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), [needed.position]);
        let builder = builder.with_projection(mask).with_row_groups(vec![row_group]).with_batch_size(BATCH_ROWS);
        let mut words = Words::new(needed.kind);
        for batch in builder.build().map_err(|error| broken(error.to_string()))? {
            let batch = batch.map_err(|error| broken(error.to_string()))?;
            if !words.append(batch.column(0)).map_err(|error| broken(error.to_string()))? {
                return Err(self.spine.too_much_text(needed));
            }
        }
        Ok(words)
    }
}
