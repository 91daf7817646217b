//! From batches of events to commits of a store: types, identity, watermarks, lateness. Nothing here waits, and nothing reads a file.
//!
//! Reading order: [`batch`] (events in the columns of their source), [`columns`] (how rows and batches of other types get there), [`reject`]
//! (why a record was not taken), [`payload`] (a record as text), [`router`] (a batch becomes a commit), [`history`] (events that were taken
//! in before, as another definition sees them).

pub mod batch;
pub mod columns;
pub mod field;
pub mod history;
mod keeping;
pub mod offsets;
pub mod payload;
pub mod reject;
pub mod router;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod to_score;
