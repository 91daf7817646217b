//! Committing and applying: how a routed batch becomes durable, then readable.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use floodmark_features::codec::{encode_section, put_varint, snapshot};
use floodmark_features::engine::{Outcome, Outputs};
use floodmark_features::section::Section;
use floodmark_features::time::Time;
use floodmark_features::watermark::SourceProgress;
use redb::Durability;
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, engine};
use crate::layout::{LOG, PROGRESS, REJECTS, WHOLE_COMMIT};
use crate::side::RejectedRecord;
use crate::waiting::{CommitEvents, Queue, Refused};
use crate::{Store, Syncs, Writer};

/// Rows applied under one hold of a partition's lock: bounds how long a reader can wait.
pub(crate) const ROWS_AT_ONCE: usize = 256;

/// A routed batch of one source: what becomes durable as one.
#[derive(Debug, Default)]
pub struct Commit {
    /// Position in the definitions' sources.
    pub source: usize,
    /// For each partition, for each section of the engine's plan, its rows; sections of other sources stay empty.
    pub partitions: Vec<Vec<Section>>,
    /// What the source's watermark became, after which event.
    pub trail: Vec<(u64, Time)>,
    /// Records that were refused.
    pub rejects: Vec<RejectedRecord>,
    /// Positions and watermarks after this batch.
    pub progress: Option<SourceProgress>,
    /// Records read, rejected ones included.
    pub read: u64,
    /// Its events for whoever scores them, if somebody does.
    pub to_score: Option<CommitEvents>,
    /// Its events for the offline store, if there is one.
    pub to_keep: Option<CommitEvents>,
}

/// What the log keeps of a commit beside its rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CommitNote {
    pub(crate) source: u32,
    pub(crate) trail: Vec<(u64, Time)>,
    pub(crate) read: u64,
    pub(crate) rejected: u64,
    pub(crate) watermark: Time,
}

/// What became of the events of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Records taken in; the sum of accepted, late, rejected and duplicates.
    pub read: u64,
    /// Counted by at least one view, partially late ones included.
    pub accepted: u64,
    /// Of these, those that missed final values.
    pub partially_late: u64,
    /// Too late for every view.
    pub late: u64,
    /// Refused.
    pub rejected: u64,
    /// There already.
    pub duplicates: u64,
}

/// What became of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchReport {
    /// The version under which it can be read.
    pub version: u64,
    /// What became of its events.
    pub tally: Tally,
    /// The records that were refused.
    pub rejects: Vec<RejectedRecord>,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Tally) {
        self.read += other.read;
        self.accepted += other.accepted;
        self.partially_late += other.partially_late;
        self.late += other.late;
        self.rejected += other.rejected;
        self.duplicates += other.duplicates;
    }
}

impl Store {
    /// Makes batches durable, in order, with one fsync for all of them; `now` is the clock's time, read by the caller.
    /// Returns the version of each.
    pub fn commit(&self, batches: &mut [Commit], now: Time) -> Result<Vec<u64>, StoreError> {
        let mut versions = Vec::with_capacity(batches.len());
        let mut transaction = self.database.begin_write().map_err(engine)?;
        // After the transaction, as in a checkpoint: in the other order the two would wait for each other.
        let mut writer = self.writer.lock();
        transaction.set_durability(Durability::Immediate).map_err(engine)?;
        transaction.set_quick_repair(true);
        let mut bytes = 0;
        {
            let mut log = transaction.open_table(LOG).map_err(engine)?;
            let mut progress = transaction.open_table(PROGRESS).map_err(engine)?;
            let mut rejects = transaction.open_table(REJECTS).map_err(engine)?;
            let mut block = Vec::new();
            for batch in batches.iter() {
                let version = next_version(&writer, versions.last().copied(), now);
                versions.push(version);
                for (partition, sections) in batch.partitions.iter().enumerate() {
                    block.clear();
                    self.encode_block(sections, &mut block);
                    if !block.is_empty() {
                        bytes += block.len() as u64;
                        log.insert((version, partition as u32), block.as_slice()).map_err(engine)?;
                    }
                }
                let note = CommitNote {
                    source: batch.source as u32,
                    trail: batch.trail.clone(),
                    read: batch.read,
                    rejected: batch.rejects.len() as u64,
                    watermark: batch.progress.as_ref().map_or(Time::NONE, SourceProgress::watermark),
                };
                log.insert((version, WHOLE_COMMIT), snapshot(&note).as_slice()).map_err(engine)?;
                if let Some(after) = &batch.progress {
                    progress.insert(batch.source as u32, snapshot(after).as_slice()).map_err(engine)?;
                }
                for (number, reject) in batch.rejects.iter().enumerate() {
                    let key = [&(batch.source as u16).to_be_bytes()[..], &version.to_be_bytes(), &(number as u32).to_be_bytes()].concat();
                    rejects.insert(key.as_slice(), snapshot(reject).as_slice()).map_err(engine)?;
                }
            }
        }
        for (version, batch) in versions.iter().zip(batches.iter()) {
            for (queue, events) in self.waiting(batch) {
                queue.write(&transaction, *version, batch.source, events)?;
            }
        }
        // Scores that are ready are taken along, so that they need no fsync of their own.
        let scored = self.write_ready_scores(&transaction)?;
        let began = Instant::now();
        transaction.commit().map_err(engine)?;
        self.syncs.count(began.elapsed());
        self.settle_scores(&scored);
        for (version, batch) in versions.iter().zip(batches.iter()) {
            for (queue, events) in self.waiting(batch) {
                queue.add(*version, batch.source, events);
            }
        }
        writer.log_bytes += bytes;
        if let Some(last) = versions.last() {
            writer.version = *last;
        }
        for batch in batches.iter_mut() {
            if let Some(after) = &batch.progress {
                writer.progress[batch.source] = after.clone();
            }
        }
        Ok(versions)
    }

