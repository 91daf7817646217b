//! Scores as the protocol's tensor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use floodmark_models::matrix::Matrix;
use floodmark_models::model::Model;
use floodmark_models::signature::Element;
use floodmark_proto::inference::infer_parameter::ParameterChoice;
use floodmark_proto::inference::model_infer_response::InferOutputTensor;
use floodmark_proto::inference::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use floodmark_proto::v1;

use super::datatype::Datatype;
use super::is_set;
use crate::refusal::Refusal;
use crate::score::job::{Job, Run};
use crate::score::{ROWS_IN_A_TURN, Scores};

/// The name of the only output.
pub(super) const SCORE: &str = "score";

/// The request parameter that asks for typed contents.
const TYPED_OUTPUTS: &str = "typed_outputs";

/// A request whose tensors have been read.
pub(super) struct Prepared {
    pub(super) work: Work,
    pub(super) wanted: Wanted,
}

/// What is left to do.
pub(super) enum Work {
    /// Few rows, which wait for the model.
    Job(Job),
    /// Many rows, of which some wait for the model, and others for their turn.
    Jobs(Vec<Job>),
    /// Many rows that are still to be looked up, and until when somebody waits for them.
    Asked(v1::ScoreRequest, Option<Instant>),
}

/// What is known of an answer before the model has run.
#[derive(Clone)]
pub(super) struct Wanted {
    /// The model that the request named.
    lead: Arc<Model>,
    missing: usize,
    id: String,
    typed: bool,
}

/// Scores, and what goes with them.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) wanted: Wanted,
    version: u64,
    /// 32 bits hold the scores.
    narrow: bool,
    parameters: BTreeMap<String, InferParameter>,
    scores: Vec<f64>,
}

impl Prepared {
    /// Rows that are looked up; at once, if they are few.
    pub(super) fn looked_up(
        scores: &Scores,
        asked: v1::ScoreRequest,
        lead: Arc<Model>,
        request: &ModelInferRequest,
        due: Option<Instant>,
    ) -> Result<Prepared, Refusal> {
        let work = if asked.rows.len() > ROWS_IN_A_TURN { Work::Asked(asked, due) } else { Work::Job(scores.job(&asked, due)?) };
        Ok(Prepared { work, wanted: Wanted::new(lead, 0, request) })
    }

    /// Rows that were brought, in pieces.
    pub(super) fn brought(mut matrices: Vec<Matrix>, began: Instant, lead: Arc<Model>, request: &ModelInferRequest) -> Prepared {
        let wanted = Wanted::new(lead.clone(), matrices.iter().map(Matrix::missing).sum(), request);
        let work = match (matrices.pop(), matrices.is_empty()) {
            (Some(only), true) => Work::Job(Job::brought(lead, only, began)),
            (last, _) => {
                let mut jobs: Vec<Job> = matrices.into_iter().chain(last).map(|matrix| Job::brought(lead.clone(), matrix, began)).collect();
                jobs.iter_mut().skip(1).for_each(Job::go_on);
                Work::Jobs(jobs)
            }
        };
        Prepared { work, wanted }
    }
}

impl Wanted {
    fn new(lead: Arc<Model>, missing: usize, request: &ModelInferRequest) -> Wanted {
        Wanted { lead, missing, id: request.id.clone(), typed: is_set(&request.parameters, TYPED_OUTPUTS) }
    }

    /// The answer, once the models have run.
    pub(super) fn of_job(self, job: Job, run: Run) -> Answer {
        match job.is_brought() {
            true => self.of_scores(job.into_scores()),
            false => self.of_rows(&job.finish(run).rows),
        }
    }

    /// To brought rows.
    pub(super) fn of_scores(self, scores: Vec<f64>) -> Answer {
        let mut parameters = BTreeMap::new();
        if self.missing > 0 {
            parameters.insert("missing".to_owned(), int(self.missing as i64));
        }
        let narrow = is_narrow(&self.lead);
        Answer { version: self.lead.version(), wanted: self, narrow, parameters, scores }
    }

