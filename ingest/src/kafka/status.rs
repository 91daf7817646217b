//! How far a topic has been read: for operators, kept by whoever reads it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use floodmark_features::time::Time;
use parking_lot::Mutex;
use rdkafka::statistics::Statistics;

/// So long without any broker, a client is replaced. Those that are only away come back to either.
pub(super) const CUT_OFF: Duration = Duration::from_secs(20);

/// What is known of a topic that is being read.
#[derive(Debug, Default)]
pub struct Status {
    partitions: Mutex<BTreeMap<i32, PartitionStatus>>,
    /// What the client complained of last, until a record comes again.
    trouble: Mutex<Option<String>>,
    troubles: AtomicU64,
    /// From when the oldest record of the newest batch was appended until it could be read, in microseconds.
    delay: AtomicU64,
    is_cut_off: AtomicBool,
    replaced: AtomicU64,
    /// Since when no broker is connected, by the client's statistics.
    without_broker: Mutex<Option<Instant>>,
}

/// How far one partition has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The offset of the next record to read.
    pub next_offset: u64,
    /// Records that are there and not read yet, as of the last answer of a broker; `None` before the first.
    pub lag: Option<u64>,
    /// Whether it was at its end for longer than the source's timeout (T8).
    pub idle: bool,
}

impl Status {
    /// Each partition, by number.
    pub fn partitions(&self) -> BTreeMap<i32, PartitionStatus> {
        self.partitions.lock().clone()
    }

    /// Records that are not read yet, over all partitions; `None` while that of one is not known.
    pub fn lag(&self) -> Option<u64> {
        self.partitions.lock().values().map(|partition| partition.lag).sum()
    }

    /// What the client complained of last, unless records have come since.
    pub fn last_trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// How often the client has complained: a broker that is away, a connection that was cut.
    pub fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Relaxed)
    }

    /// How many clients were replaced.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// How long the oldest record of the newest batch was on its way, from Kafka's timestamp until it could be read.
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.delay.load(Ordering::Relaxed))
    }

    pub(super) fn readable(&self, appended: Option<Time>, now: Time) {
        let Some(appended) = appended else { return };
        self.delay.store(u64::try_from(now.since(appended).micros()).unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn trouble(&self, what: &str) {
        self.troubles.fetch_add(1, Ordering::Relaxed);
        *self.trouble.lock() = Some(what.to_owned());
    }

    pub(super) fn well(&self) {
        *self.trouble.lock() = None;
    }

    pub(super) fn reached(&self, partition: i32, next_offset: u64, idle: bool) {
        let mut partitions = self.partitions.lock();
        let it = partitions.entry(partition).or_default();
        it.next_offset = next_offset;
        it.idle = idle;
    }

    /// Somebody else reads a partition now.
    pub(super) fn gone(&self, partition: i32) {
        self.partitions.lock().remove(&partition);
    }

    /// A client is of no use any more, and has to be replaced.
    pub(super) fn cut_off(&self) {
        self.is_cut_off.store(true, Ordering::Release);
    }

    /// Whether that is so: somebody has said so, or its statistics have shown no broker for a while. Clients reconnect by themselves, but one
    /// that was told of a cluster without brokers, as when the only one was out of touch for a moment, forgets all of them, those that it
    /// was given among them (librdkafka issue 5301).
    pub(super) fn is_cut_off(&self) -> bool {
        let without = || self.without_broker.lock().is_some_and(|since| since.elapsed() > CUT_OFF);
        self.is_cut_off.load(Ordering::Acquire) || without()
    }

    /// There will be another client, which reads nothing yet.
    pub(super) fn begin_anew(&self) {
        self.trouble("the Kafka client has no broker, or does not answer: beginning anew with another client");
        self.replaced.fetch_add(1, Ordering::Relaxed);
        self.partitions.lock().clear();
        self.is_cut_off.store(false, Ordering::Release);
        *self.without_broker.lock() = None;
    }

    pub(super) fn take(&self, statistics: &Statistics) {
        // The group's coordinator may still be connected, under a name of its own, and answer heartbeats.
        let is_up = statistics.brokers.values().any(|broker| broker.source != "logical" && broker.state == "UP");
        let mut without = self.without_broker.lock();
        *without = if is_up { None } else { Some(without.unwrap_or_else(Instant::now)) };
        drop(without);
        let mut partitions = self.partitions.lock();
        for (number, of) in statistics.topics.values().flat_map(|topic| &topic.partitions) {
            if let (Some(it), Ok(end)) = (partitions.get_mut(number), u64::try_from(of.ls_offset.min(of.hi_offset))) {
                // Marks of transactions have offsets too; a partition that was read to its end has no lag.
                it.lag = Some(if of.eof_offset == of.ls_offset { 0 } else { end.saturating_sub(it.next_offset) });
            }
        }
    }
}
