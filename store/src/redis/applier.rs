//! Applying a feature log to Redis: partitions of which this process keeps the timelines, in memory as far as they are in use.
//!
//! A round takes batches of routed events in, decides what becomes of them, and then writes what has changed: timelines first, in parts,
//! then state and version, which make the round count. Rows of a round that did not come to its end are not looked at by readers, nor by
//! whoever takes the partition over: they come again from the log, under the same versions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ::redis::Value;
use floodmark_features::codec::{restore, snapshot};
use floodmark_features::definition::Definitions;
use floodmark_features::engine::{EnginePlan, EntityState, Outputs, Shard, ViewCounts};
use floodmark_features::feature_log::{LogProgress, OutOfPlace, RoutedBatch, Taken};
use floodmark_features::key::hash_key;
use floodmark_features::row::Layout;
use floodmark_features::section::place_of_view;
use floodmark_features::time::Time;
use floodmark_features::timeline::Timeline;

use super::RedisSettings;
use super::error::OnlineError;
use super::layout::{Kept, Marks, State, open_windows_key, timeline_key, timeline_until};
use super::link::fields;
use super::writer::{Applied, Last, Stands, Write, Writer, Written};
use crate::changes::{TimelineChange, Wanted, change_of};
use crate::cores::{self, share_out};
use crate::layout::timeline_key as key_of;
use crate::retention::{Need, oldest};

/// Timelines in one script at most: readers wait while it runs.
const MOST_TIMELINES: usize = 128;
/// And so many bytes, about.
const MOST_BYTES: usize = 512 << 10;
/// Timelines that are asked for at once.
const READ_AT_ONCE: usize = 2_000;
/// Fewer rows or timelines are done with sooner than other threads are begun.
const WORTH_CORES: usize = 2_000;
/// Once over the budget, go on dropping until this share of it is in use, so as not to start again at once.
const DROP_TO_PERCENT: usize = 85;

/// Why batches are not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Redis does not do what it should; nothing was taken in.
    #[error(transparent)]
    Online(#[from] OnlineError),
    /// These partitions have to be taken over again before anything else: somebody else has written them, or Redis has lost something.
    #[error("redis no longer has what was written last. log_partitions={partitions:?}")]
    Lost {
        /// Of the log.
        partitions: Vec<usize>,
    },
    /// The log is not whole.
    #[error("log partition {log_partition}: {error}")]
    OutOfPlace {
        /// Of which partition of the log.
        log_partition: usize,
        /// What is wrong.
        error: OutOfPlace,
    },
}

/// A record of the feature log.
#[derive(Debug)]
pub struct LogRecord {
    /// Of which partition of the log.
    pub partition: usize,
    /// Its offset there.
    pub offset: u64,
    /// What it says.
    pub batch: RoutedBatch,
}

/// Keeps the timelines of some log partitions in Redis.
pub struct Applier {
    plan: Arc<EnginePlan>,
    name: String,
    writer: Writer,
    /// For each view, its place among the timelines of an entity, and its layout.
    views: Vec<(usize, Layout)>,
    held: BTreeMap<usize, Held>,
    log_partitions: usize,
    log: u64,
    memory_budget: usize,
    tick: u32,
}

/// A partition that is ours.
struct Held {
    epoch: u64,
    /// The version that Redis has, if any.
    stored: Option<u64>,
    progress: LogProgress,
    shard: Shard,
    marks: Marks,
    /// Memory has all there is.
    complete: bool,
    /// Entities, by kind and key, that have changed since the version that Redis has.
    changed: HashSet<(usize, Arc<[u8]>)>,
    /// Timelines that have to be written whole: of which Redis has rows that do not count yet, or retention has taken something.
    whole: HashSet<Vec<u8>>,
    /// For each source, the oldest as-of time as of what Redis has; later events may still come again, and count for no retention.
    oldest: Vec<Time>,
    /// For each source, the newest version of an event that retention has folded.
    folded_version: Vec<u64>,
}

