//! Events that wait for the offline store: what commits keep of their sources' records until they are safe there.
//!
//! A store is made with an offline store or without one: an event that was taken in without it would be missing there for ever.

use std::ops::Range;

use redb::Durability;

use crate::Store;
use crate::error::{OfflinePlaceError, StoreError, engine};
use crate::layout::{META, META_OFFLINE};
use crate::waiting::{Known, Refused};

/// Columns that follow those of the source in what waits, and in the offline store.
pub mod column {
    /// When the event begins to count (T9): a timestamp.
    pub const VISIBLE_FROM: &str = "_visible_from";
    /// The event's id, where the source declares none.
    pub const EVENT_ID: &str = "_event_id";
    /// Partition of the source.
    pub const PARTITION: &str = "_partition";
    /// Its place there.
    pub const OFFSET: &str = "_offset";
    /// The commit that took it in (T14).
    pub const VERSION: &str = "_version";
    /// Where it stands in its source, counted over all partitions.
    pub const SEQUENCE: &str = "_sequence";
}

/// The events of a commit, as they wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The commit.
    pub version: u64,
    /// Sequence number of the first one; the others follow without a gap.
    pub first: u64,
    /// Sequence numbers of those that were not accepted, ascending.
    pub refused: Vec<u64>,
    /// Of those, the ones that came too late for every view: views of other definitions may count them.
    pub late: Vec<u64>,
    /// The events, as their writer wrote them.
    pub bytes: Vec<u8>,
}

impl Store {
    /// Where its offline store is, if it has one.
    pub fn offline(&self) -> Option<String> {
        self.offline.lock().clone()
    }

    /// Gives a new store its offline store: from now on, the events of all commits wait for it. Nothing new for one that has it already;
    /// another place may be said as long as there are no events.
    pub fn set_offline(&self, place: &str) -> Result<(), OfflinePlaceError> {
        let mut known = self.offline.lock();
        match &*known {
            Some(known) if known == place => return Ok(()),
            Some(known) if self.version() > 0 => {
                return Err(OfflinePlaceError::Elsewhere { known: known.clone(), given: place.to_owned() });
            }
            None if self.version() > 0 => return Err(OfflinePlaceError::TooLate { directory: self.directory.clone() }),
            _ => {}
        }
        let transaction = self.database.begin_write().map_err(engine)?;
        transaction.open_table(META).map_err(engine)?.insert(META_OFFLINE, place.as_bytes()).map_err(engine)?;
        transaction.commit().map_err(engine)?;
        *known = Some(place.to_owned());
        Ok(())
    }

    /// Commits of a source whose events wait, within some versions, rising: about `most` events, whole commits, at least one if there is
    /// any.
    pub fn kept_within(&self, source: usize, within: Range<u64>, most: u64) -> Result<Vec<Kept>, StoreError> {
        let mut events = 0;
        let known = self.to_keep.known_of(source, within, |count| {
            let first = events == 0;
            events += count;
            first || events <= most
        });
        let read = |(version, known): (u64, Known)| {
            let bytes = self.to_keep.read(&self.database, version)?;
            let Refused { all, late } = known.refused;
            Ok(Kept { version, first: known.sequences.start, refused: all, late, bytes })
        };
        known.into_iter().map(read).collect()
    }

    /// How many events of a source wait, refused ones included.
    pub fn waiting_to_be_kept(&self, source: usize) -> u64 {
        self.to_keep.events_of(source)
    }

    /// Forgets what waits of a source up to a version: it is safe.
    pub fn kept_until(&self, source: usize, version: u64) -> Result<(), StoreError> {
        let safe = self.to_keep.versions_until(source, version);
        if safe.is_empty() {
            return Ok(());
        }
        let mut transaction = self.database.begin_write().map_err(engine)?;
        transaction.set_durability(Durability::Immediate).map_err(engine)?;
        transaction.set_quick_repair(true);
        self.to_keep.remove(&transaction, &safe)?;
        transaction.commit().map_err(engine)?;
        self.to_keep.forget(&safe);
        Ok(())
    }
}
