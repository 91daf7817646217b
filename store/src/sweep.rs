//! Sweeping: the features of many rows at one version, key by key, for training sets.
//!
//! The same evaluation as [`Store::read`], arranged for many rows: a key is looked up once and its timeline stays in the
//! processor's cache while its rows are evaluated. Cold timelines are loaded for the sweep, one view each, and not kept. A
//! partition's lock is held for a bounded number of rows, so that a live writer never waits long.

use std::sync::atomic::Ordering;

use floodmark_features::evaluate::{Moment, Own};
use floodmark_features::key::partition_of;
use floodmark_features::lookup::{Cell, Known, Lookup, Mode, ViewRead};
use floodmark_features::sweep::{SweepPlan, Totals};
use floodmark_features::time::Time;
use floodmark_features::timeline::Timeline;
use redb::ReadableDatabase;

use crate::Store;
use crate::error::{ReadError, StoreError, engine};
use crate::layout::{Bytes, CHUNKS, FOLDED};

/// Rows evaluated under one hold of a partition's lock: bounds how long a writer can wait.
pub const SWEEP_ROWS: usize = 256;

/// A version and a mode under which many rows are read.
#[derive(Debug)]
pub struct Sweep<'s> {
    store: &'s Store,
    mode: Mode,
    version: u64,
    /// For each read of the look-up, what may be known.
    known: Vec<Known>,
    plans: Vec<SweepPlan>,
    /// One for each column of the look-up; those of the view that was evaluated last are filled.
    cells: Vec<Cell>,
    cold: Option<Cold>,
}

/// A moment of the engine's tables.
struct Cold {
    epoch: u64,
    chunks: redb::ReadOnlyTable<Bytes, Bytes>,
    folded: redb::ReadOnlyTable<Bytes, Bytes>,
}

/// One row of a key.
#[derive(Clone, Copy, Debug)]
pub struct SweepRow<'a> {
    /// The values are as of this event time.
    pub as_of: Time,
    /// The event that the row stands for, if it does (T5).
    pub own: Option<Own<'a>>,
}

/// The timeline of one view and key, found once and read for many rows.
#[derive(Debug)]
pub struct KeySweep<'k, 's> {
    sweep: &'k mut Sweep<'s>,
    read: &'k ViewRead,
    /// Position in [`Lookup::reads`].
    at: usize,
    hash: u64,
    key: &'k [u8],
    /// What was read back from the chunks, if the entity is not in memory.
    loaded: Option<Option<Timeline>>,
    totals: Running,
}

/// Whether running totals answer for the timeline.
#[derive(Debug)]
enum Running {
    /// Not decided yet; that many rows are to come.
    Undecided(usize),
    No,
    Yes(Totals),
}

/// Running totals are worth it from one row asked for in so many of the timeline on.
const ROWS_A_TOTAL: usize = 32;

impl Store {
    /// Starts a sweep at a version, or at the newest one.
    pub fn sweep<'s>(&'s self, lookup: &Lookup, version: Option<u64>, mode: Mode) -> Result<Sweep<'s>, ReadError> {
        lookup.reads.iter().try_for_each(|read| self.must_be_filled(read.view))?;
        let final_until = |read: &ViewRead| {
            let source = self.definitions().views[read.view].source;
            self.final_until(source, self.source_watermark(source))
        };
        // Before the version, as in `Store::read`.
        let final_until: Vec<Time> = lookup.reads.iter().map(final_until).collect();
        let newest = self.version();
        let version = version.unwrap_or(newest);
        if version > newest {
            return Err(ReadError::VersionInFuture { version, newest });
        }
        // As in `Store::read`: at an older version nothing is called final.
        let final_at = |final_until| if version < newest { Time::NONE } else { final_until };
        let known = final_until.into_iter().map(|final_until| Known { version, final_until: final_at(final_until) }).collect();
        let outputs = |view: usize| -> Vec<(usize, usize)> {
            lookup.features.iter().enumerate().filter(|(_, f)| f.view == view).map(|(position, f)| (f.output, position)).collect()
        };
        let plan = |read: &ViewRead| SweepPlan::new(&self.definitions().views[read.view], &outputs(read.view));
        let plans = lookup.reads.iter().map(plan).collect();
        Ok(Sweep { store: self, mode, version, known, plans, cells: vec![Cell::default(); lookup.columns.len()], cold: None })
    }

    /// Values of a source as of later than this may still change, at that watermark.
    pub(crate) fn final_until(&self, source: usize, watermark: Time) -> Time {
        if watermark == Time::MAX { watermark } else { watermark - self.definitions().sources[source].allowed_lateness }
    }
}

