//! Rows that are bad by value. A column without nulls and with finite floats only costs one scan; rows are looked at one by one
//! only in a column in which something is wrong.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use floodmark_features::schema::Column;
use floodmark_features::time::Time;
use floodmark_features::value::Type;

use crate::field::out_of_range;
use crate::reject::{RejectReason, Role};

/// The bad rows of a batch with what was found first.
#[derive(Debug, Default)]
pub(in crate::columns) struct Faults {
    pub(in crate::columns) rows: BTreeMap<usize, RejectReason>,
}

impl Faults {
    /// Looks for bad values in a column as the file has it and as it was widened.
    pub(in crate::columns) fn check(&mut self, given: &ArrayRef, values: &ArrayRef, column: &Column, role: Option<Role>) {
        if values.null_count() > 0 {
            self.lost(given, values, column);
            if let Some(role) = role {
                let missing = || RejectReason::Missing { role, column: column.name.clone() };
                self.add((0..values.len()).filter(|row| values.is_null(*row)), missing);
            }
        }
        if column.kind == Type::Float64 {
            let floats = values.as_primitive::<Float64Type>();
            // No early end, so that the scan is done in vectors; what stands under a null may be anything.
            let finite = floats.values().iter().fold(true, |all, x| all & x.is_finite());
            if !finite {
                let bad = |row: &usize| floats.is_valid(*row) && !floats.value(*row).is_finite();
                self.add((0..values.len()).filter(bad), || RejectReason::NotFinite { column: column.name.clone() });
            }
        }
        if role == Some(Role::EventTime) {
            let times = values.as_primitive::<TimestampMicrosecondType>();
            let no_time = |micros: i64| micros == Time::NONE.micros() || micros == Time::MAX.micros();
            if times.values().iter().fold(false, |any, micros| any | no_time(*micros)) {
                let bad = |row: &usize| times.is_valid(*row) && no_time(times.value(*row));
                self.add((0..values.len()).filter(bad), || out_of_range(column));
            }
        }
    }

    /// Values that were there and did not survive the widening.
    fn lost(&mut self, given: &ArrayRef, values: &ArrayRef, column: &Column) {
        let nulls = given.logical_nulls();
        if values.null_count() > nulls.as_ref().map_or(0, |n| n.null_count()) {
            let was_null = |row: usize| nulls.as_ref().is_some_and(|n| n.is_null(row));
            self.add((0..values.len()).filter(|row| values.is_null(*row) && !was_null(*row)), || out_of_range(column));
        }
    }

    fn add(&mut self, rows: impl Iterator<Item = usize>, reason: impl Fn() -> RejectReason) {
        for row in rows {
            self.rows.entry(row).or_insert_with(&reason);
        }
    }
}
