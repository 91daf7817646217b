//! Stands in for `floodmark_serving::training` until it lands: the same names and signatures, and an error that says so.

use std::path::PathBuf;
use std::sync::Arc;

use floodmark_features::lookup::{Lookup, Mode};
use floodmark_store::Store;

/// What to build.
#[derive(Clone, Debug)]
#[allow(dead_code)]
pub(crate) struct TrainingRequest {
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) spine: PathBuf,
    pub(crate) time: String,
    pub(crate) event_id: Option<String>,
    pub(crate) mode: Mode,
    pub(crate) version: Option<u64>,
    pub(crate) out: PathBuf,
    pub(crate) threads: usize,
    pub(crate) statuses: bool,
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) done: u64,
    pub(crate) rows: u64,
}

/// What was built.
#[derive(Clone, Debug)]
pub(crate) struct TrainingSummary {
    pub(crate) rows: u64,
    pub(crate) rows_without_key: u64,
    pub(crate) features: usize,
    pub(crate) version: u64,
    pub(crate) missing_request_fields: Vec<String>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainingError {
    #[error("this build makes no training sets yet")]
    NotBuilt,
}

pub(crate) fn write_training_set(
    _store: &Store,
    _request: &TrainingRequest,
    _watch: &(dyn Fn(Progress) + Sync),
) -> Result<TrainingSummary, TrainingError> {
    Err(TrainingError::NotBuilt)
}
