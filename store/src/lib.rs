//! The versioned store: a durable feature log, and timelines in memory and in chunks, on an embedded engine (redb).
//!
//! A commit is one atomic, fsynced batch: the routed events of each partition, the rejected records, and the progress of each
//! source, under one version. Timelines are applied in memory from the same batch; their chunks are written at the next
//! checkpoint, with the version that they stand for, and opening a store loads what it needs of the chunks and replays the rest of
//! the log. Reads take a version and see whole commits only, so they never wait for a writer longer than a few hundred rows take.

mod backfill;
mod changes;
mod checkpoint;
mod commit;
mod cores;
mod error;
mod growth;
pub mod kept;
mod layout;
mod likeness;
mod memory;
mod outputs;
mod predictions;
mod read;
mod recovery;
pub mod redis;
mod retention;
mod scores;
mod side;
mod sweep;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use floodmark_features::definition::Definitions;
use floodmark_features::engine::{EnginePlan, Shard, ViewCounts};
use floodmark_features::row::Layout;
use floodmark_features::time::Time;
use floodmark_features::watermark::SourceProgress;
use parking_lot::{Mutex, RwLock};
use redb::Database;
use scores::Scored;
use waiting::Queue;

use crate::backfill::Backfill;
use crate::changes::Changes;

pub use backfill::Turn;
pub use commit::{BatchReport, Commit, Tally};
pub use error::{OfflinePlaceError, OpenError, ReadError, StoreError};
pub use kept::Kept;
pub use outputs::{Output, OutputKind};
pub use predictions::{Appended, PredictionKey};
pub use scores::{ScoreRecord, Unscored, Waiting};
pub use side::{RejectedRecord, SideOutputs};
pub use sweep::{KeySweep, SWEEP_ROWS, Sweep, SweepRow};
pub use waiting::CommitEvents;

/// What may be chosen when a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of log partitions of a new store; an old one keeps its own.
    pub partitions: u32,
    /// Timelines in memory may take this much, in bytes; cold ones are dropped beyond it and read back when asked for.
    pub memory_budget: usize,
    /// Cache of the embedded engine, in bytes.
    pub engine_cache: usize,
    /// A checkpoint is due once the log behind the last one is longer than this, in bytes: it bounds how long opening takes.
    pub checkpoint_after: u64,
    /// Views that follow those that the store was made with are added to it ([`Store::backfill`]); else they are refused.
    pub grows: bool,
    /// The definitions are those of the store from now on, in all that may change: for whoever is going to write.
    pub writes: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            partitions: 16,
            memory_budget: 1 << 30,
            engine_cache: 64 << 20,
            checkpoint_after: 256 << 20,
            grows: false,
            writes: false,
        }
    }
}

/// An open store. Shared by reference between one writer and any number of readers.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    id: u64,
    database: Database,
    settings: Settings,
    plan: Arc<EnginePlan>,
    /// For each view, what the words of its rows mean, and where its timeline stands among those of its entity.
    layouts: Box<[Layout]>,
    places: Box<[usize]>,
    shards: Box<[RwLock<Shard>]>,
    /// For each shard, whether the engine may hold entities that are not in memory.
    has_cold: Box<[AtomicBool]>,
    /// The newest version whose events are all applied.
    published: AtomicU64,
    /// For each source, its watermark as of the published version, in microseconds.
    watermarks: Box<[AtomicI64]>,
    /// For each source, the oldest as-of time that can be asked, in microseconds.
    oldest: Box<[AtomicI64]>,
    /// For each source, the newest version of an event that retention has folded into a lifetime partial.
    folded_version: Box<[AtomicU64]>,
    /// Rises with each batch; tells warm timelines from cold ones.
    tick: AtomicU32,
    /// Rises whenever chunks change or timelines are dropped: what was loaded before that may be stale.
    epoch: AtomicU64,
    writer: Mutex<Writer>,
    syncs: Syncs,
    /// What was decided since the last checkpoint and is not stored yet.
    pending: Mutex<SideOutputs>,
    /// Commits whose events wait for their scores, and scores that wait to be stored.
    to_score: Queue,
    scored: Mutex<Scored>,
    /// Commits whose events wait for the offline store.
    to_keep: Queue,
    /// Where that is.
    offline: Mutex<Option<String>>,
    /// What a mirror has not been given yet, if there is one.
    changes: Changes,
    /// Who changes timelines.
    turn: Mutex<()>,
    /// Views that are to be computed from history.
    backfill: Backfill,
}

/// Commits that are durable, and the time that the disk took for them.
#[derive(Debug, Default)]
struct Syncs {
    commits: AtomicU64,
    nanos: AtomicU64,
}

/// What only the writer touches.
#[derive(Debug)]
struct Writer {
    /// The newest version that was committed.
    version: u64,
    /// The newest version that the chunks stand for.
    checkpointed: u64,
    /// Bytes of log behind the checkpoint.
    log_bytes: u64,
    /// For each source, its positions and watermarks as committed.
    progress: Vec<SourceProgress>,
    /// For each source, what became of its events as of the published version.
    tallies: Vec<Tally>,
}

impl Store {
    /// What the store was made with.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.plan.definitions
    }

    /// The sections that routed events come in.
    pub fn plan(&self) -> &Arc<EnginePlan> {
        &self.plan
    }

    pub(crate) fn view_layout(&self, view: usize) -> &Layout {
        &self.layouts[view]
    }

    /// The number that it is known by among others; it never changes.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Number of log partitions.
    pub fn partitions(&self) -> usize {
        self.shards.len()
    }

    /// The newest version whose events can be read.
    pub fn version(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// The watermark of a source, as of the newest version.
    pub fn source_watermark(&self, source: usize) -> Time {
        Time::from_micros(self.watermarks[source].load(Ordering::Acquire))
    }

    /// The oldest as-of time that can be asked of a source; [`Time::NONE`] if everything is kept.
    pub fn oldest_time(&self, source: usize) -> Time {
        Time::from_micros(self.oldest[source].load(Ordering::Acquire))
    }

    /// Positions and watermarks of a source as committed: where its router goes on.
    pub fn progress(&self, source: usize) -> SourceProgress {
        self.writer.lock().progress[source].clone()
    }

    /// Durable commits since the store was opened, and the time that they took. One may hold several batches.
    pub fn commits(&self) -> (u64, Duration) {
        (self.syncs.commits.load(Ordering::Relaxed), Duration::from_nanos(self.syncs.nanos.load(Ordering::Relaxed)))
    }

    /// Bytes of log behind the last checkpoint: what opening the store would have to replay.
    pub fn log_bytes(&self) -> u64 {
        self.writer.lock().log_bytes
    }

    /// What became of the events of a source.
    pub fn tally(&self, source: usize) -> Tally {
        self.writer.lock().tallies[source]
    }

    /// What became of the events of each view.
    pub fn view_counts(&self) -> Vec<ViewCounts> {
        let mut all = vec![ViewCounts::default(); self.definitions().views.len()];
        for shard in &self.shards {
            shard.read().counts.iter().zip(&mut all).for_each(|(counts, sum)| sum.add(counts));
        }
        all
    }

    /// Memory that timelines take, in bytes.
    pub fn memory(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().bytes()).sum()
    }
}
