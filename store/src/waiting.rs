//! Events of commits that somebody has still to do something with: a durable queue that commits fill in their own transaction.
//!
//! Which of the events were accepted is decided after the commit, and follows from the log; a checkpoint that cuts the log keeps the
//! answer with the entry. What an entry holds is opaque here.

use std::collections::BTreeMap;
use std::ops::Range;

use floodmark_features::codec::{Damaged, restore, snapshot};
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, engine};
use crate::layout::{Bytes, PART_EVENTS, PART_LATE, PART_NOTE, PART_REFUSED};

/// The events of a commit, for whoever waits for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitEvents {
    /// Their sequence numbers in the source, in their order and without a gap.
    pub sequences: Range<u64>,
    /// The events, as whoever waits for them understands them.
    pub bytes: Vec<u8>,
}

/// What is known of a waiting commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) source: usize,
    pub(crate) sequences: Range<u64>,
    pub(crate) refused: Refused,
}

/// Sequence numbers of events that were not accepted, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    /// All of them: late ones and duplicates.
    pub(crate) all: Vec<u64>,
    /// Those that came too late for every view.
    pub(crate) late: Vec<u64>,
}

/// Commits whose events wait, by version.
pub(crate) struct Queue {
    table: TableDefinition<'static, (u64, u8), Bytes>,
    entries: Mutex<BTreeMap<u64, Entry>>,
}

/// What the table keeps beside the events.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    source: u32,
    sequences: Range<u64>,
}

#[derive(Debug)]
struct Entry {
    note: Note,
    /// Who was not accepted; known once the commit is published.
    refused: Option<Refused>,
    /// Whether the table has it too.
    at_rest: bool,
}

impl Queue {
    /// An empty one, kept in that table.
    pub(crate) fn new(table: TableDefinition<'static, (u64, u8), Bytes>) -> Queue {
        Queue { table, entries: Mutex::default() }
    }

    /// Writes the events of a commit.
    pub(crate) fn write(
        &self,
        transaction: &WriteTransaction,
        version: u64,
        source: usize,
        events: &CommitEvents,
    ) -> Result<(), StoreError> {
        let note = Note { source: source as u32, sequences: events.sequences.clone() };
        let mut table = transaction.open_table(self.table).map_err(engine)?;
        table.insert((version, PART_EVENTS), events.bytes.as_slice()).map_err(engine)?;
        table.insert((version, PART_NOTE), snapshot(&note).as_slice()).map_err(engine)?;
        Ok(())
    }

    /// Remembers that they are there, once that is committed.
    pub(crate) fn add(&self, version: u64, source: usize, events: &CommitEvents) {
        let note = Note { source: source as u32, sequences: events.sequences.clone() };
        self.entries.lock().insert(version, Entry { note, refused: None, at_rest: false });
    }

    /// Whether events of a commit wait.
    pub(crate) fn has(&self, version: u64) -> bool {
        self.entries.lock().contains_key(&version)
    }

    /// Says which events of a commit were not accepted.
    pub(crate) fn refuse(&self, version: u64, refused: &Refused) {
        if let Some(entry) = self.entries.lock().get_mut(&version) {
            entry.refused = Some(refused.clone());
        }
    }

    /// All that can be worked on, in order: everything up to the first commit that is not published.
    pub(crate) fn known(&self) -> Vec<(u64, Known)> {
        self.entries.lock().iter().map_while(|(version, entry)| Some((*version, entry.known()?))).collect()
    }

    /// The same of a source, within some versions, as long as `wanted` is true of the number of events of a commit.
    pub(crate) fn known_of(&self, source: usize, within: Range<u64>, mut wanted: impl FnMut(u64) -> bool) -> Vec<(u64, Known)> {
        let entries = self.entries.lock();
        let published = entries.range(within).take_while(|(_, entry)| entry.refused.is_some());
        let of_source = published.filter(|(_, entry)| entry.note.source as usize == source);
        let taken = of_source.take_while(|(_, entry)| wanted(entry.events()));
        taken.filter_map(|(version, entry)| Some((*version, entry.known()?))).collect()
    }

    /// How many events of a source wait, and can be worked on.
    pub(crate) fn events_of(&self, source: usize) -> u64 {
        let entries = self.entries.lock();
        let published = entries.values().take_while(|entry| entry.refused.is_some());
        published.filter(|entry| entry.note.source as usize == source).map(Entry::events).sum()
    }

    /// The versions of a source's commits up to one.
    pub(crate) fn versions_until(&self, source: usize, version: u64) -> Vec<u64> {
        let entries = self.entries.lock();
        entries.range(..=version).filter(|(_, entry)| entry.note.source as usize == source).map(|(version, _)| *version).collect()
    }

