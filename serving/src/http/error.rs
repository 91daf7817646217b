//! Refusals in JSON, as Google's APIs write a google.rpc.Status: `{"error": {"code": 404, "status": "NOT_FOUND", "message": ...,
//! "details": [...]}}`, where `code` is that of HTTP.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::handler;
use crate::refusal::{DOMAIN, code_name};

/// What this server itself refuses, before any handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No handler knows the path.
    #[error("no such path; GET /openapi.json lists what there is")]
    UnknownPath,
    /// A handler knows the path, with these methods.
    #[error("the path does not have this method. allowed={allowed}")]
    Method {
        /// As in the header `allow`.
        allowed: String,
    },
    /// The body is longer than the limit.
    #[error("the body is too long; send less at a time. most_bytes={most}")]
    TooLarge {
        /// The limit.
        most: usize,
    },
    /// The body did not come in time, or broke off.
    #[error("the body did not come in time. seconds={seconds}")]
    TooSlow {
        /// The limit.
        seconds: u64,
    },
    /// The body broke off, or is not what its headers say.
    #[error("the body cannot be read")]
    Unreadable,
    /// The body is compressed.
    #[error("compressed bodies are not taken; send it as it is")]
    Encoded,
    /// The handler took too long.
    #[error("the answer was not ready in time. seconds={seconds}")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// The handler panicked; the message is on stderr.
    #[error("the call broke off by a fault of the server")]
    Broken,
    /// The bodies of all requests together are too long.
    #[error("the bodies that have come at the same time are too long; try again. most_bytes={most}")]
    NoRoom {
        /// The limit.
        most: usize,
    },
    /// There are too many connections.
    #[error("too many connections; try again, or close some. most={most}")]
    Busy {
        /// The limit.
        most: usize,
    },
}

impl Refused {
    fn kind(&self) -> (StatusCode, Code, &'static str) {
        match self {
            Refused::UnknownPath => (StatusCode::NOT_FOUND, Code::NotFound, "UNKNOWN_PATH"),
            Refused::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, "METHOD_NOT_ALLOWED"),
            Refused::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::OutOfRange, "BODY_TOO_LARGE"),
            Refused::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded, "BODY_TOO_SLOW"),
            Refused::Unreadable => (StatusCode::BAD_REQUEST, Code::InvalidArgument, "BODY_UNREADABLE"),
            Refused::Encoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, "BODY_ENCODED"),
            Refused::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, "TIMED_OUT"),
            Refused::Broken => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "BROKEN"),
            Refused::NoRoom { .. } => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "TOO_MANY_BODIES"),
            Refused::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "TOO_MANY_CONNECTIONS"),
        }
    }

    /// The answer that says so.
    pub fn response(self) -> Response<Bytes> {
        let (http, code, reason) = self.kind();
        let details = ErrorDetails::with_error_info(reason, DOMAIN, []);
        let mut response = written(http, &Status::with_error_details(code, self.to_string(), details));
        if let Refused::Method { allowed } = &self
            && let Ok(allowed) = HeaderValue::from_str(allowed)
        {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        response
    }
}

/// A gRPC status as an answer.
pub fn refusal(status: &Status) -> Response<Bytes> {
    written(http_of(status.code()), status)
}

fn written(http: StatusCode, status: &Status) -> Response<Bytes> {
    let details = details(&status.get_error_details());
    let error = json!({
        "code": http.as_u16(),
        "status": code_name(status.code()),
        "message": status.message(),
        "details": details,
    });
    let mut response = handler::json(http, json!({ "error": error }).to_string());
    if let Some(wait) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0); // the header knows whole seconds only
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The details that floodmark gives, each with its type.
fn details(details: &ErrorDetails) -> Vec<Value> {
    let mut all = Vec::new();
    if let Some(info) = details.error_info() {
        all.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": info.reason,
            "domain": info.domain,
            "metadata": info.metadata,
        }));
    }
    if let Some(bad) = details.bad_request() {
        let violation = |v: &tonic_types::FieldViolation| json!({ "field": v.field, "description": v.description });
        all.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": bad.field_violations.iter().map(violation).collect::<Vec<_>>(),
        }));
    }
    if let Some(wait) = details.retry_info().and_then(|info| info.retry_delay) {
        all.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}.{:09}s", wait.as_secs(), wait.subsec_nanos()),
        }));
    }
    all
}

/// As google.rpc.Code maps to HTTP.
pub(crate) fn http_of(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST), // the client has gone; nobody reads it
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
