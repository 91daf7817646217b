//! One Delta table: appends that happen once, and reads that skip the files that cannot hold what is asked for. Nothing else of the house
//! names Delta.
//!
//! An append carries a position under a name, as one of Delta's own transaction identifiers. The kernel does not compare them, so this
//! does: the position is read from the very snapshot that the commit is based on, and a commit whose log entry exists already is refused
//! by the object store, which leads to the next snapshot and the same question again.

mod upkeep;

use std::sync::Arc;

use arrow::array::{RecordBatch, StructArray};
use arrow::datatypes::Schema;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_conversion::TryFromArrow;
use delta_kernel::schema::{StructField, StructType};
use delta_kernel::transaction::{BoundWriteContext, CommitResult, UpdateTableOperation};
use delta_kernel::{FileMeta, KernelError, Snapshot, SnapshotRef};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use object_store::PutMode;
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use url::Url;
use uuid::Uuid;

use crate::error::OfflineError;
use crate::lake::Lake;

/// Who wrote a commit, as the log of a table says it.
const WRITER: &str = concat!("floodmark/", env!("CARGO_PKG_VERSION"));
/// Rows of a row group: readers skip them one by one.
const ROW_GROUP_ROWS: usize = 1 << 17;
/// A checkpoint of the table's log every so many commits keeps opening it quick.
const COMMITS_A_CHECKPOINT: u64 = 10;
/// How often a commit is tried against others; each time somebody else has succeeded.
const ATTEMPTS: usize = 100;

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is in the table now.
    Now,
    /// It was there already, or something newer under the same name.
    Before,
}

/// A table that is there.
#[derive(Debug)]
pub(crate) struct Table {
    lake: Arc<Lake>,
    name: String,
    url: Url,
    /// The newest snapshot that is known.
    snapshot: Mutex<SnapshotRef>,
}

/// A data file that no commit names yet.
struct Written {
    file: FileMeta,
    statistics: StructArray,
}

impl Table {
    /// The table of that name, made with these columns if it is not there. Columns that it lacks are added.
    pub(crate) fn open(lake: &Arc<Lake>, name: &str, schema: &Schema) -> Result<Table, OfflineError> {
        let url = lake.url_of(name)?;
        let failed = |error: KernelError| OfflineError::table(name, error);
        let wanted = StructType::try_from_arrow(schema).map_err(|error| failed(error.into()))?;
        if !Table::exists(lake, name)? {
            let text =
                first_version(&wanted).map_err(|error| OfflineError::Schema { table: name.to_owned(), detail: error.to_string() })?;
            lake.put(&log_of(&url)?.join(format!("{:020}.json", 0)), text.into_bytes(), PutMode::Create)?;
        }
        let table = Table::existing(lake, name)?;
        table.widen(&wanted)?;
        Ok(table)
    }

    /// A table that is there, as it is.
    pub(crate) fn existing(lake: &Arc<Lake>, name: &str) -> Result<Table, OfflineError> {
        let url = lake.url_of(name)?;
        let snapshot = Snapshot::builder_for(url.as_str()).build(lake.engine()).map_err(|error| OfflineError::table(name, error))?;
        Ok(Table { lake: lake.clone(), name: name.to_owned(), url, snapshot: Mutex::new(snapshot) })
    }

    /// Whether there is a table of that name.
    pub(crate) fn exists(lake: &Lake, name: &str) -> Result<bool, OfflineError> {
        Ok(!lake.is_empty(&log_of(&lake.url_of(name)?)?)?)
    }

    fn failed(&self, error: KernelError) -> OfflineError {
        OfflineError::table(&self.name, error)
    }

    /// The table as it is now.
    fn newest(&self) -> Result<SnapshotRef, OfflineError> {
        let mut snapshot = self.snapshot.lock();
        *snapshot = Snapshot::builder_from(snapshot.clone()).build(self.lake.engine()).map_err(|error| self.failed(error))?;
        Ok(snapshot.clone())
    }

    /// Adds columns that definitions have by now; one that has changed its type is refused.
    fn widen(&self, wanted: &StructType) -> Result<(), OfflineError> {
        let failed = |error| self.failed(error);
        for _ in 0..ATTEMPTS {
            let snapshot = self.newest()?;
            let missing = self.missing(&snapshot.schema(), wanted)?;
            if missing.is_empty() {
                return Ok(());
            }
            let change = snapshot.update_table(UpdateTableOperation::AlterTable, WRITER, false);
            let change = missing.into_iter().fold(change, |change, field| change.add_column(field));
            let change = change.build(self.lake.engine(), Box::new(FileSystemCommitter::new())).map_err(failed)?;
            // Whether it was us or somebody else, the next snapshot says what is still missing.
            change.commit(self.lake.engine()).map(|_| ()).map_err(failed)?;
        }
        Err(OfflineError::Contended { table: self.name.clone(), attempts: ATTEMPTS })
    }

    /// The wanted columns that are not there.
    fn missing(&self, known: &StructType, wanted: &StructType) -> Result<Vec<StructField>, OfflineError> {
        let differs = |detail: String| OfflineError::Schema { table: self.name.clone(), detail };
        let mut missing = Vec::new();
        for field in wanted.fields() {
            match known.field(field.name()) {
                Some(found) if found.data_type() == field.data_type() => {}
                Some(found) => {
                    return Err(differs(format!("{} is {} and should be {}", field.name(), found.data_type(), field.data_type())));
                }
                None => missing.push(field.clone()),
            }
        }
        Ok(missing)
    }

