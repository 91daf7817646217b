//! A store in memory that follows an offline store: whatever comes into its tables can be read here soon after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use floodmark_features::definition::Definitions;
use floodmark_history::Remembered;
use floodmark_intake::history::{HistoryError, take_history};
use floodmark_offline::{Following, OfflineError};
use floodmark_serving::metrics::{Kept, catalog};
use floodmark_store::Store;

use crate::failure::Failure;
use crate::offline;

/// The thread looks so often whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The thread that follows.
pub(super) struct Follower {
    thread: JoinHandle<()>,
    counts: Arc<Counts>,
}

/// What it has done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    events: AtomicU64,
    failures: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Read(#[from] OfflineError),
    #[error(transparent)]
    Take(#[from] HistoryError),
}

impl Follower {
    /// Takes all of history in, and then looks again and again for more.
    pub(super) fn start(place: &str, definitions: &Arc<Definitions>, interval: Duration) -> Result<(Arc<Store>, Follower), Failure> {
        let Remembered { store, following, .. } = offline::remembered(place, definitions)?;
        let counts = Arc::new(Counts::default());
        let (followed, counted) = (store.clone(), counts.clone());
        let thread = thread::Builder::new().name("follower".to_owned());
        let thread = thread.spawn(move || follow(&followed, following, interval, &counted))?;
        Ok((store, Follower { thread, counts }))
    }

    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Stops to follow.
    pub(super) fn end(self) -> Result<(), Failure> {
        self.counts.stopping.store(true, Ordering::Release);
        self.thread.join().map_err(|_| Failure::failed("what follows the offline store has panicked".to_owned()))
    }
}

impl Counts {
    /// For the page of metrics.
    pub(super) fn kept(self: &Arc<Counts>) -> Vec<Kept> {
        let (events, failures) = (self.clone(), self.clone());
        vec![
            Kept::new(&catalog::FOLLOWED_EVENTS, &[], move || events.events.load(Ordering::Relaxed)),
            Kept::new(&catalog::FOLLOW_FAILURES, &[], move || failures.failures.load(Ordering::Relaxed)),
        ]
    }
}

fn follow(store: &Store, mut following: Following, interval: Duration, counts: &Counts) {
    let mut troubled = false;
    loop {
        let mut waited = Duration::ZERO;
        while waited < interval {
            if counts.stopping.load(Ordering::Acquire) {
                return;
            }
            let turn = LOOK.min(interval - waited);
            thread::sleep(turn);
            waited += turn;
        }
        match more(store, &mut following) {
            Ok(events) => {
                counts.events.fetch_add(events, Ordering::Relaxed);
                troubled = false;
            }
            Err(trouble) => {
                counts.failures.fetch_add(1, Ordering::Relaxed);
                // Once: it is tried again and again.
                if !troubled {
                    eprintln!("floodmark: the offline store cannot be followed, and what was read from it is served: {trouble}");
                }
                troubled = true;
            }
        }
    }
}

fn more(store: &Store, following: &mut Following) -> Result<u64, Trouble> {
    let (sources, place) = following.newer()?;
    let events = sources.iter().map(|(_, events)| events.num_rows() as u64).sum();
    take_history(store, &sources, &|_| ())?;
    // Not before: what could not be taken is read again, and events that were taken are recognised.
    following.taken(place);
    Ok(events)
}
