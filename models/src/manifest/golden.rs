//! Golden rows: inputs whose scores are known from training. A model that does not repeat them does not serve.

use std::path::Path;

use serde::Deserialize;

use super::{FileError, Scalar, read_json};

/// Rows and the scores that they must have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// How far a score may be off.
    pub tolerance: f64,
    /// At least one.
    pub rows: Vec<GoldenRow>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRow {
    /// In the order of the manifest's features; `None` for a missing value.
    pub inputs: Vec<Option<Scalar>>,
    /// What the model gave when it was exported.
    pub score: f64,
}

impl Golden {
    /// Reads golden rows of `width` inputs each.
    pub fn read(file: &Path, width: usize) -> Result<Golden, FileError> {
        let golden: Golden = read_json(file)?;
        let wrong = |key: String, expected: String, got: String| Err(FileError { file: file.to_path_buf(), key, expected, got });
        if !(golden.tolerance >= 0.0 && golden.tolerance.is_finite()) {
            return wrong("tolerance".into(), "a number from 0".into(), golden.tolerance.to_string());
        }
        if golden.rows.is_empty() {
            return wrong("rows".into(), "at least one".into(), "none".into());
        }
        match golden.rows.iter().position(|row| row.inputs.len() != width) {
            Some(at) => wrong(
                format!("rows[{at}].inputs"),
                format!("{width} values, one for each feature"),
                golden.rows[at].inputs.len().to_string(),
            ),
            None => Ok(golden),
        }
    }
}
