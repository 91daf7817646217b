//! Jobs: requests that are looked up and wait for a model. Those that wait at the same time are scored in one run for each model.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use floodmark_models::compare::Beside;
use floodmark_models::counts::Calls;
use floodmark_models::matrix::{Input, InputError, Matrix};
use floodmark_models::model::{Model, ScoreError};
use floodmark_models::registry::Registry;
use floodmark_proto::v1;
use tonic::Status;

use super::log::Logged;
use crate::refusal::Refusal;

/// A request whose rows are inputs now.
pub(crate) struct Job {
    pub(super) response: v1::ScoreResponse,
    /// What the features are.
    pub(super) columns_id: u64,
    /// The rows that are to be logged.
    pub(super) logged: Logged,
    parts: Vec<Part>,
    beside: Vec<BesidePart>,
    /// For each row of the response, its part.
    part_of_row: Vec<usize>,
    /// Whether these are further rows of a call that another job has begun.
    goes_on: bool,
    began: Instant,
    ready: Instant,
}

/// The rows of a job that one model scores, in their order.
struct Part {
    model: Arc<Model>,
    matrix: Matrix,
    scores: Vec<f64>,
}

/// The rows of a job that a model scores beside the one that answers, for comparison.
struct BesidePart {
    models: Arc<Registry>,
    answering: Arc<Model>,
    beside: Arc<Model>,
    matrix: Matrix,
    /// Positions in the response.
    rows: Vec<usize>,
    /// Rows that the other model cannot be given.
    left_out: u64,
}

impl Job {
    pub(super) fn new(request: &v1::ScoreRequest, columns_id: u64, rows: usize, began: Instant) -> Job {
        let response = v1::ScoreResponse {
            model: request.model.clone(),
            request_id: request.request_id.clone(),
            rows: Vec::with_capacity(rows),
            ..v1::ScoreResponse::default()
        };
        Job { response, part_of_row: Vec::with_capacity(rows), ..Job::empty(columns_id, began) }
    }

    /// Rows that a caller brings, made for one model.
    pub(crate) fn brought(model: Arc<Model>, matrix: Matrix, began: Instant) -> Job {
        let empty = Job::empty(model.signature().columns_id, began);
        Job { parts: vec![Part { model, matrix, scores: Vec::new() }], ready: Instant::now(), ..empty }
    }

    fn empty(columns_id: u64, began: Instant) -> Job {
        Job {
            response: v1::ScoreResponse::default(),
            columns_id,
            logged: Logged::default(),
            parts: Vec::new(),
            beside: Vec::new(),
            part_of_row: Vec::new(),
            goes_on: false,
            began,
            ready: began,
        }
    }

    /// These are further rows of a call.
    pub(crate) fn go_on(&mut self) {
        self.goes_on = true;
    }

    /// Whether its rows were brought by the caller.
    pub(crate) fn is_brought(&self) -> bool {
        self.part_of_row.is_empty() && !self.parts.is_empty()
    }

    /// The models that score its rows.
    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.parts.iter().map(|part| &part.model)
    }

    /// The scores of brought rows, once the model has run.
    pub(crate) fn into_scores(mut self) -> Vec<f64> {
        self.parts.pop().map(|part| part.scores).unwrap_or_default()
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

    /// Gives the row that was pushed last to another version as well, if that takes it.
    pub(super) fn push_beside<'a>(
        &mut self,
        models: &Arc<Registry>,
        answering: &Arc<Model>,
        beside: &Arc<Model>,
        input: impl FnMut(usize) -> Input<'a>,
    ) {
        let same = |part: &BesidePart| Arc::ptr_eq(&part.answering, answering) && Arc::ptr_eq(&part.beside, beside);
        let at = self.beside.iter().position(same).unwrap_or_else(|| {
            let (models, answering, beside, matrix) = (models.clone(), answering.clone(), beside.clone(), beside.matrix());
            self.beside.push(BesidePart { models, answering, beside, matrix, rows: Vec::new(), left_out: 0 });
            self.beside.len() - 1
        });
        let part = &mut self.beside[at];
        let same_service = beside.signature().service == answering.signature().service;
        match same_service && part.matrix.push(input).is_ok() {
            true => part.rows.push(self.part_of_row.len() - 1),
            false => part.left_out += 1,
        }
    }

    pub(super) fn looked_up(&mut self) {
        self.ready = Instant::now();
    }

    /// There is no response: a model has failed.
    pub(crate) fn fail(self, error: ScoreError) -> Refusal {
        self.logged.failed();
        Refusal::Score(error)
    }

    /// The response to rows that were looked up.
    pub(crate) fn finish(mut self, run: Run) -> v1::ScoreResponse {
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
        for part in self.beside {
            let scores = part.rows.iter().map(|row| self.response.rows[*row].score).collect();
            let BesidePart { models, answering, beside, matrix, left_out, .. } = part;
            models.compare(Beside { answered: answering, beside, rows: matrix, scores, left_out });
        }
        self.logged.scored(&self.response);
        self.response
    }
}

/// When the models ran, and for how many rows.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    began: Instant,
    ended: Instant,
    rows: usize,
}

fn nanos(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

/// Scores jobs, each answered for itself: a row that a model has no score for fails its own job only.
pub(super) fn run_together(mut jobs: Vec<Job>) -> Vec<Result<v1::ScoreResponse, Status>> {
    let (run, failed) = run_models(&mut jobs);
    let answer = |(job, failed): (Job, Option<ScoreError>)| match failed {
        None => Ok(job.finish(run)),
        Some(error) => Err(job.fail(error).into()),
    };
    jobs.into_iter().zip(failed).map(answer).collect()
}

/// One run for each model; says for each job why it failed, if it did.
pub(crate) fn run_models(jobs: &mut [Job]) -> (Run, Vec<Option<ScoreError>>) {
    let (began, rows) = (Instant::now(), jobs.iter().flat_map(|job| &job.parts).map(|part| part.matrix.rows()).sum());
    let mut failed: Vec<Option<ScoreError>> = jobs.iter().map(|_| None).collect();
    let models = models_of(jobs);
    for model in &models {
        score(model, jobs, &mut failed);
    }
    let run = Run { began, ended: Instant::now(), rows };
    models.iter().for_each(|model| count(model, jobs, &failed, run));
    (run, failed)
}

/// Tells a model how its calls went.
fn count(model: &Arc<Model>, jobs: &[Job], failed: &[Option<ScoreError>], run: Run) {
    let mut calls = Calls::default();
    for (job, failed) in jobs.iter().zip(failed).filter(|(job, _)| job.models().any(|m| Arc::ptr_eq(m, model))) {
        let (count, time) = match failed {
            None => (&mut calls.succeeded, &mut calls.succeeded_time),
            Some(_) => (&mut calls.failed, &mut calls.failed_time),
        };
        *count += u64::from(!job.goes_on);
        *time += run.ended - job.began;
        calls.input_time += job.ready - job.began;
        calls.queue_time += run.began.saturating_duration_since(job.ready);
        calls.model_time += run.ended - run.began;
    }
    model.counts().called(&calls, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
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
