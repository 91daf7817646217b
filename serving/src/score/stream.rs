//! Scores of a stream: the events of a commit, each as of its own time at the commit's version, through the code that answers calls.
//!
//! Each event has one record, a `v1::Prediction`: its score, or why it has none. While a model has no version that could score, there
//! are no records either: its events wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use floodmark_models::registry::{Registry, RegistryError, Selection};
use floodmark_proto::v1;
use floodmark_proto::v1::prediction::Outcome;
use floodmark_store::{ReadError, Store, StoreError};
use prost::Message;

use super::job::run_together;
use super::service::error_of;
use super::{Scores, now};
use crate::asked::{Asked, Spine};
use crate::refusal::Refusal;

/// Rows that are looked up and scored in one go.
const CHUNK: usize = 1_000;

/// Scores the events of commits.
#[derive(Debug)]
pub struct StreamScores {
    scores: Scores,
    scored: AtomicU64,
    failed: AtomicU64,
    not_ready: AtomicU64,
}

/// What came of the events so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Events with a score.
    pub scored: u64,
    /// Events with an error in place of one.
    pub failed: u64,
    /// How often events had to wait because no version of their model was ready.
    pub not_ready: u64,
}

/// Encoded predictions.
#[derive(Default)]
struct Records {
    records: Vec<Vec<u8>>,
    /// Those of events without a score.
    failed: u64,
}

impl Records {
    fn add(&mut self, predictions: &[v1::Prediction]) {
        self.records.extend(predictions.iter().map(Message::encode_to_vec));
        self.failed += predictions.iter().filter(|p| matches!(p.outcome, Some(Outcome::Error(_)))).count() as u64;
    }
}

/// Why some rows have no records.
enum Stop {
    /// No version of the model is ready.
    NotReady,
    /// The store could not be read.
    Store(StoreError),
}

impl StreamScores {
    /// Scores with these models.
    pub fn new(store: Arc<Store>, models: Arc<Registry>) -> StreamScores {
        let zero = AtomicU64::default;
        StreamScores { scores: Scores::new(store, models), scored: zero(), failed: zero(), not_ready: zero() }
    }

    /// What came of the events so far.
    pub fn counts(&self) -> StreamCounts {
        let [scored, failed, not_ready] = [&self.scored, &self.failed, &self.not_ready].map(|count| count.load(Ordering::Relaxed));
        StreamCounts { scored, failed, not_ready }
    }

    /// Whether some version of a model would score now.
    pub fn is_ready(&self, model: &str) -> bool {
        self.scores.models.pick(model, Selection::Default).is_ok()
    }

    /// Why events of a source, by themselves, do not say what a model's service asks for; `None` if they do, or if no version is ready.
    pub fn objection(&self, model: &str, source: &str) -> Option<String> {
        let model = self.scores.models.pick(model, Selection::Default).ok()?;
        let plan = self.scores.plan_of(&model).ok()?;
        let (_, found) = plan.lookup.definitions.source(source)?;
        let columns = found.schema.columns.iter().map(|column| column.name.clone()).collect();
        let event_shape = Some(v1::EventShape { source: source.to_owned(), columns });
        let request = v1::ScoreRequest { event_shape, ..v1::ScoreRequest::default() };
        Asked::of(plan, Spine::from(&request)).err().map(|refusal| refusal.to_string())
    }

    /// Scores the events of a commit, each row's own, with the version of a model that its labels choose: an encoded
    /// [`v1::Prediction`] for each, in their order. `None` if no version of the model is ready: to be asked again.
    pub fn score(
        &self,
        model: &str,
        request: &v1::ScoreRequest,
        version: u64,
        sequences: &[u64],
    ) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let asked = |rows: &[v1::EntityRow]| v1::ScoreRequest {
            model: model.to_owned(),
            event_shape: request.event_shape.clone(),
            rows: rows.to_vec(),
            version: Some(version),
            include_features: true,
            ..v1::ScoreRequest::default()
        };
        let chunks: Vec<(v1::ScoreRequest, &[u64])> = request.rows.chunks(CHUNK).map(asked).zip(sequences.chunks(CHUNK)).collect();
        match self.on_all_cores(&chunks) {
            Ok(Records { records, failed }) => {
                self.failed.fetch_add(failed, Ordering::Relaxed);
                self.scored.fetch_add(records.len() as u64 - failed, Ordering::Relaxed);
                Ok(Some(records))
            }
            Err(Stop::NotReady) => {
                self.not_ready.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(Stop::Store(error)) => Err(error),
        }
    }

