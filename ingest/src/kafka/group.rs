//! A consumer group's member: which partitions are ours, and how far each was committed.
//!
//! Partitions move one by one (cooperative rebalancing): what we keep is read on while others move. A partition that is given is read
//! from wherever its owner says, not from where the client thinks; one that is taken is gone at once. A transaction that is open then is in
//! the name of the membership that it was begun under: it still counts until the group has moved on, and its positions are waited for by
//! whoever asks for them; after that it is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Habit, Told, cluster_of, member};
use super::status::Status;
use super::topic::Topic;

/// How long a broker may take for a question; about committed positions it says nothing while a transaction holds some of them.
const ANSWER: Duration = Duration::from_secs(10);

/// Of a member whose properties do not say it.
const SESSION: Duration = Duration::from_secs(10);

/// Where a group stands in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// The offset of the next record; `None` if nothing was ever committed.
    pub(super) next: Option<u64>,
    /// What was committed with it.
    pub(super) note: String,
}

/// A partition by topic and number.
pub(super) type Place = (String, i32);

/// Why nothing was said of committed positions.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsaid {
    /// The client has asked again and again.
    #[error(
        "nobody says how far the group was committed: a broker is away, or a transaction that holds positions has not ended, and is waited for. One that hangs (a broker that is killed may forget its end) is found and ended by Kafka's own kafka-transactions.sh: find-hanging, abort"
    )]
    Held,
    #[error(transparent)]
    Other(#[from] KafkaError),
}

/// What the group says.
#[derive(Debug)]
pub(super) enum Change {
    /// These are ours from now on; [`Group::assign`] has to follow, with where to read them.
    Given(Vec<Place>),
    /// These are not ours any more.
    Taken(Vec<Place>),
}

/// A member of a consumer group.
pub(super) struct Group {
    client: BaseConsumer<Member>,
    /// Who we are, as of the last change that was served: an older membership is refused, and a newer one not used before its
    /// partitions are known.
    member: Option<Arc<ConsumerGroupMetadata>>,
    /// The same for the change that is being served.
    coming: Option<ConsumerGroupMetadata>,
    topics: Vec<String>,
    /// When the client was last heard, and how long it had not been before.
    heard: Instant,
    silent: Duration,
    /// A change that is served later may be older than our membership: the client forgets who it was when the group does, after a session
    /// without a heartbeat, and says nothing in its place, which brokers let pass. Half a session: heartbeats are a third of one apart at
    /// most. No less, for who begins anew disturbs the others, and what is waited for between two changes may take a while.
    fresh: Duration,
    joined: bool,
}

/// Hears of changes; they come while polling.
struct Member {
    told: Told,
    changes: Mutex<Vec<Change>>,
}

impl Group {
    /// A member-to-be of a group that shares the partitions of some topics.
    pub(super) fn join(brokers: &Topic, group: &str, topics: &[&str], habit: &Habit, status: &Arc<Status>) -> KafkaResult<Group> {
        let config = member(brokers, group, habit);
        let session = config.get("session.timeout.ms").and_then(|millis| millis.parse().ok()).map_or(SESSION, Duration::from_millis);
        let member = Member { told: Told(status.clone()), changes: Mutex::default() };
        let client: BaseConsumer<Member> = config.create_with_context(member)?;
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let (heard, silent, fresh) = (Instant::now(), Duration::ZERO, session / 2);
        Ok(Group { client, member: None, coming: None, topics, heard, silent, fresh, joined: false })
    }

    /// Leaves without a word. Closing the client may take a while, or for ever, so it is not waited for.
    pub(super) fn abandon(self) {
        std::thread::spawn(move || drop(self));
    }

