//! Reading from Redis: all rows of a request in one round trip to each node that has something of them, at one version.
//!
//! For each partition, in this order: progress, timelines, what retention has left. Timelines may be newer than the progress, and are
//! cut at its version; retention may have taken something in between, and then says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::{Cmd, Value};
use floodmark_features::codec::restore;
use floodmark_features::definition::Definitions;
use floodmark_features::key::{hash_key, partition_of};
use floodmark_features::lookup::{Answer, Ask, Cell, Known, Lookup};
use floodmark_features::row::Layout;
use floodmark_features::time::Time;
use floodmark_features::timeline::Timeline;
use parking_lot::Mutex;

use super::RedisSettings;
use super::error::OnlineError;
use super::layout::{Kept, Marks, number, progress_key, timeline_key, timeline_of};
use super::link::{Link, Part, Place, bytes, fields, items};
use super::meta;
use super::writer::part;
use crate::error::ReadError;
use crate::layout::timeline_key as key_of;

/// A retention that moved while a request was read may refuse it, so that it is read again: so many times.
const TRIES: usize = 3;

/// Answers from Redis. Make one for each thread: a connection carries one request at a time.
pub struct Reader {
    settings: RedisSettings,
    definitions: Arc<Definitions>,
    layouts: Arc<[Layout]>,
    partitions: usize,
    link: Mutex<Link>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The timelines of a partition that a request needs, and what came of them.
struct Shelf {
    partition: usize,
    /// View, and key as the table `folded` has it.
    wanted: Vec<(usize, Vec<u8>)>,
    timelines: Vec<Timeline>,
    version: u64,
    marks: Marks,
    kept: Kept,
}

impl Reader {
    /// Connects, and checks that what is there was written with these definitions.
    pub fn open(settings: RedisSettings, definitions: Arc<Definitions>) -> Result<Reader, OnlineError> {
        settings.check_name()?;
        let mut link = settings.link();
        let found = link.exchange(&[part(Place::Meta, &[meta::ask(&settings.name)])], settings.write_patience)?;
        let found = found.first().and_then(|answers| answers.first()).unwrap_or(&Value::Nil);
        let partitions = meta::check(found, &settings.name, &definitions)?.partitions;
        let layouts = definitions.views.iter().map(|view| view.layout(&definitions.sources)).collect();
        Ok(Reader { settings, definitions, layouts, partitions, link: Mutex::new(link) })
    }

    /// The same with a connection of its own.
    pub fn another(&self) -> Reader {
        Reader {
            settings: self.settings.clone(),
            definitions: self.definitions.clone(),
            layouts: self.layouts.clone(),
            partitions: self.partitions,
            link: Mutex::new(self.settings.link()),
        }
    }

