//! Versions that serve, and versions that are refused, each with its step and the way out.

use std::path::Path;

use super::{Model, ScoreError, Settings};
use crate::graph::onnx;
use crate::matrix::{Input, InputError};
use crate::testing::{self, Fraud, MANIFEST, expected, golden, tensor};

fn load(repository: &Path, version: &str) -> Option<Result<Model, String>> {
    let settings = Settings { instances: 2, warm_up_runs: 20, ..Settings::default() };
    let model = Model::load(testing::runtime()?, repository, "fraud", version, &Fraud, &settings);
    Some(model.map_err(|e| e.to_string()))
}

fn loaded(model: &onnx::Model, manifest: &str, golden: &str) -> Option<Result<Model, String>> {
    let folder = tempfile::tempdir().unwrap();
    testing::write(&folder.path().join("fraud"), "8", &testing::bytes(model), manifest, golden);
    load(folder.path(), "8")
}

fn serving(model: &onnx::Model, manifest: &str, golden: &str) -> Option<Model> {
    Some(loaded(model, manifest, golden)?.unwrap())
}

#[track_caller]
fn refused(model: &onnx::Model, manifest: &str, golden: &str, expected: &str) {
    let Some(loaded) = loaded(model, manifest, golden) else { return };
    let error = loaded.unwrap_err();
    assert!(error.contains(&format!("model fraud version 8 refused at step {expected}")), "{error}");
}

#[test]
fn a_model_scores_rows_alone_and_together() {
    let Some(model) = serving(&testing::logistic(), MANIFEST, &golden()) else { return };
    let mut rows = model.matrix();
    let mut scores = Vec::new();
    model.score(&rows, &mut scores).unwrap();
    assert!(scores.is_empty());
    let given = [[1.5, 2.0, -0.5], [0.0, 0.0, 0.0], [7.0, 1.0, 0.25]];
    for row in given {
        rows.clear();
        let inputs = [Input::Float(row[0]), Input::Int(row[1] as i64), Input::Float(row[2])];
        assert_eq!(rows.push(|at| inputs[at]), Ok(0));
        model.score(&rows, &mut scores).unwrap();
        assert!((scores[0] - expected(row)).abs() < 1e-6);
    }
    rows.clear();
    for row in given {
        rows.push(|at| Input::Float(row[at])).unwrap();
    }
    model.score(&rows, &mut scores).unwrap();
    assert_eq!(scores.len(), 3);
    assert!(scores.iter().zip(given).all(|(score, row)| (score - expected(row)).abs() < 1e-6));
    assert_eq!((model.runs(), model.errors(), model.instances()), (5, 0, 2));
    assert!(!model.row_time().is_zero());
}

#[test]
fn what_is_missing_is_filled_in_counted_or_refused() {
    let Some(model) = serving(&testing::logistic(), MANIFEST, &golden()) else { return };
    let mut rows = model.matrix();
    let inputs = [Input::Bool(true), Input::Missing, Input::Float(f64::NAN)];
    assert_eq!(rows.push(|at| inputs[at]), Ok(2));
    assert_eq!(rows.push(|_| Input::Missing), Err(InputError::Missing { column: "amount".into() }));
    let error = rows.push(|_| Input::Text("many")).unwrap_err().to_string();
    assert!(error.contains("column=amount expected=float found=string"), "{error}");
    assert_eq!((rows.rows(), rows.missing()), (1, 2));
    let mut scores = Vec::new();
    model.score(&rows, &mut scores).unwrap();
    assert!((scores[0] - expected([1.0, 0.0, 0.5])).abs() < 1e-6);
}

#[test]
fn a_score_that_is_no_number_is_an_error_or_the_fallback() {
    let golden = r#"{ "tolerance": 1e-5, "rows": [ { "inputs": [2.0, 0, 0.0], "score": 0.0 } ] }"#;
    let Some(model) = serving(&testing::log(), MANIFEST, golden) else { return };
    let mut rows = model.matrix();
    for amount in [2.0, -2.0] {
        rows.push(|at| [Input::Float(amount), Input::Int(0), Input::Int(0)][at]).unwrap();
    }
    let mut scores = Vec::new();
    let error = model.score(&rows, &mut scores).unwrap_err();
    assert_eq!(error, ScoreError::NotFinite { model: "fraud".into(), version: 8, row: 1 });
    assert!(scores.is_empty());
    assert_eq!(model.errors(), 1);

    let with_fallback = MANIFEST.replace("\"golden\"", "\"fallback\": 0.75, \"golden\"");
    let Some(model) = serving(&testing::log(), &with_fallback, golden) else { return };
    model.score(&rows, &mut scores).unwrap();
    assert_eq!(scores, [0.0, 0.75]);
}

