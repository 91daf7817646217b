//! What a mirror of the store has not been given yet: for each partition, the entities that commits or retention have changed.
//!
//! Off, and free, until a mirror asks. An entity is noted after its rows are applied and before their version is published, so a
//! mirror that takes the version first, and the entities after, misses nothing that the version holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use floodmark_features::codec::{encode_rows, snapshot};
use floodmark_features::engine::EntityState;
use floodmark_features::key::{hash_key, partition_of};
use floodmark_features::row::Layout;
use floodmark_features::section::Section;
use floodmark_features::timeline::Timeline;
use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::ReadableDatabase;

use crate::Store;
use crate::error::{StoreError, engine};
use crate::layout::{CHUNKS, FOLDED, timeline_key};

/// Beyond so many entities of a partition, a mirror is told to look through all of them: it bounds the memory that an outage costs.
const MOST_NOTED: usize = 1 << 18;

/// The notes of all partitions.
#[derive(Debug)]
pub(crate) struct Changes {
    on: AtomicBool,
    partitions: Box<[Mutex<Changed>]>,
    /// Rises with each version, for whoever waits for the next one.
    news: (Mutex<u64>, Condvar),
}

/// What has changed in one partition.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// For each entity, the keys; true if it is not known any more which of their chunks have changed.
    noted: Vec<HashMap<Arc<[u8]>, bool>>,
    /// Those that the mirror's present round has still to take.
    underway: Vec<HashMap<Arc<[u8]>, bool>>,
    /// There were too many to note.
    any: bool,
}

/// What is to be written of one timeline.
#[derive(Debug, Default)]
pub(crate) struct TimelineChange {
    /// As the table `folded` names it.
    pub(crate) key: Vec<u8>,
    /// Nothing but what is here is left of it.
    pub(crate) whole: bool,
    /// What retention has folded; only where `whole`.
    pub(crate) folded: Option<Vec<u8>>,
    /// Chunks, as the table `chunks` has them.
    pub(crate) chunks: Vec<(u32, Vec<u8>)>,
}

impl TimelineChange {
    /// About how long it is.
    pub(crate) fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|(_, bytes)| 16 + bytes.len()).sum();
        self.key.len() + chunks + self.folded.as_ref().map_or(0, Vec::len)
    }
}

impl Changes {
    pub(crate) fn new(partitions: usize, entities: usize) -> Changes {
        let changed =
            || Mutex::new(Changed { noted: vec![HashMap::new(); entities], underway: vec![HashMap::new(); entities], any: false });
        Changes { on: AtomicBool::new(false), partitions: (0..partitions).map(|_| changed()).collect(), news: Default::default() }
    }

    /// From now on, changes are noted.
    pub(crate) fn begin(&self) {
        self.on.store(true, Ordering::SeqCst);
    }

    pub(crate) fn lock(&self, partition: usize) -> MutexGuard<'_, Changed> {
        self.partitions[partition].lock()
    }

    /// The rows of a section have been applied.
    pub(crate) fn note_rows(&self, partition: usize, entity: usize, section: &Section) {
        if self.on.load(Ordering::SeqCst) {
            let mut changed = self.lock(partition);
            (0..section.len()).for_each(|row| changed.note(entity, section.key(row), false));
        }
    }

    /// Of these entities, chunks are gone.
    pub(crate) fn note_whole(&self, partition: usize, entity: usize, keys: Vec<Arc<[u8]>>) {
        if self.on.load(Ordering::SeqCst) && !keys.is_empty() {
            let mut changed = self.lock(partition);
            keys.iter().for_each(|key| changed.note(entity, key, true));
        }
    }

    /// There is a new version.
    pub(crate) fn published(&self) {
        if self.on.load(Ordering::SeqCst) {
            *self.news.0.lock() += 1;
            self.news.1.notify_all();
        }
    }

    /// Waits for a version after those `seen`, but not for long; returns what has been seen then.
    pub(crate) fn wait(&self, seen: u64, at_most: Duration) -> u64 {
        let mut news = self.news.0.lock();
        if *news == seen {
            self.news.1.wait_for(&mut news, at_most);
        }
        *news
    }
}

