//! Reading a topic: from the positions that the store holds, record by record into batches, each partition in its own order.
//!
//! One thread polls, decodes, and hands batches to the writer, which holds it up when the disk is slow. It commits nothing at Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floodmark_features::definition;
use floodmark_features::watermark::SourceProgress;
use floodmark_intake::router::Router;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::client::{Told, cluster_of, consumer, no_answer};
use super::intake::{Intake, RETRY};
use super::status::{CUT_OFF, Status};
use super::topic::{Beside, Lost, Topic};
use crate::record::{Decoder, FormatError};
use crate::writer::{Feed, Gone};

/// Once a record has come, others are waited for so long before they are handed over together: a commit is an fsync.
const LINGER: Duration = Duration::from_millis(5);
/// While records come without a pause, so long: who is behind needs large batches.
const LONGEST: Duration = Duration::from_millis(40);
/// How long to wait for a record before looking whether anything else is to be done.
const POLL: Duration = Duration::from_millis(50);
/// How long a broker may take for a question.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a topic is asked for partitions that it did not have before.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(30);

/// Why a topic is no longer read. What was read before is kept, and a later start goes on there.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The properties make no client.
    #[error("the Kafka client cannot be made: {0}")]
    Client(KafkaError),
    /// The schema of its records cannot be had.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// There is no such topic, or no more.
    #[error("the topic is not there: make it, or correct its name. topic={topic} brokers={brokers}")]
    NoTopic {
        /// Its name.
        topic: String,
        /// Who was asked.
        brokers: String,
    },
    /// The positions belong to another cluster.
    #[error(
        "the store has read this topic from another Kafka cluster, whose positions mean nothing here: use a new store. topic={topic} brokers={brokers}"
    )]
    OtherCluster {
        /// Its name.
        topic: String,
        /// Who was asked.
        brokers: String,
    },
    /// Records are gone that were not read.
    #[error(
        "records are gone that were not read yet (the topic's retention): add ?lost=skip to go on without them. partition={partition} next={next} oldest={oldest}"
    )]
    Lost {
        /// Of which partition.
        partition: String,
        /// The first that was not read.
        next: u64,
        /// The oldest that is there.
        oldest: u64,
    },
    /// The partition is shorter than what was read of it.
    #[error(
        "the partition ends before what was read of it: the topic was made anew or cut; use a new store. partition={partition} next={next} end={end}"
    )]
    Shorter {
        /// Which.
        partition: String,
        /// The first that was not read.
        next: u64,
        /// Where it ends.
        end: u64,
    },
    /// The client cannot go on.
    #[error("the Kafka client has failed: {0}")]
    Fatal(KafkaError),
    /// The writer is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// Starts reading a topic into the source of a feed, until its writer is told to stop.
pub fn spawn(topic: Topic, feed: Feed) -> Result<(Arc<Status>, JoinHandle<Result<(), ConsumeError>>), ConsumeError> {
    let status = Arc::new(Status::default());
    let client = new_client(&topic, &status)?;
    let decoder = topic.format.decoder()?;
    let (store, source) = (feed.store(), feed.source());
    let beside = topic.beside_of(&store.definitions().sources[source])?;
    let required = Router::new(store.plan().clone(), source, store.partitions(), store.progress(source)).required();
    let progress = store.progress(source);
    let reader =
        Reader { topic, stopping: feed.stopping(), feed, status: status.clone(), decoder, required, beside, partitions: BTreeMap::new() };
    Ok((status, std::thread::spawn(move || reader.run(client, &progress))))
}

fn new_client(topic: &Topic, status: &Arc<Status>) -> Result<BaseConsumer<Told>, ConsumeError> {
    consumer(topic).create_with_context(Told(status.clone())).map_err(ConsumeError::Client)
}

/// What the reading thread holds.
struct Reader {
    topic: Topic,
    feed: Feed,
    stopping: watch::Receiver<bool>,
    status: Arc<Status>,
    decoder: Decoder,
    required: Vec<usize>,
    beside: Arc<[(Beside, usize)]>,
    partitions: BTreeMap<i32, Intake>,
}

/// Why the inner loop has stopped.
enum Left {
    Told,
    /// Positions are to be looked at afresh.
    Lost,
    /// The client is of no use any more.
    CutOff,
}

impl Reader {
    /// With one client after the other, where it must be.
    fn run(mut self, mut client: BaseConsumer<Told>, progress: &SourceProgress) -> Result<(), ConsumeError> {
        while let Left::CutOff = self.run_with(&client, progress)? {
            self.status.begin_anew();
            let useless = std::mem::replace(&mut client, new_client(&self.topic, &self.status)?);
            // It may wait for brokers that it does not know any more.
            std::thread::spawn(move || drop(useless));
        }
        Ok(())
    }

