//! Route: the partitions of a source's topic that are ours, record by record, into the feature log.
//!
//! Records are gathered for an interval, while what was gathered before is on its way as one [`Shipment`]. A partition can be taken away at
//! any time: what was gathered of it is forgotten, a shipment under way is let arrive, and where that fails, its next owner reads again
//! from the position that stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use floodmark_features::definition;
use floodmark_features::engine::EnginePlan;
use floodmark_features::feature_log::{Activity, BatchHead};
use floodmark_features::time::Time;
use floodmark_features::watermark::{SourceProgress, by_clock};
use floodmark_intake::batch::SourceBatch;
use floodmark_intake::router::Router;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};

use super::executor::Executor;
use super::shipment::{Shipment, Shipper, Turn};
use super::slot::Slot;
use super::watchdog::{Watchdog, end_process};
use super::{CUT_OFF, Done, HANGS, HELD, Left, Pipeline, PipelineError, UNSURE};
use crate::kafka::client::GATHERED;
use crate::kafka::consume::tells_of_loss;
use crate::kafka::group::{Change, Group, Place, Position, Unsaid};
use crate::kafka::intake::Intake;
use crate::kafka::outbox::Encoder;
use crate::kafka::topic::{Beside, Lost, Topic};
use crate::record::Decoder;

/// How long to wait for a record before looking whether anything else is to be done.
const POLL: Duration = Duration::from_millis(50);

/// The same where a shipment may arrive meanwhile.
const UNDER_WAY: Duration = Duration::from_millis(2);

/// So long after its last record a partition says once more where it stands. Log partitions may get the last batches of several workers in
/// different orders, and readers see only what all of them have: a batch without records is what they need to have it all.
const SETTLE: Duration = Duration::from_millis(100);

/// What is routed.
pub struct RouteInput {
    /// Position in the definitions' sources.
    pub source: usize,
    /// Where its records are.
    pub topic: Topic,
}

/// A worker that routes.
pub struct Route {
    pipeline: Pipeline,
    plan: Arc<EnginePlan>,
    definitions: u64,
    input: RouteInput,
    shipper: Arc<Shipper>,
    executor: Executor,
    under_way: Option<Shipment>,
    done: Arc<Done>,
    slot: Slot,
    decoder: Decoder,
    required: Vec<usize>,
    beside: Arc<[(Beside, usize)]>,
    owned: BTreeMap<i32, Owned>,
    /// How many partitions the topic has.
    partitions: usize,
    log_partitions: usize,
}

/// A partition that is ours.
struct Owned {
    intake: Intake,
    router: Router,
    /// The offset that the next batch begins with, in the log's eyes.
    from: u64,
    /// Records that are gone since then: the next batch passes over them.
    skipped: u64,
    /// When it was last said that the partition is idle.
    idle_since: Option<Instant>,
    /// When records were routed last, until that is settled.
    unsettled: Option<Instant>,
}

/// What is committed with a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RouteNote {
    /// The partition's watermark, in microseconds.
    pub(super) watermark: Time,
    /// Whether it was idle.
    pub(super) idle: bool,
}

impl Route {
    /// A worker for one source. The definitions of `plan` decide what becomes of its records.
    pub fn new(pipeline: Pipeline, plan: Arc<EnginePlan>, input: RouteInput, encode: Encoder) -> Result<Route, PipelineError> {
        let definitions = plan.definitions.fingerprint();
        let source = &plan.definitions.sources[input.source];
        let (decoder, beside) = (input.topic.format.decoder()?, input.topic.beside_of(source)?);
        let required = Router::new(plan.clone(), input.source, 1, SourceProgress::new(source.max_out_of_orderness)).required();
        let slot = Slot::new(&pipeline, "route", Some(&source.name));
        let shipper = Arc::new(Shipper::new(plan.clone(), encode, pipeline.topic("log"), pipeline.topic("rejects")));
        let (done, owned) = (Arc::new(Done::default()), BTreeMap::new());
        let mut route = Route {
            pipeline,
            plan,
            definitions,
            input,
            shipper,
            executor: Executor::new("shipment")?,
            under_way: None,
            done,
            slot,
            decoder,
            required,
            beside,
            owned,
            partitions: 0,
            log_partitions: 0,
        };
        // What all its clients are told is the pipeline's.
        route.input.topic.properties = route.pipeline.prefix.properties.clone();
        Ok(route)
    }

    /// What it does, for whoever looks at it, and stops it.
    pub fn done(&self) -> Arc<Done> {
        self.done.clone()
    }

    fn source(&self) -> &definition::Source {
        &self.plan.definitions.sources[self.input.source]
    }