impl Changed {
    fn note(&mut self, entity: usize, key: &[u8], whole: bool) {
        if self.any {
            return;
        }
        let noted = &mut self.noted[entity];
        if let Some(noted) = noted.get_mut(key) {
            *noted |= whole;
        } else if noted.len() < MOST_NOTED {
            noted.insert(key.into(), whole);
        } else {
            self.look_through_all();
        }
    }

    /// The entity is no longer in memory, and with it what is known of its chunks.
    pub(crate) fn forget_which(&mut self, entity: usize, key: &[u8]) {
        for noted in [&mut self.noted, &mut self.underway] {
            if let Some(whole) = noted[entity].get_mut(key) {
                *whole = true;
            }
        }
    }

    fn look_through_all(&mut self) {
        self.noted.iter_mut().for_each(HashMap::clear);
        self.any = true;
    }

    /// A round begins: what is noted from now on is for the next one. True if this one has to look through all entities.
    pub(crate) fn begin_round(&mut self) -> bool {
        for (noted, underway) in self.noted.iter_mut().zip(&mut self.underway) {
            for (key, whole) in noted.drain() {
                *underway.entry(key).or_default() |= whole;
            }
        }
        std::mem::take(&mut self.any)
    }

    /// Takes some of the round's entities.
    fn take(&mut self, most: usize) -> Vec<(usize, Arc<[u8]>, bool)> {
        let mut taken = Vec::new();
        for (entity, noted) in self.underway.iter_mut().enumerate() {
            let some: Vec<Arc<[u8]>> = noted.keys().take(most - taken.len()).cloned().collect();
            taken.extend(some.into_iter().filter_map(|key| noted.remove_entry(&key)).map(|(key, whole)| (entity, key, whole)));
        }
        taken
    }
}

impl Store {
    /// Takes some of the entities of a partition that are in this round, and what of them has changed after version `since`; `None`
    /// after the last.
    pub(crate) fn take_changes(&self, partition: usize, most: usize, since: u64) -> Result<Option<Vec<TimelineChange>>, StoreError> {
        // Held until all is read: what is dropped from memory meanwhile would take along what is known of its chunks.
        let mut changed = self.changes.lock(partition);
        let taken = changed.take(most);
        if taken.is_empty() {
            return Ok(None);
        }
        let mut found = Vec::new();
        for (entity, key, whole) in taken {
            let wanted = if whole { Wanted::Whole } else { Wanted::Changed(since) };
            found.extend(self.changes_of(partition, entity, &key, wanted)?);
        }
        Ok(Some(found))
    }

    /// The changes could not be written: all of these timelines have to be.
    pub(crate) fn give_back(&self, partition: usize, changes: &[TimelineChange]) {
        let mut changed = self.changes.lock(partition);
        for change in changes {
            if let Some((view, key)) = change.key.split_first_chunk::<2>() {
                let entity = self.definitions().views[usize::from(u16::from_be_bytes(*view))].entity;
                changed.note(entity, key, true);
            }
        }
    }

    /// Looks through all timelines, in memory and out of it, and hands out those of each partition that hold something newer than a
    /// version; `None` for partitions that are not meant. Changes have to be noted meanwhile.
    pub(crate) fn look_through<E: From<StoreError>>(
        &self,
        since: &[Option<u64>],
        mut each: impl FnMut(usize, Vec<TimelineChange>) -> Result<(), E>,
    ) -> Result<(), E> {
        for entity in 0..self.definitions().entities.len() {
            let mut in_memory: HashSet<Arc<[u8]>> = HashSet::new();
            for (partition, since) in since.iter().enumerate() {
                let Some(since) = since else { continue };
                let keys: Vec<Arc<[u8]>> = self.shards[partition].read().entities(entity).map(|state| state.key.clone()).collect();
                for key in &keys {
                    each(partition, self.changes_of(partition, entity, key, Wanted::WholeIfNewer(*since))?)?;
                }
                in_memory.extend(keys);
            }
            // After the keys in memory are known: one that was not among them is whole in its chunks by now.
            for key in self.stored_keys(entity)? {
                let partition = partition_of(hash_key(&key), self.shards.len());
                if let Some(since) = since[partition]
                    && !in_memory.contains(key.as_slice())
                {
                    each(partition, self.changes_of(partition, entity, &key, Wanted::WholeIfNewer(since))?)?;
                }
            }
        }
        Ok(())
    }