/// How far a partition has come, for operators.
#[derive(Clone, Debug)]
pub struct PartitionState {
    /// The offset of the next record of the log.
    pub next_offset: u64,
    /// The newest version.
    pub version: u64,
    /// The watermark of each source.
    pub watermarks: Vec<Time>,
    /// For each source, which of its partitions it waits for.
    pub held_back_by: Vec<Option<String>>,
    /// What became of the events of each view.
    pub counts: Vec<ViewCounts>,
}

impl Applier {
    /// Connects, and sees to it that nothing but this feature log, which `log` tells from others, is kept under the name.
    pub fn open(
        settings: &RedisSettings,
        plan: Arc<EnginePlan>,
        log_partitions: usize,
        log: u64,
        memory_budget: usize,
    ) -> Result<Applier, OnlineError> {
        settings.check_name()?;
        let mut writer = Writer::new(settings);
        let definitions = plan.definitions.clone();
        writer.describe(&definitions, log_partitions, log)?;
        let view = |at| (place_of_view(&definitions, at), definitions.views[at].layout(&definitions.sources));
        let views = (0..definitions.views.len()).map(view).collect();
        Ok(Applier { plan, name: settings.name.clone(), writer, views, held: BTreeMap::new(), log_partitions, log, memory_budget, tick: 0 })
    }