    fn run_with(&mut self, client: &BaseConsumer<Told>, progress: &SourceProgress) -> Result<Left, ConsumeError> {
        let Some(fingerprint) = self.fingerprint(client) else { return Ok(self.left()) };
        for known in progress.partitions() {
            let Some(number) = self.number_of(&known.name) else { continue };
            if known.fingerprint != fingerprint {
                return Err(ConsumeError::OtherCluster { topic: self.topic.name.clone(), brokers: self.topic.brokers.clone() });
            }
            // Those that another client has read are further than what was known at the start.
            if !self.partitions.contains_key(&number) {
                let partition = self.partition(number, known.next_offset);
                self.partitions.insert(number, partition);
            }
        }
        loop {
            let known: Vec<i32> = self.partitions.keys().copied().collect();
            if !self.find_partitions(client, fingerprint)? {
                return Ok(self.left());
            }
            for number in known {
                if !self.check(client, number)? {
                    return Ok(self.left());
                }
            }
            let all: Vec<i32> = self.partitions.keys().copied().collect();
            client.unassign().map_err(ConsumeError::Fatal)?;
            self.assign(client, &all)?;
            match self.read(client, fingerprint)? {
                Left::Lost => {}
                left => return Ok(left),
            }
        }
    }

    /// Why there was no answer.
    fn left(&self) -> Left {
        if self.told_to_stop() { Left::Told } else { Left::CutOff }
    }

    /// Until told to stop.
    fn read(&mut self, client: &BaseConsumer<Told>, fingerprint: u64) -> Result<Left, ConsumeError> {
        let mut looked = Instant::now();
        while !self.told_to_stop() {
            let lost = self.gather(client)?;
            self.hand_over()?;
            if lost {
                return Ok(Left::Lost);
            }
            if self.status.is_cut_off() {
                return Ok(Left::CutOff);
            }
            self.judge_ends(client)?;
            if looked.elapsed() >= LOOK_FOR_PARTITIONS {
                looked = Instant::now();
                let known: Vec<i32> = self.partitions.keys().copied().collect();
                if client.fetch_metadata(Some(&self.topic.name), ANSWER).is_ok() && self.find_partitions(client, fingerprint)? {
                    let new: Vec<i32> = self.partitions.keys().copied().filter(|number| !known.contains(number)).collect();
                    self.assign(client, &new)?;
                }
            }
        }
        Ok(Left::Told)
    }

    fn definition(&self) -> &definition::Source {
        &self.feed.store().definitions().sources[self.feed.source()]
    }

