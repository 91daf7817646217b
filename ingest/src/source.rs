//! Bounded file sources: the events of a Parquet, CSV or JSON-lines file in row order, with what could not be read beside them.
//!
//! A source decodes and types; it knows no watermark, no key and no view. A file is one partition, and the position of a
//! record is its number in the file, so a read can go on where an earlier one stopped.

mod csv;
mod error;
mod fingerprint;
mod json_lines;
mod lines;
mod parquet;

use std::fs::File;
use std::path::Path;

use floodmark_features::definition;

pub use error::SourceError;
pub use fingerprint::{fingerprint, same_file};

use floodmark_intake::batch::SourceBatch;

/// A longer record of a text file is rejected.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;
/// The extensions that [`open`] knows.
pub const EXTENSIONS: [&str; 5] = ["parquet", "csv", "jsonl", "ndjson", "json"];

/// Behind it: Parquet, CSV and JSON lines.
pub trait Source {
    /// The next rows and rejects; `None` at the end of the file.
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError>;

    /// Rows of the whole file, where the file says so.
    fn total_rows(&self) -> Option<u64>;

    /// Size of the file when it was opened.
    fn total_bytes(&self) -> u64;

    /// How many of them were read; in proportion to the rows for a Parquet file.
    fn bytes_read(&self) -> u64;
}

/// Opens a file of a source by its extension and checks its columns against the definition.
///
/// The first `from` records are skipped. `required` are the positions in the schema of columns that must not be null (entity
/// keys); event time and event id are required in any case.
pub fn open(path: &Path, source: &definition::Source, from: u64, required: &[usize]) -> Result<Box<dyn Source + Send>, SourceError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if !EXTENSIONS.contains(&extension.as_str()) {
        return Err(SourceError::UnknownExtension { path: path.to_owned(), known: EXTENSIONS.join(" .") });
    }
    let open_error = |error| SourceError::Open { path: path.to_owned(), error };
    let file = File::open(path).map_err(open_error)?;
    if file.metadata().map_err(open_error)?.is_dir() {
        return Err(SourceError::Directory { path: path.to_owned() });
    }
    Ok(match extension.as_str() {
        "parquet" => Box::new(parquet::ParquetSource::open(path, file, source, from, required)?),
        "csv" => Box::new(csv::CsvSource::open(path, file, source, from, required)?),
        _ => Box::new(json_lines::JsonLinesSource::open(path, file, source, from, required)?),
    })
}

#[cfg(test)]
mod tests;
