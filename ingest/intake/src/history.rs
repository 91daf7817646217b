//! History: events that were taken in before, with what was decided about them then, on their way into timelines again.
//!
//! An event counts from when it counted then. Whether it still counts in a window of a view follows from that alone, so views of any
//! definition make of the accepted events what they would have made then.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use floodmark_features::engine::{EnginePlan, Outputs};
use floodmark_features::key::{hash_key, partition_of};
use floodmark_features::section::Section;
use floodmark_features::time::Time;
use floodmark_store::kept::column;
use floodmark_store::{Commit, Store, StoreError, Turn};

use crate::router::{Columns, Event};

/// Why history cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A column is not there, or is of another type.
    #[error("history lacks a column. column={0}")]
    Column(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes the events of all sources into a store that nobody else writes: for each source a batch of its columns and those of [`column`], in
/// the order of their sequence numbers, later ones than it has. `watch` is told how many have been taken.
pub fn take_history(store: &Store, sources: &[(usize, RecordBatch)], watch: &dyn Fn(u64)) -> Result<(), HistoryError> {
    take(store, sources, &|version, commit| store.apply_on_all_cores(version, commit), watch)
}

/// The same, for callers that have something else for the other cores.
pub fn take_history_on_one_core(store: &Store, sources: &[(usize, RecordBatch)]) -> Result<(), HistoryError> {
    take(store, sources, &|version, commit| store.apply(version, commit, 0..store.partitions()).map(|outputs| vec![outputs]), &|_| ())
}

/// Takes events of a source to the views of a store that are being computed from history ([`Store::backfill`]): as [`take_history`] has them,
/// some after the other.
pub fn backfill(store: &Store, turn: &Turn<'_>, source: usize, events: &RecordBatch) -> Result<(), HistoryError> {
    let mut past = Past::new(store, source, events)?;
    while let Some((version, commit)) = past.next() {
        store.backfill(turn, version, &commit)?;
    }
    Ok(store.keep_memory_bounded()?)
}

type Apply<'a> = &'a dyn Fn(u64, &Commit) -> Result<Vec<Outputs>, StoreError>;

fn take(store: &Store, sources: &[(usize, RecordBatch)], apply: Apply<'_>, watch: &dyn Fn(u64)) -> Result<(), HistoryError> {
    let mut open = Vec::new();
    for (source, batch) in sources {
        open.push(Past::new(store, *source, batch)?);
    }
    let mut taken = 0;
    // Versions rise over all sources.
    while let Some(at) = (0..open.len()).filter(|at| open[*at].version().is_some()).min_by_key(|at| open[*at].version()) {
        let Some((version, commit)) = open[at].next() else { break };
        let outputs = apply(version, &commit)?;
        // A source may be read further than another when that goes on: what was readable stays so.
        store.publish(version.max(store.version()), &commit, outputs);
        taken += commit.read;
        watch(taken);
    }
    Ok(())
}

/// A source's events, commit by commit.
struct Past<'a> {
    plan: Arc<EnginePlan>,
    source: usize,
    partitions: usize,
    columns: Columns<'a>,
    visible: &'a [i64],
    ids: Option<&'a [i64]>,
    versions: &'a [i64],
    sequences: &'a [i64],
    /// The next row.
    at: usize,
}

impl<'a> Past<'a> {
    fn new(store: &Store, source: usize, batch: &'a RecordBatch) -> Result<Past<'a>, HistoryError> {
        let plan = store.plan().clone();
        let named = |name: &'static str| batch.column_by_name(name).ok_or(HistoryError::Column(name));
        let numbers = |name: &'static str| {
            let column = named(name)?.as_primitive_opt::<Int64Type>().ok_or(HistoryError::Column(name))?;
            Ok::<&'a [i64], HistoryError>(column.values())
        };

        let visible = named(column::VISIBLE_FROM)?.as_primitive_opt::<TimestampMicrosecondType>();
        let visible = visible.ok_or(HistoryError::Column(column::VISIBLE_FROM))?;
        let definition = &plan.definitions.sources[source];
        let ids = if definition.event_id.is_none() { Some(numbers(column::EVENT_ID)?) } else { None };
        Ok(Past {
            source,
            partitions: store.partitions(),
            columns: Columns::of(batch, definition).ok_or(HistoryError::Column("of the source"))?,
            visible: visible.values(),
            ids,
            versions: numbers(column::VERSION)?,
            sequences: numbers(column::SEQUENCE)?,
            at: 0,
            plan,
        })
    }

    fn version(&self) -> Option<u64> {
        self.versions.get(self.at).map(|version| *version as u64)
    }

    /// The events of the next version.
    fn next(&mut self) -> Option<(u64, Commit)> {
        let (version, first) = (self.version()?, self.at);
        let plan = self.plan.clone();
        let sections = || plan.sections.iter().map(|_| Section::default()).collect();
        let mut commit =
            Commit { source: self.source, partitions: (0..self.partitions).map(|_| sections()).collect(), ..Commit::default() };
        let mut key = Vec::new();
        while self.version() == Some(version) {
            let row = self.at;
            let sequence = self.sequences[row] as u64;
            let event = Event {
                row,
                time: self.columns.time(row),
                visible: Time::from_micros(self.visible[row]),
                sequence,
                made_id: self.ids.map_or(0, |ids| ids[row] as u64),
            };
            for (at, section_plan) in plan.sections.iter().enumerate().filter(|(_, section)| section.source == self.source) {
                // Whoever takes events in refuses those that lack a key of a view; of then there was no such view.
                if !self.columns.has_key(section_plan, row) {
                    continue;
                }
                self.columns.key(section_plan, row, &mut key);
                let hash = hash_key(&key);
                let section = &mut commit.partitions[partition_of(hash, self.partitions)][at];
                self.columns.push(&event, section_plan, &key, hash, section);
            }
            self.at += 1;
        }
        commit.read = (self.at - first) as u64;
        Some((version, commit))
    }
}

#[cfg(test)]
mod tests;