    /// The newest position that was appended under a name.
    pub(crate) fn position(&self, name: &str) -> Result<Option<u64>, OfflineError> {
        let found = self.newest()?.get_app_id_version(name, self.lake.engine()).map_err(|error| self.failed(error))?;
        Ok(found.and_then(|position| u64::try_from(position).ok()))
    }

    /// Appends batches of the table's columns as one file, under a position of that name: once, however often it is tried.
    pub(crate) fn append(&self, name: &str, position: u64, batches: &[RecordBatch]) -> Result<Appended, OfflineError> {
        let signed = i64::try_from(position).map_err(|_| OfflineError::Position { table: self.name.clone(), position })?;
        let mut written: Option<Written> = None;
        for _ in 0..ATTEMPTS {
            if self.position(name)?.is_some_and(|known| known >= position) {
                // A file that was written for nothing is nobody's: vacuum finds it.
                return Ok(Appended::Before);
            }
            let snapshot = self.snapshot.lock().clone();
            let engine = self.lake.engine();
            let failed = |error| self.failed(error);
            let change = snapshot.update_table(UpdateTableOperation::StreamingUpdate, WRITER, true).with_blind_append();
            let change = change.with_transaction_id(name, signed);
            let mut transaction = change.build(engine, Box::new(FileSystemCommitter::new())).map_err(failed)?;
            let context = transaction.write_state().and_then(|state| state.write_context_builder().build()).map_err(failed)?;
            let file = match written.take() {
                Some(file) => file,
                None => self.write(batches, &context)?,
            };
            let added = DataFileMetadata::new(file.file.clone(), file.statistics.clone());
            transaction.add_files(build_add_file_metadata(added, &context).map_err(failed)?);
            match transaction.commit(engine).map_err(failed)? {
                CommitResult::Committed(committed) => {
                    if let Some(snapshot) = committed.post_commit_snapshot() {
                        *self.snapshot.lock() = snapshot.clone();
                    }
                    self.checkpoint_if_due(committed.commit_version())?;
                    return Ok(Appended::Now);
                }
                // Somebody else was quicker, or nobody knows: the next snapshot says.
                CommitResult::Conflicted(_) | CommitResult::Retryable(_) => written = Some(file),
            }
        }
        Err(OfflineError::Contended { table: self.name.clone(), attempts: ATTEMPTS })
    }

    /// Writes a data file.
    fn write(&self, batches: &[RecordBatch], context: &BoundWriteContext) -> Result<Written, OfflineError> {
        let failed = |error| self.failed(error);
        let encoded = |error: parquet::errors::ParquetError| OfflineError::Encode { table: self.name.clone(), error };
        let mut statistics = FileStatsAccumulator::new(context.stats_columns(), context.physical_data_schema());
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), |batch| batch.schema());
        let level = ZstdLevel::try_new(1).map_err(encoded)?;
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(level)).set_max_row_group_row_count(Some(ROW_GROUP_ROWS)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(encoded)?;
        for batch in batches {
            statistics.merge(batch).map_err(failed)?;
            writer.write(batch).map_err(encoded)?;
        }
        let bytes = writer.into_inner().map_err(encoded)?;
        let location = context.write_dir().join(&format!("{}.parquet", Uuid::new_v4())).map_err(|error| failed(error.into()))?;
        let path = path_of(&location)?;
        let size = bytes.len() as u64;
        self.lake.put(&path, bytes, PutMode::Overwrite)?;
        let last_modified = self.lake.modified(&path)?;
        let statistics = statistics.finish().map_err(failed)?.ok_or_else(|| failed(KernelError::generic("nothing to append")))?;
        Ok(Written { file: FileMeta { location, last_modified, size }, statistics })
    }

    fn checkpoint_if_due(&self, version: u64) -> Result<(), OfflineError> {
        if !version.is_multiple_of(COMMITS_A_CHECKPOINT) {
            return Ok(());
        }
        let snapshot = self.snapshot.lock().clone();
        let (_, snapshot) = snapshot.checkpoint(self.lake.engine(), None).map_err(|error| self.failed(error))?;
        *self.snapshot.lock() = snapshot;
        Ok(())
    }

    /// Where it lies.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

/// The first entry of a table's log, of the protocol that every reader knows.
fn first_version(schema: &StructType) -> Result<String, serde_json::Error> {
    let protocol = serde_json::json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } });
    let metadata = serde_json::json!({
        "metaData": {
            "id": Uuid::new_v4().to_string(),
            "format": { "provider": "parquet", "options": {} },
            "schemaString": serde_json::to_string(schema)?,
            "partitionColumns": [],
            "configuration": {},
        }
    });
    Ok(format!("{protocol}\n{metadata}\n"))
}

/// The path of an object by its URL.
pub(crate) fn path_of(url: &Url) -> Result<Path, OfflineError> {
    Path::from_url_path(url.path()).map_err(|error| OfflineError::Url { url: url.to_string(), detail: error.to_string() })
}

fn log_of(table: &Url) -> Result<Path, OfflineError> {
    Ok(path_of(table)?.join("_delta_log"))
}
