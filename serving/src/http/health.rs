//! Probes: `/healthz` says that the process lives, `/readyz` that it wants calls.

use std::sync::Arc;

use bytes::Bytes;
use floodmark_models::registry::{Registry, State, VersionStatus};
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;
use tokio::sync::watch;

use super::{Answer, Handler, Refused, Request, json as answer};

/// Answers both. Ready is a server that is not leaving, and that has no model of which the first version is still being loaded: one that
/// was refused does not come by waiting, and features are served without it.
pub struct Health {
    leaving: watch::Receiver<bool>,
    models: Option<Arc<Registry>>,
}

impl Health {
    /// Of a server that turns `leaving` true when it is told to end.
    pub fn new(leaving: watch::Receiver<bool>, models: Option<Arc<Registry>>) -> Health {
        Health { leaving, models }
    }

    fn ready(&self) -> Response<Bytes> {
        let mut reasons = Vec::new();
        if *self.leaving.borrow() {
            reasons.push("the server is about to end".to_owned());
        }
        reasons.extend(self.models.iter().flat_map(|models| loading(&models.list())));
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer(status, json!({ "ready": reasons.is_empty(), "reasons": reasons }).to_string())
    }
}

impl Handler for Health {
    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        let response = match (request.path(), &request.method) {
            ("/healthz", &Method::GET) => Some(live()),
            ("/readyz", &Method::GET) => Some(self.ready()),
            ("/healthz" | "/readyz", _) => Some(Refused::Method { allowed: "GET, HEAD".to_owned() }.response()),
            _ => None,
        };
        Box::pin(std::future::ready(response))
    }
}

fn live() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"ok\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// What is waited for: versions that are being loaded, of models with none that could score meanwhile.
fn loading(versions: &[VersionStatus]) -> Vec<String> {
    let scores = |model: &str| versions.iter().any(|version| version.model == model && version.state == State::Ready);
    let waited_for = versions.iter().filter(|version| version.state == State::Loading && !scores(&version.model));
    waited_for.map(|version| format!("a model is being loaded. model={} version={}", version.model, version.version)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(model: &str, version: u64, state: State) -> VersionStatus {
        VersionStatus {
            model: model.to_owned(),
            version,
            state,
            reason: None,
            labels: Vec::new(),
            canary_share: None,
            runs: 0,
            errors: 0,
            row_time: None,
            retiring: 0,
        }
    }

    #[test]
    fn a_model_that_scores_waits_for_no_other_version() {
        let swapped = [version("a", 1, State::Ready), version("a", 2, State::Loading)];
        assert_eq!(loading(&swapped), Vec::<String>::new());
        let first = [version("a", 1, State::Unavailable), version("a", 2, State::Loading), version("b", 1, State::Ready)];
        assert_eq!(loading(&first), ["a model is being loaded. model=a version=2"]);
        assert_eq!(loading(&[version("a", 1, State::Unavailable), version("b", 1, State::Retired)]), Vec::<String>::new());
    }
}
