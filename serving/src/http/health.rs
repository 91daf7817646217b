//! Probes: `/healthz` says that the process lives, `/readyz` that it wants calls.

use std::sync::Arc;

use bytes::Bytes;
use floodmark_models::registry::{Registry, State};
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;
use tokio::sync::watch;

use super::{Answer, Handler, Refused, Request, json as answer};

/// Answers both. Ready is a server that is not leaving and none of whose models is being loaded for the first time: one that was
/// refused does not come by waiting, and features are served without it.
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
        let versions = self.models.iter().flat_map(|models| models.list());
        let loading = versions.filter(|version| version.state == State::Loading);
        reasons.extend(loading.map(|version| format!("a model is being loaded. model={} version={}", version.model, version.version)));
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
