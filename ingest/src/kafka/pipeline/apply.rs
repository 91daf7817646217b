//! Apply: the partitions of the feature log that are ours, into the online store; late events and closed windows out to topics.
//!
//! What comes out of a batch is published first, in one transaction with the position; then the store is written, where the log's offset
//! stands beside the timelines. So whatever happens in between, the store is never ahead of what was published: whoever takes over
//! begins where the store is, comes to the same outputs, and publishes those from the committed position on. Where Redis has lost what it
//! had acknowledged, that is the same thing again, from further back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use floodmark_features::codec::Damaged;
use floodmark_features::engine::{EnginePlan, Outputs};
use floodmark_features::feature_log::{RoutedBatch, decode_batch, definitions_of};
use floodmark_features::key::partition_of;
use floodmark_features::time::Time;
use floodmark_store::Output;
use floodmark_store::redis::{Applier, ApplyError, LogRecord, OnlineError, PartitionState, RedisSettings};
use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::slot::Slot;
use super::watchdog::{Watchdog, end_process};
use super::{Done, Pipeline, PipelineError, UNSURE};
use crate::kafka::consume::tells_of_loss;
use crate::kafka::group::{Change, Group, Place, Position};
use crate::kafka::intake::RETRY;
use crate::kafka::outbox::Encoder;
use crate::kafka::transactions::{Broken, Transactions};

/// How long to wait for a record before looking whether anything else is to be done.
const POLL: Duration = Duration::from_millis(20);
/// Records of the log in one round at most.
const MOST_RECORDS: usize = 256;
/// And so many bytes, about.
const MOST_BYTES: usize = 8 << 20;
/// Where nothing is published, positions are committed this often, for whoever looks at them.
const POSITIONS: Duration = Duration::from_secs(1);

/// Where the online store is.
pub struct ApplySettings {
    /// Redis.
    pub online: RedisSettings,
    /// Timelines in memory may take this much, in bytes.
    pub memory_budget: usize,
}

/// A worker that applies.
pub struct Apply {
    pipeline: Pipeline,
    plan: Arc<EnginePlan>,
    definitions: u64,
    settings: ApplySettings,
    encode: Encoder,
    done: Arc<Done>,
    states: Arc<States>,
    slot: Slot,
    log_partitions: usize,
    owned: BTreeMap<i32, Owned>,
    /// Records that were read and not applied yet.
    waiting: Vec<LogRecord>,
    waiting_bytes: usize,
    /// When positions were committed last.
    told: Instant,
    /// Since when the log does not have what comes next.
    outside: Option<Instant>,
}

/// How far each of a worker's partitions has come, about a second ago.
#[derive(Debug, Default)]
pub struct States(Mutex<BTreeMap<usize, PartitionState>>);

impl States {
    /// By number of the log's partition.
    pub fn all(&self) -> BTreeMap<usize, PartitionState> {
        self.0.lock().clone()
    }
}

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

impl Apply {
    /// A worker for the definitions of `plan`.
    pub fn new(pipeline: Pipeline, plan: Arc<EnginePlan>, settings: ApplySettings, encode: Encoder) -> Apply {
        Apply {
            slot: Slot::new(&pipeline, "apply", None),
            definitions: plan.definitions.fingerprint(),
            pipeline,
            plan,
            settings,
            encode,
            done: Arc::default(),
            states: Arc::default(),
            log_partitions: 0,
            owned: BTreeMap::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            told: Instant::now(),
            outside: None,
        }
    }

    /// What it does, for whoever looks at it, and stops it.
    pub fn done(&self) -> Arc<Done> {
        self.done.clone()
    }

    /// How far each of its partitions has come.
    pub fn states(&self) -> Arc<States> {
        self.states.clone()
    }

