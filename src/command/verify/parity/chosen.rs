//! The rows to compare at: keys that go together in an event, and times around it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Int64Type, Schema, TimestampMicrosecondType};
use floodmark_features::key::hash_key;
use floodmark_features::lookup::Lookup;
use floodmark_features::time::{Span, Time};
use floodmark_features::value::Value;
use floodmark_store::kept::column;

use super::Events;
use super::answers::value_at;
use crate::failure::Failure;

/// The column of the spine with the time.
pub(super) const TIME: &str = "_as_of";
/// Times are chosen so far after an event, where no window says how far it reaches.
const REACH: Span = Span::from_secs(30 * 86_400);

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// By [`Lookup::keys`].
    pub(super) keys: Vec<Value>,
    /// By [`Lookup::request`].
    pub(super) request: Vec<Value>,
    pub(super) as_of: Time,
}

/// Rows, and the same as a spine.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) rows: Vec<Row>,
    pub(super) spine: RecordBatch,
}

impl Chosen {
    /// From the events of every source that gives keys, so many, the same ones each time; what goes together in an event goes together in a
    /// row. Each as of `times` times.
    pub(super) fn new(lookup: &Lookup, sources: &[Events], many: usize, times: usize) -> Result<Chosen, Failure> {
        let definitions = &lookup.definitions;
        let mut keys: Vec<Option<ArrayRef>> = vec![None; lookup.keys.columns.len()];
        let mut request: Vec<Option<ArrayRef>> = vec![None; lookup.request.columns.len()];
        let mut at: Option<Vec<i64>> = None;
        for (source, events) in sources {
            let definition = &definitions.sources[*source];
            let reads = lookup.reads.iter().filter(|read| definitions.views[read.view].source == *source);
            let wanted: Vec<(usize, usize)> =
                reads.flat_map(|read| read.keys.iter().copied().zip(definitions.views[read.view].key_columns.iter().copied())).collect();
            let new = wanted.iter().any(|(key, _)| keys[*key].is_none());
            if !new {
                continue;
            }
            let columns: Vec<usize> = wanted.iter().map(|(_, column)| *column).collect();
            let picked = repeated(&scattered(events, &columns, many), many, times);
            let of = |column: usize| take(events.column(column), &picked, None);
            for (key, column) in wanted {
                keys[key].get_or_insert(of(column)?);
            }
            for (field, slot) in lookup.request.columns.iter().zip(&mut request) {
                if let Some(column) = definition.schema.position(&field.name).filter(|c| definition.schema.columns[*c].kind == field.kind) {
                    slot.get_or_insert(of(column)?);
                }
            }
            if at.is_none() {
                at = Some(of(definition.event_time)?.as_primitive::<TimestampMicrosecondType>().values().to_vec());
            }
        }
        let (Some(keys), Some(mut at)) = (keys.into_iter().collect::<Option<Vec<ArrayRef>>>(), at) else {
            return Err(Failure::failed("there are no events to choose from"));
        };
        let reach = reach(lookup).micros().max(1);
        at.iter_mut().enumerate().for_each(|(row, at)| *at = at.saturating_add(after(row, times, reach)));
        Ok(Chosen { rows: rows(&keys, &request, &at), spine: spine(lookup, keys, request, at)? })
    }
}

/// The time itself, the tick before, and then by chance within the reach of the windows.
fn after(row: usize, times: usize, reach: i64) -> i64 {
    match row % times {
        0 => 0,
        1 => -1,
        _ => (hash_key(&row.to_le_bytes()) % reach as u64) as i64,
    }
}

/// As far as the longest window that has an end reaches, so that both what is in windows and what has left them is met.
fn reach(lookup: &Lookup) -> Span {
    let outputs = lookup.features.iter().map(|feature| &lookup.definitions.views[feature.view].outputs[feature.output]);
    outputs.filter_map(|output| output.frame.reach()).max().unwrap_or(REACH)
}

/// Rows of events whose keys are there, by what has nothing to do with them.
fn scattered(events: &RecordBatch, keys: &[usize], many: usize) -> Vec<u32> {
    let sequences = events.column_by_name(column::SEQUENCE).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let order = |row: &u32| hash_key(&sequences.map_or(i64::from(*row), |all| all.value(*row as usize)).to_le_bytes());
    let has_keys = |row: &u32| keys.iter().all(|column| events.column(*column).is_valid(*row as usize));
    let mut rows: Vec<u32> = (0..events.num_rows() as u32).filter(has_keys).collect();
    if rows.len() > many {
        rows.select_nth_unstable_by_key(many, order);
        rows.truncate(many);
    }
    rows.sort_unstable();
    rows
}

/// Each so many times; where there are fewer than asked for, from the first again, so that sources go together.
fn repeated(rows: &[u32], many: usize, times: usize) -> UInt32Array {
    rows.iter().cycle().take(if rows.is_empty() { 0 } else { many }).flat_map(|row| std::iter::repeat_n(*row, times)).collect()
}

fn rows(keys: &[ArrayRef], request: &[Option<ArrayRef>], at: &[i64]) -> Vec<Row> {
    let row = |(row, at): (usize, &i64)| Row {
        keys: keys.iter().map(|column| value_at(column, row)).collect(),
        request: request.iter().map(|column| column.as_ref().map_or(Value::Null, |column| value_at(column, row))).collect(),
        as_of: Time::from_micros(*at),
    };
    at.iter().enumerate().map(row).collect()
}

fn spine(lookup: &Lookup, keys: Vec<ArrayRef>, request: Vec<Option<ArrayRef>>, at: Vec<i64>) -> Result<RecordBatch, Failure> {
    let named = lookup.keys.columns.iter().zip(keys).map(|(column, values)| (column.name.clone(), values));
    let given = lookup.request.columns.iter().zip(request).filter_map(|(column, values)| Some((column.name.clone(), values?)));
    let mut columns: Vec<(String, ArrayRef)> = named.collect();
    for (name, values) in given {
        // A key may be a request field, too.
        if columns.iter().all(|(known, _)| *known != name) {
            columns.push((name, values));
        }
    }
    columns.push((TIME.to_owned(), Arc::new(TimestampMicrosecondArray::from(at))));
    let fields: Vec<Field> = columns.iter().map(|(name, values)| Field::new(name, values.data_type().clone(), true)).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, values)| values).collect())?)
}
