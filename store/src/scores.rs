//! Scores of events: a durable queue that commits fill, and the side output that it empties into.
//!
//! A commit writes what is to be scored in its own transaction. Scores and the end of their place in the queue are one
//! transaction as well, so each event that was accepted has one score, whatever is killed when. Who was not accepted follows from the
//! log; a checkpoint that cuts it keeps the answer with the entry. The bytes of requests and scores are opaque here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use floodmark_features::codec::{Damaged, restore, snapshot};
use redb::{Durability, ReadableDatabase, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::{StoreError, engine};
use crate::layout::{PART_NOTE, PART_REFUSED, PART_REQUEST, SCORES, TO_SCORE, score_key, score_of};

/// The events of a commit for whoever scores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToScore {
    /// Sequence numbers of the rows of the request, in their order and without a gap.
    pub sequences: Range<u64>,
    /// The rows, as whoever scores them understands them.
    pub request: Vec<u8>,
}

/// A commit whose events wait for their scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The commit.
    pub version: u64,
    /// Position in the definitions' sources.
    pub source: usize,
    /// How many of its events were accepted.
    pub events: u64,
}

/// A waiting commit with all that is needed to score it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unscored {
    /// The commit.
    pub version: u64,
    /// Position in the definitions' sources.
    pub source: usize,
    /// What was to be scored when it was committed.
    pub to_score: ToScore,
    /// Sequence numbers of the events that were not accepted, ascending: late ones and duplicates.
    pub refused: Vec<u64>,
}

/// The score of an event, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreRecord {
    /// Position in the definitions' sources.
    pub source: usize,
    /// The commit of the event, and the version that was read.
    pub version: u64,
    /// Where the event stands in its source, counted over all partitions.
    pub sequence: u64,
    /// What came out, as whoever scored it wrote it.
    pub record: Vec<u8>,
}

/// What the queue keeps of a commit beside its request.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct QueueNote {
    source: u32,
    sequences: Range<u64>,
}

/// Entries of the queue by version, and scores that are ready.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<u64, Entry>,
    ready: BTreeMap<u64, Arc<Ready>>,
    ready_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    note: QueueNote,
    /// Who is not to be scored; known once the commit is published.
    refused: Option<Vec<u64>>,
    /// Whether the table has it too.
    at_rest: bool,
}

#[derive(Debug)]
struct Ready {
    source: usize,
    records: Vec<(u64, Vec<u8>)>,
    bytes: usize,
}

impl Unscored {
    /// The rows to score, with their sequence numbers.
    pub fn accepted(&self) -> impl Iterator<Item = (usize, u64)> {
        self.to_score.sequences.clone().enumerate().filter(|(_, sequence)| self.refused.binary_search(sequence).is_err())
    }
}

impl Store {
    /// Commits that can be read and whose events have no scores yet, in the order of their versions.
    pub fn waiting_for_scores(&self) -> Vec<Waiting> {
        let queue = self.queue.lock();
        let waiting = queue.waiting.iter().filter(|(version, _)| !queue.ready.contains_key(version));
        let shown = waiting.filter_map(|(version, entry)| {
            let all = entry.note.sequences.end - entry.note.sequences.start;
            let events = all - entry.refused.as_ref()?.len() as u64;
            Some(Waiting { version: *version, source: entry.note.source as usize, events })
        });
        shown.collect()
    }

    /// What is to be scored of a commit; `None` if nothing of it waits.
    pub fn unscored(&self, version: u64) -> Result<Option<Unscored>, StoreError> {
        let (note, refused) = {
            let queue = self.queue.lock();
            let entry = queue.waiting.get(&version).filter(|_| !queue.ready.contains_key(&version));
            let Some(Entry { note, refused: Some(refused), .. }) = entry else { return Ok(None) };
            (note.clone(), refused.clone())
        };
        let transaction = self.database.begin_read().map_err(engine)?;
        let table = transaction.open_table(TO_SCORE).map_err(engine)?;
        let request = table.get((version, PART_REQUEST)).map_err(engine)?.ok_or(Damaged { what: "events to score are not there" })?;
        let to_score = ToScore { sequences: note.sequences, request: request.value().to_vec() };
        Ok(Some(Unscored { version, source: note.source as usize, to_score, refused }))
    }

