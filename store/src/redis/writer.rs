//! Writing to Redis: partitions that are claimed under an epoch, and the commands that change them.

use std::time::Duration;

use ::redis::{Cmd, Value};
use floodmark_features::codec::snapshot;

use super::RedisSettings;
use super::error::OnlineError;
use super::layout::{FOLDED, Kept, Marks, digits, number, progress_key, timeline_key};
use super::link::{Link, Part, Place, bytes, items};
use super::meta;
use super::scripts::{CLAIM, WRITE};
use crate::Store;
use crate::changes::TimelineChange;

/// The right to write, of one process at a time.
pub(super) struct Writer {
    link: Link,
    name: String,
    patience: Duration,
    epoch: u64,
}

/// What is to be written of one partition, in one script.
pub(super) struct Write<'a> {
    pub(super) partition: usize,
    /// The version that is built upon, if any: if Redis has less, it has lost something.
    pub(super) base: Option<u64>,
    /// The version that is built.
    pub(super) version: u64,
    pub(super) timelines: &'a [TimelineChange],
    pub(super) kept: &'a Kept,
    /// The watermarks of the version, with the last part.
    pub(super) marks: Option<&'a Marks>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is there.
    Yes,
    /// Redis is at this version, which is no older.
    Old(u64),
    /// Redis has lost what was built upon: it is at this version, if at any.
    Behind(Option<u64>),
    /// Redis has forgotten that we write.
    Unclaimed,
}

impl Writer {
    pub(super) fn new(settings: &RedisSettings) -> Writer {
        let link = Link::new(settings.address.clone(), settings.name.clone());
        Writer { link, name: settings.name.clone(), patience: settings.write_patience, epoch: 0 }
    }

    /// Takes over all partitions for a store, and says what version each is at, if at any.
    pub(super) fn claim(&mut self, store: &Store) -> Result<Vec<Option<u64>>, OnlineError> {
        self.refuse_eviction()?;
        let partitions = store.partitions();
        let found = self.ask(Place::Meta, &meta::describe(&self.name, store.definitions(), partitions, store.id()))?;
        let found = meta::check(&found, &self.name, store.definitions())?;
        let other = |difference: String| OnlineError::Other { difference, name: self.name.clone() };
        if found.store != store.id() {
            return Err(other("it mirrors another store".to_owned()));
        }
        if found.partitions != partitions {
            return Err(other(format!("it has {} partitions, this store has {partitions}", found.partitions)));
        }
        let newest = self.epochs(partitions)?.into_iter().max().unwrap_or(0);
        // A claim that is made again after a failure keeps its epoch, so that it does not take over from whoever came later.
        match self.epoch {
            0 => self.epoch = newest + 1,
            ours if newest > ours => return Err(OnlineError::Fenced { ours, newest }),
            _ => {}
        }
        let epoch = digits(self.epoch);
        let claim = |partition| {
            let mut command = CLAIM.on(&[&progress_key(&self.name, partition)]);
            command.arg(&epoch);
            part(Place::Partition(partition), &[command])
        };
        let parts: Vec<Part> = (0..partitions).map(claim).collect();
        let mut versions = Vec::with_capacity(partitions);
        for answer in self.link.exchange(&parts, self.patience)? {
            let state = answer.first().map(items).unwrap_or_default();
            let newest = state.first().and_then(|epoch| number(epoch)).unwrap_or(0);
            if newest != self.epoch {
                return Err(OnlineError::Fenced { ours: self.epoch, newest });
            }
            versions.push(state.get(1).and_then(|version| number(version)));
        }
        Ok(versions)
    }

    fn epochs(&mut self, partitions: usize) -> Result<Vec<u64>, OnlineError> {
        let ask = |partition| {
            let mut command = ::redis::cmd("HGET");
            command.arg(progress_key(&self.name, partition)).arg("epoch");
            part(Place::Partition(partition), &[command])
        };
        let parts: Vec<Part> = (0..partitions).map(ask).collect();
        let answers = self.link.exchange(&parts, self.patience)?;
        Ok(answers.iter().map(|answer| answer.first().and_then(|epoch| number(bytes(epoch))).unwrap_or(0)).collect())
    }

