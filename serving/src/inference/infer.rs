//! Inferences on the short way: those of a turn are scored together, one run for each model.

use std::sync::Arc;

use bytes::Bytes;
use floodmark_proto::inference::{ModelInferRequest, ModelInferResponse};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;
use tonic::Status;

use super::answer::{Answer, Prepared, Wanted};
use super::error::TensorError;
use super::{Inference, Refusal};
use crate::score::job::{Job, run_models};
use crate::server::{Framed, Outcome, UnaryMethod};

/// Calls that wait for the end of their turn.
type Waiting = Vec<(Prepared, oneshot::Sender<Result<Framed, Status>>)>;

/// `ModelInfer`.
pub(super) struct Infer {
    inference: Inference,
    max_request_bytes: usize,
    waiting: Mutex<Waiting>,
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

    fn call(self: Arc<Self>, request: Bytes, in_turn: bool) -> Outcome {
        let request = match ModelInferRequest::decode(request) {
            Ok(request) => request,
            Err(error) => return Outcome::Now(Err(Status::internal(format!("the message cannot be decoded: {error}")))),
        };
        if !in_turn {
            return Outcome::Now(self.inference.infer(&request).map(|response| framed(&response)).map_err(Status::from));
        }
        let prepared = match self.inference.prepare_message(&request) {
            Ok(prepared) => prepared,
            Err(refusal) => return Outcome::Now(Err(refusal.into())),
        };
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().push((prepared, answer));
        let broken = || Err(Status::internal("the model's run broke off"));
        Outcome::Later(Box::pin(async move { answered.await.unwrap_or_else(|_| broken()) }))
    }

    fn end_turn(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        if waiting.is_empty() {
            return;
        }
        let (prepared, answers): (Vec<Prepared>, Vec<_>) = waiting.into_iter().unzip();
        for (done, answer) in run_together(prepared).zip(answers) {
            let done = done.map(|answer| framed(&answer.into_response())).map_err(Status::from);
            let _ = answer.send(done); // a caller that has gone needs none
        }
    }
}

fn framed(response: &ModelInferResponse) -> Framed {
    let mut framed = Framed::with_capacity(response.encoded_len());
    response.encode_raw(framed.message());
    framed
}

/// Each is answered for itself: a row that a model has no score for fails its own request only.
fn run_together(prepared: Vec<Prepared>) -> impl Iterator<Item = Result<Answer, Refusal>> {
    let (mut jobs, wanted): (Vec<Job>, Vec<Wanted>) = prepared.into_iter().map(Prepared::split).unzip();
    let (run, failed) = run_models(&mut jobs);
    jobs.into_iter().zip(wanted).zip(failed).map(move |((job, wanted), failed)| match failed {
        None => Ok(wanted.answer(job, run)),
        Some(error) => Err(Refusal::Score(error)),
    })
}

impl Inference {
    /// Reads a request whose contents are in the message.
    pub(super) fn prepare_message(&self, request: &ModelInferRequest) -> Result<Prepared, Refusal> {
        let (inputs, raw) = (request.inputs.len(), &request.raw_input_contents);
        if !raw.is_empty() && raw.len() != inputs {
            return Err(TensorError::RawCount { inputs, raw: raw.len() }.into());
        }
        self.prepare(request, |at| raw.get(at).map(Bytes::as_ref))
    }

    /// Answers a request by itself.
    pub(super) fn infer(&self, request: &ModelInferRequest) -> Result<ModelInferResponse, Refusal> {
        self.run(self.prepare_message(request)?).map(Answer::into_response)
    }

    /// Scores by themselves.
    pub(super) fn run(&self, prepared: Prepared) -> Result<Answer, Refusal> {
        let (job, wanted) = prepared.split();
        let mut jobs = [job];
        let (run, failed) = run_models(&mut jobs);
        let [job] = jobs;
        match failed.into_iter().flatten().next() {
            None => Ok(wanted.answer(job, run)),
            Some(error) => Err(Refusal::Score(error)),
        }
    }
}
