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
    /// A record holds something else.
    #[error("no place: {key}")]
    NoPlace { key: String },
}

/// The places in a topic of one partition, under keys. Where a key was never written, nothing was sent. Only right once nobody else can
/// write the keys.
pub(super) fn read(
    brokers: &Topic,
    topic: &str,
    keys: &BTreeMap<String, (OutputKind, usize)>,
    status: &Arc<Status>,
) -> Result<Places, Unread> {
    let client = |isolation: &str| -> KafkaResult<BaseConsumer<Told>> {
        consumer(brokers).set("isolation.level", isolation).create_with_context(Told(status.clone()))
    };
    let end = end_of(&client("read_uncommitted")?, topic)?;
    let client = client("read_committed")?;
    let began = Instant::now();
    loop {
        let stable = end_of(&client, topic)?;
        if stable >= end {
            break;
        }
        if began.elapsed() > ANSWER {
            return Err(Unread::Hidden { topic: topic.to_owned(), stable, end });
        }
        std::thread::sleep(LOOK);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    client.assign(&list)?;
    read_to_end(&client, keys)
}

/// As clients see it that read as this one does.
fn end_of(client: &BaseConsumer<Told>, topic: &str) -> KafkaResult<i64> {
    client.fetch_watermarks(topic, 0, ANSWER).map(|(_, end)| end)
}

fn read_to_end(client: &BaseConsumer<Told>, keys: &BTreeMap<String, (OutputKind, usize)>) -> Result<Places, Unread> {
    let mut next = Places::new();
    let began = Instant::now();
    loop {
        match client.poll(ANSWER) {
            Some(Ok(record)) => {
                let key = String::from_utf8_lossy(record.key().unwrap_or_default());
                let Some(of) = keys.get(key.as_ref()) else { continue };
                let place = record.payload().and_then(|place| std::str::from_utf8(place).ok()?.parse().ok());
                let place: u64 = place.ok_or_else(|| Unread::NoPlace { key: key.into_owned() })?;
                next.insert(*of, place);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(next),
            Some(Err(error)) if began.elapsed() > ANSWER => return Err(error.into()),
            None if began.elapsed() > ANSWER => {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into());
            }
            Some(Err(_)) | None => {}
        }
    }
}
