//! Training sets of any size: rows and events are first sent to files by the hash of their key, then joined part by part, so that memory is
//! bounded by a part and not by the history.
//!
//! The rule of a partitioned hash join (G. Graefe, "Query Evaluation Techniques for Large Databases", 1993): what has the same key is in the
//! same part. A spine with the keys of several entities goes through once for each, and the values come together again block by block.
//!
//! ```text
//!   spine ──by key──▶ rows of a part ─┐
//!                                     ├─ sweep ─by block─▶ values of a block ─▶ the file
//!   events ─by key──▶ events of a part┘
//! ```

mod gather;
mod needed;
mod scatter;
mod spill;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int8Type;
use floodmark_features::lookup::Lookup;
use floodmark_features::time::Time;
use floodmark_store::{ReadError, Store};

use self::gather::Gather;
use self::scatter::{Scattered, scatter_events, scatter_rows};
use self::spill::Spill;
use crate::error::TrainingError;
use crate::file::TrainingFile;
use crate::keys::{KeySet, key_sets};
use crate::spine_file::SpineFile;
use crate::stream::TrainingStream;
use crate::tasks::in_parallel;
use crate::{Clock, Progress, TrainingRequest, TrainingSpec, TrainingSummary, is_same, missing_request_fields, notes, schema_of};

/// Rows that are gathered together.
const BLOCK_ROWS: usize = 1 << 20;
/// What an event takes, from a part's file to its place in a timeline, and what is made of it on the way.
const BYTES_PER_EVENT: u64 = 400;
/// Where rows are in the spine, while they are elsewhere.
const ROW: &str = "_row";

/// What a row of the spine takes in its part, with its values.
const BYTES_PER_ROW: u64 = 600;