    /// To rows that were looked up.
    pub(super) fn of_rows(self, rows: &[v1::ScoreRow]) -> Answer {
        let mut parameters = BTreeMap::new();
        say(&mut parameters, rows);
        let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
        // A canary may have scored some of the rows, and its scores be wider than those of the version that was named.
        let narrow = is_narrow(&self.lead) && scores.iter().all(|score| f64::from(*score as f32) == *score);
        Answer { version: rows.first().map_or(self.lead.version(), |row| row.model_version), wanted: self, narrow, parameters, scores }
    }
}

/// 32 bits hold the scores.
fn is_narrow(model: &Model) -> bool {
    model.score_element() == Element::Float
}

/// What a caller should know of the features.
fn say(parameters: &mut BTreeMap<String, InferParameter>, rows: &[v1::ScoreRow]) {
    let Some(first) = rows.first() else { return };
    let mut add = |name: &str, value: i64| parameters.insert(name.to_owned(), int(value));
    add("missing", rows.iter().map(|row| i64::from(row.missing)).sum());
    add("provisional", rows.iter().map(|row| i64::from(row.provisional)).sum());
    add("as_of_micros", first.as_of_micros);
    add("version", i64::try_from(first.version).unwrap_or(i64::MAX));
    // Before the first event there is none.
    if let Some(Some(watermark)) = rows.iter().map(|row| row.watermark_micros).min() {
        add("watermark_micros", watermark);
    }
    if rows.iter().any(|row| row.model_version != first.model_version) {
        let versions = rows.iter().map(|row| row.model_version.to_string()).collect::<Vec<_>>().join(",");
        let parameter = InferParameter { parameter_choice: Some(ParameterChoice::StringParam(versions)) };
        parameters.insert("model_versions".to_owned(), parameter);
    }
}

fn int(value: i64) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) }
}

impl Answer {
    /// As a message. Contents are raw unless typed ones were asked for: clients read what is at an output's position, and no other.
    pub(super) fn into_response(self) -> ModelInferResponse {
        let contents = self.wanted.typed.then(|| self.contents());
        let raw_output_contents = if self.wanted.typed { Vec::new() } else { vec![self.raw()] };
        let output = InferOutputTensor {
            name: SCORE.to_owned(),
            datatype: self.datatype().name().to_owned(),
            shape: vec![self.scores.len() as i64],
            contents,
            ..InferOutputTensor::default()
        };
        ModelInferResponse {
            model_name: self.wanted.lead.name().to_owned(),
            model_version: self.version.to_string(),
            id: self.wanted.id,
            parameters: self.parameters,
            outputs: vec![output],
            raw_output_contents,
        }
    }

    pub(super) fn is_typed(&self) -> bool {
        self.wanted.typed
    }

    pub(super) fn model(&self) -> &str {
        self.wanted.lead.name()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn id(&self) -> &str {
        &self.wanted.id
    }

    pub(super) fn parameters(&self) -> &BTreeMap<String, InferParameter> {
        &self.parameters
    }

    pub(super) fn scores(&self) -> &[f64] {
        &self.scores
    }

    pub(super) fn datatype(&self) -> Datatype {
        if self.narrow { Datatype::Fp32 } else { Datatype::Fp64 }
    }

    /// Little-endian.
    pub(super) fn raw(&self) -> Bytes {
        match self.datatype() {
            Datatype::Fp32 => self.scores.iter().flat_map(|score| (*score as f32).to_le_bytes()).collect(),
            _ => self.scores.iter().flat_map(|score| score.to_le_bytes()).collect(),
        }
    }

    fn contents(&self) -> InferTensorContents {
        match self.datatype() {
            Datatype::Fp32 => {
                let fp32_contents = self.scores.iter().map(|score| *score as f32).collect();
                InferTensorContents { fp32_contents, ..InferTensorContents::default() }
            }
            _ => InferTensorContents { fp64_contents: self.scores.clone(), ..InferTensorContents::default() },
        }
    }
}
