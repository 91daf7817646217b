//! `floodmark models` against a real server with the example's model: versions come, are labelled, and go.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::real::{fraud_definitions, text};
use crate::push::{start_defined, start_with};
use crate::score::{copy, has_onnxruntime, root, server};

fn models(address: &str, words: &[&str]) -> Output {
    let address = address.trim_start_matches("http://");
    Command::new(env!("CARGO_BIN_EXE_floodmark")).args(["models", "--address", address]).args(words).output().expect("the command")
}

/// What `--json` prints: an object a line.
#[track_caller]
fn told(address: &str, words: &[&str]) -> Vec<Value> {
    let run = models(address, &[words, &["--json"]].concat());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What it says on stderr when it fails, and its exit code.
#[track_caller]
fn refused(address: &str, words: &[&str]) -> (Option<i32>, String) {
    let run = models(address, words);
    assert!(!run.status.success() && run.stdout.is_empty(), "{}", String::from_utf8_lossy(&run.stdout));
    (run.status.code(), String::from_utf8(run.stderr).expect("text"))
}

fn states(list: &[Value]) -> Vec<(u64, &str, Value)> {
    list.iter()
        .map(|line| (line["version"].as_u64().expect("a number"), line["state"].as_str().expect("text"), line["labels"].clone()))
        .collect()
}

#[test]
fn versions_come_are_labelled_and_go() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, repository)) = server(home.path()) else { return };
    let address = &running.address;
    let list = told(address, &[]);
    assert_eq!(states(&list), [(1, "READY", json!([]))]);
    assert_eq!((&list[0]["model"], &list[0]["service"], &list[0]["inputs"][0]), (&json!("fraud"), &json!("fraud"), &json!("amount")));
    assert!(list[0]["run_us"].as_f64().is_some_and(|us| us > 0.0) && list[0]["reason"].is_null(), "{list:?}");

    // The newest, if no version is said.
    copy(&repository.join("fraud/1"), &repository.join("fraud/2"));
    assert_eq!(states(&told(address, &["load", "fraud"])), [(2, "READY", json!([]))]);
    assert_eq!(states(&told(address, &["promote", "fraud", "1"])), [(1, "READY", json!(["stable"])), (2, "READY", json!([]))]);
    assert_eq!(states(&told(address, &["label", "fraud", "night", "2"]))[1].2, json!(["night"]));

    assert_eq!(states(&told(address, &["label", "fraud", "canary", "2"]))[1].2, json!(["canary", "night"]));
    let list = told(address, &["share", "fraud", "12.5"]);
    assert_eq!((&list[0]["canary_percent"], &list[1]["canary_percent"]), (&Value::Null, &json!(12.5)));
    let table = String::from_utf8(models(address, &[]).stdout).expect("text");
    assert!(table.contains("canary:12.5%,night"), "{table}");
    assert!(refused(address, &["share", "fraud", "101"]).1.contains("canary share is a number from 0 to 100"));
    told(address, &["unlabel", "fraud", "canary"]);

    // What has a label stays, until it has none.
    let (code, told_why) = refused(address, &["unload", "fraud", "2"]);
    assert_eq!(code, Some(1));
    assert!(told_why.starts_with("error: version has labels; move or remove them first. model=fraud version=2 labels=night"), "{told_why}");
    assert_eq!(states(&told(address, &["unlabel", "fraud", "night"]))[1].2, json!([]));
    assert_eq!(states(&told(address, &["retire", "fraud", "2"])), [(2, "RETIRED", json!([]))]);

    // A version that is refused says at which step, and the list goes on saying so.
    copy(&repository.join("fraud/1"), &repository.join("fraud/3"));
    std::fs::write(repository.join("fraud/3/model.onnx"), "no model").expect("a file");
    let (code, told_why) = refused(address, &["load", "fraud", "3"]);
    assert_eq!(code, Some(1));
    assert!(told_why.starts_with("error: model fraud version 3 refused at step file: expected "), "{told_why}");
    assert!(told_why.contains("status=FAILED_PRECONDITION"), "{told_why}");
    let list = told(address, &["list", "fraud"]);
    assert_eq!(states(&list), [(1, "READY", json!(["stable"])), (2, "RETIRED", json!([])), (3, "UNAVAILABLE", json!([]))]);
    assert!(list[2]["reason"].as_str().is_some_and(|reason| reason.contains("refused at step file")), "{}", list[2]);
    assert_eq!(told(address, &["list", "nobody"]), Vec::<Value>::new());
}

#[test]
fn the_table_is_for_people() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server(home.path()) else { return };
    let run = models(&running.address, &["promote", "fraud", "1"]);
    let table = String::from_utf8(run.stdout).expect("text");
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0].join(" "), "MODEL VERSION LABELS STATE RUNS ERRORS ONE RUN REASON");
    assert_eq!(lines[1][..4], ["fraud", "1", "stable", "READY"]);
    assert_eq!((lines.len(), lines[1].last()), (2, Some(&"us")), "{table}");
}

#[test]
fn what_cannot_be_done_is_told_as_elsewhere() {
    let home = tempfile::tempdir().expect("a directory");
    let running = start_with(home.path(), &[]);
    let (code, told_why) = refused(&running.address, &["list"]);
    assert_eq!(code, Some(1));
    assert!(told_why.contains("need `up --models DIR`") && told_why.contains("status=UNIMPLEMENTED"), "{told_why}");
    assert_eq!(refused("nowhere", &[]).0, Some(2), "an address is the caller's to put right");
    assert_eq!(refused(&running.address, &["load", "fraud", "newest"]).0, Some(2));
    assert_eq!(refused(&running.address, &["label", "fraud", "stable"]).0, Some(2), "a version is missing");
}

#[test]
fn a_service_with_its_columns_in_another_order_is_not_the_models() {
    if !has_onnxruntime() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let (definitions, models) = (home.path().join("floodmark.yaml"), home.path().join("models"));
    let example = std::fs::read_to_string(fraud_definitions()).expect("the example");
    assert!(example.contains("[customer_spend.*, terminal_risk.*]"));
    let turned = example.replace("[customer_spend.*, terminal_risk.*]", "[terminal_risk.*, customer_spend.*]");
    std::fs::write(&definitions, turned).expect("a file");
    copy(&root().join("examples/fraud/models/fraud/1"), &models.join("fraud/1"));
    let running = start_defined(&definitions, &home.path().join("store"), &["--models", &text(&models)]);
    let list = told(&running.address, &[]);
    assert_eq!(states(&list), [(1, "UNAVAILABLE", json!([]))]);
    let reason = list[0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("model fraud version 1 refused at step features: expected columns_id "), "{reason}");
}
