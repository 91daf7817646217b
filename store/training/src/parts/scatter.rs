//! Rows and events on their way to the files of their parts.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Int64Type, Schema};
use floodmark_features::key::{encode_key, hash_key, partition_of};
use floodmark_features::time::Time;
use floodmark_store::kept::column;

use super::spill::{Spill, Spilled, broken};
use super::{PartsOf, Past, ROW, Scratch, sources_of};
use crate::TrainingSpec;
use crate::error::TrainingError;
use crate::spine_file::SpineFile;
use crate::tasks::in_parallel;
use crate::words::Words;

pub(crate) type Scattered = Spilled;

/// The rows of the spine, in parts for each key set.
pub(crate) struct Rows {
    pub(crate) spilled: Vec<Scattered>,
    /// The first and the last time that is asked for; none if there is none.
    pub(crate) times: Option<(Time, Time)>,
}

/// Of blocks of row groups, each with its first row.
pub(crate) fn scatter_rows<'b>(
    spine: &SpineFile,
    spec: &TrainingSpec,
    sets: &[PartsOf],
    blocks: impl Iterator<Item = (&'b Range<usize>, &'b u64)>,
    scratch: &Scratch,
    parts: usize,
) -> Result<Rows, TrainingError> {
    let spills: Vec<Spill> = (0..sets.len()).map(|set| Spill::new(scratch, &format!("rows-{set}"), parts)).collect();
    let mut needed: Vec<usize> = spine.spine.needed.iter().map(|needed| needed.position).collect();
    needed.sort_unstable();
    needed.dedup();
    // What a block takes is the same for each: one after the other.
    let mut times: Option<(Time, Time)> = None;
    for (groups, start) in blocks {
        let rows = spine.read_rows(groups.clone(), &needed)?;
        let block = spine.spine.block_of_some(std::slice::from_ref(&rows), |position| needed.partition_point(|at| *at < position))?;
        let time = &block.columns[spine.spine.time];
        for row in (0..block.rows).filter(|row| !time.is_null(*row)) {
            let at = Time::from_micros(time.word(row) as i64);
            let (first, last) = times.unwrap_or((at, at));
            times = Some((first.min(at), last.max(at)));
        }
        let rows = numbered(&rows, *start)?;
        in_parallel(spec.threads, sets.len(), |set| {
            let routed = sets[set].set.route(&spine.spine, &block, 0..block.rows, parts);
            let rows_of: Vec<Vec<u32>> = routed.into_iter().map(|part| part.into_iter().map(|(_, row)| row).collect()).collect();
            spills[set].by_part(&rows, rows_of)
        })?;
    }
    Ok(Rows { spilled: spills.into_iter().map(Spill::finish).collect::<Result<_, _>>()?, times })
}

