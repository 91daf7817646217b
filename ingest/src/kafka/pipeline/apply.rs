//! Apply: the partitions of the feature log that are ours, into the online store; late events and closed windows out to topics.
//!
//! What comes out of a batch is published first, in one transaction with the position; then the store is written, where the log's offset
//! stands beside the timelines. So whatever happens in between, the store is never ahead of what was published: whoever takes over
//! begins where the store is, comes to the same outputs, and publishes those from the committed position on. Where Redis has lost what it
//! had acknowledged, that is the same thing again, from further back.
//!
//! The records of a round are taken in by a [`Keeper`] on another thread, while those of the next are read and decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floodmark_features::codec::Damaged;
use floodmark_features::engine::EnginePlan;
use floodmark_features::feature_log::{RoutedBatch, decode_batch, definitions_of};
use floodmark_features::key::partition_of;
use floodmark_store::redis::{LogRecord, PartitionState, RedisSettings};
use parking_lot::Mutex;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use xxhash_rust::xxh3::xxh3_64;

use super::executor::{Executor, Task};
use super::keeper::Keeper;
use super::slot::Slot;
use super::watchdog::{Watchdog, end_process};
use super::{CUT_OFF, Done, HANGS, Left, Pipeline, PipelineError};
use crate::kafka::client::AT_ONCE;
use crate::kafka::consume::tells_of_loss;
use crate::kafka::group::{Change, Group};
use crate::kafka::outbox::Encoder;

/// How long to wait for a record before looking whether anything else is to be done.
const POLL: Duration = Duration::from_millis(20);
/// The same while a round may come to its end.
const ROUND: Duration = Duration::from_millis(1);
/// Records of the log in one round at most.
const MOST_RECORDS: usize = 256;
/// And so many bytes, about.
const MOST_BYTES: usize = 8 << 20;

/// Where the online store is.
pub struct ApplySettings {
    /// Redis.
    pub online: RedisSettings,
    /// Timelines in memory may take this much, in bytes.
    pub memory_budget: usize,
}

/// A worker that applies.
pub struct Apply(Arc<Common>);

/// What reading and keeping have in common.
pub(super) struct Common {
    pub(super) pipeline: Pipeline,
    pub(super) plan: Arc<EnginePlan>,
    pub(super) settings: ApplySettings,
    pub(super) encode: Encoder,
    pub(super) done: Arc<Done>,
    pub(super) states: Arc<States>,
}

type Round = Task<Result<(), PipelineError>>;

/// Reads the log, round by round.
struct Reader {
    common: Arc<Common>,
    definitions: u64,
    log_partitions: usize,
    group: Group,
    keeper: Arc<Mutex<Keeper>>,
    watchdog: Arc<Watchdog>,
    executor: Executor,
    /// The keeper is at it.
    round: Option<Round>,
    /// Partitions whose records are wanted.
    wanted: BTreeSet<usize>,
    /// Records that were read and not taken in yet.
    waiting: Vec<LogRecord>,
    waiting_bytes: usize,
}

/// How far each of a worker's partitions has come, about a second ago.
#[derive(Debug, Default)]
pub struct States(pub(super) Mutex<BTreeMap<usize, PartitionState>>);

impl States {
    /// By number of the log's partition.
    pub fn all(&self) -> BTreeMap<usize, PartitionState> {
        self.0.lock().clone()
    }
}

impl Apply {
    /// A worker for the definitions of `plan`.
    pub fn new(pipeline: Pipeline, plan: Arc<EnginePlan>, settings: ApplySettings, encode: Encoder) -> Apply {
        Apply(Arc::new(Common { pipeline, plan, settings, encode, done: Arc::default(), states: Arc::default() }))
    }

    /// What it does, for whoever looks at it, and stops it.
    pub fn done(&self) -> Arc<Done> {
        self.0.done.clone()
    }

    /// How far each of its partitions has come.
    pub fn states(&self) -> Arc<States> {
        self.0.states.clone()
    }

    /// Until told to stop.
    pub fn run(self) -> Result<(), PipelineError> {
        let (common, watchdog) = (self.0, Arc::new(Watchdog::start(end_process)?));
        let made = common.done.until_there(&watchdog, || common.pipeline.make_topics(&common.done.status));
        while made.is_some() {
            if let Some(reader) = Reader::start(common.clone(), watchdog.clone())?
                && let Left::Told = reader.run()?
            {
                break;
            }
            if common.done.is_stopping() {
                break;
            }
            // As another process would in our place, which ends what we have left open.
            common.done.partitions.store(0, Ordering::Relaxed);
            common.done.status.begin_anew();
        }
        Ok(())
    }
}

impl Reader {
    /// `None` if told to stop first, or cut off.
    fn start(common: Arc<Common>, watchdog: Arc<Watchdog>) -> Result<Option<Reader>, PipelineError> {
        let Common { pipeline, done, .. } = &*common;
        let log = pipeline.topic("log");
        // Before anything is read: whoever had the name before can commit nothing any more.
        let mut slot = Slot::new(pipeline, "apply", None);
        if slot.producer(pipeline, done, &watchdog).is_none() {
            return Ok(None);
        }
        let group = format!("{}.apply", pipeline.prefix.name);
        let group = Group::join(&pipeline.prefix, &group, &[&log], AT_ONCE, &done.status).map_err(PipelineError::Client)?;
        let found = done.asked(CUT_OFF, &watchdog, || Ok::<_, KafkaError>((group.partitions_of(&log)?, group.cluster(&log)?)));
        let Some((log_partitions, cluster)) = found else {
            group.abandon();
            return Ok(None);
        };
        if log_partitions == 0 {
            return Err(pipeline.no_topic(&log));
        }
        let log = xxh3_64(format!("{cluster} {log}").as_bytes());
        let Some(keeper) = Keeper::open(common.clone(), slot, watchdog.clone(), log_partitions, log)? else { return Ok(None) };
        Ok(Some(Reader {
            definitions: common.plan.definitions.fingerprint(),
            common,
            log_partitions,
            group,
            keeper: Arc::new(Mutex::new(keeper)),
            watchdog,
            executor: Executor::new("keeper")?,
            round: None,
            wanted: BTreeSet::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
        }))
    }

