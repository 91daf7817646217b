//! Reading history: the events of a source as they were taken in, in their order.

use std::collections::HashSet;
use std::thread;

use arrow::array::{AsArray, BooleanArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::Int64Type;
use floodmark_features::definition::Source;
use floodmark_store::Store;
use floodmark_store::kept::column;

use crate::error::OfflineError;
use crate::table::Table;
use crate::{OfflineStore, events};

/// How far somebody has read the events of a place.
#[derive(Debug)]
pub struct Following {
    offline: OfflineStore,
    /// For each source, what is needed of it, and what was read of its events and of those that came too late for every view of then.
    sources: Vec<(Vec<usize>, [Read; 2])>,
}

#[derive(Clone, Debug, Default)]
struct Read {
    /// Files that need not be looked at again.
    files: HashSet<String>,
    /// The greatest sequence number. A table grows by greater ones only; a file of others is one that was made of read ones.
    sequence: Option<i64>,
}

/// How far [`Following::newer`] has read.
#[derive(Debug)]
pub struct Place(Vec<[Read; 2]>);

impl Following {
    /// From the first event, for a store's views.
    pub fn new(offline: OfflineStore, store: &Store) -> Following {
        let sources = 0..store.definitions().sources.len();
        Following { offline, sources: sources.map(|source| (needed(store, source), Default::default())).collect() }
    }

    /// For each source, the events that were not taken yet: its columns, of which those that no view needs are null throughout, then those
    /// of [`floodmark_store::kept::column`], in the order in which they came. They are asked for again until [`Following::taken`].
    pub fn newer(&self) -> Result<(Vec<(usize, RecordBatch)>, Place), OfflineError> {
        let (mut batches, mut place) = (Vec::new(), Vec::new());
        for (source, (needed, [events, late])) in self.sources.iter().enumerate() {
            let (mut batch, events) = self.offline.since(&self.offline.events[source], source, needed, events)?;
            let mut read = [events, late.clone()];
            if let Some(table) = &self.offline.late[source] {
                let (others, late) = self.offline.since(table, source, needed, late)?;
                batch = in_order(concat_batches(&batch.schema(), [&batch, &others])?)?;
                read[1] = late;
            }
            batches.push((source, batch));
            place.push(read);
        }
        Ok((batches, Place(place)))
    }

    /// Goes on from there.
    pub fn taken(&mut self, place: Place) {
        self.sources.iter_mut().zip(place.0).for_each(|((_, read), place)| *read = place);
    }
}

impl OfflineStore {
    /// The events of every source, with the columns that a store's views need of them.
    pub fn history_for(self, store: &Store) -> Result<Vec<(usize, RecordBatch)>, OfflineError> {
        Ok(Following::new(self, store).newer()?.0)
    }

    fn since(&self, table: &Table, source: usize, needed: &[usize], read: &Read) -> Result<(RecordBatch, Read), OfflineError> {
        let definition = &self.definitions.sources[source];
        let schema = events::schema_of(definition);
        let names = events::names_of(definition, &schema, needed);
        let all = table.files()?;
        let files: Vec<&String> = all.iter().filter(|file| !read.files.contains(*file)).collect();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let read_files = |files: &[&String]| -> Result<Vec<RecordBatch>, OfflineError> {
            let mut found = Vec::new();
            for file in files {
                for batch in table.read_file(file, Some(&names))? {
                    found.push(after(events::filled(&batch?, &schema)?, read.sequence)?);
                }
            }
            Ok(found)
        };
        let batches = thread::scope(|scope| {
            let readers: Vec<_> =
                files.chunks(files.len().div_ceil(cores).max(1)).map(|files| scope.spawn(move || read_files(files))).collect();
            let joined = readers.into_iter().map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        let batch = in_order(concat_batches(&schema, batches.iter().flatten())?)?;
        let sequence = sequences(&batch).and_then(|sequences| sequences.values().last().copied()).or(read.sequence);
        Ok((batch, Read { files: all.into_iter().collect(), sequence }))
    }
}

fn sequences(batch: &RecordBatch) -> Option<&PrimitiveArray<Int64Type>> {
    batch.column_by_name(column::SEQUENCE)?.as_primitive_opt()
}

/// The rows with greater sequence numbers.
fn after(batch: RecordBatch, sequence: Option<i64>) -> Result<RecordBatch, OfflineError> {
    let (Some(last), Some(sequences)) = (sequence, sequences(&batch)) else { return Ok(batch) };
    let newer: BooleanArray = sequences.values().iter().map(|sequence| Some(*sequence > last)).collect();
    Ok(filter_record_batch(&batch, &newer)?)
}

/// The columns of a source that its views need.
fn needed(store: &Store, source: usize) -> Vec<usize> {
    let sections = store.plan().sections.iter().filter(|section| section.source == source);
    sections.flat_map(|section| section.columns.iter().chain(&section.key_columns).copied()).collect()
}

/// Rows that others have of a source's events, in the columns of its table and their types; what they do not have is null.
pub fn as_kept(source: &Source, rows: &RecordBatch) -> Result<RecordBatch, OfflineError> {
    events::filled(rows, &events::schema_of(source))
}

/// Events by their sequence numbers. Files may come in any order, but most do not.
pub fn in_order(batch: RecordBatch) -> Result<RecordBatch, OfflineError> {
    let sequences = sequences(&batch).filter(|sequences| !sequences.values().is_sorted());
    let order: Option<UInt32Array> = sequences.map(|sequences| sort_to_indices(sequences, None, None)).transpose()?;
    Ok(match order {
        Some(order) => take_record_batch(&batch, &order)?,
        None => batch,
    })
}
