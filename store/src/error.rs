//! What can go wrong with a store, and what to do about it.

use std::path::PathBuf;

use floodmark_features::codec::Damaged;
use floodmark_features::time::Time;

use crate::redis::OnlineError;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no store.
    #[error("there is no store at {0}: `floodmark replay` or `floodmark up` makes one")]
    Missing(PathBuf),
    /// Another process has it.
    #[error("the store is in use by another process: stop it, or ask it with `floodmark get --address`. store={0}")]
    InUse(PathBuf),
    /// Made by another version of this program.
    #[error("the store has format {found}, this program reads format {known}: replay the input into a new directory. store={directory}")]
    Format {
        /// What it says.
        found: u32,
        /// What we know.
        known: u32,
        /// Where.
        directory: PathBuf,
    },
    /// Made with other definitions.
    #[error(
        "the store was made with other definitions: {difference}. Go on with the definitions that it was made with (`floodmark definitions --store` prints them), or replay the input into a new directory. store={directory}"
    )]
    Definitions {
        /// Which views differ, and how.
        difference: String,
        /// Where.
        directory: PathBuf,
    },
    /// Views that it was not made with, and nobody has said that they are to be added.
    #[error(
        "the store was made without {views}. Add `--backfill` to `up` or `replay`, once, and what the offline store has kept is computed; or ask by the definitions of the store (leave --definitions out). store={directory}"
    )]
    NewViews {
        /// Their names.
        views: String,
        /// Where.
        directory: PathBuf,
    },
    /// Nobody has kept the events of before.
    #[error(
        "{views} cannot be computed for the events of before: no offline store has them. Replay the input into a new directory, with --offline if further views are to come. store={directory}"
    )]
    NoHistory {
        /// Their names.
        views: String,
        /// Where.
        directory: PathBuf,
    },
    /// All windows of history would be emitted.
    #[error(
        "view `{view}` emits closed windows and cannot be added to a store that has events: add it without emit_closed_windows, or replay the input into a new directory. store={directory}"
    )]
    EmitsFromHistory {
        /// Its name.
        view: String,
        /// Where.
        directory: PathBuf,
    },
    /// The disk or the engine failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store cannot have that offline store.
#[derive(Debug, thiserror::Error)]
pub enum OfflinePlaceError {
    /// It has another one.
    #[error(
        "the store's events are kept at {known}, and those that are there are not at {given}: leave --offline out, or name the same place"
    )]
    Elsewhere {
        /// Where they are.
        known: String,
        /// What was given.
        given: String,
    },
    /// It has taken in events without one.
    #[error("the store has events that no offline store holds: replay the input into a new directory with --offline. store={directory}")]
    TooLate {
        /// Which.
        directory: PathBuf,
    },
    /// The disk or the engine failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The disk or the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("the store's file failed: {0}")]
    Engine(#[from] redb::Error),
    /// Bytes are not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(#[from] Damaged),
    /// The directory could not be made or read.
    #[error("{path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a read was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The as-of time lies before the retention of a source: OUT_OF_RANGE.
    #[error("values before {oldest} are no longer kept (retention). as_of={as_of} source={source_name}")]
    BeforeRetention {
        /// What was asked.
        as_of: Time,
        /// The oldest time that can be asked.
        oldest: Time,
        /// Whose retention it is.
        source_name: String,
    },
    /// A version that no commit has reached yet.
    #[error("no commit has this version yet. version={version} newest={newest}")]
    VersionInFuture {
        /// What was asked.
        version: u64,
        /// The newest commit.
        newest: u64,
    },
    /// The view is not there yet: UNAVAILABLE.
    #[error("view `{view}` is being computed from history (by `up` or `replay`), and answers when it has all of it; other views answer")]
    Backfilling {
        /// Its name.
        view: String,
    },
    /// The disk failed.
    #[error("the store could not be read: {0}")]
    Storage(#[from] StoreError),
    /// Redis did not answer as it should: UNAVAILABLE.
    #[error("the online store could not be read: {0}")]
    Online(#[from] OnlineError),
}

/// Any error of the embedded engine.
pub(crate) fn engine(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Engine(error.into())
}
