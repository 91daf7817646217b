//! The live writer: takes batches from any number of producers into a store, and tells each when its batch can be read.
//!
//! One thread owns the routers, so each source has one order of records; commits and applying follow in their stages.
//! The queue in front is short: a producer that is faster than the disk waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floodmark_intake::batch::SourceBatch;
use floodmark_intake::router::Router;
use floodmark_store::{BatchReport, Store, StoreError};
use tokio::sync::watch;

use crate::scoring::{Scored, Scoring};
use crate::stages::{Routed, Stages};

/// Batches of producers that wait to be routed.
const QUEUE: usize = 64;
/// How often idleness is judged (T8).
const IDLE_PROBE: Duration = Duration::from_millis(200);

/// Why the writer stopped.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The store failed; nothing was acknowledged after that.
    #[error("events can no longer be stored: {0}")]
    Store(#[from] StoreError),
}

/// Called once a batch is durable and can be read, with the position of its first record in its partition.
pub type Done = Box<dyn FnOnce(&BatchReport, u64) + Send>;

/// A batch, whose it is, and whom to tell.
struct Submission {
    source: usize,
    partition: String,
    numbering: Numbering,
    batch: SourceBatch,
    done: Done,
}

/// What the offsets of a batch are.
enum Numbering {
    /// Places in the batch: a producer's records follow what came before.
    Following,
    /// Places in the log that they come from.
    OfLog,
}

enum Order {
    Take(Box<Submission>),
    /// A source has these partitions, with what their contents are known by.
    Open {
        source: usize,
        partitions: Vec<String>,
        fingerprint: u64,
    },
    /// A partition of a log is read to its end, and has been for long enough (T8).
    Idle {
        source: usize,
        partition: String,
    },
    Close,
}

/// Hands batches to the writer.
#[derive(Clone)]
pub struct Handle {
    queue: SyncSender<Order>,
    store: Arc<Store>,
    stopping: Arc<watch::Sender<bool>>,
}

impl Handle {
    /// The store that is written to.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Hands over a batch of a source's partition, if there is room in the queue; else gives it back. `done` is called once the
    /// batch is durable and can be read; it is dropped uncalled if the writer stops before.
    pub fn submit(&self, source: usize, partition: &str, batch: SourceBatch, done: Done) -> Submitted {
        let submission = Submission { source, partition: partition.to_owned(), numbering: Numbering::Following, batch, done };
        match self.queue.try_send(Order::Take(Box::new(submission))) {
            Ok(()) => Submitted::Taken,
            Err(TrySendError::Full(Order::Take(back))) => Submitted::Full(back.batch, back.done),
            Err(_) => Submitted::Stopped,
        }
    }

    /// The way in for whoever reads a log of a source, whose records have places of their own.
    pub fn feed(&self, source: usize) -> Feed {
        Feed { handle: self.clone(), source }
    }

    /// Asks producers to stop: their streams end once what they have sent is acknowledged.
    pub fn stop_taking(&self) {
        self.stopping.send_replace(true);
    }

    /// Turns true when producers are asked to stop.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Lets the writer finish what it has taken, write a checkpoint, and end. Events that no model can score yet wait in the store.
    pub fn close(&self) {
        self.stop_taking();
        // A full queue is waited for; a writer that is gone needs no telling.
        let _ = self.queue.send(Order::Close);
    }
}

/// What became of a hand-over.
pub enum Submitted {
    /// It is in the queue.
    Taken,
    /// No room: try again.
    Full(SourceBatch, Done),
    /// The writer is gone.
    Stopped,
}

/// Hands the records of a log to the writer; each call waits while the queue is full.
#[derive(Clone)]
pub struct Feed {
    handle: Handle,
    source: usize,
}

/// The writer is gone: what was handed over since the last acknowledgement is to be read again.
#[derive(Debug, thiserror::Error)]
#[error("events can no longer be stored")]
pub struct Gone;

impl Feed {
    /// The store that is written to.
    pub fn store(&self) -> &Arc<Store> {
        &self.handle.store
    }

    /// Position in the definitions' sources.
    pub fn source(&self) -> usize {
        self.source
    }

    /// Turns true when nothing more is to be read.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.handle.stopping()
    }

    /// Says which partitions there are, before the first record of any: a watermark waits for all of them (T6).
    pub fn open(&self, partitions: Vec<String>, fingerprint: u64) -> Result<(), Gone> {
        self.order(Order::Open { source: self.source, partitions, fingerprint })
    }

    /// Hands over records of a partition, with their places in the log.
    pub fn take(&self, partition: &str, batch: SourceBatch, done: Done) -> Result<(), Gone> {
        let (source, partition) = (self.source, partition.to_owned());
        self.order(Order::Take(Box::new(Submission { source, partition, numbering: Numbering::OfLog, batch, done })))
    }

    /// Says that a partition has been read to its end for longer than the source's timeout (T8).
    pub fn idle(&self, partition: &str) -> Result<(), Gone> {
        self.order(Order::Idle { source: self.source, partition: partition.to_owned() })
    }

    fn order(&self, order: Order) -> Result<(), Gone> {
        self.handle.queue.send(order).map_err(|_| Gone)
    }
}