    /// Leaves, so that the others need not wait until our session has run out. Closing a client in the middle of a rebalance may take for ever
    /// (librdkafka 2.12.1); then nobody waits longer than for a session, and the end of the process does the rest.
    pub(super) fn leave(self) {
        let (left, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(self);
            // Nobody hears it who has waited long enough.
            let _ = left.send(());
        });
        if heard.recv_timeout(SESSION).is_err() {
            eprintln!("warning: the Kafka client does not close; ending without it");
        }
    }

    /// Waits for a record. `None` also where there is something else to be done: see [`Group::change`].
    pub(super) fn poll(&mut self, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        if !self.joined {
            self.subscribe();
        }
        let polled = self.client.poll(wait);
        let now = Instant::now();
        (self.silent, self.heard) = (now - self.heard, now);
        polled
    }

    /// What has changed since this was asked last, in order. Where something was taken, nothing can be committed before the next
    /// partitions are given, if only none: who we are by then is not known.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let changes = std::mem::take(&mut *self.client.context().changes.lock());
        if changes.iter().any(|change| matches!(change, Change::Taken(_))) {
            self.member = None;
        }
        if changes.iter().any(|change| matches!(change, Change::Given(_))) {
            // The group does not go on before we have answered, so this is who we are with these partitions; if we are not late.
            self.coming = self.client.group_metadata();
            if self.silent + self.heard.elapsed() > self.fresh {
                self.coming = None;
            }
        }
        changes
    }

    /// Whether there is something to be asked for with [`Group::changes`].
    pub(super) fn has_changes(&self) -> bool {
        !self.client.context().changes.lock().is_empty()
    }

    /// Who we are, for a transaction. `None` before the first partitions are given.
    pub(super) fn member(&self) -> Option<Arc<ConsumerGroupMetadata>> {
        self.member.clone()
    }

    /// How far partitions were committed, by whoever had them.
    pub(super) fn committed(&self, places: &[Place]) -> Result<Vec<Position>, Unsaid> {
        let mut list = TopicPartitionList::new();
        places.iter().for_each(|(topic, partition)| {
            list.add_partition(topic, *partition);
        });
        let held = |error: KafkaError| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::UnstableOffsetCommit) => Unsaid::Held,
            _ => Unsaid::Other(error),
        };
        let found = self.client.committed_offsets(list, ANSWER).map_err(held)?;
        let position = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            element.error()?;
            let next = if let Offset::Offset(next) = element.offset() { u64::try_from(next).ok() } else { None };
            let (topic, note) = (element.topic().to_owned(), element.metadata().to_owned());
            Ok(Position { topic, partition: element.partition(), next, note })
        };
        Ok(found.elements().iter().map(position).collect::<KafkaResult<_>>()?)
    }

    /// Answers [`Change::Given`]: these are read from there.
    pub(super) fn assign(&mut self, at: &[(Place, u64)]) -> KafkaResult<()> {
        self.member = self.coming.take().map(Arc::new);
        self.client.incremental_assign(&list_at(at)?)?;
        if self.member.is_none() {
            // Nobody knows who we are: begin anew.
            self.client.unsubscribe();
            self.joined = false;
        }
        Ok(())
    }

    /// Joins, or joins anew. Only when it is polled right after, so that what the group says is heard at once.
    fn subscribe(&mut self) {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        match self.client.subscribe(&topics) {
            Ok(()) => (self.joined, self.heard) = (true, Instant::now()),
            Err(error) => self.client.context().told.error(error, "while joining the group"),
        }
    }

    /// Reads partitions that are ours from elsewhere.
    pub(super) fn read_from(&self, at: &[(Place, u64)]) -> KafkaResult<()> {
        let list = list_at(at)?;
        self.client.incremental_unassign(&list)?;
        self.client.incremental_assign(&list)
    }

    /// The oldest offset of a partition, and the one after the newest.
    pub(super) fn ends(&self, (topic, partition): &Place) -> KafkaResult<(u64, u64)> {
        let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(0);
        self.client.fetch_watermarks(topic, *partition, ANSWER).map(|(oldest, end)| (unsigned(oldest), unsigned(end)))
    }

    /// How many partitions a topic has; 0 if it is not there.
    pub(super) fn partitions_of(&self, topic: &str) -> KafkaResult<usize> {
        let metadata = self.client.fetch_metadata(Some(topic), ANSWER)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        Ok(found.map_or(0, |found| found.partitions().len()))
    }

    /// Which cluster this is.
    pub(super) fn cluster(&self, topic: &str) -> KafkaResult<String> {
        let cluster = cluster_of(&self.client, topic, ANSWER);
        cluster.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))
    }
}

/// Positions as the client wants them. Those at which nothing was committed yet are left out.
pub(super) fn as_list(positions: &[Position]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for position in positions {
        let Some(next) = position.next else { continue };
        let mut element = list.add_partition(&position.topic, position.partition);
        element.set_offset(Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX)))?;
        element.set_metadata(&position.note);
    }
    Ok(list)
}

fn list_at(at: &[(Place, u64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), next) in at {
        list.add_partition_offset(topic, *partition, Offset::Offset(i64::try_from(*next).unwrap_or(i64::MAX)))?;
    }
    Ok(list)
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.told.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.told.stats(statistics);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, client: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // Plain pairs: a list that is alive when the client is dropped would hold it up for ever.
        let places: Vec<Place> = list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let answered = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.changes.lock().push(Change::Given(places));
                Ok(())
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.changes.lock().push(Change::Taken(places));
                client.incremental_unassign(list)
            }
            _ => client.unassign(),
        };
        if let Err(error) = answered {
            self.told.error(error, "while partitions moved");
        }
    }
}

#[cfg(test)]
mod tests;
