//! What a running server answers, and from what: one list for its gRPC threads, one for its HTTP port.

use std::sync::Arc;

use floodmark_ingest::push::Push;
use floodmark_ingest::writer::Handle;
use floodmark_models::registry::Registry;
use floodmark_serving::http::{Calls as JsonCalls, Handler, Health};
use floodmark_serving::inference::Inference;
use floodmark_serving::metrics::Metrics;
use floodmark_serving::metrics::calls::Counts;
use floodmark_serving::predictions::Predictions;
use floodmark_serving::score::Scores;
use floodmark_serving::score::log::Log;
use floodmark_serving::server::Calls;
use floodmark_serving::service::Features;
use floodmark_store::Store;
use tokio::sync::watch;

use crate::failure::Failure;

/// A request for features may have so many bytes.
pub(super) const MAX_REQUEST: usize = 4 << 20;
/// A pushed batch may have so many bytes.
const MAX_PUSH: usize = 64 << 20;

/// What answers are made from.
#[derive(Clone)]
pub(in crate::command) struct Answers {
    pub(in crate::command) store: Arc<Store>,
    /// Takes what producers push.
    pub(in crate::command) handle: Handle,
    pub(in crate::command) models: Option<Arc<Registry>>,
    /// Where a share of the scores is kept.
    pub(in crate::command) log: Option<Arc<Log>>,
    /// Whether models may be loaded and unloaded over the Open Inference Protocol.
    pub(in crate::command) admin: bool,
    /// Turns true when the server is about to end.
    pub(in crate::command) leaving: watch::Receiver<bool>,
}

impl Answers {
    /// Features and pushed events, and scores if there are models.
    pub(in crate::command) fn new(store: Arc<Store>, handle: Handle, models: Option<Arc<Registry>>) -> Answers {
        Answers { store, handle, models, log: None, admin: false, leaving: watch::channel(false).1 }
    }

    fn scores(&self) -> Option<Arc<Scores>> {
        let scores = |models: &Arc<Registry>| Scores::new(self.store.clone(), models.clone()).logged(self.log.clone());
        self.models.as_ref().map(|models| Arc::new(scores(models)))
    }

    /// What one gRPC thread answers.
    pub(in crate::command) fn calls(&self) -> Calls {
        let scores = self.scores();
        let push = Push::new(self.handle.clone()).into_service(MAX_PUSH);
        let predictions = Predictions::new(self.store.clone(), self.log.clone()).into_service();
        let calls = Features::new(self.store.clone()).into_calls(MAX_REQUEST);
        let calls = calls.map_routes(|routes| routes.add_service(push).add_service(predictions));
        let calls = match &scores {
            Some(scores) => scores.clone().add_to(calls, MAX_REQUEST),
            None => calls,
        };
        Inference::new(scores, self.admin, self.leaving.clone()).add_to(calls, MAX_REQUEST)
    }

    /// What the HTTP port answers: handlers that are asked in turn.
    pub(super) fn handlers(&self, counts: &Arc<Counts>) -> Result<Vec<Arc<dyn Handler>>, Failure> {
        let scores = self.scores();
        let health = Health::new(self.leaving.clone(), self.models.clone());
        // Counters that are kept elsewhere come here, each with its entry in the catalog of metrics.
        let metrics = Metrics::new(self.store.clone(), self.models.clone(), counts.clone(), Vec::new());
        let inference = Inference::new(scores.clone(), self.admin, self.leaving.clone());
        let calls =
            JsonCalls::new(Features::new(self.store.clone()), scores, counts).map_err(|status| Failure::failed(status.message()))?;
        Ok(vec![Arc::new(health), Arc::new(metrics), Arc::new(calls), Arc::new(inference)])
    }
}
