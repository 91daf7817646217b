//! What a running server answers, and from what: one list for its gRPC threads, one for its HTTP port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use floodmark_history::Backfill;
use floodmark_ingest::kafka::outbox::Shared;
use floodmark_ingest::push::Push;
use floodmark_ingest::writer::Handle;
use floodmark_models::registry::Registry;
use floodmark_offline::Standing;
use floodmark_serving::flight::Flight;
use floodmark_serving::flight::history::History;
use floodmark_serving::http::{Calls as JsonCalls, Handler, Health};
use floodmark_serving::inference::Inference;
use floodmark_serving::metrics::calls::Counts;
use floodmark_serving::metrics::{Kept, Metrics, catalog};
use floodmark_serving::predictions::Predictions;
use floodmark_serving::score::Scores;
use floodmark_serving::score::log::{Log, LogCounts};
use floodmark_serving::score::stream::{StreamCounts, StreamScores};
use floodmark_serving::server::Calls;
use floodmark_serving::service::Features;
use floodmark_store::Store;
use tokio::sync::watch;

use super::bulk::Bulk;
use super::side_tables::SideTables;
use super::topics::Read;
use super::{published, topics};
use crate::backfill::Behind;
use crate::failure::Failure;
use crate::history::OfStore;

/// A request for features may have so many bytes.
pub(in crate::command) const MAX_REQUEST: usize = 4 << 20;
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
    /// What scores the events of sources as they come.
    pub(super) streamed: Option<Arc<StreamScores>>,
    /// Kafka topics that are being read.
    pub(super) read: Vec<Read>,
    /// Side outputs that are sent to Kafka.
    pub(super) published: Option<Arc<Shared>>,
    /// How far the offline store has come, if there is one.
    pub(super) offline: Option<Arc<Standing>>,
    /// How far views are that are computed from history, if there are such.
    pub(super) backfill: Option<Arc<Backfill>>,
    /// Calls over gRPC that were refused for load.
    pub(super) refused: Arc<AtomicU64>,
    /// Whether models may be loaded and unloaded over the Open Inference Protocol.
    pub(in crate::command) admin: bool,
    /// Turns true when the server is about to end.
    pub(in crate::command) leaving: watch::Receiver<bool>,
}

impl Answers {
    /// Features and pushed events, and scores if there are models.
    pub(in crate::command) fn new(store: Arc<Store>, handle: Handle, models: Option<Arc<Registry>>) -> Answers {
        let leaving = watch::channel(false).1;
        Answers {
            store,
            handle,
            models,
            log: None,
            streamed: None,
            read: Vec::new(),
            published: None,
            offline: None,
            backfill: None,
            refused: Arc::default(),
            admin: false,
            leaving,
        }
    }

    fn scores(&self) -> Option<Arc<Scores>> {
        let scores = |models: &Arc<Registry>| Scores::new(self.store.clone(), models.clone()).logged(self.log.clone());
        self.models.as_ref().map(|models| Arc::new(scores(models)))
    }

    /// What one gRPC thread answers.
    pub(in crate::command) fn calls(&self) -> Calls {
        let scores = self.scores();
        let push = Push::new(self.handle.clone()).with_topics(topics::appenders(&self.read));
        let flight = Flight::new(self.store.clone()).with_producers(Arc::new(Bulk(push.clone())));
        let of_place = |place| Arc::new(OfStore { store: self.store.clone(), place }) as Arc<dyn History>;
        let flight = flight.with_tables(Arc::new(SideTables(self.store.clone()))).with_history(self.store.offline().map(of_place));
        let push = push.into_service(MAX_PUSH);
        let predictions = Predictions::new(self.store.clone(), self.log.clone()).into_service();
        let calls = Features::new(self.store.clone()).into_calls(MAX_REQUEST);
        let calls = calls.map_routes(|routes| routes.add_service(push).add_service(predictions));
        let calls = match &scores {
            Some(scores) => scores.clone().add_to(calls, MAX_REQUEST),
            None => calls,
        };
        let calls = flight.add_to(calls);
        Inference::new(scores, self.admin, self.leaving.clone()).add_to(calls, MAX_REQUEST)
    }

    /// What the HTTP port answers: handlers that are asked in turn.
    pub(super) fn handlers(&self, counts: &Arc<Counts>) -> Result<Vec<Arc<dyn Handler>>, Failure> {
        let scores = self.scores();
        let health = Health::new(self.leaving.clone(), self.models.clone());
        let metrics = Metrics::new(Some(self.store.clone()), self.models.clone(), counts.clone(), self.kept());
        let inference = Inference::new(scores.clone(), self.admin, self.leaving.clone());
        let calls =
            JsonCalls::new(Features::new(self.store.clone()), scores, counts).map_err(|status| Failure::failed(status.message()))?;
        Ok(vec![Arc::new(health), Arc::new(metrics), Arc::new(calls), Arc::new(inference)])
    }

    /// Numbers for operators that are kept here and there, each with its entry in the catalog of metrics.
    fn kept(&self) -> Vec<Kept> {
        let refused = self.refused.clone();
        let mut kept = vec![Kept::new(&catalog::CALLS_REFUSED, &[], move || refused.load(Ordering::Relaxed))];
        kept.extend(self.read.iter().flat_map(Read::kept));
        kept.extend(self.published.iter().flat_map(published::kept));
        if let Some(standing) = &self.offline {
            let mut count = |metric, labels: &[&str], of: fn(&Standing) -> &AtomicU64| {
                let standing = standing.clone();
                kept.push(Kept::new(metric, labels, move || of(&standing).load(Ordering::Relaxed)));
            };
            count(&catalog::OFFLINE_ROWS, &["event"], |standing| &standing.events);
            count(&catalog::OFFLINE_ROWS, &["side"], |standing| &standing.side);
            count(&catalog::OFFLINE_COMMITS, &[], |standing| &standing.commits);
            count(&catalog::OFFLINE_FAILURES, &[], |standing| &standing.failures);
        }
        kept.extend(self.backfill.iter().flat_map(Behind::kept));
        if let Some(streamed) = &self.streamed {
            let mut count = |metric, labels: &[&str], of: fn(StreamCounts) -> u64| {
                let streamed = streamed.clone();
                kept.push(Kept::new(metric, labels, move || of(streamed.counts())));
            };
            count(&catalog::STREAM_SCORES, &["scored"], |counts| counts.scored);
            count(&catalog::STREAM_SCORES, &["failed"], |counts| counts.failed);
            count(&catalog::STREAM_WAITS, &[], |counts| counts.not_ready);
        }
        if let Some(log) = &self.log {
            let mut count = |metric, labels: &[&str], of: fn(LogCounts) -> u64| {
                let log = log.clone();
                kept.push(Kept::new(metric, labels, move || of(log.counts())));
            };
            count(&catalog::PREDICTIONS, &["written"], |counts| counts.written);
            count(&catalog::PREDICTIONS, &["dropped"], |counts| counts.dropped);
            count(&catalog::PREDICTIONS, &["failed"], |counts| counts.failed);
            count(&catalog::PREDICTIONS, &["lost"], |counts| counts.lost);
            count(&catalog::PREDICTIONS_REMOVED, &[], |counts| counts.removed);
        }
        kept
    }
}
