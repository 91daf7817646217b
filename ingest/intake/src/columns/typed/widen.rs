//! From the types that Parquet files have to the five types of a schema: only widenings, each value as exact as it can be.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use floodmark_features::value::Type;

use crate::columns::arrow_type;

/// Whether a column of that type can be read as one of the schema's.
pub fn widens(found: &DataType, kind: Type) -> bool {
    match found {
        DataType::Null => true,
        DataType::Dictionary(_, values) => widens(values, kind),
        DataType::Boolean => kind == Type::Bool,
        found if found.is_integer() => matches!(kind, Type::Bool | Type::Int64 | Type::Float64),
        // A decimal goes to the nearest float.
        found if found.is_floating() || found.is_decimal() => kind == Type::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => kind == Type::String,
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => kind == Type::Timestamp,
        _ => false,
    }
}

/// The column as the schema's type, without a copy where the types agree; what cannot be said in it becomes null.
pub(in crate::columns) fn widen(given: &ArrayRef, kind: Type) -> Result<ArrayRef, ArrowError> {
    let wanted = arrow_type(kind);
    if *given.data_type() == wanted {
        return Ok(given.clone());
    }
    match (given.data_type(), kind) {
        // An instant is the same in every zone.
        (DataType::Timestamp(TimeUnit::Microsecond, _), Type::Timestamp) => {
            Ok(Arc::new(given.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<Arc<str>>)))
        }
        (DataType::Dictionary(_, values), _) if **values != wanted => widen(&cast(given, values)?, kind),
        (found, Type::Bool) if found.is_integer() => {
            let numbers = cast(given, &DataType::Int64)?;
            let zero_or_one = |n: Option<i64>| n.filter(|n| *n == 0 || *n == 1).map(|n| n == 1);
            Ok(Arc::new(BooleanArray::from_iter(numbers.as_primitive::<Int64Type>().iter().map(zero_or_one))))
        }
        _ => cast(given, &wanted),
    }
}

/// What does not fit becomes null, and [`super::checks`] finds it.
fn cast(given: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(given, wanted, &CastOptions { safe: true, ..CastOptions::default() })
}