    /// Until told to stop.
    pub fn run(mut self) -> Result<(), PipelineError> {
        let watchdog = &Watchdog::start(end_process)?;
        let Some(()) = self.done.until_there(watchdog, || self.pipeline.make_topics(&self.done.status)) else { return Ok(()) };
        while let Left::CutOff = self.work(watchdog)? {
            self.begin_anew()?;
        }
        Ok(())
    }

    /// As another process would in our place, which ends what we have left open.
    fn begin_anew(&mut self) -> Result<(), PipelineError> {
        (self.executor, self.under_way) = (Executor::new("shipment")?, None);
        self.slot.give_up(&self.done);
        self.owned.clear();
        self.done.partitions.store(0, Ordering::Relaxed);
        self.done.status.begin_anew();
        Ok(())
    }

    /// As a member of the group, with one client.
    fn work(&mut self, watchdog: &Watchdog) -> Result<Left, PipelineError> {
        // Before anything is read: whoever had the name before can commit nothing any more.
        if self.slot.producer(&self.pipeline, &self.done, watchdog).is_none() {
            return Ok(Left::Told);
        }
        let group = format!("{}.route.{}", self.pipeline.prefix.name, self.source().name);
        let mut group = Group::join(&self.input.topic, &group, &[&self.input.topic.name], GATHERED, &self.done.status)
            .map_err(PipelineError::Client)?;
        let left = self.work_in(&mut group, watchdog);
        match left {
            Ok(Left::CutOff) => group.abandon(),
            _ => group.leave(),
        }
        left
    }

    fn work_in(&mut self, group: &mut Group, watchdog: &Watchdog) -> Result<Left, PipelineError> {
        let counts = self.done.asked(CUT_OFF, watchdog, || self.count_partitions(group));
        let Some(counts) = counts else { return Ok(self.done.left()) };
        (self.partitions, self.log_partitions) = counts;
        for (count, topic) in [(self.partitions, self.input.topic.name.clone()), (self.log_partitions, self.pipeline.topic("log"))] {
            if count == 0 {
                return Err(self.pipeline.no_topic(&topic));
            }
        }
        while !self.done.is_stopping() {
            let mut lost = self.serve_changes(group, watchdog)? || self.gather(group, watchdog)?;
            if !group.has_changes() {
                lost |= self.arrive(watchdog)?;
                if !lost {
                    self.depart(group, watchdog)?;
                }
            }
            if lost {
                self.arrive(watchdog)?;
                let places: Vec<Place> = self.owned.keys().map(|number| self.place(*number)).collect();
                self.place_at_committed(group, &places, false, watchdog)?;
            }
            if self.done.status.is_cut_off() {
                self.arrive(watchdog)?;
                return Ok(Left::CutOff);
            }
        }
        self.arrive(watchdog).map(|_| Left::Told)
    }

    fn count_partitions(&self, group: &Group) -> Result<(usize, usize), KafkaError> {
        Ok((group.partitions_of(&self.input.topic.name)?, group.partitions_of(&self.pipeline.topic("log"))?))
    }

    fn place(&self, number: i32) -> Place {
        (self.input.topic.name.clone(), number)
    }

    /// What is ours changes only when nothing is under way. True if that has failed, and positions are to be looked at afresh.
    fn serve_changes(&mut self, group: &mut Group, watchdog: &Watchdog) -> Result<bool, PipelineError> {
        // Before anything is waited for: who we are is known for a moment only.
        let changes = group.changes();
        let lost = !changes.is_empty() && self.arrive(watchdog)?;
        for change in changes {
            self.change(group, change, watchdog)?;
        }
        Ok(lost)
    }

