//! Where the rows of a call are read: in this process one after the other, or in Redis all of a turn in one round trip.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Answer, Ask};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_store::redis::Reader;
use floodmark_store::{ReadError, Store};

use crate::asked::Asked;
use crate::refusal::Refusal;

/// Where rows are read.
#[derive(Debug)]
pub(crate) enum OnlineStore {
    /// In this process.
    Store(Arc<Store>),
    /// In Redis. While it is waited for, so is the thread: its patience is short, and ends with the caller's.
    Redis(Box<Reader>),
}

/// When rows are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    /// The as-of time of rows that say none.
    pub(crate) now: Time,
    /// Nobody waits for them after this.
    pub(crate) due: Option<Instant>,
}

/// A row that was read.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    /// Its place in the request.
    pub(crate) at: usize,
    /// Of the entity that it is about.
    pub(crate) keys: &'a [ValueRef<'a>],
    /// The request columns.
    pub(crate) request: &'a [ValueRef<'a>],
    /// The time that was read.
    pub(crate) as_of: Time,
    /// The features.
    pub(crate) answer: &'a Answer,
}

impl OnlineStore {
    /// What is read.
    pub(crate) fn definitions(&self) -> &Arc<Definitions> {
        match self {
            OnlineStore::Store(store) => store.definitions(),
            OnlineStore::Redis(reader) => reader.definitions(),
        }
    }

    /// The same for another thread, which then waits for nobody here.
    pub(crate) fn another(&self) -> OnlineStore {
        match self {
            OnlineStore::Store(store) => OnlineStore::Store(store.clone()),
            OnlineStore::Redis(reader) => OnlineStore::Redis(Box::new(reader.another())),
        }
    }

    /// Reads some rows and hands each on, in their order, until one is refused.
    pub(crate) fn read(
        &self,
        asked: &Asked<'_>,
        rows: Range<usize>,
        when: When,
        each: impl FnMut(&Found<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match self {
            OnlineStore::Store(store) => one_by_one(store, asked, rows, when.now, each),
            OnlineStore::Redis(reader) => {
                let Some(patience) = when.left() else { return Err(Refusal::Overdue) };
                together(reader, asked, rows, (when.now, patience), each).map_err(|refusal| match refusal {
                    Refusal::Read { .. } if when.left().is_none() => Refusal::Overdue,
                    refusal => refusal,
                })
            }
        }
    }
}

impl When {
    /// How long somebody still waits, if at all.
    fn left(&self) -> Option<Duration> {
        let left = self.due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
        (!left.is_zero()).then_some(left)
    }
}

thread_local! {
    /// Used again from row to row, so that cells need no new memory.
    static ANSWER: RefCell<Answer> = RefCell::default();
}

fn one_by_one(
    store: &Store,
    asked: &Asked<'_>,
    rows: Range<usize>,
    now: Time,
    mut each: impl FnMut(&Found<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut values = Vec::with_capacity(asked.values_in_a_row());
    ANSWER.with_borrow_mut(|answer| {
        for at in rows {
            values.clear();
            asked.read_values(at, &mut values)?;
            let (keys, request) = values.split_at(asked.keys());
            let own_event = asked.own_event(at)?;
            let as_of = asked.as_of(at, own_event.as_ref(), now)?;
            let (version, mode) = (asked.spine.version, asked.mode);
            let ask = Ask { keys, request, as_of, version, own_event: own_event.as_ref(), mode };
            store.read(&asked.plan.lookup, &ask, answer).map_err(|error| refused(error, at))?;
            each(&Found { at, keys, request, as_of, answer })?;
        }
        Ok(())
    })
}

/// The caller's patience may be shorter than the reader's.
fn together(
    reader: &Reader,
    asked: &Asked<'_>,
    rows: Range<usize>,
    (now, patience): (Time, Duration),
    mut each: impl FnMut(&Found<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let in_a_row = asked.values_in_a_row();
    let mut values = Vec::with_capacity(in_a_row * rows.len());
    let mut times = Vec::with_capacity(rows.len());
    for at in rows.clone() {
        asked.read_values(at, &mut values)?;
        let own_event = asked.own_event(at)?;
        let as_of = asked.as_of(at, own_event.as_ref(), now)?;
        times.push((as_of, own_event));
    }
    let mut asks = Vec::with_capacity(times.len());
    for (row, (as_of, own_event)) in times.iter().enumerate() {
        let (keys, request) = values[row * in_a_row..(row + 1) * in_a_row].split_at(asked.keys());
        let (version, mode) = (asked.spine.version, asked.mode);
        asks.push(Ask { keys, request, as_of: *as_of, version, own_event: own_event.as_ref(), mode });
    }
    let answers = reader.read_within(&asked.plan.lookup, &asks, patience.min(reader.patience()));
    for ((answer, ask), at) in answers.into_iter().zip(&asks).zip(rows) {
        let answer = &answer.map_err(|error| refused(error, at))?;
        each(&Found { at, keys: ask.keys, request: ask.request, as_of: ask.as_of, answer })?;
    }
    Ok(())
}

fn refused(error: ReadError, at: usize) -> Refusal {
    Refusal::Read { error, field: format!("rows[{at}]") }
}
