//! The Fraud Detection Handbook's baseline, from raw transactions on: models trained on floodmark's features are as good as those that
//! are trained on the features that the authors published.

use std::path::Path;
use std::process::{Command, Stdio};

use floodmark_features::definition::Definitions;
use serde_json::Value;

use crate::harness::real::{data, text};

/// How far AUC ROC and average precision may be apart.
const NEAR: f64 = 0.02;
const MODELS: [&str; 2] = ["logistic_regression", "random_forest"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python of the examples; `None`, loudly, where it cannot be had, and a failure where `REQUIRE_ORT=1`.
fn python() -> Option<String> {
    let requirements = root().join("examples/fraud/requirements.txt");
    let made = Command::new(root().join(".ci/python")).arg("examples").arg(requirements).stderr(Stdio::inherit()).output();
    match made {
        Ok(made) if made.status.success() => Some(String::from_utf8(made.stdout).expect("text").trim().to_owned()),
        _ if std::env::var("REQUIRE_ORT").is_ok_and(|v| v == "1") => panic!("REQUIRE_ORT=1, and there is no Python for the examples"),
        _ => {
            eprintln!("SKIPPED: there is no Python for the examples");
            None
        }
    }
}

#[test]
fn models_on_our_features_are_as_good_as_on_the_authors() {
    let (Some(transactions), Some(_)) = (data("transactions.parquet"), data("published_features_to_2018-05.parquet")) else { return };
    let Some(python) = python() else { return };
    let run = Command::new(python)
        .arg(root().join("examples/fraud/handbook.py"))
        .args(["--floodmark", env!("CARGO_BIN_EXE_floodmark")])
        .env("FLOODMARK_DATA", transactions.parent().expect("a folder"))
        .output()
        .expect("the script");
    let (said, told) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{told}");
    eprintln!("{said}");

    let mut last = said.lines().rev().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let (baseline, spring) = (last.next().expect("the baseline"), last.next().expect("the days of spring"));
    for model in MODELS {
        for measure in ["auc", "ap"] {
            let number = |value: &Value| value[model][measure].as_f64().unwrap_or(f64::NAN);
            let (ours, theirs) = (number(&spring["floodmark"]), number(&spring["published"]));
            assert!((ours - theirs).abs() <= NEAR, "{model} {measure}: {ours}, on the authors' features {theirs}");
            assert!(number(&baseline) > 0.5, "{model} {measure}: {}", number(&baseline));
        }
    }
}

#[test]
fn the_handbook_and_the_example_define_the_same_views() {
    let views = |name: &str| {
        let file = root().join("examples/fraud").join(name);
        let definitions = Definitions::parse(&text(&file), &std::fs::read_to_string(&file).expect("a file")).expect("definitions");
        definitions.views.iter().map(|view| (view.name.clone(), view.fingerprint)).collect::<Vec<_>>()
    };
    assert_eq!(views("handbook.yaml"), views("floodmark.yaml"));
    assert_eq!(views("handbook.yaml").len(), 3);
}