/// Starts the writer of a store, with whoever scores the events of some of its sources.
pub fn spawn(store: Arc<Store>, scoring: Option<Scoring>) -> (Handle, JoinHandle<Result<(), WriterError>>) {
    let (queue, orders) = sync_channel(QUEUE);
    let handle = Handle { queue, store: store.clone(), stopping: Arc::new(watch::Sender::new(false)) };
    let stopping = handle.stopping();
    (handle, std::thread::spawn(move || write(&store, &orders, scoring, stopping)))
}

/// A router with the moment at which each of its partitions was last heard of.
struct Live {
    router: Router,
    /// Producers only: who reads a log says itself when it is at its end.
    heard: HashMap<usize, Instant>,
}

fn write(
    store: &Arc<Store>,
    orders: &Receiver<Order>,
    scoring: Option<Scoring>,
    stopping: watch::Receiver<bool>,
) -> Result<(), WriterError> {
    let scored_sources = scoring.iter().flat_map(|scoring| scoring.sources.iter().copied()).collect::<Vec<_>>();
    let stages = Stages::start(store, crate::clock::now, Scored::new(scoring, stopping));
    let mut sources = Sources { store, scored: scored_sources, live: HashMap::new() };
    let mut probed = Instant::now();
    loop {
        let running = match orders.recv_timeout(IDLE_PROBE) {
            Ok(Order::Take(submission)) => sources.take(&stages, *submission),
            Ok(Order::Open { source, partitions, fingerprint }) => sources.open(source, &partitions, fingerprint),
            Ok(Order::Idle { source, partition }) => sources.idle(&stages, source, &partition),
            Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => true,
        };
        if !running {
            break;
        }
        if probed.elapsed() >= IDLE_PROBE {
            probed = Instant::now();
            sources.live.iter_mut().for_each(|(source, live)| judge_idleness(store, *source, live, &stages));
        }
    }
    stages.finish()?;
    if store.has_log() {
        let _turn = store.turn();
        store.checkpoint()?;
    }
    Ok(())
}

/// The routers of the sources that something came for.
struct Sources<'a> {
    store: &'a Arc<Store>,
    /// Whose events are scored.
    scored: Vec<usize>,
    live: HashMap<usize, Live>,
}

impl Sources<'_> {
    fn of(&mut self, source: usize) -> &mut Live {
        let (store, scored) = (self.store, self.scored.contains(&source));
        self.live.entry(source).or_insert_with(|| Live {
            router: Router::new(store.plan().clone(), source, store.partitions(), store.progress(source))
                .scored(scored)
                .kept(store.offline().is_some()),
            heard: HashMap::new(),
        })
    }

    /// Routes a batch; false if nobody takes it any more.
    fn take(&mut self, stages: &Stages, submission: Submission) -> bool {
        let Submission { source, partition, numbering, mut batch, done } = submission;
        let it = self.of(source);
        let partition = it.router.progress_mut().open(&partition);
        let from = it.router.progress().partitions()[partition].next_offset;
        if let Numbering::Following = numbering {
            it.heard.insert(partition, Instant::now());
            place(&mut batch, from);
        }
        let commit = it.router.route(&batch, partition, crate::clock::now());
        stages.send(Routed { commit, done: Box::new(move |report| done(report, from)) })
    }

    fn open(&mut self, source: usize, partitions: &[String], fingerprint: u64) -> bool {
        let progress = self.of(source).router.progress_mut();
        for name in partitions {
            let partition = progress.open(name);
            progress.partition_mut(partition).fingerprint = fingerprint;
        }
        true
    }

    fn idle(&mut self, stages: &Stages, source: usize, partition: &str) -> bool {
        let it = self.of(source);
        let progress = it.router.progress_mut();
        let partition = progress.open(partition);
        let moved = progress.set_idle(partition);
        it.router.after_idleness(moved).is_none_or(|commit| stages.send(Routed { commit, done: Box::new(|_| ()) }))
    }
}

/// Records of a producer are numbered on from what came before.
fn place(batch: &mut SourceBatch, from: u64) {
    let shifted = batch.offsets.iter().map(|offset| from + offset).collect();
    batch.offsets = floodmark_intake::offsets::Offsets::List(shifted);
    batch.rejects.iter_mut().for_each(|reject| reject.offset += from);
    batch.end += from;
}

/// A producer that is silent for longer than the timeout is caught up and idle: it has nothing waiting here (T8).
fn judge_idleness(store: &Arc<Store>, source: usize, live: &mut Live, stages: &Stages) {
    let definition = &store.definitions().sources[source];
    let timeout = Duration::from_micros(u64::try_from(definition.idle_timeout.micros()).unwrap_or(0));
    let silent: Vec<usize> = live.heard.iter().filter(|(_, at)| at.elapsed() > timeout).map(|(partition, _)| *partition).collect();
    let progress = live.router.progress_mut();
    let mut moved = false;
    for partition in silent {
        moved |= progress.set_idle(partition);
    }
    moved |= progress.while_all_idle(definition.when_all_idle, crate::clock::now(), definition.idle_timeout);
    if let Some(commit) = live.router.after_idleness(moved) {
        stages.send(Routed { commit, done: Box::new(|_| ()) });
    }
}
