//! Models as libraries export them, and broken ones, made by `tests/models/make_models.py`: each serves and scores as Python's
//! runtime did, or is refused at the step that its list names, while the version before it answers.

mod maker;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::manifest::{Golden, Manifest, Scalar};
use crate::matrix::Input;
use crate::model::{Model, Settings};
use crate::registry::{LoadError, Registry, Selection, State};
use crate::repository::Repository;
use crate::runtime::Runtime;
use crate::signature::{ColumnType, ServiceColumns, Services};
use crate::testing;
use maker::{Made, made};

/// Of scikit-learn's, each with plain tensors and with a map of each row.
const OF_SKLEARN: [&str; 5] = ["random_forest", "extra_trees", "gradient_boosting", "logistic_regression", "scaler_pipeline"];
/// The others; `_nan` are those that are given NaN for what is missing.
const OTHERS: [&str; 6] = ["mlp", "xgboost", "xgboost_nan", "lightgbm", "lightgbm_nan", "hand_made"];
/// What is broken, and the step that sees it. A service with its columns in another order has another columns_id (`other_columns`); a
/// manifest with them in another order is not that of its model (`wrong_order`).
const BROKEN: [(&str, &str); 14] = [
    ("custom_domain", "file"),
    ("external_data", "file"),
    ("golden_mismatch", "golden"),
    ("leading_zero", "path"),
    ("nan_output", "golden"),
    ("no_such_column", "outputs"),
    ("no_such_output", "outputs"),
    ("other_columns", "features"),
    ("truncated", "file"),
    ("unknown_key", "manifest"),
    ("unknown_operator", "session"),
    ("wrong_order", "inputs"),
    ("wrong_type", "inputs"),
    ("wrong_width", "inputs"),
];

/// The columns that the sound models are fed.
struct Service(u64);

impl Service {
    fn of(made: &Made) -> Service {
        Service(Manifest::read(&made.folder.join("hand_made/1/manifest.json")).unwrap().columns_id)
    }
}

impl Services for Service {
    fn columns(&self, _: &str) -> Option<ServiceColumns> {
        let columns = [
            ("amount", ColumnType::Float64),
            ("customer_spend.nb_tx_1d", ColumnType::Int64),
            ("customer_spend.avg_amount_7d", ColumnType::Float64),
            ("terminal_risk.risk_7d", ColumnType::Float64),
            ("amount_ratio", ColumnType::Unknown),
        ];
        Some(ServiceColumns { id: self.0, columns: columns.map(|(name, kind)| (name.to_owned(), kind)).into() })
    }
}

/// ONNX Runtime and the models; `None`, loudly, where one of them cannot be had, and a failure where `REQUIRE_ORT=1`.
#[allow(clippy::print_stderr)]
fn prepared() -> Option<(&'static Runtime, Made)> {
    let runtime = testing::runtime()?;
    match made() {
        Ok(made) => Some((runtime, made)),
        Err(error) if std::env::var("REQUIRE_ORT").is_ok_and(|v| v == "1") => panic!("REQUIRE_ORT=1, and {error}"),
        Err(error) => {
            eprintln!("SKIPPED: no models of other libraries: {error}");
            None
        }
    }
}

/// One test: the models are made once.
#[test]
fn models_of_libraries_serve_and_broken_ones_do_not() {
    let Some((runtime, made)) = prepared() else { return };
    every_kind_is_there(&made);
    for model in &made.models {
        let version = model.path.rsplit('/').next().unwrap_or_default();
        let loaded = Model::load(runtime, &made.folder, &model.name, version, &Service::of(&made), &Settings::default());
        match (loaded, &model.refused) {
            (Ok(loaded), None) => scores_like_python(&loaded, &made.folder.join(&model.path)),
            (Err(refused), Some(step)) => assert_eq!(&refused.step.to_string(), step, "{refused}"),
            (Ok(_), Some(step)) => panic!("{} is loaded, and must be refused at step {step}", model.name),
            (Err(refused), None) => panic!("{refused}"),
        }
    }
    // The registry makes numbers of versions, so none begins with a zero.
    for broken in made.models.iter().filter(|model| model.refused.as_deref().is_some_and(|step| step != "path")) {
        the_version_before_answers(&made, &broken.path, broken.refused.as_deref().unwrap());
    }
}