/// Whoever has the history, and makes stores of parts of it.
pub trait Past: Sync {
    /// What is read at once, such as a file.
    type Piece: Sync;
    /// How many events a source has; an estimate will do.
    fn events(&self, source: usize) -> Result<u64, TrainingError>;
    /// The newest commit that there is.
    fn version(&self) -> Result<u64, TrainingError>;
    /// The pieces of a source that may hold events from one time to another, both included.
    fn pieces(&self, source: usize, within: (Time, Time)) -> Result<Vec<Self::Piece>, TrainingError>;
    /// Hands over the events of a piece, batch by batch: of the source's columns at least those asked for, and those of
    /// [`floodmark_store::kept::column`], by their names.
    fn read(&self, source: usize, piece: &Self::Piece, columns: &[usize], take: Take<'_>) -> Result<(), TrainingError>;
    /// A store in memory of some events of some sources, as they were handed over but in any order, on one core. It is read at its newest
    /// version only, so which commits its events come in is free.
    fn store(&self, events: Vec<(usize, RecordBatch)>) -> Result<Arc<Store>, TrainingError>;
}

/// Takes a batch.
pub type Take<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<(), TrainingError>;

/// Builds a training set of a history that may be larger than memory. `memory` is what the parts that are worked on at the same time may
/// take, in bytes: one entity's events must fit in it, however many they are, and so must a row group of the spine. Scratch files lie beside
/// the output, as large as the columns that are needed of events and spine, once for each entity.
pub fn write_training_set_in_parts<P: Past>(
    past: &P,
    request: &TrainingRequest,
    memory: u64,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<TrainingSummary, TrainingError> {
    if is_same(&request.spine, &request.out) {
        return Err(TrainingError::OutIsSpine { path: request.out.clone() });
    }
    let (spine, spec) = (SpineFile::open(request)?, &request.spec);
    let scratch = Scratch::beside(&request.out)?;
    let mut summary = TrainingSummary { features: schema_of(spec).fields().len(), ..TrainingSummary::default() };
    let mut clock = Clock(Instant::now());
    let newest = past.version()?;
    if let Some(version) = spec.version.filter(|version| *version > newest) {
        return Err(ReadError::VersionInFuture { version, newest }.into());
    }
    summary.version = spec.version.unwrap_or(newest);

    let blocks = spine.blocks(BLOCK_ROWS);
    let sets: Vec<PartsOf> = key_sets(&spec.lookup).into_iter().map(|set| PartsOf::new(spec, &spine, set)).collect();
    let starts = starts_of(&spine, &blocks);
    let parts = parts_of(past, spec, spine.rows(), memory, sets.len())?;
    let rows = scatter_rows(&spine, spec, &sets, blocks.iter().zip(&starts), &scratch, parts)?;
    let within = needed::times(&spec.lookup, rows.times, spec.statuses);
    let events = scatter_events(past, spec, &sets, within, &scratch, parts)?;
    summary.times.route = clock.lap();

    let done = AtomicU64::new(0);
    let mut values = Vec::new();
    for (set, parts_of) in sets.iter().enumerate() {
        let spill = Spill::new(&scratch, &format!("values-{set}"), blocks.len());
        in_parallel(spec.threads, parts, |part| {
            let swept = sweep_part(past, parts_of, &rows.spilled[set], &events[set], part, &starts, &spill)?;
            let evaluated = done.fetch_add(swept, Ordering::Relaxed) + swept;
            watch(Progress { done: evaluated / sets.len().max(1) as u64, rows: spine.rows() });
            Ok::<_, TrainingError>(())
        })?;
        values.push(spill.finish()?);
    }
    summary.times.sweep = clock.lap();

    let mut file = TrainingFile::create(&spine, &request.out, schema_of(spec), notes(spec, summary.version))?;
    let gather = Gather { spine: &spine, spec, sets: &sets, values: &values };
    for (at, groups) in blocks.iter().enumerate() {
        let gathered = gather.block(at, groups.clone(), starts[at])?;
        summary.rows_without_key += gathered.rows_without_key as u64;
        let mut start = 0;
        for group in groups.clone() {
            let many = spine.rows_in(group);
            let encoded =
                in_parallel(spec.threads, gathered.columns.len(), |at| file.encode(at, &[gathered.columns[at].slice(start, many)]))?;
            file.append(group, encoded.into_iter().flatten().collect())?;
            start += many;
        }
        summary.rows += gathered.rows as u64;
    }
    summary.bytes = file.finish()?;
    summary.times.write = clock.lap();
    summary.missing_request_fields = missing_request_fields(spec, &spine.spine);
    Ok(summary)
}

/// The features of the same keys, as a training set of their own.
pub(crate) struct PartsOf {
    pub(crate) set: KeySet,
    /// For each of its columns, the place among the features of all.
    pub(crate) positions: Vec<usize>,
    pub(crate) spec: TrainingSpec,
}

impl PartsOf {
    fn new(spec: &TrainingSpec, spine: &SpineFile, set: KeySet) -> PartsOf {
        let lookup = &spec.lookup;
        let views: Vec<usize> = set.reads.iter().map(|read| lookup.reads[*read].view).collect();
        let positions: Vec<usize> = (0..lookup.features.len()).filter(|at| views.contains(&lookup.features[*at].view)).collect();
        let features = positions.iter().map(|at| lookup.features[*at]).collect();
        let own = Arc::new(Lookup::of_features(lookup.definitions.clone(), features));
        // Rows stand for events of sources whose ids are of the column's type.
        let event_id = spec.event_id.clone().filter(|_| set.reads.iter().any(|read| spine.spine.own[*read].is_some()));
        // What was committed later is not handed over at all.
        let spec = TrainingSpec { lookup: own, event_id, version: None, threads: 1, ..spec.clone() };
        PartsOf { set, positions, spec }
    }

    /// The sources of its views.
    pub(crate) fn sources(&self) -> Vec<usize> {
        sources_of(&self.spec.lookup)
    }
}

/// The sources of the features, each once, ascending.
pub(crate) fn sources_of(lookup: &Lookup) -> Vec<usize> {
    let mut sources: Vec<usize> = lookup.reads.iter().map(|read| lookup.definitions.views[read.view].source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// Whether a history fits in so much memory at once.
pub fn fits(past: &impl Past, spec: &TrainingSpec, memory: u64) -> Result<bool, TrainingError> {
    Ok(events_of(past, spec)?.saturating_mul(BYTES_PER_EVENT) <= memory)
}

/// How many events the sources of the features have.
fn events_of(past: &impl Past, spec: &TrainingSpec) -> Result<u64, TrainingError> {
    sources_of(&spec.lookup).into_iter().try_fold(0_u64, |all, source| Ok(all.saturating_add(past.events(source)?)))
}

/// How many parts: so many that those that are worked on at the same time fit in memory, and if files allow, so many that each is near to the
/// processor. Odd: a store divides the same hashes by sixteen.
fn parts_of(past: &impl Past, spec: &TrainingSpec, rows: u64, memory: u64, sets: usize) -> Result<usize, TrainingError> {
    // A part holds events of all sources of its entity.
    let events = events_of(past, spec)?;
    let bytes = events.saturating_mul(BYTES_PER_EVENT).saturating_add(rows.saturating_mul(BYTES_PER_ROW));
    let each = (memory / spec.threads.max(1) as u64).max(1);
    let (least, near) = (bytes.div_ceil(each), events / EVENTS_NEAR);
    let parts = least.max(near).max(spec.threads as u64).min(OPEN_FILES / sets.max(1) as u64);
    Ok(parts as usize | 1)
}

/// What so many events become stays in a processor's cache, more or less: half again as quick as what does not.
const EVENTS_NEAR: u64 = 1 << 18;
/// Files that are open at the same time, over all entities: systems allow some 1,000. Where more parts were needed, each takes more memory than
/// it should.
const OPEN_FILES: u64 = 600;

/// For each block, its first row.
fn starts_of(spine: &SpineFile, blocks: &[std::ops::Range<usize>]) -> Vec<u64> {
    let rows = |groups: &std::ops::Range<usize>| groups.clone().map(|group| spine.rows_in(group) as u64).sum::<u64>();
    blocks.iter().scan(0, |next, groups| Some(std::mem::replace(next, *next + rows(groups)))).collect()
}

/// Makes a store of the events of a part, and gives each of its rows its values; how many rows.
fn sweep_part(
    past: &impl Past,
    of: &PartsOf,
    rows: &Scattered,
    events: &[(usize, Scattered)],
    part: usize,
    starts: &[u64],
    into: &Spill,
) -> Result<u64, TrainingError> {
    let rows = rows.read(part)?;
    let Some(first) = rows.first() else { return Ok(0) };
    let mut history = Vec::new();
    for (source, events) in events {
        if let Some(events) = events.read_whole(part)? {
            history.push((*source, events));
        }
    }
    let store = past.store(history)?;
    let set = TrainingStream::new(store, of.spec.clone(), &first.schema())?;
    let carried = first.num_columns();
    let mut swept = 0;
    for batch in set.add(&rows)? {
        let row = batch.schema().index_of(ROW).map_err(spill::broken)?;
        let values =
            std::iter::once(row).chain(carried..batch.num_columns()).map(|at| in_codes(batch.schema().field(at).name(), batch.column(at)));
        let values = RecordBatch::try_from_iter_with_nullable(values).map_err(spill::broken)?;
        into.by_block(&values, starts)?;
        swept += values.num_rows() as u64;
    }
    Ok(swept)
}

/// A column as it waits: statuses by their codes.
fn in_codes(name: &str, column: &ArrayRef) -> (String, ArrayRef, bool) {
    let codes = column.as_dictionary_opt::<Int8Type>().map(|statuses| Arc::new(statuses.keys().clone()) as ArrayRef);
    (name.to_owned(), codes.unwrap_or_else(|| column.clone()), true)
}

/// A folder that is gone in the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    fn beside(out: &Path) -> Result<Scratch, TrainingError> {
        let name = out.file_name().ok_or_else(|| TrainingError::write(out, "expected the name of a file"))?;
        let folder = out.with_file_name(format!(".{}.{}.parts", name.to_string_lossy(), std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| TrainingError::write(out, error))?;
        Ok(Scratch(folder))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be deleted now is in nobody's way but the disk's.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
