//! Events in memory: taken in as they come, or recalled with what was decided about them before.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchReader, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::ffi_stream::RecordBatchStreamReader;
use arrow_pyarrow::{IntoPyArrow, PyArrowType};
use floodmark_features::lookup::Mode;
use floodmark_features::suggest::Hint;
use floodmark_features::time::Time;
use floodmark_history::remember_into;
use floodmark_intake::batch::{BATCH_ROWS, SourceBatch};
use floodmark_intake::columns::Layout;
use floodmark_intake::columns::typed::Typed;
use floodmark_intake::history::take_history;
use floodmark_intake::router::Router;
use floodmark_offline::{as_kept, in_order};
use floodmark_store::{BatchReport, Settings, Store, Tally};
use floodmark_training::{TrainingSpec, TrainingStream};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::definitions::Definitions;
use crate::failed;
use crate::training::TrainingReader;

/// What the one partition of a source is called.
const PARTITION: &str = "memory";

/// Events of all sources of a definition, in memory.
#[pyclass(frozen, module = "floodmark._kernel")]
#[derive(Debug)]
pub(crate) struct Events {
    store: Arc<Store>,
    /// The next batch's version.
    next: std::sync::Mutex<u64>,
}

#[pymethods]
impl Events {
    /// No events yet.
    #[new]
    fn new(definitions: &Definitions) -> PyResult<Events> {
        let store = Store::in_memory(definitions.inner.clone(), Settings::default()).map_err(failed)?;
        Ok(Events { store: Arc::new(store), next: std::sync::Mutex::new(1) })
    }

    /// Takes the events of a source in, in the order in which they come or by event time, and says what became of them.
    fn take<'py>(
        &self,
        py: Python<'py>,
        source: &str,
        batches: PyArrowType<RecordBatchStreamReader>,
        by_event_time: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let source = self.source(source)?;
        let (tally, first) = py.detach(|| self.take_in(source, batches.0, by_event_time))?;
        let counts = PyDict::new(py);
        counts.set_item("read", tally.read)?;
        counts.set_item("accepted", tally.accepted)?;
        counts.set_item("partially_late", tally.partially_late)?;
        counts.set_item("late", tally.late)?;
        counts.set_item("rejected", tally.rejected)?;
        counts.set_item("duplicates", tally.duplicates)?;
        counts.set_item("first_rejection", first)?;
        Ok(counts)
    }

    /// Takes events in that have the columns of the offline store, with what was decided about them when they came.
    fn recall(&self, py: Python<'_>, sources: Vec<(String, PyArrowType<RecordBatchStreamReader>)>) -> PyResult<u64> {
        let mut read = Vec::new();
        for (name, batches) in sources {
            read.push((self.source(&name)?, batches.0));
        }
        py.detach(|| {
            let as_kept = |(source, batches)| {
                let rows = all(batches).map_err(failed)?;
                let rows = as_kept(&self.store.definitions().sources[source], &rows).and_then(in_order).map_err(failed)?;
                Ok((source, rows))
            };
            self.recall_all(&read.into_iter().map(as_kept).collect::<PyResult<Vec<_>>>()?)
        })
    }

    /// The same of everything that is kept at a place: a folder, or s3://BUCKET/PREFIX.
    fn recall_place(&self, py: Python<'_>, place: &str) -> PyResult<u64> {
        let remembered = py.detach(|| remember_into(&self.store, place, &|_, _| ())).map_err(failed)?;
        Ok(count(&remembered.events))
    }

    /// Adds features to rows, block by block, as they are asked for.
    #[pyo3(signature = (definitions, rows, *, service, features, time, event_id, mode, version, statuses, threads))]
    #[allow(clippy::too_many_arguments, reason = "they are named where it is called")]
    fn training_set<'py>(
        &self,
        py: Python<'py>,
        definitions: &Definitions,
        rows: PyArrowType<RecordBatchStreamReader>,
        service: &str,
        features: Option<Vec<String>>,
        time: String,
        event_id: Option<String>,
        mode: &str,
        version: Option<u64>,
        statuses: bool,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mode = match mode {
            "as_served" => Mode::AsServed,
            "as_corrected" => Mode::AsCorrected,
            other => return Err(failed(format!("no mode has this name. mode={other} known=as_served,as_corrected"))),
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let lookup = Arc::new(definitions.lookup(service, features.as_deref())?);
        let spec = TrainingSpec { lookup, time, event_id, mode, version, threads: threads.unwrap_or_else(cores).max(1), statuses };
        let set = TrainingStream::new(self.store.clone(), spec, &rows.0.schema()).map_err(failed)?;
        let reader: Box<dyn RecordBatchReader + Send> = Box::new(TrainingReader::new(set, rows.0));
        reader.into_pyarrow(py)
    }
}

