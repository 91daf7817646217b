//! Memory: which timelines are in it, which are read back from their chunks, and which are dropped when it runs short.

use std::sync::atomic::Ordering;

use floodmark_features::codec::{decode_rows, restore};
use floodmark_features::engine::EntityState;
use floodmark_features::section::Section;
use floodmark_features::timeline::{Chunk, Timeline};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

use crate::Store;
use crate::error::{StoreError, engine};
use crate::layout::{Bytes, CHUNKS, FOLDED, chunk_of, timeline_key};

/// Once over the budget, go on dropping until this share of it is in use, so as not to start again at once.
const DROP_TO_PERCENT: usize = 85;

impl Store {
    /// Reads all timelines of a key from their chunks; `None` if there are none.
    pub(crate) fn load_entity(&self, entity: usize, key: &[u8]) -> Result<Option<EntityState>, StoreError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        self.load_entity_from(&transaction, entity, key)
    }

    pub(crate) fn load_entity_from(
        &self,
        transaction: &ReadTransaction,
        entity: usize,
        key: &[u8],
    ) -> Result<Option<EntityState>, StoreError> {
        let mut state = EntityState::new(key, self.plan.views_of(entity));
        let views = self.definitions().views.iter().enumerate().filter(|(_, v)| v.entity == entity);
        for (view, _) in views {
            state.timelines[self.places[view]] = self.load_timeline(transaction, view, key)?;
        }
        Ok(state.timelines.iter().any(|t| !t.is_empty() || t.folded().is_some()).then_some(state))
    }

    fn load_timeline(&self, transaction: &ReadTransaction, view: usize, key: &[u8]) -> Result<Timeline, StoreError> {
        let folded = transaction.open_table(FOLDED).map_err(engine)?;
        let chunks = transaction.open_table(CHUNKS).map_err(engine)?;
        self.timeline_of(&chunks, &folded, view, key)
    }

    /// Reads a timeline from its chunks; it is empty if there are none.
    pub(crate) fn timeline_of(
        &self,
        chunks: &impl ReadableTable<Bytes, Bytes>,
        folded: &impl ReadableTable<Bytes, Bytes>,
        view: usize,
        key: &[u8],
    ) -> Result<Timeline, StoreError> {
        let layout = self.view_layout(view);
        let prefix = timeline_key(view, key);
        let folded = match folded.get(prefix.as_slice()).map_err(engine)? {
            Some(bytes) => Some(restore(bytes.value())?),
            None => None,
        };
        let mut upto = prefix.clone();
        upto.extend([0xff; 4]);
        let mut found = Vec::new();
        for entry in chunks.range(prefix.as_slice()..=upto.as_slice()).map_err(engine)? {
            let (at, bytes) = entry.map_err(engine)?;
            found.push(Chunk::of_block(chunk_of(at.value()), decode_rows(&mut bytes.value(), layout)?, layout));
        }
        Ok(Timeline::of_chunks(found, folded, layout))
    }

    /// Keeps what a reader has loaded, unless something has changed since.
    pub(crate) fn keep_warm(&self, partition: usize, entity: usize, state: EntityState, epoch: u64) {
        let mut shard = self.shards[partition].write();
        if self.epoch.load(Ordering::Acquire) == epoch {
            state.touch(self.tick.load(Ordering::Relaxed));
            shard.admit(entity, state);
        }
    }

    /// Loads the cold timelines that the coming rows go to.
    pub(crate) fn warm_up(&self, partition: usize, at: usize, section: &Section, rows: std::ops::Range<usize>) -> Result<(), StoreError> {
        if !self.has_cold[partition].load(Ordering::Acquire) {
            return Ok(());
        }
        let entity = self.plan.sections[at].entity;
        let cold: Vec<usize> = {
            let shard = self.shards[partition].read();
            rows.filter(|row| shard.entity(entity, section.hashes[*row], section.key(*row)).is_none()).collect()
        };
        if cold.is_empty() {
            return Ok(());
        }
        let transaction = self.database.begin_read().map_err(engine)?;
        for row in cold {
            let key = section.key(row);
            let here = self.shards[partition].read().entity(entity, section.hashes[row], key).is_some();
            if !here && let Some(state) = self.load_entity_from(&transaction, entity, key)? {
                self.shards[partition].write().admit(entity, state);
            }
        }
        Ok(())
    }

    /// Drops cold timelines if memory is over its budget. Only what is stored is dropped: a checkpoint comes first where that is not enough.
    pub fn keep_memory_bounded(&self) -> Result<(), StoreError> {
        if self.memory() <= self.settings.memory_budget {
            return Ok(());
        }
        let goal = self.settings.memory_budget / 100 * DROP_TO_PERCENT;
        if self.drop_cold(goal) > goal {
            self.checkpoint()?;
            self.drop_cold(goal);
        }
        Ok(())
    }

    /// Drops clean timelines, the coldest first, until `goal` bytes are in use; returns what is in use then.
    fn drop_cold(&self, goal: usize) -> usize {
        let mut clean: Vec<(u32, usize)> = Vec::new();
        let mut in_use = 0;
        for shard in &self.shards {
            let shard = shard.read();
            in_use += shard.bytes();
            for entity in 0..self.definitions().entities.len() {
                clean.extend(shard.entities(entity).filter(|s| may_be_dropped(s)).map(|s| (s.touched(), s.bytes())));
            }
        }
        clean.sort_unstable();
        let mut last = None;
        let mut left = in_use;
        for (touched, bytes) in &clean {
            if left <= goal {
                break;
            }
            left = left.saturating_sub(*bytes);
            last = Some(*touched);
        }
        let Some(last) = last else { return in_use };
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let mut in_use = 0;
        for (partition, shard) in self.shards.iter().enumerate() {
            // Before the partition's lock, as whoever collects changes takes the two.
            let mut changes = self.changes.lock(partition);
            let mut shard = shard.write();
            self.has_cold[partition].store(true, Ordering::Release);
            for entity in 0..self.definitions().entities.len() {
                shard.retain(entity, |state| {
                    let kept = state.touched() > last || !may_be_dropped(state);
                    if !kept {
                        changes.forget_which(entity, &state.key);
                    }
                    kept
                });
            }
            in_use += shard.bytes();
        }
        in_use
    }
}

fn may_be_dropped(state: &EntityState) -> bool {
    state.open.windows.is_empty() && !state.is_dirty()
}
