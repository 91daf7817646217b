//! Training sets over Arrow Flight, pulled with pyarrow into Polars: what `floodmark training-set` makes of the same spine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;

use crate::clients::python;
use crate::crash::{Chance, DEFINITIONS, write_payments};
use crate::harness::kafka::Kafka;
use crate::harness::real::{data, floodmark, fraud_definitions, printed, text};
use crate::push::{Running, start_defined};

const ROWS: usize = 20_000;
const START: i64 = 1_700_000_000_000_000;

/// Rows of events, of entities that nobody knows, without a key, from before the first event to after the last; 30 more columns.
pub(crate) fn write_spine(path: &Path) {
    let mut chance = Chance(0x1234_5678_9abc_def1);
    let at = |chance: &mut Chance| Some(START - 86_400_000_000 + chance.below(8 * 86_400_000_000) as i64).filter(|_| chance.below(200) > 0);
    let times: TimestampMicrosecondArray = (0..ROWS).map(|_| at(&mut chance)).collect();
    let cards: Int64Array = (0..ROWS).map(|_| Some(chance.below(800) as i64).filter(|_| chance.below(100) > 0)).collect();
    let shops: StringArray = (0..ROWS).map(|_| Some(format!("s{}", chance.below(50))).filter(|_| chance.below(100) > 0)).collect();
    let ids: Int64Array = (0..ROWS).map(|_| Some(chance.below(300_000) as i64)).collect();
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("id".to_owned(), Arc::new(ids)),
        ("at".to_owned(), Arc::new(times)),
        ("card".to_owned(), Arc::new(cards)),
        ("shop".to_owned(), Arc::new(shops)),
    ];
    for more in 0..30 {
        let values: Float64Array = (0..ROWS).map(|_| Some(chance.below(1_000) as f64 / 7.0)).collect();
        columns.push((format!("extra_{more}"), Arc::new(values)));
    }
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).expect("a file"), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

/// A spine, and what its columns mean.
struct Case<'a> {
    definitions: &'a str,
    input: String,
    service: &'a str,
    time: &'a str,
    event_id: &'a str,
    spine: PathBuf,
}

/// The file that the command makes, and then the same from a running server.
fn check(home: &Path, case: &Case<'_>) {
    let Some(python) = python("offline", "tests/offline/requirements.txt") else { return };
    let (store, expected) = (home.join("store"), home.join("expected.parquet"));
    floodmark(&["replay", "--json", "--definitions", case.definitions, "--store", &text(&store), &case.input]);
    let of = ["--store", &text(&store), "--service", case.service, "--time", case.time, "--event-id", case.event_id];
    floodmark(&[&["training-set", "--json"], &of[..], &["--spine", &text(&case.spine), "--out", &text(&expected)]].concat());
    let side = ["late", "rejects", "windows"].map(|command| printed(&[command, "--json", "--store", &text(&store)]).lines().count());
    let side = side.map(|lines| lines.to_string());
    let running = start_defined(Path::new(case.definitions), &store, &[]);
    let asked = [case.service, case.time, case.event_id, &text(&case.spine), &text(&expected)].map(str::to_owned);
    let asked: Vec<&str> = asked.iter().chain(&side).map(String::as_str).collect();
    talk(&python, "exchange.py", running, &asked);
}

/// Lets a script talk to a server, which ends then.
fn talk(python: &str, script: &str, running: Running, more: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flight").join(script);
    let mut client = Command::new(python);
    let output = client.arg(script).arg(running.address.trim_start_matches("http://")).args(more).output().expect("Python");
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("all of "), "{said}\n{complaint}");
    eprint!("{said}");
    running.terminate();
    assert!(running.ended(), "it ends in order");
}

#[test]
fn events_that_come_in_bulk_are_acknowledged_with_what_became_of_them() {
    let Some(python) = python("offline", "tests/offline/requirements.txt") else { return };
    let home = tempfile::tempdir().expect("a directory");
    let definitions = home.path().join("definitions.yaml");
    std::fs::write(&definitions, DEFINITIONS).expect("definitions");
    talk(&python, "put.py", start_defined(&definitions, &home.path().join("store"), &[]), &[]);
}

#[test]
fn events_in_bulk_of_a_source_with_a_topic_go_there_as_the_source_types_them() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(python) = python("offline", "tests/offline/requirements.txt") else { return };
    kafka.make_topic("bulk", 2);
    let home = tempfile::tempdir().expect("a directory");
    let definitions = home.path().join("definitions.yaml");
    std::fs::write(&definitions, DEFINITIONS).expect("definitions");
    let (store, input) = (home.path().join("store"), format!("payments=kafka://{}/bulk", kafka.bootstrap));
    talk(&python, "put_topic.py", start_defined(&definitions, &store, &[&input]), &[]);
    let records = kafka.committed("bulk");
    assert_eq!(records.iter().filter(|(_, value)| value.contains("\"amount\":0.5,") || value.ends_with("\"amount\":0.5}")).count(), 999);
    let replayed = |command: &str| printed(&[command, "--json", "--store", &text(&store)]).lines().count();
    assert_eq!((records.len(), replayed("rejects")), (1_000, 1));
}

#[test]
fn a_training_set_over_flight_is_that_of_the_command() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    std::fs::write(home.join("definitions.yaml"), DEFINITIONS).expect("definitions");
    write_payments(&home.join("payments.jsonl"));
    write_spine(&home.join("spine.parquet"));
    let definitions = text(&home.join("definitions.yaml"));
    let input = format!("payments={}", text(&home.join("payments.jsonl")));
    let case = Case { definitions: &definitions, input, service: "all", time: "at", event_id: "id", spine: home.join("spine.parquet") };
    check(home, &case);
}

#[test]
fn all_real_transactions_are_a_spine() {
    let Some(transactions) = data("transactions.parquet") else { return };
    let home = tempfile::tempdir().expect("a directory");
    let input = format!("transactions={}", text(&transactions));
    let definitions = fraud_definitions();
    let (service, time, event_id) = ("fraud", "tx_datetime", "transaction_id");
    check(home.path(), &Case { definitions: &definitions, input, service, time, event_id, spine: transactions });
}
