//! Events of one source in the columns of its definition: what every way in comes down to.

use arrow::array::RecordBatch;
use floodmark_features::time::Time;

use crate::offsets::Offsets;
use crate::reject::Reject;

/// Rows of a full batch: large enough for columns to pay, small enough for a commit.
pub const BATCH_ROWS: usize = 32_768;
/// A batch of a text file ends early at this many bytes, so that long records do not fill the memory.
pub const BATCH_BYTES: usize = 64 * 1024 * 1024;
/// Events of one source in arrival order, typed by its schema, with what could not be read beside them.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// Exactly the definition's columns, in order ([`crate::columns::arrow_schema`]); all nullable.
    pub columns: RecordBatch,
    /// Where each row stood.
    pub offsets: Offsets,
    /// When each row was appended to the log that it comes from; empty where a source does not know.
    pub appended: Vec<Time>,
    /// What was not taken, in order of offset.
    pub rejects: Vec<Reject>,
    /// The position after this batch: where a resumed read goes on.
    pub end: u64,
}
