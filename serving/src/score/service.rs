//! The calls that go the usual way: streams of scores, and the operation of models.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use floodmark_models::compare::{Difference, Pair};
use floodmark_models::model::Model;
use floodmark_models::registry::{LoadError, Registry, RegistryError, Selection, State, Tried, VersionStatus};
use floodmark_models::repository::Policy;
use floodmark_proto::v1;
use floodmark_proto::v1::model_service_server::ModelService;
use floodmark_proto::v1::score_service_server::ScoreService;
use floodmark_proto::v1::score_stream_response::Answer;
use parking_lot::Mutex;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tonic_types::StatusExt;

use super::Scores;
use crate::deadline::Due;
use crate::refusal::Refusal;

#[tonic::async_trait]
impl ScoreService for Scores {
    async fn score(&self, request: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreResponse>, Status> {
        let due = request.extensions().get::<Due>().map(|due| due.0);
        self.score_in_turns(request.get_ref(), due).await.map(Response::new)
    }

    type ScoreStreamStream = Pin<Box<dyn Stream<Item = Result<v1::ScoreStreamResponse, Status>> + Send>>;

    async fn score_stream(&self, request: Request<Streaming<v1::ScoreRequest>>) -> Result<Response<Self::ScoreStreamStream>, Status> {
        let scores = Arc::new(Scores {
            online: self.online.another(),
            plans: self.plans.clone(),
            models: self.models.clone(),
            bindings: Mutex::default(),
            log: self.log.clone(),
        });
        let answers = request.into_inner().then(move |request| {
            let scores = scores.clone();
            async move {
                let request = request?;
                let answer = match scores.score_in_turns(&request, None).await {
                    Ok(response) => Answer::Response(response),
                    Err(status) => Answer::Error(error_of(&status)),
                };
                Ok(v1::ScoreStreamResponse { answer: Some(answer), request_id: request.request_id })
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// As a stream tells it.
pub(super) fn error_of(status: &Status) -> v1::ScoreError {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    v1::ScoreError { code: status.code().into(), reason, message: status.message().to_owned() }
}

#[tonic::async_trait]
impl ModelService for Scores {
    async fn list_models(&self, request: Request<v1::ListModelsRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        let wanted = &request.get_ref().model;
        let models = self.infos().into_iter().filter(|info| wanted.is_empty() || info.model == *wanted).collect();
        Ok(Response::new(v1::ListModelsResponse { models }))
    }

    async fn load_model(&self, request: Request<v1::LoadModelRequest>) -> Result<Response<v1::ModelInfo>, Status> {
        let v1::LoadModelRequest { model, version } = request.into_inner();
        let version = match version {
            Some(version) => version,
            None => self.newest(&model)?,
        };
        let (plans, name) = (self.plans.clone(), model.clone());
        self.change(move |models| models.load(&name, version, &*plans).map_err(Refusal::Load)).await?;
        self.info(&model, version)
    }

    async fn unload_model(&self, request: Request<v1::UnloadModelRequest>) -> Result<Response<v1::ModelInfo>, Status> {
        let v1::UnloadModelRequest { model, version } = request.into_inner();
        let name = model.clone();
        self.change(move |models| models.unload(&name, version).map_err(Refusal::Model)).await?;
        self.info(&model, version)
    }

    async fn label_model(&self, request: Request<v1::LabelModelRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        let v1::LabelModelRequest { model, label, version } = request.into_inner();
        let name = model.clone();
        let label = move |models: &Registry| match version {
            Some(version) => models.promote(&name, &label, version),
            None => models.remove_label(&name, &label),
        };
        self.change(move |models| label(models).map_err(Refusal::Model)).await?;
        self.list_models(Request::new(v1::ListModelsRequest { model })).await
    }

    async fn set_canary_share(&self, request: Request<v1::SetCanaryShareRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        let v1::SetCanaryShareRequest { model, percent } = request.into_inner();
        let name = model.clone();
        self.change(move |models| models.set_canary_share(&name, percent).map_err(Refusal::Model)).await?;
        self.list_models(Request::new(v1::ListModelsRequest { model })).await
    }
}

impl Scores {
    /// Changes what serves. Changes read and write files and wait for each other, loading takes seconds: not on a thread that answers.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Registry) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Status> {
        let models = self.models.clone();
        let changed = tokio::task::spawn_blocking(move || change(&models)).await;
        Ok(changed.map_err(|_| Status::internal("the change of a model broke off"))??)
    }

    pub(crate) fn newest(&self, model: &str) -> Result<u64, Refusal> {
        let versions = self.models.repository().versions(model).map_err(|error| Refusal::Model(RegistryError::Repository(error)))?;
        let none = || RegistryError::NotReady { model: model.to_owned(), wanted: "the newest".to_owned(), ready: "none".to_owned() };
        versions.into_iter().max().ok_or_else(|| Refusal::Model(none()))
    }

    /// Every version of every model.
    pub(crate) fn infos(&self) -> Vec<v1::ModelInfo> {
        let differences = self.models.differences();
        self.models.list().into_iter().map(|status| self.info_of(status, &differences)).collect()
    }

    fn info(&self, model: &str, version: u64) -> Result<Response<v1::ModelInfo>, Status> {
        let found = self.infos().into_iter().find(|info| info.model == model && info.version == version);
        found.map(Response::new).ok_or_else(|| Status::not_found("no such version of the model"))
    }

    fn info_of(&self, status: VersionStatus, differences: &[(Pair, Difference)]) -> v1::ModelInfo {
        let selection = Selection::Version(status.version);
        let own = differences.iter().filter(|((model, _, beside), _)| *model == status.model && *beside == status.version);
        let signature = self.models.pick(&status.model, selection).ok().map(|model| Arc::new(model.signature().clone()));
        v1::ModelInfo {
            state: state(&status.state).into(),
            reason: status.reason.unwrap_or_default(),
            labels: status.labels,
            service: signature.as_ref().map(|s| s.service.clone()).unwrap_or_default(),
            inputs: signature.iter().flat_map(|s| s.inputs.iter().map(|input| input.column.clone())).collect(),
            runs: status.runs,
            errors: status.errors,
            canary_percent: status.canary_share,
            differences: own.map(|((_, answered, _), difference)| difference_of(*answered, difference)).collect(),
            retiring: status.retiring as u32,
            run_nanos: status.row_time.map_or(0, |time: Duration| time.as_nanos() as u64),
            version: status.version,
            model: status.model,
        }
    }
}

fn difference_of(answered_version: u64, difference: &Difference) -> v1::ScoreDifference {
    let Difference { rows, dropped, errors, max_abs, .. } = *difference;
    let mean = |sum: f64| if rows == 0 { 0.0 } else { sum / rows as f64 };
    v1::ScoreDifference {
        answered_version,
        rows,
        dropped,
        errors,
        mean: mean(difference.sum),
        mean_abs: mean(difference.sum_abs),
        max_abs,
        at_most: difference.at_most.to_vec(),
    }
}

fn state(state: &State) -> v1::ModelState {
    match state {
        State::Ready => v1::ModelState::Ready,
        State::Loading => v1::ModelState::Loading,
        State::Unavailable => v1::ModelState::Unavailable,
        State::Retired => v1::ModelState::Retired,
    }
}

impl Scores {
    /// Loads a version. Blocks for as long as that takes.
    pub(crate) fn load(&self, model: &str, version: u64) -> Result<Arc<Model>, LoadError> {
        self.models.load(model, version, &*self.plans)
    }

    /// Loads the versions of every model of the repository that the policy wants or that have a label. What was tried is told, model by
    /// model; what cannot be loaded is refused, and the rest serves.
    pub fn load_all(&self, policy: &Policy) -> Result<Vec<(String, Vec<Tried>)>, RegistryError> {
        let models = self.models.repository().models()?.into_iter();
        models.map(|model| self.models.follow(&model, policy, &*self.plans).map(|tried| (model, tried))).collect()
    }
}
