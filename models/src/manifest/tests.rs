//! Manifests that are refused, each with the key and what was expected there.

use std::fs;

use super::{Golden, Key, Layout, Manifest, Missing, Scalar, ScoreAt};

const GOOD: &str = r#"{ "format": 1, "service": "fraud", "columns_id": "00000000000000ff",
  "inputs": { "tensor": "X", "features": [
    { "column": "amount", "missing": "reject" },
    { "column": "customer_spend.nb_tx_1d", "missing": { "default": 0 } },
    { "column": "customer_spend.avg_amount_7d", "missing": "nan" } ] },
  "score": { "output": "probabilities", "column": 1 },
  "golden": "golden.json" }"#;

fn read(text: &str) -> Result<Manifest, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifest.json");
    fs::write(&file, text).unwrap();
    Manifest::read(&file).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(change: (&str, &str), expected: &str) {
    let text = GOOD.replacen(change.0, change.1, 1);
    assert_ne!(text, GOOD, "nothing to change");
    let error = read(&text).unwrap_err();
    assert!(error.contains("manifest.json") && error.contains(expected), "{error}");
}

#[test]
fn a_manifest_is_read() {
    let manifest = read(GOOD).unwrap();
    assert_eq!(manifest.columns_id, 255);
    assert_eq!(manifest.layout, Layout::Matrix("X".into()));
    let missing: Vec<&Missing> = manifest.features.iter().map(|f| &f.missing).collect();
    assert_eq!(missing, [&Missing::Reject, &Missing::Default(Scalar::Int(0)), &Missing::Nan]);
    assert_eq!(manifest.score.at, ScoreAt::Column(1));
    let keyed = read(&GOOD.replace("\"column\": 1", "\"key\": \"fraud\"")).unwrap();
    assert_eq!(keyed.score.at, ScoreAt::Key(Key::Text("fraud".into())));
}

#[test]
fn what_does_not_hold_together_is_refused() {
    refused(("\"format\": 1", "\"format\": 2"), "format: expected 1, got 2");
    refused(("\"golden\":", "\"gold\":"), "unknown field `gold`, expected one of");
    refused(("\"missing\": \"nan\"", "\"mising\": \"nan\""), "unknown field `mising`, expected one of `column`, `tensor`, `missing`");
    refused(("\"nan\"", "\"zero\""), "unknown variant `zero`, expected one of `reject`, `nan`, `default`");
    refused(("00000000000000ff", "ff"), "columns_id: expected 16 hex digits");
    refused(("\"tensor\": \"X\", ", ""), "inputs.features[0].tensor: expected the tensor's name");
    refused(("\"amount\",", "\"amount\", \"tensor\": \"A\","), "inputs.features[0].tensor: expected none");
    refused(("customer_spend.nb_tx_1d", "amount"), "inputs.features[1].column: expected a column that is no other input");
    refused(("\"column\": 1", "\"column\": 1, \"key\": 1"), "score: expected column or key, got both");
    refused(("golden.json", "../golden.json"), "golden: expected the name of a file in the same folder");
}

#[test]
fn golden_rows_have_a_value_for_each_feature() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("golden.json");
    fs::write(&file, r#"{ "tolerance": 1e-5, "rows": [ { "inputs": [1, 2.5, null, true, "a"], "score": 0.5 } ] }"#).unwrap();
    assert_eq!(Golden::read(&file, 5).unwrap().rows[0].inputs[2], None);
    let error = Golden::read(&file, 4).unwrap_err().to_string();
    assert!(error.ends_with("rows[0].inputs: expected 4 values, one for each feature, got 5"), "{error}");
}
