//! Events that became late only in the log: their source partition had been idle, and others went on meanwhile (T8, T10). Whoever routed
//! them did not see that, so what the side output says of them is put together here, of the columns that were routed.

use serde_json::{Map, Value as Json};

use super::BatchHead;
use crate::engine::EnginePlan;
use crate::section::{LateNote, Position, Section};
use crate::time::Time;
use crate::value::ValueRef;

/// Adds the notes of rows that were on time for their own partition. Their sequence numbers are still the offsets.
pub(super) fn note_overtaken(plan: &EnginePlan, at: usize, head: &BatchHead, watermark: Time, section: &mut Section, rows: Vec<usize>) {
    if rows.is_empty() {
        return;
    }
    let note = |row: usize| LateNote {
        row: row as u32,
        watermark,
        position: Position { partition: head.name_of(head.partition), offset: section.sequence[row] },
        payload: payload(plan, at, section, row),
    };
    let mut notes: Vec<LateNote> = rows.into_iter().map(note).collect();
    section.late.append(&mut notes);
    section.late.sort_by_key(|note| note.row);
}

/// The routed columns as a JSON object.
fn payload(plan: &EnginePlan, at: usize, section: &Section, row: usize) -> String {
    let section_plan = &plan.sections[at];
    let source = &plan.definitions.sources[section_plan.source];
    let rows = section.rows.rows(&section_plan.layout);
    let row = rows.row(row);
    let mut object = Map::new();
    object.insert(source.schema.columns[source.event_time].name.clone(), Json::from(row.time().to_string()));
    for (place, column) in section_plan.columns.iter().enumerate() {
        object.insert(source.schema.columns[*column].name.clone(), json(row.value(place)));
    }
    Json::from(object).to_string()
}

fn json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null => Json::Null,
        ValueRef::Bool(value) => Json::from(value),
        ValueRef::Int(value) => Json::from(value),
        ValueRef::Float(value) => Json::from(value),
        ValueRef::Str(value) => Json::from(value),
        ValueRef::Time(value) => Json::from(value.to_string()),
    }
}
