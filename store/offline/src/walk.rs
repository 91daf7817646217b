//! Walking: the events of a place from the first to the newest, in the order in which they came, some at a time.

use std::collections::HashMap;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int64Type;
use floodmark_store::kept::column;

use crate::error::OfflineError;
use crate::history::in_order;
use crate::table::Table;
use crate::{OfflineStore, events};

/// So many sequence numbers are read at once: memory holds about so many events.
const STRETCH: i64 = 1 << 19;

/// Somebody on the way through the events of some sources.
#[derive(Debug)]
pub struct Walk {
    offline: OfflineStore,
    sources: Vec<OfSource>,
    stretch: i64,
    /// The sequence numbers of the files that were read: the tables' logs may not say (statistics are of the first columns only).
    seen: HashMap<String, (i64, i64)>,
}

#[derive(Debug)]
struct OfSource {
    source: usize,
    /// Its columns that are asked for.
    needed: Vec<usize>,
    /// The next sequence number.
    from: i64,
}

impl Walk {
    /// From the first event of each source, with the columns that are asked for by their places.
    pub fn new(offline: OfflineStore, sources: Vec<(usize, Vec<usize>)>) -> Walk {
        let sources = sources.into_iter().map(|(source, needed)| OfSource { source, needed, from: 0 }).collect();
        Walk { offline, sources, stretch: STRETCH, seen: HashMap::new() }
    }

    /// How many events of each of the sources there are by now, those that came too late aside.
    pub fn events(&self) -> Result<Vec<(usize, u64)>, OfflineError> {
        let rows = |source: usize| -> Result<u64, OfflineError> {
            let files = self.offline.events[source].files_numbered(column::SEQUENCE, (0, i64::MAX))?;
            Ok(files.iter().map(|(_, rows)| *rows).fold(0, u64::saturating_add))
        };
        self.sources.iter().map(|of| Ok((of.source, rows(of.source)?))).collect()
    }

    /// The next events of a source: its columns, of which those that nobody asked for are null throughout, then those of [`column`]; those
    /// that came too late for every view of then are among them. `None` where nothing more was committed at `until` or before: all of that
    /// must be in the tables.
    pub fn next(&mut self, until: u64) -> Result<Option<(usize, RecordBatch)>, OfflineError> {
        for at in 0..self.sources.len() {
            if let Some(events) = self.stretch(at, until)? {
                return Ok(Some((self.sources[at].source, events)));
            }
        }
        Ok(None)
    }

    fn stretch(&mut self, at: usize, until: u64) -> Result<Option<RecordBatch>, OfflineError> {
        let (source, mut from) = (self.sources[at].source, self.sources[at].from);
        // Gaps are of rejected records, and of duplicates.
        let found = loop {
            if !self.has_beyond(source, from)? {
                return Ok(None);
            }
            let found = self.read(at, (from, from.saturating_add(self.stretch - 1)))?;
            if found.num_rows() > 0 {
                break found;
            }
            from = from.saturating_add(self.stretch);
        };
        // Versions rise with the sequence numbers. Of later commits there may be some already and some not.
        let known = numbers(&found, column::VERSION).partition_point(|version| *version as u64 <= until);
        let Some(last) = numbers(&found, column::SEQUENCE)[..known].last() else { return Ok(None) };
        self.sources[at].from = last + 1;
        Ok(Some(found.slice(0, known)))
    }

    fn has_beyond(&self, source: usize, from: i64) -> Result<bool, OfflineError> {
        for table in self.tables(source) {
            let files = table.files_numbered(column::SEQUENCE, (from, i64::MAX))?;
            if files.iter().any(|(file, _)| self.may_hold(file, (from, i64::MAX))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a file may have numbers of these, by what was seen of it.
    fn may_hold(&self, file: &str, (from, to): (i64, i64)) -> bool {
        self.seen.get(file).is_none_or(|(least, most)| *least <= to && *most >= from)
    }

    fn read(&mut self, at: usize, within: (i64, i64)) -> Result<RecordBatch, OfflineError> {
        let of = &self.sources[at];
        let definition = &self.offline.definitions.sources[of.source];
        let schema = events::schema_of(definition);
        let names = events::names_of(definition, &schema, &of.needed);
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        for table in self.tables(of.source) {
            for (file, _) in table.files_numbered(column::SEQUENCE, within)? {
                if !self.may_hold(&file, within) {
                    continue;
                }
                let mut range = (i64::MAX, i64::MIN);
                for batch in table.read_file(&file, Some(&names))? {
                    let batch = events::filled(&batch?, &schema)?;
                    let sequences = numbers(&batch, column::SEQUENCE);
                    range = sequences.iter().fold(range, |(least, most), sequence| (least.min(*sequence), most.max(*sequence)));
                    let inside: BooleanArray = sequences.iter().map(|sequence| Some((within.0..=within.1).contains(sequence))).collect();
                    found.push(filter_record_batch(&batch, &inside)?);
                }
                seen.push((file, range));
            }
        }
        self.seen.extend(seen);
        in_order(concat_batches(&schema, &found)?)
    }

    fn tables(&self, source: usize) -> impl Iterator<Item = &Table> {
        [Some(&self.offline.events[source]), self.offline.late[source].as_ref()].into_iter().flatten()
    }
}

/// A column of the store's own numbers.
fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i64] {
    batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>()).map_or(&[], |column| column.values())
}

#[cfg(test)]
mod tests;
