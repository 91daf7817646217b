//! Why a look-up is refused, and the gRPC status that says so: a message for people, a stable reason and the field for programs.
//!
//! Names of features, keys and columns may be in a message; values never are.

use std::collections::HashMap;

use floodmark_features::suggest::Hint;
use floodmark_features::value::Type;
use floodmark_models::matrix::InputError;
use floodmark_models::model::ScoreError;
use floodmark_models::registry::{LoadError, RegistryError};
use floodmark_store::ReadError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::inference::TensorError;

/// `ErrorInfo.domain` of every refusal.
pub(crate) const DOMAIN: &str = "floodmark";

/// Names from a request are cut to this length in messages, which travel in a header.
const NAME_SHOWN: usize = 80;

/// Messages list at most this many names that would have been right.
const NAMES_LISTED: usize = 40;

/// Why a look-up is refused; one variant for each thing that the caller would put right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("say what to look up: service or features")]
    NothingAsked,
    #[error("no such {what}{hint} {what}={name}")]
    Unknown { what: &'static str, name: String, hint: Hint, field: String },
    #[error("feature is asked for twice. feature={name}")]
    FeatureTwice { name: String, field: String },
    #[error("too many rows in one request; send several. rows={rows} most={most}")]
    TooManyRows { rows: usize, most: usize },
    #[error("a key is missing. key={name} expected={expected}")]
    MissingKey { name: String, expected: String },
    #[error("name is not one of the {what}{hint} name={name} expected={expected}")]
    UnknownName { what: &'static str, name: String, hint: Hint, expected: String, field: String },
    #[error("name is given twice. name={name}")]
    NameTwice { name: String, field: String },
    #[error("row has not one value for each name. expected={expected} found={found} field={field}")]
    RowLength { field: String, expected: usize, found: usize },
    #[error("{what} is null, but needs a value. {what}={name} field={field}")]
    Null { what: &'static str, name: String, field: String },
    #[error("{what} has the wrong type. {what}={name} expected={expected} found={found} field={field}")]
    WrongType { what: &'static str, name: String, expected: Type, found: &'static str, field: String },
    #[error("{what} is not a finite number. {what}={name} field={field}")]
    NotFinite { what: &'static str, name: String, field: String },
    #[error("{what} is not a timestamp such as 2018-04-01T00:00:31Z. {what}={name} field={field}")]
    NotATimestamp { what: &'static str, name: String, field: String },
    #[error("as-of time is not an instant. field={field}")]
    NoTime { field: String },
    #[error("mode is none that this server knows. mode={mode}")]
    UnknownMode { mode: i32 },
    #[error("rows carry events, so the request needs event_shape with their source. field={field}")]
    NoEventShape { field: String },
    #[error("event needs {what}, by itself or among its values. field={field}")]
    EventWithout { what: &'static str, field: String },
    #[error("event says two different things of {what}. column={column} field={field}")]
    EventDisagrees { what: &'static str, column: String, field: String },
    #[error("{error}")]
    Read { error: ReadError, field: String },
    #[error("the client's deadline passed before the answer was ready")]
    Overdue,
    #[error("model version is neither a number nor a label after @. model_version={version}")]
    ModelVersion { version: String },
    #[error(transparent)]
    Model(RegistryError),
    #[error(transparent)]
    Load(LoadError),
    #[error("{error} field={field}")]
    Input { error: InputError, field: String },
    #[error(transparent)]
    Score(ScoreError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("model was refused when it was loaded. model={model} version={version} reason={reason}")]
    NotServing { model: String, version: u64, reason: String },
    #[error("model is still being loaded; try again. model={model} version={version}")]
    Loading { model: String, version: u64 },
    #[error("models are not operated from outside; start the server with --admin to allow it. model={model}")]
    NotAdmin { model: String },
}

/// A name from a request, cut to what a message can carry.
pub(crate) fn shown(name: &str) -> String {
    match name.char_indices().nth(NAME_SHOWN) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// Names that would have been right, for a message.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.take(NAMES_LISTED + 1).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    if names.len() > NAMES_LISTED {
        names[NAMES_LISTED] = "...";
    }
    names.join(",")
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Refusal::Unknown { .. } => Code::NotFound,
            Refusal::Read { error: ReadError::BeforeRetention { .. }, .. } => Code::OutOfRange,
            Refusal::Read { error: ReadError::VersionInFuture { .. }, .. } => Code::FailedPrecondition,
            Refusal::Read { error: ReadError::Storage(_), .. } => Code::Internal,
            Refusal::Read { error: ReadError::Online(_) | ReadError::Backfilling { .. }, .. } => Code::Unavailable,
            Refusal::Overdue => Code::DeadlineExceeded,
            Refusal::Model(RegistryError::UnknownModel { .. } | RegistryError::NotReady { .. }) => Code::NotFound,
            Refusal::Model(RegistryError::Labelled { .. }) | Refusal::Load(LoadError::Refused(_)) => Code::FailedPrecondition,
            Refusal::NotServing { .. } => Code::FailedPrecondition,
            Refusal::Load(LoadError::Runtime(_)) | Refusal::Loading { .. } => Code::Unavailable,
            Refusal::NotAdmin { .. } => Code::PermissionDenied,
            Refusal::Tensor(TensorError::Unsupported { .. }) => Code::Unimplemented,
            Refusal::Model(RegistryError::Repository(_)) | Refusal::Score(_) => Code::Internal,
            _ => Code::InvalidArgument,
        }
    }

    /// A word for programs, which stays as it is.
    fn reason(&self) -> &'static str {
        match self {
            Refusal::NothingAsked => "NOTHING_ASKED",
            Refusal::Unknown { what: "service", .. } => "UNKNOWN_SERVICE",
            Refusal::Unknown { what: "source", .. } => "UNKNOWN_SOURCE",
            Refusal::Unknown { .. } => "UNKNOWN_FEATURE",
            Refusal::FeatureTwice { .. } => "FEATURE_TWICE",
            Refusal::TooManyRows { .. } => "TOO_MANY_ROWS",
            Refusal::MissingKey { .. } => "MISSING_KEY",
            Refusal::UnknownName { .. } => "UNKNOWN_NAME",
            Refusal::NameTwice { .. } => "NAME_TWICE",
            Refusal::RowLength { .. } => "ROW_LENGTH",
            Refusal::Null { .. } => "NULL_VALUE",
            Refusal::WrongType { .. } => "WRONG_TYPE",
            Refusal::NotFinite { .. } => "NOT_FINITE",
            Refusal::NotATimestamp { .. } => "NOT_A_TIMESTAMP",
            Refusal::NoTime { .. } => "NO_TIME",
            Refusal::UnknownMode { .. } => "UNKNOWN_MODE",
            Refusal::NoEventShape { .. } => "NO_EVENT_SHAPE",
            Refusal::EventWithout { .. } => "EVENT_INCOMPLETE",
            Refusal::EventDisagrees { .. } => "EVENT_DISAGREES",
            Refusal::Read { error: ReadError::BeforeRetention { .. }, .. } => "BEFORE_RETENTION",
            Refusal::Read { error: ReadError::VersionInFuture { .. }, .. } => "VERSION_IN_FUTURE",
            Refusal::Read { error: ReadError::Storage(_), .. } => "STORAGE",
            Refusal::Read { error: ReadError::Online(_), .. } => "ONLINE_STORE",
            Refusal::Read { error: ReadError::Backfilling { .. }, .. } => "BACKFILLING",
            Refusal::Overdue => "DEADLINE_EXCEEDED",
            Refusal::ModelVersion { .. } => "BAD_MODEL_VERSION",
            Refusal::Model(RegistryError::UnknownModel { .. }) => "UNKNOWN_MODEL",
            Refusal::Model(RegistryError::NotReady { .. }) => "MODEL_NOT_READY",
            Refusal::Model(RegistryError::Labelled { .. }) => "MODEL_LABELLED",
            Refusal::Model(RegistryError::BadLabel { .. }) => "BAD_LABEL",
            Refusal::Model(RegistryError::BadShare { .. }) => "BAD_SHARE",
            Refusal::Model(RegistryError::Repository(_)) => "MODEL_REPOSITORY",
            Refusal::Load(LoadError::Refused(_)) => "MODEL_REFUSED",
            Refusal::Load(LoadError::Runtime(_)) => "NO_ONNX_RUNTIME",
            Refusal::Input { error: InputError::Missing { .. }, .. } => "MISSING_INPUT",
            Refusal::Input { error: InputError::WrongType { .. }, .. } => "WRONG_INPUT_TYPE",
            Refusal::Score(ScoreError::NotFinite { .. }) => "SCORE_NOT_FINITE",
            Refusal::Score(_) => "MODEL_FAILED",
            Refusal::Tensor(error) => error.reason(),
            Refusal::NotServing { .. } => "MODEL_REFUSED",
            Refusal::Loading { .. } => "MODEL_LOADING",
            Refusal::NotAdmin { .. } => "NOT_ADMIN",
        }
    }

    /// The field of the request that is to blame.
    fn field(&self) -> Option<&str> {
        match self {
            Refusal::NothingAsked => Some("what"),
            Refusal::Overdue => None,
            Refusal::TooManyRows { .. } => Some("rows"),
            Refusal::MissingKey { .. } => Some("key_names"),
            Refusal::UnknownMode { .. } => Some("mode"),
            Refusal::Read { error: ReadError::VersionInFuture { .. }, .. } => Some("version"),
            Refusal::Read { error: ReadError::Storage(_) | ReadError::Online(_) | ReadError::Backfilling { .. }, .. } => None,
            Refusal::Load(_) | Refusal::Score(_) => None,
            Refusal::Model(RegistryError::UnknownModel { .. }) => Some("model"),
            Refusal::ModelVersion { .. } | Refusal::Model(RegistryError::NotReady { .. }) => Some("model_version"),
            Refusal::Model(RegistryError::BadLabel { .. }) => Some("label"),
            Refusal::Model(_) | Refusal::NotServing { .. } | Refusal::Loading { .. } | Refusal::NotAdmin { .. } => None,
            Refusal::Tensor(_) => None, // says it in words of its own
            Refusal::Unknown { field, .. }
            | Refusal::FeatureTwice { field, .. }
            | Refusal::UnknownName { field, .. }
            | Refusal::NameTwice { field, .. }
            | Refusal::RowLength { field, .. }
            | Refusal::Null { field, .. }
            | Refusal::WrongType { field, .. }
            | Refusal::NotFinite { field, .. }
            | Refusal::NotATimestamp { field, .. }
            | Refusal::NoTime { field }
            | Refusal::NoEventShape { field }
            | Refusal::EventWithout { field, .. }
            | Refusal::EventDisagrees { field, .. }
            | Refusal::Input { field, .. }
            | Refusal::Read { field, .. } => Some(field),
        }
    }

    /// The model that is not there to answer, and whether it is a version that is missing.
    fn resource(&self) -> Option<(&'static str, String)> {
        match self {
            Refusal::Model(RegistryError::UnknownModel { model, .. }) => Some(("model", model.clone())),
            Refusal::Model(RegistryError::NotReady { model, wanted, .. }) => Some(("model version", format!("{model}/{wanted}"))),
            Refusal::NotServing { model, version, .. } | Refusal::Loading { model, version } => {
                Some(("model version", format!("{model}/{version}")))
            }
            _ => None,
        }
    }

    /// Facts that a program may act on.
    fn facts(&self) -> HashMap<String, String> {
        let fact = |name: &str, value: String| HashMap::from([(name.to_owned(), value)]);
        match self {
            Refusal::Unknown { hint, .. } | Refusal::UnknownName { hint, .. } => {
                hint.name().map(|near| fact("did_you_mean", near.to_owned())).unwrap_or_default()
            }
            Refusal::MissingKey { name, .. } => fact("key", name.clone()),
            Refusal::Input { error: InputError::Missing { column } | InputError::WrongType { column, .. }, .. } => {
                fact("input", column.clone())
            }
            Refusal::Load(LoadError::Refused(refused)) => fact("step", refused.step.to_string()),
            Refusal::Score(
                ScoreError::NotFinite { model, version, .. }
                | ScoreError::OtherSignature { model, version }
                | ScoreError::Failed { model, version, .. },
            ) => HashMap::from([("model".to_owned(), model.clone()), ("version".to_owned(), version.to_string())]),
            Refusal::TooManyRows { most, .. } => fact("most", most.to_string()),
            Refusal::Read { error: ReadError::BeforeRetention { oldest, .. }, .. } => fact("oldest", oldest.to_string()),
            Refusal::Read { error: ReadError::VersionInFuture { newest, .. }, .. } => fact("newest", newest.to_string()),
            Refusal::Read { error: ReadError::Backfilling { view }, .. } => fact("view", view.clone()),
            _ => HashMap::new(),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let message = refusal.to_string();
        let mut details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, refusal.facts());
        let of_tensor = || if let Refusal::Tensor(error) = &refusal { error.field() } else { None };
        if let Some(field) = refusal.field().map(str::to_owned).or_else(of_tensor) {
            details.add_bad_request_violation(field, message.clone());
        }
        if let Some((kind, name)) = refusal.resource() {
            details.set_resource_info(kind, name, "", message.clone());
        }
        Status::with_error_details(refusal.code(), message, details)
    }
}

/// As google.rpc.Code writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
