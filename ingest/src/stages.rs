//! The two stages behind the router: commit, which makes batches durable, and apply, which makes them readable.
//!
//! Each is a thread with a short bounded queue in front, so a slow disk holds up the router, and the router its source. Whatever
//! waits when a commit begins shares its fsync.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, spawn};

use floodmark_features::time::Time;
use floodmark_store::{BatchReport, Commit, Store, StoreError};

/// Batches that wait for a commit, and for being applied: enough to keep both busy, little enough to bound memory.
const QUEUE: usize = 4;
/// Batches that share one fsync at most.
const GROUP: usize = 8;

/// A routed batch, and whom to tell once it can be read.
pub(crate) struct Routed {
    pub(crate) commit: Commit,
    pub(crate) done: Box<dyn FnOnce(&BatchReport) + Send>,
}

/// The running stages.
pub(crate) struct Stages {
    queue: SyncSender<Routed>,
    committer: JoinHandle<Result<(), StoreError>>,
    applier: JoinHandle<Result<(), StoreError>>,
}

impl Stages {
    /// Starts both stages on a store. `clock` is asked for the time of a commit.
    pub(crate) fn start(store: &Arc<Store>, clock: fn() -> Time) -> Stages {
        let (queue, routed) = sync_channel(QUEUE);
        let (committed_out, committed) = sync_channel(QUEUE);
        let (first, second) = (store.clone(), store.clone());
        Stages {
            queue,
            committer: spawn(move || commit_all(&first, &routed, &committed_out, clock)),
            applier: spawn(move || apply_all(&second, &committed)),
        }
    }

    /// Hands a batch to the commit stage; waits while its queue is full. False if a stage has failed.
    pub(crate) fn send(&self, routed: Routed) -> bool {
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

fn apply_all(store: &Store, committed: &Receiver<(u64, Routed)>) -> Result<(), StoreError> {
    while let Ok((version, routed)) = committed.recv() {
        let outputs = store.apply_on_all_cores(version, &routed.commit)?;
        let report = store.publish(version, &routed.commit, outputs);
        (routed.done)(&report);
        store.keep_memory_bounded()?;
        if store.checkpoint_is_due() {
            store.checkpoint()?;
        }
    }
    Ok(())
}
