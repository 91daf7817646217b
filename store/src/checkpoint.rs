//! Checkpoints: chunks, side outputs and counts brought up to the newest version in one atomic batch, and the log behind it cut off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use floodmark_features::codec::{encode_rows, snapshot};
use floodmark_features::engine::{Closing, OpenWindows, Shard, ViewCounts};
use floodmark_features::time::Time;
use floodmark_features::timeline::Timeline;
use redb::{Durability, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::commit::Tally;
use crate::error::{StoreError, engine};
use crate::layout::{CHUNKS, CLOSED, FOLDED, LATE, LOG, META, META_CHECKPOINT, STATE, WHOLE_COMMIT, chunk_key, timeline_key};
use crate::retention::{Need, oldest};

/// The state of a partition beside its timelines.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartitionState {
    pub(crate) closing: Vec<Closing>,
    pub(crate) counts: Vec<ViewCounts>,
    /// `(entity, key, windows)`
    pub(crate) open: Vec<(u32, Arc<[u8]>, OpenWindows)>,
}

/// What the whole store stands at.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CheckpointNote {
    pub(crate) version: u64,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) watermarks: Vec<Time>,
    pub(crate) oldest: Vec<Time>,
    pub(crate) folded_version: Vec<u64>,
}

/// Chunks to write (`Some`) and to delete (`None`), in the order of their keys.
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

#[derive(Default)]
struct Collected {
    chunks: Changes,
    folded: Changes,
}

impl Store {
    /// Whether the log behind the last checkpoint has grown long enough for another one.
    pub fn checkpoint_is_due(&self) -> bool {
        const PENDING_OUTPUTS: usize = 200_000;
        self.writer.lock().log_bytes >= self.settings.checkpoint_after || self.pending.lock().len() >= PENDING_OUTPUTS
    }

    /// Whether anything has been committed since the last checkpoint.
    pub fn has_log(&self) -> bool {
        let writer = self.writer.lock();
        writer.version > writer.checkpointed
    }