    /// Until told to stop.
    pub fn run(mut self) -> Result<(), PipelineError> {
        let watchdog = &Watchdog::start(end_process)?;
        let log = self.pipeline.topic("log");
        let Some(()) = self.done.until_there(watchdog, || self.pipeline.make_topics(&self.done.status)) else { return Ok(()) };
        // Before anything is read: whoever had the name before can commit nothing any more.
        if self.slot.producer(&self.pipeline, &self.done, watchdog).is_none() {
            return Ok(());
        }
        let group = format!("{}.apply", self.pipeline.prefix.name);
        let mut group = Group::join(&self.pipeline.prefix, &group, &[&log], &self.done.status).map_err(PipelineError::Client)?;
        let Some(found) = self.done.until_there(watchdog, || Ok((group.partitions_of(&log)?, group.cluster()?))) else { return Ok(()) };
        let cluster = found.1;
        self.log_partitions = found.0;
        if self.log_partitions == 0 {
            return Err(self.pipeline.no_topic(&log));
        }
        let Some(mut applier) = self.open(xxh3_64(format!("{cluster} {log}").as_bytes()), watchdog)? else { return Ok(()) };
        while !self.done.is_stopping() {
            watchdog.seen();
            for change in group.changes() {
                self.change(&mut group, &mut applier, change, watchdog)?;
            }
            self.take_over(&group, &mut applier, watchdog)?;
            if self.gather(&mut group)? {
                self.give_up(&mut applier);
            }
            // While partitions move nothing can be published; it is as long as the others need to hear of it.
            if !group.has_changes() && group.member().is_some() {
                self.round(&group, &mut applier, watchdog)?;
            }
        }
        Ok(())
    }

    fn open(&self, log: u64, watchdog: &Watchdog) -> Result<Option<Applier>, PipelineError> {
        while !self.done.is_stopping() {
            watchdog.seen();
            match Applier::open(&self.settings.online, self.plan.clone(), self.log_partitions, log, self.settings.memory_budget) {
                Ok(applier) => return Ok(Some(applier)),
                Err(error) => self.wait_for_redis(error)?,
            }
        }
        Ok(None)
    }