    fn run(mut self) -> Result<Left, PipelineError> {
        let left = self.read();
        match left {
            Ok(Left::CutOff) => self.group.abandon(),
            _ => self.group.leave(),
        }
        left
    }

    fn read(&mut self) -> Result<Left, PipelineError> {
        while !self.common.done.is_stopping() {
            let lost = self.gather()?;
            // Before anything is waited for: who we are is known for a moment only.
            let changes = self.group.changes();
            if self.end_round()? {
                self.look_around(changes, lost)?;
            }
            if self.common.done.status.is_cut_off() {
                self.end_round()?;
                return Ok(Left::CutOff);
            }
            // While partitions move nothing can be published; it is as long as the others need to hear of it.
            if !self.group.has_changes()
                && let Some(member) = self.group.member()
            {
                self.begin_round(member);
            }
        }
        self.end_round().map(|_| Left::Told)
    }

    /// What was gathered is the keeper's.
    fn begin_round(&mut self, member: Arc<ConsumerGroupMetadata>) {
        if self.waiting.is_empty() && !self.keeper.lock().is_due() {
            return;
        }
        let (keeper, records) = (self.keeper.clone(), std::mem::take(&mut self.waiting));
        self.waiting_bytes = 0;
        let round = move || keeper.lock().round(records, &member);
        self.watchdog.seen();
        self.round = Some(self.executor.begin(round));
    }

    /// False if it hangs.
    fn end_round(&mut self) -> Result<bool, PipelineError> {
        let ended = self.round.take().map_or(Some(Ok(())), |round| self.watchdog.wait_for(&round));
        // Not before: it is a round that may hang.
        self.watchdog.seen();
        if ended.is_none() {
            self.common.done.status.trouble(HANGS);
            self.common.done.status.cut_off();
        }
        ended.map_or(Ok(false), |ended| ended.map(|()| true))
    }

    /// Between rounds: which partitions are ours, and whether the keeper has each of them.
    fn look_around(&mut self, changes: Vec<Change>, lost: bool) -> Result<(), PipelineError> {
        let mut keeper = self.keeper.lock();
        if lost {
            keeper.give_up();
        }
        for change in changes {
            keeper.change(&mut self.group, change)?;
        }
        // What was read of partitions that the keeper has let go comes again.
        self.waiting.retain(|record| keeper.has(record.partition));
        if self.waiting.is_empty() {
            self.waiting_bytes = 0;
        }
        keeper.take_over(&self.group)?;
        self.wanted = keeper.partitions();
        Ok(())
    }

    /// Takes records until there are enough, or none is at hand and the keeper is done. True if positions are to be looked at afresh.
    fn gather(&mut self) -> Result<bool, PipelineError> {
        let mut wait = if is_on(self.round.as_ref(), &self.watchdog) { ROUND } else { POLL };
        loop {
            match self.group.poll(wait) {
                Some(Ok(message)) => {
                    wait = Duration::ZERO;
                    let partition = message.partition() as usize;
                    if self.wanted.contains(&partition) {
                        let value = message.payload().unwrap_or_default();
                        let batch = decode(&self.common, self.definitions, self.log_partitions, &message)?;
                        let offset = u64::try_from(message.offset()).unwrap_or(0);
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
                Some(Err(error)) => self.common.done.status.trouble(&error.to_string()),
                None if is_on(self.round.as_ref(), &self.watchdog) => wait = ROUND,
                None => return Ok(false),
            }
            if self.waiting.len() >= MOST_RECORDS || self.waiting_bytes >= MOST_BYTES || self.group.has_changes() {
                return Ok(false);
            }
        }
    }
}

/// Whether the keeper is at it, and will come to an end.
fn is_on(round: Option<&Round>, watchdog: &Watchdog) -> bool {
    round.is_some_and(|round| !round.is_over()) && !watchdog.is_hung()
}

/// What a record of a log of so many partitions says, which was routed by those definitions.
fn decode(common: &Common, definitions: u64, log_partitions: usize, message: &BorrowedMessage<'_>) -> Result<RoutedBatch, PipelineError> {
    let (partition, offset, value) = (message.partition(), message.offset(), message.payload().unwrap_or_default());
    let log = || common.pipeline.topic("log");
    let damaged = |damage: Damaged| PipelineError::Damaged { log: log(), partition, offset, reason: damage.to_string() };
    if definitions_of(value).map_err(damaged)? != definitions {
        return Err(PipelineError::OtherDefinitions { log: log(), partition, offset });
    }
    let batch = decode_batch(&common.plan, value).map_err(damaged)?;
    let is_here = |hash: &u64| partition_of(*hash, log_partitions) == partition as usize;
    if !batch.sections.iter().all(|(_, section)| section.hashes.iter().all(is_here)) {
        // Whoever has routed it counted the partitions of the log when it had another number of them.
        return Err(damaged(Damaged { what: "its rows are of another partition; the log's partitions must stay as many as they were" }));
    }
    Ok(batch)
}
