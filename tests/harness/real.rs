//! What tests on real transactions share: where the data lies, the built command, and columns of Parquet files.

use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// Where the data lies, if it does: in the folder that `FLOODMARK_DATA` names, or beside the project.
pub(crate) fn data(file: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("FLOODMARK_DATA").map_or_else(beside, PathBuf::from).join(file);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// The fraud example's definitions.
pub(crate) fn fraud_definitions() -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/floodmark.yaml"))
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

/// The last line that the command prints, if that is JSON.
pub(crate) fn floodmark(arguments: &[&str]) -> Value {
    printed(arguments).lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap_or_default())
}

/// Every line that the command prints.
pub(crate) fn floodmark_lines(arguments: &[&str]) -> Vec<Value> {
    printed(arguments).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// All that the command prints.
pub(crate) fn printed(arguments: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(arguments).output().expect("the floodmark command");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).expect("text")
}

pub(crate) fn batches(path: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(path).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
    reader.collect::<Result<_, _>>().expect("batches")
}

pub(crate) fn floats(batch: &RecordBatch, name: &str) -> Vec<f64> {
    let column: ArrayRef =
        cast(batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")), &DataType::Float64).expect("numbers");
    assert_eq!(column.null_count(), 0, "{name}");
    column.as_primitive::<Float64Type>().values().to_vec()
}

pub(crate) fn ints(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = cast(batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")), &DataType::Int64).expect("integers");
    column.as_primitive::<Int64Type>().values().to_vec()
}
