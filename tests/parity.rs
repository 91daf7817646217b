//! `floodmark verify --service`: what is served, what a training set has and what plain loops over the offline store count are the same;
//! and where they are not, it is said where, with the events.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::crash::{DEFINITIONS, write_payments};
use crate::harness::real::{floodmark, text};
use crate::push::start_telling;

/// What follows the views that there are: a sketch, roots, lists, and something derived from what the event says.
pub(crate) fn definitions() -> String {
    let more = "  much:
    entity: card
    source: payments
    bounds: \"[)\"
    ttl: 1d
    features:
      q: { quantile: amount, q: 0.9, windows: [2h, 3d] }
      spread: { stddev_samp: amount, windows: [2h] }
      shops: { distinct: shop, windows: [lifetime] }
      last: { last_k: shop, k: 3, windows: [{ session: 3h }], delay: 10m }
      calls: { top_k: shop, k: 2, windows: [{ sliding: 6h, every: 1h }], where: amount > 100 }
      idle: { time_since_last: \"*\", windows: [2h], default: -1 }
services:
  more:
    features: [much.*, shop_load.*]
    request: { amount: float64 }
    derived: { off: amount / much.q_2h }
";
    DEFINITIONS.replacen("services:\n", more, 1)
}

fn verify(arguments: &[&str]) -> (Output, Value) {
    let run = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(["verify", "--json"]).args(arguments).output().expect("the command");
    let report = String::from_utf8_lossy(&run.stdout).lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    (run, report)
}

fn agrees(arguments: &[&str]) -> Value {
    let (run, report) = verify(arguments);
    assert!(run.status.success(), "{}\n{report:#}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(report["not_retained"], 0);
    assert_eq!(report["worst"], serde_json::json!([]));
    report
}

#[test]
fn online_training_sets_and_a_recount_are_the_same_and_a_difference_is_told_with_its_events() {
    let home = tempfile::tempdir().expect("a directory");
    let [definitions, store, offline] = ["all.yaml", "store", "offline"].map(|name| text(&home.path().join(name)));
    std::fs::write(&definitions, self::definitions()).expect("definitions");
    let file = home.path().join("all.jsonl");
    write_payments(&file);
    let all = std::fs::read_to_string(&file).expect("lines");
    std::fs::write(&file, all.lines().take(100_000).map(|line| format!("{line}\n")).collect::<String>()).expect("lines");
    let input = format!("payments={}", text(&file));
    floodmark(&["replay", "--json", "--definitions", &definitions, "--store", &store, "--offline", &offline, &input]);

    for service in ["all", "more"] {
        let of_store = agrees(&["--store", &store, "--service", service, "--entities", "600"]);
        assert!(of_store["compared"].as_u64().is_some_and(|compared| compared > 20_000), "{of_store}");
        assert_eq!(of_store["rows"], 2_400);
        let of_place = agrees(&["--offline", &offline, "--definitions", &definitions, "--service", service, "--entities", "600"]);
        assert_eq!(of_store, of_place, "the same rows were chosen");
    }
    // A server that has the store.
    let arguments = ["--offline", &offline, "--offline-interval", "200"];
    let running = start_telling(Path::new(&definitions), Path::new(&store), &arguments, std::process::Stdio::inherit());
    let address = running.address.trim_start_matches("http://").to_owned();
    let of_server = ["--address", &address, "--offline", &offline, "--definitions", &definitions];
    agrees(&[&of_server[..], &["--service", "more", "--entities", "300"]].concat());

    // Who verifies means another function than the server has: online differs, and by which events is said.
    let other = home.path().join("other.yaml");
    let changed = std::fs::read_to_string(&definitions).expect("definitions").replace("biggest: { max: amount", "biggest: { min: amount");
    std::fs::write(&other, changed).expect("definitions");
    let of_server = ["--address", &address, "--offline", &offline, "--definitions", &text(&other)];
    let (run, report) = verify(&[&of_server[..], &["--service", "all", "--entities", "300"]].concat());
    assert_eq!(run.status.code(), Some(1), "{report:#}");
    let why = String::from_utf8_lossy(&run.stderr);
    assert!(why.contains("in a training set 0 differ from the recount"), "{why}");
    assert_eq!(report["online_differs"], report["online_and_training_differ"]);
    let worst = report["worst"].as_array().expect("differences");
    assert_eq!(worst.len(), 10, "{report:#}");
    for wrong in worst {
        assert_eq!(wrong["feature"], "shop_load.biggest_12h");
        assert!(wrong["events_in_window"].as_u64() > Some(1) && wrong["events"][1]["event_id"].is_string(), "{wrong:#}");
    }
    running.terminate();
    assert!(running.ended());
}

#[test]
fn what_is_missing_is_said() {
    let says = |arguments: &[&str], what: &str| {
        let (run, _) = verify(arguments);
        let why = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.code() == Some(2) && why.contains(what), "{why}");
    };
    says(&["--service", "fraud"], "expected --store, or --definitions with --offline");
    says(&["--service", "fraud", "--definitions", "examples/fraud/floodmark.yaml"], "add --offline PLACE");
    says(&["--store", "x", "--offline", "y"], "--service");
}
