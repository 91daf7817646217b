//! Writing to Redis: partitions that are claimed under an epoch, and the commands that change them.
//!
//! A mirror has all partitions under one epoch, whoever applies a feature log has some, each under its own.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use ::redis::{Cmd, Value};
use floodmark_features::codec::snapshot;
use floodmark_features::definition::Definitions;

use super::RedisSettings;
use super::error::OnlineError;
use super::layout::{FOLDED, Kept, Marks, digits, number, open_windows_key, progress_key, timeline_key};
use super::link::{Link, Part, Place, bytes, items};
use super::meta;
use super::scripts::{CLAIM, TAKE_OVER, WRITE};
use crate::Store;
use crate::changes::TimelineChange;

/// So many of an epoch's bits are chance; the others leave room for eight thousand million claims in a float.
const CHANCE_BITS: u32 = 20;

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
    pub(super) epoch: u64,
    /// The version that is built upon, if any: if Redis has less, it has lost something.
    pub(super) base: Option<u64>,
    /// The version that is built.
    pub(super) version: u64,
    pub(super) timelines: &'a [TimelineChange],
    pub(super) kept: &'a Kept,
    /// What makes it the version, with the last part.
    pub(super) last: Option<Last<'a>>,
}

/// The end of a partition's round.
#[derive(Clone, Copy)]
pub(super) struct Last<'a> {
    pub(super) marks: &'a Marks,
    /// Where a feature log is applied.
    pub(super) state: Option<&'a Applied>,
}

/// What is kept beside the timelines where a feature log is applied.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// [`super::layout::State`]
    pub(super) state: Vec<u8>,
    /// Open windows of entities, by the field that they are under; empty if there are none any more.
    pub(super) windows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a partition in Redis is at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stands {
    pub(super) epoch: u64,
    pub(super) version: Option<u64>,
}

/// A partition that was taken over.
pub(super) struct Taken {
    pub(super) epoch: u64,
    pub(super) version: Option<u64>,
    /// Empty if no round has come to its end.
    pub(super) state: Vec<u8>,
    /// What retention has left; empty unless something was written, if only a part of a round.
    pub(super) kept: Vec<u8>,
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
    /// Another process writes now.
    Fenced { ours: u64, newest: u64 },
}

