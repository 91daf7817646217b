//! Upkeep of a table: many small files become one, and files that nobody can ask for any more are deleted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Schema;
use bytes::Bytes;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine_data::FilteredEngineData;
use delta_kernel::expressions::{ColumnName, Expression, Predicate, Scalar};
use delta_kernel::history_manager::error::LogHistoryError;
use delta_kernel::history_manager::{HistoryCommitType, latest_version_as_of};
use delta_kernel::scan::Scan;
use delta_kernel::scan::state::ScanFile;
use delta_kernel::transaction::{CommitResult, UpdateTableOperation};
use delta_kernel::{KernelError, Snapshot, SnapshotRef};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use floodmark_features::time::Time;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{Table, WRITER, path_of};

use crate::FILE_ROWS;
use crate::error::OfflineError;
use crate::events::filled;

/// The rows of a file, batch by batch.
pub(crate) type Batches = ParquetRecordBatchReader;

/// A file of fewer rows is small.
const SMALL_ROWS: u64 = 1 << 18;
/// Rows that are decoded at once.
const BATCH_ROWS: usize = 1 << 16;
/// So many small files become one.
const SMALL_FILES: usize = 16;

impl Table {
    /// Makes one file of the small ones if there are many; how many there were. Readers see the same rows before and after.
    pub(crate) fn compact(&self) -> Result<usize, OfflineError> {
        let snapshot = self.newest()?;
        let mut small: Vec<ScanFile> = files_of(self, &snapshot)?.into_iter().filter(|file| rows_of(file) < SMALL_ROWS).collect();
        if small.len() < SMALL_FILES {
            return Ok(0);
        }
        // All of them are in memory for a moment. What is left over is for the next time.
        let mut rows = 0;
        let fits = small.iter().take_while(|file| {
            rows += rows_of(file);
            rows <= FILE_ROWS
        });
        small.truncate(fits.count());
        let schema: Schema = snapshot.schema().as_ref().try_into_arrow()?;
        let schema = Arc::new(schema);
        let mut batches = Vec::new();
        for file in &small {
            for batch in self.read_file(&file.path, None)? {
                batches.push(filled(&batch?, &schema)?);
            }
        }
        let failed = |error| self.failed(error);
        let engine = self.lake.engine();
        let change = snapshot.clone().update_table(UpdateTableOperation::Optimize, WRITER, false);
        let mut transaction = change.build(engine, Box::new(FileSystemCommitter::new())).map_err(failed)?;
        let context = transaction.write_state().and_then(|state| state.write_context_builder().build()).map_err(failed)?;
        let written = self.write(&batches, &context)?;
        let added = DataFileMetadata::new(written.file, written.statistics);
        transaction.add_files(build_add_file_metadata(added, &context).map_err(failed)?);
        let gone: HashSet<&str> = small.iter().map(|file| file.path.as_str()).collect();
        let scan = snapshot.scan_builder().build().map_err(failed)?;
        for found in scan.scan_metadata(engine).map_err(failed)? {
            transaction.remove_files(only(found.map_err(failed)?.scan_files, &gone).map_err(failed)?);
        }
        match transaction.commit(engine).map_err(failed)? {
            CommitResult::Committed(_) => Ok(small.len()),
            // Somebody else was quicker; there is another time.
            CommitResult::Conflicted(_) | CommitResult::Retryable(_) => Ok(0),
        }
    }

