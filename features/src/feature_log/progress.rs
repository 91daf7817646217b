//! How far a log partition is applied: which batches are in, what version comes next, and how far event time has come.
//!
//! All of it is a function of the records of the log partition, so whoever applies it again comes to the same.

use serde::{Deserialize, Serialize};

use super::overtaken::note_overtaken;
use super::{Activity, RoutedBatch};
use crate::definition::Definitions;
use crate::engine::EnginePlan;
use crate::time::Time;
use crate::watermark::{SourceProgress, visible_from};

/// What stands beside the timelines of a log partition (T12). Stored as one with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogProgress {
    /// The offset of the next record in the log partition.
    pub next_offset: u64,
    /// The version of the newest batch (T14).
    pub version: u64,
    /// Sequence number of the next event: the order of side outputs.
    pub next_sequence: u64,
    /// Each source, as this log partition has heard of it.
    pub sources: Vec<SourceProgress>,
}

/// What is to be done with a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Apply its rows.
    New {
        /// Under that version.
        version: u64,
        /// What the watermark of the source became, after which event, by sequence number.
        trail: Vec<(u64, Time)>,
    },
    /// Nothing: it is in.
    Again,
}

/// Batches of a source partition are missing before this one: what is in the log was not put there once each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the feature log has a hole or two writers: records {expected} and on are missing before {found}. source={source_name} partition={partition}"
)]
pub struct OutOfPlace {
    /// Of which source.
    pub source_name: String,
    /// Of which of its partitions.
    pub partition: usize,
    /// The offset that should have come.
    pub expected: u64,
    /// The first of the batch.
    pub found: u64,
}

impl LogProgress {
    /// Of a log partition of which nothing has been applied.
    pub fn new(definitions: &Definitions) -> LogProgress {
        let sources = definitions.sources.iter().map(|source| SourceProgress::new(source.max_out_of_orderness)).collect();
        LogProgress { next_offset: 0, version: 0, next_sequence: 0, sources }
    }

    /// The watermark of each source.
    pub fn watermarks(&self) -> Vec<Time> {
        self.sources.iter().map(SourceProgress::watermark).collect()
    }

    /// Takes note of a batch that stands at an offset of the log partition, and gives its rows their place among all others: their
    /// sequence numbers, and `visible_from` where its source partition had been idle while others went on (T8, T9).
    pub fn take(&mut self, plan: &EnginePlan, offset: u64, batch: &mut RoutedBatch) -> Result<Taken, OutOfPlace> {
        let RoutedBatch { head, trail, sections } = batch;
        let definitions = &plan.definitions;
        let progress = &mut self.sources[head.source];
        (progress.partitions().len()..head.partitions).for_each(|partition| {
            progress.open(&head.name_of(partition));
        });
        let expected = progress.partitions()[head.partition].next_offset;
        if head.offsets.end < expected || (head.offsets.end == expected && head.offsets.start < expected) {
            self.next_offset = offset + 1;
            return Ok(Taken::Again);
        }
        // Of a partition that is new here, the first record is wherever its topic begins.
        if expected > 0 && head.offsets.start != expected {
            let source_name = definitions.sources[head.source].name.clone();
            return Err(OutOfPlace { source_name, partition: head.partition, expected, found: head.offsets.start });
        }
        self.next_offset = offset + 1;
        self.version = head.stamp.max(self.version.saturating_add(1));
        progress.partition_mut(head.partition).next_offset = head.offsets.end;
        let mut moved = Vec::new();
        if head.activity == Activity::Active {
            let woken = progress.set_active(head.partition);
            self.note(head.source, woken, &mut moved);
        }
        let base = self.next_sequence.wrapping_sub(head.offsets.start);
        let floor = self.sources[head.source].watermark_of(head.partition);
        let lateness = definitions.sources[head.source].allowed_lateness;
        for (at, section) in sections.iter_mut() {
            if floor > head.before {
                let overtaken = section.see_from(visible_from(Time::NONE, floor, lateness));
                note_overtaken(plan, *at, head, floor, section, overtaken);
            }
            section.sequence.iter_mut().for_each(|sequence| *sequence = sequence.wrapping_add(base));
        }
        self.next_sequence = self.next_sequence.wrapping_add(head.offsets.end - head.offsets.start);
        let progress = &mut self.sources[head.source];
        for (at, watermark) in trail.iter() {
            if progress.tell(head.partition, *watermark) {
                moved.push((at.wrapping_add(base), progress.watermark()));
            }
        }
        let told = progress.tell(head.partition, head.watermark);
        let idle = match head.activity {
            Activity::Active => false,
            Activity::Idle { clock } => progress.set_idle(head.partition) | progress.all_idle_until(clock),
        };
        self.note(head.source, told || idle, &mut moved);
        Ok(Taken::New { version: self.version, trail: moved })
    }

    /// A watermark that moves without an event of this log partition has a sequence number of its own.
    fn note(&mut self, source: usize, moved: bool, trail: &mut Vec<(u64, Time)>) {
        if moved {
            trail.push((self.next_sequence, self.sources[source].watermark()));
            self.next_sequence += 1;
        }
    }
}
