//! The versioned store: a durable feature log and timelines in chunks, on an embedded engine.

use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Answer, Ask, Lookup};
use floodmark_features::time::Time;

/// An open store. Shared by reference between one writer and any number of readers.
#[derive(Debug)]
pub struct Store {
    definitions: Arc<Definitions>,
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
    /// The disk failed.
    #[error("the store could not be read: {0}")]
    Storage(String),
}

impl Store {
    /// What the store was made with.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// A store without a disk, until there is one.
    pub fn stub(definitions: Arc<Definitions>) -> Store {
        Store { definitions }
    }

    /// How far event time is complete for a source, by its position in the definitions.
    pub fn source_watermark(&self, _source: usize) -> Time {
        Time::NONE
    }

    /// The newest commit.
    pub fn version(&self) -> u64 {
        0
    }

    /// Reads one row of features; `answer` is overwritten.
    pub fn read(&self, _lookup: &Lookup, _ask: &Ask<'_>, _answer: &mut Answer) -> Result<(), ReadError> {
        Err(ReadError::Storage("not written yet".to_owned()))
    }
}
