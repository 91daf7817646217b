//! A keeper of the online store: the log's partitions that are ours, each with its timelines, from the records of a round to what stands
//! in Redis and in the topics of late events and closed windows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use floodmark_features::engine::Outputs;
use floodmark_features::time::Time;
use floodmark_store::Output;
use floodmark_store::redis::{Applier, ApplyError, LogRecord, OnlineError, PartitionState};
use rdkafka::consumer::ConsumerGroupMetadata;
use serde::{Deserialize, Serialize};

use super::apply::Common;
use super::slot::Slot;
use super::watchdog::Watchdog;
use super::{CUT_OFF, Done, HELD, PipelineError, UNSURE};
use crate::kafka::group::{Change, Group, Place, Position};
use crate::kafka::intake::RETRY;
use crate::kafka::transactions::{Broken, Transactions};

/// Where nothing is published, positions are committed this often, for whoever looks at them.
const POSITIONS: Duration = Duration::from_secs(1);

/// A partition that the group has given us.
#[derive(Default)]
struct Owned {
    /// Whether the online store is ours as well, and the records come from where it stands.
    held: bool,
    /// The offset of the next record to be published; what comes out of earlier ones is out.
    published: u64,
    /// What was committed last.
    position: Option<u64>,
}

/// What is committed with a position: for each source, how far event time has come, and which of its partitions holds it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ApplyNote {
    /// By source, in microseconds.
    pub(super) watermarks: BTreeMap<String, Time>,
    /// By source; none if no partition has to be waited for.
    pub(super) held_back_by: BTreeMap<String, String>,
}

/// Keeps partitions.
pub(super) struct Keeper {
    common: Arc<Common>,
    done: Arc<Done>,
    slot: Slot,
    watchdog: Arc<Watchdog>,
    applier: Applier,
    owned: BTreeMap<i32, Owned>,
    /// When positions were committed last.
    told: Instant,
    /// Since when the log does not have what comes next.
    outside: Option<Instant>,
}

impl Keeper {
    /// Waits for the online store. `None` if told to stop first.
    pub(super) fn open(
        common: Arc<Common>,
        slot: Slot,
        watchdog: Arc<Watchdog>,
        log_partitions: usize,
        log: u64,
    ) -> Result<Option<Keeper>, PipelineError> {
        let settings = &common.settings;
        while !common.done.is_stopping() {
            watchdog.seen();
            match Applier::open(&settings.online, common.plan.clone(), log_partitions, log, settings.memory_budget) {
                Ok(applier) => {
                    let (done, owned, told) = (common.done.clone(), BTreeMap::new(), Instant::now());
                    return Ok(Some(Keeper { common, done, slot, watchdog, applier, owned, told, outside: None }));
                }
                Err(error) => wait_for_redis(&common, error)?,
            }
        }
        Ok(None)
    }

    /// Whether it has a partition in the online store.
    pub(super) fn has(&self, partition: usize) -> bool {
        self.owned.get(&(partition as i32)).is_some_and(|owned| owned.held)
    }

    /// Those that it has.
    pub(super) fn partitions(&self) -> BTreeSet<usize> {
        self.owned.iter().filter(|(_, owned)| owned.held).map(|(partition, _)| *partition as usize).collect()
    }

    /// Whether a round is due even if no record has come.
    pub(super) fn is_due(&self) -> bool {
        self.told.elapsed() >= POSITIONS
    }

    fn place(&self, partition: i32) -> Place {
        (self.common.pipeline.topic("log"), partition)
    }

