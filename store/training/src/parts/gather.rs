//! Values that come together again: those of a block of rows, from all key sets, in the order of the spine.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int8Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{Field, Int8Type, Int64Type, Schema};

use super::spill::{Spilled, broken};
use super::{PartsOf, ROW};
use crate::TrainingSpec;
use crate::columns::{NOT_FOUND, status_of_codes};
use crate::derive::add_derived;
use crate::error::TrainingError;
use crate::schema_of;
use crate::spine_file::SpineFile;

pub(crate) struct Gather<'a> {
    pub(crate) spine: &'a SpineFile,
    pub(crate) spec: &'a TrainingSpec,
    pub(crate) sets: &'a [PartsOf],
    /// For each set, its values by block.
    pub(crate) values: &'a [Spilled],
}

/// The columns that are added to a block.
pub(crate) struct Gathered {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) rows_without_key: usize,
}

impl Gather<'_> {
    /// Of a block of row groups that begins with that row.
    pub(crate) fn block(&self, at: usize, groups: Range<usize>, start: u64) -> Result<Gathered, TrainingError> {
        let rows = groups.clone().map(|group| self.spine.rows_in(group)).sum::<usize>();
        let features = self.spec.lookup.features.len();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; features];
        let mut statuses: Vec<Option<ArrayRef>> = vec![None; features];
        let mut with_key = rows;
        for (of, values) in self.sets.iter().zip(self.values) {
            let Some(found) = values.read_whole(at)? else {
                with_key = 0;
                continue;
            };
            with_key = with_key.min(found.num_rows());
            let order = order_of(&found, start, rows)?;
            for (place, position) in of.positions.iter().enumerate() {
                columns[*position] = Some(take(found.column(1 + place), &order, None).map_err(broken)?);
                if self.spec.statuses {
                    let codes = found.column(1 + of.positions.len() + place).as_primitive::<Int8Type>();
                    statuses[*position] = Some(with_not_found(codes, &order));
                }
            }
        }
        let schema = schema_of(self.spec);
        let column = |(at, found): (usize, Option<ArrayRef>)| found.unwrap_or_else(|| new_null_array(schema.field(at).data_type(), rows));
        let mut columns: Vec<ArrayRef> = columns.into_iter().enumerate().map(column).collect();
        columns.extend(self.derived(groups, &columns, rows)?);
        if self.spec.statuses {
            let missing = || status_of_codes(vec![NOT_FOUND; rows].into());
            columns.extend(statuses.into_iter().map(|found| found.unwrap_or_else(missing)));
        }
        Ok(Gathered { rows, columns, rows_without_key: rows - with_key })
    }

    /// What is derived from the features and the spine's request columns.
    fn derived(&self, groups: Range<usize>, features: &[ArrayRef], rows: usize) -> Result<Vec<ArrayRef>, TrainingError> {
        let lookup = &self.spec.lookup;
        if lookup.columns.len() == lookup.features.len() {
            return Ok(Vec::new());
        }
        let names = lookup.columns.iter().zip(features).map(|(name, column)| Field::new(&**name, column.data_type().clone(), true));
        let schema = self.spine.spine.schema();
        let is_given = |at: &usize| lookup.request.columns.iter().any(|field| field.name == *schema.field(*at).name());
        let positions: Vec<usize> = (0..schema.fields().len()).filter(is_given).collect();
        let given = self.spine.read_rows(groups, &positions)?;
        let fields: Vec<Arc<Field>> = given.schema().fields().iter().cloned().chain(names.map(Arc::new)).collect();
        let columns = given.columns().iter().chain(features).cloned().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let all = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(broken)?;
        let derived = add_derived(lookup, &all)?;
        Ok(derived.columns()[all.num_columns()..].to_vec())
    }
}

/// For each row of the block, where its values are; null for a row that has none.
fn order_of(found: &RecordBatch, start: u64, rows: usize) -> Result<UInt32Array, TrainingError> {
    let places = found.column_by_name(ROW).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let places = places.ok_or_else(|| TrainingError::Scratch { detail: format!("no column {ROW}") })?;
    let mut order: Vec<Option<u32>> = vec![None; rows];
    for (at, row) in places.values().iter().enumerate() {
        order[(*row as u64 - start) as usize] = Some(at as u32);
    }
    Ok(order.into())
}

/// Rows without a key have no values: nothing is found of them.
fn with_not_found(codes: &Int8Array, order: &UInt32Array) -> ArrayRef {
    let code = |at: Option<u32>| at.map_or(NOT_FOUND, |at| codes.value(at as usize));
    status_of_codes(order.iter().map(code).collect::<Vec<i8>>().into())
}
