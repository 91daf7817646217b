//! The Open Inference Protocol on the models of a repository: `inference.GRPCInferenceService`, and the same over REST.
//!
//! A request's tensors ([`tensor`]) are the model's own ([`brought`]) or keys and request fields ([`looked_up`]); their names say which
//! ([`form`]). Either way they become a job of [`crate::score`], and its scores an [`answer`].
//!
//! The server is ready when it is not about to end and at least one model is; where no model was ever to be loaded, always.

mod answer;
mod brought;
mod datatype;
mod error;
mod form;
mod grpc;
mod infer;
mod looked_up;
mod operate;
mod response;
mod rest;
mod statistics;
mod tensor;
mod tensors;

use std::sync::Arc;
use std::time::Instant;

use floodmark_models::model::Model;
use floodmark_models::registry::{LoadError, RegistryError, Selection, State};
use floodmark_proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use floodmark_proto::inference::{InferParameter, ModelInferRequest};
use tokio::sync::watch;
use tonic::server::NamedService;

use self::answer::{Prepared, SCORE};
pub(crate) use self::error::TensorError;
use self::form::Form;
use self::infer::Infer;
use self::tensor::Tensor;
use crate::refusal::{Refusal, shown};
use crate::score::{Scores, selection};
use crate::server::Calls;

/// The path of inferences.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// The protocol's service, on the models of [`Scores`]. Make one for each server thread.
#[derive(Clone, Debug)]
pub struct Inference {
    /// Without a repository of models there are none.
    scores: Option<Arc<Scores>>,
    admin: bool,
    /// Whether the server is about to end.
    leaving: watch::Receiver<bool>,
}

impl Inference {
    /// What health and reflection call the service.
    pub const NAME: &'static str = <GrpcInferenceServiceServer<Inference> as NamedService>::NAME;

    /// The service; with `admin`, models may be listed, loaded and unloaded through it.
    pub fn new(scores: Option<Arc<Scores>>, admin: bool, leaving: watch::Receiver<bool>) -> Inference {
        Inference { scores, admin, leaving }
    }

    /// Adds all that the service answers, inferences on the short way. A request of more bytes is refused.
    pub fn add_to(self, calls: Calls, max_request_bytes: usize) -> Calls {
        let infer = Infer::new(self.clone(), max_request_bytes);
        let service = GrpcInferenceServiceServer::new(self).max_decoding_message_size(max_request_bytes);
        calls.map_routes(|routes| routes.add_service(service)).with_unary(INFER, Arc::new(infer))
    }

    /// Whether requests are welcome.
    fn is_ready(&self) -> bool {
        let models = self.scores.as_ref().map(|scores| scores.models().list()).unwrap_or_default();
        !*self.leaving.borrow() && (models.is_empty() || models.iter().any(|status| status.state == State::Ready))
    }

    /// The model that a request names.
    fn pick(&self, model: &str, version: &str) -> Result<(&Arc<Scores>, Arc<Model>), Refusal> {
        let selection = selection(version)?;
        let Some(scores) = &self.scores else { return Err(unknown(model)) };
        match scores.models().pick(model, selection) {
            Ok(picked) => Ok((scores, picked)),
            Err(error) => Err(why_not(scores, model, selection, error)),
        }
    }

    /// Reads the tensors of a request; `raw` are the contents of an input that came raw.
    fn prepare<'r>(
        &self,
        request: &'r ModelInferRequest,
        raw: impl Fn(usize) -> Option<&'r [u8]>,
        due: Option<Instant>,
    ) -> Result<Prepared, Refusal> {
        let began = Instant::now();
        let (scores, model) = self.pick(&request.model_name, &request.model_version)?;
        check_outputs(request)?;
        let mut tensors = Vec::with_capacity(request.inputs.len());
        for (at, input) in request.inputs.iter().enumerate() {
            supported(input.parameters.keys(), "shared memory", "shared_memory")?;
            tensors.push(Tensor::read(at, input, raw(at))?);
        }
        let plan = scores.plan_of(&model)?;
        let matrices = match Form::of(&tensors, &model, plan)? {
            Form::Matrix => brought::matrix(&model, &tensors[0])?,
            Form::Columns(order) => brought::columns(&model, &tensors, &order)?,
            Form::LookedUp => {
                let asked = looked_up::request(&tensors, plan, &request.model_name, &request.model_version, &request.parameters)?;
                return Prepared::looked_up(scores, asked, model, request, due);
            }
        };
        Ok(Prepared::brought(matrices, began, model, request))
    }
}

/// All that a caller may name is the score.
fn check_outputs(request: &ModelInferRequest) -> Result<(), TensorError> {
    for (at, output) in request.outputs.iter().enumerate() {
        if output.name != SCORE {
            return Err(TensorError::UnknownOutput { at, output: shown(&output.name), expected: SCORE });
        }
        if at > 0 {
            return Err(TensorError::OutputTwice { at, output: SCORE });
        }
        supported(output.parameters.keys(), "shared memory", "shared_memory")?;
        supported(output.parameters.keys(), "classification of outputs", "classification")?;
    }
    Ok(())
}

/// What would change the meaning of a request must not be passed over.
fn supported<'r>(mut parameters: impl Iterator<Item = &'r String>, what: &'static str, prefix: &str) -> Result<(), TensorError> {
    match parameters.find(|name| name.starts_with(prefix)) {
        Some(parameter) => Err(TensorError::Unsupported { what, parameter: shown(parameter) }),
        None => Ok(()),
    }
}

/// The value of a parameter, if it is there at all.
fn is_set(parameters: &std::collections::BTreeMap<String, InferParameter>, name: &str) -> bool {
    use floodmark_proto::inference::infer_parameter::ParameterChoice::BoolParam;
    matches!(parameters.get(name), Some(InferParameter { parameter_choice: Some(BoolParam(true)) }))
}

fn unknown(model: &str) -> Refusal {
    Refusal::Model(RegistryError::UnknownModel { model: shown(model), known: "none".to_owned() })
}

/// A version that is known and does not serve is another matter than one that nobody has heard of.
fn why_not(scores: &Scores, model: &str, selection: Selection<'_>, error: RegistryError) -> Refusal {
    let is_meant = |version: u64| !matches!(selection, Selection::Version(meant) if meant != version);
    let known = scores.models().list().into_iter().filter(|status| status.model == model && is_meant(status.version));
    let Some(newest) = known.max_by_key(|status| status.version).filter(|_| !matches!(selection, Selection::Label(_))) else {
        return Refusal::Model(error);
    };
    match (newest.state, scores.models().runtime()) {
        (State::Loading, _) => Refusal::Loading { model: newest.model, version: newest.version },
        (State::Unavailable, Err(missing)) => Refusal::Load(LoadError::Runtime(missing)),
        (State::Unavailable, Ok(())) => {
            let reason = newest.reason.unwrap_or_default();
            Refusal::NotServing { model: newest.model, version: newest.version, reason }
        }
        (State::Ready | State::Retired, _) => Refusal::Model(error),
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