    /// What is ours has changed.
    pub(super) fn change(&mut self, group: &mut Group, change: Change) -> Result<(), PipelineError> {
        self.done.add(&self.done.rebalances, 1);
        match change {
            Change::Taken(places) => {
                for (_, partition) in places {
                    self.owned.remove(&partition);
                    self.let_go(partition);
                    self.done.status.gone(partition);
                }
            }
            Change::Given(places) => {
                // Where each is to be read is known once its place in the online store is.
                let Some(ends) = self.ends(group, &places) else { return Ok(()) };
                let at: Vec<(Place, u64)> = places.iter().cloned().zip(ends.iter().map(|(_, end)| *end)).collect();
                self.owned.extend(places.iter().map(|(_, partition)| (*partition, Owned::default())));
                group.assign(&at).map_err(PipelineError::Fatal)?;
            }
        }
        self.done.partitions.store(self.owned.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The oldest offset of each partition, and the one after the newest.
    fn ends(&self, group: &Group, places: &[Place]) -> Option<Vec<(u64, u64)>> {
        self.done.asked(CUT_OFF, &self.watchdog, || places.iter().map(|place| group.ends(place)).collect())
    }

    /// A partition's timelines are no longer in memory.
    fn let_go(&mut self, partition: i32) {
        self.applier.release(partition as usize);
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.held = false;
        }
    }

    /// What became of a transaction or of a write is not known: all partitions are looked at afresh.
    pub(super) fn give_up(&mut self) {
        let held: Vec<i32> = self.owned.keys().copied().collect();
        held.into_iter().for_each(|partition| self.let_go(partition));
        self.told = Instant::now();
    }

    /// Takes partitions over in the online store that are ours only in the log, and reads the log from there.
    pub(super) fn take_over(&mut self, group: &Group) -> Result<(), PipelineError> {
        let places: Vec<Place> = self.owned.iter().filter(|(_, owned)| !owned.held).map(|(at, _)| self.place(*at)).collect();
        if places.is_empty() {
            return Ok(());
        }
        // A failed transaction may have left no producer; what it had committed stands only once there is another.
        if self.slot.producer(&self.common.pipeline, &self.done, &self.watchdog).is_none() {
            return Ok(());
        }
        let Some(_) = self.ends(group, &places) else { return Ok(()) };
        let Some(positions) = self.done.asked(HELD, &self.watchdog, || group.committed(&places)) else { return Ok(()) };
        let Some(ends) = self.ends(group, &places) else { return Ok(()) };
        let mut at = Vec::new();
        for (position, (oldest, end)) in positions.into_iter().zip(ends) {
            let partition = position.partition;
            let next = match self.applier.take_over(partition as usize) {
                Ok(next) => next,
                Err(error) => {
                    wait_for_redis(&self.common, error)?;
                    break;
                }
            };
            if next < oldest || next > end {
                // Not ours yet: it is looked at again, for a broker may not know everything at once.
                self.applier.release(partition as usize);
                let since = *self.outside.get_or_insert_with(Instant::now);
                if since.elapsed() > UNSURE {
                    let partition = format!("{}-{partition}", self.common.pipeline.topic("log"));
                    let lost = PipelineError::Lost { partition: partition.clone(), next, oldest };
                    return Err(if next < oldest { lost } else { PipelineError::Shorter { partition, next, end } });
                }
                std::thread::sleep(RETRY);
                break;
            }
            self.outside = None;
            self.done.add(&self.done.reclaims, 1);
            at.push((self.place(partition), next));
            self.owned.insert(partition, Owned { held: true, published: position.next.unwrap_or(0), position: position.next });
        }
        group.read_from(&at).map_err(PipelineError::Fatal)
    }

    /// Takes records in, in the name of a member: publishes what comes out, and writes the online store.
    pub(super) fn round(&mut self, mut records: Vec<LogRecord>, member: &ConsumerGroupMetadata) -> Result<(), PipelineError> {
        let Some(outputs) = self.apply(&mut records)? else { return Ok(()) };
        let outputs: Vec<Output> =
            records.iter().zip(outputs).filter(|(record, _)| self.is_news(record)).flat_map(|(_, out)| flat(out)).collect();
        let due = self.is_due();
        if (!outputs.is_empty() || due) && !self.publish(&outputs, member)? {
            self.give_up();
            return Ok(());
        }
        match records.is_empty() {
            false => self.write()?,
            true if due => self.look_for_losses()?,
            true => {}
        }
        if due {
            self.told = Instant::now();
            *self.common.states.0.lock() = self.applier.states();
        }
        self.done.add(&self.done.read, records.len());
        Ok(())
    }

    /// Whether what comes out of a record has to be published.
    fn is_news(&self, record: &LogRecord) -> bool {
        self.owned.get(&(record.partition as i32)).is_some_and(|owned| record.offset >= owned.published)
    }

    /// `None` if told to stop first.
    fn apply(&mut self, records: &mut Vec<LogRecord>) -> Result<Option<Vec<Outputs>>, PipelineError> {
        while !self.done.is_stopping() {
            self.watchdog.seen();
            match self.applier.apply(records) {
                Ok(outputs) => return Ok(Some(outputs)),
                Err(ApplyError::Lost { partitions }) => {
                    records.retain(|record| !partitions.contains(&record.partition));
                    partitions.iter().for_each(|partition| self.let_go(*partition as i32));
                }
                Err(ApplyError::Online(error)) => wait_for_redis(&self.common, error)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// False if that has failed.
    fn publish(&mut self, outputs: &[Output], member: &ConsumerGroupMetadata) -> Result<bool, PipelineError> {
        let positions = self.positions();
        if positions.is_empty() && outputs.is_empty() {
            return Ok(true);
        }
        let Some(transactions) = self.slot.producer(&self.common.pipeline, &self.done, &self.watchdog) else { return Ok(false) };
        let sent = self.send(&transactions, outputs).and_then(|()| transactions.send_positions(&positions, member));
        match sent.and_then(|()| transactions.commit()) {
            Ok(()) => {
                self.done.add(&self.done.commits, 1);
                self.done.add(&self.done.published, outputs.len());
                self.done.status.well();
                for position in positions {
                    let Some(owned) = self.owned.get_mut(&position.partition) else { continue };
                    (owned.published, owned.position) = (owned.published.max(position.next.unwrap_or(0)), position.next);
                    self.done.status.reached(position.partition, owned.published, false);
                }
                Ok(true)
            }
            Err(broken) => self.slot.recover(&broken, &self.done).map(|_| false),
        }
    }

    fn send(&self, transactions: &Transactions, outputs: &[Output]) -> Result<(), Broken> {
        transactions.begin()?;
        let (late, windows) = (self.common.pipeline.topic("late"), self.common.pipeline.topic("windows"));
        for output in outputs {
            let (key, value) = (self.common.encode)(output);
            transactions.send(if matches!(output, Output::Closed(_)) { &windows } else { &late }, &key, &value)?;
        }
        Ok(())
    }

    /// Where each partition stands that is further than what was committed.
    fn positions(&self) -> Vec<Position> {
        let sources = &self.common.plan.definitions.sources;
        let position = |(partition, state): (usize, PartitionState)| {
            let owned = self.owned.get(&(partition as i32))?;
            // Never back: what was published is.
            let next = Some(state.next_offset.max(owned.published));
            let watermarks = sources.iter().zip(&state.watermarks).map(|(source, watermark)| (source.name.clone(), *watermark)).collect();
            let slowest = sources.iter().zip(state.held_back_by);
            let held_back_by = slowest.filter_map(|(source, slowest)| Some((source.name.clone(), slowest?))).collect();
            // Fails for maps whose keys are no text, of which there are none here.
            let note = serde_json::to_string(&ApplyNote { watermarks, held_back_by }).unwrap_or_default();
            (next != owned.position).then(|| Position { topic: self.common.pipeline.topic("log"), partition: partition as i32, next, note })
        };
        self.applier.states().into_iter().filter_map(position).collect()
    }

    /// A Redis that loses something while nothing comes would not be noticed by writing to it.
    fn look_for_losses(&mut self) -> Result<(), PipelineError> {
        match self.applier.lost() {
            Ok(lost) => lost.into_iter().for_each(|partition| self.let_go(partition as i32)),
            Err(error) => wait_for_redis(&self.common, error)?,
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), PipelineError> {
        let began = Instant::now();
        let written = self.applier.write();
        self.done.add(&self.done.writes, 1);
        self.done.add(&self.done.write_micros, began.elapsed().as_micros() as usize);
        match written {
            Ok(lost) => lost.into_iter().for_each(|partition| self.let_go(partition as i32)),
            Err(error) => {
                wait_for_redis(&self.common, error)?;
                self.give_up();
            }
        }
        Ok(())
    }
}

/// What is published of a record, in order.
fn flat(outputs: Outputs) -> impl Iterator<Item = Output> {
    outputs.late.into_iter().map(Output::Late).chain(outputs.closed.into_iter().map(Output::Closed))
}

/// What may pass is waited for.
fn wait_for_redis(common: &Common, error: OnlineError) -> Result<(), PipelineError> {
    match error {
        OnlineError::Timeout { .. } | OnlineError::Unavailable { .. } => {
            common.done.status.trouble(&error.to_string());
            std::thread::sleep(RETRY);
            Ok(())
        }
        _ => Err(error.into()),
    }
}