#[test]
fn probabilities_in_maps_are_read_by_the_label_of_their_class() {
    let by_key = MANIFEST.replace("\"output\": \"score\"", "\"output\": \"probabilities\", \"key\": 1");
    assert!(serving(&testing::zip_map(), &by_key, &golden()).is_none_or(|model| model.version() == 8));
    let by_column = by_key.replace("\"key\": 1", "\"column\": 1");
    assert!(serving(&testing::zip_map(), &by_column, &golden()).is_none_or(|model| model.name() == "fraud"));
    refused(&testing::zip_map(), &by_key.replace("\"key\": 1", "\"key\": 7"), &golden(), "outputs: expected a class Int(7), got [0, 1]");
    refused(
        &testing::zip_map(),
        &by_column.replace("\"column\": 1", "\"column\": 2"),
        &golden(),
        "outputs: expected output \"probabilities\"",
    );
    let only = by_column.replace(", \"column\": 1", "");
    refused(&testing::zip_map(), &only, &golden(), "outputs: expected one value of output \"probabilities\" for each row, got 2 values");
    let label = only.replace("probabilities", "label");
    refused(&testing::zip_map(), &label, &golden(), "outputs: expected a float or double tensor, got tensor \"label\" of int64");
}

#[test]
fn each_feature_may_have_a_tensor_of_its_own() {
    let manifest = r#"{ "format": 1, "service": "fraud", "columns_id": "00000000000000ff",
      "inputs": { "features": [
        { "column": "amount", "tensor": "amount", "missing": "nan" },
        { "column": "nb_tx_1d", "tensor": "nb", "missing": { "default": 3 } },
        { "column": "category", "tensor": "cat", "missing": { "default": "none" } } ] },
      "score": { "output": "score" }, "fallback": 0.0, "golden": "golden.json" }"#;
    let golden = r#"{ "tolerance": 1e-5, "rows": [
      { "inputs": [2.5, 2, "a"], "score": 5.0 }, { "inputs": [1, null, null], "score": 3.0 } ] }"#;
    let Some(model) = serving(&testing::columns(), manifest, golden) else { return };
    let mut rows = model.matrix();
    rows.push(|at| [Input::Float(0.5), Input::Float(4.0), Input::Text("b")][at]).unwrap();
    let error = rows.push(|at| [Input::Float(0.5), Input::Float(4.5), Input::Text("b")][at]).unwrap_err().to_string();
    assert!(error.contains("column=nb_tx_1d expected=int64 found=float64"), "{error}");
    let mut scores = Vec::new();
    model.score(&rows, &mut scores).unwrap();
    assert_eq!(scores, [2.0]);
    let nan = manifest.replace("{ \"default\": 3 }", "\"nan\"");
    refused(&testing::columns(), &nan, golden, "features: expected a default or reject, for a type that has no NaN");
    let short = manifest.replace(r#","tensor": "cat""#, "").replace("\"cat\"", "\"kat\"");
    refused(&testing::columns(), &short, golden, "inputs: expected a tensor \"kat\"");
}

#[test]
fn a_model_that_takes_one_row_at_a_time_is_given_one_at_a_time() {
    let mut single = testing::logistic();
    testing::graph(&mut single).inputs = vec![tensor("X", onnx::FLOAT, &[Some(1), Some(3)])];
    testing::graph(&mut single).outputs = vec![tensor("score", onnx::FLOAT, &[Some(1)])];
    let Some(model) = serving(&single, MANIFEST, &golden()) else { return };
    let mut rows = model.matrix();
    for _ in 0..3 {
        rows.push(|_| Input::Int(1)).unwrap();
    }
    let mut scores = Vec::new();
    model.score(&rows, &mut scores).unwrap();
    assert_eq!(scores.len(), 3);
}

