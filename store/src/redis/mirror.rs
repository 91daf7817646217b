//! The mirror: follows an embedded store and keeps Redis at its newest version, in rounds.
//!
//! A round takes the version that is published, then what has changed, and writes each partition's timelines in parts, the version with
//! the last one. Rows of later versions may go along: whoever reads cuts them off. When a connection is lost the partitions are claimed
//! again, which tells what Redis still has; where that is less than it acknowledged, or parts of a round may be lost, all timelines
//! with something newer are written again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::RedisSettings;
use super::error::OnlineError;
use super::layout::{Kept, Marks};
use super::writer::{Last, Write, Writer, Written};
use crate::Store;
use crate::changes::TimelineChange;

/// Timelines in one script at most: readers wait while it runs.
const MOST_TIMELINES: usize = 128;
/// And so many bytes, about.
const MOST_BYTES: usize = 512 << 10;
/// Rounds that are tried at once where Redis has lost something.
const TRIES: usize = 4;

/// Writes an embedded store to Redis.
pub struct Mirror {
    store: Arc<Store>,
    writer: Writer,
    partitions: Vec<Mirrored>,
    marks: Marks,
    claimed: bool,
}

/// What a partition in Redis stands at.
#[derive(Debug, Default)]
struct Mirrored {
    /// The version, as far as it was confirmed; `None` before the first.
    version: Option<u64>,
    /// All its timelines have to be looked through.
    look_through: bool,
    /// Parts of a round were written that has not ended.
    begun: bool,
    /// What is to be written next.
    pending: Vec<TimelineChange>,
    pending_bytes: usize,
}

impl Mirror {
    /// Takes over writing to Redis for a store, from whoever has it.
    pub fn attach(store: Arc<Store>, settings: &RedisSettings) -> Result<Mirror, OnlineError> {
        settings.check_name()?;
        // Before the first version is taken: what is applied from now on is noted.
        store.changes.begin();
        let partitions = (0..store.partitions()).map(|_| Mirrored { look_through: true, ..Mirrored::default() }).collect();
        let mut mirror = Mirror { store, writer: Writer::new(settings), partitions, marks: Marks::default(), claimed: false };
        mirror.claim()?;
        mirror.refuse_newer(settings)?;
        Ok(mirror)
    }