    /// What is computed.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.plan.definitions
    }

    /// Takes a partition over from whoever had it. Returns the offset of the record that comes next.
    pub fn take_over(&mut self, partition: usize) -> Result<u64, OnlineError> {
        self.held.remove(&partition);
        // What says whose it is may have been lost with the rest.
        self.writer.describe(&self.plan.definitions, self.log_partitions, self.log)?;
        let taken = self.writer.take_over(partition)?;
        let state: Option<State> = if taken.state.is_empty() { None } else { Some(restore(&taken.state)?) };
        let kept: Kept = if taken.kept.is_empty() { self.all_kept() } else { restore(&taken.kept)? };
        let mut held = Held {
            epoch: taken.epoch,
            stored: None,
            shard: Shard::new(self.plan.clone()),
            progress: LogProgress::new(&self.plan.definitions),
            marks: Marks::default(),
            // Unless a first round has left something that did not come to its end.
            complete: taken.kept.is_empty(),
            changed: HashSet::new(),
            whole: HashSet::new(),
            oldest: kept.oldest,
            folded_version: kept.folded_version,
        };
        if let (Some(state), Some(version)) = (state, taken.version) {
            held.shard = Shard::resumed(self.plan.clone(), &state.followed, state.counts);
            (held.progress, held.marks) = (state.progress, state.marks);
            held.settle(version, &self.plan.definitions);
        }
        if self.plan.sections.iter().any(|section| section.emits) {
            self.admit_open_windows(partition, &mut held)?;
        }
        let next = held.progress.next_offset;
        self.held.insert(partition, held);
        Ok(next)
    }

    /// The partitions of which Redis no longer has what was written last: they have to be taken over again. Where nothing is written, this
    /// is how a loss is seen.
    pub fn lost(&mut self) -> Result<Vec<usize>, OnlineError> {
        let asked: Vec<(usize, Vec<Vec<u8>>)> = self.held.keys().map(|partition| (*partition, Vec::new())).collect();
        let found = self.writer.read(&asked)?;
        Ok(self.not_ours(&asked, &found))
    }

    /// Of partitions that were read, those that do not stand where we have left them.
    fn not_ours(&self, asked: &[(usize, Vec<Vec<u8>>)], found: &[(Stands, Vec<Value>)]) -> Vec<usize> {
        let ours = |partition: usize, stands: &Stands| {
            let held = self.held.get(&partition);
            held.is_some_and(|held| (stands.epoch, stands.version) == (held.epoch, held.stored))
        };
        let of = asked.iter().map(|(partition, _)| *partition).zip(found);
        of.filter(|(partition, (stands, _))| !ours(*partition, stands)).map(|(partition, _)| partition).collect()
    }

    /// Gives a partition up: somebody else has it.
    pub fn release(&mut self, partition: usize) {
        self.held.remove(&partition);
    }

    /// The partitions that are held, and how far each has come.
    pub fn states(&self) -> BTreeMap<usize, PartitionState> {
        let state = |held: &Held| PartitionState {
            next_offset: held.progress.next_offset,
            version: held.progress.version,
            watermarks: held.progress.watermarks(),
            held_back_by: held.progress.sources.iter().map(|source| source.held_back_by().map(|slowest| slowest.name.clone())).collect(),
            counts: held.shard.counts.clone(),
        };
        self.held.iter().map(|(partition, held)| (*partition, state(held))).collect()
    }

    /// Entities whose windows are open have to be there when the watermark moves.
    fn admit_open_windows(&mut self, partition: usize, held: &mut Held) -> Result<(), OnlineError> {
        let found = self.writer.read(&[(partition, vec![open_windows_key(&self.name, partition)])])?;
        let found = found.first().and_then(|(_, answers)| answers.first()).unwrap_or(&Value::Nil);
        let mut open = HashMap::new();
        for (field, windows) in fields(found) {
            if let Some((entity, key)) = field.split_first_chunk::<2>() {
                open.insert((usize::from(u16::from_be_bytes(*entity)), Arc::<[u8]>::from(key)), restore(windows)?);
            }
        }
        let wanted: Vec<(usize, Arc<[u8]>)> = open.keys().cloned().collect();
        for some in wanted.chunks(READ_AT_ONCE / self.views.len().max(1) + 1) {
            let keys = some.iter().flat_map(|(entity, key)| self.timelines_of(partition, *entity, key)).collect();
            let found = self.writer.read(&[(partition, keys)])?;
            let mut answers = found.into_iter().flat_map(|(_, answers)| answers);
            for (entity, key) in some {
                let mut ahead = Vec::new();
                let mut state = self.entity_of(*entity, key, held.stored.unwrap_or(0), &mut answers, &mut ahead)?;
                state.open = open.remove(&(*entity, key.clone())).unwrap_or_default();
                held.whole.extend(ahead);
                held.shard.admit_open(*entity, state);
            }
        }
        Ok(())
    }

    /// Where the timelines of an entity are.
    fn timelines_of(&self, partition: usize, entity: usize, key: &[u8]) -> Vec<Vec<u8>> {
        self.views_on(entity).map(|view| timeline_key(&self.name, partition, &key_of(view, key))).collect()
    }

    fn views_on(&self, entity: usize) -> impl Iterator<Item = usize> + '_ {
        views_on(&self.plan, entity)
    }

    /// An entity as of a version, of the answers about its timelines; `ahead` gets those that have more.
    fn entity_of(
        &self,
        entity: usize,
        key: &[u8],
        until: u64,
        answers: &mut impl Iterator<Item = Value>,
        ahead: &mut Vec<Vec<u8>>,
    ) -> Result<EntityState, OnlineError> {
        let mut state = EntityState::new(key, self.plan.views_of(entity));
        for view in self.views_on(entity) {
            let (place, layout) = &self.views[view];
            let answer = answers.next().unwrap_or(Value::Nil);
            let (timeline, more) = timeline_until(until, &fields(&answer), layout)?;
            if more {
                ahead.push(key_of(view, key));
            }
            state.timelines[*place] = timeline;
        }
        Ok(state)
    }

    /// Takes records in, each partition's in order; what becomes of their events is in the outputs, one for each record. Records that were
    /// taken in before have none. Nothing is taken in if what they need cannot be read.
    pub fn apply(&mut self, records: &mut [LogRecord]) -> Result<Vec<Outputs>, ApplyError> {
        self.tick += 1;
        self.warm_up(records)?;
        let rows: usize = records.iter().flat_map(|record| &record.batch.sections).map(|(_, section)| section.len()).sum();
        let mut outputs: Vec<Outputs> = records.iter().map(|_| Outputs::default()).collect();
        let mut of: BTreeMap<usize, Vec<(&mut LogRecord, &mut Outputs)>> = BTreeMap::new();
        for (record, outputs) in records.iter_mut().zip(&mut outputs) {
            of.entry(record.partition).or_default().push((record, outputs));
        }
        let work: Vec<_> = self.held.iter_mut().filter_map(|(partition, held)| Some((held, of.remove(partition)?))).collect();
        let (plan, tick) = (&self.plan, self.tick);
        let done = share_out(cores_for(rows), work, |(held, records)| {
            records.into_iter().try_for_each(|(record, outputs)| held.take(plan, record, tick, outputs))
        });
        done.into_iter().collect::<Result<(), ApplyError>>()?;
        Ok(outputs)
    }

    /// Reads what the records need and memory has not got.
    fn warm_up(&mut self, records: &[LogRecord]) -> Result<(), ApplyError> {
        let mut cold: BTreeMap<usize, HashSet<(usize, &[u8])>> = BTreeMap::new();
        for record in records {
            let Some(held) = self.held.get(&record.partition).filter(|held| !held.complete) else { continue };
            for (at, section) in &record.batch.sections {
                let entity = self.plan.sections[*at].entity;
                let of_partition = cold.entry(record.partition).or_default();
                for row in 0..section.len() {
                    if held.shard.entity(entity, section.hashes[row], section.key(row)).is_none() {
                        of_partition.insert((entity, section.key(row)));
                    }
                }
            }
        }
        let mut wanted: Vec<(usize, usize, &[u8])> = Vec::new();
        for (partition, keys) in &cold {
            wanted.extend(keys.iter().map(|(entity, key)| (*partition, *entity, *key)));
        }
        for some in wanted.chunks(READ_AT_ONCE) {
            self.admit(some)?;
        }
        Ok(())
    }

    /// Reads entities, given in the order of their partitions.
    fn admit(&mut self, some: &[(usize, usize, &[u8])]) -> Result<(), ApplyError> {
        let of_partitions: Vec<&[(usize, usize, &[u8])]> = some.chunk_by(|a, b| a.0 == b.0).collect();
        let ask = |of_partition: &&[(usize, usize, &[u8])]| {
            let keys = of_partition.iter().flat_map(|(partition, entity, key)| self.timelines_of(*partition, *entity, key));
            (of_partition[0].0, keys.collect())
        };
        let asked: Vec<(usize, Vec<Vec<u8>>)> = of_partitions.iter().map(ask).collect();
        let found = self.writer.read(&asked)?;
        // What was read stands for the version that we have written last, or it is not ours any more.
        let partitions = self.not_ours(&asked, &found);
        if !partitions.is_empty() {
            return Err(ApplyError::Lost { partitions });
        }
        for (of_partition, (_, answers)) in of_partitions.iter().zip(found) {
            let partition = of_partition[0].0;
            let until = self.held.get(&partition).and_then(|held| held.stored).unwrap_or(0);
            let (mut states, mut ahead) = (Vec::with_capacity(of_partition.len()), Vec::new());
            let mut answers = answers.into_iter();
            for (_, entity, key) in *of_partition {
                let state = self.entity_of(*entity, key, until, &mut answers, &mut ahead)?;
                states.push((*entity, state));
            }
            let Some(held) = self.held.get_mut(&partition) else { continue };
            held.whole.extend(ahead);
            for (entity, state) in states {
                if state.timelines.iter().any(|timeline| !timeline.is_empty() || timeline.folded().is_some()) {
                    state.touch(self.tick);
                    held.shard.admit(entity, state);
                }
            }
        }
        Ok(())
    }

    /// Writes what has changed. Returns the partitions that have to be taken over again before anything else: somebody else has written
    /// them, or Redis has lost something. After an error that goes for all.
    pub fn write(&mut self) -> Result<Vec<usize>, OnlineError> {
        self.held.values_mut().for_each(|held| held.trim(&self.plan.definitions, &self.views));
        let behind: Vec<(&usize, &Held)> = self.held.iter().filter(|(_, held)| held.stored < Some(held.progress.version)).collect();
        let changed = behind.iter().map(|(_, held)| held.changed.len()).sum();
        let (plan, views) = (&self.plan, &self.views);
        let rounds = share_out(cores_for(changed), behind, |(at, held)| held.round(*at, plan, views));
        let mut writes = Vec::new();
        for (partition, changes, applied, kept) in &rounds {
            let held = &self.held[partition];
            let mut parts = in_parts(changes);
            let end = parts.pop().unwrap_or_default();
            let (epoch, base, version) = (held.epoch, held.stored, held.progress.version);
            let write = |timelines, last| Write { partition: *partition, epoch, base, version, timelines, kept, last };
            writes.extend(parts.into_iter().map(|timelines| write(timelines, None)));
            writes.push(write(end, Some(Last { marks: &held.marks, state: Some(applied) })));
        }
        let written = self.writer.write(&writes)?;
        let mut lost: Vec<usize> =
            writes.iter().zip(&written).filter(|(_, written)| **written != Written::Yes).map(|(write, _)| write.partition).collect();
        lost.dedup();
        drop(writes);
        for (partition, ..) in rounds {
            match self.held.get_mut(&partition) {
                Some(held) if !lost.contains(&partition) => held.settle(held.progress.version, &self.plan.definitions),
                _ => self.release(partition),
            }
        }
        self.keep_memory_bounded();
        Ok(lost)
    }

    /// Where nothing was written yet.
    fn all_kept(&self) -> Kept {
        let sources = self.plan.definitions.sources.len();
        Kept { oldest: vec![Time::NONE; sources], folded_version: vec![0; sources] }
    }

    /// Drops timelines that have not been used for the longest if memory is over its budget. To be called when all is written.
    fn keep_memory_bounded(&mut self) {
        let in_use: usize = self.held.values().map(|held| held.shard.bytes()).sum();
        if in_use <= self.memory_budget {
            return;
        }
        let entities = self.plan.definitions.entities.len();
        let mut idle: Vec<(u32, usize)> = Vec::new();
        for held in self.held.values() {
            for entity in 0..entities {
                let droppable = held.shard.entities(entity).filter(|state| state.open.windows.is_empty());
                idle.extend(droppable.map(|state| (state.touched(), state.bytes())));
            }
        }
        idle.sort_unstable();
        let goal = self.memory_budget / 100 * DROP_TO_PERCENT;
        let mut left = in_use;
        let beyond = |(_, bytes): &&(u32, usize)| {
            let over = left > goal;
            left = left.saturating_sub(*bytes);
            over
        };
        let Some((last, _)) = idle.iter().take_while(beyond).last() else { return };
        for held in self.held.values_mut() {
            held.complete = false;
            (0..entities).for_each(|entity| held.shard.retain(entity, |state| state.touched() > *last || !state.open.windows.is_empty()));
        }
    }
}

