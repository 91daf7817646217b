//! Why a file cannot be read as a source, and the way out.

use std::io;
use std::path::{Path, PathBuf};

use floodmark_features::value::Type;

/// What stops a source as a whole; a single bad record is a [`floodmark_intake::reject::Reject`] instead.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The path or its permissions are to be corrected.
    #[error("file cannot be opened: check the path and its permissions. path={} error={error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The files in it are to be named.
    #[error("path is a directory: name the file in it. path={}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The file is to be converted or renamed.
    #[error("file has no known extension: convert or rename it. path={} known=.{known}", path.display())]
    UnknownExtension {
        /// The file.
        path: PathBuf,
        /// Extensions that would do.
        known: String,
    },
    /// The file is to be written again.
    #[error("file is not readable Parquet (was it written to its end?): write it again. path={} error={detail}", path.display())]
    NotParquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        detail: String,
    },
    /// The CSV file needs a first line with the names of its columns.
    #[error("CSV file has no header: its first line must name the columns. path={}", path.display())]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
    /// The definition or the file is to be corrected.
    #[error("file lacks a column of the source's schema: add it or correct the definition. path={} column={column} expected={expected} columns=[{columns}]", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column of the definition.
        column: String,
        /// Its type.
        expected: Type,
        /// What the file has.
        columns: String,
    },
    /// The definition or the file is to be corrected.
    #[error("column has a type that does not widen to the definition's: cast it in the file or correct the definition. path={} column={column} expected={expected} found={found} columns=[{columns}]", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The column of the definition.
        column: String,
        /// Its type.
        expected: Type,
        /// Its type in the file.
        found: String,
        /// What the file has.
        columns: String,
    },
    /// The file is to be written with each name once.
    #[error("file has a column of the source's schema twice. path={} column={column} columns=[{columns}]", path.display())]
    DuplicateColumn {
        /// The file.
        path: PathBuf,
        /// The column of the definition.
        column: String,
        /// What the file has.
        columns: String,
    },
    /// It is another file, or it was cut.
    #[error("file has fewer records than were read of it before: was it replaced? path={} records={records} read_before={from}", path.display())]
    Shorter {
        /// The file.
        path: PathBuf,
        /// Records of the file.
        records: u64,
        /// Where the read was to go on.
        from: u64,
    },
    /// The disk failed, or the file is damaged in the middle; the read can go on from there.
    #[error("file cannot be read any further. path={} position={position} error={detail}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Records read so far.
        position: u64,
        /// What the reader said.
        detail: String,
    },
}

/// Finds the position in the file of each column of the definition, by name.
pub(crate) fn positions<'a>(
    path: &Path,
    wanted: &[floodmark_features::schema::Column],
    has: impl Iterator<Item = &'a str> + Clone,
) -> Result<Vec<usize>, SourceError> {
    let columns = || has.clone().collect::<Vec<_>>().join(", ");
    let find = |column: &floodmark_features::schema::Column| {
        let mut found = has.clone().enumerate().filter(|(_, name)| *name == column.name).map(|(position, _)| position);
        let (path, name) = (path.to_owned(), column.name.clone());
        match (found.next(), found.next()) {
            (Some(position), None) => Ok(position),
            (Some(_), Some(_)) => Err(SourceError::DuplicateColumn { path, column: name, columns: columns() }),
            (None, _) => Err(SourceError::MissingColumn { path, column: name, expected: column.kind, columns: columns() }),
        }
    };
    wanted.iter().map(find).collect()
}