    /// Who waits for what of a batch.
    fn waiting<'a>(&'a self, batch: &'a Commit) -> impl Iterator<Item = (&'a Queue, &'a CommitEvents)> {
        let both = [(&self.to_score, &batch.to_score), (&self.to_keep, &batch.to_keep)];
        both.into_iter().filter_map(|(queue, events)| Some((queue, events.as_ref()?)))
    }

    /// Sections as the log keeps them; nothing at all if they are empty.
    fn encode_block(&self, sections: &[Section], out: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        for (at, section) in sections.iter().enumerate().filter(|(_, s)| !s.is_empty()) {
            bytes.clear();
            encode_section(section, &self.plan.sections[at].layout, &mut bytes);
            put_varint(at as u64, out);
            put_varint(bytes.len() as u64, out);
            out.extend_from_slice(&bytes);
        }
    }

    /// Applies the rows of some partitions of a committed batch. Each partition must see the commits in order; different ones may be
    /// applied at the same time.
    pub fn apply(&self, version: u64, batch: &Commit, partitions: impl Iterator<Item = usize>) -> Result<Outputs, StoreError> {
        let mut outputs = Outputs::default();
        let tick = self.tick.load(Ordering::Relaxed);
        for partition in partitions {
            if let Some(sections) = batch.partitions.get(partition) {
                for (at, section) in sections.iter().enumerate().filter(|(_, s)| !s.is_empty()) {
                    self.apply_section(partition, at, section, version, &batch.trail, tick, &mut outputs)?;
                    // Before the version is published: by then a mirror knows what has changed.
                    self.changes.note_rows(partition, self.plan.sections[at].entity, section);
                }
            }
            let emitting = self.plan.sections.iter().enumerate().filter(|(_, s)| s.emits && s.source == batch.source);
            for (at, _) in emitting {
                self.shards[partition].write().follow(at, &batch.trail, None, &mut outputs);
            }
        }
        Ok(outputs)
    }

    fn apply_section(
        &self,
        partition: usize,
        at: usize,
        section: &Section,
        version: u64,
        trail: &[(u64, Time)],
        tick: u32,
        outputs: &mut Outputs,
    ) -> Result<(), StoreError> {
        let mut from = 0;
        while from < section.len() {
            let to = (from + ROWS_AT_ONCE).min(section.len());
            self.warm_up(partition, at, section, from..to)?;
            self.shards[partition].write().apply(at, section, from..to, version, trail, tick, outputs);
            from = to;
        }
        Ok(())
    }

    /// Makes a batch readable once all its partitions are applied, and says what became of its events.
    pub fn publish(&self, version: u64, batch: &Commit, mut outputs: Vec<Outputs>) -> BatchReport {
        let note = (batch.read, batch.rejects.len() as u64);
        let tally = self.tally_of(version, batch.source, note, &mut outputs);
        // That of the batch, not the newest: later commits may be durable already, and their events cannot be read yet.
        let watermark = batch.progress.as_ref().map_or_else(|| self.source_watermark(batch.source), SourceProgress::watermark);
        self.publish_tally(version, batch.source, watermark, &tally, outputs);
        BatchReport { version, tally, rejects: batch.rejects.clone() }
    }

    pub(crate) fn publish_tally(&self, version: u64, source: usize, watermark: Time, tally: &Tally, outputs: Vec<Outputs>) {
        self.pending.lock().take(outputs);
        self.writer.lock().tallies[source].add(tally);
        // In this order: a reader looks at the watermark first, so it takes nothing for final that its version does not hold.
        self.published.store(version, Ordering::Release);
        self.watermarks[source].store(watermark.micros(), Ordering::Release);
        self.tick.fetch_add(1, Ordering::Relaxed);
        self.changes.published();
    }

    /// An event is accepted if any section accepted it; else it is what the best of them says (T10).
    pub(crate) fn tally_of(&self, version: u64, source: usize, (read, rejected): (u64, u64), outputs: &mut [Outputs]) -> Tally {
        let sections = self.plan.sections.iter().filter(|s| s.source == source && self.backfill.is_live(s)).count();
        let mut exceptions: Vec<(u64, Outcome)> = outputs.iter_mut().flat_map(|o| o.exceptions.drain(..)).collect();
        exceptions.sort_unstable();
        let mut tally = Tally { read, rejected, accepted: read - rejected, ..Tally::default() };
        let mut refused = (self.to_score.has(version) || self.to_keep.has(version)).then(Refused::default);
        for event in exceptions.chunk_by(|a, b| a.0 == b.0) {
            let best = if event.len() < sections { Outcome::Accepted } else { event[0].1 };
            match best {
                Outcome::Accepted | Outcome::Unassigned => {}
                Outcome::PartiallyLate => tally.partially_late += 1,
                Outcome::Duplicate => {
                    tally.accepted -= 1;
                    tally.duplicates += 1;
                    refused.iter_mut().for_each(|refused| refused.all.push(event[0].0));
                }
                Outcome::Late => {
                    tally.accepted -= 1;
                    tally.late += 1;
                    if let Some(refused) = &mut refused {
                        refused.all.push(event[0].0);
                        refused.late.push(event[0].0);
                    }
                }
            }
        }
        if let Some(refused) = refused {
            self.to_score.refuse(version, &refused);
            self.to_keep.refuse(version, &refused);
        }
        tally
    }
}

impl Syncs {
    fn count(&self, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Microseconds since the epoch, strictly rising (T14).
fn next_version(writer: &Writer, before: Option<u64>, now: Time) -> u64 {
    let last = before.unwrap_or(writer.version);
    u64::try_from(now.micros()).unwrap_or(0).max(last + 1)
}
