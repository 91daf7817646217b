//! The protocol over REST: the same answers as over gRPC, in JSON, with tensors in JSON or as bytes after it.

mod messages;
mod read;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use floodmark_proto::inference::model_repository_parameter::ParameterChoice;
use floodmark_proto::inference::{ModelConfigResponse, ModelRepositoryParameter, RepositoryIndexResponse};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::Inference;
use super::error::TensorError;
use crate::deadline::timeout;
use crate::http::{Answer, Handler, Refused, Request, http_of, json as answer_of};
use crate::refusal::Refusal;

/// How long the JSON is, if bytes follow it.
pub(super) const JSON_LENGTH: &str = "inference-header-content-length";

/// One of the protocol's paths, in its segments.
enum Path<'p> {
    Server,
    Live,
    Ready,
    Models,
    Metadata(&'p str, &'p str),
    ModelReady(&'p str, &'p str),
    Config(&'p str, &'p str),
    Statistics(&'p str, &'p str),
    Infer(&'p str, &'p str),
    Index,
    Load(&'p str),
    Unload(&'p str),
}

impl<'p> Path<'p> {
    fn of(segments: &[&'p str]) -> Option<Path<'p>> {
        Some(match *segments {
            ["v2"] => Path::Server,
            ["v2", "health", "live"] => Path::Live,
            ["v2", "health", "ready"] => Path::Ready,
            ["v2", "models"] => Path::Models,
            ["v2", "models", "stats"] => Path::Statistics("", ""),
            ["v2", "repository", "index"] => Path::Index,
            ["v2", "repository", "models", model, "load"] => Path::Load(model),
            ["v2", "repository", "models", model, "unload"] => Path::Unload(model),
            ["v2", "models", model, "versions", version, ref rest @ ..] => Path::of_model(model, version, rest)?,
            ["v2", "models", model, ref rest @ ..] => Path::of_model(model, "", rest)?,
            _ => return None,
        })
    }

    fn of_model(model: &'p str, version: &'p str, rest: &[&str]) -> Option<Path<'p>> {
        Some(match rest {
            [] => Path::Metadata(model, version),
            ["ready"] => Path::ModelReady(model, version),
            ["config"] => Path::Config(model, version),
            ["stats"] => Path::Statistics(model, version),
            ["infer"] => Path::Infer(model, version),
            _ => return None,
        })
    }

    fn method(&self) -> Method {
        match self {
            Path::Infer(..) | Path::Index | Path::Load(_) | Path::Unload(_) => Method::POST,
            _ => Method::GET,
        }
    }
}

impl Handler for Inference {
    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(Inference::answer(self, &request.method, request.path(), &request.headers, request.body.clone()))
    }
}

impl Inference {
    /// Answers a request of HTTP; `None` if the path is not one of the protocol's.
    pub async fn answer(&self, method: &Method, path: &str, headers: &HeaderMap, body: Bytes) -> Option<Response<Bytes>> {
        let segments: Vec<Cow<'_, str>> = path.strip_prefix('/')?.split('/').map(|s| percent_decode_str(s).decode_utf8_lossy()).collect();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let path = Path::of(&segments)?;
        if path.method() != method {
            let allowed = if path.method() == Method::GET { "GET, HEAD" } else { "POST" };
            let error = Refused::Method { allowed: allowed.to_owned() }.to_string();
            let mut response = said(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": error }));
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return Some(response);
        }
        Some(self.found(path, headers, body).await.unwrap_or_else(|status| refused(&status)))
    }

    async fn found(&self, path: Path<'_>, headers: &HeaderMap, body: Bytes) -> Result<Response<Bytes>, Status> {
        match path {
            Path::Server => messages::answer("ServerMetadataResponse", &self.server_metadata()),
            Path::Live => Ok(said(StatusCode::OK, &json!({ "live": true, "ready": self.is_ready() }))),
            Path::Ready => {
                let ready = self.is_ready();
                Ok(said(ready_or_not(ready), &json!({ "live": true, "ready": ready })))
            }
            Path::Models => Ok(said(StatusCode::OK, &json!({ "models": self.model_names() }))),
            Path::Metadata(model, version) => messages::answer("ModelMetadataResponse", &self.metadata(model, version)?),
            Path::ModelReady(model, version) => self.pick(model, version).map_or_else(
                |refusal| Err(refusal.into()),
                |(_, picked)| Ok(said(StatusCode::OK, &json!({ "name": picked.name(), "ready": true }))),
            ),
            Path::Config(model, version) => {
                let response = ModelConfigResponse { config: Some(self.config(model, version)?) };
                Ok(said(StatusCode::OK, &messages::value("ModelConfigResponse", &response)?["config"]))
            }
            Path::Statistics(model, version) => messages::answer("ModelStatisticsResponse", &self.statistics(model, version)?),
            Path::Infer(model, version) => {
                let asked = read::request(model, version, headers, &body)?;
                let due = timeout(headers).map(|after| Instant::now() + after);
                let prepared = self.prepare(&asked.request, |at| asked.raw.get(at)?.as_deref(), due)?;
                write::response(&self.run(prepared).await?, asked.binary)
            }
            Path::Index => {
                let only_ready = parse::<Option<Index>>(&body)?.is_some_and(|index| index.ready);
                let index = RepositoryIndexResponse { models: self.index(only_ready)? };
                Ok(said(StatusCode::OK, &messages::value("RepositoryIndexResponse", &index)?["models"]))
            }
            Path::Load(model) => {
                self.load(model, &parameters(&body)?).await?;
                Ok(said(StatusCode::OK, &json!({ "name": model, "load": true })))
            }
            Path::Unload(model) => {
                self.unload(model, &parameters(&body)?).await?;
                Ok(said(StatusCode::OK, &json!({ "name": model, "unload": true })))
            }
        }
    }

    /// The models of which a version is ready.
    fn model_names(&self) -> Vec<String> {
        let all = self.scores.as_ref().map(|scores| scores.models().list()).unwrap_or_default();
        let ready = all.into_iter().filter(|status| status.state == floodmark_models::registry::State::Ready);
        let mut names: Vec<String> = ready.map(|status| status.model).collect();
        names.dedup();
        names
    }
}

/// What is asked of the index.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    ready: bool,
}

/// What is said with loading and unloading.
#[derive(Deserialize)]
struct Operation {
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
}

fn parameters(body: &[u8]) -> Result<BTreeMap<String, ModelRepositoryParameter>, Status> {
    let given = parse::<Option<Operation>>(body)?.map(|operation| operation.parameters).unwrap_or_default();
    let parameter = |(name, value): (String, Value)| {
        let choice = match value {
            Value::Bool(b) => ParameterChoice::BoolParam(b),
            Value::Number(number) => ParameterChoice::Int64Param(number.as_i64()?),
            Value::String(text) => ParameterChoice::StringParam(text),
            _ => return None,
        };
        Some((name, ModelRepositoryParameter { parameter_choice: Some(choice) }))
    };
    Ok(given.into_iter().filter_map(parameter).collect())
}

/// A body that may be left out: then it is null.
fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Status> {
    let body = if body.is_empty() { b"null" } else { body };
    serde_json::from_slice(body).map_err(|error| misread(&error))
}

/// Names may be in a message; values never are.
fn misread(error: &serde_json::Error) -> Status {
    let said = error.to_string();
    wrong_body(match error.classify() {
        Category::Data if !said.starts_with("missing field") && !said.starts_with("duplicate field") => {
            format!("a value is not of its field's type at line {} column {}", error.line(), error.column())
        }
        _ => said,
    })
}

fn wrong_body(reason: String) -> Status {
    Refusal::from(TensorError::Body { reason }).into()
}

fn said(status: StatusCode, body: &Value) -> Response<Bytes> {
    answer_of(status, body.to_string())
}

fn ready_or_not(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// An error as the protocol's clients read it.
fn refused(status: &Status) -> Response<Bytes> {
    // A model that was refused when it was loaded is not ready: what the caller sent may be right.
    let not_ready = status.code() == Code::FailedPrecondition
        && status.get_details_error_info().is_some_and(|info| matches!(info.reason.as_str(), "MODEL_REFUSED" | "NO_ONNX_RUNTIME"));
    let code = if not_ready { StatusCode::SERVICE_UNAVAILABLE } else { http_of(status.code()) };
    let mut response = said(code, &json!({ "error": status.message() }));
    if let Some(wait) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)));
    }
    response
}

#[cfg(test)]
mod tests;
