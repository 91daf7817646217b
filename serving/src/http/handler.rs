//! What answers requests: handlers, asked in turn until one knows the path.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};

/// A request that has come as a whole. HEAD comes as GET; its body is left out of the answer further down.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, POST, ...
    pub method: Method,
    /// As it stood in the request line.
    pub uri: Uri,
    /// Names are in lower case.
    pub headers: HeaderMap,
    /// At most `HttpSettings.max_body_bytes`.
    pub body: Bytes,
}

impl Request {
    /// The path, with `%` still in it.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// What stands after `?`, or nothing.
    pub fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// A header's text; empty if it is not there, or is no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An answer in the making; `None` says that the path is another handler's.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Option<Response<Bytes>>> + Send + 'a>>;

/// Answers the requests of some paths. All handlers share one thread: what computes for long or blocks goes elsewhere
/// (`spawn_blocking`).
pub trait Handler: Send + Sync {
    /// `None`: not one of my paths. A path of mine with a method that it does not have is mine to refuse.
    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a>;
}

/// An answer of JSON.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
