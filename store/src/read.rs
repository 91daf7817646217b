//! Reading: one row of features at one version, from timelines in memory, or from their chunks where they are cold.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use floodmark_features::key::{hash_key, partition_of};
use floodmark_features::lookup::{Answer, Ask, Cell, Known, Lookup, ViewRead};
use floodmark_features::section::place_of_view;
use floodmark_features::time::Time;

use crate::Store;
use crate::error::ReadError;

thread_local! {
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Store {
    /// Reads one row of features; `answer` is overwritten.
    pub fn read(&self, lookup: &Lookup, ask: &Ask<'_>, answer: &mut Answer) -> Result<(), ReadError> {
        let newest = self.version();
        let version = ask.version.unwrap_or(newest);
        if version > newest {
            return Err(ReadError::VersionInFuture { version, newest });
        }
        answer.version = version;
        answer.watermark = Time::MAX;
        answer.cells.clear();
        answer.cells.resize(lookup.columns.len(), Cell::default());
        KEY.with_borrow_mut(|key| {
            for read in &lookup.reads {
                let known = self.known(read, ask, version, answer)?;
                read.encode_key(ask, key);
                self.read_view(read, ask, known, key, &mut answer.cells)?;
            }
            Ok::<(), ReadError>(())
        })?;
        lookup.derive(ask, &mut answer.cells);
        Ok(())
    }

    /// What may be known of a view, unless the as-of time is no longer kept.
    fn known(&self, read: &ViewRead, ask: &Ask<'_>, version: u64, answer: &mut Answer) -> Result<Known, ReadError> {
        let source = self.definitions().views[read.view].source;
        let oldest = self.oldest_time(source);
        if ask.as_of < oldest || version < self.folded_version[source].load(Ordering::Acquire) {
            let source_name = self.definitions().sources[source].name.clone();
            return Err(ReadError::BeforeRetention { as_of: ask.as_of, oldest, source_name });
        }
        answer.watermark = answer.watermark.min(self.source_watermark(source));
        Ok(Known { version, final_until: self.final_until(source) })
    }

    fn read_view(&self, read: &ViewRead, ask: &Ask<'_>, known: Known, key: &[u8], cells: &mut [Cell]) -> Result<(), ReadError> {
        let view = &self.definitions().views[read.view];
        let layout = self.view_layout(read.view);
        let place = self.places[read.view];
        let hash = hash_key(key);
        let partition = partition_of(hash, self.shards.len());
        let shard = self.shards[partition].read();
        if let Some(state) = shard.entity(view.entity, hash, key) {
            state.touch(self.tick.load(Ordering::Relaxed));
            read.evaluate(view, layout, Some(&state.timelines[place]), ask, known, cells);
            return Ok(());
        }
        drop(shard);
        if !self.has_cold[partition].load(Ordering::Acquire) {
            read.evaluate(view, layout, None, ask, known, cells);
            return Ok(());
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        let state = self.load_entity(view.entity, key)?;
        let timeline = state.as_ref().map(|s| &s.timelines[place]);
        read.evaluate(view, layout, timeline, ask, known, cells);
        if let Some(state) = state {
            self.keep_warm(partition, view.entity, state, epoch);
        }
        Ok(())
    }
}

/// Where the timeline of each view stands among those of its entity.
pub(crate) fn places(definitions: &floodmark_features::definition::Definitions) -> Box<[usize]> {
    (0..definitions.views.len()).map(|view| place_of_view(definitions, view)).collect()
}
