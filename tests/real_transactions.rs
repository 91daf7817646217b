//! The main job on real transactions: what `replay` and `training-set` give is what the data's authors have published.

use std::collections::HashMap;

use arrow::array::RecordBatch;

use crate::harness::real::{batches, data, floats, floodmark, fraud_definitions, ints, text};

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
    let (definitions, store, out) = (fraud_definitions(), text(&home.path().join("store")), home.path().join("training.parquet"));
    let (definitions, store) = (definitions.as_str(), store.as_str());
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
        &text(&out),
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
