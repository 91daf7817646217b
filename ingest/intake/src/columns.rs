//! Rows become columns: a builder that types rows against a source's schema and makes a [`SourceBatch`] of them.
//!
//! A row is taken whole or rejected whole. What an event cannot do without (event time, event id, keys) must not be null,
//! floats must be finite (T18).

mod builder;
mod json_row;
pub mod typed;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use floodmark_features::definition::Source;
use floodmark_features::schema::{Column, Schema};
use floodmark_features::time::Time;
use floodmark_features::value::{Type, ValueRef};

pub use builder::RowBuilder;

use crate::field::{out_of_range, wrong_type};
use crate::reject::{RejectReason, Role};

/// The Arrow type of a column of a source.
pub fn arrow_type(kind: Type) -> DataType {
    match kind {
        Type::Bool => DataType::Boolean,
        Type::Int64 => DataType::Int64,
        Type::Float64 => DataType::Float64,
        Type::String => DataType::Utf8,
        Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// A source's schema as Arrow has it: the same columns in the same order, all nullable.
pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.columns.iter().map(|column| Field::new(&column.name, arrow_type(column.kind), true));
    Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns of a source and what each is for.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The definition's columns.
    pub columns: Vec<Column>,
    /// What a column that must not be null is for.
    pub roles: Vec<Option<Role>>,
    /// The same as Arrow has them.
    pub schema: SchemaRef,
}

impl Layout {
    /// `required` are the positions of key columns; the event time and the event id are required anyway.
    pub fn new(source: &Source, required: &[usize]) -> Layout {
        let role = |position: usize| match position {
            p if p == source.event_time => Some(Role::EventTime),
            p if source.event_id == Some(p) => Some(Role::EventId),
            p if required.contains(&p) => Some(Role::Key),
            _ => None,
        };
        let columns = source.schema.columns.clone();
        Layout { roles: (0..columns.len()).map(role).collect(), schema: arrow_schema(&source.schema), columns }
    }

    /// The value as the column holds it, or why the column cannot.
    pub fn checked<'a>(&self, position: usize, value: ValueRef<'a>) -> Result<ValueRef<'a>, RejectReason> {
        let column = &self.columns[position];
        let role = self.roles[position];
        match (value, column.kind) {
            (ValueRef::Null, _) => match role {
                Some(role) => Err(RejectReason::Missing { role, column: column.name.clone() }),
                None => Ok(value),
            },
            (ValueRef::Float(x), Type::Float64) if !x.is_finite() => Err(RejectReason::NotFinite { column: column.name.clone() }),
            (ValueRef::Time(Time::NONE | Time::MAX), Type::Timestamp) if role == Some(Role::EventTime) => Err(out_of_range(column)),
            (ValueRef::Bool(_), Type::Bool)
            | (ValueRef::Int(_), Type::Int64)
            | (ValueRef::Float(_), Type::Float64)
            | (ValueRef::Str(_), Type::String)
            | (ValueRef::Time(_), Type::Timestamp) => Ok(value),
            (ValueRef::Int(i), Type::Float64) => Ok(ValueRef::Float(i as f64)),
            _ => Err(wrong_type(column, &value.to_value().to_string())),
        }
    }
}

/// The position of the column of that name; records tend to keep the order of the schema, so the one after the last is tried first.
pub fn position_of(columns: &[Column], name: &str, guess: usize) -> Option<usize> {
    if columns.get(guess).is_some_and(|column| column.name == name) {
        return Some(guess);
    }
    columns.iter().position(|column| column.name == name)
}

#[cfg(test)]
mod tests;