    /// Keys without an expiry must not be dropped for want of memory: a reader would take them for unknown entities.
    fn refuse_eviction(&mut self) -> Result<(), OnlineError> {
        let mut command = ::redis::cmd("INFO");
        command.arg("memory");
        let info = self.ask(Place::Meta, &command)?;
        let info = match &info {
            Value::VerbatimString { text, .. } => text.clone(),
            other => String::from_utf8_lossy(bytes(other)).into_owned(),
        };
        let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).unwrap_or("noeviction").trim();
        match policy.starts_with("allkeys") {
            true => Err(OnlineError::Evicts { policy: policy.to_owned() }),
            false => Ok(()),
        }
    }

    fn ask(&mut self, place: Place, command: &Cmd) -> Result<Value, OnlineError> {
        let mut answers = self.link.exchange(&[part(place, std::slice::from_ref(command))], self.patience)?;
        Ok(answers.pop().and_then(|mut answers| answers.pop()).unwrap_or(Value::Nil))
    }

    /// Redis does not answer as it should.
    pub(super) fn unavailable(&self, what: String) -> OnlineError {
        OnlineError::Unavailable { what, address: self.link.address().to_string() }
    }

    /// Writes parts of different partitions in one round trip, each as one.
    pub(super) fn write(&mut self, writes: &[Write<'_>]) -> Result<Vec<Written>, OnlineError> {
        let parts: Vec<Part> = writes.iter().map(|write| part(Place::Partition(write.partition), &[self.command(write)])).collect();
        let answers = self.link.exchange_once(&parts, self.patience)?;
        answers.iter().map(|answer| self.written(answer.first().unwrap_or(&Value::Nil))).collect()
    }

    fn command(&self, write: &Write<'_>) -> Cmd {
        let progress = progress_key(&self.name, write.partition);
        let keys: Vec<Vec<u8>> = write.timelines.iter().map(|change| timeline_key(&self.name, write.partition, &change.key)).collect();
        let all: Vec<&[u8]> = std::iter::once(&progress).chain(&keys).map(Vec::as_slice).collect();
        let mut command = WRITE.on(&all);
        command
            .arg(digits(self.epoch))
            .arg(write.base.map(digits).unwrap_or_default())
            .arg(digits(write.version))
            .arg(snapshot(write.kept));
        command.arg(write.marks.map(snapshot).unwrap_or_default());
        for change in write.timelines {
            command.arg(u8::from(change.whole)).arg(change.chunks.len() + usize::from(change.folded.is_some()));
            for (chunk, bytes) in &change.chunks {
                command.arg(&chunk.to_be_bytes()[..]).arg(bytes.as_slice());
            }
            if let Some(folded) = &change.folded {
                command.arg(FOLDED).arg(folded.as_slice());
            }
        }
        command
    }

    fn written(&self, answer: &Value) -> Result<Written, OnlineError> {
        match items(answer).as_slice() {
            [b"written", _] => Ok(Written::Yes),
            [b"old", version] => Ok(Written::Old(number(version).unwrap_or(0))),
            [b"behind", version] => Ok(Written::Behind(number(version))),
            [b"epoch", epoch] => match number(epoch) {
                Some(newest) if newest > self.epoch => Err(OnlineError::Fenced { ours: self.epoch, newest }),
                _ => Ok(Written::Unclaimed),
            },
            _ => Err(self.unavailable("a script did not answer as it should".to_owned())),
        }
    }
}

/// Commands of one place.
pub(super) fn part(place: Place, commands: &[Cmd]) -> Part {
    let mut packed = Vec::new();
    commands.iter().for_each(|command| packed.extend(command.get_packed_command()));
    Part { place, commands: packed, answers: commands.len() }
}