    fn change(&mut self, group: &mut Group, change: Change, watchdog: &Watchdog) -> Result<(), PipelineError> {
        self.done.add(&self.done.rebalances, 1);
        match change {
            Change::Taken(places) => places.iter().for_each(|(_, number)| {
                self.owned.remove(number);
                self.done.status.gone(*number);
            }),
            Change::Given(places) => self.place_at_committed(group, &places, true, watchdog)?,
        }
        self.done.partitions.store(self.owned.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Begins at what was committed, whatever was gathered; `given` if these partitions are new to us.
    fn place_at_committed(&mut self, group: &mut Group, places: &[Place], given: bool, watchdog: &Watchdog) -> Result<(), PipelineError> {
        // A failed transaction may have left no producer; what it had committed stands only once there is another.
        if self.slot.producer(&self.pipeline, &self.done, watchdog).is_none() {
            return Ok(());
        }
        let began = Instant::now();
        let (topic, known) = (&self.input.topic.name, self.partitions);
        let ends = || places.iter().map(|place| group.ends(place)).collect::<Result<Vec<(u64, u64)>, KafkaError>>();
        let Some(_) = self.done.asked(CUT_OFF, watchdog, ends) else { return Ok(()) };
        let found = self.done.asked(HELD, watchdog, || {
            let ends = ends()?;
            let partitions = known.max(group.partitions_of(topic)?);
            let positions = group.committed(places)?;
            let outside = |next: u64, (oldest, end): &(u64, u64)| next < *oldest || next > *end;
            let any_outside = positions.iter().zip(&ends).any(|(position, ends)| position.next.is_some_and(|next| outside(next, ends)));
            match any_outside && began.elapsed() < UNSURE {
                true => Err(Unsaid::Other(KafkaError::OffsetFetch(RDKafkaErrorCode::OffsetOutOfRange))),
                false => Ok((positions, ends, partitions)),
            }
        });
        let Some((positions, ends, partitions)) = found else { return Ok(()) };
        self.partitions = partitions;
        let mut at = Vec::new();
        for (position, (oldest, end)) in positions.into_iter().zip(ends) {
            let number = position.partition;
            if let Some(next) = position.next.filter(|next| *next > end) {
                return Err(PipelineError::Shorter { partition: self.input.topic.partition(number), next, end });
            }
            let owned = self.resume(position, oldest)?;
            self.done.status.reached(number, owned.intake.next, false);
            at.push((self.place(number), owned.intake.next));
            self.owned.insert(number, owned);
        }
        let placed = if given { group.assign(&at) } else { group.read_from(&at) };
        placed.map_err(PipelineError::Fatal)
    }

    fn resume(&self, position: Position, oldest: u64) -> Result<Owned, PipelineError> {
        let name = self.input.topic.partition(position.partition);
        // Of a partition of which nothing was read, nothing is lost.
        let from = position.next.unwrap_or(oldest);
        if from < oldest && self.input.topic.lost == Lost::Stop {
            return Err(PipelineError::Lost { partition: name, next: from, oldest });
        }
        let mut progress = SourceProgress::new(self.source().max_out_of_orderness);
        let at = progress.open(&name);
        // No note: somebody has set the position by hand, or there is none yet.
        let note = serde_json::from_str::<RouteNote>(&position.note).ok();
        if let Some(note) = &note {
            progress.tell(at, note.watermark);
        }
        let unsettled = note.filter(|note| !note.idle).map(|_| Instant::now());
        progress.partition_mut(at).next_offset = from;
        let router = Router::new(self.plan.clone(), self.input.source, self.log_partitions, progress).alone(position.partition as u64);
        let intake = Intake::new(name, from.max(oldest), self.source(), &self.required, self.beside.clone());
        Ok(Owned { intake, router, from, skipped: oldest.saturating_sub(from), idle_since: None, unsettled })
    }

    /// Takes records for an interval from the first on, and as long as the last shipment is under way. True if positions are to be looked
    /// at afresh.
    fn gather(&mut self, group: &mut Group, watchdog: &Watchdog) -> Result<bool, PipelineError> {
        let (mut until, mut seen, mut wait): (Option<Instant>, u32, Duration) = (None, 0, POLL);
        loop {
            match group.poll(wait) {
                Some(Ok(message)) => {
                    let until = *until.get_or_insert_with(|| Instant::now() + self.pipeline.commit_interval);
                    (seen, wait) = (seen.wrapping_add(1), Duration::ZERO);
                    let Some(owned) = self.owned.get_mut(&message.partition()) else { continue };
                    let done = &self.done;
                    let taken = owned.intake.take(&message, &self.input.topic, &mut self.decoder, &done.status, || done.is_stopping());
                    let full = owned.intake.is_full();
                    // The clock costs as much as a field of a record.
                    let is_time = || seen.is_multiple_of(64) && Instant::now() >= until && self.can_depart(watchdog);
                    if !taken || full || group.has_changes() || is_time() {
                        return Ok(false);
                    }
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    if let Some(owned) = self.owned.get_mut(&number) {
                        owned.intake.end.reached();
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(PipelineError::Fatal(KafkaError::MessageConsumptionFatal(code)));
                }
                Some(Err(KafkaError::MessageConsumption(code))) if tells_of_loss(code) => return Ok(true),
                // A broker is away or a connection was cut: the client goes on by itself.
                Some(Err(error)) => self.done.status.trouble(&error.to_string()),
                None => {}
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            wait = left.unwrap_or_default().min(POLL);
            if wait.is_zero() && !self.can_depart(watchdog) {
                wait = UNDER_WAY;
            }
            if wait.is_zero() || group.has_changes() || self.done.is_stopping() {
                return Ok(false);
            }
        }
    }

    /// Whether nothing is under way any more, or what is will not arrive.
    fn can_depart(&self, watchdog: &Watchdog) -> bool {
        self.under_way.as_ref().is_none_or(Shipment::is_over) || watchdog.is_hung()
    }

    /// Sends off what was gathered.
    fn depart(&mut self, group: &Group, watchdog: &Watchdog) -> Result<(), PipelineError> {
        // While partitions move nothing is committed; it is as long as the others need to hear of it.
        let Some(member) = group.member() else { return Ok(()) };
        let turns = self.turns(group);
        if turns.is_empty() {
            return Ok(());
        }
        let Some(transactions) = self.slot.producer(&self.pipeline, &self.done, watchdog) else { return Ok(()) };
        watchdog.seen();
        self.under_way = Some(self.shipper.clone().depart(&self.executor, transactions, member, turns));
        Ok(())
    }

    /// Waits for what is under way. True if it has failed: it has to be read again.
    fn arrive(&mut self, watchdog: &Watchdog) -> Result<bool, PipelineError> {
        let Some(shipment) = self.under_way.take() else {
            watchdog.seen();
            return Ok(false);
        };
        let arrived = shipment.arrive(watchdog);
        // Not before: it is a shipment that may hang.
        watchdog.seen();
        match arrived {
            None => {
                self.done.status.trouble(HANGS);
                self.done.status.cut_off();
                Ok(true)
            }
            Some(Ok(turns)) => {
                self.committed(&turns);
                Ok(false)
            }
            Some(Err(broken)) => self.slot.recover(&broken, &self.done).map(|_| true),
        }
    }

    /// What was gathered, routed; and partitions that have become idle.
    fn turns(&mut self, group: &Group) -> Vec<Turn> {
        let now = crate::clock::now();
        let numbers: Vec<i32> = self.owned.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.turn(number, group, now)).collect()
    }

    fn turn(&mut self, number: i32, group: &Group, now: Time) -> Option<Turn> {
        let place = self.place(number);
        let definition = &self.plan.definitions.sources[self.input.source];
        let timeout = Duration::from_micros(u64::try_from(definition.idle_timeout.micros()).unwrap_or(0));
        let clock = by_clock(definition.when_all_idle, now, definition.idle_timeout, definition.max_out_of_orderness);
        let owned = self.owned.get_mut(&number)?;
        let before = owned.router.progress().watermark_of(0);
        let batch = owned.intake.finish();
        let becomes_idle = batch.is_none()
            && owned.intake.end.becomes_idle(timeout, || group.ends(&place).ok().and_then(|(_, end)| i64::try_from(end).ok()));
        // The clock goes on while nothing comes.
        let again = clock > Time::NONE && batch.is_none() && owned.idle_since.is_some_and(|since| since.elapsed() >= timeout.max(POLL));
        let settles = owned.unsettled.is_some_and(|since| since.elapsed() >= SETTLE);
        let activity = match (&batch, becomes_idle || again) {
            (Some(_), _) => Activity::Active,
            (None, true) => Activity::Idle { clock },
            (None, false) if settles => Activity::Active,
            (None, false) => return None,
        };
        owned.idle_since = (activity != Activity::Active).then(Instant::now);
        owned.unsettled = batch.is_some().then(Instant::now);
        let batch = batch.unwrap_or_else(|| owned.nothing(definition));
        let commit = owned.router.route(&batch, 0, now);
        let head = BatchHead {
            definitions: self.definitions,
            source: self.input.source,
            topic: self.input.topic.name.clone(),
            partition: number as usize,
            partitions: self.partitions,
            offsets: std::mem::replace(&mut owned.from, batch.end)..batch.end,
            stamp: u64::try_from(now.micros()).unwrap_or(0),
            before,
            watermark: owned.router.progress().watermark_of(0),
            activity,
        };
        Some(Turn { head, commit, skipped: std::mem::take(&mut owned.skipped) })
    }

    fn committed(&self, turns: &[Turn]) {
        self.done.add(&self.done.commits, 1);
        self.done.status.well();
        for turn in turns {
            self.done.add(&self.done.read, turn.commit.read as usize);
            self.done.add(&self.done.rejected, turn.commit.rejects.len());
            self.done.add(&self.done.skipped, turn.skipped as usize);
            self.done.status.reached(turn.number(), turn.head.offsets.end, turn.head.activity != Activity::Active);
        }
    }
}

impl Owned {
    /// A batch without records, where we stand.
    fn nothing(&self, source: &definition::Source) -> SourceBatch {
        SourceBatch {
            columns: arrow::array::RecordBatch::new_empty(floodmark_intake::columns::arrow_schema(&source.schema)),
            offsets: floodmark_intake::offsets::Offsets::default(),
            appended: Vec::new(),
            rejects: Vec::new(),
            end: self.intake.next,
        }
    }
}
