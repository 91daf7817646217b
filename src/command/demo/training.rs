//! The demo's training set: a row for each transaction, and a sample of them compared with the recount.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_store::Store;
use floodmark_training::{TrainingRequest, TrainingSpec, write_training_set};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::SERVICE;
use super::recount::Recount;
use super::serve::Compared;
use super::world::{Sample, World};
use crate::command::get::service_named;
use crate::command::training_set::cores;
use crate::failure::Failure;
use crate::simulator::{Arrival, Transaction, write_parquet};

/// Rows that are compared, spread evenly.
const COMPARED: usize = 2_000;

/// What was built.
#[derive(Debug)]
pub(super) struct Trained {
    pub(super) rows: u64,
    pub(super) seconds: f64,
    pub(super) compared: Compared,
}

/// Builds a training set of all transactions.
pub(super) fn build(store: &Arc<Store>, world: &World, directory: &Path, recount: &Recount<'_>) -> Result<Trained, Failure> {
    let (spine, out) = (directory.join("labels.parquet"), directory.join("training.parquet"));
    spine_of(&spine, world.transactions())?;
    let definitions = store.definitions().clone();
    let service = service_named(&definitions, SERVICE)?;
    let request = TrainingRequest {
        spec: TrainingSpec {
            lookup: Arc::new(Lookup::of_service(definitions, service)),
            time: "tx_datetime".to_owned(),
            event_id: None,
            mode: Mode::AsServed,
            version: None,
            threads: cores(),
            statuses: false,
        },
        spine,
        out: out.clone(),
    };
    let began = Instant::now();
    let summary = write_training_set(store, &request, &|_| ())?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Trained { rows: summary.rows, seconds, compared: compare(&out, world, recount)? })
}

/// Transactions as they were made, nothing lost, as a table of labels.
pub(super) fn spine_of(path: &Path, transactions: &[Transaction]) -> Result<(), Failure> {
    let arrival = |t: &Transaction| Arrival { at: t.tx_datetime, transaction: t.clone(), lost_customer: false, lost_amount: false };
    let arrivals: Vec<Arrival> = transactions.iter().map(arrival).collect();
    Ok(write_parquet(path, &arrivals)?)
}

fn compare(out: &Path, world: &World, recount: &Recount<'_>) -> Result<Compared, Failure> {
    let mut compared = Compared::default();
    let step = world.transactions().len().div_ceil(COMPARED);
    let mut first = 0;
    for batch in ParquetRecordBatchReader::try_new(File::open(out)?, 65_536)? {
        let batch = batch?;
        let rows = first..(first + batch.num_rows()).min(world.transactions().len());
        for row in rows.filter(|row| row % step == 0) {
            let t = &world.transactions()[row];
            let sample = Sample { customer: t.customer_id, terminal: t.terminal_id, as_of: Time::from_micros(t.tx_datetime) };
            for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                compared.add(recount, field.name(), &sample, &value_at(column, row - first));
            }
        }
        first += RecordBatch::num_rows(&batch);
    }
    Ok(compared)
}

/// The features of the demo are integers and floats.
pub(super) fn value_at(column: &dyn Array, row: usize) -> Value {
    match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Int64 => Value::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Float(column.as_primitive::<Float64Type>().value(row)),
        _ => Value::Null,
    }
}
