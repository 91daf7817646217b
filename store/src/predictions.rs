//! What was scored, kept in the order of time up to so many bytes. What a record says is its writer's business.
//!
//! The log of predictions has transactions of its own and asks for no fsync of its own, except now and then: a crash loses what came
//! after the last durable commit, whoever's that was, and nothing else.

use std::ops::RangeInclusive;

use floodmark_features::codec::{restore, snapshot};
use floodmark_features::time::Time;
use redb::{Durability, ReadableDatabase, ReadableTable, Table};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::{StoreError, engine};
use crate::layout::{Bytes, META, META_PREDICTIONS, PREDICTIONS, ordered};

/// Where a record stands: by time, and within an instant by the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PredictionKey {
    /// When it was scored.
    pub at: Time,
    /// Tells records of one instant apart.
    pub counter: u32,
}

/// What became of records that were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The oldest, removed to make room.
    pub removed: u64,
    /// Bytes that all records take, keys included.
    pub bytes: u64,
}

/// What the table holds, kept with it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    bytes: u64,
    next: u32,
}

impl PredictionKey {
    /// The first and the last that there may be from one time to another, both included.
    pub fn between(from: Time, to: Time) -> RangeInclusive<PredictionKey> {
        PredictionKey { at: from, counter: 0 }..=PredictionKey { at: to, counter: u32::MAX }
    }

    /// The one after it.
    pub fn next(self) -> PredictionKey {
        match self.counter.checked_add(1) {
            Some(counter) => PredictionKey { counter, ..self },
            None => PredictionKey { at: self.at.next_tick(), counter: 0 },
        }
    }

    fn bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&ordered(self.at));
        bytes[8..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<PredictionKey> {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let counter = u32::from_be_bytes(*rest.first_chunk::<4>()?);
        Some(PredictionKey { at: Time::from_micros((u64::from_be_bytes(*at) ^ 1 << 63) as i64), counter })
    }
}

/// Bytes of a key.
const LENGTH: usize = 12;

impl Store {
    /// Adds records in one commit, and removes the oldest until all take no more than `keep_bytes`. With `durable` they outlive a crash,
    /// and all before them; without, they do once anything else is committed.
    pub fn append_predictions(&self, records: &[(Time, Vec<u8>)], keep_bytes: u64, durable: bool) -> Result<Appended, StoreError> {
        let mut transaction = self.database.begin_write().map_err(engine)?;
        transaction.set_durability(if durable { Durability::Immediate } else { Durability::None }).map_err(engine)?;
        transaction.set_quick_repair(durable);
        let mut appended = Appended::default();
        {
            let mut meta = transaction.open_table(META).map_err(engine)?;
            let mut table = transaction.open_table(PREDICTIONS).map_err(engine)?;
            let mut note: Note = match meta.get(META_PREDICTIONS).map_err(engine)? {
                Some(bytes) => restore(bytes.value())?,
                None => Note::default(),
            };
            for (at, record) in records {
                let key = PredictionKey { at: *at, counter: note.next };
                note.next = note.next.wrapping_add(1);
                note.bytes += (LENGTH + record.len()) as u64;
                if let Some(before) = table.insert(key.bytes().as_slice(), record.as_slice()).map_err(engine)? {
                    note.bytes = note.bytes.saturating_sub((LENGTH + before.value().len()) as u64);
                }
            }
            appended.removed = remove_oldest(&mut table, &mut note, keep_bytes)?;
            appended.bytes = note.bytes;
            meta.insert(META_PREDICTIONS, snapshot(&note).as_slice()).map_err(engine)?;
        }
        transaction.commit().map_err(engine)?;
        Ok(appended)
    }

    /// The records of a range, in order; `each` may stop by returning false.
    pub fn predictions(
        &self,
        range: RangeInclusive<PredictionKey>,
        mut each: impl FnMut(PredictionKey, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        if range.is_empty() {
            return Ok(());
        }
        let transaction = self.database.begin_read().map_err(engine)?;
        let table = match transaction.open_table(PREDICTIONS) {
            Ok(table) => table,
            // Made with the first record.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(engine(error)),
        };
        let (from, to) = (range.start().bytes(), range.end().bytes());
        for entry in table.range::<&[u8]>(from.as_slice()..=to.as_slice()).map_err(engine)? {
            let (key, record) = entry.map_err(engine)?;
            if let Some(key) = PredictionKey::of_bytes(key.value())
                && !each(key, record.value())
            {
                break;
            }
        }
        Ok(())
    }

    /// Bytes that all records take, keys included.
    pub fn prediction_bytes(&self) -> Result<u64, StoreError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let meta = transaction.open_table(META).map_err(engine)?;
        let note = meta.get(META_PREDICTIONS).map_err(engine)?;
        Ok(note.map(|bytes| restore::<Note>(bytes.value())).transpose()?.unwrap_or_default().bytes)
    }
}

fn remove_oldest(table: &mut Table<'_, Bytes, Bytes>, note: &mut Note, keep_bytes: u64) -> Result<u64, StoreError> {
    let mut removed = 0;
    while note.bytes > keep_bytes {
        let Some((key, record)) = table.pop_first().map_err(engine)? else {
            note.bytes = 0;
            break;
        };
        note.bytes = note.bytes.saturating_sub((key.value().len() + record.value().len()) as u64);
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