fn every_kind_is_there(made: &Made) {
    let sound = made.models.iter().filter(|model| model.refused.is_none()).map(|model| model.name.clone()).collect();
    let zipmap = OF_SKLEARN.iter().map(|name| format!("{name}_zipmap"));
    let expected: BTreeSet<String> = OF_SKLEARN.iter().chain(&OTHERS).map(ToString::to_string).chain(zipmap).collect();
    assert_eq!(expected, sound);
    let mut broken: Vec<(&str, &str)> = Vec::new();
    broken.extend(made.models.iter().filter_map(|model| Some((model.name.as_str(), model.refused.as_deref()?))));
    broken.sort_unstable();
    assert_eq!(broken, BROKEN);
}

/// Each golden row, alone: what Python's onnxruntime gave for it. One of them lacks everything.
fn scores_like_python(model: &Model, folder: &Path) {
    let golden = Golden::read(&folder.join("golden.json"), model.signature().inputs.len()).unwrap();
    assert!(golden.rows.iter().any(|row| row.inputs.iter().all(Option::is_none)), "{}: no row lacks everything", model.name());
    let (mut rows, mut scores) = (model.matrix(), Vec::new());
    for row in &golden.rows {
        rows.clear();
        rows.push(|at| input(row.inputs[at].as_ref())).unwrap();
        model.score(&rows, &mut scores).unwrap();
        assert!((scores[0] - row.score).abs() <= golden.tolerance, "{}: {} and not {}", model.name(), scores[0], row.score);
    }
}

fn input(value: Option<&Scalar>) -> Input<'_> {
    match value {
        None => Input::Missing,
        Some(Scalar::Int(i)) => Input::Int(*i),
        Some(Scalar::Float(x)) => Input::Float(*x),
        Some(other) => panic!("no golden row has {other:?}"),
    }
}

/// A sound version 1 scores throughout, while a broken version 2 is loaded beside it and refused.
fn the_version_before_answers(made: &Made, broken: &str, step: &str) {
    let repository = tempfile::tempdir().unwrap();
    copy(&made.folder.join("hand_made/1"), &repository.path().join("fraud/1"));
    copy(&made.folder.join(broken), &repository.path().join("fraud/2"));
    let settings = Settings { instances: 1, warm_up_runs: 5, ..Settings::default() };
    let registry = Registry::new(Repository::new(repository.path()), None, settings);
    let service = Service::of(made);
    let first = registry.load("fraud", 1, &service).unwrap();
    let expected = score_of(&first);

    let done = AtomicBool::new(false);
    let refused = thread::scope(|threads| {
        let scoring = threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let model = registry.pick("fraud", Selection::Default).unwrap();
                assert_eq!((model.version(), score_of(&model).to_bits()), (1, expected.to_bits()));
            }
        });
        let refused = registry.load("fraud", 2, &service);
        done.store(true, Ordering::Relaxed);
        scoring.join().unwrap();
        refused
    });
    let Err(LoadError::Refused(refused)) = refused else { panic!("{broken} is loaded, and must be refused at step {step}") };
    assert_eq!((refused.version.as_ref(), refused.step.to_string().as_str()), ("2", step));
    assert!(refused.to_string().starts_with(&format!("model fraud version 2 refused at step {step}: expected ")), "{refused}");
    let listed: Vec<(u64, State)> = registry.list().iter().map(|status| (status.version, status.state)).collect();
    assert_eq!(listed, [(1, State::Ready), (2, State::Unavailable)], "{broken}");
    assert_eq!(registry.list()[1].reason, Some(refused.to_string()));
    assert_eq!(score_of(&registry.pick("fraud", Selection::Default).unwrap()).to_bits(), expected.to_bits());
}

fn score_of(model: &Model) -> f64 {
    let (mut rows, mut scores) = (model.matrix(), Vec::new());
    rows.push(|_| Input::Int(1)).unwrap();
    model.score(&rows, &mut scores).unwrap();
    scores[0]
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
