//! Reading: one row of features at one version, from timelines in memory, or from their chunks where they are cold.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::Ordering;

use floodmark_features::engine::{EntityState, Shard};
use floodmark_features::key::{hash_key, partition_of};
use floodmark_features::lookup::{Answer, Ask, Cell, Known, Lookup, ViewRead};
use floodmark_features::section::place_of_view;
use floodmark_features::time::Time;
use parking_lot::RwLockReadGuard;

use crate::Store;
use crate::error::ReadError;

/// Views of a look-up that are read side by side.
const ABREAST: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { keys: Vec::new(), watermarks: Vec::new() }) };
}

/// Memory that is used again from read to read.
struct Scratch {
    /// The bytes of all entity keys.
    keys: Vec<u8>,
    /// For each read of the look-up, the watermark of its source.
    watermarks: Vec<Time>,
}

/// What is to be read of one view.
struct Wanted<'a> {
    read: &'a ViewRead,
    known: Known,
    /// Where its entity key stands among the bytes of all keys.
    key: Range<usize>,
    hash: u64,
    partition: usize,
}

impl Store {
    /// Reads one row of features; `answer` is overwritten.
    pub fn read(&self, lookup: &Lookup, ask: &Ask<'_>, answer: &mut Answer) -> Result<(), ReadError> {
        SCRATCH.with_borrow_mut(|Scratch { keys, watermarks }| {
            keys.clear();
            watermarks.clear();
            // Before the version: a version is published before its watermarks, so what is final by these is known at that version.
            watermarks.extend(lookup.reads.iter().map(|read| self.source_watermark(self.definitions().views[read.view].source)));
            let newest = self.version();
            let version = ask.version.unwrap_or(newest);
            if version > newest {
                return Err(ReadError::VersionInFuture { version, newest });
            }
            answer.version = version;
            answer.watermark = watermarks.iter().copied().min().unwrap_or(Time::MAX);
            if version < newest {
                // How far the watermark had come at that version is not known: nothing is called final there.
                watermarks.fill(Time::NONE);
            }
            // Each cell is written below; those of the row before need no clearing.
            answer.cells.resize(lookup.columns.len(), Cell::default());
            for (reads, watermarks) in lookup.reads.chunks(ABREAST).zip(watermarks.chunks(ABREAST)) {
                self.read_abreast(reads, watermarks, ask, keys, answer)?;
            }
            Ok(())
        })?;
        lookup.derive(ask, &mut answer.cells);
        Ok(())
    }

