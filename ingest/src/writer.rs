//! The live writer: takes batches from any number of producers into a store, and tells each when its batch can be read.
//!
//! One thread owns the routers, so each source has one order of records; commits and applying follow in their stages.
//! The queue in front is short: a producer that is faster than the disk waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floodmark_store::{BatchReport, Store, StoreError};
use tokio::sync::watch;

use crate::router::Router;
use crate::scoring::{Scored, Scoring};
use crate::source::SourceBatch;
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
    batch: SourceBatch,
    done: Done,
}

enum Order {
    Take(Box<Submission>),
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
        let submission = Submission { source, partition: partition.to_owned(), batch, done };
        match self.queue.try_send(Order::Take(Box::new(submission))) {
            Ok(()) => Submitted::Taken,
            Err(TrySendError::Full(Order::Take(back))) => Submitted::Full(back.batch, back.done),
            Err(_) => Submitted::Stopped,
        }
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
    let mut live: HashMap<usize, Live> = HashMap::new();
    let mut probed = Instant::now();
    loop {
        let running = match orders.recv_timeout(IDLE_PROBE) {
            Ok(Order::Take(submission)) => take(store, &mut live, &stages, &scored_sources, *submission),
            Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => true,
        };
        if !running {
            break;
        }
        if probed.elapsed() >= IDLE_PROBE {
            probed = Instant::now();
            live.iter_mut().for_each(|(source, live)| judge_idleness(store, *source, live, &stages));
        }
    }
    stages.finish()?;
    if store.has_log() {
        store.checkpoint()?;
    }
    Ok(())
}

fn take(store: &Arc<Store>, live: &mut HashMap<usize, Live>, stages: &Stages, scored: &[usize], submission: Submission) -> bool {
    let Submission { source, partition, batch, done } = submission;
    let it = live.entry(source).or_insert_with(|| Live {
        router: Router::new(store.plan().clone(), source, store.partitions(), store.progress(source)).scored(scored.contains(&source)),
        heard: HashMap::new(),
    });
    let partition = it.router.progress_mut().open(&partition);
    it.heard.insert(partition, Instant::now());
    let mut batch = batch;
    let from = it.router.progress().partitions()[partition].next_offset;
    place(&mut batch, from);
    let commit = it.router.route(&batch, partition, crate::clock::now());
    stages.send(Routed { commit, done: Box::new(move |report| done(report, from)) })
}

/// Records of a producer are numbered on from what came before.
fn place(batch: &mut SourceBatch, from: u64) {
    let shifted = batch.offsets.iter().map(|offset| from + offset).collect();
    batch.offsets = crate::offsets::Offsets::List(shifted);
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
