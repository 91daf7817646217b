//! What route has gathered, on its way into the feature log: written and committed by another thread, while the next is gathered.
//!
//! One transaction holds what became of the records in each log partition, what was refused, the positions, and with them the
//! watermarks (T12). It is in the name of whoever we were when it departed: once the group has moved on, it fails.

use std::sync::Arc;

use floodmark_features::engine::EnginePlan;
use floodmark_features::feature_log::{Activity, BatchHead, encode_batch};
use floodmark_store::{Commit, Output};
use rdkafka::consumer::ConsumerGroupMetadata;

use super::executor::{Executor, Task};
use super::route::RouteNote;
use super::watchdog::Watchdog;
use crate::kafka::group::Position;
use crate::kafka::outbox::Encoder;
use crate::kafka::transactions::{Broken, Transactions};

/// What a partition has to say in a transaction.
pub(super) struct Turn {
    pub(super) head: BatchHead,
    pub(super) commit: Commit,
    /// Records that were gone, and are passed over.
    pub(super) skipped: u64,
}

/// Writes turns where they belong.
pub(super) struct Shipper {
    plan: Arc<EnginePlan>,
    encode: Encoder,
    log: String,
    rejects: String,
}

/// A transaction that is being written.
pub(super) struct Shipment(Task<Result<Vec<Turn>, Broken>>);

impl Shipper {
    /// Into the topics of these names.
    pub(super) fn new(plan: Arc<EnginePlan>, encode: Encoder, log: String, rejects: String) -> Shipper {
        Shipper { plan, encode, log, rejects }
    }

    /// Sends turns off. Nothing else may happen to the producer before they have arrived.
    pub(super) fn depart(
        self: Arc<Shipper>,
        executor: &Executor,
        transactions: Arc<Transactions>,
        member: Arc<ConsumerGroupMetadata>,
        turns: Vec<Turn>,
    ) -> Shipment {
        let carry = move || {
            let positions: Vec<Position> = turns.iter().map(Turn::position).collect();
            self.send(&transactions, &turns)?;
            transactions.send_positions(&positions, &member)?;
            transactions.commit().map(|()| turns)
        };
        Shipment(executor.begin(carry))
    }

    fn send(&self, transactions: &Transactions, turns: &[Turn]) -> Result<(), Broken> {
        transactions.begin()?;
        let mut record = Vec::new();
        for turn in turns {
            let key = turn.head.name_of(turn.head.partition);
            for (partition, sections) in turn.commit.partitions.iter().enumerate() {
                record.clear();
                encode_batch(&self.plan, &turn.head, &turn.commit.trail, sections, &mut record);
                transactions.send_to(&self.log, partition as i32, key.as_bytes(), &record)?;
            }
            for reject in &turn.commit.rejects {
                let (key, value) = (self.encode)(&Output::Rejected(reject.clone()));
                transactions.send(&self.rejects, &key, &value)?;
            }
        }
        Ok(())
    }
}

impl Shipment {
    /// Whether [`Shipment::arrive`] would not wait.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Waits for the end; what was sent, if it stands. `None` if it hangs.
    pub(super) fn arrive(self, watchdog: &Watchdog) -> Option<Result<Vec<Turn>, Broken>> {
        watchdog.wait_for(&self.0)
    }
}

impl Turn {
    /// The partition's number.
    pub(super) fn number(&self) -> i32 {
        self.head.partition as i32
    }

    fn position(&self) -> Position {
        let note = RouteNote { watermark: self.head.watermark, idle: self.head.activity != Activity::Active };
        // Fails for maps whose keys are no text, of which there are none here.
        let note = serde_json::to_string(&note).unwrap_or_default();
        Position { topic: self.head.topic.clone(), partition: self.number(), next: Some(self.head.offsets.end), note }
    }
}
