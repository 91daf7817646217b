//! Parquet: only the columns of the schema, handed through as they are; a cast only where the types differ.

use std::fs::File;
use std::path::{Path, PathBuf};

use floodmark_features::definition;
use floodmark_intake::batch::{BATCH_ROWS, SourceBatch};
use floodmark_intake::columns::Layout;
use floodmark_intake::columns::typed::{Typed, widens};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::error::positions;
use super::{Source, SourceError};

/// The events of a Parquet file.
pub(super) struct ParquetSource {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    typed: Typed,
    total_rows: u64,
    total_bytes: u64,
    /// Rows read so far.
    position: u64,
}

impl ParquetSource {
    pub(super) fn open(
        path: &Path,
        file: File,
        source: &definition::Source,
        from: u64,
        required: &[usize],
    ) -> Result<ParquetSource, SourceError> {
        let not_parquet =
            |error: parquet::errors::ParquetError| SourceError::NotParquet { path: path.to_owned(), detail: error.to_string() };
        let total_bytes = file.metadata().map_or(0, |m| m.len());
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(not_parquet)?;
        let layout = Layout::new(source, required);

        let fields = builder.schema().fields().clone();
        let found = positions(path, &layout.columns, fields.iter().map(|field| field.name().as_str()))?;
        for (column, position) in layout.columns.iter().zip(&found) {
            if !widens(fields[*position].data_type(), column.kind) {
                return Err(SourceError::WrongType {
                    path: path.to_owned(),
                    column: column.name.clone(),
                    expected: column.kind,
                    found: fields[*position].data_type().to_string(),
                    columns: fields.iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect::<Vec<_>>().join(", "),
                });
            }
        }
        // The reader keeps the order of the file among the columns that it is asked for.
        let order: Vec<usize> = found.iter().map(|position| found.iter().filter(|other| *other < position).count()).collect();

        let sizes: Vec<u64> = builder.metadata().row_groups().iter().map(|group| group.num_rows().max(0) as u64).collect();
        let total_rows = sizes.iter().sum();
        if from > total_rows {
            return Err(SourceError::Shorter { path: path.to_owned(), records: total_rows, from });
        }
        let (groups, skip) = after(&sizes, from);
        let mask = ProjectionMask::roots(builder.parquet_schema(), found);
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS).with_row_groups(groups).with_offset(skip);
        let reader = builder.build().map_err(not_parquet)?;
        Ok(ParquetSource { path: path.to_owned(), reader, typed: Typed::new(layout, order), total_rows, total_bytes, position: from })
    }
}

impl Source for ParquetSource {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        let Some(read) = self.reader.next() else { return Ok(None) };
        let batch = read.and_then(|raw| self.typed.batch_of(&raw, self.position)).map_err(|error| SourceError::Read {
            path: self.path.clone(),
            position: self.position,
            detail: error.to_string(),
        })?;
        self.position = batch.end;
        Ok(Some(batch))
    }

    fn total_rows(&self) -> Option<u64> {
        Some(self.total_rows)
    }

    fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    fn bytes_read(&self) -> u64 {
        let share = self.position as f64 / self.total_rows.max(1) as f64;
        (self.total_bytes as f64 * share) as u64
    }
}

/// The row groups that hold what follows the first `from` rows, and how many rows of the first of them to skip.
fn after(sizes: &[u64], from: u64) -> (Vec<usize>, usize) {
    let mut start = 0;
    for (group, size) in sizes.iter().enumerate() {
        if from < start + size {
            return ((group..sizes.len()).collect(), (from - start) as usize);
        }
        start += size;
    }
    (Vec::new(), 0)
}
