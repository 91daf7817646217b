//! What an operator sees of a version.

use std::fmt;
use std::time::Duration;

use super::CANARY;
use super::live::{Entry, Slot};

/// Where a version is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It scores.
    Ready,
    /// It is being loaded, and nothing of it serves yet.
    Loading,
    /// It was refused.
    Unavailable,
    /// It was taken out of service.
    Retired,
}

/// A version, as the list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionStatus {
    /// The model.
    pub model: String,
    /// The version.
    pub version: u64,
    /// Where it is in its life.
    pub state: State,
    /// Why it was refused when it was last loaded; a version that is loaded again and refused is ready and has a reason.
    pub reason: Option<String>,
    /// The labels on it.
    pub labels: Vec<String>,
    /// How many of a hundred entities it scores, if it is the canary.
    pub canary_share: Option<f64>,
    /// Calls that it scored.
    pub runs: u64,
    /// How many of them ended in an error.
    pub errors: u64,
    /// What one row took before it served, in the middle of many runs.
    pub row_time: Option<Duration>,
    /// How many models of this version are out of service and still in use.
    pub retiring: usize,
}

/// The versions of a model, ascending.
pub(super) fn of<'a>(model: &'a str, entry: &'a Entry) -> impl Iterator<Item = VersionStatus> + 'a {
    entry.slots.iter().map(move |(version, slot)| VersionStatus {
        model: model.to_owned(),
        version: *version,
        state: slot.state(),
        reason: slot.refused.clone(),
        labels: entry.labels_of(*version),
        canary_share: (entry.labels.labels.get(CANARY) == Some(version)).then_some(entry.labels.canary_share),
        runs: slot.serving.as_ref().map_or(0, |model| model.runs()),
        errors: slot.serving.as_ref().map_or(0, |model| model.errors()),
        row_time: slot.serving.as_ref().map(|model| model.row_time()),
        retiring: slot.retired.iter().filter(|model| model.strong_count() > 0).count(),
    })
}

impl Slot {
    fn state(&self) -> State {
        match (&self.serving, self.loading, &self.refused) {
            (Some(_), _, _) => State::Ready,
            (None, true, _) => State::Loading,
            (None, false, Some(_)) => State::Unavailable,
            (None, false, None) => State::Retired,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Ready => "READY",
            State::Loading => "LOADING",
            State::Unavailable => "UNAVAILABLE",
            State::Retired => "RETIRED",
        })
    }
}
