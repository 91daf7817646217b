//! Why a version does not serve: the step at which it was refused, what was expected there, what was found, and the way out.

use std::fmt;

/// The steps of loading, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The version's folder.
    Path,
    /// `manifest.json`.
    Manifest,
    /// `model.onnx`: size, checksum, nothing outside of it.
    File,
    /// ONNX Runtime takes it.
    Session,
    /// The tensors that it takes.
    Inputs,
    /// The service's columns that fill them.
    Features,
    /// The tensor that holds the score.
    Outputs,
    /// Rows whose scores are known.
    Golden,
    /// Runs before it serves.
    WarmUp,
}

/// A version that does not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model {model} version {version} refused at step {step}: expected {expected}, got {got}; {hint}")]
pub struct Refused {
    /// The model's name.
    pub model: Box<str>,
    /// The folder's name.
    pub version: Box<str>,
    /// Where.
    pub step: Step,
    /// What would be right.
    pub expected: String,
    /// What is there.
    pub got: String,
    /// The way out.
    pub hint: String,
}

/// The same, before model and version are named.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) step: Step,
    pub(super) expected: String,
    pub(super) got: String,
    pub(super) hint: String,
}

impl Step {
    pub(super) fn fault(self, expected: impl Into<String>, got: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { step: self, expected: expected.into(), got: got.into(), hint: hint.into() }
    }
}

impl Fault {
    pub(super) fn of(self, model: &str, version: &str) -> Refused {
        let Fault { step, expected, got, hint } = self;
        Refused { model: model.into(), version: version.into(), step, expected, got, hint }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Path => "path",
            Step::Manifest => "manifest",
            Step::File => "file",
            Step::Session => "session",
            Step::Inputs => "inputs",
            Step::Features => "features",
            Step::Outputs => "outputs",
            Step::Golden => "golden",
            Step::WarmUp => "warm-up",
        })
    }
}