    /// What it answers for.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// Reads rows, each as [`crate::Store::read`] does, all at one version.
    pub fn read(&self, lookup: &Lookup, asks: &[Ask<'_>]) -> Vec<Result<Answer, ReadError>> {
        self.read_within(lookup, asks, self.settings.read_patience)
    }

    /// How long Redis is waited for, unless something else is said.
    pub fn patience(&self) -> Duration {
        self.settings.read_patience
    }

    /// The same, with other patience.
    pub fn read_within(&self, lookup: &Lookup, asks: &[Ask<'_>], patience: Duration) -> Vec<Result<Answer, ReadError>> {
        let (began, mut tries) = (Instant::now(), 1);
        loop {
            let (mut shelves, places) = self.shelves(lookup, asks);
            if let Err(error) = self.fetch(&mut shelves, patience.saturating_sub(began.elapsed())) {
                return self.refuse_all(asks, error);
            }
            // A partition that is ahead of another is read as the other is.
            let version = shelves.iter().map(|shelf| shelf.version).min().unwrap_or(0);
            let moved = |ask: &Ask<'_>| ask.version.is_none() && shelves.iter().any(|shelf| shelf.has_folded_after(version));
            if tries < TRIES && asks.iter().any(moved) {
                tries += 1;
                continue;
            }
            let row =
                |(ask, places): (&Ask<'_>, &[(usize, usize)])| self.evaluate(lookup, ask, &Found { version, shelves: &shelves, places });
            return asks.iter().zip(places.chunks(lookup.reads.len().max(1))).map(row).collect();
        }
    }

    /// Where each read of each row is to be found, and all that is to be fetched for them, each once.
    fn shelves(&self, lookup: &Lookup, asks: &[Ask<'_>]) -> (Vec<Shelf>, Vec<(usize, usize)>) {
        let mut shelves: Vec<Shelf> = Vec::new();
        let mut of_partition = vec![usize::MAX; self.partitions];
        let mut known: HashMap<Vec<u8>, (usize, usize)> = HashMap::new();
        let mut places = Vec::with_capacity(asks.len() * lookup.reads.len());
        let mut key = Vec::new();
        for ask in asks {
            for read in &lookup.reads {
                key.clear();
                read.encode_key(ask, &mut key);
                let wanted = key_of(read.view, &key);
                let place = known.get(&wanted).copied().unwrap_or_else(|| {
                    let partition = partition_of(hash_key(&key), self.partitions);
                    if of_partition[partition] == usize::MAX {
                        of_partition[partition] = shelves.len();
                        shelves.push(Shelf::of(partition));
                    }
                    let shelf = of_partition[partition];
                    shelves[shelf].wanted.push((read.view, wanted.clone()));
                    let place = (shelf, shelves[shelf].wanted.len() - 1);
                    known.insert(wanted, place);
                    place
                });
                places.push(place);
            }
        }
        (shelves, places)
    }

    fn fetch(&self, shelves: &mut [Shelf], patience: Duration) -> Result<(), OnlineError> {
        let parts: Vec<Part> = shelves.iter().map(|shelf| shelf.ask(&self.settings.name)).collect();
        let answers = self.link.lock().exchange(&parts, patience)?;
        for (shelf, answers) in shelves.iter_mut().zip(&answers) {
            shelf.fill(answers, &self.settings.name, &self.layouts)?;
        }
        Ok(())
    }

    /// No row can be read; all say why.
    fn refuse_all(&self, asks: &[Ask<'_>], error: OnlineError) -> Vec<Result<Answer, ReadError>> {
        let unavailable = || OnlineError::Unavailable { what: error.to_string(), address: self.settings.address.to_string() };
        let others: Vec<_> = asks.iter().skip(1).map(|_| Err(unavailable().into())).collect();
        std::iter::once(Err(error.into())).take(asks.len()).chain(others).collect()
    }

    fn evaluate(&self, lookup: &Lookup, ask: &Ask<'_>, found: &Found<'_>) -> Result<Answer, ReadError> {
        let newest = found.version;
        let version = ask.version.unwrap_or(newest);
        if version > newest {
            return Err(ReadError::VersionInFuture { version, newest });
        }
        // As of the newest version, which is what is known of partitions that are further.
        let watermark_of = |view: usize, shelf: usize| found.shelves[shelf].marks.watermark(self.definitions.views[view].source, newest);
        let watermarks = lookup.reads.iter().zip(found.places).map(|(read, (shelf, _))| watermark_of(read.view, *shelf));
        let watermark = watermarks.min().unwrap_or(Time::MAX);
        let mut answer = Answer { cells: vec![Cell::default(); lookup.columns.len()], watermark, version };
        for (read, (shelf, at)) in lookup.reads.iter().zip(found.places) {
            let final_at = watermark_of(read.view, *shelf);
            let (view, shelf) = (&self.definitions.views[read.view], &found.shelves[*shelf]);
            let source = &self.definitions.sources[view.source];
            let oldest = shelf.kept.oldest.get(view.source).copied().unwrap_or(Time::NONE);
            let folded_version = shelf.kept.folded_version.get(view.source).copied().unwrap_or(0);
            if ask.as_of < oldest || version < folded_version {
                return Err(ReadError::BeforeRetention { as_of: ask.as_of, oldest, source_name: source.name.clone() });
            }
            // How far the watermark had come at an older version is not known: nothing is called final there.
            let watermark = if version < newest { Time::NONE } else { final_at };
            let final_until = if watermark == Time::MAX { watermark } else { watermark - source.allowed_lateness };
            let known = Known { version, final_until };
            read.evaluate(view, &self.layouts[read.view], Some(&shelf.timelines[*at]), ask, known, &mut answer.cells);
        }
        lookup.derive(ask, &mut answer.cells);
        Ok(answer)
    }
}

/// What a row is made from.
struct Found<'a> {
    version: u64,
    shelves: &'a [Shelf],
    /// For each read of the look-up, shelf and timeline.
    places: &'a [(usize, usize)],
}

impl Shelf {
    fn of(partition: usize) -> Shelf {
        let (wanted, timelines) = (Vec::new(), Vec::new());
        Shelf { partition, wanted, timelines, version: 0, marks: Marks::default(), kept: Kept::default() }
    }

    /// Whether retention has folded events that a version does not know.
    fn has_folded_after(&self, version: u64) -> bool {
        self.kept.folded_version.iter().any(|folded| *folded > version)
    }

    fn ask(&self, name: &str) -> Part {
        let progress = progress_key(name, self.partition);
        let mut commands: Vec<Cmd> = Vec::with_capacity(self.wanted.len() + 2);
        let mut first = ::redis::cmd("HMGET");
        first.arg(&progress).arg("version").arg("marks");
        commands.push(first);
        for (_, key) in &self.wanted {
            let mut command = ::redis::cmd("HGETALL");
            command.arg(timeline_key(name, self.partition, key));
            commands.push(command);
        }
        let mut last = ::redis::cmd("HGET");
        last.arg(&progress).arg("kept");
        commands.push(last);
        part(Place::Partition(self.partition), &commands)
    }

    fn fill(&mut self, answers: &[Value], name: &str, layouts: &[Layout]) -> Result<(), OnlineError> {
        let missing = || OnlineError::Missing { name: name.to_owned() };
        let [progress, timelines @ .., kept] = answers else { return Err(missing()) };
        let progress = items(progress);
        let [version, marks] = progress.as_slice() else { return Err(missing()) };
        self.version = number(version).ok_or_else(missing)?;
        self.marks = restore(marks)?;
        self.kept = restore(bytes(kept))?;
        let read = |((view, _), value): (&(usize, Vec<u8>), &Value)| timeline_of(&fields(value), &layouts[*view]);
        self.timelines = self.wanted.iter().zip(timelines).map(read).collect::<Result<_, _>>()?;
        Ok(())
    }
}