/// The views on an entity.
fn views_on(plan: &EnginePlan, entity: usize) -> impl Iterator<Item = usize> + '_ {
    let views = &plan.definitions.views;
    (0..views.len()).filter(move |view| views[*view].entity == entity)
}

/// How many cores so many pieces are worth.
fn cores_for(pieces: usize) -> usize {
    if pieces < WORTH_CORES { 1 } else { cores::all() }
}

impl Held {
    /// Takes a record in; what becomes of its events is added to the outputs.
    fn take(&mut self, plan: &EnginePlan, record: &mut LogRecord, tick: u32, outputs: &mut Outputs) -> Result<(), ApplyError> {
        if record.offset < self.progress.next_offset {
            return Ok(());
        }
        let taken = self.progress.take(plan, record.offset, &mut record.batch);
        let taken = taken.map_err(|error| ApplyError::OutOfPlace { log_partition: record.partition, error })?;
        let Taken::New { version, trail } = taken else { return Ok(()) };
        for (at, section) in &record.batch.sections {
            self.shard.apply(*at, section, 0..section.len(), version, &trail, tick, outputs);
            self.note(plan.sections[*at].entity, section);
        }
        let source = record.batch.head.source;
        for at in (0..plan.sections.len()).filter(|at| plan.sections[*at].emits && plan.sections[*at].source == source) {
            self.shard.follow(at, &trail, None, outputs);
        }
        self.changed.extend(outputs.timed.drain(..));
        self.marks.push(version, self.progress.watermarks());
        Ok(())
    }

