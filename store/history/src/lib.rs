//! History: the events that an offline store has kept, back in stores in memory, for views of any definition: all of them at once, to be
//! asked and followed, or part by part, for training sets that are larger than memory.

mod backfill;
mod parts;

use std::sync::Arc;

use arrow::array::RecordBatch;
use floodmark_features::definition::Definitions;
use floodmark_intake::history::{HistoryError as IntakeError, take_history};
use floodmark_offline::{Following, OfflineError, OfflineStore};
use floodmark_store::{OpenError, Settings, Store, StoreError};

pub use backfill::{Backfill, Backfiller};
pub use parts::History;

/// Why history cannot be brought back.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A store in memory could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The offline store could not be read.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// Events are missing.
    #[error("the offline store has {kept} of {accepted} events of a source: views cannot be computed from that. source={source_name}")]
    Incomplete {
        /// How many are there.
        kept: u64,
        /// How many the store has accepted.
        accepted: u64,
        /// Of which source.
        source_name: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The events could not be taken in.
    #[error(transparent)]
    Take(#[from] IntakeError),
}

impl HistoryError {
    /// Whether it may be tried again: the offline store was away.
    pub fn may_pass(&self) -> bool {
        match self {
            HistoryError::Offline(error) => !error.is_for_good(),
            HistoryError::Incomplete { .. } => true,
            _ => false,
        }
    }
}

/// A store in memory with all that was kept.
#[derive(Debug)]
pub struct Remembered {
    /// The store.
    pub store: Arc<Store>,
    /// How to go on from there.
    pub following: Following,
    /// For each source the events, as [`Following::newer`] gives them.
    pub events: Vec<(usize, RecordBatch)>,
}

/// Brings back what was kept at a place, as views of these definitions see it. `watch` is told how many events of how many have been taken.
pub fn remember(place: &str, definitions: &Arc<Definitions>, watch: &dyn Fn(u64, u64)) -> Result<Remembered, HistoryError> {
    let store = Arc::new(Store::in_memory(definitions.clone(), Settings::default())?);
    remember_into(&store, place, watch)
}

/// The same, into a store in memory that has nothing yet.
pub fn remember_into(store: &Arc<Store>, place: &str, watch: &dyn Fn(u64, u64)) -> Result<Remembered, HistoryError> {
    let mut following = Following::new(OfflineStore::existing(place, store.definitions())?, store);
    let (events, place) = following.newer()?;
    let total = events.iter().map(|(_, events)| events.num_rows() as u64).sum();
    take_history(store, &events, &|taken| watch(taken, total))?;
    following.taken(place);
    Ok(Remembered { store: store.clone(), following, events })
}
