//! `floodmark.v1.ScoreService`: rows are looked up, become a model's inputs, and are scored.
//!
//! The calls of a turn are scored together, one run for each model: a run costs some microseconds whatever it scores. A call that
//! comes alone is scored alone, at once.

mod binding;
pub(crate) mod job;
pub mod log;
pub mod record;
mod service;
pub mod stream;
mod together;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use floodmark_features::key::encode_key;
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_models::model::Model;
use floodmark_models::registry::{Choice, Picked, Registry, Selection};
use floodmark_proto::v1;
use floodmark_proto::v1::model_service_server::ModelServiceServer;
use floodmark_proto::v1::score_service_server::ScoreServiceServer;
use floodmark_store::Store;
use floodmark_store::redis::Reader;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::server::NamedService;

use self::binding::Bindings;
use self::job::{Job, run_together};
use self::log::{Log, Seen};
use crate::asked::{Asked, Spine};
use crate::online_store::{Found, OnlineStore, When};
use crate::plan::{Plan, Plans};
use crate::refusal::{Refusal, shown};
use crate::server::{Calls, Framed, Outcome, UnaryMethod};
use crate::wire::from_value;

/// The path of scores.
const SCORE: &str = "/floodmark.v1.ScoreService/Score";

/// The service over a store and the models of a repository. Make one for each server thread.
#[derive(Debug)]
pub struct Scores {
    online: OnlineStore,
    plans: Arc<Plans>,
    models: Arc<Registry>,
    bindings: Mutex<Bindings>,
    log: Option<Arc<Log>>,
}

