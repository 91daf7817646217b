//! A model: one version that passed every step of loading, and scores.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

mod load;
mod refused;

pub use refused::{Refused, Step};

use crate::counts::Counts;
use crate::matrix::Matrix;
use crate::sessions::Sessions;
use crate::signature::{Element, Signature};
use crate::stats::{Scored, Stats};

/// A version that serves.
#[derive(Debug)]
pub struct Model {
    name: Arc<str>,
    version: u64,
    signature: Arc<Signature>,
    fallback: Option<f64>,
    sha256: String,
    sessions: Sessions,
    score_element: Element,
    row_time: Duration,
    counts: Counts,
    stats: Stats,
}

/// How models are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Sessions of each model: how many runs there may be at once.
    pub instances: usize,
    /// A larger model file is refused.
    pub largest_file: u64,
    /// Runs of one row before a model serves.
    pub warm_up_runs: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        // One for each core that answers, and one for who scores beside the answer.
        Settings { instances: available_parallelism().map_or(1, usize::from) + 1, largest_file: 256 << 20, warm_up_runs: 300 }
    }
}

/// Why rows have no scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// The model gave NaN or an infinity, and the manifest has no fallback.
    #[error("score is not finite; a fallback in the manifest would stand in for it. model={model} version={version} row={row}")]
    NotFinite {
        /// The model's name.
        model: String,
        /// Its version.
        version: u64,
        /// Position of the row.
        row: usize,
    },
    /// The rows were made for a model with another signature.
    #[error("rows are made for another model; make them with this one's matrix(). model={model} version={version}")]
    OtherSignature {
        /// The model's name.
        model: String,
        /// Its version.
        version: u64,
    },
    /// The run failed.
    #[error("model did not run: {reason}. model={model} version={version}")]
    Failed {
        /// The model's name.
        model: String,
        /// Its version.
        version: u64,
        /// What ONNX Runtime said.
        reason: String,
    },
}

impl Model {
    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What it is fed.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Checksum of its file.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How many runs there may be at once.
    pub fn instances(&self) -> usize {
        self.sessions.count()
    }

    /// What one row took before it served, in the middle of many runs.
    pub fn row_time(&self) -> Duration {
        self.row_time
    }

    /// [`Element::Float`] if 32 bits hold each of its scores, else [`Element::Double`].
    pub fn score_element(&self) -> Element {
        self.score_element
    }

    /// Calls of [`Model::score`] so far.
    pub fn runs(&self) -> u64 {
        self.counts.runs()
    }

    /// How many of them ended in an error.
    pub fn errors(&self) -> u64 {
        self.counts.errors()
    }

    /// What it has done since it was loaded.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What it has scored.
    pub fn scored(&self) -> Scored {
        self.stats.read()
    }

    /// No rows yet, in the form that this model takes.
    pub fn matrix(&self) -> Matrix {
        Matrix::new(Arc::clone(&self.signature))
    }

    /// Scores rows on the thread that calls; `scores` holds their scores afterwards, in order, and nothing after an error.
    pub fn score(&self, rows: &Matrix, scores: &mut Vec<f64>) -> Result<(), ScoreError> {
        scores.clear();
        let scored = self.run(rows, scores);
        self.counts.ran(scored.is_ok());
        match scored {
            Ok(()) => self.stats.take(rows, scores),
            Err(_) => scores.clear(),
        }
        scored
    }

    fn run(&self, rows: &Matrix, scores: &mut Vec<f64>) -> Result<(), ScoreError> {
        let (model, version) = (|| self.name.to_string(), self.version);
        if !Arc::ptr_eq(&rows.signature, &self.signature) && rows.signature != self.signature {
            return Err(ScoreError::OtherSignature { model: model(), version });
        }
        if rows.rows() == 0 {
            return Ok(());
        }
        self.sessions.run(rows, scores).map_err(|reason| ScoreError::Failed { model: model(), version, reason })?;
        for (row, score) in scores.iter_mut().enumerate().filter(|(_, score)| !score.is_finite()) {
            *score = self.fallback.ok_or_else(|| ScoreError::NotFinite { model: model(), version, row })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