impl Writer {
    pub(super) fn new(settings: &RedisSettings) -> Writer {
        let link = Link::new(settings.address.clone(), settings.name.clone());
        Writer { link, name: settings.name.clone(), patience: settings.write_patience, epoch: 0 }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Says what is kept here, and sees to it that nothing else is.
    pub(super) fn describe(&mut self, definitions: &Definitions, partitions: usize, id: u64) -> Result<(), OnlineError> {
        self.refuse_eviction()?;
        let found = self.ask(Place::Meta, &meta::describe(&self.name, definitions, partitions, id))?;
        let found = meta::check(&found, &self.name, definitions)?;
        let other = |difference: String| OnlineError::Other { difference, name: self.name.clone() };
        if found.store != id {
            return Err(other("it is filled from another store or feature log".to_owned()));
        }
        if found.partitions != partitions {
            return Err(other(format!("it has {} partitions, and its source has {partitions}", found.partitions)));
        }
        Ok(())
    }

    /// Takes over one partition from whoever has it.
    pub(super) fn take_over(&mut self, partition: usize) -> Result<Taken, OnlineError> {
        let answer = self.ask(Place::Partition(partition), &TAKE_OVER.on(&[&progress_key(&self.name, partition)]))?;
        let [epoch, version, state, kept] = items(&answer)[..] else {
            return Err(self.unavailable("a script did not answer as it should".to_owned()));
        };
        Ok(Taken { epoch: number(epoch).unwrap_or(0), version: number(version), state: state.to_vec(), kept: kept.to_vec() })
    }

    /// Hashes of some partitions as fields and values, in the order in which they are asked for, and what they stand for.
    pub(super) fn read(&mut self, wanted: &[(usize, Vec<Vec<u8>>)]) -> Result<Vec<(Stands, Vec<Value>)>, OnlineError> {
        let of_partition = |(partition, keys): &(usize, Vec<Vec<u8>>)| {
            let all = keys.iter().map(|key| {
                let mut command = ::redis::cmd("HGETALL");
                command.arg(key.as_slice());
                command
            });
            // Last, on the same connection: had it changed before, the hashes could be of another version.
            let mut stands = ::redis::cmd("HMGET");
            stands.arg(progress_key(&self.name, *partition)).arg("epoch").arg("version");
            let commands: Vec<Cmd> = all.chain([stands]).collect();
            part(Place::Partition(*partition), &commands)
        };
        let parts: Vec<Part> = wanted.iter().map(of_partition).collect();
        let stands = |mut answers: Vec<Value>| {
            let last = answers.pop().unwrap_or(Value::Nil);
            let last = items(&last);
            let number_at = |at: usize| last.get(at).and_then(|digits| number(digits));
            (Stands { epoch: number_at(0).unwrap_or(0), version: number_at(1) }, answers)
        };
        Ok(self.link.exchange(&parts, self.patience)?.into_iter().map(stands).collect())
    }

    /// Takes over all partitions for a store, and says what version each is at, if at any.
    pub(super) fn claim(&mut self, store: &Store) -> Result<Vec<Option<u64>>, OnlineError> {
        let partitions = store.partitions();
        self.describe(store.definitions(), partitions, store.id())?;
        let newest = self.epochs(partitions)?.into_iter().max().unwrap_or(0);
        // A claim that is made again after a failure keeps its epoch, so that it does not take over from whoever came later.
        match self.epoch {
            0 => self.epoch = epoch_after(newest, RandomState::new().hash_one(std::process::id())),
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
        writes.iter().zip(&answers).map(|(write, answer)| self.written(write.epoch, answer.first().unwrap_or(&Value::Nil))).collect()
    }

    fn command(&self, write: &Write<'_>) -> Cmd {
        let state = write.last.and_then(|last| last.state);
        let mut keys = vec![progress_key(&self.name, write.partition)];
        keys.extend(state.map(|_| open_windows_key(&self.name, write.partition)));
        keys.extend(write.timelines.iter().map(|change| timeline_key(&self.name, write.partition, &change.key)));
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut command = WRITE.on(&keys);
        command.arg(digits(write.epoch)).arg(write.base.map(digits).unwrap_or_default()).arg(digits(write.version));
        command.arg(snapshot(write.kept)).arg(write.last.map(|last| snapshot(last.marks)).unwrap_or_default());
        command.arg(state.map(|applied| applied.state.as_slice()).unwrap_or_default());
        if let Some(applied) = state {
            command.arg(0).arg(applied.windows.len());
            applied.windows.iter().for_each(|(field, windows)| {
                command.arg(field.as_slice()).arg(windows.as_slice());
            });
        }
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

    fn written(&self, ours: u64, answer: &Value) -> Result<Written, OnlineError> {
        match items(answer).as_slice() {
            [b"written", _] => Ok(Written::Yes),
            [b"old", version] => Ok(Written::Old(number(version).unwrap_or(0))),
            [b"behind", version] => Ok(Written::Behind(number(version))),
            [b"epoch", epoch] => match number(epoch) {
                Some(newest) if newest > ours => Ok(Written::Fenced { ours, newest }),
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

/// Two that claim at the same moment have seen the same epoch: chance makes theirs different, and the greater one has it.
fn epoch_after(newest: u64, chance: u64) -> u64 {
    ((newest >> CHANCE_BITS) + 1) << CHANCE_BITS | chance & ((1 << CHANCE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_grow_and_those_of_one_moment_differ() {
        let first = epoch_after(0, u64::MAX);
        for (newest, chance) in [(0, 0), (first, 0), (first, 7), (first, u64::MAX), (u64::from(u32::MAX), 1)] {
            assert!(epoch_after(newest, chance) > newest, "{newest} {chance}");
        }
        assert_ne!(epoch_after(first, 3), epoch_after(first, 4));
        assert!(epoch_after(first, 0) < 1 << 53, "exact as a float, which is what a script has");
    }
}
