//! The pipeline over several processes: route turns topics into a feature log, apply turns the log into an online store.
//!
//! ```text
//!   TOPIC ... ──► route (group PREFIX.route) ──► PREFIX.log ──► apply (group PREFIX.apply) ──► Redis
//!                     └─► PREFIX.rejects                            └─► PREFIX.late, PREFIX.windows
//! ```
//!
//! Each worker of a role has some partitions, as the role's consumer group shares them out. What it produces and how far it has read
//! are one transaction, so either both are seen or neither; and the group refuses the positions of a worker that it has taken for dead.
//! A worker's transactional id is its own, so that whoever starts in its place ends what it has left open.

mod apply;
mod executor;
mod keeper;
mod route;
mod shipment;
mod slot;
pub mod standing;
mod watchdog;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use floodmark_store::redis::{ApplyError, OnlineError};
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::KafkaError;

pub use apply::{Apply, ApplySettings, States};
pub use route::{Route, RouteInput};
pub use standing::{LogStanding, SourceStanding};

use super::client::make_topics;
use super::intake::RETRY;
use super::status::{CUT_OFF, Status};
use super::topic::Topic;
use crate::record::FormatError;
use watchdog::Watchdog;

/// A broker that has just come back, or leads a partition only now, may know less of it than it will; after so long it will not know more.
const UNSURE: Duration = Duration::from_secs(30);
/// What is said where another thread is given up.
const HANGS: &str = "a call into the Kafka client does not come back";
/// Committed positions may be held for as long as the transaction of whoever had them before may last.
const HELD: Duration = Duration::from_secs(75);
/// No record of the feature log is larger, in bytes.
const MAX_LOG_RECORD: &str = "64000000";

/// Which pipeline a worker is of, and which of its workers it is.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Where its topics are; the topic's name is what their names begin with.
    pub prefix: Topic,
    /// The worker's name, its own among those of its role: the next to start under it takes its place.
    pub worker: String,
    /// How often what was read is committed: half of it is how long an event waits on average.
    pub commit_interval: Duration,
    /// So many partitions has the feature log where it is not there yet.
    pub log_partitions: i32,
}

