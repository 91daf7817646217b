//! Metrics for Prometheus, at `GET /metrics` in the text format 0.0.4. What each means is in [`catalog`], and from there in docs/metrics.md.
//!
//! What a thread counts for every call is in memory of its own ([`calls`]); what the store and the models know is read from them when
//! somebody asks. So a call costs a look at the clock (and one more for each
//! turn) and a few additions, and nothing is counted twice. A library that keeps
//! every sample until the next scrape would cost more than a look-up.

pub mod calls;
pub mod catalog;
mod page;
mod read;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use floodmark_models::registry::Registry;
use floodmark_store::Store;
use http::{HeaderValue, Method, Response, header};

use self::calls::Counts;
use self::catalog::Metric;
use self::page::Page;
use crate::http::{Answer, Handler, Refused, Request};

/// Answers `/metrics`.
pub struct Metrics {
    sources: Arc<Sources>,
}

/// Where the numbers are.
struct Sources {
    store: Arc<Store>,
    models: Option<Arc<Registry>>,
    counts: Arc<Counts>,
    counters: Vec<(&'static Metric, Arc<AtomicU64>)>,
}

impl Metrics {
    /// Of a store, its models, and the calls of the servers that share `counts`. Counters that others keep (calls that were refused for
    /// load, predictions that were not logged, ...) are handed over here, each with its entry in the catalog.
    pub fn new(
        store: Arc<Store>,
        models: Option<Arc<Registry>>,
        counts: Arc<Counts>,
        counters: Vec<(&'static Metric, Arc<AtomicU64>)>,
    ) -> Metrics {
        Metrics { sources: Arc::new(Sources { store, models, counts, counters }) }
    }

    async fn respond(&self) -> Response<Bytes> {
        let sources = self.sources.clone();
        // The store may be in the middle of a commit, which is waited for.
        let Ok(text) = tokio::task::spawn_blocking(move || sources.text()).await else { return Refused::Broken.response() };
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
    fn text(&self) -> String {
        let mut page = Page::default();
        self.counts.write(&mut page);
        read::store(&self.store, &mut page);
        if let Some(models) = &self.models {
            read::models(models, &mut page);
        }
        for (metric, counter) in &self.counters {
            page.one(metric, &[], counter.load(Ordering::Relaxed) as f64);
        }
        read::process(&mut page);
        page.text()
    }
}