impl<'s> Sweep<'s> {
    /// The version that is read.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Finds a key for the read at a position of [`Lookup::reads`]; `hash` is that of [`floodmark_features::key::hash_key`], `rows` is about how
    /// many rows will be asked for.
    pub fn key<'k>(&'k mut self, lookup: &'k Lookup, at: usize, hash: u64, key: &'k [u8], rows: usize) -> KeySweep<'k, 's> {
        let totals = if self.plans[at].sweeps() { Running::Undecided(rows) } else { Running::No };
        KeySweep { read: &lookup.reads[at], sweep: self, at, hash, key, loaded: None, totals }
    }

    /// The chunks as they are now, or as they were when nothing has changed since.
    fn cold(&mut self) -> Result<&Cold, StoreError> {
        // The epoch rises before timelines are dropped, so a table opened under today's epoch holds all that is not in memory.
        let epoch = self.store.epoch.load(Ordering::Acquire);
        let cold = match self.cold.take().filter(|cold| cold.epoch == epoch) {
            Some(cold) => cold,
            None => {
                let transaction = self.store.database.begin_read().map_err(engine)?;
                let chunks = transaction.open_table(CHUNKS).map_err(engine)?;
                let folded = transaction.open_table(FOLDED).map_err(engine)?;
                Cold { epoch, chunks, folded }
            }
        };
        Ok(self.cold.insert(cold))
    }
}

impl KeySweep<'_, '_> {
    /// Evaluates rows `0..rows` of the key, best in the order of their times; `take` gets each with the cells of the look-up, of which those of
    /// this view are filled.
    pub fn evaluate<'a>(
        &mut self,
        rows: usize,
        row: impl Fn(usize) -> SweepRow<'a>,
        mut take: impl FnMut(usize, &[Cell]),
    ) -> Result<(), ReadError> {
        let mut from = 0;
        while from < rows {
            from = self.evaluate_some(from..rows.min(from + SWEEP_ROWS), &row, &mut take)?;
        }
        Ok(())
    }

    /// Evaluates some rows; how far it came.
    fn evaluate_some<'a>(
        &mut self,
        rows: std::ops::Range<usize>,
        row: &impl Fn(usize) -> SweepRow<'a>,
        take: &mut impl FnMut(usize, &[Cell]),
    ) -> Result<usize, ReadError> {
        let store = self.sweep.store;
        let (sweep, read, at, totals) = (&mut *self.sweep, self.read, self.at, &mut self.totals);
        // Totals are of one version and do not change: where they say everything, the timeline is not needed any more.
        if matches!(totals, Running::Yes(_)) && sweep.plans[at].rest.is_none() {
            return sweep.fill(read, at, None, totals, rows, row, take);
        }
        let view = &store.definitions().views[read.view];
        let place = store.places[read.view];
        if self.loaded.is_none() {
            let partition = partition_of(self.hash, store.shards.len());
            let shard = store.shards[partition].read();
            if let Some(state) = shard.entity(view.entity, self.hash, self.key) {
                return sweep.fill(read, at, Some(&state.timelines[place]), totals, rows, row, take);
            }
            drop(shard);
            self.loaded = Some(sweep.load(read.view, partition, self.key)?);
        }
        let timeline = self.loaded.as_ref().and_then(Option::as_ref);
        sweep.fill(read, at, timeline, totals, rows, row, take)
    }
}

impl Sweep<'_> {
    fn load(&mut self, view: usize, partition: usize, key: &[u8]) -> Result<Option<Timeline>, StoreError> {
        let store = self.store;
        if !store.has_cold[partition].load(Ordering::Acquire) {
            return Ok(None);
        }
        let cold = self.cold()?;
        let timeline = store.timeline_of(&cold.chunks, &cold.folded, view, key)?;
        Ok((!timeline.is_empty() || timeline.folded().is_some()).then_some(timeline))
    }

    /// Evaluates rows with the timeline, or with its totals where they say everything; how far it came.
    fn fill<'a>(
        &mut self,
        read: &ViewRead,
        at: usize,
        timeline: Option<&Timeline>,
        totals: &mut Running,
        rows: std::ops::Range<usize>,
        row: &impl Fn(usize) -> SweepRow<'a>,
        take: &mut impl FnMut(usize, &[Cell]),
    ) -> Result<usize, ReadError> {
        let definitions = self.store.definitions();
        let view = &definitions.views[read.view];
        let layout = self.store.view_layout(read.view);
        let Known { version, final_until } = self.known[at];
        let plan = &self.plans[at];
        // Looked at with the timeline in hand: retention moves this before it drops anything.
        let oldest = self.store.oldest_time(view.source);
        let folded = self.store.folded_version[view.source].load(Ordering::Acquire);
        if let Running::Undecided(asked) = *totals {
            let worth_it = asked.saturating_mul(ROWS_A_TOTAL) >= timeline.map_or(0, Timeline::len);
            let made = worth_it.then(|| plan.totals(view, layout, timeline, version, self.mode)).flatten();
            *totals = made.map_or(Running::No, Running::Yes);
        }
        let end = rows.end;
        for at in rows {
            let SweepRow { as_of, own } = row(at);
            if as_of < oldest || version < folded {
                let source_name = definitions.sources[view.source].name.clone();
                return Err(ReadError::BeforeRetention { as_of, oldest, source_name });
            }
            let moment = Moment { as_of, version, mode: self.mode, own, final_until };
            let cells = &mut self.cells;
            match totals {
                Running::Yes(running) => {
                    if !plan.evaluate(view, layout, running, &moment, cells) {
                        // The caller comes back with the timeline.
                        *totals = Running::No;
                        return Ok(at);
                    }
                    if let Some(rest) = &plan.rest {
                        rest.evaluate(view, layout, timeline, &moment, cells);
                    }
                }
                _ => plan.all.evaluate(view, layout, timeline, &moment, cells),
            }
            take(at, cells);
        }
        Ok(end)
    }
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cold").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
