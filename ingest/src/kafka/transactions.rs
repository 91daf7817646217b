//! Kafka transactions, as five calls: begin, send, send positions, commit, abort. Nothing else of the house touches a transactional producer.
//!
//! What is sent is delivered before a transaction ends either way. A commit would else wait in steps of 100 ms, and an abort that
//! races the registration of a partition is fatal to the producer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::{Told, producer};
use super::group::{Position, as_list};
use super::status::Status;
use super::topic::Topic;

/// How long any single step may take; a broker that is away for longer makes a new producer necessary.
const STEP: Duration = Duration::from_secs(20);
/// How often delivery reports are asked for while they are waited for.
const REPORTS: Duration = Duration::from_millis(1);
/// How often the same commit is asked for again where that is allowed.
const COMMITS: usize = 3;

/// What has to happen before going on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Nothing of the transaction will be seen: [`Transactions::abort`], and do it again.
    #[error("{0}")]
    Abort(KafkaError),
    /// What became of the transaction is not known, or the producer is of no use: throw it away, make another under the same id, and
    /// only then look how far it had come.
    #[error("{0}")]
    Rebuild(KafkaError),
}

impl Broken {
    /// Whether another producer has the id now, or the transaction took longer than it may: the two look the same.
    pub(super) fn is_fenced(&self) -> bool {
        let (Broken::Abort(error) | Broken::Rebuild(error)) = self;
        error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fenced)
    }
}

/// A producer under a transactional id: it alone, of all that have had the id, can commit.
pub(super) struct Transactions {
    producer: BaseProducer<Told>,
}

impl Transactions {
    /// Makes the producer; whoever had the id before is fenced, and what they left open is aborted.
    pub(super) fn start(topic: &Topic, id: &str, status: &Arc<Status>) -> Result<Transactions, KafkaError> {
        let producer: BaseProducer<Told> = producer(topic, id).create_with_context(Told(status.clone()))?;
        producer.init_transactions(STEP)?;
        Ok(Transactions { producer })
    }

    pub(super) fn begin(&self) -> Result<(), Broken> {
        self.producer.begin_transaction().map_err(Broken::of)
    }

    pub(super) fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), Broken> {
        self.queue(BaseRecord::to(topic).key(key).payload(value))
    }

    fn queue(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), Broken> {
        let began = Instant::now();
        while let Err((error, back)) = self.producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) || began.elapsed() > STEP {
                return Err(Broken::of(error));
            }
            self.producer.poll(Duration::from_millis(1));
            record = back;
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// The same to a partition of that number.
    pub(super) fn send_to(&self, topic: &str, partition: i32, key: &[u8], value: &[u8]) -> Result<(), Broken> {
        self.queue(BaseRecord::to(topic).partition(partition).key(key).payload(value))
    }

    /// How far a consumer group has come is part of the transaction, and the transaction fails if the group has moved on meanwhile:
    /// who was taken for dead has no part in it any more.
    pub(super) fn send_positions(&self, positions: &[Position], member: &ConsumerGroupMetadata) -> Result<(), Broken> {
        let list = as_list(positions).map_err(Broken::Rebuild)?;
        let mut tried = 0;
        loop {
            tried += 1;
            match self.producer.send_offsets_to_transaction(&list, member, STEP) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && tried < COMMITS => {}
                Err(error) => return Err(Broken::of(error)),
            }
        }
    }

    /// After this, readers see all of it.
    pub(super) fn commit(&self) -> Result<(), Broken> {
        self.deliver()?;
        let mut tried = 0;
        loop {
            tried += 1;
            match self.producer.commit_transaction(STEP) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && tried < COMMITS => {}
                Err(error) => return Err(Broken::of(error)),
            }
        }
    }

    /// After this, readers see nothing of it.
    pub(super) fn abort(&self) -> Result<(), Broken> {
        self.deliver()?;
        self.producer.abort_transaction(STEP).map_err(Broken::Rebuild)
    }

    fn deliver(&self) -> Result<(), Broken> {
        let began = Instant::now();
        while self.producer.in_flight_count() > 0 {
            if began.elapsed() > STEP {
                return Err(Broken::Rebuild(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)));
            }
            self.producer.poll(REPORTS);
        }
        Ok(())
    }
}

impl Broken {
    fn of(error: KafkaError) -> Broken {
        match &error {
            KafkaError::Transaction(inner) if inner.txn_requires_abort() => Broken::Abort(error),
            // A record that cannot be queued: the transaction is whole, and of no use.
            KafkaError::MessageProduction(code) if *code != RDKafkaErrorCode::Fatal => Broken::Abort(error),
            _ => Broken::Rebuild(error),
        }
    }
}
