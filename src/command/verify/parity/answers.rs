//! What is compared: rows as they are served, and as a training set has them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use floodmark_features::lookup::{Answer, Ask, Cell, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::{Value, ValueRef};
use floodmark_serving::client::{Remote, RowAsk};
use floodmark_store::{ReadError, Store};
use floodmark_training::{TrainingSpec, TrainingStream};

use super::chosen::{Chosen, TIME};
use crate::command::training_set::cores;
use crate::failure::Failure;

/// Who answers online.
pub(super) enum Online<'a> {
    Store(&'a Store),
    /// With the name of the service.
    Server(&'a mut Remote, &'a str),
}

/// The rows as they are served; `None` for one that lies before what is retained. Whatever else goes wrong ends it: what could not be compared
/// is not to pass for what agrees.
pub(super) fn served(
    online: &mut Online<'_>,
    lookup: &Lookup,
    chosen: &Chosen,
    version: u64,
    mode: Mode,
) -> Result<Vec<Option<Vec<Cell>>>, Failure> {
    match online {
        Online::Store(store) => {
            let read = |row: &super::chosen::Row| {
                let (keys, request) = (refs(&row.keys), refs(&row.request));
                let ask = Ask { keys: &keys, request: &request, as_of: row.as_of, version: Some(version), own_event: None, mode };
                let mut answer = Answer::default();
                match store.read(lookup, &ask, &mut answer) {
                    Ok(()) => Ok(Some(answer.cells)),
                    Err(ReadError::BeforeRetention { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            };
            chosen.rows.iter().map(read).collect()
        }
        Online::Server(server, service) => {
            let asks: Vec<RowAsk<'_>> =
                chosen.rows.iter().map(|row| RowAsk { keys: &row.keys, request: &row.request, as_of: row.as_of }).collect();
            Ok(server.look_up_rows(service, lookup, &asks, version, mode)?)
        }
    }
}

fn refs(values: &[Value]) -> Vec<ValueRef<'_>> {
    values.iter().map(Value::as_ref).collect()
}

/// The rows as a training set has them.
pub(super) fn training_set(
    store: &Arc<Store>,
    lookup: &Arc<Lookup>,
    chosen: &Chosen,
    version: u64,
    mode: Mode,
) -> Result<Vec<Vec<Value>>, Failure> {
    let spec = TrainingSpec {
        lookup: lookup.clone(),
        time: TIME.to_owned(),
        event_id: None,
        mode,
        version: Some(version),
        threads: cores(),
        statuses: false,
    };
    let set = TrainingStream::new(store.clone(), spec, &chosen.spine.schema())?;
    let made = set.add(std::slice::from_ref(&chosen.spine))?;
    let first = chosen.spine.num_columns();
    let row = |batch: &RecordBatch, row: usize| (first..batch.num_columns()).map(|at| value_at(batch.column(at), row)).collect();
    Ok(made.iter().flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at)).collect::<Vec<_>>()).collect())
}

/// One value of a column of the types that sources and features have.
pub(super) fn value_at(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Int64 => Value::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::Str(column.as_string::<i32>().value(row).into()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Value::Time(Time::from_micros(column.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            Value::List((0..items.len()).map(|at| value_at(&items, at)).collect())
        }
        _ => Value::Null,
    }
}