/// The rows with their places in the spine beside them.
fn numbered(rows: &RecordBatch, start: u64) -> Result<RecordBatch, TrainingError> {
    let places: Int64Array = (start as i64..start as i64 + rows.num_rows() as i64).collect::<Vec<i64>>().into();
    let fields =
        rows.schema().fields().iter().cloned().chain([Arc::new(Field::new(ROW, places.data_type().clone(), false))]).collect::<Vec<_>>();
    let columns = rows.columns().iter().cloned().chain([Arc::new(places) as _]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(broken)
}

/// The events, in parts for each key set and each of its sources.
pub(crate) type Events = Vec<Vec<(usize, Scattered)>>;

pub(crate) fn scatter_events(
    past: &impl Past,
    spec: &TrainingSpec,
    sets: &[PartsOf],
    within: (Time, Time),
    scratch: &Scratch,
    parts: usize,
) -> Result<Events, TrainingError> {
    let mut spilled: Events = sets.iter().map(|_| Vec::new()).collect();
    for source in sources_of(&spec.lookup) {
        let takers: Vec<(usize, Taker<'_>)> = sets
            .iter()
            .enumerate()
            .filter(|(_, of)| of.sources().contains(&source))
            .map(|(set, of)| (set, Taker::new(of, source, Spill::new(scratch, &format!("events-{set}-{source}"), parts), parts)))
            .collect();
        let mut columns: Vec<usize> = takers.iter().flat_map(|(_, taker)| taker.columns.iter().copied()).collect();
        columns.sort_unstable();
        columns.dedup();
        let pieces = past.pieces(source, within)?;
        in_parallel(spec.threads, pieces.len(), |at| {
            past.read(source, &pieces[at], &columns, &mut |events| {
                let events = up_to(events, spec.version)?;
                takers.iter().try_for_each(|(_, taker)| taker.take(&events))
            })
        })?;
        for (set, taker) in takers {
            spilled[set].push((source, taker.spill.finish()?));
        }
    }
    Ok(spilled)
}

/// The events that were committed by then.
fn up_to(events: RecordBatch, version: Option<u64>) -> Result<RecordBatch, TrainingError> {
    let Some(version) = version else { return Ok(events) };
    let versions = events.column_by_name(column::VERSION).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let versions = versions.ok_or_else(|| TrainingError::History { detail: format!("no column {}", column::VERSION) })?;
    let known = versions.values().iter().map(|v| Some(*v as u64 <= version)).collect();
    arrow::compute::filter_record_batch(&events, &known).map_err(broken)
}

/// Sends the events of a source to the parts of a key set.
struct Taker<'a> {
    of: &'a PartsOf,
    source: usize,
    /// Columns of the source that its views need.
    columns: Vec<usize>,
    /// For each way that views take keys from events, the columns.
    keys: Vec<Vec<usize>>,
    spill: Spill,
    parts: usize,
}

impl<'a> Taker<'a> {
    fn new(of: &'a PartsOf, source: usize, spill: Spill, parts: usize) -> Taker<'a> {
        let definitions = &of.spec.lookup.definitions;
        let definition = &definitions.sources[source];
        let views = || of.spec.lookup.reads.iter().map(|read| &definitions.views[read.view]).filter(|view| view.source == source);
        let mut keys: Vec<Vec<usize>> = Vec::new();
        for view in views() {
            if !keys.contains(&view.key_columns) {
                keys.push(view.key_columns.clone());
            }
        }
        let mut columns: Vec<usize> = views().flat_map(|view| view.columns.iter().chain(&view.key_columns).copied()).collect();
        columns.extend([definition.event_time].into_iter().chain(definition.event_id));
        columns.sort_unstable();
        columns.dedup();
        Taker { of, source, columns, keys, spill, parts }
    }

    fn take(&self, events: &RecordBatch) -> Result<(), TrainingError> {
        let source = &self.of.spec.lookup.definitions.sources[self.source];
        let mut wanted: Vec<&str> = self.columns.iter().map(|at| source.schema.columns[*at].name.as_str()).collect();
        wanted.extend([column::VISIBLE_FROM, column::VERSION, column::SEQUENCE]);
        if source.event_id.is_none() {
            wanted.push(column::EVENT_ID);
        }
        let places = wanted.iter().map(|name| events.schema().index_of(name)).collect::<Result<Vec<_>, _>>().map_err(broken)?;
        self.spill.by_part(&events.project(&places).map_err(broken)?, self.route(events)?)
    }

    /// For each part, the rows whose key is in it; an event that two views know by different keys may be in two parts.
    fn route(&self, events: &RecordBatch) -> Result<Vec<Vec<u32>>, TrainingError> {
        let schema = &self.of.spec.lookup.definitions.sources[self.source].schema;
        let mut parts: Vec<Vec<u32>> = vec![Vec::new(); self.parts];
        let mut key = Vec::new();
        for columns in &self.keys {
            let mut keys = Vec::new();
            for at in columns {
                let column = &schema.columns[*at];
                let mut words = Words::new(column.kind);
                let found = events
                    .column_by_name(&column.name)
                    .ok_or_else(|| TrainingError::Scratch { detail: format!("no column {}", column.name) })?;
                words.append(found).map_err(broken)?;
                keys.push(words);
            }
            for row in 0..events.num_rows() {
                key.clear();
                keys.iter().for_each(|words| encode_key(&[words.value(row)], &mut key));
                let part = &mut parts[partition_of(hash_key(&key), self.parts)];
                if part.last() != Some(&(row as u32)) {
                    part.push(row as u32);
                }
            }
        }
        if self.keys.len() > 1 {
            for part in &mut parts {
                part.sort_unstable();
                part.dedup();
            }
        }
        Ok(parts)
    }
}
