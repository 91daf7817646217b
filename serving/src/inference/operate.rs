//! The repository, for operators: what there is, loading and unloading. Only on a server that was started with `--admin`.

use std::collections::BTreeMap;
use std::sync::Arc;

use floodmark_models::registry::{Registry, RegistryError, State, VersionStatus};
use floodmark_proto::inference::ModelRepositoryParameter;
use floodmark_proto::inference::model_repository_parameter::ParameterChoice;
use floodmark_proto::inference::repository_index_response::ModelIndex;
use tonic::Status;

use super::error::TensorError;
use super::{Inference, unknown};
use crate::refusal::Refusal;
use crate::score::{Scores, selection};

/// Says which version of a model is meant.
const VERSION: &str = "version";

impl Inference {
    /// Every version that was asked for or lies in the repository; with `only_ready`, those that serve.
    pub(super) fn index(&self, only_ready: bool) -> Result<Vec<ModelIndex>, Refusal> {
        let Some(scores) = self.operated("")? else { return Ok(Vec::new()) };
        let (models, repository) = (scores.models(), scores.models().repository());
        let mut index: BTreeMap<(String, u64), ModelIndex> = BTreeMap::new();
        for model in repository.models().map_err(|error| Refusal::Model(RegistryError::Repository(error)))? {
            for version in repository.versions(&model).unwrap_or_default() {
                index.insert((model.clone(), version), entry(&model, version, "UNAVAILABLE", "not loaded".to_owned()));
            }
        }
        for VersionStatus { model, version, state, reason, .. } in models.list() {
            let reason = reason.unwrap_or_else(|| if state == State::Retired { "unloaded".to_owned() } else { String::new() });
            let state = match state {
                State::Ready => "READY",
                State::Loading => "LOADING",
                State::Unavailable | State::Retired => "UNAVAILABLE",
            };
            index.insert((model.clone(), version), entry(&model, version, state, reason));
        }
        Ok(index.into_values().filter(|entry| !only_ready || entry.state == "READY").collect())
    }

    /// Loads a version, off the threads that answer: it reads files and warms up.
    pub(super) async fn load(&self, model: &str, parameters: &BTreeMap<String, ModelRepositoryParameter>) -> Result<(), Status> {
        if let Some(name) = parameters.keys().find(|name| *name == "config" || name.starts_with("file:")) {
            let what = "models or configurations that come with a call: they lie in the repository";
            return Err(Refusal::from(TensorError::Unsupported { what, parameter: crate::refusal::shown(name) }).into());
        }
        let scores = self.operated(model)?.ok_or_else(|| unknown(model))?.clone();
        let version = match version(parameters)? {
            Some(version) => version,
            None => newest(&scores, model)?,
        };
        let model = model.to_owned();
        let loaded = tokio::task::spawn_blocking(move || scores.load(&model, version)).await;
        loaded.map_err(|_| Status::internal("loading the model broke off"))?.map_err(Refusal::Load)?;
        Ok(())
    }

    /// Takes a model, or one version of it, out of service.
    pub(super) async fn unload(&self, model: &str, parameters: &BTreeMap<String, ModelRepositoryParameter>) -> Result<(), Status> {
        let scores = self.operated(model)?.ok_or_else(|| unknown(model))?;
        let versions = match version(parameters)? {
            Some(version) => vec![version],
            None => scores.models().versions(model).map_err(Refusal::Model)?.iter().map(|model| model.version()).collect(),
        };
        let model = model.to_owned();
        let unload = move |models: &Registry| versions.into_iter().try_for_each(|version| models.unload(&model, version));
        scores.change(move |models| unload(models).map_err(Refusal::Model)).await
    }

    /// What operators may touch, if this caller is one.
    fn operated(&self, model: &str) -> Result<Option<&Arc<Scores>>, Refusal> {
        match self.admin {
            true => Ok(self.scores.as_ref()),
            false => Err(Refusal::NotAdmin { model: crate::refusal::shown(model) }),
        }
    }
}

fn entry(model: &str, version: u64, state: &str, reason: String) -> ModelIndex {
    ModelIndex { name: model.to_owned(), version: version.to_string(), state: state.to_owned(), reason }
}

/// The newest version on disk. A model without one is not known, wherever that was asked.
fn newest(scores: &Scores, model: &str) -> Result<u64, Refusal> {
    let known = scores.models().repository().models().map_err(|error| Refusal::Model(RegistryError::Repository(error)))?;
    match known.iter().any(|name| name == model) {
        true => scores.newest(model),
        false => Err(Refusal::Model(RegistryError::UnknownModel { model: crate::refusal::shown(model), known: known.join(",") })),
    }
}

fn version(parameters: &BTreeMap<String, ModelRepositoryParameter>) -> Result<Option<u64>, Refusal> {
    let wrong = || TensorError::Parameter { parameter: VERSION, expected: "a version's number" };
    match parameters.get(VERSION).map(|parameter| &parameter.parameter_choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::Int64Param(version))) => u64::try_from(*version).map(Some).map_err(|_| wrong().into()),
        Some(Some(ParameterChoice::StringParam(text))) => match selection(text)? {
            floodmark_models::registry::Selection::Version(version) => Ok(Some(version)),
            _ => Err(wrong().into()),
        },
        Some(_) => Err(wrong().into()),
    }
}
