//! Derived features of rows whose features are there already: what is left to do where each entity's features came by a way of their own.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use floodmark_features::definition::OutputType;
use floodmark_features::expression::Inputs;
use floodmark_features::lookup::Lookup;
use floodmark_features::value::{Type, ValueRef};

use crate::columns::{arrow_type, derived_column};
use crate::error::TrainingError;
use crate::words::{Words, widens};

/// Adds a service's derived features to rows that have its other ones. A request field that the rows do not have is null.
pub fn add_derived(lookup: &Lookup, rows: &RecordBatch) -> Result<RecordBatch, TrainingError> {
    let derived = lookup.service.map(|service| lookup.definitions.services[service].derived.as_slice()).unwrap_or_default();
    let broken = |detail: String| TrainingError::Rows { spine: "rows".to_owned(), detail };
    let mut inputs = Vec::new();
    for (feature, kind) in lookup.columns.iter().zip(lookup.kinds.iter().flatten()) {
        // Nothing is derived from a list.
        let OutputType::Scalar(kind) = kind else {
            inputs.push(None);
            continue;
        };
        inputs.push(Some(words_of(rows, feature, *kind)?.ok_or_else(|| broken(format!("a feature is missing. column={feature}")))?));
    }
    for field in &lookup.request.columns {
        inputs.push(words_of(rows, &field.name, field.kind)?);
    }
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    for derived in derived {
        fields.push(Arc::new(Field::new(&*derived.name, arrow_type(derived.expression.kind()), true)));
        columns.push(derived_column(&derived.expression, |row| RowOf { inputs: &inputs, row }, 0..rows.num_rows()));
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, rows.schema().metadata().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| broken(error.to_string()))
}

/// A column of that name, if there is one.
fn words_of(rows: &RecordBatch, name: &str, kind: Type) -> Result<Option<Words>, TrainingError> {
    let broken = |detail: String| TrainingError::Rows { spine: "rows".to_owned(), detail };
    let Some(column) = rows.column_by_name(name) else { return Ok(None) };
    if !widens(column.data_type(), kind) {
        return Err(broken(format!("a column has a type that does not widen. column={name} expected={kind} found={}", column.data_type())));
    }
    let mut words = Words::new(kind);
    match words.append(column).map_err(|error| broken(error.to_string()))? {
        true => Ok(Some(words)),
        false => Err(broken(format!("a column has too much text for one batch. column={name}"))),
    }
}

struct RowOf<'a> {
    inputs: &'a [Option<Words>],
    row: usize,
}

impl Inputs for RowOf<'_> {
    fn input(&self, position: usize) -> ValueRef<'_> {
        match self.inputs.get(position) {
            Some(Some(words)) => words.value(self.row),
            _ => ValueRef::Null,
        }
    }
}