    /// Its rows, file by file.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Result<Vec<arrow::array::RecordBatch>, OfflineError> {
        let files = files_of(self, &self.newest()?)?;
        let mut rows = Vec::new();
        for file in &files {
            rows.extend(self.read_file(&file.path, None)?.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(rows)
    }

    /// The files that it consists of now, by their paths in it.
    pub(crate) fn files(&self) -> Result<Vec<String>, OfflineError> {
        Ok(files_of(self, &self.newest()?)?.into_iter().map(|file| file.path).collect())
    }

    /// The files that may hold instants of a column from one time to another, both included, by the statistics in the table's log; with
    /// the number of their rows.
    pub(crate) fn files_within(&self, column: &str, (from, to): (Time, Time)) -> Result<Vec<(String, u64)>, OfflineError> {
        self.files_between(column, Scalar::Timestamp(from.micros()), Scalar::Timestamp(to.micros()))
    }

    /// The same for numbers.
    pub(crate) fn files_numbered(&self, column: &str, (from, to): (i64, i64)) -> Result<Vec<(String, u64)>, OfflineError> {
        self.files_between(column, Scalar::Long(from), Scalar::Long(to))
    }

    fn files_between(&self, column: &str, from: Scalar, to: Scalar) -> Result<Vec<(String, u64)>, OfflineError> {
        let failed = |error| self.failed(error);
        let column = || Expression::from(ColumnName::new([column]));
        let within = Predicate::and(Predicate::ge(column(), Expression::from(from)), Predicate::le(column(), Expression::from(to)));
        let scan = self.newest()?.scan_builder().with_predicate(Arc::new(within)).build().map_err(failed)?;
        Ok(scanned(&scan, self)?
            .into_iter()
            .map(|file| {
                let rows = rows_of(&file);
                (file.path, rows)
            })
            .collect())
    }

    /// The rows of a file, with all columns or those of these names that it has, batch by batch.
    pub(crate) fn read_file(&self, path: &str, columns: Option<&[&str]>) -> Result<Batches, OfflineError> {
        let encoded = |error: parquet::errors::ParquetError| OfflineError::Encode { table: self.name.clone(), error };
        let location = self.url.join(path).map_err(|error| OfflineError::Url { url: path.to_owned(), detail: error.to_string() })?;
        let bytes: Bytes = self.lake.get(&path_of(&location)?)?;
        let mut reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(encoded)?.with_batch_size(BATCH_ROWS);
        if let Some(columns) = columns {
            let mask = ProjectionMask::columns(reader.parquet_schema(), columns.iter().copied());
            reader = reader.with_projection(mask);
        }
        reader.build().map_err(encoded)
    }

    /// Deletes data files that no version of the last so long needs; their names. With `only_look`, it says so and deletes nothing.
    pub(crate) fn vacuum(&self, keep: Duration, now_millis: i64, only_look: bool) -> Result<Vec<String>, OfflineError> {
        let before = now_millis - i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let snapshot = self.newest()?;
        let failed = |error| self.failed(error);
        let mut needed: HashSet<String> = files_of(self, &snapshot)?.into_iter().map(|file| file.path).collect();
        // What was taken out since then was there then, or has come since: a file that is as young is left alone.
        match latest_version_as_of(&snapshot, self.lake.engine(), before, HistoryCommitType::Recreatable) {
            Ok(commit) => {
                let then = Snapshot::builder_for(self.url.as_str()).at_version(commit.version).build(self.lake.engine()).map_err(failed)?;
                needed.extend(files_of(self, &then)?.into_iter().map(|file| file.path));
            }
            // The table is younger.
            Err(KernelError::LogHistory(error)) if matches!(*error, LogHistoryError::TimestampOutOfRange { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        let root = path_of(&self.url)?;
        let mut gone = Vec::new();
        for object in self.lake.list(&root)? {
            let Some(name) = object.location.filename().filter(|name| name.ends_with(".parquet")) else { continue };
            if object.last_modified.timestamp_millis() < before && !needed.contains(name) {
                gone.push(name.to_owned());
                if !only_look {
                    self.lake.delete(&object.location)?;
                }
            }
        }
        Ok(gone)
    }
}

/// The files that a snapshot consists of.
fn files_of(table: &Table, snapshot: &SnapshotRef) -> Result<Vec<ScanFile>, OfflineError> {
    scanned(&snapshot.clone().scan_builder().build().map_err(|error| table.failed(error))?, table)
}

fn scanned(scan: &Scan, table: &Table) -> Result<Vec<ScanFile>, OfflineError> {
    let failed = |error| table.failed(error);
    let mut files = Vec::new();
    for found in scan.scan_metadata(table.lake.engine()).map_err(failed)? {
        files =
            found.and_then(|found| found.visit_scan_files(files, |files: &mut Vec<ScanFile>, file| files.push(file))).map_err(failed)?;
    }
    Ok(files)
}

fn rows_of(file: &ScanFile) -> u64 {
    file.stats.as_ref().map_or(u64::MAX, |stats| stats.num_records)
}

/// The same with those paths alone selected.
fn only(files: FilteredEngineData, paths: &HashSet<&str>) -> Result<FilteredEngineData, KernelError> {
    let (data, selected) = files.into_parts();
    let data = ArrowEngineData::try_from_engine_data(data)?;
    let batch = data.record_batch();
    let column = batch.column_by_name("path").and_then(|column| column.as_string_opt::<i32>());
    let column = column.ok_or_else(|| KernelError::generic("a scan without paths"))?;
    let of = |row: usize| selected.get(row).copied().unwrap_or(true) && !column.is_null(row) && paths.contains(column.value(row));
    let selection = (0..batch.num_rows()).map(of).collect();
    FilteredEngineData::try_new(data, selection)
}
