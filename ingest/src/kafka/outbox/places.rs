//! Where an outbox goes on: the places that were committed last, read from the topic of progress.
//!
//! Several stores may share the topic, each with transactions of its own. Readers of committed records see nothing behind the first
//! transaction that is open, whoever's it is; so what is hidden is waited for. Taken for the end it would be sent twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_store::OutputKind;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::ANSWER;
use crate::kafka::client::{Told, consumer};
use crate::kafka::status::Status;
use crate::kafka::topic::Topic;

/// How long to wait before it is looked again whether an open transaction has ended.
const LOOK: Duration = Duration::from_millis(20);

/// For each kind and source, the place of the next output.
pub(super) type Places = BTreeMap<(OutputKind, usize), u64>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// Kafka gives none; it may later.
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    /// It has one behind a transaction that does not end.
    #[error(
        "a transaction on the topic of progress is open and hides what comes after it: if it does not end, kafka-transactions.sh find-hanging finds it. topic={topic} readable={stable} end={end}"
    )]
    Hidden { topic: String, stable: i64, end: i64 },
    /// The topic does not keep them.
    #[error("{0}")]
    NotKept(String),
    /// A record holds something else.
    #[error("no place: {key}")]
    NoPlace { key: String },
    /// There is no time for it any more.
    #[error("it is time to end")]
    Ending,
}

/// The topic, and what it is asked for.
pub(super) struct Progress<'a> {
    /// Where it is.
    pub(super) brokers: &'a Topic,
    /// What it is called.
    pub(super) topic: &'a str,
    /// The keys of the places.
    pub(super) keys: BTreeMap<String, (OutputKind, usize)>,
    /// What its clients complain of.
    pub(super) status: &'a Arc<Status>,
}

impl Progress<'_> {
    /// The places. Where a key was never written, nothing was sent. Only right once nobody else can write the keys. Gives up as soon as it
    /// `is_over`.
    pub(super) fn read(&self, is_over: impl Fn() -> bool) -> Result<Places, Unread> {
        let client = self.client("read_uncommitted")?;
        self.check(&client)?;
        let (oldest, end) = self.ends(&client)?;
        if oldest >= end {
            return Ok(Places::new());
        }
        let client = self.client("read_committed")?;
        let began = Instant::now();
        loop {
            let (_, stable) = self.ends(&client)?;
            if stable >= end {
                break;
            }
            if is_over() {
                return Err(Unread::Ending);
            }
            if began.elapsed() > ANSWER {
                return Err(Unread::Hidden { topic: self.topic.to_owned(), stable, end });
            }
            std::thread::sleep(LOOK);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, 0, Offset::Beginning)?;
        client.assign(&list)?;
        self.read_to(end, &client, is_over)
    }

    fn client(&self, isolation: &str) -> KafkaResult<BaseConsumer<Told>> {
        let mut config = consumer(self.brokers);
        // Ends and records from the same broker: a replica nearby may lag behind the leader.
        config.set("isolation.level", isolation).set("client.rack", "");
        config.create_with_context(Told(self.status.clone()))
    }

    /// One partition holds all places.
    fn check(&self, client: &BaseConsumer<Told>) -> Result<(), Unread> {
        let metadata = client.fetch_metadata(Some(self.topic), ANSWER)?;
        let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
        if partitions > 1 {
            let why = "the topic of progress has to have one partition: delete it, it is made anew, and outputs are sent once more";
            return Err(Unread::NotKept(format!("{why}. topic={} partitions={partitions}", self.topic)));
        }
        Ok(())
    }

    /// The oldest offset and the one after the newest, as clients see it that read as this one does.
    fn ends(&self, client: &BaseConsumer<Told>) -> KafkaResult<(i64, i64)> {
        client.fetch_watermarks(self.topic, 0, ANSWER)
    }

    /// Reads up to an offset, or to where nothing more comes though the client is as far.
    fn read_to(&self, end: i64, client: &BaseConsumer<Told>, is_over: impl Fn() -> bool) -> Result<Places, Unread> {
        let mut next = Places::new();
        let began = Instant::now();
        loop {
            let polled = client.poll(LOOK);
            let timed_out = began.elapsed() > ANSWER;
            match polled {
                Some(Ok(record)) => {
                    let key = String::from_utf8_lossy(record.key().unwrap_or_default());
                    if let Some(of) = self.keys.get(key.as_ref()) {
                        let place = record.payload().and_then(|place| std::str::from_utf8(place).ok()?.parse().ok());
                        next.insert(*of, place.ok_or_else(|| Unread::NoPlace { key: key.into_owned() })?);
                    }
                    // Others may go on writing: what they write after that is not ours.
                    if record.offset() + 1 >= end {
                        return Ok(next);
                    }
                }
                // Records of transactions that were aborted are passed over, and so are the marks.
                Some(Err(KafkaError::PartitionEOF(_))) if position(client)? >= end => return Ok(next),
                Some(Err(KafkaError::PartitionEOF(_))) | None if timed_out => {
                    return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into());
                }
                Some(Err(error)) if timed_out => return Err(error.into()),
                Some(Err(_)) | None => {}
            }
            if is_over() {
                return Err(Unread::Ending);
            }
        }
    }
}

/// The offset that the client reads next.
fn position(client: &BaseConsumer<Told>) -> KafkaResult<i64> {
    let positions = client.position()?;
    Ok(positions.elements().first().and_then(|element| element.offset().to_raw()).unwrap_or(-1))
}
