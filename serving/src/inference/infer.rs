//! Inferences on the short way: those of a turn are scored together, one run for each model. Many rows leave others their turn.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use floodmark_proto::inference::{ModelInferRequest, ModelInferResponse};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;
use tonic::Status;

use super::answer::{Answer, Prepared, Wanted, Work};
use super::error::TensorError;
use super::response::framed;
use super::{Inference, Refusal};
use crate::score::job::{Job, run_models};
use crate::server::{Framed, Outcome, UnaryMethod};

/// A call that waits for the end of its turn.
struct Waiting {
    job: Job,
    wanted: Wanted,
    answer: oneshot::Sender<Result<Framed, Status>>,
}

/// `ModelInfer`.
pub(super) struct Infer {
    inference: Inference,
    max_request_bytes: usize,
    /// The calls of this turn.
    waiting: Mutex<Vec<Waiting>>,
}

impl Infer {
    pub(super) fn new(inference: Inference, max_request_bytes: usize) -> Infer {
        Infer { inference, max_request_bytes, waiting: Mutex::default() }
    }
}

impl UnaryMethod for Infer {
    fn max_request_bytes(&self) -> usize {
        self.max_request_bytes
    }

    fn call(self: Arc<Self>, request: Bytes, due: Option<Instant>, in_turn: bool) -> Outcome {
        let request = match ModelInferRequest::decode(request) {
            Ok(request) => request,
            Err(error) => return Outcome::Now(Err(Status::internal(format!("the message cannot be decoded: {error}")))),
        };
        let (job, wanted) = match self.inference.prepare_message(&request, due) {
            Ok(Prepared { work: Work::Job(job), wanted }) => (job, wanted),
            Ok(many) => return Outcome::Later(Box::pin(async move { self.inference.run(many).await.map(framed) })),
            Err(refusal) => return Outcome::Now(Err(refusal.into())),
        };
        if !in_turn {
            return Outcome::Now(run_alone(job, wanted).map(framed));
        }
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().push(Waiting { job, wanted, answer });
        let broken = || Err(Status::internal("the model's run broke off"));
        Outcome::Later(Box::pin(async move { answered.await.unwrap_or_else(|_| broken()) }))
    }

    /// Each is answered for itself: a row that a model has no score for fails its own call only.
    fn end_turn(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        if waiting.is_empty() {
            return;
        }
        let (mut jobs, answers): (Vec<Job>, Vec<_>) =
            waiting.into_iter().map(|waiting| (waiting.job, (waiting.wanted, waiting.answer))).unzip();
        let (run, failed) = run_models(&mut jobs);
        for ((job, (wanted, answer)), failed) in jobs.into_iter().zip(answers).zip(failed) {
            let done = match failed {
                None => Ok(framed(wanted.of_job(job, run))),
                Some(error) => Err(job.fail(error).into()),
            };
            let _ = answer.send(done); // a caller that has gone needs none
        }
    }
}

impl Inference {
    /// Reads a request whose contents are in the message.
    pub(super) fn prepare_message(&self, request: &ModelInferRequest, due: Option<Instant>) -> Result<Prepared, Refusal> {
        let (inputs, raw) = (request.inputs.len(), &request.raw_input_contents);
        if !raw.is_empty() && raw.len() != inputs {
            return Err(TensorError::RawCount { inputs, raw: raw.len() }.into());
        }
        self.prepare(request, |at| raw.get(at).map(Bytes::as_ref), due)
    }

    /// Answers a request by itself, for which somebody waits until then.
    pub(super) async fn infer(&self, request: &ModelInferRequest, due: Option<Instant>) -> Result<ModelInferResponse, Status> {
        let prepared = self.prepare_message(request, due)?;
        self.run(prepared).await.map(Answer::into_response)
    }

    /// Scores by themselves; many rows in turns.
    pub(super) async fn run(&self, prepared: Prepared) -> Result<Answer, Status> {
        let Prepared { work, wanted } = prepared;
        match (work, &self.scores) {
            (Work::Job(job), _) => run_alone(job, wanted),
            (Work::Jobs(jobs), _) => {
                let mut scores = Vec::new();
                for job in jobs {
                    let mut piece = [job];
                    let (_, failed) = run_models(&mut piece);
                    if let Some(error) = failed.into_iter().flatten().next() {
                        return Err(Refusal::Score(error).into());
                    }
                    scores.extend(piece.into_iter().flat_map(Job::into_scores));
                    tokio::task::yield_now().await;
                }
                Ok(wanted.of_scores(scores))
            }
            (Work::Asked(asked, due), Some(scores)) => Ok(wanted.of_rows(&scores.score_in_turns(&asked, due).await?.rows)),
            (Work::Asked(asked, _), None) => Err(super::unknown(&asked.model).into()),
        }
    }
}

fn run_alone(job: Job, wanted: Wanted) -> Result<Answer, Status> {
    let mut jobs = [job];
    let (run, failed) = run_models(&mut jobs);
    let [job] = jobs;
    match failed.into_iter().flatten().next() {
        None => Ok(wanted.of_job(job, run)),
        Some(error) => Err(job.fail(error).into()),
    }
}
