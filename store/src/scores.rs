//! Scores of events: the side output that the queue of those that wait for them empties into.
//!
//! A commit writes what is to be scored in its own transaction (see [`crate::waiting`]). Scores and the end of their place in the queue
//! are one transaction as well, so each event that was accepted has one score, whatever is killed when. The bytes of requests and scores
//! are opaque here.

use std::collections::BTreeMap;
use std::sync::Arc;

use floodmark_features::codec::Damaged;
use redb::{Durability, WriteTransaction};

use crate::Store;
use crate::error::{StoreError, engine};
use crate::layout::{SCORES, score_key, score_of};
use crate::waiting::CommitEvents;

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
    pub to_score: CommitEvents,
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

/// Scores that are ready, by the version of their events' commit.
#[derive(Debug, Default)]
pub(crate) struct Scored {
    ready: BTreeMap<u64, Arc<Ready>>,
    bytes: usize,
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
        let scored = self.scored.lock();
        let waiting = self.to_score.known().into_iter().filter(|(version, _)| !scored.ready.contains_key(version));
        let shown = waiting.map(|(version, known)| {
            let all = known.sequences.end - known.sequences.start;
            Waiting { version, source: known.source, events: all - known.refused.all.len() as u64 }
        });
        shown.collect()
    }

    /// What is to be scored of a commit; `None` if nothing of it waits.
    pub fn unscored(&self, version: u64) -> Result<Option<Unscored>, StoreError> {
        if self.scored.lock().ready.contains_key(&version) {
            return Ok(None);
        }
        let Some(known) = self.to_score.known_at(version) else { return Ok(None) };
        let bytes = self.to_score.read(&self.database, version)?;
        let to_score = CommitEvents { sequences: known.sequences, bytes };
        Ok(Some(Unscored { version, source: known.source, to_score, refused: known.refused.all }))
    }

    /// Keeps the scores of all accepted events of a commit, by sequence number. They are durable with the next commit, checkpoint, or
    /// call of [`Store::write_scores`]; what is lost before that waits again.
    pub fn keep_scores(&self, version: u64, records: Vec<(u64, Vec<u8>)>) {
        let Some(known) = self.to_score.known_at(version) else { return };
        let bytes = records.iter().map(|(_, record)| record.len()).sum();
        let mut scored = self.scored.lock();
        scored.bytes += bytes;
        scored.ready.insert(version, Arc::new(Ready { source: known.source, records, bytes }));
    }

    /// Bytes of scores that are not stored yet.
    pub fn ready_score_bytes(&self) -> usize {
        self.scored.lock().bytes
    }

    /// Stores the scores that are ready, with an fsync of their own.
    pub fn write_scores(&self) -> Result<(), StoreError> {
        if self.scored.lock().ready.is_empty() {
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
        let ready: Vec<(u64, Arc<Ready>)> = self.scored.lock().ready.iter().map(|(version, ready)| (*version, ready.clone())).collect();
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

    /// Moves what is ready from the queue to the scores; says which commits.
    pub(crate) fn write_ready_scores(&self, transaction: &WriteTransaction) -> Result<Vec<u64>, StoreError> {
        // A copy of the list, so that whoever scores does not wait for the disk.
        let ready: Vec<(u64, Arc<Ready>)> = self.scored.lock().ready.iter().map(|(version, ready)| (*version, ready.clone())).collect();
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let mut scores = transaction.open_table(SCORES).map_err(engine)?;
        for (version, ready) in &ready {
            for (sequence, record) in &ready.records {
                scores.insert(score_key(ready.source, *version, *sequence).as_slice(), record.as_slice()).map_err(engine)?;
            }
        }
        let versions: Vec<u64> = ready.into_iter().map(|(version, _)| version).collect();
        self.to_score.remove(transaction, &versions)?;
        Ok(versions)
    }

    /// Forgets commits whose scores are stored. Twice is as good as once: two writers may have stored the same ones.
    pub(crate) fn settle_scores(&self, versions: &[u64]) {
        if versions.is_empty() {
            return;
        }
        self.to_score.forget(versions);
        let mut scored = self.scored.lock();
        for version in versions {
            if let Some(ready) = scored.ready.remove(version) {
                scored.bytes -= ready.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests;
