//! Appending pushed events to the topic of their source: the broker has them before a producer hears so, and whoever reads the topic
//! judges them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::client::{self, appender};
use super::status::Status;
use super::topic::Topic;

/// How long to wait before a full queue is tried again.
const QUEUE_RETRY: Duration = Duration::from_millis(2);
/// When it ends, so long is waited for what is on its way.
const LAST: Duration = Duration::from_secs(5);

/// Appends to one topic; shared by all who push.
pub struct Appender {
    topic: Topic,
    producer: ThreadedProducer<Told, NoCustomPartitioner>,
}

/// Records of one batch that the broker has not confirmed yet.
struct Batch {
    left: AtomicUsize,
    tell: Mutex<Option<oneshot::Sender<Result<(), KafkaError>>>>,
}

impl Batch {
    fn settle(&self, outcome: Result<(), KafkaError>) {
        let last = self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        // The first failure is told at once; else the last success.
        if (outcome.is_err() || last)
            && let Some(tell) = self.tell.lock().take()
        {
            // A producer that has gone away needs no answer.
            let _ = tell.send(outcome);
        }
    }
}

struct Told(client::Told);

impl ClientContext for Told {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        self.0.hear_log(message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.hear(&error, reason);
    }
}

impl ProducerContext for Told {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, batch: Arc<Batch>) {
        batch.settle(delivered.as_ref().map(|_| ()).map_err(|(error, _)| error.clone()));
    }
}

impl Appender {
    /// Trouble is told to the status of the topic.
    pub fn new(topic: &Topic, status: Arc<Status>) -> Result<Appender, KafkaError> {
        let producer = appender(topic).create_with_context(Told(client::Told(status)))?;
        Ok(Appender { topic: topic.clone(), producer })
    }

    /// Appends records, in their order; those of one key go to one partition. An error says that some may be there and some not: sent
    /// again, those that are there are duplicates by their event ids.
    pub async fn append(&self, key: &str, records: &[String]) -> Result<(), KafkaError> {
        if records.is_empty() {
            return Ok(());
        }
        let (tell, told) = oneshot::channel();
        let batch = Arc::new(Batch { left: AtomicUsize::new(records.len()), tell: Mutex::new(Some(tell)) });
        for (at, record) in records.iter().enumerate() {
            if let Err(error) = self.send(key, record, &batch).await {
                // Those that were not sent have no report to come.
                batch.left.fetch_sub(records.len() - at - 1, Ordering::AcqRel);
                batch.settle(Err(error));
                break;
            }
        }
        told.await.unwrap_or(Err(KafkaError::Canceled))
    }

    async fn send(&self, key: &str, record: &str, batch: &Arc<Batch>) -> Result<(), KafkaError> {
        loop {
            let mut next = BaseRecord::with_opaque_to(&self.topic.name, batch.clone()).payload(record);
            if !key.is_empty() {
                next = next.key(key);
            }
            match self.producer.send(next) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => tokio::time::sleep(QUEUE_RETRY).await,
                Err((error, _)) => return Err(error),
            }
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // What was not confirmed by then, its producer was told nothing of, and sends again.
        let _ = self.producer.flush(LAST);
    }
}
