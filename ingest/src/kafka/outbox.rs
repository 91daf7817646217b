//! The outbox: late events, closed windows, rejected records and scores go out to Kafka topics, each exactly once.
//!
//! They are read from the store in order of their places ([`OutputKind`]) and sent in transactions. Each transaction also holds, in a
//! compacted topic, the places where the next one begins; so after any interruption a new producer fences the old one, reads the
//! places of the last transaction that was committed, and goes on there. What was sent and not committed, no reader sees.
//!
//! ```text
//!   PREFIX.late, PREFIX.windows, PREFIX.rejects, PREFIX.scores   key: whom it is about | value: as its encoder writes it
//!   PREFIX.progress                                              key: STORE/KIND/SOURCE | value: the next place, in decimal
//! ```

mod places;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floodmark_store::{Output, OutputKind, Store, StoreError};
use places::{Places, Progress, Unread};
use rdkafka::admin::{AdminClient, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;

use super::client::{self, Told, admin};
use super::status::Status;
use super::topic::Topic;
use super::transactions::{Broken, Transactions};

/// Outputs of one kind and source in a transaction, about.
const MOST: usize = 5_000;
/// How long to wait where there is nothing to send: with the transaction itself, how old an output is when readers see it.
const WAIT: Duration = Duration::from_millis(50);
/// How long to wait before a broker is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How long a broker may take for a question.
const ANSWER: Duration = Duration::from_secs(10);
/// When told to end, so long is tried to send what is left; the rest is sent after the next start.
const LAST_TRY: Duration = Duration::from_secs(10);

/// Writes the key and the value of an output.
pub type Encoder = Box<dyn Fn(&Output) -> (Vec<u8>, Vec<u8>) + Send + Sync>;

/// Why nothing is sent any more.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The properties make no client.
    #[error("the Kafka client cannot be made: {0}")]
    Client(KafkaError),
    /// The places cannot be read, so they would be sent twice.
    #[error("the topic of progress holds what is no place: it is for floodmark alone. topic={topic} key={key}")]
    Progress {
        /// Its name.
        topic: String,
        /// Of the record.
        key: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running outbox.
pub struct Outbox {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Left, OutboxError>>,
}

/// How many outputs are left for the next start; `None` where no broker has told how far they had been sent before.
pub type Left = Option<u64>;

/// What its thread tells.
#[derive(Debug, Default)]
pub struct Shared {
    /// Since when it is to end.
    ending: OnceLock<Instant>,
    sent: AtomicU64,
    commits: AtomicU64,
    aborts: AtomicU64,
    rebuilds: AtomicU64,
    status: Arc<Status>,
}

impl Shared {
    fn is_ending(&self) -> bool {
        self.ending.get().is_some()
    }

    /// Whether it has tried for long enough to send what is left.
    fn is_over(&self) -> bool {
        self.ending.get().is_some_and(|since| since.elapsed() > LAST_TRY)
    }

    /// Outputs in transactions that were committed.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Transactions that were committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Transactions that were aborted, and sent again.
    pub fn aborts(&self) -> u64 {
        self.aborts.load(Ordering::Relaxed)
    }

    /// What its clients complain of.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Producers that were thrown away for another one.
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }
}

impl Outbox {
    /// Starts sending the side outputs of a store to the topics that begin with the topic's name.
    pub fn start(topic: Topic, store: Arc<Store>, encode: Encoder) -> Result<Outbox, OutboxError> {
        let shared = Arc::new(Shared::default());
        // A property that is wrong is told now, not when a broker answers.
        let _: AdminClient<Told> = admin(&topic).create_with_context(Told(shared.status.clone())).map_err(OutboxError::Client)?;
        let sender = Sender { topic, store, encode, shared: shared.clone(), next: None };
        Ok(Outbox { shared, thread: std::thread::spawn(move || sender.run()) })
    }

    /// What it has done so far.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Sends what is left, once nothing more comes and as far as there is time, and ends.
    pub fn end(self) -> Result<Left, OutboxError> {
        self.shared.ending.get_or_init(Instant::now);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What the sending thread holds.
struct Sender {
    topic: Topic,
    store: Arc<Store>,
    encode: Encoder,
    shared: Arc<Shared>,
    /// For each kind and source, the place where the next transaction begins, once a broker has told.
    next: Option<Places>,
}

/// Outputs of one kind and source, and the place after them.
type Part = ((OutputKind, usize), Vec<Output>, u64);

impl Sender {
    fn run(mut self) -> Result<Left, OutboxError> {
        while !self.shared.is_over() {
            let transactions = match self.prepare()? {
                Some(transactions) => transactions,
                None => {
                    std::thread::sleep(RETRY);
                    continue;
                }
            };
            while !self.shared.is_over() {
                // Asked before the outputs are read: what comes before that question is among them.
                let last = self.shared.is_ending();
                let parts = self.parts()?;
                if parts.is_empty() {
                    if last {
                        return Ok(Some(0));
                    }
                    std::thread::sleep(WAIT);
                    continue;
                }
                match self.send(&transactions, &parts) {
                    Ok(()) => self.sent(parts),
                    Err(Broken::Abort(error)) => {
                        self.shared.status.trouble(&error.to_string());
                        self.shared.aborts.fetch_add(1, Ordering::Relaxed);
                        if transactions.abort().is_err() {
                            break;
                        }
                        std::thread::sleep(WAIT);
                    }
                    Err(Broken::Rebuild(error)) => {
                        self.shared.status.trouble(&error.to_string());
                        break;
                    }
                }
            }
            self.shared.rebuilds.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.left()?)
    }

    fn left(&self) -> Result<Left, StoreError> {
        let mut left = 0;
        for (kind, source) in self.kinds() {
            let mut from = self.place(kind, source);
            loop {
                let found = self.store.outputs_from(kind, source, from, MOST)?;
                let Some((last, _)) = found.last() else { break };
                (left, from) = (left + found.len() as u64, last + 1);
            }
        }
        // Where there is none at all, none is left.
        Ok((self.next.is_some() || left == 0).then_some(left))
    }

    /// All there are.
    fn kinds(&self) -> impl Iterator<Item = (OutputKind, usize)> + use<> {
        (0..self.store.definitions().sources.len()).flat_map(|source| OutputKind::ALL.map(|kind| (kind, source)))
    }

    fn place(&self, kind: OutputKind, source: usize) -> u64 {
        self.next.as_ref().and_then(|next| next.get(&(kind, source)).copied()).unwrap_or(0)
    }

    /// A producer, and the places that the last one had committed; `None` if the brokers do not answer.
    fn prepare(&mut self) -> Result<Option<Transactions>, OutboxError> {
        let trouble = |error: KafkaError| self.shared.status.trouble(&error.to_string());
        if let Err(error) = make_topics(&self.topic, &self.shared.status) {
            trouble(error);
            return Ok(None);
        }
        let id = format!("floodmark.{}.{:016x}", self.topic.name, self.store.id());
        // In this order: only after the old producer is fenced do the places stand still.
        let transactions = match Transactions::start(&self.topic, &id, &self.shared.status) {
            Ok(transactions) => transactions,
            Err(error) => {
                trouble(error);
                return Ok(None);
            }
        };
        match self.read_places() {
            Ok(next) => self.next = Some(next),
            Err(Unread::Ending) => return Ok(None),
            Err(Unread::NoPlace { key }) => return Err(OutboxError::Progress { topic: self.progress_topic(), key }),
            Err(error) => {
                self.shared.status.trouble(&error.to_string());
                return Ok(None);
            }
        }
        Ok(Some(transactions))
    }

    fn parts(&self) -> Result<Vec<Part>, StoreError> {
        let mut parts = Vec::new();
        for (kind, source) in self.kinds() {
            let found = self.store.outputs_from(kind, source, self.place(kind, source), MOST)?;
            if let Some((last, _)) = found.last() {
                let next = last + 1;
                parts.push(((kind, source), found.into_iter().map(|(_, output)| output).collect(), next));
            }
        }
        Ok(parts)
    }

    fn send(&self, transactions: &Transactions, parts: &[Part]) -> Result<(), Broken> {
        transactions.begin()?;
        for ((kind, source), outputs, next) in parts {
            let topic = format!("{}.{}", self.topic.name, suffix(*kind));
            for output in outputs {
                let (key, value) = (self.encode)(output);
                transactions.send(&topic, &key, &value)?;
            }
            let key = self.progress_key(*kind, *source);
            transactions.send_to(&self.progress_topic(), 0, key.as_bytes(), next.to_string().as_bytes())?;
        }
        transactions.commit()
    }

    fn sent(&mut self, parts: Vec<Part>) {
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.status.well();
        for (of, outputs, next) in parts {
            self.shared.sent.fetch_add(outputs.len() as u64, Ordering::Relaxed);
            self.next.get_or_insert_default().insert(of, next);
        }
    }

    fn progress_topic(&self) -> String {
        format!("{}.progress", self.topic.name)
    }

    fn progress_key(&self, kind: OutputKind, source: usize) -> String {
        let source = &self.store.definitions().sources[source].name;
        format!("{:016x}/{}/{source}", self.store.id(), suffix(kind))
    }

    /// The places of the last committed transaction.
    fn read_places(&self) -> Result<Places, Unread> {
        let topic = &self.progress_topic();
        let keys = self.kinds().map(|(kind, source)| (self.progress_key(kind, source), (kind, source))).collect();
        let progress = Progress { brokers: &self.topic, topic, keys, status: &self.shared.status };
        progress.read(|| self.shared.is_over())
    }
}

/// What the name of a kind's topic ends with.
fn suffix(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Late => "late",
        OutputKind::Closed => "windows",
        OutputKind::Rejected => "rejects",
        OutputKind::Score => "scores",
    }
}

/// Makes the topics that are not there; those that are stay as they are.
fn make_topics(topic: &Topic, status: &Arc<Status>) -> Result<(), KafkaError> {
    let names: Vec<String> = OutputKind::ALL.iter().map(|kind| format!("{}.{}", topic.name, suffix(*kind))).collect();
    let progress = format!("{}.progress", topic.name);
    // -1: as many partitions and replicas as the brokers think right.
    let mut topics: Vec<NewTopic<'_>> = names.iter().map(|name| NewTopic::new(name, -1, TopicReplication::Fixed(-1))).collect();
    topics.push(NewTopic::new(&progress, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact"));
    client::make_topics(topic, &topics, status)
}