    /// A store that was put back from a copy commits other events under versions that Redis has already: it would keep the old ones.
    fn refuse_newer(&self, settings: &RedisSettings) -> Result<(), OnlineError> {
        let (found, ours) = (self.partitions.iter().filter_map(|partition| partition.version).max(), self.store.version());
        match found {
            Some(found) if found > ours => {
                let difference = format!("it is at version {found}, and this store, an older copy, at {ours}");
                Err(OnlineError::Other { difference, name: settings.name.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Brings Redis to the newest version, and returns that.
    pub fn catch_up(&mut self) -> Result<u64, OnlineError> {
        let mut tries = 0;
        loop {
            match self.claim_and_write() {
                Ok(Some(version)) => return Ok(version),
                Ok(None) if tries < TRIES => tries += 1,
                Ok(None) => return Err(self.writer.unavailable("it lost at once what was written".to_owned())),
                Err(error) => {
                    self.lose();
                    return Err(error);
                }
            }
        }
    }

    /// `None` if Redis has lost something, so that it has to be done again.
    fn claim_and_write(&mut self) -> Result<Option<u64>, OnlineError> {
        if !self.claimed {
            self.claim()?;
        }
        let version = self.round()?;
        if version.is_none() {
            self.lose();
        }
        Ok(version)
    }

    fn claim(&mut self) -> Result<(), OnlineError> {
        let found = self.writer.claim(&self.store)?;
        for (partition, found) in self.partitions.iter_mut().zip(found) {
            // Less than it said that it had.
            partition.look_through |= found < partition.version;
            partition.version = found;
        }
        self.claimed = true;
        Ok(())
    }

    /// What was on its way may have come or not; what had come may be lost.
    fn lose(&mut self) {
        self.claimed = false;
        for (at, partition) in self.partitions.iter_mut().enumerate() {
            partition.look_through |= std::mem::take(&mut partition.begun);
            partition.pending_bytes = 0;
            self.store.give_back(at, &std::mem::take(&mut partition.pending));
        }
    }

    fn round(&mut self) -> Result<Option<u64>, OnlineError> {
        let store = self.store.clone();
        // As in a read: the watermarks before the version, what has changed after it.
        let watermarks = (0..store.definitions().sources.len()).map(|source| store.source_watermark(source)).collect();
        let version = store.version();
        if self.partitions.iter().all(|partition| partition.version == Some(version)) {
            return Ok(Some(version));
        }
        for (at, partition) in self.partitions.iter_mut().enumerate() {
            partition.look_through |= store.changes.lock(at).begin_round();
        }
        if self.partitions.iter().any(|partition| partition.look_through) {
            let since: Vec<Option<u64>> = self.partitions.iter().map(|p| p.look_through.then(|| p.version.unwrap_or(0))).collect();
            let mut whole = true;
            store.look_through(&since, |at, changes| {
                whole = whole && self.take(at, changes, version)?;
                Ok::<(), OnlineError>(())
            })?;
            if !whole {
                return Ok(None);
            }
        }
        for at in 0..self.partitions.len() {
            let since = self.partitions[at].version.unwrap_or(0);
            while let Some(changes) = store.take_changes(at, MOST_TIMELINES, since)? {
                if !self.take(at, changes, version)? {
                    return Ok(None);
                }
            }
        }
        self.marks.push(version, watermarks);
        self.finish(version).map(|whole| whole.then_some(version))
    }

    /// Adds what is to be written of a partition; writes it once it is enough. False if Redis has lost something.
    fn take(&mut self, at: usize, changes: Vec<TimelineChange>, version: u64) -> Result<bool, OnlineError> {
        for change in changes {
            let partition = &mut self.partitions[at];
            partition.pending_bytes += change.bytes();
            partition.pending.push(change);
            if (partition.pending.len() >= MOST_TIMELINES || partition.pending_bytes >= MOST_BYTES) && !self.write(at, version)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a part of a partition's round.
    fn write(&mut self, at: usize, version: u64) -> Result<bool, OnlineError> {
        let kept = self.kept();
        let partition = &mut self.partitions[at];
        let write = Write {
            partition: at,
            epoch: self.writer.epoch(),
            base: partition.version,
            version,
            timelines: &partition.pending,
            kept: &kept,
            last: None,
        };
        let written = self.writer.write(&[write])?;
        for written in &written {
            if !Mirrored::took(written)? {
                return Ok(false);
            }
        }
        partition.begun = true;
        partition.pending.clear();
        partition.pending_bytes = 0;
        Ok(true)
    }

    /// Writes the last part of each partition's round, and with it the version.
    fn finish(&mut self, version: u64) -> Result<bool, OnlineError> {
        let kept = self.kept();
        let mut writes = Vec::with_capacity(self.partitions.len());
        for (partition, mirrored) in self.partitions.iter().enumerate() {
            let (base, timelines, last) = (mirrored.version, mirrored.pending.as_slice(), Some(Last { marks: &self.marks, state: None }));
            writes.push(Write { partition, epoch: self.writer.epoch(), base, version, timelines, kept: &kept, last });
        }
        let written = self.writer.write(&writes)?;
        let mut whole = true;
        for (partition, written) in self.partitions.iter_mut().zip(written) {
            match Mirrored::took(&written)? {
                true => *partition = Mirrored { version: Some(version), ..Mirrored::default() },
                false => whole = false,
            }
        }
        Ok(whole)
    }

    /// Read after what is written with it: it says nothing of what is not gone yet, and all of what is.
    fn kept(&self) -> Kept {
        let sources = 0..self.store.definitions().sources.len();
        Kept {
            oldest: sources.map(|source| self.store.oldest_time(source)).collect(),
            folded_version: self.store.folded_version.iter().map(|version| version.load(Ordering::Acquire)).collect(),
        }
    }

    /// Follows the store on a thread of its own. `tell` hears when Redis is lost and when it is back.
    pub fn follow(mut self, tell: impl Fn(&str) + Send + 'static) -> std::io::Result<Following> {
        let shared = Arc::new(Shared::default());
        let told = shared.clone();
        let run = move || {
            let result = self.run(&told, &tell);
            told.ended.store(true, Ordering::Release);
            result
        };
        let thread = std::thread::Builder::new().name("mirror".to_owned()).spawn(run)?;
        Ok(Following { shared, thread })
    }

    fn run(&mut self, shared: &Shared, tell: &dyn Fn(&str)) -> Result<(), OnlineError> {
        let (mut seen, mut lost, mut rest) = (0, false, SHORTEST_REST);
        loop {
            // Before the round, so that what is published before the stop is written.
            let stopping = shared.stop.load(Ordering::Acquire);
            match self.catch_up() {
                Ok(version) => {
                    shared.version.store(version, Ordering::Release);
                    if std::mem::take(&mut lost) {
                        tell("redis is back, and at the newest version");
                    }
                    rest = SHORTEST_REST;
                    if stopping {
                        return Ok(());
                    }
                    seen = self.store.changes.wait(seen, LONGEST_REST);
                }
                Err(error @ (OnlineError::Timeout { .. } | OnlineError::Unavailable { .. })) => {
                    if stopping {
                        return Err(error);
                    }
                    if !std::mem::replace(&mut lost, true) {
                        tell(&format!("redis is lost, and tried again; commits go on: {error}"));
                    }
                    std::thread::sleep(rest);
                    rest = (rest * 2).min(LONGEST_REST);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

const SHORTEST_REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_millis(200);

impl Mirrored {
    /// Whether Redis has what was written; if not, what it has.
    fn took(written: &Written) -> Result<bool, OnlineError> {
        match written {
            Written::Yes | Written::Old(_) => Ok(true),
            Written::Behind(_) | Written::Unclaimed => Ok(false),
            Written::Fenced { ours, newest } => Err(OnlineError::Fenced { ours: *ours, newest: *newest }),
        }
    }
}

/// What the thread and its owner tell each other.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    ended: AtomicBool,
    version: AtomicU64,
}

/// A mirror at work.
#[derive(Debug)]
pub struct Following {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), OnlineError>>,
}

impl Following {
    /// The version that Redis was brought to last.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// Whether it has given up: another process writes now, or Redis holds something else.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Brings Redis to the newest version once more, and ends.
    pub fn stop(self) -> Result<(), OnlineError> {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
