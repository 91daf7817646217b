//! What a model has done since it was loaded, counted without a lock.
//!
//! A run is one turn of the model over some rows. Whoever serves may let several calls share a run, and tells how those went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counts of one model.
#[derive(Debug, Default)]
pub struct Counts {
    runs: AtomicU64,
    errors: AtomicU64,
    succeeded: AtomicU64,
    succeeded_nanos: AtomicU64,
    failed: AtomicU64,
    failed_nanos: AtomicU64,
    input_nanos: AtomicU64,
    queue_nanos: AtomicU64,
    model_nanos: AtomicU64,
    last_millis: AtomicU64,
}

/// Calls that a model had a part in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Those with an answer.
    pub succeeded: u64,
    /// How long they took, all together.
    pub succeeded_time: Duration,
    /// Those without.
    pub failed: u64,
    /// How long they took, all together.
    pub failed_time: Duration,
    /// Of all this time: to make rows.
    pub input_time: Duration,
    /// To wait, for each other and for the model.
    pub queue_time: Duration,
    /// For the model's run, as often as there are calls that shared it.
    pub model_time: Duration,
}

impl Counts {
    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// How many of them ended in an error.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The calls that were told, all together.
    pub fn calls(&self) -> Calls {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        Calls {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            succeeded_time: time(&self.succeeded_nanos),
            failed: self.failed.load(Ordering::Relaxed),
            failed_time: time(&self.failed_nanos),
            input_time: time(&self.input_nanos),
            queue_time: time(&self.queue_nanos),
            model_time: time(&self.model_nanos),
        }
    }

    /// When the last of them ended, in time since the epoch; zero before the first.
    pub fn last_call(&self) -> Duration {
        Duration::from_millis(self.last_millis.load(Ordering::Relaxed))
    }

    /// Tells of calls that ended at `at`, in time since the epoch.
    pub fn called(&self, calls: &Calls, at: Duration) {
        let add = |count: &AtomicU64, more: u64| {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        };
        add(&self.succeeded, calls.succeeded);
        add(&self.succeeded_nanos, nanos(calls.succeeded_time));
        add(&self.failed, calls.failed);
        add(&self.failed_nanos, nanos(calls.failed_time));
        add(&self.input_nanos, nanos(calls.input_time));
        add(&self.queue_nanos, nanos(calls.queue_time));
        add(&self.model_nanos, nanos(calls.model_time));
        self.last_millis.fetch_max(u64::try_from(at.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn ran(&self, well: bool) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        if !well {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up() {
        let counts = Counts::default();
        assert_eq!((counts.calls(), counts.last_call()), (Calls::default(), Duration::ZERO));
        let ms = Duration::from_millis;
        let some =
            Calls { succeeded: 3, succeeded_time: ms(30), input_time: ms(6), queue_time: ms(9), model_time: ms(3), ..Calls::default() };
        counts.called(&some, ms(500));
        counts.called(&Calls { failed: 1, failed_time: ms(7), ..some }, ms(400));
        let all = Calls {
            succeeded: 6,
            succeeded_time: ms(60),
            failed: 1,
            failed_time: ms(7),
            input_time: ms(12),
            queue_time: ms(18),
            model_time: ms(6),
        };
        assert_eq!((counts.calls(), counts.last_call()), (all, ms(500)), "time never goes back");
        counts.ran(true);
        counts.ran(false);
        assert_eq!((counts.runs(), counts.errors()), (2, 1));
    }
}
