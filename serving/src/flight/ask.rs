//! What a flight's command asks for.

use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_features::suggest::Hint;
use floodmark_training::TrainingSpec;
use serde::Deserialize;
use tonic::Status;

/// The first part of a path, and the key of a command.
pub(super) const TRAINING_SET: &str = "training_set";

const EXAMPLE: &str = r#"{"training_set": {"service": "fraud", "time": "tx_datetime"}}"#;

const PUSH_EXAMPLE: &str = r#"{"push": {"source": "transactions"}}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    training_set: Ask,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// Whose features are added.
    service: String,
    /// The spine's column with the time that a row's features are as of.
    time: String,
    /// Its column with the id of the event that a row stands for (T5).
    event_id: Option<String>,
    /// Which events a value counts (T15).
    #[serde(default)]
    mode: AskedMode,
    /// Only commits up to this version.
    version: Option<u64>,
    /// Whether a status column follows for each feature (T17).
    #[serde(default)]
    statuses: bool,
    /// Whether the spine's columns come back, too, before what is added.
    #[serde(default = "yes")]
    carry: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushCommand {
    push: PushAsk,
}

/// Whose events come.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PushAsk {
    pub(super) source: String,
    /// What the producer is called: its events are in order among themselves.
    #[serde(default)]
    pub(super) partition: String,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AskedMode {
    #[default]
    AsServed,
    AsCorrected,
}

impl From<AskedMode> for Mode {
    fn from(mode: AskedMode) -> Mode {
        match mode {
            AskedMode::AsServed => Mode::AsServed,
            AskedMode::AsCorrected => Mode::AsCorrected,
        }
    }
}

/// What to build, and whether the spine's columns come back.
pub(super) fn spec_of(definitions: &Arc<Definitions>, command: &[u8]) -> Result<(TrainingSpec, bool), Status> {
    let asked: Command = serde_json::from_slice(command)
        .map_err(|error| Status::invalid_argument(format!("the command is not understood: {error}; expected, for example, {EXAMPLE}")))?;
    let Ask { service, time, event_id, mode, version, statuses, carry } = asked.training_set;
    let service = service_named(definitions, &service)?;
    Ok((TrainingSpec { time, event_id, mode: mode.into(), version, statuses, ..spec_of_service(definitions, service) }, carry))
}

/// What is pushed.
pub(super) fn push_of(command: &[u8]) -> Result<PushAsk, Status> {
    let asked: PushCommand = serde_json::from_slice(command).map_err(|error| {
        Status::invalid_argument(format!("the command is not understood: {error}; expected, for example, {PUSH_EXAMPLE}"))
    })?;
    Ok(asked.push)
}

/// What a service adds to a spine, if nothing else is said.
pub(super) fn spec_of_service(definitions: &Arc<Definitions>, service: usize) -> TrainingSpec {
    TrainingSpec {
        lookup: Arc::new(Lookup::of_service(definitions.clone(), service)),
        time: String::new(),
        event_id: None,
        mode: Mode::AsServed,
        version: None,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        statuses: false,
    }
}

/// The service of that name.
pub(super) fn service_named(definitions: &Definitions, name: &str) -> Result<usize, Status> {
    let names = || definitions.services.iter().map(|service| service.name.as_str());
    names().position(|service| service == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        let hint = Hint::nearest(name, known.iter().copied());
        Status::not_found(format!("no service has this name{hint} service={name} known={}", known.join(",")))
    })
}
