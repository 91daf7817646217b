//! The Python package: in process, as a client and inside Spark, what the command makes of the same events and the same spine; and models
//! that follow the newest data through it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clients::python;
use crate::crash::{DEFINITIONS, write_payments};
use crate::flight::write_spine;
use crate::harness::real::{data, floodmark, floodmark_lines, fraud_definitions, printed, text};
use crate::push::start_defined;
use crate::score::has_onnxruntime;

/// The package as an installed one is laid out: its Python files, and the module that was built with the tests.
fn package(home: &Path) -> PathBuf {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("python/floodmark"), home.join("site"));
    std::fs::create_dir_all(to.join("floodmark")).expect("a folder");
    for file in std::fs::read_dir(from).expect("the package").flatten().filter(|file| file.file_name() != "__pycache__") {
        std::os::unix::fs::symlink(file.path(), to.join("floodmark").join(file.file_name())).expect("a link");
    }
    let built = std::env::current_exe().expect("a path").with_file_name("lib_kernel.so");
    assert!(built.exists(), "{}", built.display());
    std::os::unix::fs::symlink(built, to.join("floodmark/_kernel.abi3.so")).expect("a link");
    to
}

/// Runs a script with the package. `None` if there is no Python for it.
fn run(home: &Path, script: &str, arguments: &[&str]) -> Option<String> {
    let python = python("package", "tests/package/requirements.txt")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/package").join(script);
    let mut client = Command::new(python);
    client.arg(script).args(arguments).env("PYTHONPATH", package(home)).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = client.output().expect("Python");
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("all of it is the same"), "{said}\n{complaint}");
    Some(complaint.into_owned())
}

fn training_set(store: &str, of: [&str; 3], spine: &str, mode: &str, out: &str) {
    let [service, time, event_id] = of;
    let of = ["--store", store, "--service", service, "--time", time, "--event-id", event_id, "--mode", mode, "--spine", spine];
    floodmark(&[&["training-set", "--json"], &of[..], &["--out", out]].concat());
}

#[test]
fn every_way_to_a_training_set_leads_to_the_same_one() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| text(&home.path().join(name));
    std::fs::write(at("definitions.yaml"), DEFINITIONS).expect("definitions");
    write_payments(&home.path().join("payments.jsonl"));
    write_spine(&home.path().join("spine.parquet"));
    let input = format!("payments={}", at("payments.jsonl"));
    floodmark(&[
        "replay",
        "--json",
        "--definitions",
        &at("definitions.yaml"),
        "--store",
        &at("store"),
        "--offline",
        &at("offline"),
        &input,
    ]);
    for mode in ["as-served", "as-corrected"] {
        training_set(&at("store"), ["all", "at", "id"], &at("spine.parquet"), mode, &at(&format!("{mode}.parquet")));
    }
    let running = start_defined(&home.path().join("definitions.yaml"), &home.path().join("store"), &[]);
    let address = running.address.trim_start_matches("http://").to_owned();
    let (served, corrected, spine) = (at("as-served.parquet"), at("as-corrected.parquet"), at("spine.parquet"));
    let asked = [&address, &at("definitions.yaml"), &at("payments.jsonl"), &at("offline"), &spine, &served, &corrected];
    let of = ["stats", "--definitions", &at("definitions.yaml"), "--offline", &at("offline"), "--service", "all"];
    let lines = floodmark_lines(&[&of[..], &["--from", "2023-11-16", "--to", "2023-11-17", "--sample", "500", "--json"]].concat());
    assert!(lines.len() == 8 && lines.iter().all(|line| line["rows"] == 500 && line["range"] == "range"), "{lines:?}");
    let table = printed(&[&of[..], &["--from", "2023-11-16", "--to", "2023-11-17"]].concat());
    assert!(table.starts_with("feature ") && table.lines().count() == 9, "{table}");
    let said = run(home.path(), "package.py", &asked.map(|argument| argument.as_str()));
    running.terminate();
    assert!(running.ended(), "it ends in order");
    if said.is_none() {
        return;
    }
    let events = format!("payments={}", at("offline/events/payments"));
    let asked = [&at("definitions.yaml"), "all", "at", "id", &spine, &served, &corrected, &events];
    run(&home.path().join("spark"), "in_spark.py", &asked);
}

#[test]
fn messages_are_those_of_the_proto_files() {
    let home = tempfile::tempdir().expect("a directory");
    let of = |path: &str| text(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    run(home.path(), "generated.py", &[&of("proto"), &of("python/floodmark")]);
}

#[test]
fn the_example_notebook_runs() {
    let home = tempfile::tempdir().expect("a directory");
    let offline = text(&home.path().join("offline"));
    let definitions = fraud_definitions();
    let more = ["--offline", &offline, "--offline-interval", "200"];
    let running = start_defined(Path::new(&definitions), &home.path().join("store"), &more);
    let notebook = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/training_set.ipynb"));
    let said = run(home.path(), "notebook.py", &[&notebook, running.address.trim_start_matches("http://")]);
    eprint!("{}", said.unwrap_or_default());
    running.terminate();
    assert!(running.ended(), "it ends in order");
}

#[test]
fn a_better_version_of_a_model_is_promoted_and_a_worse_one_is_not() {
    if !has_onnxruntime() || python("examples", "examples/fraud/requirements.txt").is_none() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| text(&home.path().join(name));
    let (town, offline, models) = (at("town"), at("offline"), at("models"));
    let world = ["demo", "--json", "--seed", "2", "--customers", "120", "--terminals", "200", "--days", "60", "--reads", "1"];
    floodmark(&[&world[..], &["--store", &town]].concat());
    std::fs::create_dir(&models).expect("a folder");
    let more = ["--offline", &offline, "--offline-interval", "200", "--models", &models, "--log-predictions", "all"];
    let running = start_defined(Path::new(&fraud_definitions()), &home.path().join("store"), &more);
    let refresh = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/refresh.py"));
    let address = running.address.trim_start_matches("http://");
    let said = run(home.path(), "refresh.py", &[address, &models, &refresh, &at("town/input/labels.parquet")]);
    eprint!("{}", said.unwrap_or_default());
    running.terminate();
    assert!(running.ended(), "it ends in order");
}

#[test]
fn all_real_transactions_are_a_spine_for_a_client_in_process_and_in_spark() {
    let Some(transactions) = data("transactions.parquet") else { return };
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| text(&home.path().join(name));
    let (definitions, transactions, expected) = (fraud_definitions(), text(&transactions), at("expected.parquet"));
    let input = format!("transactions={transactions}");
    floodmark(&["replay", "--json", "--definitions", &definitions, "--store", &at("store"), &input]);
    let of = ["fraud", "tx_datetime", "transaction_id"];
    training_set(&at("store"), of, &transactions, "as-served", &expected);
    let asked = [&[&definitions[..]], &of[..], &[&transactions, &expected, &input]].concat();
    let Some(said) = run(home.path(), "in_process.py", &asked) else { return };
    eprint!("{said}");
    let running = start_defined(Path::new(&definitions), &home.path().join("store"), &[]);
    let readme = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let Some(published) = data("published_features_to_2018-05.parquet") else { return };
    let address = running.address.trim_start_matches("http://");
    let said = run(&home.path().join("client"), "readme.py", &[&readme, address, &transactions, &text(&published)]);
    eprint!("{}", said.unwrap_or_default());
    running.terminate();
    assert!(running.ended(), "it ends in order");
    let asked = [&[&definitions[..]], &of[..], &[&transactions, &expected, "-", &input]].concat();
    eprint!("{}", run(&home.path().join("spark"), "in_spark.py", &asked).unwrap_or_default());
}