impl Scores {
    /// What health and reflection call the services.
    pub const NAMES: [&'static str; 2] =
        [<ScoreServiceServer<Scores> as NamedService>::NAME, <ModelServiceServer<Scores> as NamedService>::NAME];

    /// Scores with these models.
    pub fn new(store: Arc<Store>, models: Arc<Registry>) -> Scores {
        Scores::of(OnlineStore::Store(store), models)
    }

    /// The same over an online store, for which the thread waits.
    pub fn over_redis(reader: Reader, models: Arc<Registry>) -> Scores {
        Scores::of(OnlineStore::Redis(Box::new(reader)), models)
    }

    fn of(online: OnlineStore, models: Arc<Registry>) -> Scores {
        let plans = Arc::new(Plans::new(online.definitions().clone()));
        Scores { online, plans, models, bindings: Mutex::default(), log: None }
    }

    /// Logs a share of what is scored.
    pub fn logged(self, log: Option<Arc<Log>>) -> Scores {
        Scores { log, ..self }
    }

    /// Adds all that the services answer, scores on the short way. A request of more bytes is refused.
    pub fn add_to(self: Arc<Self>, calls: Calls, max_request_bytes: usize) -> Calls {
        let shared = self;
        let score = ScoreServiceServer::from_arc(shared.clone()).max_decoding_message_size(max_request_bytes);
        let models = ModelServiceServer::from_arc(shared.clone());
        let method = Score { shared, max_request_bytes, waiting: Mutex::default() };
        calls.map_routes(|routes| routes.add_service(score).add_service(models)).with_unary(SCORE, Arc::new(method))
    }

    /// Looks up the rows of a request and makes them inputs.
    pub(crate) fn job(&self, request: &v1::ScoreRequest, due: Option<Instant>) -> Result<Job, Refusal> {
        self.prepare(&self.begin(request, &self.choose(request)?, due)?, 0..request.rows.len())
    }

    /// What all rows of a request have in common.
    fn begin<'r>(&'r self, request: &'r v1::ScoreRequest, choice: &'r Choice, due: Option<Instant>) -> Result<Begun<'r>, Refusal> {
        let selection = selection(&request.model_version)?;
        let lead = choice.pick(selection).map_err(Refusal::Model)?;
        let asked = Asked::of(self.plan_of(lead)?, Spine::from(request))?;
        let choice = (selection == Selection::Default && !choice.is_plain()).then_some(choice);
        Ok(Begun { request, choice, lead, asked, when: When { now: now(), due } })
    }

    fn choose(&self, request: &v1::ScoreRequest) -> Result<Choice, Refusal> {
        self.models.choose(&request.model).map_err(Refusal::Model)
    }

    /// Looks up some rows of a request and makes them inputs.
    fn prepare(&self, begun: &Begun<'_>, rows: Range<usize>) -> Result<Job, Refusal> {
        let mut job = Job::new(begun.request, begun.asked.plan.columns_id, rows.len(), Instant::now());
        if rows.start > 0 {
            job.go_on();
        }
        self.online.read(&begun.asked, rows, begun.when, |found| self.prepare_row(begun, found, &mut job))?;
        if begun.request.include_features {
            job.response.feature_names.clone_from(&begun.asked.plan.names);
        }
        job.looked_up();
        Ok(job)
    }

    /// Makes a row inputs.
    fn prepare_row(&self, begun: &Begun<'_>, found: &Found<'_>, job: &mut Job) -> Result<(), Refusal> {
        let (asked, Found { at, keys, request: fields, as_of, answer }) = (&begun.asked, *found);
        let picked = begun.pick_for(keys)?;
        let model = picked.map_or(begun.lead, |picked| picked.primary);
        let binding = self.bindings.lock().of(model, asked.plan);
        let missing = job.push(model, |input| binding.input(input, answer, fields));
        let missing = missing.map_err(|error| Refusal::Input { error, field: format!("rows[{at}]") })?;
        for beside in picked.iter().flat_map(|picked| picked.beside.iter()) {
            let binding = self.bindings.lock().of(beside, asked.plan);
            job.push_beside(&self.models, model, beside, |input| binding.input(input, answer, fields));
        }
        if let Some(log) = &self.log {
            let (request, now, columns_id, place) = (begun.request, begun.when.now, asked.plan.columns_id, job.response.rows.len());
            log.take(&Seen { request, at, place, keys, as_of, now, columns_id, answer }, &mut job.logged);
        }
        let with_features = begun.request.include_features;
        let features = if with_features { answer.cells.iter().map(|c| from_value(c.value.clone())).collect() } else { Vec::new() };
        job.response.rows.push(v1::ScoreRow {
            model_version: model.version(),
            as_of_micros: as_of.micros(),
            watermark_micros: (answer.watermark != Time::NONE).then_some(answer.watermark.micros()),
            version: answer.version,
            missing: missing as u32,
            provisional: answer.cells.iter().filter(|cell| cell.provisional).count() as u32,
            features,
            ..v1::ScoreRow::default()
        });
        Ok(())
    }

    pub(crate) fn models(&self) -> &Arc<Registry> {
        &self.models
    }

    pub(crate) fn plan_of(&self, model: &Model) -> Result<&Plan, Refusal> {
        self.plans.service(&model.signature().service)
    }

    /// A request of few rows, by itself.
    fn score_at_once(&self, request: &v1::ScoreRequest, due: Option<Instant>) -> Result<v1::ScoreResponse, Status> {
        run_together(vec![self.job(request, due)?]).remove(0)
    }

    /// A request of many rows: other calls have their turn in between.
    pub(crate) async fn score_in_turns(&self, request: &v1::ScoreRequest, due: Option<Instant>) -> Result<v1::ScoreResponse, Status> {
        let choice = self.choose(request)?;
        let begun = self.begin(request, &choice, due)?;
        let mut whole: Option<v1::ScoreResponse> = None;
        for from in (0..request.rows.len().max(1)).step_by(ROWS_IN_A_TURN) {
            if from > 0 {
                tokio::task::yield_now().await;
            }
            let job = self.prepare(&begun, from..request.rows.len().min(from + ROWS_IN_A_TURN))?;
            let part = run_together(vec![job]).remove(0)?;
            match &mut whole {
                Some(whole) => extend(whole, part),
                None => whole = Some(part),
            }
        }
        Ok(whole.unwrap_or_default())
    }
}