    /// Chunks are on their own, so each core takes its share of them.
    fn on_all_cores(&self, chunks: &[(v1::ScoreRequest, &[u64])]) -> Result<Records, Stop> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(chunks.len()).max(1);
        let share = chunks.len().div_ceil(cores).max(1);
        let score = |chunks: &[(v1::ScoreRequest, &[u64])]| {
            let mut all = Records::default();
            for (rows, sequences) in chunks {
                all.add(&self.chunk(rows, sequences)?);
            }
            Ok(all)
        };
        let mut shares = chunks.chunks(share);
        let mine = shares.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let others: Vec<_> = shares.map(|theirs| scope.spawn(move || score(theirs))).collect();
            let mut all = score(mine)?;
            for other in others {
                let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                all.records.extend(theirs.records);
                all.failed += theirs.failed;
            }
            Ok(all)
        })
    }

    /// Scores some rows together, or each by itself where that fails: an event that has no score must not cost others theirs.
    fn chunk(&self, request: &v1::ScoreRequest, sequences: &[u64]) -> Result<Vec<v1::Prediction>, Stop> {
        match self.together(request, sequences)? {
            Ok(predictions) => Ok(predictions),
            Err(error) if request.rows.len() == 1 => Ok(vec![self.without_score(request, sequences[0], error)]),
            Err(_) => {
                let mut alone = v1::ScoreRequest { rows: Vec::new(), ..request.clone() };
                let mut all = Vec::with_capacity(sequences.len());
                for (row, sequence) in request.rows.iter().zip(sequences) {
                    alone.rows = vec![row.clone()];
                    all.extend(self.chunk(&alone, &[*sequence])?);
                }
                Ok(all)
            }
        }
    }

    /// Scores some rows together; an error is that of one of them.
    fn together(&self, request: &v1::ScoreRequest, sequences: &[u64]) -> Result<Result<Vec<v1::Prediction>, v1::ScoreError>, Stop> {
        let job = match self.scores.job(request, None) {
            Ok(job) => job,
            Err(Refusal::Model(RegistryError::UnknownModel { .. } | RegistryError::NotReady { .. })) => return Err(Stop::NotReady),
            Err(Refusal::Read { error: ReadError::Backfilling { .. }, .. }) => return Err(Stop::NotReady),
            Err(Refusal::Read { error: ReadError::Storage(error), .. }) => return Err(Stop::Store(error)),
            Err(refusal) => return Ok(Err(error_of(&refusal.into()))),
        };
        let columns_id = job.columns_id;
        let response = match run_together(vec![job]).remove(0) {
            Ok(response) => response,
            Err(status) => return Ok(Err(error_of(&status))),
        };
        let at_micros = now().micros();
        let record = |((asked, sequence), scored): ((&v1::EntityRow, &u64), v1::ScoreRow)| v1::Prediction {
            at_micros,
            origin: v1::PredictionOrigin::Stream.into(),
            request: Some(v1::ScoreRequest {
                model: request.model.clone(),
                model_version: scored.model_version.to_string(),
                event_shape: request.event_shape.clone(),
                rows: vec![asked.clone()],
                as_of_micros: Some(scored.as_of_micros),
                version: request.version,
                include_features: true,
                ..v1::ScoreRequest::default()
            }),
            outcome: Some(Outcome::Row(scored)),
            columns_id,
            sequence: Some(*sequence),
            provisional_features: Vec::new(),
        };
        Ok(Ok(request.rows.iter().zip(sequences).zip(response.rows).map(record).collect()))
    }

    /// The record of an event that has no score.
    fn without_score(&self, request: &v1::ScoreRequest, sequence: u64, error: v1::ScoreError) -> v1::Prediction {
        let model = self.scores.models.pick(&request.model, Selection::Default).ok();
        let plan = model.as_ref().and_then(|model| self.scores.plan_of(model).ok());
        // A request that cannot even be understood has the as-of time of its event all the same, unsaid.
        let own_event = plan.and_then(|plan| Asked::of(plan, Spine::from(request)).ok()?.own_event(0).ok()?);
        v1::Prediction {
            at_micros: now().micros(),
            origin: v1::PredictionOrigin::Stream.into(),
            request: Some(v1::ScoreRequest {
                model_version: model.map(|model| model.version().to_string()).unwrap_or_default(),
                as_of_micros: own_event.map(|event| event.time.micros()),
                ..request.clone()
            }),
            outcome: Some(Outcome::Error(error)),
            columns_id: plan.map_or(0, |plan| plan.columns_id),
            sequence: Some(sequence),
            provisional_features: Vec::new(),
        }
    }
}
