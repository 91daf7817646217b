//! The thread that keeps the tables up with the store: every so often, or as soon as there is enough for a good file.

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

/// A running flusher.
#[derive(Debug)]
pub struct Flusher {
    stop: SyncSender<()>,
    thread: JoinHandle<Result<(), OfflineError>>,
    standing: Arc<Standing>,
}

impl Flusher {
    /// Starts one: events wait for `interval` at most, if the tables can be written. `complain` is told of each failure.
    pub fn start(
        store: Arc<Store>,
        offline: OfflineStore,
        interval: Duration,
        complain: impl Fn(&OfflineError) + Send + 'static,
    ) -> std::io::Result<Flusher> {
        let (stop, stopped) = sync_channel::<()>(1);
        let standing = Arc::new(Standing::default());
        let told = standing.clone();
        let flush = move || {
            let mut due = Instant::now() + interval;
            loop {
                match stopped.recv_timeout(LOOK.min(interval)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    // What was taken in last is kept as well.
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return offline.flush(&store).map(|flushed| told.add(flushed)),
                }
                let sources = 0..store.definitions().sources.len();
                if Instant::now() < due && !sources.into_iter().any(|source| store.waiting_to_be_kept(source) >= KEEP_ROWS) {
                    continue;
                }
                due = Instant::now() + interval;
                match offline.flush(&store).and_then(|flushed| offline.compact().map(|_| flushed)) {
                    Ok(flushed) => told.add(flushed),
                    Err(error) => {
                        told.failures.fetch_add(1, Ordering::Relaxed);
                        complain(&error);
                        std::thread::sleep(RETRY);
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("offline".to_owned()).spawn(flush)?;
        Ok(Flusher { stop, thread, standing })
    }

    /// How far it has come.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.clone()
    }

    /// Keeps what still waits, and ends. Where that fails it waits for the next start.
    pub fn finish(self) -> Result<(), OfflineError> {
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Standing {
    fn add(&self, flushed: Flushed) {
        self.events.fetch_add(flushed.events, Ordering::Relaxed);
        self.side.fetch_add(flushed.side, Ordering::Relaxed);
        self.commits.fetch_add(flushed.commits, Ordering::Relaxed);
    }
}