/// What all rows of a request have in common.
struct Begun<'r> {
    request: &'r v1::ScoreRequest,
    /// Who chooses for each entity, if not all have the same.
    choice: Option<&'r Choice>,
    /// Whose service is looked up: the version that was asked for, or the one that is served by default.
    lead: &'r Arc<Model>,
    asked: Asked<'r>,
    when: When,
}

impl<'r> Begun<'r> {
    /// Who scores an entity, where labels and the canary's share choose. A version that reads another service than the one that is
    /// served by default cannot be given these features, and is not chosen.
    fn pick_for(&self, keys: &[ValueRef<'_>]) -> Result<Option<Picked<'r>>, Refusal> {
        let Some(choice) = self.choice else { return Ok(None) };
        let picked = KEY.with_borrow_mut(|key| {
            key.clear();
            encode_key(keys, key);
            choice.pick_for(key)
        });
        let picked = picked.map_err(Refusal::Model)?;
        Ok((picked.primary.signature().service == self.lead.signature().service).then_some(picked))
    }
}

/// After so many rows, other calls on the thread have their turn, and a deadline is noticed.
pub(crate) const ROWS_IN_A_TURN: usize = 64;

thread_local! {
    /// Used again from row to row, so that keys need no new memory.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Adds the rows that were scored after the others, and the time that they took.
fn extend(whole: &mut v1::ScoreResponse, part: v1::ScoreResponse) {
    whole.rows.extend(part.rows);
    if let (Some(all), Some(more)) = (&mut whole.times, part.times) {
        all.lookup_nanos += more.lookup_nanos;
        all.queue_nanos += more.queue_nanos;
        all.model_nanos += more.model_nanos;
        all.batch_rows = all.batch_rows.max(more.batch_rows);
    }
}

/// What a request's `model_version` means.
pub(crate) fn selection(text: &str) -> Result<Selection<'_>, Refusal> {
    match (text, text.strip_prefix('@')) {
        ("", _) => Ok(Selection::Default),
        (_, Some(label)) => Ok(Selection::Label(label)),
        (number, None) => match number.parse() {
            Ok(version) => Ok(Selection::Version(version)),
            Err(_) => Err(Refusal::ModelVersion { version: shown(number) }),
        },
    }
}

/// Scores on the short way.
struct Score {
    shared: Arc<Scores>,
    max_request_bytes: usize,
    /// The calls of this turn.
    waiting: Mutex<Vec<(Job, oneshot::Sender<Result<Framed, Status>>)>>,
}

impl UnaryMethod for Score {
    fn max_request_bytes(&self) -> usize {
        self.max_request_bytes
    }

    fn call(self: Arc<Self>, request: Bytes, due: Option<Instant>, in_turn: bool) -> Outcome {
        let request = match v1::ScoreRequest::decode(request) {
            Ok(request) => request,
            Err(error) => return Outcome::Now(Err(Status::internal(format!("the message cannot be decoded: {error}")))),
        };
        if request.rows.len() > ROWS_IN_A_TURN {
            return Outcome::Later(Box::pin(
                async move { self.shared.score_in_turns(&request, due).await.map(|response| framed(&response)) },
            ));
        }
        if !in_turn {
            return Outcome::Now(self.shared.score_at_once(&request, due).map(|response| framed(&response)));
        }
        let job = match self.shared.job(&request, due) {
            Ok(job) => job,
            Err(refusal) => return Outcome::Now(Err(refusal.into())),
        };
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().push((job, answer));
        let broken = || Err(Status::internal("the model's run broke off"));
        Outcome::Later(Box::pin(async move { answered.await.unwrap_or_else(|_| broken()) }))
    }

    fn end_turn(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        if waiting.is_empty() {
            return;
        }
        let (jobs, answers): (Vec<Job>, Vec<_>) = waiting.into_iter().unzip();
        for (response, answer) in run_together(jobs).into_iter().zip(answers) {
            let _ = answer.send(response.map(|response| framed(&response))); // a caller that has gone needs none
        }
    }
}

fn framed(response: &v1::ScoreResponse) -> Framed {
    let mut framed = Framed::with_capacity(response.encoded_len());
    response.encode_raw(framed.message());
    framed
}

/// The wall clock.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