    /// Writes everything that is only in memory and in the log to its place. To be called between batches, by the writer.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.trim();
        let version = self.version();
        let mut transaction = self.database.begin_write().map_err(engine)?;
        transaction.set_durability(Durability::Immediate).map_err(engine)?;
        transaction.set_quick_repair(true);
        let outputs = self.write_outputs(&transaction)?;
        let scored = self.write_ready_scores(&transaction)?;
        let noted = [self.to_score.write_refused(&transaction, &scored)?, self.to_keep.write_refused(&transaction, &[])?];
        {
            let mut states = transaction.open_table(STATE).map_err(engine)?;
            let mut collected = Collected::default();
            for (partition, shard) in self.shards.iter().enumerate() {
                let shard = shard.read();
                states.insert(partition as u32, snapshot(&self.state_of(&shard)).as_slice()).map_err(engine)?;
                self.collect(&shard, &mut collected);
            }
            drop(states);
            write_changes(transaction.open_table(CHUNKS).map_err(engine)?, &collected.chunks)?;
            write_changes(transaction.open_table(FOLDED).map_err(engine)?, &collected.folded)?;
            let mut log = transaction.open_table(LOG).map_err(engine)?;
            log.retain_in(..=(version, WHOLE_COMMIT), |_, _| false).map_err(engine)?;
            let mut meta = transaction.open_table(META).map_err(engine)?;
            meta.insert(META_CHECKPOINT, snapshot(&self.note(version)).as_slice()).map_err(engine)?;
        }
        transaction.commit().map_err(engine)?;
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.settle(version, outputs);
        self.settle_scores(&scored);
        self.to_score.settle_refused(&noted[0]);
        self.to_keep.settle_refused(&noted[1]);
        Ok(())
    }

    fn note(&self, version: u64) -> CheckpointNote {
        let sources = self.definitions().sources.len();
        CheckpointNote {
            version,
            tallies: self.writer.lock().tallies.clone(),
            watermarks: (0..sources).map(|s| self.source_watermark(s)).collect(),
            oldest: (0..sources).map(|s| self.oldest_time(s)).collect(),
            folded_version: self.folded_version.iter().map(|v| v.load(Ordering::Acquire)).collect(),
        }
    }

    /// Late events and closed windows; how many of each.
    fn write_outputs(&self, transaction: &WriteTransaction) -> Result<(usize, usize), StoreError> {
        let pending = self.pending.lock();
        let mut late = transaction.open_table(LATE).map_err(engine)?;
        for event in &pending.late {
            late.insert(self.late_key(event).as_slice(), snapshot(event).as_slice()).map_err(engine)?;
        }
        let mut closed = transaction.open_table(CLOSED).map_err(engine)?;
        for (key, window) in self.closed_keys(&pending.closed).iter().zip(&pending.closed) {
            closed.insert(key.as_slice(), snapshot(window).as_slice()).map_err(engine)?;
        }
        Ok((pending.late.len(), pending.closed.len()))
    }

    fn state_of(&self, shard: &Shard) -> PartitionState {
        let mut open: Vec<(u32, Arc<[u8]>, OpenWindows)> = Vec::new();
        for entity in 0..self.definitions().entities.len() {
            let with_windows = shard.entities(entity).filter(|s| !s.open.windows.is_empty());
            open.extend(with_windows.map(|s| (entity as u32, s.key.clone(), s.open.clone())));
        }
        open.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        PartitionState { closing: shard.closing.clone(), counts: shard.counts.clone(), open }
    }

    fn collect(&self, shard: &Shard, into: &mut Collected) {
        for (view, definition) in self.definitions().views.iter().enumerate() {
            for state in shard.entities(definition.entity) {
                self.collect_timeline(view, &state.key, &state.timelines[self.places[view]], into);
            }
        }
    }

    fn collect_timeline(&self, view: usize, key: &[u8], timeline: &Timeline, into: &mut Collected) {
        let layout = self.view_layout(view);
        for chunk in timeline.chunks().into_iter().filter(|c| c.dirty) {
            let mut bytes = Vec::new();
            encode_rows(chunk.rows(layout), &mut bytes);
            into.chunks.insert(chunk_key(view, key, chunk.id), Some(bytes));
        }
        for gone in timeline.dropped() {
            into.chunks.insert(chunk_key(view, key, *gone), None);
        }
        if !timeline.dropped().is_empty()
            && let Some(folded) = timeline.folded()
        {
            into.folded.insert(timeline_key(view, key), Some(snapshot(folded)));
        }
    }

    /// What was written is no longer dirty, pending, or in the log.
    fn settle(&self, version: u64, (late, closed): (usize, usize)) {
        for shard in &self.shards {
            let mut shard = shard.write();
            for entity in 0..self.definitions().entities.len() {
                shard.entities_mut(entity).flat_map(|state| state.timelines.iter_mut()).for_each(Timeline::mark_clean);
            }
        }
        let mut pending = self.pending.lock();
        pending.late.drain(..late);
        pending.closed.drain(..closed);
        let mut writer = self.writer.lock();
        writer.checkpointed = version;
        writer.log_bytes = 0;
    }

    /// Forgets what lies before the retention of its source.
    fn trim(&self) {
        for (source, definition) in self.definitions().sources.iter().enumerate() {
            let oldest = oldest(definition, &self.writer.lock().progress[source], self.source_watermark(source));
            let Some(oldest) = oldest else { continue };
            self.oldest[source].fetch_max(oldest.micros(), Ordering::AcqRel);
            let of_source = |view: &usize| self.definitions().views[*view].source == source;
            // One that is being computed from history gets its oldest events last, as it were.
            for view in (0..self.definitions().views.len()).filter(of_source).filter(|view| !self.backfill.lacks(*view)) {
                self.trim_view(view, oldest);
            }
        }
    }

    fn trim_view(&self, at: usize, oldest: Time) {
        let view = &self.definitions().views[at];
        let (need, layout) = (Need::of(view), self.view_layout(at));
        for (partition, shard) in self.shards.iter().enumerate() {
            let mut shard = shard.write();
            let (mut folded, mut trimmed) = (0, Vec::new());
            for state in shard.entities_mut(view.entity) {
                let timeline = &mut state.timelines[self.places[at]];
                if need.trim(timeline, oldest, u64::MAX, view, layout) {
                    folded = folded.max(timeline.folded().map_or(0, |f| f.summary.newest_version));
                    trimmed.push(state.key.clone());
                }
            }
            self.folded_version[view.source].fetch_max(folded, Ordering::AcqRel);
            shard.recount();
            drop(shard);
            self.changes.note_whole(partition, view.entity, trimmed);
        }
    }
}

fn write_changes(mut table: redb::Table<'_, &'static [u8], &'static [u8]>, changes: &Changes) -> Result<(), StoreError> {
    for (key, value) in changes {
        match value {
            Some(bytes) => table.insert(key.as_slice(), bytes.as_slice()).map_err(engine)?,
            None => table.remove(key.as_slice()).map_err(engine)?,
        };
    }
    Ok(())
}
