//! Metrics for Prometheus, at `GET /metrics` in the text format 0.0.4. What each means is in [`catalog`], and from there in docs/metrics.md.
//!
//! What a thread counts for every call is in memory of its own ([`calls`]); what the store and the models know is read from them when
//! somebody asks. All of it is then told through the crate `metrics` (`tell.rs`) to a recorder that writes the page (`page.rs`). So a
//! call costs a look at the clock (and one more for each turn) and a few additions, and nothing is counted twice. A call that told
//! `metrics` of itself would share a counter with other cores; where every sample is kept until the next scrape, it would cost more
//! than a look-up.

pub mod calls;
pub mod catalog;
mod page;
mod read;
mod tell;

use std::sync::Arc;

use bytes::Bytes;
use floodmark_models::registry::Registry;
use floodmark_store::Store;
use http::{HeaderValue, Method, Response, header};

use self::calls::Counts;
use self::catalog::{ALL, Metric};
use self::page::Page;
use crate::http::{Answer, Handler, Refused, Request};

/// Answers `/metrics`.
pub struct Metrics {
    sources: Arc<Sources>,
}

/// Where the numbers are.
struct Sources {
    store: Option<Arc<Store>>,
    models: Option<Arc<Registry>>,
    counts: Arc<Counts>,
    kept: Vec<Kept>,
}

/// Numbers that somebody else keeps.
pub struct Kept {
    tell: Box<dyn Fn() + Send + Sync>,
}

impl Kept {
    /// A counter with the values of its labels, and how it is read.
    pub fn new(metric: &'static Metric, labels: &[&str], read: impl Fn() -> u64 + Send + Sync + 'static) -> Kept {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let tell = move || metric.count(&labels.iter().map(String::as_str).collect::<Vec<_>>(), read());
        Kept { tell: Box::new(tell) }
    }

    /// A gauge for each of some things that come and go, by the values of its labels.
    pub fn gauges(metric: &'static Metric, read: impl Fn() -> Vec<(Vec<String>, f64)> + Send + Sync + 'static) -> Kept {
        let tell = move || {
            for (labels, value) in read() {
                metric.set(&labels.iter().map(String::as_str).collect::<Vec<_>>(), value);
            }
        };
        Kept { tell: Box::new(tell) }
    }
}

impl Metrics {
    /// Of a store if there is one, its models, and the calls of the servers that share `counts`. Numbers that others keep (calls that were refused for
    /// load, predictions that were not logged, ...) are handed over here, each with its entry in the catalog.
    pub fn new(store: Option<Arc<Store>>, models: Option<Arc<Registry>>, counts: Arc<Counts>, kept: Vec<Kept>) -> Metrics {
        Metrics { sources: Arc::new(Sources { store, models, counts, kept }) }
    }

    /// Tells every number to the recorder of `metrics` that listens on this thread, or in the process: whoever embeds the server may send
    /// them elsewhere. It waits for the store if that is in the middle of a commit.
    pub fn tell(&self) {
        self.sources.tell();
    }

    async fn respond(&self) -> Response<Bytes> {
        let sources = self.sources.clone();
        // The store may be in the middle of a commit, which is waited for.
        let Ok(text) = tokio::task::spawn_blocking(move || Page::of(|| sources.tell())).await else { return Refused::Broken.response() };
        let mut response = Response::new(Bytes::from(text));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl Handler for Metrics {
    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(async move {
            match (request.path(), &request.method) {
                ("/metrics", &Method::GET) => Some(self.respond().await),
                ("/metrics", _) => Some(Refused::Method { allowed: "GET, HEAD".to_owned() }.response()),
                _ => None,
            }
        })
    }
}

impl Sources {
    fn tell(&self) {
        ALL.iter().for_each(|metric| metric.describe());
        self.counts.tell();
        if let Some(store) = &self.store {
            read::store(store);
        }
        if let Some(models) = &self.models {
            read::models(models);
        }
        self.kept.iter().for_each(|kept| (kept.tell)());
        read::process();
    }
}