    /// What may pass is waited for.
    fn wait_for_redis(&self, error: OnlineError) -> Result<(), PipelineError> {
        match error {
            OnlineError::Timeout { .. } | OnlineError::Unavailable { .. } => {
                self.done.status.trouble(&error.to_string());
                std::thread::sleep(RETRY);
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    fn place(&self, partition: i32) -> Place {
        (self.pipeline.topic("log"), partition)
    }

    fn change(&mut self, group: &mut Group, applier: &mut Applier, change: Change, watchdog: &Watchdog) -> Result<(), PipelineError> {
        self.done.add(&self.done.rebalances, 1);
        match change {
            Change::Taken(places) => {
                for (_, partition) in places {
                    self.owned.remove(&partition);
                    self.let_go(applier, partition);
                    self.done.status.gone(partition);
                }
            }
            Change::Given(places) => {
                // Where each is to be read is known once its place in the online store is.
                let Some(ends) = self.ends(group, &places, watchdog) else { return Ok(()) };
                let at: Vec<(Place, u64)> = places.iter().cloned().zip(ends.iter().map(|(_, end)| *end)).collect();
                self.owned.extend(places.iter().map(|(_, partition)| (*partition, Owned::default())));
                group.assign(&at).map_err(PipelineError::Fatal)?;
            }
        }
        self.done.partitions.store(self.owned.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The oldest offset of each partition, and the one after the newest.
    fn ends(&self, group: &Group, places: &[Place], watchdog: &Watchdog) -> Option<Vec<(u64, u64)>> {
        self.done.until_there(watchdog, || places.iter().map(|place| group.ends(place)).collect())
    }

    /// A partition's timelines are no longer in memory, nor what was read for them.
    fn let_go(&mut self, applier: &mut Applier, partition: i32) {
        applier.release(partition as usize);
        self.waiting.retain(|record| record.partition != partition as usize);
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.held = false;
        }
    }

    /// What became of a transaction or of a write is not known: all partitions are looked at afresh.
    fn give_up(&mut self, applier: &mut Applier) {
        let held: Vec<i32> = self.owned.keys().copied().collect();
        held.into_iter().for_each(|partition| self.let_go(applier, partition));
        (self.waiting_bytes, self.told) = (0, Instant::now());
    }

    /// Takes partitions over in the online store that are ours only in the log, and reads the log from there.
    fn take_over(&mut self, group: &Group, applier: &mut Applier, watchdog: &Watchdog) -> Result<(), PipelineError> {
        let places: Vec<Place> = self.owned.iter().filter(|(_, owned)| !owned.held).map(|(at, _)| self.place(*at)).collect();
        if places.is_empty() {
            return Ok(());
        }
        // A failed transaction may have left no producer; what it had committed stands only once there is another.
        if self.slot.producer(&self.pipeline, &self.done, watchdog).is_none() {
            return Ok(());
        }
        let Some(positions) = self.done.until_there(watchdog, || group.committed(&places)) else { return Ok(()) };
        let Some(ends) = self.ends(group, &places, watchdog) else { return Ok(()) };
        let mut at = Vec::new();
        for (position, (oldest, end)) in positions.into_iter().zip(ends) {
            let partition = position.partition;
            let next = match applier.take_over(partition as usize) {
                Ok(next) => next,
                Err(error) => {
                    self.wait_for_redis(error)?;
                    break;
                }
            };
            if next < oldest || next > end {
                // Not ours yet: it is looked at again, for a broker may not know everything at once.
                applier.release(partition as usize);
                let since = *self.outside.get_or_insert_with(Instant::now);
                if since.elapsed() > UNSURE {
                    let partition = format!("{}-{partition}", self.pipeline.topic("log"));
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

    /// Takes records until there are enough, or none is at hand. True if positions are to be looked at afresh.
    fn gather(&mut self, group: &mut Group) -> Result<bool, PipelineError> {
        let mut wait = POLL;
        loop {
            match group.poll(wait) {
                Some(Ok(message)) => {
                    wait = Duration::ZERO;
                    if self.owned.get(&message.partition()).is_some_and(|owned| owned.held) {
                        let value = message.payload().unwrap_or_default();
                        let batch = self.decode(message.partition(), message.offset(), value)?;
                        let (partition, offset) = (message.partition() as usize, u64::try_from(message.offset()).unwrap_or(0));
                        self.waiting_bytes += value.len();
                        self.waiting.push(LogRecord { partition, offset, batch });
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => wait = Duration::ZERO,
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(PipelineError::Fatal(KafkaError::MessageConsumptionFatal(code)));
                }
                Some(Err(KafkaError::MessageConsumption(code))) if tells_of_loss(code) => return Ok(true),
                // A broker is away or a connection was cut: the client goes on by itself.
                Some(Err(error)) => self.done.status.trouble(&error.to_string()),
                None => return Ok(false),
            }
            if self.waiting.len() >= MOST_RECORDS || self.waiting_bytes >= MOST_BYTES || group.has_changes() {
                return Ok(false);
            }
        }
    }

    fn decode(&self, partition: i32, offset: i64, value: &[u8]) -> Result<RoutedBatch, PipelineError> {
        let log = || self.pipeline.topic("log");
        let damaged = |damage: Damaged| PipelineError::Damaged { log: log(), partition, offset, reason: damage.to_string() };
        if definitions_of(value).map_err(damaged)? != self.definitions {
            return Err(PipelineError::OtherDefinitions { log: log(), partition, offset });
        }
        let batch = decode_batch(&self.plan, value).map_err(damaged)?;
        let is_here = |hash: &u64| partition_of(*hash, self.log_partitions) == partition as usize;
        if !batch.sections.iter().all(|(_, section)| section.hashes.iter().all(is_here)) {
            // Whoever has routed it counted the partitions of the log when it had another number of them.
            return Err(damaged(Damaged {
                what: "its rows are of another partition; the log's partitions must stay as many as they were",
            }));
        }
        Ok(batch)
    }

    /// Applies what was gathered, publishes what comes out, and writes the online store.
    fn round(&mut self, group: &Group, applier: &mut Applier, watchdog: &Watchdog) -> Result<(), PipelineError> {
        let mut records = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let Some(outputs) = self.apply(applier, &mut records, watchdog)? else { return Ok(()) };
        let outputs: Vec<Output> =
            records.iter().zip(outputs).filter(|(record, _)| self.is_news(record)).flat_map(|(_, out)| flat(out)).collect();
        let due = self.told.elapsed() >= POSITIONS;
        if (!outputs.is_empty() || due) && !self.publish(group, applier, &outputs, watchdog)? {
            self.give_up(applier);
            return Ok(());
        }
        match records.is_empty() {
            false => self.write(applier)?,
            true if due => self.look_for_losses(applier)?,
            true => {}
        }
        if due {
            self.told = Instant::now();
            *self.states.0.lock() = applier.states();
        }
        self.done.add(&self.done.read, records.len());
        Ok(())
    }

    /// Whether what comes out of a record has to be published.
    fn is_news(&self, record: &LogRecord) -> bool {
        self.owned.get(&(record.partition as i32)).is_some_and(|owned| record.offset >= owned.published)
    }

    /// `None` if told to stop first.
    fn apply(
        &mut self,
        applier: &mut Applier,
        records: &mut Vec<LogRecord>,
        watchdog: &Watchdog,
    ) -> Result<Option<Vec<Outputs>>, PipelineError> {
        while !self.done.is_stopping() {
            watchdog.seen();
            match applier.apply(records) {
                Ok(outputs) => return Ok(Some(outputs)),
                Err(ApplyError::Lost { partitions }) => {
                    records.retain(|record| !partitions.contains(&record.partition));
                    partitions.iter().for_each(|partition| self.let_go(applier, *partition as i32));
                }
                Err(ApplyError::Online(error)) => self.wait_for_redis(error)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// False if that has failed.
    fn publish(&mut self, group: &Group, applier: &Applier, outputs: &[Output], watchdog: &Watchdog) -> Result<bool, PipelineError> {
        let Some(member) = group.member() else { return Ok(false) };
        let positions = self.positions(applier);
        if positions.is_empty() && outputs.is_empty() {
            return Ok(true);
        }
        let Some(transactions) = self.slot.producer(&self.pipeline, &self.done, watchdog) else { return Ok(false) };
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
        let (late, windows) = (self.pipeline.topic("late"), self.pipeline.topic("windows"));
        for output in outputs {
            let (key, value) = (self.encode)(output);
            transactions.send(if matches!(output, Output::Closed(_)) { &windows } else { &late }, &key, &value)?;
        }
        Ok(())
    }

    /// Where each partition stands that is further than what was committed.
    fn positions(&self, applier: &Applier) -> Vec<Position> {
        let sources = &self.plan.definitions.sources;
        let position = |(partition, state): (usize, PartitionState)| {
            let owned = self.owned.get(&(partition as i32))?;
            // Never back: what was published is.
            let next = Some(state.next_offset.max(owned.published));
            let watermarks = sources.iter().zip(&state.watermarks).map(|(source, watermark)| (source.name.clone(), *watermark)).collect();
            let slowest = sources.iter().zip(state.held_back_by);
            let held_back_by = slowest.filter_map(|(source, slowest)| Some((source.name.clone(), slowest?))).collect();
            // Fails for maps whose keys are no text, of which there are none here.
            let note = serde_json::to_string(&ApplyNote { watermarks, held_back_by }).unwrap_or_default();
            (next != owned.position).then(|| Position { topic: self.pipeline.topic("log"), partition: partition as i32, next, note })
        };
        applier.states().into_iter().filter_map(position).collect()
    }

    /// A Redis that loses something while nothing comes would not be noticed by writing to it.
    fn look_for_losses(&mut self, applier: &mut Applier) -> Result<(), PipelineError> {
        match applier.lost() {
            Ok(lost) => lost.into_iter().for_each(|partition| self.let_go(applier, partition as i32)),
            Err(error) => self.wait_for_redis(error)?,
        }
        Ok(())
    }

    fn write(&mut self, applier: &mut Applier) -> Result<(), PipelineError> {
        let began = Instant::now();
        let written = applier.write();
        self.done.add(&self.done.writes, 1);
        self.done.add(&self.done.write_micros, began.elapsed().as_micros() as usize);
        match written {
            Ok(lost) => lost.into_iter().for_each(|partition| self.let_go(applier, partition as i32)),
            Err(error) => {
                self.wait_for_redis(error)?;
                self.give_up(applier);
            }
        }
        Ok(())
    }
}

/// What is published of a record, in order.
fn flat(outputs: Outputs) -> impl Iterator<Item = Output> {
    outputs.late.into_iter().map(Output::Late).chain(outputs.closed.into_iter().map(Output::Closed))
}