#[test]
fn what_does_not_fit_is_refused_at_its_step() {
    let model = testing::logistic();
    let good = golden();
    refused(&model, "{}", &good, "manifest: expected JSON of its documented shape at file, got missing field");
    refused(&model, MANIFEST, "{}", "manifest: expected JSON");
    refused(&testing::external(), MANIFEST, &good, "file: expected all weights in model.onnx, got tensor \"far\" in another file");
    refused(&testing::custom(), MANIFEST, &good, "file: expected operators that ONNX Runtime brings along, got com.example.Sigmoid");
    let sum = MANIFEST.replace("\"golden\"", &format!("\"sha256\": \"{}\", \"golden\"", "0".repeat(64)));
    refused(&model, &sum, &good, "file: expected sha256 0000");
    refused(&model, &MANIFEST.replace("\"score\" }", "\"scor\" }"), &good, "outputs: expected an output \"scor\", got score");

    let mut unknown = model.clone();
    testing::graph(&mut unknown).nodes[2].operator = "Sigmoit".to_owned();
    refused(&unknown, MANIFEST, &good, "session: expected a model that ONNX Runtime takes");
    let mut wide = model.clone();
    testing::graph(&mut wide).inputs = vec![tensor("X", onnx::FLOAT, &[None, Some(4)])];
    refused(&wide, MANIFEST, &good, "session");
    let mut wider = testing::zip_map();
    testing::graph(&mut wider).inputs = vec![tensor("X", onnx::FLOAT, &[None, Some(16)])];
    let by_column = MANIFEST.replace("\"output\": \"score\"", "\"output\": \"probabilities\", \"column\": 1");
    refused(&wider, &by_column, &good, "inputs: expected 3 columns, got tensor \"X\" of float[-1,16]; list in the manifest");
    refused(&model, &MANIFEST.replace("\"X\"", "\"Y\""), &good, "inputs: expected a tensor \"Y\", got tensor \"X\" of float[-1,3]");

    refused(
        &model,
        &MANIFEST.replace("\"service\": \"fraud\"", "\"service\": \"frod\""),
        &good,
        "features: expected a feature service \"frod\"",
    );
    let typo = loaded(&model, &MANIFEST.replace("amount", "amuont"), &good);
    assert!(typo.is_none_or(|e| e.unwrap_err().ends_with("did you mean \"amount\"?")));
    refused(&model, &MANIFEST.replace("\"amount\"", "\"at\""), &good, "features: expected \"at\" to become a float, got a timestamp");
    refused(&model, &MANIFEST.replace("00ff", "00fe"), &good, "features: expected columns_id 00000000000000fe, got 00000000000000ff");

    let off = good.replacen("\"score\": 0.", "\"score\": 1.", 1);
    refused(&model, MANIFEST, &off, "golden: expected score 1.");
    let golden_nan = r#"{ "tolerance": 1e-5, "rows": [ { "inputs": [2.0, 0, 0.0], "score": 0.0 } ] }"#;
    let nan = MANIFEST.replace("{ \"default\": 0.5 }", "\"nan\"");
    refused(&testing::log(), &nan, golden_nan, "golden: expected a finite score where every feature that may be missing is");
}

#[test]
fn a_version_is_a_folder_with_a_number() {
    let folder = tempfile::tempdir().unwrap();
    testing::write(&folder.path().join("fraud"), "08", b"", MANIFEST, "{}");
    for (version, expected) in [("08", "a version such as 8"), ("v8", "a version such as 8"), ("9", "a folder, got none at")] {
        let Some(loaded) = load(folder.path(), version) else { return };
        let error = loaded.unwrap_err();
        assert!(error.contains(&format!("refused at step path: expected {expected}")), "{error}");
    }
}

#[test]
fn a_file_that_was_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = testing::bytes(&testing::logistic());
    testing::write(&folder.path().join("fraud"), "8", &bytes[..bytes.len() / 2], MANIFEST, &golden());
    let Some(loaded) = load(folder.path(), "8") else { return };
    let error = loaded.unwrap_err();
    assert!(error.contains("refused at step file: expected an ONNX model"), "{error}");
}
