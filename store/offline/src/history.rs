//! Reading history: the events of a source as they were taken in, in their order.

use std::thread;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::Int64Type;
use floodmark_features::definition::Source;
use floodmark_store::Store;
use floodmark_store::kept::column;

use crate::error::OfflineError;
use crate::{OfflineStore, events};

impl OfflineStore {
    /// The events of every source, with the columns that a store's views need of them.
    pub fn history_for(&self, store: &Store) -> Result<Vec<(usize, RecordBatch)>, OfflineError> {
        let of_source = |source| Ok((source, self.history(source, &needed(store, source))?));
        (0..store.definitions().sources.len()).map(of_source).collect()
    }

    /// All events of a source: its columns, of which those that are not `needed` are null throughout, then those of
    /// [`floodmark_store::kept::column`], in the order in which they came.
    pub fn history(&self, source: usize, needed: &[usize]) -> Result<RecordBatch, OfflineError> {
        let table = &self.events[source];
        let definition = &self.definitions.sources[source];
        let schema = events::schema_of(definition);
        let wanted = |at: usize| at >= definition.schema.columns.len() || needed.contains(&at);
        let names: Vec<&str> = (0..schema.fields().len()).filter(|at| wanted(*at)).map(|at| schema.field(at).name().as_str()).collect();
        let files = table.files()?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let read = |files: &[String]| -> Result<Vec<RecordBatch>, OfflineError> {
            let mut all = Vec::new();
            for file in files {
                for batch in table.read_file(file, Some(&names))? {
                    all.push(events::filled(&batch, &schema)?);
                }
            }
            Ok(all)
        };
        let batches = thread::scope(|scope| {
            let readers: Vec<_> = files.chunks(files.len().div_ceil(cores).max(1)).map(|files| scope.spawn(move || read(files))).collect();
            let joined = readers.into_iter().map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        in_order(concat_batches(&schema, batches.iter().flatten())?)
    }
}

/// The columns of a source that its views need.
fn needed(store: &Store, source: usize) -> Vec<usize> {
    let definition = &store.definitions().sources[source];
    let sections = store.plan().sections.iter().filter(|section| section.source == source);
    let of_views = sections.flat_map(|section| section.columns.iter().chain(&section.key_columns).copied());
    of_views.chain([definition.event_time]).chain(definition.event_id).collect()
}

/// Rows that others have of a source's events, in the columns of its table and their types; what they do not have is null.
pub fn as_kept(source: &Source, rows: &RecordBatch) -> Result<RecordBatch, OfflineError> {
    events::filled(rows, &events::schema_of(source))
}

/// Events by their sequence numbers. Files may come in any order, but most do not.
pub fn in_order(batch: RecordBatch) -> Result<RecordBatch, OfflineError> {
    let sequences = batch.column_by_name(column::SEQUENCE).filter(|column| {
        let numbers = column.as_primitive_opt::<Int64Type>();
        numbers.is_some_and(|numbers| !numbers.values().is_sorted())
    });
    let order: Option<UInt32Array> = sequences.map(|sequences| sort_to_indices(sequences, None, None)).transpose()?;
    Ok(match order {
        Some(order) => take_record_batch(&batch, &order)?,
        None => batch,
    })
}
