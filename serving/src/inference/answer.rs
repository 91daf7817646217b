//! Scores as the protocol's tensor.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use floodmark_models::model::Model;
use floodmark_models::signature::Element;
use floodmark_proto::inference::infer_parameter::ParameterChoice;
use floodmark_proto::inference::model_infer_response::InferOutputTensor;
use floodmark_proto::inference::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use floodmark_proto::v1;

use super::datatype::Datatype;
use super::is_set;
use crate::score::job::{Job, Run};

/// The name of the only output.
pub(super) const SCORE: &str = "score";

/// The request parameter that asks for typed contents.
const TYPED_OUTPUTS: &str = "typed_outputs";

/// A request whose rows wait for the model.
pub(crate) struct Prepared {
    pub(super) job: Job,
    wanted: Wanted,
}

/// What is known of an answer before the model has run.
pub(super) struct Wanted {
    /// The model that the request named.
    lead: Arc<Model>,
    /// 32 bits hold the scores of all models that have a part.
    narrow: bool,
    is_looked_up: bool,
    missing: usize,
    id: String,
    outputs: usize,
    typed: bool,
}

/// Scores, and what goes with them.
pub(super) struct Answer {
    wanted: Wanted,
    version: String,
    parameters: BTreeMap<String, InferParameter>,
    scores: Vec<f64>,
}

impl Prepared {
    pub(super) fn looked_up(job: Job, lead: Arc<Model>, request: &ModelInferRequest) -> Prepared {
        Prepared::new(job, lead, true, 0, request)
    }

    pub(super) fn brought(job: Job, lead: Arc<Model>, missing: usize, request: &ModelInferRequest) -> Prepared {
        Prepared::new(job, lead, false, missing, request)
    }

    fn new(job: Job, lead: Arc<Model>, is_looked_up: bool, missing: usize, request: &ModelInferRequest) -> Prepared {
        let narrow = job.models().all(|model| model.score_element() == Element::Float) && lead.score_element() == Element::Float;
        let (id, outputs, typed) = (request.id.clone(), request.outputs.len().max(1), is_set(&request.parameters, TYPED_OUTPUTS));
        Prepared { job, wanted: Wanted { lead, narrow, is_looked_up, missing, id, outputs, typed } }
    }

    pub(super) fn split(self) -> (Job, Wanted) {
        (self.job, self.wanted)
    }
}

impl Wanted {
    /// The answer, once the models have run.
    pub(super) fn answer(self, job: Job, run: Run) -> Answer {
        let mut parameters = BTreeMap::new();
        if self.is_looked_up {
            let response = job.finish(run);
            let version = response.rows.first().map_or(self.lead.version(), |row| row.model_version).to_string();
            say(&mut parameters, &response.rows);
            let scores = response.rows.iter().map(|row| row.score).collect();
            return Answer { wanted: self, version, parameters, scores };
        }
        if self.missing > 0 {
            parameters.insert("missing".to_owned(), int(self.missing as i64));
        }
        Answer { version: self.lead.version().to_string(), wanted: self, parameters, scores: job.into_scores() }
    }
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
        let raw = if self.wanted.typed { Vec::new() } else { vec![self.raw(); self.wanted.outputs] };
        let output = InferOutputTensor {
            name: SCORE.to_owned(),
            datatype: self.datatype().name().to_owned(),
            shape: vec![self.scores.len() as i64],
            contents,
            ..InferOutputTensor::default()
        };
        ModelInferResponse {
            model_name: self.wanted.lead.name().to_owned(),
            model_version: self.version,
            id: self.wanted.id,
            parameters: self.parameters,
            outputs: vec![output; self.wanted.outputs],
            raw_output_contents: raw,
        }
    }

    pub(super) fn datatype(&self) -> Datatype {
        if self.wanted.narrow { Datatype::Fp32 } else { Datatype::Fp64 }
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