    /// Keeps the scores of all accepted events of a commit, by sequence number. They are durable with the next commit, checkpoint, or
    /// call of [`Store::write_scores`]; what is lost before that waits again.
    pub fn keep_scores(&self, version: u64, records: Vec<(u64, Vec<u8>)>) {
        let mut queue = self.queue.lock();
        let Some(entry) = queue.waiting.get(&version) else { return };
        let source = entry.note.source as usize;
        let bytes = records.iter().map(|(_, record)| record.len()).sum();
        queue.ready_bytes += bytes;
        queue.ready.insert(version, Arc::new(Ready { source, records, bytes }));
    }

    /// Bytes of scores that are not stored yet.
    pub fn ready_score_bytes(&self) -> usize {
        self.queue.lock().ready_bytes
    }

    /// Stores the scores that are ready, with an fsync of their own.
    pub fn write_scores(&self) -> Result<(), StoreError> {
        if self.queue.lock().ready.is_empty() {
            return Ok(());
        }
        let mut transaction = self.database.begin_write().map_err(engine)?;
        transaction.set_durability(Durability::Immediate).map_err(engine)?;
        transaction.set_quick_repair(true);
        let written = self.write_ready_scores(&transaction)?;
        transaction.commit().map_err(engine)?;
        self.settle_scores(&written);
        Ok(())
    }

    /// The scores of all events, in the order of source and sequence number; `each` may stop by returning false.
    pub fn scores(&self, each: impl FnMut(ScoreRecord) -> bool) -> Result<(), StoreError> {
        let ready: Vec<(u64, Arc<Ready>)> = self.queue.lock().ready.iter().map(|(version, ready)| (*version, ready.clone())).collect();
        let pending = ready.iter().flat_map(|(version, ready)| {
            let record = |(sequence, record): &(u64, Vec<u8>)| {
                let record = ScoreRecord { source: ready.source, version: *version, sequence: *sequence, record: record.clone() };
                (score_key(ready.source, *version, *sequence), record)
            };
            ready.records.iter().map(record).collect::<Vec<_>>()
        });
        let decode = |key: &[u8], record: &[u8]| {
            let (source, version, sequence) = score_of(key).ok_or(Damaged { what: "the key of a score is too short" })?;
            Ok(ScoreRecord { source, version, sequence, record: record.to_vec() })
        };
        self.merged(SCORES, pending.collect(), decode, each)
    }

    /// Puts the events of a commit into the queue.
    pub(crate) fn write_to_score(
        &self,
        transaction: &WriteTransaction,
        version: u64,
        source: usize,
        to_score: &ToScore,
    ) -> Result<(), StoreError> {
        let note = QueueNote { source: source as u32, sequences: to_score.sequences.clone() };
        let mut table = transaction.open_table(TO_SCORE).map_err(engine)?;
        table.insert((version, PART_REQUEST), to_score.request.as_slice()).map_err(engine)?;
        table.insert((version, PART_NOTE), snapshot(&note).as_slice()).map_err(engine)?;
        Ok(())
    }

    /// Remembers that they are there, once that is committed.
    pub(crate) fn await_scores(&self, version: u64, source: usize, to_score: &ToScore) {
        let note = QueueNote { source: source as u32, sequences: to_score.sequences.clone() };
        self.queue.lock().waiting.insert(version, Entry { note, refused: None, at_rest: false });
    }

    /// Whether anything of a commit is to be scored.
    pub(crate) fn is_to_score(&self, version: u64) -> bool {
        self.queue.lock().waiting.contains_key(&version)
    }