    /// What Redis does not have yet.
    fn round(&self, partition: usize, plan: &EnginePlan, views: &[(usize, Layout)]) -> (usize, Vec<TimelineChange>, Applied, Kept) {
        let mut changes = Vec::new();
        let mut windows = Vec::new();
        for (entity, key) in &self.changed {
            let hash = hash_key(key);
            let Some(state) = self.shard.entity(*entity, hash, key) else { continue };
            for view in views_on(plan, *entity) {
                let (place, layout) = &views[view];
                let wanted = match self.stored {
                    Some(stored) if !self.whole.contains(&key_of(view, key)) => Wanted::Changed(stored),
                    _ => Wanted::Whole,
                };
                changes.extend(change_of(view, key, &state.timelines[*place], layout, wanted));
            }
            if plan.sections.iter().any(|section| section.entity == *entity && section.emits) {
                let open = if state.open.windows.is_empty() { Vec::new() } else { snapshot(&state.open) };
                windows.push(([&(*entity as u16).to_be_bytes()[..], key].concat(), open));
            }
        }
        let state = State {
            progress: self.progress.clone(),
            followed: self.shard.followed(),
            counts: self.shard.counts.clone(),
            marks: self.marks.clone(),
        };
        let kept = Kept { oldest: self.oldest.clone(), folded_version: self.folded_version.clone() };
        (partition, changes, Applied { state: snapshot(&state), windows }, kept)
    }

