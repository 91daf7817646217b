//! The events of the chosen entities, taken in again one after the other.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use floodmark_features::key::{EventId, encode_key};
use floodmark_features::lookup::{Lookup, ViewRead};
use floodmark_features::time::Time;
use floodmark_features::value::{Value, ValueRef};
use floodmark_recount::{Event, Recount};
use floodmark_store::kept::column;

use super::Events;
use super::answers::value_at;
use super::chosen::{Chosen, Row};
use crate::failure::Failure;

/// For each read of the look-up, the chosen entities by the bytes of their keys.
#[derive(Debug)]
pub(super) struct Past<'a> {
    lookup: &'a Lookup,
    entities: Vec<HashMap<Vec<u8>, Recount<'a>>>,
}

impl<'a> Past<'a> {
    pub(super) fn new(lookup: &'a Lookup, sources: &[Events], chosen: &Chosen) -> Result<Past<'a>, Failure> {
        let mut past = Past { lookup, entities: Vec::new() };
        for read in &lookup.reads {
            let view = &lookup.definitions.views[read.view];
            let mut entities: HashMap<Vec<u8>, Recount<'a>> =
                chosen.rows.iter().map(|row| (key_of(read, row), Recount::new(view))).collect();
            if let Some((_, events)) = sources.iter().find(|(source, _)| *source == view.source) {
                take_in(lookup, read, events, &mut entities)?;
            }
            past.entities.push(entities);
        }
        Ok(past)
    }

    /// The entity of a row, in a view.
    pub(super) fn entity(&self, view: usize, row: &Row) -> Option<&Recount<'a>> {
        let read = self.lookup.reads.iter().position(|read| read.view == view)?;
        self.entities[read].get(&key_of(&self.lookup.reads[read], row))
    }
}

fn key_of(read: &ViewRead, row: &Row) -> Vec<u8> {
    let values: Vec<ValueRef<'_>> = read.keys.iter().map(|key| row.keys[*key].as_ref()).collect();
    let mut key = Vec::new();
    encode_key(&values, &mut key);
    key
}

fn take_in(lookup: &Lookup, read: &ViewRead, events: &RecordBatch, entities: &mut HashMap<Vec<u8>, Recount<'_>>) -> Result<(), Failure> {
    let view = &lookup.definitions.views[read.view];
    let source = &lookup.definitions.sources[view.source];
    let missing = |name: &str| Failure::failed(format!("the offline store lacks a column. column={name}"));
    let named = |name: &str| events.column_by_name(name).ok_or_else(|| missing(name));
    let numbers = |name: &str| named(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| missing(name));
    let instants = |values: &dyn Array| values.as_primitive_opt::<TimestampMicrosecondType>().map(|values| values.values().to_vec());
    let times = instants(events.column(source.event_time)).ok_or_else(|| missing("event time"))?;
    let visible = instants(named(column::VISIBLE_FROM)?).ok_or_else(|| missing(column::VISIBLE_FROM))?;
    let versions = numbers(column::VERSION)?.values();
    let ids = match source.event_id {
        Some(declared) => events.column(declared),
        None => named(column::EVENT_ID)?,
    };
    let mut key = Vec::new();
    for row in 0..events.num_rows() {
        let keys: Vec<Value> = view.key_columns.iter().map(|column| value_at(events.column(*column), row)).collect();
        key.clear();
        encode_key(&keys.iter().map(Value::as_ref).collect::<Vec<_>>(), &mut key);
        let Some(entity) = entities.get_mut(&key) else { continue };
        entity.take(Event {
            time: Time::from_micros(times[row]),
            id: id_at(ids, row),
            visible_from: Time::from_micros(visible[row]),
            version: versions[row] as u64,
            values: view.columns.iter().map(|column| value_at(events.column(*column), row)).collect(),
        });
    }
    Ok(())
}

fn id_at(ids: &dyn Array, row: usize) -> EventId {
    match ids.data_type() {
        DataType::Utf8 => EventId::Str(ids.as_string::<i32>().value(row).into()),
        _ => EventId::Int(ids.as_primitive::<Int64Type>().value(row)),
    }
}

/// The newest commit that is in these events.
pub(super) fn newest_version(events: &RecordBatch) -> Option<u64> {
    let versions = events.column_by_name(column::VERSION)?.as_primitive_opt::<Int64Type>()?;
    arrow::compute::max(versions).map(|version| version as u64)
}
