//! The manifest as written, and the way to the proven one.

use std::path::Path;

use serde::Deserialize;

use super::{FORMAT, Feature, FileError, Key, Layout, Manifest as Proven, Missing, Scalar, Score as ProvenScore, ScoreAt};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: u32,
    service: String,
    columns_id: String,
    inputs: Inputs,
    score: Score,
    fallback: Option<f64>,
    golden: String,
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inputs {
    tensor: Option<String>,
    features: Vec<Input>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    column: String,
    tensor: Option<String>,
    missing: Missing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Score {
    output: String,
    column: Option<usize>,
    key: Option<Key>,
}

/// What is wrong, before the file is named.
struct Wrong {
    key: String,
    expected: String,
    got: String,
}

fn wrong<T>(key: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { key: key.into(), expected: expected.into(), got: got.into() })
}

impl Manifest {
    pub(super) fn proven(self, file: &Path) -> Result<Proven, FileError> {
        self.checked().map_err(|Wrong { key, expected, got }| FileError { file: file.to_path_buf(), key, expected, got })
    }

    fn checked(self) -> Result<Proven, Wrong> {
        if self.format != FORMAT {
            return wrong("format", FORMAT.to_string(), self.format.to_string());
        }
        if let Some(sum) = self.sha256.as_deref().filter(|sum| !is_hex(sum, 64)) {
            return wrong("sha256", "64 hex digits", format!("\"{sum}\""));
        }
        if self.golden.is_empty() || self.golden.contains(['/', '\\']) {
            return wrong("golden", "the name of a file in the same folder", format!("\"{}\"", self.golden));
        }
        Ok(Proven {
            columns_id: columns_id(&self.columns_id)?,
            service: self.service,
            layout: layout(&self.inputs)?,
            features: features(self.inputs.features)?,
            score: score(self.score)?,
            fallback: self.fallback,
            golden: self.golden,
            sha256: self.sha256.map(|sum| sum.to_lowercase()),
        })
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn columns_id(text: &str) -> Result<u64, Wrong> {
    match u64::from_str_radix(text, 16) {
        Ok(id) if is_hex(text, 16) => Ok(id),
        _ => wrong("columns_id", "16 hex digits: the service's columns_id", format!("\"{text}\"")),
    }
}

fn layout(inputs: &Inputs) -> Result<Layout, Wrong> {
    let at = |position: usize| format!("inputs.features[{position}].tensor");
    if let Some(tensor) = &inputs.tensor {
        return match inputs.features.iter().position(|f| f.tensor.is_some()) {
            Some(position) => wrong(at(position), "none, where inputs.tensor holds all features", "one"),
            None => Ok(Layout::Matrix(tensor.clone())),
        };
    }
    let mut tensors: Vec<String> = Vec::new();
    for (position, feature) in inputs.features.iter().enumerate() {
        let Some(tensor) = &feature.tensor else {
            return wrong(at(position), "the tensor's name, or one inputs.tensor for all features", "none");
        };
        if tensors.contains(tensor) {
            return wrong(at(position), "a tensor of its own", format!("\"{tensor}\" again"));
        }
        tensors.push(tensor.clone());
    }
    Ok(Layout::Columns(tensors))
}

fn features(inputs: Vec<Input>) -> Result<Vec<Feature>, Wrong> {
    if inputs.is_empty() {
        return wrong("inputs.features", "at least one", "none");
    }
    let mut features: Vec<Feature> = Vec::with_capacity(inputs.len());
    for (position, Input { column, missing, .. }) in inputs.into_iter().enumerate() {
        let key = |rest: &str| format!("inputs.features[{position}].{rest}");
        if features.iter().any(|f| f.column == column) {
            return wrong(key("column"), "a column that is no other input", format!("\"{column}\" again"));
        }
        if matches!(&missing, Missing::Default(Scalar::Float(v)) if !v.is_finite()) {
            return wrong(key("missing.default"), "a finite number", "one that is not");
        }
        features.push(Feature { column, missing });
    }
    Ok(features)
}

fn score(Score { output, column, key }: Score) -> Result<ProvenScore, Wrong> {
    let at = match (column, key) {
        (None, None) => ScoreAt::Only,
        (Some(column), None) => ScoreAt::Column(column),
        (None, Some(key)) => ScoreAt::Key(key),
        (Some(_), Some(_)) => return wrong("score", "column or key", "both"),
    };
    Ok(ProvenScore { output, at })
}
