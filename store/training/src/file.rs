//! The file of a training set: the spine's column chunks as they lie in the spine, byte for byte, and the features' beside them.
//!
//! It has the row groups of the spine. It is written under a temporary name and takes its own at the end, so that a training
//! set is there as a whole or not at all.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, encode_arrow_schema};
use parquet::basic::Compression;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type as ParquetType;

use crate::error::TrainingError;
use crate::spine_file::{SpineFile, open};

/// A training set in the making.
pub(crate) struct TrainingFile<'s> {
    spine: &'s SpineFile,
    source: File,
    path: PathBuf,
    temporary: Temporary,
    writer: SerializedFileWriter<BufWriter<File>>,
    features: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
}

/// A file that goes away unless it is kept.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already once it has its own name.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl<'s> TrainingFile<'s> {
    pub(crate) fn create(
        spine: &'s SpineFile,
        path: &Path,
        features: Schema,
        notes: Vec<(&str, String)>,
    ) -> Result<TrainingFile<'s>, TrainingError> {
        let failed = |error: String| TrainingError::write(path, error);
        let name = path.file_name().ok_or_else(|| failed("expected the name of a file".to_owned()))?;
        let temporary = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
        let file = File::create(&temporary).map_err(|error| failed(error.to_string()))?;
        let temporary = Temporary(temporary);

        let features = Arc::new(features);
        let make = || -> Result<_, ParquetError> {
            let props = Arc::new(properties(&features));
            let converted = ArrowSchemaConverter::new().convert(&features)?;
            let alone = SerializedFileWriter::new(std::io::sink(), converted.root_schema_ptr(), props.clone())?;
            let factory = ArrowRowGroupWriterFactory::new(&alone, features.clone());
            let whole = joined(spine.metadata.parquet_schema().root_schema(), converted.root_schema())?;
            let mut writer = SerializedFileWriter::new(BufWriter::with_capacity(1 << 20, file), whole, props)?;
            for (key, value) in metadata_of(spine, &features, notes) {
                writer.append_key_value_metadata(KeyValue::new(key, value));
            }
            Ok((writer, factory))
        };
        let (writer, factory) = make().map_err(|error| failed(error.to_string()))?;
        Ok(TrainingFile { source: open(&spine.path)?, path: path.to_owned(), spine, temporary, writer, features, factory })
    }

    /// Encodes a column of one row group, piece by piece; columns may be encoded at the same time.
    pub(crate) fn encode(&self, column: usize, pieces: &[ArrayRef]) -> Result<Vec<ArrowColumnChunk>, TrainingError> {
        let field = self.features.field(column);
        let encode = || -> Result<_, ParquetError> {
            // One writer for each leaf; a column that is a list has one leaf as well.
            let mut writer = self.factory.create_column_writers(0)?.swap_remove(column);
            for piece in pieces {
                for leaf in compute_leaves(field, piece)? {
                    writer.write(&leaf)?;
                }
            }
            Ok(vec![writer.close()?])
        };
        encode().map_err(|error| TrainingError::write(&self.path, error))
    }

    /// Writes a row group: the spine's columns, then the features.
    pub(crate) fn append(&mut self, row_group: usize, features: Vec<ArrowColumnChunk>) -> Result<(), TrainingError> {
        let metadata = self.spine.metadata.metadata();
        let group = metadata.row_group(row_group);
        let append = || -> Result<(), ParquetError> {
            let mut into = self.writer.next_row_group()?;
            for (at, column) in group.columns().iter().enumerate() {
                let index = metadata.page_index();
                let closed = ColumnCloseResult {
                    bytes_written: column.compressed_size().max(0) as u64,
                    rows_written: group.num_rows().max(0) as u64,
                    metadata: column.clone(),
                    bloom_filter: Sbbf::read_from_column_chunk(column, &self.source)?,
                    column_index: index.and_then(|index| index.column_index(row_group, at)).cloned(),
                    offset_index: index.and_then(|index| index.offset_index(row_group, at)).cloned(),
                };
                into.append_column(&self.source, closed)?;
            }
            for chunk in features {
                chunk.append_to_row_group(&mut into)?;
            }
            into.close()?;
            Ok(())
        };
        append().map_err(|error| TrainingError::write(&self.path, error))
    }

    /// Ends the file and gives it its name; its size in bytes.
    pub(crate) fn finish(self) -> Result<u64, TrainingError> {
        let TrainingFile { path, temporary, writer, .. } = self;
        let failed = |error: String| TrainingError::write(&path, error);
        let file = writer.into_inner().map_err(|error| failed(error.to_string()))?;
        let file = file.into_inner().map_err(|error| failed(error.to_string()))?;
        let bytes = file.metadata().map_err(|error| failed(error.to_string()))?.len();
        std::fs::rename(&temporary.0, &path).map_err(|error| failed(error.to_string()))?;
        Ok(bytes)
    }
}

fn properties(features: &Schema) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("floodmark ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in features.fields() {
        // Floats are mostly different from each other: a dictionary would be filled and thrown away.
        if *field.data_type() == arrow::datatypes::DataType::Float64 {
            builder = builder.set_column_dictionary_enabled(vec![field.name().clone()].into(), false);
        }
    }
    builder.build()
}

/// The spine's fields, then the features'.
fn joined(spine: &ParquetType, features: &ParquetType) -> Result<Arc<ParquetType>, ParquetError> {
    let fields = spine.get_fields().iter().chain(features.get_fields()).cloned().collect();
    Ok(Arc::new(ParquetType::group_type_builder("schema").with_fields(fields).build()?))
}

/// What the spine says of itself, the joined schema, and what the training set was built with.
fn metadata_of(spine: &SpineFile, features: &Schema, notes: Vec<(&str, String)>) -> Vec<(String, String)> {
    let kept = spine.metadata.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    let mut all: Vec<(String, String)> = kept
        // Libraries describe the columns there, and would miss ours.
        .filter(|pair| pair.key != ARROW_SCHEMA_META_KEY && pair.key != "pandas" && !pair.key.starts_with("floodmark."))
        .filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)))
        .collect();
    let fields: Vec<Arc<Field>> = spine.spine.schema().fields().iter().chain(features.fields()).cloned().collect();
    all.push((ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&Schema::new(fields))));
    all.extend(notes.into_iter().map(|(key, value)| (key.to_owned(), value)));
    all
}
