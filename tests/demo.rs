//! `floodmark demo` in a small world: everything agrees, the last day is scored, and without ONNX Runtime the rest is still told.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::score::has_onnxruntime;

const SMALL: [&str; 10] = ["demo", "--json", "--customers", "120", "--terminals", "200", "--days", "60", "--reads", "100"];

/// What the demo reports.
#[track_caller]
fn report(demo: &mut Command) -> Value {
    let run = demo.output().expect("the floodmark command");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("JSON")
}

fn floodmark() -> Command {
    Command::new(env!("CARGO_BIN_EXE_floodmark"))
}

#[test]
fn the_last_day_is_scored_as_a_training_set_would_be() {
    if !has_onnxruntime() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let store = home.path().join("store");
    let report = report(floodmark().args(SMALL).arg("--store").arg(&store));
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("no {key} in {report}"));
    assert_eq!((number("mismatches"), number("score_mismatches")), (0.0, 0.0), "{report}");
    assert!(number("scored") > 100.0 && number("scored") == number("scores_compared"), "{report}");
    assert!(number("frauds") > 0.0 && number("frauds") < number("scored") / 2.0, "{report}");
    // The model has seen another town, of the same kind.
    assert!((0.7..=1.0).contains(&number("auc_roc")), "{report}");
    assert!((0.4..=1.0).contains(&number("average_precision")), "{report}");
    assert!(number("card_precision_100") > 0.0 && number("card_precision_100") <= number("compromised_cards") / 100.0, "{report}");
    assert!(number("score_p50_us") <= number("score_p99_us"), "{report}");

    // What it leaves behind is a repository that a server takes, the example's own.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/models/fraud/1");
    for file in ["model.onnx", "manifest.json", "golden.json"] {
        let (left, own) = (std::fs::read(store.join("models/fraud/1").join(file)), std::fs::read(example.join(file)));
        assert_eq!(left.expect("a file"), own.expect("a file"), "{file}");
    }
}

#[test]
fn without_onnx_runtime_there_is_a_reason_and_no_score() {
    let home = tempfile::tempdir().expect("a directory");
    let report = report(floodmark().args(SMALL).env("ORT_DYLIB_PATH", home.path().join("nothing.so")));
    assert_eq!((&report["scored"], &report["mismatches"], &report["auc_roc"]), (&0.into(), &0.into(), &Value::Null));
    assert!(report["no_scores"].as_str().is_some_and(|reason| reason.contains("ORT_DYLIB_PATH")), "{report}");
    assert!(report["values_compared"].as_u64().is_some_and(|values| values > 0));
}