    /// Reads a few views. Each would wait for memory several times over; so all ask for what they need before the first one waits.
    fn read_abreast(
        &self,
        reads: &[ViewRead],
        watermarks: &[Time],
        ask: &Ask<'_>,
        keys: &mut Vec<u8>,
        answer: &mut Answer,
    ) -> Result<(), ReadError> {
        let mut wanted: [Option<Wanted<'_>>; ABREAST] = [const { None }; ABREAST];
        for ((read, watermark), wanted) in reads.iter().zip(watermarks).zip(&mut wanted) {
            let known = self.known(read, *watermark, ask, answer.version)?;
            let start = keys.len();
            read.encode_key(ask, keys);
            let hash = hash_key(&keys[start..]);
            *wanted = Some(Wanted { read, known, key: start..keys.len(), hash, partition: partition_of(hash, self.shards.len()) });
        }
        let (views, wanted) = (&self.definitions().views, &wanted[..reads.len()]);
        let locked = self.lock(wanted.iter().flatten().map(|w| w.partition));
        // Once more, with the timelines in hand: a checkpoint may have forgotten events in between.
        for (w, watermark) in wanted.iter().flatten().zip(watermarks) {
            self.known(w.read, *watermark, ask, answer.version)?;
        }
        let mut found: [Option<&EntityState>; ABREAST] = [None; ABREAST];
        for (found, w) in found.iter_mut().zip(wanted.iter().flatten()) {
            let shard = locked.iter().flatten().find(|(partition, _)| *partition == w.partition);
            *found = shard.and_then(|(_, shard)| shard.entity(views[w.read.view].entity, w.hash, &keys[w.key.clone()]));
        }
        let timelines =
            || found.iter().zip(wanted.iter().flatten()).filter_map(|(state, w)| Some((w, &(*state)?.timelines[self.places[w.read.view]])));
        timelines().for_each(|(_, timeline)| timeline.fetch_nodes());
        timelines().for_each(|(w, timeline)| w.read.plan.fetch(&views[w.read.view], timeline, ask.as_of));
        let mut missing = false;
        for (state, w) in found.iter().zip(wanted.iter().flatten()) {
            match state {
                Some(state) => {
                    state.touch(self.tick.load(Ordering::Relaxed));
                    self.evaluate(w, Some(state), ask, answer);
                }
                None => missing = true,
            }
        }
        if missing {
            let is_missing: [bool; ABREAST] = found.map(|state| state.is_none());
            drop(locked);
            for (w, _) in wanted.iter().flatten().zip(is_missing).filter(|(_, missing)| *missing) {
                self.read_cold(w, ask, &keys[w.key.clone()], answer)?;
            }
        }
        Ok(())
    }

    /// Locks partitions for reading, each once, in ascending order: two readers and two waiting writers would else wait for each other.
    fn lock(&self, partitions: impl Iterator<Item = usize>) -> [Option<(usize, RwLockReadGuard<'_, Shard>)>; ABREAST] {
        let mut order = [usize::MAX; ABREAST];
        order.iter_mut().zip(partitions).for_each(|(place, partition)| *place = partition);
        order.sort_unstable();
        let mut before = usize::MAX;
        order.map(|partition| {
            let first = partition != usize::MAX && partition != before;
            before = partition;
            first.then(|| (partition, self.shards[partition].read()))
        })
    }

    fn evaluate(&self, wanted: &Wanted<'_>, state: Option<&EntityState>, ask: &Ask<'_>, answer: &mut Answer) {
        let at = wanted.read.view;
        let timeline = state.map(|state| &state.timelines[self.places[at]]);
        wanted.read.evaluate(&self.definitions().views[at], self.view_layout(at), timeline, ask, wanted.known, &mut answer.cells);
    }

    /// Reads an entity that is not in memory.
    fn read_cold(&self, wanted: &Wanted<'_>, ask: &Ask<'_>, key: &[u8], answer: &mut Answer) -> Result<(), ReadError> {
        if !self.has_cold[wanted.partition].load(Ordering::Acquire) {
            self.evaluate(wanted, None, ask, answer);
            return Ok(());
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        let entity = self.definitions().views[wanted.read.view].entity;
        let state = self.load_entity(entity, key)?;
        self.evaluate(wanted, state.as_ref(), ask, answer);
        if let Some(state) = state {
            self.keep_warm(wanted.partition, entity, state, epoch);
        }
        Ok(())
    }

    /// What may be known of a view, unless the as-of time is no longer kept.
    fn known(&self, read: &ViewRead, watermark: Time, ask: &Ask<'_>, version: u64) -> Result<Known, ReadError> {
        self.must_be_filled(read.view)?;
        let source = self.definitions().views[read.view].source;
        let oldest = self.oldest_time(source);
        if ask.as_of < oldest || version < self.folded_version[source].load(Ordering::Acquire) {
            let source_name = self.definitions().sources[source].name.clone();
            return Err(ReadError::BeforeRetention { as_of: ask.as_of, oldest, source_name });
        }
        Ok(Known { version, final_until: self.final_until(source, watermark) })
    }
}

/// Where the timeline of each view stands among those of its entity.
pub(crate) fn places(definitions: &floodmark_features::definition::Definitions) -> Box<[usize]> {
    (0..definitions.views.len()).map(|view| place_of_view(definitions, view)).collect()
}
