//! Why a training set could not be made, and the way out.

use std::path::{Path, PathBuf};

use floodmark_features::value::Type;
use floodmark_store::ReadError;

use floodmark_features::suggest::Hint;

/// Why a training set could not be made. Nothing is left at the output's place then.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The path or its permissions are to be corrected.
    #[error("spine cannot be opened: check the path and its permissions. path={} error={error}", path.display())]
    Open {
        /// The spine.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The spine is to be written as Parquet.
    #[error("spine is not readable Parquet: write it as Parquet, to its end. path={} error={detail}", path.display())]
    NotParquet {
        /// The spine.
        path: PathBuf,
        /// What the reader said.
        detail: String,
    },
    /// The spine needs the column, or another name is to be given.
    #[error("spine lacks the {role} column{} spine={spine} column={column} expected={expected} columns=[{columns}]", hint(column, columns))]
    MissingColumn {
        /// The spine: its path, or what it came by.
        spine: String,
        /// What the column is for: `key`, `time`, `event id`.
        role: &'static str,
        /// Its name.
        column: String,
        /// Its type.
        expected: Type,
        /// What the spine has.
        columns: String,
    },
    /// The spine is to be written with each name once.
    #[error("spine has a column twice: write each name once. spine={spine} column={column} columns=[{columns}]")]
    DuplicateColumn {
        /// The spine: its path, or what it came by.
        spine: String,
        /// The name.
        column: String,
        /// What the spine has.
        columns: String,
    },
    /// The column is to be cast in the spine.
    #[error(
        "{role} column has a type that does not widen to the definition's: cast it in the spine. spine={spine} column={column} expected={expected} found={found}"
    )]
    WrongType {
        /// The spine: its path, or what it came by.
        spine: String,
        /// What the column is for.
        role: &'static str,
        /// Its name.
        column: String,
        /// What the definition says.
        expected: String,
        /// What the spine has.
        found: String,
    },
    /// The column of the spine is to be renamed or left out.
    #[error("spine has a column that the training set would add: rename it or leave it out. spine={spine} column={column}")]
    ColumnTaken {
        /// The spine: its path, or what it came by.
        spine: String,
        /// The name.
        column: String,
    },
    /// No event id is to be given for this service.
    #[error("no source of these features has event ids, so rows cannot stand for events: leave the event id out. column={column}")]
    NoEventIds {
        /// The column that was named.
        column: String,
    },
    /// Another output is to be named.
    #[error("training set would replace its own spine: name another output. path={}", path.display())]
    OutIsSpine {
        /// Both.
        path: PathBuf,
    },
    /// The spine is to be written in smaller row groups.
    #[error("row group has more text than 4 GiB in one column: write the spine in smaller row groups. spine={spine} column={column}")]
    TooMuchText {
        /// The spine: its path, or what it came by.
        spine: String,
        /// The column.
        column: String,
    },
    /// The spine is damaged, or was changed while it was read.
    #[error("spine cannot be read any further: was it changed or cut? path={} row_group={row_group} error={detail}", path.display())]
    Read {
        /// The spine.
        path: PathBuf,
        /// Which row group, from 0.
        row_group: usize,
        /// What the reader said.
        detail: String,
    },
    /// The directory, its permissions or the space on the disk are to be corrected.
    #[error("training set cannot be written: check the directory, its permissions and the space on the disk. path={} error={detail}", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// What the system or the writer said.
        detail: String,
    },
    /// The rows that came are not what was announced.
    #[error("rows of the spine cannot be used: {detail}. spine={spine}")]
    Rows {
        /// What it came by.
        spine: String,
        /// What is wrong.
        detail: String,
    },
    /// The disk with the scratch files, beside the output, failed or is full.
    #[error("scratch files beside the output cannot be used: check the space on the disk. error={detail}")]
    Scratch {
        /// What the system said.
        detail: String,
    },
    /// Whoever has the history could not hand it over.
    #[error("history cannot be read: {detail}")]
    History {
        /// What it said.
        detail: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] ReadError),
}

fn hint(column: &str, columns: &str) -> Hint {
    Hint::nearest(column, columns.split(", ").map(|c| c.split_once(": ").map_or(c, |(name, _)| name)))
}

impl TrainingError {
    pub(crate) fn write(path: &Path, error: impl std::fmt::Display) -> TrainingError {
        TrainingError::Write { path: path.to_owned(), detail: error.to_string() }
    }
}