impl Events {
    fn source(&self, name: &str) -> PyResult<usize> {
        let names = || self.store.definitions().sources.iter().map(|source| source.name.as_str());
        names().position(|source| source == name).ok_or_else(|| {
            let known = names().collect::<Vec<_>>().join(",");
            failed(format!("no source has this name{} source={name} known={known}", Hint::nearest(name, names())))
        })
    }

    fn take_in(&self, source: usize, batches: RecordBatchStreamReader, by_event_time: bool) -> PyResult<(Tally, Option<String>)> {
        let mut router = Router::new(self.store.plan().clone(), source, self.store.partitions(), self.store.progress(source));
        // One partition: what is given is in one order.
        let partition = router.progress_mut().open(PARTITION);
        let definition = &self.store.definitions().sources[source];
        let typed = Typed::of(Layout::new(definition, &router.required()), &batches.schema()).map_err(failed)?;
        let (mut tally, mut first, mut at) = (Tally::default(), None, 0);
        let mut take = |batch: SourceBatch| -> PyResult<()> {
            let report = self.apply(&mut router, partition, &batch)?;
            tally.add(&report.tally);
            if first.is_none() {
                first = report.rejects.first().map(|reject| format!("row {}: {}", reject.position.offset, reject.message));
            }
            Ok(())
        };
        let mut pieces = Vec::new();
        for batch in batches {
            let batch = batch.map_err(failed)?;
            for from in (0..batch.num_rows()).step_by(BATCH_ROWS) {
                let piece = batch.slice(from, BATCH_ROWS.min(batch.num_rows() - from));
                let typed = typed.batch_of(&piece, at).map_err(failed)?;
                at = typed.end;
                match by_event_time {
                    true => pieces.push(typed),
                    false => take(typed)?,
                }
            }
        }
        for batch in by_time(pieces, definition.event_time).map_err(failed)? {
            take(batch)?;
        }
        Ok((tally, first))
    }

    fn apply(&self, router: &mut Router, partition: usize, batch: &SourceBatch) -> PyResult<BatchReport> {
        let mut next = self.next.lock().map_err(failed)?;
        let commit = router.route(batch, partition, now());
        let outputs = self.store.apply_on_all_cores(*next, &commit).map_err(failed)?;
        let report = self.store.publish(*next, &commit, outputs);
        *next += 1;
        Ok(report)
    }

    fn recall_all(&self, sources: &[(usize, RecordBatch)]) -> PyResult<u64> {
        take_history(&self.store, sources, &|_| ()).map_err(failed)?;
        Ok(count(sources))
    }
}

fn count(sources: &[(usize, RecordBatch)]) -> u64 {
    sources.iter().map(|(_, events)| events.num_rows() as u64).sum()
}

/// All rows as one batch.
fn all(batches: RecordBatchStreamReader) -> Result<RecordBatch, ArrowError> {
    let schema = batches.schema();
    concat_batches(&schema, &batches.collect::<Result<Vec<_>, _>>()?)
}

/// Batches of the same rows in the order of their event times, and all that was not taken.
fn by_time(batches: Vec<SourceBatch>, event_time: usize) -> Result<Vec<SourceBatch>, ArrowError> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let (schema, end) = (first.columns.schema(), batches.last().map_or(0, |batch| batch.end));
    let rows = concat_batches(&schema, batches.iter().map(|batch| &batch.columns))?;
    let offsets: Vec<u64> = batches.iter().flat_map(|batch| batch.offsets.iter()).collect();
    let mut rejects: Vec<_> = batches.into_iter().flat_map(|batch| batch.rejects).collect();
    let times = rows.column(event_time).as_primitive::<TimestampMicrosecondType>().values();
    let mut order: Vec<u32> = (0..times.len() as u32).collect();
    order.sort_by_key(|row| times[*row as usize]);
    let piece = |order: &[u32]| {
        let columns = take_record_batch(&rows, &UInt32Array::from(order.to_vec()))?;
        let offsets = order.iter().map(|row| offsets[*row as usize]).collect();
        let offsets = floodmark_intake::offsets::Offsets::List(offsets);
        Ok(SourceBatch { columns, offsets, appended: Vec::new(), rejects: std::mem::take(&mut rejects), end })
    };
    let mut pieces: Vec<SourceBatch> = order.chunks(BATCH_ROWS).map(piece).collect::<Result<_, ArrowError>>()?;
    if pieces.is_empty() && !rejects.is_empty() {
        let columns = RecordBatch::new_empty(schema);
        pieces.push(SourceBatch { columns, offsets: Default::default(), appended: Vec::new(), rejects, end });
    }
    Ok(pieces)
}

/// The clock, which events must not be ahead of.
fn now() -> Time {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}
