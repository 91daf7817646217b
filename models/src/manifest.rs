//! The manifest: what stands beside a model and says how its inputs are made of features and where its score is.
//!
//! ```json
//! { "format": 1, "service": "fraud", "columns_id": "0123456789abcdef",
//!   "inputs": { "tensor": "X", "features": [
//!     { "column": "amount", "missing": "reject" },
//!     { "column": "customer_spend.nb_tx_1d", "missing": { "default": 0 } },
//!     { "column": "customer_spend.avg_amount_7d", "missing": "nan" } ] },
//!   "score": { "output": "probabilities", "column": 1 },
//!   "golden": "golden.json" }
//! ```
//!
//! What is read here holds together by itself; whether it fits the model and the service is found out when the model loads.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

mod golden;
mod raw;

pub use golden::{Golden, GoldenRow};

/// The only format there is.
pub const FORMAT: u32 = 1;

/// The manifest's file name, in the folder of a version.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The model's file name, beside it.
pub const MODEL_FILE: &str = "model.onnx";

/// A manifest that holds together.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The feature service whose columns feed the model.
    pub service: String,
    /// Fingerprint of those columns when the model was trained.
    pub columns_id: u64,
    /// How columns become tensors.
    pub layout: Layout,
    /// One for each input of the model, in order.
    pub features: Vec<Feature>,
    /// Where the score is.
    pub score: Score,
    /// The score in place of one that is not finite; without it such a run is an error.
    pub fallback: Option<f64>,
    /// File with rows whose scores are known.
    pub golden: String,
    /// Checksum of the model's file.
    pub sha256: Option<String>,
}

/// How columns become tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One float tensor `[rows, features]` of this name.
    Matrix(String),
    /// A tensor `[rows]` or `[rows, 1]` for each feature, of these names, in the order of the features.
    Columns(Vec<String>),
}

/// One input of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// A column of the service.
    pub column: String,
    /// What a missing value becomes.
    pub missing: Missing,
}

/// What a missing value becomes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// An error that names the column.
    Reject,
    /// NaN.
    Nan,
    /// This.
    Default(Scalar),
}

/// A value as JSON writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true`
    Bool(bool),
    /// `7`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `"retail"`
    Text(String),
}

/// Where the score is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// The graph's output.
    pub output: String,
    /// Which of its values.
    pub at: ScoreAt,
}

/// Which value of a row's output is the score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScoreAt {
    /// There is only one.
    Only,
    /// By position, from 0.
    Column(usize),
    /// By the label of its class, in a map that a ZipMap makes.
    Key(Key),
}

/// The label of a class.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// `1`
    Int(i64),
    /// `"fraud"`
    Text(String),
}

/// A file beside the model that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {key}: expected {expected}, got {got}", file.display())]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// The key down to the place, joined by dots; `file` for the whole.
    pub key: String,
    /// What would be right.
    pub expected: String,
    /// What is there.
    pub got: String,
}

impl Manifest {
    /// Reads and proves a manifest.
    pub fn read(file: &Path) -> Result<Manifest, FileError> {
        read_json::<raw::Manifest>(file)?.proven(file)
    }
}

/// JSON of a known shape; what is not known is refused.
fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T, FileError> {
    let error = |expected: &str, got: String| FileError { file: file.to_path_buf(), key: "file".into(), expected: expected.into(), got };
    let bytes = std::fs::read(file).map_err(|e| error("a file that can be read", e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| error("JSON of its documented shape", e.to_string()))
}

#[cfg(test)]
mod tests;