    fn note(&mut self, entity: usize, section: &floodmark_features::section::Section) {
        for row in 0..section.len() {
            // The key is shared with the entity's own, and only looked at where it is noted already.
            if let Some(state) = self.shard.entity(entity, section.hashes[row], section.key(row)) {
                self.changed.insert((entity, state.key.clone()));
            }
        }
    }

    /// Redis has all of it, as a version.
    fn settle(&mut self, version: u64, definitions: &Definitions) {
        self.stored = Some(version);
        self.changed.clear();
        self.whole.clear();
        for (at, source) in definitions.sources.iter().enumerate() {
            let progress = &self.progress.sources[at];
            self.oldest[at] = self.oldest[at].max(oldest(source, progress, progress.watermark()).unwrap_or(Time::NONE));
        }
    }

    /// Forgets what lies before the retention of its source, of what is to be written anyway: entities that do not come again keep what
    /// they have. No event of this round goes, so whoever does the round again comes to the same.
    fn trim(&mut self, definitions: &Definitions, views: &[(usize, Layout)]) {
        for (at, view) in definitions.views.iter().enumerate() {
            let oldest = self.oldest[view.source];
            let Some(stored) = self.stored.filter(|_| oldest > Time::NONE) else { continue };
            let (need, (place, layout)) = (Need::of(view), &views[at]);
            for (_, key) in self.changed.iter().filter(|(entity, _)| *entity == view.entity) {
                let trim = |state: &mut EntityState| {
                    let timeline = &mut state.timelines[*place];
                    let folded = |timeline: &Timeline| timeline.folded().map_or(0, |folded| folded.summary.newest_version);
                    let trimmed = need.trim(timeline, oldest, stored, view, layout);
                    trimmed.then(|| {
                        // It is written whole: which of its chunks are gone need not be known.
                        timeline.mark_clean();
                        folded(timeline)
                    })
                };
                if let Some(Some(folded)) = self.shard.update(view.entity, hash_key(key), key, trim) {
                    self.folded_version[view.source] = self.folded_version[view.source].max(folded);
                    self.whole.insert(key_of(at, key));
                }
            }
        }
    }
}

/// Not too many timelines, nor bytes, at once; at least one part.
fn in_parts(changes: &[TimelineChange]) -> Vec<&[TimelineChange]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, change) in changes.iter().enumerate() {
        bytes += change.bytes();
        if at + 1 - from == MOST_TIMELINES || bytes >= MOST_BYTES {
            parts.push(&changes[from..=at]);
            (from, bytes) = (at + 1, 0);
        }
    }
    parts.push(&changes[from..]);
    parts
}
