//! A thread's end, to be waited for without blocking.

use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::failure::Failure;

/// A thread that ends by itself only when something is wrong.
pub(in crate::command) struct Watched {
    ended: oneshot::Receiver<Result<(), Failure>>,
    result: Option<Result<(), Failure>>,
}

impl Watched {
    /// Waits for a thread on one of its own; `panicked` is what is said if it panics.
    pub(in crate::command) fn new<E: std::error::Error + Send + 'static>(
        thread: JoinHandle<Result<(), E>>,
        panicked: &'static str,
    ) -> Watched {
        let (tell, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let result = match thread.join() {
                Ok(result) => result.map_err(Failure::from),
                Err(_) => Err(Failure::failed(panicked)),
            };
            // Nobody listens if the command has failed already.
            let _ = tell.send(result);
        });
        Watched { ended, result: None }
    }

    /// It has ended.
    pub(in crate::command) async fn ended(&mut self) {
        if self.result.is_none() {
            let gone = |_| Err(Failure::failed("a thread is gone"));
            self.result = Some((&mut self.ended).await.unwrap_or_else(gone));
        }
    }

    /// How it ended.
    pub(in crate::command) async fn result(mut self) -> Result<(), Failure> {
        self.ended().await;
        self.result.unwrap_or(Ok(()))
    }
}