    fn changes_of(&self, partition: usize, entity: usize, key: &[u8], wanted: Wanted) -> Result<Vec<TimelineChange>, StoreError> {
        let mut found = Vec::new();
        let in_memory = {
            let shard = self.shards[partition].read();
            let state = shard.entity(entity, hash_key(key), key);
            state.map(|state| self.push_state(entity, state, wanted, &mut found)).is_some()
        };
        if !in_memory && let Some(state) = self.load_entity(entity, key)? {
            // Its chunks do not say which of them have lost rows to others.
            let wanted = if let Wanted::Changed(_) = wanted { Wanted::Whole } else { wanted };
            self.push_state(entity, &state, wanted, &mut found);
        }
        Ok(found)
    }

    fn push_state(&self, entity: usize, state: &EntityState, wanted: Wanted, found: &mut Vec<TimelineChange>) {
        for view in (0..self.definitions().views.len()).filter(|view| self.definitions().views[*view].entity == entity) {
            let timeline = &state.timelines[self.places[view]];
            found.extend(change_of(view, &state.key, timeline, self.view_layout(view), wanted));
        }
    }

    /// The keys of an entity that have chunks at rest, each once.
    fn stored_keys(&self, entity: usize) -> Result<HashSet<Vec<u8>>, StoreError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let (chunks, folded) = (transaction.open_table(CHUNKS).map_err(engine)?, transaction.open_table(FOLDED).map_err(engine)?);
        let mut keys = HashSet::new();
        for view in (0..self.definitions().views.len()).filter(|view| self.definitions().views[*view].entity == entity) {
            let (from, to) = (timeline_key(view, &[]), timeline_key(view + 1, &[]));
            for (table, tail) in [(&chunks, size_of::<u32>()), (&folded, 0)] {
                for entry in table.range(from.as_slice()..to.as_slice()).map_err(engine)? {
                    let at = entry.map_err(engine)?.0;
                    let key = at.value().get(from.len()..at.value().len() - tail).unwrap_or_default();
                    if !keys.contains(key) {
                        keys.insert(key.to_vec());
                    }
                }
            }
        }
        Ok(keys)
    }
}

/// What is to be written of a timeline; `None` if nothing is.
pub(crate) fn change_of(view: usize, key: &[u8], timeline: &Timeline, layout: &Layout, wanted: Wanted) -> Option<TimelineChange> {
    let folded = timeline.folded().map(|folded| folded.summary.newest_version);
    let newest = timeline.summary().map(|summary| summary.newest_version).max(folded);
    let (whole, since) = match wanted {
        Wanted::Whole => (true, None),
        // Where retention has taken the first chunk, whether a mirror knows is not known.
        Wanted::WholeIfNewer(since) if newest > Some(since) || timeline.chunks().first().is_some_and(|c| c.id > 0) => (true, None),
        Wanted::WholeIfNewer(_) => return None,
        Wanted::Changed(since) => (false, Some(since)),
    };
    let encoded = |rows| {
        let mut bytes = Vec::new();
        encode_rows(rows, &mut bytes);
        bytes
    };
    let changed = timeline.chunks().into_iter().filter(|chunk| since.is_none_or(|since| chunk.changed > since));
    let chunks: Vec<(u32, Vec<u8>)> = changed.map(|chunk| (chunk.id, encoded(chunk.rows(layout)))).collect();
    let folded = timeline.folded().filter(|_| whole).map(snapshot);
    (whole || !chunks.is_empty()).then(|| TimelineChange { key: timeline_key(view, key), whole, folded, chunks })
}

/// What is wanted of an entity's timelines.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// All of each.
    Whole,
    /// All of those that hold something newer than a version, or have lost something to retention.
    WholeIfNewer(u64),
    /// The chunks that changed after a version.
    Changed(u64),
}

#[cfg(test)]
mod tests;
