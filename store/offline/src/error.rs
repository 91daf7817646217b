//! What can go wrong with the offline store, and what to do about it.

use delta_kernel::KernelError;
use floodmark_store::StoreError;

/// Why the offline store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The place cannot be understood.
    #[error("no place for an offline store: {detail}; expected a folder or s3://BUCKET/PREFIX. url={url}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The place belongs to another store, whose events would be mixed with these.
    #[error("the tables there are of another store: give this one another place. place={place} store={own} owner={owner}")]
    Owned {
        /// Where.
        place: String,
        /// The store that came first.
        owner: String,
        /// The one that comes now.
        own: String,
    },
    /// The events of before are not there.
    #[error(
        "nothing is kept there, though the store has kept events: is it mounted, and is it the place that --offline named at first? place={place}"
    )]
    Gone {
        /// Where.
        place: String,
    },
    /// There are no events.
    #[error(
        "no events of the source are kept there: is it the place that --offline named when they were taken in? place={place} source={source_name}"
    )]
    Missing {
        /// Where.
        place: String,
        /// Of which source.
        source_name: String,
    },
    /// Something on the way to the tables has panicked.
    #[error("writing the tables has panicked (see above), and they are opened anew. place={place}")]
    Panicked {
        /// Where they are.
        place: String,
    },
    /// The object store refused.
    #[error("{path}: {error}")]
    Object {
        /// Of which object.
        path: String,
        /// Why.
        error: object_store::Error,
    },
    /// A Delta table cannot be read or written.
    #[error("the Delta table cannot be used: {error}. table={table}")]
    Table {
        /// Which.
        table: String,
        /// Why.
        error: Box<KernelError>,
    },
    /// A table has other columns than the definitions.
    #[error(
        "the Delta table does not fit the definitions: {detail}; give the source another name or the offline store another place. table={table}"
    )]
    Schema {
        /// Which.
        table: String,
        /// Where they differ.
        detail: String,
    },
    /// Rows cannot be written as Parquet.
    #[error("rows cannot be written as Parquet: {error}. table={table}")]
    Encode {
        /// Of which table.
        table: String,
        /// Why.
        error: parquet::errors::ParquetError,
    },
    /// Others commit to the same table all the time.
    #[error("others were quicker at each attempt to commit. table={table} attempts={attempts}")]
    Contended {
        /// Which.
        table: String,
        /// How often it was tried.
        attempts: usize,
    },
    /// A position that Delta cannot hold.
    #[error("a position is beyond what a Delta table can keep. table={table} position={position}")]
    Position {
        /// Of which table.
        table: String,
        /// Which.
        position: u64,
    },
    /// Rows are not what they should be: those that wait, or those of a file.
    #[error("rows of the offline store cannot be used: {0}")]
    Rows(#[from] arrow::error::ArrowError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder or a thread cannot be had.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl OfflineError {
    /// Whether it stays so, whatever is waited for.
    pub fn is_for_good(&self) -> bool {
        matches!(self, OfflineError::Url { .. } | OfflineError::Schema { .. } | OfflineError::Owned { .. })
    }

    pub(crate) fn table(table: &str, error: KernelError) -> OfflineError {
        OfflineError::Table { table: table.to_owned(), error: Box::new(error) }
    }
}
