//! A watchdog for calls into the client library that never come back: nothing can take a thread out of them. Where another thread is at it,
//! that is given up, and the worker begins anew; where that is not enough, the process ends, and the worker that is started in its place
//! aborts what is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::executor::Task;

/// No step takes this long while anything works: each has a timeout of its own that is a fraction of it.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(1);

/// What another thread does not come back from in this time is given up: a transaction has long been aborted then.
const HUNG: Duration = Duration::from_secs(60);

/// Looks whether a worker goes on.
pub(super) struct Watchdog {
    began: Instant,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// When the worker was last seen, in milliseconds after it began.
    seen: AtomicU64,
    over: AtomicBool,
}

impl Watchdog {
    /// Starts to watch; `bite` is called once if the worker hangs.
    pub(super) fn start(bite: impl FnOnce() + Send + 'static) -> std::io::Result<Watchdog> {
        Watchdog::with_patience(PATIENCE, LOOK, bite)
    }

    fn with_patience(patience: Duration, look: Duration, bite: impl FnOnce() + Send + 'static) -> std::io::Result<Watchdog> {
        let (began, shared) = (Instant::now(), Arc::new(Shared::default()));
        let watched = shared.clone();
        let watch = move || {
            while !watched.over.load(Ordering::Acquire) {
                std::thread::sleep(look);
                let silent = began.elapsed().saturating_sub(Duration::from_millis(watched.seen.load(Ordering::Acquire)));
                if silent > patience && !watched.over.load(Ordering::Acquire) {
                    bite();
                    return;
                }
            }
        };
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Watchdog { began, shared })
    }

    /// The worker goes on.
    pub(super) fn seen(&self) {
        self.shared.seen.store(self.began.elapsed().as_millis() as u64, Ordering::Release);
    }

    /// Whether it was seen last so long ago that what is waited for is to be given up.
    pub(super) fn is_hung(&self) -> bool {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.shared.seen.load(Ordering::Acquire))) > HUNG
    }

    /// Waits for what another thread is at; `None` if it hangs.
    pub(super) fn wait_for<T>(&self, task: &Task<T>) -> Option<T> {
        loop {
            match task.wait(LOOK) {
                None if self.is_hung() => return None,
                None => {}
                ended => return ended,
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
    }
}

/// Ends the process: there is no other way out of a call that hangs.
pub(super) fn end_process() {
    eprintln!("error: a call into the Kafka client does not come back; ending, so that another worker can take over");
    std::process::exit(70);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn it_bites_who_is_silent_and_nobody_else() {
        let (bitten, heard) = channel();
        let (patience, look) = (Duration::from_millis(200), Duration::from_millis(1));
        let watchdog = Watchdog::with_patience(patience, look, move || {
            let _ = bitten.send(());
        })
        .expect("a thread");
        watchdog.seen();
        assert!(heard.recv_timeout(Duration::from_secs(60)).is_ok(), "who hangs is noticed");
        let (bitten, heard) = channel::<()>();
        drop(
            Watchdog::with_patience(patience, look, move || {
                let _ = bitten.send(());
            })
            .expect("a thread"),
        );
        assert!(heard.recv_timeout(Duration::from_secs(60)).is_err(), "who has ended is left alone");
    }
}