/// Why a worker has stopped. What was committed is kept, and the next one goes on there.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The properties make no client.
    #[error("the Kafka client cannot be made: {0}")]
    Client(KafkaError),
    /// The client cannot go on.
    #[error("the Kafka client has failed: {0}")]
    Fatal(KafkaError),
    /// The schema of records cannot be had.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// There is no such topic.
    #[error("the topic is not there: make it, or correct its name. topic={topic} brokers={brokers}")]
    NoTopic {
        /// Its name.
        topic: String,
        /// Who was asked.
        brokers: String,
    },
    /// The brokers cannot be asked.
    #[error("the brokers cannot be asked: {0}")]
    NoAnswer(String),
    /// Records are gone that were not read.
    #[error(
        "records are gone that were not read yet (the topic's retention). partition={partition} next={next} oldest={oldest}; for a source topic, add ?lost=skip to go on without them"
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
        "the partition ends before what was read of it: the topic was made anew or cut; start a new pipeline, with another prefix. partition={partition} next={next} end={end}"
    )]
    Shorter {
        /// Which.
        partition: String,
        /// The first that was not read.
        next: u64,
        /// Where it ends.
        end: u64,
    },
    /// Two workers have one name.
    #[error(
        "another worker runs under this name, and each of the two ends the transactions of the other: give every worker of a role its own --worker. worker={worker} role={role}"
    )]
    TwoOfAName {
        /// The name.
        worker: String,
        /// The role.
        role: &'static str,
    },
    /// The log was written for other definitions.
    #[error(
        "the feature log was routed by other definitions: run route and apply with the same file, and a new pipeline for changed views. log={log} partition={partition} offset={offset}"
    )]
    OtherDefinitions {
        /// The log's topic.
        log: String,
        /// Its partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
    },
    /// A record of the log cannot be read.
    #[error("the feature log holds what is no record of it: {reason}. log={log} partition={partition} offset={offset}")]
    Damaged {
        /// The log's topic.
        log: String,
        /// Its partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// The log or the online store is not what it should be.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The online store holds something else.
    #[error(transparent)]
    Online(#[from] OnlineError),
    /// A call into the client library did not come back.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why a worker has left off.
enum Left {
    /// It was told to.
    Told,
    /// A client is of no use any more: it begins anew, as another process would.
    CutOff,
}

/// What a worker has done since it started.
#[derive(Debug, Default)]
pub struct Done {
    /// Records taken in, by route of its sources, by apply of the log.
    pub read: AtomicU64,
    /// Records that were refused.
    pub rejected: AtomicU64,
    /// Records that were gone before they were read, and were passed over.
    pub skipped: AtomicU64,
    /// Late events and closed windows that were published.
    pub published: AtomicU64,
    /// Transactions that were committed.
    pub commits: AtomicU64,
    /// Transactions that were aborted, and done again.
    pub aborts: AtomicU64,
    /// Producers that were thrown away for another one.
    pub rebuilds: AtomicU64,
    /// Changes of which partitions are ours.
    pub rebalances: AtomicU64,
    /// Partitions that are ours.
    pub partitions: AtomicU64,
    /// Partitions of Redis that had to be taken over again.
    pub reclaims: AtomicU64,
    /// Time that writing to Redis took, in microseconds.
    pub write_micros: AtomicU64,
    /// Writes to Redis.
    pub writes: AtomicU64,
    /// What the clients have to say.
    pub status: Arc<Status>,
    stopping: AtomicBool,
}

impl Done {
    /// Asks the worker to finish what it has begun, and end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Why somebody leaves off who had no answer.
    fn left(&self) -> Left {
        if self.is_stopping() { Left::Told } else { Left::CutOff }
    }

    /// Asks a client until there is an answer; `None` if told to stop before, or if it has had none to give for so long that it is to be
    /// replaced, which is then [said](Status::cut_off).
    fn asked<T, E: Display>(&self, patience: Duration, watchdog: &Watchdog, ask: impl FnMut() -> Result<T, E>) -> Option<T> {
        let answer = self.asked_until(Some(Instant::now() + patience), watchdog, ask);
        if answer.is_none() && !self.is_stopping() {
            self.status.cut_off();
        }
        answer
    }

    /// The same for who makes a client each time.
    fn until_there<T>(&self, watchdog: &Watchdog, ask: impl FnMut() -> Result<T, KafkaError>) -> Option<T> {
        self.asked_until(None, watchdog, ask)
    }

    fn asked_until<T, E: Display>(&self, until: Option<Instant>, watchdog: &Watchdog, mut ask: impl FnMut() -> Result<T, E>) -> Option<T> {
        while !self.is_stopping() && until.is_none_or(|until| Instant::now() < until) {
            watchdog.seen();
            match ask() {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    self.status.trouble(&error.to_string());
                    std::thread::sleep(RETRY);
                }
            }
        }
        None
    }

    fn add(&self, to: &AtomicU64, count: usize) {
        to.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Pipeline {
    /// For whoever only looks at it.
    pub fn of(prefix: Topic) -> Pipeline {
        Pipeline { prefix, worker: String::new(), commit_interval: Duration::ZERO, log_partitions: 0 }
    }

    /// The topic of that suffix.
    pub fn topic(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.prefix.name)
    }

    fn no_topic(&self, topic: &str) -> PipelineError {
        PipelineError::NoTopic { topic: topic.to_owned(), brokers: self.prefix.brokers.clone() }
    }

    /// Makes the topics that are not there; those that are stay as they are.
    fn make_topics(&self, status: &Arc<Status>) -> Result<(), KafkaError> {
        let [log, rejects, late, windows] = ["log", "rejects", "late", "windows"].map(|suffix| self.topic(suffix));
        // -1: as many replicas, or partitions, as the brokers think right. The log is what Redis is made from: it keeps all.
        let log = NewTopic::new(&log, self.log_partitions, TopicReplication::Fixed(-1))
            .set("retention.ms", "-1")
            .set("max.message.bytes", MAX_LOG_RECORD);
        let side = [&rejects, &late, &windows].map(|name| NewTopic::new(name, -1, TopicReplication::Fixed(-1)));
        make_topics(&self.prefix, side.iter().chain([&log]), status)
    }
}