    /// What is known of one commit; `None` if nothing of it waits or it is not published.
    pub(crate) fn known_at(&self, version: u64) -> Option<Known> {
        self.entries.lock().get(&version)?.known()
    }

    /// The events of a commit.
    pub(crate) fn read(&self, database: &Database, version: u64) -> Result<Vec<u8>, StoreError> {
        let transaction = database.begin_read().map_err(engine)?;
        let table = transaction.open_table(self.table).map_err(engine)?;
        let bytes = table.get((version, PART_EVENTS)).map_err(engine)?.ok_or(Damaged { what: "events that wait are not there" })?;
        Ok(bytes.value().to_vec())
    }

    /// Takes commits out of the table.
    pub(crate) fn remove(&self, transaction: &WriteTransaction, versions: &[u64]) -> Result<(), StoreError> {
        let mut table = transaction.open_table(self.table).map_err(engine)?;
        for version in versions {
            for part in [PART_EVENTS, PART_NOTE, PART_REFUSED, PART_LATE] {
                table.remove((*version, part)).map_err(engine)?;
            }
        }
        Ok(())
    }

    /// Forgets commits that have been taken out. Twice is as good as once.
    pub(crate) fn forget(&self, versions: &[u64]) {
        let mut entries = self.entries.lock();
        versions.iter().for_each(|version| drop(entries.remove(version)));
    }

    /// Keeps who was not accepted where the log will not say any more, but for commits that this transaction takes out; says of which.
    pub(crate) fn write_refused(&self, transaction: &WriteTransaction, but: &[u64]) -> Result<Vec<u64>, StoreError> {
        let entries = self.entries.lock();
        let mut noted = Vec::new();
        for (version, entry) in entries.iter().filter(|(version, entry)| !entry.at_rest && !but.contains(version)) {
            let Some(refused) = &entry.refused else { continue };
            let mut table = transaction.open_table(self.table).map_err(engine)?;
            // Taken out by somebody who is about to forget it.
            if table.get((*version, PART_NOTE)).map_err(engine)?.is_none() {
                continue;
            }
            table.insert((*version, PART_REFUSED), snapshot(&refused.all).as_slice()).map_err(engine)?;
            if !refused.late.is_empty() {
                table.insert((*version, PART_LATE), snapshot(&refused.late).as_slice()).map_err(engine)?;
            }
            noted.push(*version);
        }
        Ok(noted)
    }

    /// These are at rest now.
    pub(crate) fn settle_refused(&self, versions: &[u64]) {
        let mut entries = self.entries.lock();
        for version in versions {
            if let Some(entry) = entries.get_mut(version) {
                entry.at_rest = true;
            }
        }
    }

    /// Reads the table when the store is opened; the log that is replayed afterwards says what it does not.
    pub(crate) fn restore(&self, database: &Database) -> Result<(), StoreError> {
        let transaction = database.begin_read().map_err(engine)?;
        let table = transaction.open_table(self.table).map_err(engine)?;
        let mut entries = self.entries.lock();
        for found in table.iter().map_err(engine)? {
            let (key, _) = found.map_err(engine)?;
            let (version, PART_EVENTS) = key.value() else { continue };
            let part = |part| table.get((version, part)).map_err(engine);
            let note = part(PART_NOTE)?.ok_or(Damaged { what: "events that wait have no note" })?;
            let refused = part(PART_REFUSED)?.map(|bytes| restore(bytes.value())).transpose()?;
            let late = part(PART_LATE)?.map(|bytes| restore(bytes.value())).transpose()?.unwrap_or_default();
            let refused = refused.map(|all| Refused { all, late });
            entries.insert(version, Entry { note: restore(note.value())?, at_rest: refused.is_some(), refused });
        }
        Ok(())
    }

    /// Of everything that waits it must be known by now who was accepted; else it would wait for ever, unseen.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.entries.lock().values().all(|entry| entry.refused.is_some()) {
            true => Ok(()),
            false => Err(Damaged { what: "the log of events that wait was cut, and nothing says which of them were accepted" }.into()),
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("table", &self.table.to_string()).field("entries", &self.entries).finish()
    }
}

impl Entry {
    fn events(&self) -> u64 {
        self.note.sequences.end - self.note.sequences.start
    }

    fn known(&self) -> Option<Known> {
        let refused = self.refused.clone()?;
        Some(Known { source: self.note.source as usize, sequences: self.note.sequences.clone(), refused })
    }
}
