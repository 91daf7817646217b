//! Jobs: requests that are looked up and wait for a model. Those that wait at the same time are scored in one run for each model.

use std::sync::Arc;
use std::time::Instant;

use floodmark_models::matrix::{Input, InputError, Matrix};
use floodmark_models::model::{Model, ScoreError};
use floodmark_proto::v1;
use tonic::Status;

use super::log::Logged;
use crate::refusal::Refusal;

/// A request whose rows are inputs now.
pub(super) struct Job {
    pub(super) response: v1::ScoreResponse,
    /// The rows that are to be logged.
    pub(super) logged: Logged,
    parts: Vec<Part>,
    /// For each row of the response, its part.
    part_of_row: Vec<usize>,
    began: Instant,
    ready: Instant,
}

/// The rows of a job that one model scores, in their order.
struct Part {
    model: Arc<Model>,
    matrix: Matrix,
    scores: Vec<f64>,
}

impl Job {
    pub(super) fn new(request: &v1::ScoreRequest, began: Instant) -> Job {
        let response = v1::ScoreResponse {
            model: request.model.clone(),
            request_id: request.request_id.clone(),
            rows: Vec::with_capacity(request.rows.len()),
            ..v1::ScoreResponse::default()
        };
        Job {
            response,
            logged: Logged::default(),
            parts: Vec::new(),
            part_of_row: Vec::with_capacity(request.rows.len()),
            began,
            ready: began,
        }
    }

    /// Adds a row for a model; says how many of its inputs were missing.
    pub(super) fn push<'a>(&mut self, model: &Arc<Model>, input: impl FnMut(usize) -> Input<'a>) -> Result<usize, InputError> {
        let at = self.parts.iter().position(|part| Arc::ptr_eq(&part.model, model)).unwrap_or_else(|| {
            self.parts.push(Part { model: model.clone(), matrix: model.matrix(), scores: Vec::new() });
            self.parts.len() - 1
        });
        let missing = self.parts[at].matrix.push(input)?;
        self.part_of_row.push(at);
        Ok(missing)
    }

    pub(super) fn looked_up(&mut self) {
        self.ready = Instant::now();
    }

    fn finish(mut self, run: Run) -> v1::ScoreResponse {
        let mut next = vec![0; self.parts.len()];
        for (row, part) in self.response.rows.iter_mut().zip(&self.part_of_row) {
            row.score = self.parts[*part].scores[next[*part]];
            next[*part] += 1;
        }
        self.response.times = Some(v1::ScoreTimes {
            lookup_nanos: nanos(self.began, self.ready),
            queue_nanos: nanos(self.ready, run.began),
            model_nanos: nanos(run.began, run.ended),
            batch_rows: run.rows as u32,
        });
        self.logged.scored(&self.response);
        self.response
    }
}

/// When the models ran, and for how many rows.
#[derive(Clone, Copy)]
struct Run {
    began: Instant,
    ended: Instant,
    rows: usize,
}

fn nanos(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

/// Scores jobs, each answered for itself: a row that a model has no score for fails its own job only.
pub(super) fn run_together(mut jobs: Vec<Job>) -> Vec<Result<v1::ScoreResponse, Status>> {
    let (began, rows) = (Instant::now(), jobs.iter().map(|job| job.part_of_row.len()).sum());
    let mut failed: Vec<Option<ScoreError>> = jobs.iter().map(|_| None).collect();
    for model in models_of(&jobs) {
        score(&model, &mut jobs, &mut failed);
    }
    let run = Run { began, ended: Instant::now(), rows };
    let answer = |(job, failed): (Job, Option<ScoreError>)| match failed {
        None => Ok(job.finish(run)),
        Some(error) => {
            job.logged.failed();
            Err(Refusal::Score(error).into())
        }
    };
    jobs.into_iter().zip(failed).map(answer).collect()
}

fn models_of(jobs: &[Job]) -> Vec<Arc<Model>> {
    let mut models: Vec<Arc<Model>> = Vec::new();
    for part in jobs.iter().flat_map(|job| &job.parts) {
        if !models.iter().any(|model| Arc::ptr_eq(model, &part.model)) {
            models.push(part.model.clone());
        }
    }
    models
}

fn score(model: &Arc<Model>, jobs: &mut [Job], failed: &mut [Option<ScoreError>]) {
    let mut parts: Vec<(usize, &mut Part)> = jobs
        .iter_mut()
        .enumerate()
        .flat_map(|(at, job)| job.parts.iter_mut().map(move |part| (at, part)))
        .filter(|(_, part)| Arc::ptr_eq(&part.model, model))
        .collect();
    if parts.len() > 1 && score_as_one(model, &mut parts) {
        return;
    }
    for (at, part) in parts {
        part.scores.clear();
        if let Err(error) = model.score(&part.matrix, &mut part.scores) {
            failed[at] = Some(error);
        }
    }
}

/// One run for all parts. False if it failed: then each is to be tried by itself.
fn score_as_one(model: &Model, parts: &mut [(usize, &mut Part)]) -> bool {
    let (mut all, mut scores) = (model.matrix(), Vec::new());
    parts.iter().for_each(|(_, part)| all.append(&part.matrix));
    if model.score(&all, &mut scores).is_err() {
        return false;
    }
    let mut from = 0;
    for (_, part) in parts {
        let rows = part.matrix.rows();
        part.scores.extend_from_slice(&scores[from..from + rows]);
        from += rows;
    }
    true
}
