//! The two stages behind the router: commit, which makes batches durable, and apply, which makes them readable and has them scored.
//!
//! Each is a thread with a short bounded queue in front, so a slow disk holds up the router, and the router its source. Whatever
//! waits when a commit begins shares its fsync, and so do the scores that are ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use floodmark_features::time::Time;
use floodmark_store::{BatchReport, Commit, Store, StoreError};

use crate::scoring::Scored;

/// Batches that wait for a commit, and for being applied: enough to keep both busy, little enough to bound memory.
const QUEUE: usize = 8;
/// Batches that share one fsync at most.
const GROUP: usize = 8;
/// Scores wait so long for a commit that takes them along.
const SCORES_WAIT: Duration = Duration::from_millis(5);

/// A routed batch, and whom to tell once it can be read.
pub(crate) struct Routed {
    pub(crate) commit: Commit,
    pub(crate) done: Box<dyn FnOnce(&BatchReport) + Send>,
}

/// The running stages.
pub(crate) struct Stages {
    queue: SyncSender<Routed>,
    /// Batches that are sent and not applied yet.
    underway: Arc<AtomicUsize>,
    committer: JoinHandle<Result<(), StoreError>>,
    applier: JoinHandle<Result<(), StoreError>>,
}

impl Stages {
    /// Starts both stages on a store. `clock` is asked for the time of a commit.
    pub(crate) fn start(store: &Arc<Store>, clock: fn() -> Time, scored: Scored) -> Stages {
        let (queue, routed) = sync_channel(QUEUE);
        let (committed_out, committed) = sync_channel(QUEUE);
        let (first, second) = (store.clone(), store.clone());
        let underway = Arc::new(AtomicUsize::new(0));
        let still = underway.clone();
        Stages {
            queue,
            committer: spawn(move || commit_all(&first, &routed, &committed_out, clock)),
            applier: spawn(move || apply_all(&second, &committed, &scored, &still)),
            underway,
        }
    }

    /// Hands a batch to the commit stage; waits while its queue is full. False if a stage has failed.
    pub(crate) fn send(&self, routed: Routed) -> bool {
        self.underway.fetch_add(1, Ordering::AcqRel);
        self.queue.send(routed).is_ok()
    }

    /// Waits for everything sent to be readable.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        drop(self.queue);
        let committed = self.committer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let applied = self.applier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        committed.and(applied)
    }
}

fn commit_all(store: &Store, routed: &Receiver<Routed>, out: &SyncSender<(u64, Routed)>, clock: fn() -> Time) -> Result<(), StoreError> {
    while let Ok(first) = routed.recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = routed.try_recv()
        {
            group.push(next);
        }
        let (mut commits, done): (Vec<Commit>, Vec<_>) = group.into_iter().map(|r| (r.commit, r.done)).unzip();
        // The append is the commit: a crash before this line replays the batches, a crash after it loses nothing.
        let versions = store.commit(&mut commits, clock())?;
        for ((version, commit), done) in versions.into_iter().zip(commits).zip(done) {
            if out.send((version, Routed { commit, done })).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn apply_all(store: &Store, committed: &Receiver<(u64, Routed)>, scored: &Scored, underway: &AtomicUsize) -> Result<(), StoreError> {
    // What was committed before and not scored comes first.
    scored.work_off(store)?;
    while let Some((version, routed)) = next(store, committed, underway)? {
        let turn = store.turn();
        let outputs = store.apply_on_all_cores(version, &routed.commit)?;
        let report = store.publish(version, &routed.commit, outputs);
        drop(turn);
        (routed.done)(&report);
        if routed.commit.to_score.is_some() {
            scored.score(store, version)?;
        }
        let _turn = store.turn();
        store.keep_memory_bounded()?;
        if store.checkpoint_is_due() {
            store.checkpoint()?;
        }
    }
    store.write_scores()
}

/// The next batch to apply; `None` after the last. Scores that no commit is on its way to take along are written meanwhile.
fn next(store: &Store, committed: &Receiver<(u64, Routed)>, underway: &AtomicUsize) -> Result<Option<(u64, Routed)>, StoreError> {
    let batch = loop {
        if store.ready_score_bytes() == 0 {
            break committed.recv().ok();
        }
        match committed.recv_timeout(SCORES_WAIT) {
            Ok(batch) => break Some(batch),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) if underway.load(Ordering::Acquire) == 0 => store.write_scores()?,
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    if batch.is_some() {
        underway.fetch_sub(1, Ordering::AcqRel);
    }
    Ok(batch)
}
