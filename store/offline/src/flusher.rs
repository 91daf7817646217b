//! The thread that keeps the tables up with the store: every so often, or as soon as there is enough for a good file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floodmark_store::Store;

use crate::{Flushed, OfflineError, OfflineStore};

/// Events of a source that are enough for a file.
const KEEP_ROWS: u64 = 1 << 19;
/// How often it is looked whether there are.
const LOOK: Duration = Duration::from_millis(200);
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// How far it has come, for whoever shows it.
#[derive(Debug, Default)]
pub struct Standing {
    /// Events brought into the tables.
    pub events: AtomicU64,
    /// Late events, rejected records and closed windows.
    pub side: AtomicU64,
    /// Commits to tables.
    pub commits: AtomicU64,
    /// Flushes that failed; what waited goes on waiting.
    pub failures: AtomicU64,
}

#[derive(Debug)]
enum Order {
    /// A flush now; what came of it is told.
    Now(SyncSender<Result<(), OfflineError>>),
    Stop,
}

/// For whoever cannot wait for a flusher.
#[derive(Clone, Debug)]
pub struct FlushNow(SyncSender<Order>);

impl FlushNow {
    /// Has everything that was published before this brought into the tables; false if the flusher has ended.
    pub fn flush(&self) -> Result<bool, OfflineError> {
        let (tell, told) = sync_channel(1);
        if self.0.send(Order::Now(tell)).is_err() {
            return Ok(false);
        }
        told.recv().map_or(Ok(false), |flushed| flushed.map(|()| true))
    }
}

/// A running flusher.
#[derive(Debug)]
pub struct Flusher {
    orders: SyncSender<Order>,
    thread: JoinHandle<Result<(), OfflineError>>,
    standing: Arc<Standing>,
}

/// What the thread works with.
struct Work<F> {
    store: Arc<Store>,
    place: String,
    /// The tables; none while they cannot be opened.
    offline: Option<OfflineStore>,
    standing: Arc<Standing>,
    complain: F,
}

impl Flusher {
    /// Starts one for a store and its place: events wait for `interval` at most, if the tables can be written. `complain` is told of each
    /// failure. A place that cannot be reached does not stop a store that has events; one that cannot be right does.
    pub fn start(
        store: Arc<Store>,
        place: String,
        interval: Duration,
        complain: impl Fn(&OfflineError) + Send + 'static,
    ) -> Result<Flusher, OfflineError> {
        let offline = match OfflineStore::open(&place, &store) {
            Ok(offline) => Some(offline),
            Err(error) if store.version() == 0 || error.is_for_good() => return Err(error),
            Err(error) => {
                complain(&error);
                None
            }
        };
        let (orders, ordered) = sync_channel(1);
        let standing = Arc::new(Standing::default());
        let mut work = Work { store, place, offline, standing: standing.clone(), complain };
        let flush = move || {
            let (mut due, mut wait) = (Instant::now() + interval, LOOK.min(interval));
            loop {
                match ordered.recv_timeout(wait) {
                    Ok(Order::Now(tell)) => {
                        let _ = tell.send(work.guarded(Work::flush));
                        continue;
                    }
                    Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => wait = LOOK.min(interval),
                }
                if Instant::now() >= due || work.has_enough() {
                    due = Instant::now() + interval;
                    if !work.once() {
                        wait = RETRY;
                    }
                }
            }
            // What was taken in last is kept as well.
            work.guarded(Work::flush)
        };
        let thread = std::thread::Builder::new().name("offline".to_owned()).spawn(flush)?;
        Ok(Flusher { orders, thread, standing })
    }

    /// How far it has come.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.clone()
    }

    /// A way to ask for a flush.
    pub fn now(&self) -> FlushNow {
        FlushNow(self.orders.clone())
    }

    /// Keeps what still waits, and ends. Where that fails it waits for the next start.
    pub fn finish(self) -> Result<(), OfflineError> {
        let _ = self.orders.send(Order::Stop);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<F: Fn(&OfflineError)> Work<F> {
    fn has_enough(&self) -> bool {
        (0..self.store.definitions().sources.len()).any(|source| self.store.waiting_to_be_kept(source) >= KEEP_ROWS)
    }

    /// Flushes and tidies up; false if that has failed.
    fn once(&mut self) -> bool {
        let tidied = self.guarded(|work| {
            work.flush()?;
            // Somebody has to wait for a flush, and not for this too.
            if !work.store.backfilling().is_empty() {
                return Ok(());
            }
            work.offline.as_ref().map_or(Ok(0), OfflineStore::compact).map(|_| ())
        });
        if let Err(error) = &tidied {
            self.standing.failures.fetch_add(1, Ordering::Relaxed);
            (self.complain)(error);
        }
        tidied.is_ok()
    }

    /// A panic on the way to the tables is a failure like any other: events go on waiting, and the tables are opened anew.
    fn guarded(&mut self, step: impl FnOnce(&mut Work<F>) -> Result<(), OfflineError>) -> Result<(), OfflineError> {
        catch_unwind(AssertUnwindSafe(|| step(self))).unwrap_or_else(|_| {
            self.offline = None;
            Err(OfflineError::Panicked { place: self.place.clone() })
        })
    }

    fn flush(&mut self) -> Result<(), OfflineError> {
        if self.offline.is_none() {
            self.offline = Some(OfflineStore::open(&self.place, &self.store)?);
        }
        if let Some(offline) = &self.offline {
            self.standing.add(offline.flush(&self.store)?);
        }
        Ok(())
    }
}

impl Standing {
    fn add(&self, flushed: Flushed) {
        self.events.fetch_add(flushed.events, Ordering::Relaxed);
        self.side.fetch_add(flushed.side, Ordering::Relaxed);
        self.commits.fetch_add(flushed.commits, Ordering::Relaxed);
    }
}
