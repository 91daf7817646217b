//! The thread behind the log of predictions: it gathers rows, encodes them, and writes a batch in one commit.
//!
//! The store has one writer at a time, so the log is rarely one: once a second, or when a batch is full. Its commits cost no fsync but
//! once in [`DURABLE_EVERY`]; a crash loses what came since, or since anything else was committed, whichever is later.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, atomic::Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use floodmark_features::time::Time;
use floodmark_store::{Store, StoreError};
use prost::Message;

use super::{Entry, Log, LogCounts, LogSettings};

/// A batch is written once its oldest row has waited so long.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Or once it has so many rows,
const BATCH_ROWS: usize = 4_096;
/// or so many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// After so long, a commit of the log makes itself and those before it durable.
const DURABLE_EVERY: Duration = Duration::from_secs(10);
/// Troubles are told so often at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Order {
    Write(Box<Entry>),
    /// Writes what has come, and says so.
    Flush(SyncSender<()>),
    /// Writes what has come, for good, and ends.
    End,
}

/// The log's thread.
#[derive(Debug)]
pub struct LogWriter {
    log: Arc<Log>,
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Starts the thread. `tell` is told of troubles, now and then: rows dropped, a store that refuses them.
    pub fn start(store: Arc<Store>, settings: LogSettings, tell: impl Fn(&str) + Send + 'static) -> std::io::Result<LogWriter> {
        let (log, orders) = Log::new(settings.share);
        let log = Arc::new(log);
        let mut work = Work {
            store,
            log: log.clone(),
            keep_bytes: settings.keep_bytes,
            batch: Vec::new(),
            bytes: 0,
            due: None,
            unsynced_since: None,
            told: Told { tell: Box::new(tell), at: None, dropped: 0, trouble: None },
        };
        let thread = thread::Builder::new().name("predictions".to_owned()).spawn(move || work.run(&orders))?;
        Ok(LogWriter { log, thread })
    }

    /// Where rows go in.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Writes what has come, and ends; to be called when nothing scores any more. Rows that come later are dropped.
    pub fn end(self) -> LogCounts {
        let _ = self.log.queue.send(Order::End); // the thread may have ended by itself, which only a panic does
        let _ = self.thread.join();
        self.log.counts()
    }
}

impl Log {
    /// Waits until what has come is in the store, where it can be read.
    pub fn flush(&self) {
        let (done, told) = sync_channel(1);
        if self.queue.send(Order::Flush(done)).is_ok() {
            let _ = told.recv(); // an error: the thread has ended, after its last write
        }
    }
}

struct Work {
    store: Arc<Store>,
    log: Arc<Log>,
    keep_bytes: u64,
    batch: Vec<(Time, Vec<u8>)>,
    bytes: usize,
    /// When the batch is to be written.
    due: Option<Instant>,
    /// The first commit that a crash would lose, as far as this log knows.
    unsynced_since: Option<Instant>,
    told: Told,
}

impl Work {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(self.patience()) {
                Ok(Order::Write(entry)) => self.add(*entry),
                Ok(Order::Flush(done)) => {
                    self.write(false);
                    let _ = done.send(()); // who asked may have gone
                }
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.write(true);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            let full = self.batch.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES;
            let overdue = self.unsynced_since.is_some_and(|since| now.duration_since(since) >= DURABLE_EVERY);
            if full || overdue || self.due.is_some_and(|due| now >= due) {
                self.write(overdue);
            }
            self.told.now_and_then(now, self.log.counts().dropped);
        }
    }

    /// How long to wait for an order.
    fn patience(&self) -> Duration {
        self.due.map_or(WRITE_EVERY, |due| due.saturating_duration_since(Instant::now()))
    }

    fn add(&mut self, entry: Entry) {
        self.log.counters.queued.fetch_sub(entry.bytes, Ordering::Relaxed);
        let (at, record) = (entry.at, entry.into_prediction().encode_to_vec());
        self.bytes += record.len();
        self.batch.push((at, record));
        self.due.get_or_insert_with(|| Instant::now() + WRITE_EVERY);
    }

    fn write(&mut self, durable: bool) {
        self.due = None;
        if self.batch.is_empty() && !(durable && self.unsynced_since.is_some()) {
            return;
        }
        let counters = &self.log.counters;
        match self.store.append_predictions(&self.batch, self.keep_bytes, durable) {
            Ok(appended) => {
                counters.written.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
                counters.removed.fetch_add(appended.removed, Ordering::Relaxed);
                self.unsynced_since = if durable { None } else { self.unsynced_since.or_else(|| Some(Instant::now())) };
            }
            Err(error) => {
                counters.lost.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
                self.told.trouble = Some(error);
            }
        }
        self.batch.clear();
        self.bytes = 0;
    }
}

/// What has been told of troubles.
struct Told {
    tell: Box<dyn Fn(&str) + Send>,
    at: Option<Instant>,
    dropped: u64,
    trouble: Option<StoreError>,
}

impl Told {
    fn now_and_then(&mut self, now: Instant, dropped: u64) {
        if (dropped == self.dropped && self.trouble.is_none()) || self.at.is_some_and(|at| now.duration_since(at) < TELL_EVERY) {
            return;
        }
        if dropped > self.dropped {
            (self.tell)(&format!(
                "predictions are not logged: they come faster than they can be written; log a smaller share. dropped={dropped}"
            ));
        }
        if let Some(error) = self.trouble.take() {
            (self.tell)(&format!("predictions are not logged: {error}"));
        }
        (self.at, self.dropped) = (Some(now), dropped);
    }
}