    fn told_to_stop(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Takes records until there are enough, or none has come for a while; true if positions are to be looked at afresh.
    fn gather(&mut self, client: &BaseConsumer<Told>) -> Result<bool, ConsumeError> {
        let (mut since, mut taken, mut wait): (Option<Instant>, u32, Duration) = (None, 0, POLL);
        loop {
            match client.poll(wait) {
                Some(Ok(message)) => {
                    let since = *since.get_or_insert_with(Instant::now);
                    taken += 1;
                    // The clock costs as much as a field of a record.
                    let is_time = || taken.is_multiple_of(64) && since.elapsed() >= LONGEST;
                    if self.take(&message) || is_time() {
                        return Ok(false);
                    }
                    wait = Duration::ZERO;
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    if let Some(partition) = self.partitions.get_mut(&number) {
                        partition.end.reached();
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(ConsumeError::Fatal(KafkaError::MessageConsumptionFatal(code)));
                }
                Some(Err(KafkaError::MessageConsumption(code))) if tells_of_loss(code) => return Ok(true),
                // A broker is away or a connection was cut: the client goes on by itself.
                Some(Err(error)) => self.status.trouble(&error.to_string()),
                None => {}
            }
            wait = since.map_or(Duration::ZERO, |since| LINGER.saturating_sub(since.elapsed()));
            if wait.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Decodes a record; true if nothing more is to be taken: its batch is full, or it is time to stop.
    fn take(&mut self, message: &BorrowedMessage<'_>) -> bool {
        let stopping = self.stopping.clone();
        let Some(partition) = self.partitions.get_mut(&message.partition()) else { return false };
        let taken = partition.take(message, &self.topic, &mut self.decoder, &self.status, || *stopping.borrow());
        !taken || partition.is_full()
    }

    /// Hands over what was gathered, each partition's records as one batch.
    fn hand_over(&mut self) -> Result<(), ConsumeError> {
        for (number, partition) in &mut self.partitions {
            let Some(batch) = partition.finish() else { continue };
            let (status, number, next) = (self.status.clone(), *number, partition.next);
            let oldest = batch.appended.iter().min().copied();
            let done = move |_: &floodmark_store::BatchReport, _| {
                status.well();
                status.reached(number, next, false);
                status.readable(oldest, crate::clock::now());
            };
            self.feed.take(&partition.name, batch, Box::new(done))?;
        }
        Ok(())
    }

    fn judge_ends(&mut self, client: &BaseConsumer<Told>) -> Result<(), ConsumeError> {
        let timeout = Duration::from_micros(u64::try_from(self.definition().idle_timeout.micros()).unwrap_or(0));
        for (number, partition) in &mut self.partitions {
            let ask = || client.fetch_watermarks(&self.topic.name, *number, ANSWER).ok().map(|(_, end)| end);
            if partition.end.becomes_idle(timeout, ask) {
                self.feed.idle(&partition.name)?;
                self.status.reached(*number, partition.next, true);
            }
        }
        Ok(())
    }

    /// What the positions belong to: the cluster and the topic. `None` if told to stop, or cut off, before a broker has answered.
    fn fingerprint(&self, client: &BaseConsumer<Told>) -> Option<u64> {
        let cluster = self.asked(|| cluster_of(client, &self.topic.name, ANSWER))?;
        Some(xxh3_64(format!("{cluster} {}", self.topic.name).as_bytes()))
    }

    /// Opens partitions that are not known yet. False if told to stop, or cut off, before a broker has answered.
    fn find_partitions(&mut self, client: &BaseConsumer<Told>, fingerprint: u64) -> Result<bool, ConsumeError> {
        let Some(metadata) = self.asked(|| client.fetch_metadata(Some(&self.topic.name), ANSWER).ok()) else { return Ok(false) };
        let found = metadata.topics().iter().find(|topic| topic.name() == self.topic.name);
        let Some(found) = found.filter(|topic| topic.error().is_none() && !topic.partitions().is_empty()) else {
            return Err(ConsumeError::NoTopic { topic: self.topic.name.clone(), brokers: self.topic.brokers.clone() });
        };
        let mut numbers: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
        numbers.sort_unstable();
        // All of them, before the first record of any: the watermark must wait for each.
        self.feed.open(numbers.iter().map(|number| self.topic.partition(*number)).collect(), fingerprint)?;
        for number in numbers {
            if !self.partitions.contains_key(&number) {
                let Some((oldest, _)) = self.ends(client, number) else { return Ok(false) };
                let partition = self.partition(number, oldest);
                self.partitions.insert(number, partition);
            }
        }
        Ok(true)
    }

    /// Whether what comes next of a partition is there. False if told to stop, or cut off, before a broker has answered.
    fn check(&mut self, client: &BaseConsumer<Told>, number: i32) -> Result<bool, ConsumeError> {
        let Some((oldest, end)) = self.ends(client, number) else { return Ok(false) };
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(true) };
        let (next, name) = (partition.next, || partition.name.clone());
        if next > end {
            return Err(ConsumeError::Shorter { partition: name(), next, end });
        }
        if next < oldest {
            // A partition of which nothing was read has lost nothing.
            if next > 0 && self.topic.lost == Lost::Stop {
                return Err(ConsumeError::Lost { partition: name(), next, oldest });
            }
            self.status.trouble(&format!("records are gone that were not read. partition={} records={}", partition.name, oldest - next));
            partition.next = oldest;
        }
        Ok(true)
    }

    /// The oldest offset of a partition and the one after the newest.
    fn ends(&self, client: &BaseConsumer<Told>, number: i32) -> Option<(u64, u64)> {
        let (oldest, end) = self.asked(|| client.fetch_watermarks(&self.topic.name, number, ANSWER).ok())?;
        Some((u64::try_from(oldest).unwrap_or(0), u64::try_from(end).unwrap_or(0)))
    }

    /// Asks until there is an answer; `None` if told to stop before, or if the client has none to give for so long that it is replaced.
    fn asked<T>(&self, ask: impl Fn() -> Option<T>) -> Option<T> {
        let began = Instant::now();
        loop {
            if self.told_to_stop() || began.elapsed() > CUT_OFF {
                return None;
            }
            if let Some(answer) = ask() {
                return Some(answer);
            }
            self.status.trouble(&no_answer(&self.topic));
            std::thread::sleep(RETRY);
        }
    }

    fn assign(&self, client: &BaseConsumer<Told>, numbers: &[i32]) -> Result<(), ConsumeError> {
        let mut list = TopicPartitionList::new();
        for number in numbers {
            let Some(partition) = self.partitions.get(number) else { continue };
            let offset = Offset::Offset(i64::try_from(partition.next).unwrap_or(i64::MAX));
            list.add_partition_offset(&self.topic.name, *number, offset).map_err(ConsumeError::Fatal)?;
            self.status.reached(*number, partition.next, false);
        }
        client.incremental_assign(&list).map_err(ConsumeError::Fatal)
    }

    fn partition(&self, number: i32, next: u64) -> Intake {
        Intake::new(self.topic.partition(number), next, self.definition(), &self.required, self.beside.clone())
    }

    /// The number of a partition of this topic, by its name.
    fn number_of(&self, name: &str) -> Option<i32> {
        name.strip_prefix(self.topic.name.as_str())?.strip_prefix('-')?.parse().ok()
    }
}

/// Whether positions are no longer in the topic, or it is gone.
pub(super) fn tells_of_loss(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    matches!(code, AutoOffsetReset | OffsetOutOfRange | UnknownPartition | UnknownTopic | UnknownTopicOrPartition)
}