    /// Says which events of a commit were not accepted.
    pub(crate) fn not_to_score(&self, version: u64, refused: Vec<u64>) {
        if let Some(entry) = self.queue.lock().waiting.get_mut(&version) {
            entry.refused = Some(refused);
        }
    }

    /// Moves what is ready from the queue to the scores; says which commits.
    pub(crate) fn write_ready_scores(&self, transaction: &WriteTransaction) -> Result<Vec<u64>, StoreError> {
        // A copy of the list, so that whoever scores does not wait for the disk.
        let ready: Vec<(u64, Arc<Ready>)> = self.queue.lock().ready.iter().map(|(version, ready)| (*version, ready.clone())).collect();
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let mut scores = transaction.open_table(SCORES).map_err(engine)?;
        let mut to_score = transaction.open_table(TO_SCORE).map_err(engine)?;
        for (version, ready) in &ready {
            for (sequence, record) in &ready.records {
                scores.insert(score_key(ready.source, *version, *sequence).as_slice(), record.as_slice()).map_err(engine)?;
            }
            for part in [PART_REQUEST, PART_NOTE, PART_REFUSED] {
                to_score.remove((*version, part)).map_err(engine)?;
            }
        }
        Ok(ready.into_iter().map(|(version, _)| version).collect())
    }

    /// Forgets commits whose scores are stored. Twice is as good as once: two writers may have stored the same ones.
    pub(crate) fn settle_scores(&self, versions: &[u64]) {
        if versions.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        for version in versions {
            queue.waiting.remove(version);
            if let Some(ready) = queue.ready.remove(version) {
                queue.ready_bytes -= ready.bytes;
            }
        }
    }

    /// Keeps who is not to be scored where the log will not say any more; says of which commits.
    pub(crate) fn write_refused(&self, transaction: &WriteTransaction) -> Result<Vec<u64>, StoreError> {
        let queue = self.queue.lock();
        let mut noted = Vec::new();
        for (version, entry) in queue.waiting.iter().filter(|(version, e)| !e.at_rest && !queue.ready.contains_key(version)) {
            let Some(refused) = &entry.refused else { continue };
            let mut table = transaction.open_table(TO_SCORE).map_err(engine)?;
            table.insert((*version, PART_REFUSED), snapshot(refused).as_slice()).map_err(engine)?;
            noted.push(*version);
        }
        Ok(noted)
    }

    pub(crate) fn settle_refused(&self, versions: &[u64]) {
        let mut queue = self.queue.lock();
        for version in versions {
            if let Some(entry) = queue.waiting.get_mut(version) {
                entry.at_rest = true;
            }
        }
    }

    /// Reads the queue when the store is opened; the log that is replayed afterwards says what it does not.
    pub(crate) fn restore_queue(&mut self) -> Result<(), StoreError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let table = transaction.open_table(TO_SCORE).map_err(engine)?;
        let mut waiting = BTreeMap::new();
        for entry in table.iter().map_err(engine)? {
            let (key, _) = entry.map_err(engine)?;
            let (version, PART_REQUEST) = key.value() else { continue };
            let part = |part| table.get((version, part)).map_err(engine);
            let note = part(PART_NOTE)?.ok_or(Damaged { what: "events to score have no note" })?;
            let refused = part(PART_REFUSED)?.map(|bytes| restore(bytes.value())).transpose()?;
            waiting.insert(version, Entry { note: restore(note.value())?, at_rest: refused.is_some(), refused });
        }
        self.queue.get_mut().waiting = waiting;
        Ok(())
    }

    /// Of everything that waits it must be known by now who was accepted; else it would wait for ever, unseen.
    pub(crate) fn check_queue(&self) -> Result<(), StoreError> {
        match self.queue.lock().waiting.values().all(|entry| entry.refused.is_some()) {
            true => Ok(()),
            false => Err(Damaged { what: "the log of events to score was cut, and nothing says which of them were accepted" }.into()),
        }
    }
}

#[cfg(test)]
mod tests;
