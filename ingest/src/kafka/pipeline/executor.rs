//! An executor: a thread that does one thing after the other for somebody who goes on meanwhile.
//!
//! It is kept. A thread for each thing gives its memory back each time, and takes pages that have to be cleared first.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

type Work = Box<dyn FnOnce() + Send>;

/// Ends once it is dropped and has done what it was given.
pub(super) struct Executor(Sender<Work>);

/// What an executor is at.
pub(super) struct Task<T> {
    result: Receiver<std::thread::Result<T>>,
    is_over: Arc<AtomicBool>,
}

impl Executor {
    /// A thread of this name.
    pub(super) fn new(name: &str) -> std::io::Result<Executor> {
        let (tasks, given) = channel::<Work>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || given.into_iter().for_each(|work| work()))?;
        Ok(Executor(tasks))
    }

    /// Begins something, after what was begun before.
    pub(super) fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        let (done, result) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let work = move || {
            // Whoever waits for it panics in its place; if nobody does, nobody misses it.
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
            over.store(true, Ordering::Release);
        };
        // The thread ends no earlier than this executor.
        let _ = self.0.send(Box::new(work));
        Task { result, is_over }
    }
}

impl<T> Task<T> {
    /// Whether [`Task::wait`] would not wait.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits for the end; `None` if it does not come for so long. Then it may come at any time, or never.
    pub(super) fn wait(&self, patience: Duration) -> Option<T> {
        match self.result.recv_timeout(patience) {
            Ok(ended) => Some(ended.unwrap_or_else(|panic| resume_unwind(panic))),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_begun_is_done_in_order_on_one_thread_and_a_panic_is_its_owners() {
        let executor = Executor::new("executor").expect("a thread");
        let (go, gone) = channel::<()>();
        let first = executor.begin(move || (gone.recv().is_ok(), std::thread::current().id()));
        let second = executor.begin(|| -> u32 { panic!("as it should") });
        let third = executor.begin(|| std::thread::current().id());
        assert!(!first.is_over() && !third.is_over());
        go.send(()).expect("it waits");
        let long = Duration::from_secs(20);
        let (heard, thread) = first.wait(long).expect("an end");
        assert!(heard);
        assert!(catch_unwind(AssertUnwindSafe(|| second.wait(long))).is_err());
        assert_eq!(third.wait(long), Some(thread));
        let (go, gone) = channel::<()>();
        let hung = executor.begin(move || gone.recv().is_ok());
        assert_eq!(hung.wait(Duration::from_millis(20)), None);
        let last = executor.begin(|| 7);
        drop((executor, go));
        assert_eq!(last.wait(long), Some(7));
    }
}
