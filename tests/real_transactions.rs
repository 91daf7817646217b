//! The main job on real transactions: what `replay` and `training-set` give is what the data's authors have published.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Where the data lies, if it does.
fn data(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(file);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn floodmark(arguments: &[&str]) -> serde_json::Value {
    let run = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(arguments).output().expect("the floodmark command");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).expect("text");
    text.lines().last().map_or(serde_json::Value::Null, |line| serde_json::from_str(line).unwrap_or_default())
}

fn batches(path: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(path).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
    reader.collect::<Result<_, _>>().expect("batches")
}

fn floats(batch: &RecordBatch, name: &str) -> Vec<f64> {
    let column: ArrayRef =
        cast(batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")), &DataType::Float64).expect("numbers");
    assert_eq!(column.null_count(), 0, "{name}");
    column.as_primitive::<Float64Type>().values().to_vec()
}

fn ints(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = cast(batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")), &DataType::Int64).expect("integers");
    column.as_primitive::<Int64Type>().values().to_vec()
}

/// Ours and theirs.
fn names() -> Vec<(String, String)> {
    let mut names = Vec::new();
    for days in ["1d", "7d", "30d"] {
        names.push((format!("customer_spend.nb_tx_{days}"), format!("customer_nb_tx_{days}")));
        names.push((format!("customer_spend.avg_amount_{days}"), format!("customer_avg_amount_{days}")));
        names.push((format!("terminal_risk.nb_tx_{days}"), format!("terminal_nb_tx_{days}")));
        names.push((format!("terminal_risk.risk_{days}"), format!("terminal_risk_{days}")));
    }
    names
}

#[test]
fn a_training_set_of_real_transactions_is_the_published_one() {
    let (Some(transactions), Some(published)) = (data("transactions.parquet"), data("published_features_to_2018-05.parquet")) else {
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/floodmark.yaml");
    let (definitions, store) = (definitions.to_str().expect("text"), home.path().join("store"));
    let (store, out) = (store.to_str().expect("text"), home.path().join("training.parquet"));
    let input = format!("transactions={}", transactions.display());

    let first = floodmark(&["replay", "--definitions", definitions, "--store", store, &input, "--json"]);
    let counts = |run: &serde_json::Value| ["accepted", "late", "rejected", "duplicates"].map(|key| run[key].as_u64());
    assert_eq!(counts(&first), [Some(1_754_155), Some(0), Some(0), Some(0)]);
    let again = floodmark(&["replay", "--definitions", definitions, "--store", store, &input, "--json"]);
    assert_eq!(counts(&again), [Some(0); 4], "the file was taken already");

    let spine = transactions.to_str().expect("text");
    floodmark(&[
        "training-set",
        "--definitions",
        definitions,
        "--store",
        store,
        "--service",
        "fraud",
        "--spine",
        spine,
        "--time",
        "tx_datetime",
        "--event-id",
        "transaction_id",
        "--out",
        out.to_str().expect("text"),
    ]);
    compare(&batches(&out), &batches(&published));
}

fn compare(ours: &[RecordBatch], theirs: &[RecordBatch]) {
    let names = names();
    let mut published: HashMap<i64, Vec<f64>> = HashMap::new();
    for batch in theirs {
        let columns: Vec<Vec<f64>> = names.iter().map(|(_, theirs)| floats(batch, theirs)).collect();
        for (row, id) in ints(batch, "transaction_id").into_iter().enumerate() {
            published.insert(id, columns.iter().map(|c| c[row]).collect());
        }
    }
    assert_eq!(published.len(), 585_177);
    let (mut rows, mut next, mut seconds, mut differing) = (0, 0, HashMap::new(), Vec::new());
    for batch in ours {
        let columns: Vec<Vec<f64>> = names.iter().map(|(ours, _)| floats(batch, ours)).collect();
        let (customers, times) = (ints(batch, "customer_id"), ints(batch, "tx_datetime"));
        for (row, id) in ints(batch, "transaction_id").into_iter().enumerate() {
            assert_eq!(id, next, "the spine's order is kept");
            next += 1;
            *seconds.entry((customers[row], times[row])).or_insert(0) += 1;
            let Some(expected) = published.get(&id) else { continue };
            rows += 1;
            let close = |(got, want): (&Vec<f64>, &f64)| (got[row] - want).abs() <= 1e-6;
            if !columns.iter().zip(expected).all(close) {
                differing.push((id, customers[row], times[row]));
            }
        }
    }
    assert_eq!((rows, next), (585_177, 1_754_155));
    eprintln!("{} of {rows} rows differ", differing.len());
    for (id, customer, time) in &differing {
        assert!(seconds[&(*customer, *time)] > 1, "transaction {id} differs, and its customer has no other in that second");
    }
    assert!(differing.len() <= 29, "{}", differing.len());
}
