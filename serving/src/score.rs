//! `floodmark.v1.ScoreService`: rows are looked up, become a model's inputs, and are scored.
//!
//! The calls of a turn are scored together, one run for each model: a run costs some microseconds whatever it scores. A call that
//! comes alone is scored alone, at once.

mod binding;
mod job;
pub mod log;
mod service;
mod together;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use floodmark_features::key::encode_key;
use floodmark_features::lookup::{Answer, Ask};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_models::model::Model;
use floodmark_models::registry::{Registry, Selection};
use floodmark_proto::v1;
use floodmark_proto::v1::model_service_server::ModelServiceServer;
use floodmark_proto::v1::score_service_server::ScoreServiceServer;
use floodmark_store::Store;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::server::NamedService;

use self::binding::Bindings;
use self::job::{Job, run_together};
use self::log::{Log, Seen};
use crate::asked::{Asked, Spine};
use crate::plan::{Plan, Plans};
use crate::refusal::{Refusal, shown};
use crate::server::{Calls, Framed, Outcome, UnaryMethod};
use crate::wire::from_value;

/// The path of scores.
const SCORE: &str = "/floodmark.v1.ScoreService/Score";

/// The service over a store and the models of a repository. Make one for each server thread.
#[derive(Debug)]
pub struct Scores {
    store: Arc<Store>,
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
        let plans = Arc::new(Plans::new(store.definitions().clone()));
        Scores { store, plans, models, bindings: Mutex::default(), log: None }
    }

    /// Logs a share of what is scored.
    pub fn logged(self, log: Option<Arc<Log>>) -> Scores {
        Scores { log, ..self }
    }

    /// Adds all that the services answer, scores on the short way. A request of more bytes is refused.
    pub fn add_to(self, calls: Calls, max_request_bytes: usize) -> Calls {
        let shared = Arc::new(self);
        let score = ScoreServiceServer::from_arc(shared.clone()).max_decoding_message_size(max_request_bytes);
        let models = ModelServiceServer::from_arc(shared.clone());
        let method = Score { shared, max_request_bytes, waiting: Mutex::default() };
        calls.map_routes(|routes| routes.add_service(score).add_service(models)).with_unary(SCORE, Arc::new(method))
    }

    /// Looks up the rows of a request and makes them inputs.
    fn prepare(&self, request: &v1::ScoreRequest) -> Result<Job, Refusal> {
        let selection = selection(&request.model_version)?;
        let lead = self.models.pick(&request.model, selection).map_err(Refusal::Model)?;
        let plan = self.plan_of(&lead)?;
        let asked = Asked::of(plan, Spine::from(request))?;
        let mut job = Job::new(request, Instant::now());
        let (mut values, mut answer, mut key) = (Vec::with_capacity(asked.values_in_a_row()), Answer::default(), Vec::new());
        let now = now();
        for at in 0..request.rows.len() {
            values.clear();
            asked.read_values(at, &mut values)?;
            let (keys, fields) = values.split_at(asked.keys());
            let own_event = asked.own_event(at)?;
            let as_of = asked.as_of(at, own_event.as_ref(), now)?;
            let ask = Ask { keys, request: fields, as_of, version: request.version, own_event: own_event.as_ref(), mode: asked.mode };
            let read = self.store.read(&asked.plan.lookup, &ask, &mut answer);
            read.map_err(|error| Refusal::Read { error, field: format!("rows[{at}]") })?;
            let model = self.model_of(request, selection, &lead, keys, &mut key)?;
            self.push(&mut job, at, &model, asked.plan, &answer, fields, request.include_features, as_of)?;
            if let Some(log) = &self.log {
                let columns_id = plan.columns_id;
                log.take(&Seen { request, at, keys, as_of, now, columns_id, answer: &answer }, &mut job.logged);
            }
        }
        if request.include_features {
            job.response.feature_names.clone_from(&plan.names);
        }
        job.looked_up();
        Ok(job)
    }

    /// Who scores an entity: the version that was asked for, or the one that labels and the canary's share choose, if it reads the
    /// same service.
    fn model_of(
        &self,
        request: &v1::ScoreRequest,
        selection: Selection<'_>,
        lead: &Arc<Model>,
        keys: &[ValueRef<'_>],
        key: &mut Vec<u8>,
    ) -> Result<Arc<Model>, Refusal> {
        if selection != Selection::Default {
            return Ok(lead.clone());
        }
        key.clear();
        encode_key(keys, key);
        let picked = self.models.pick_for(&request.model, key).map_err(Refusal::Model)?;
        let same = picked.primary.signature().service == lead.signature().service;
        Ok(if same { picked.primary } else { lead.clone() })
    }

    fn push(
        &self,
        job: &mut Job,
        at: usize,
        model: &Arc<Model>,
        plan: &Plan,
        answer: &Answer,
        fields: &[ValueRef<'_>],
        include_features: bool,
        as_of: Time,
    ) -> Result<(), Refusal> {
        let binding = self.bindings.lock().of(model, plan);
        let missing = job.push(model, |input| binding.input(input, answer, fields));
        let missing = missing.map_err(|error| Refusal::Input { error, field: format!("rows[{at}]") })?;
        let features = if include_features { answer.cells.iter().map(|c| from_value(c.value.clone())).collect() } else { Vec::new() };
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

    fn plan_of(&self, model: &Model) -> Result<&Plan, Refusal> {
        self.plans.service(&model.signature().service)
    }

    /// One request, by itself.
    fn score_alone(&self, request: &v1::ScoreRequest) -> Result<v1::ScoreResponse, Status> {
        let job = self.prepare(request)?;
        run_together(vec![job]).remove(0)
    }
}

/// What a request's `model_version` means.
fn selection(text: &str) -> Result<Selection<'_>, Refusal> {
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

    fn call(self: Arc<Self>, request: Bytes, in_turn: bool) -> Outcome {
        let request = match v1::ScoreRequest::decode(request) {
            Ok(request) => request,
            Err(error) => return Outcome::Now(Err(Status::internal(format!("the message cannot be decoded: {error}")))),
        };
        if !in_turn {
            return Outcome::Now(self.shared.score_alone(&request).map(|response| framed(&response)));
        }
        let job = match self.shared.prepare(&request) {
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
