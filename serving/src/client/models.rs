//! The models of a server, for who operates them.

use std::fmt;
use std::time::Duration;

use floodmark_proto::v1;
use tonic::Request;

use super::{Client, ClientError, refused};

/// A version of a model, as the server lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelStatus {
    /// The model.
    pub model: String,
    /// The version.
    pub version: u64,
    /// Where it is in its life.
    pub state: ModelState,
    /// Why it was refused when it was last loaded.
    pub reason: Option<String>,
    /// The labels on it.
    pub labels: Vec<String>,
    /// The service whose features it reads; `None` where the version does not serve.
    pub service: Option<String>,
    /// Its inputs in order, columns of the service.
    pub inputs: Vec<String>,
    /// Runs since it was loaded.
    pub runs: u64,
    /// How many of them failed.
    pub errors: u64,
    /// What a run of one row took when it was loaded, in the middle of many; `None` where the version does not serve.
    pub run_time: Option<Duration>,
    /// The share of the entities that it scores, from 0 to 100, if it is the canary.
    pub canary_percent: Option<f64>,
    /// What it made of rows that other versions answered.
    pub differences: Vec<Difference>,
    /// How many models of this version are out of service and still in use.
    pub retiring: u32,
}

/// How the scores of a version differ from those that were the answer, for the same rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The version that answered.
    pub answered_version: u64,
    /// Rows that both scored.
    pub rows: u64,
    /// Rows that were not compared, as too many waited.
    pub dropped: u64,
    /// Rows that this version has no score for.
    pub errors: u64,
    /// The mean of this version's score less the answer.
    pub mean: f64,
    /// The mean of its size.
    pub mean_abs: f64,
    /// Its greatest size.
    pub max_abs: f64,
}

/// Where a version is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// It answers.
    Ready,
    /// It is being loaded and checked.
    Loading,
    /// It was refused.
    Unavailable,
    /// It was taken out of service.
    Retired,
    /// A state that this build does not know.
    Unknown,
}

impl Client {
    /// Every version of a model, or of all models, within `timeout`.
    pub async fn models(&mut self, model: Option<&str>, timeout: Duration) -> Result<Vec<ModelStatus>, ClientError> {
        let ask = v1::ListModelsRequest { model: model.unwrap_or_default().to_owned() };
        let list = self.models.list_models(within(ask, timeout)).await.map_err(refused)?.into_inner();
        Ok(list.models.into_iter().map(ModelStatus::from).collect())
    }

    /// Loads a version from the server's repository, the newest if none is said; again if it is there already.
    pub async fn load_model(&mut self, model: &str, version: Option<u64>, timeout: Duration) -> Result<ModelStatus, ClientError> {
        let ask = v1::LoadModelRequest { model: model.to_owned(), version };
        Ok(self.models.load_model(within(ask, timeout)).await.map_err(refused)?.into_inner().into())
    }

    /// Takes a version out of service.
    pub async fn unload_model(&mut self, model: &str, version: u64, timeout: Duration) -> Result<ModelStatus, ClientError> {
        let ask = v1::UnloadModelRequest { model: model.to_owned(), version };
        Ok(self.models.unload_model(within(ask, timeout)).await.map_err(refused)?.into_inner().into())
    }

    /// Puts a label on a version, or takes it away where no version is said; answers with the model's versions.
    pub async fn label_model(
        &mut self,
        model: &str,
        label: &str,
        version: Option<u64>,
        timeout: Duration,
    ) -> Result<Vec<ModelStatus>, ClientError> {
        let ask = v1::LabelModelRequest { model: model.to_owned(), label: label.to_owned(), version };
        let list = self.models.label_model(within(ask, timeout)).await.map_err(refused)?.into_inner();
        Ok(list.models.into_iter().map(ModelStatus::from).collect())
    }

    /// Sets the share of the entities, from 0 to 100, that the version labelled `canary` scores; answers with the model's versions.
    pub async fn set_canary_share(&mut self, model: &str, percent: f64, timeout: Duration) -> Result<Vec<ModelStatus>, ClientError> {
        let ask = v1::SetCanaryShareRequest { model: model.to_owned(), percent };
        let list = self.models.set_canary_share(within(ask, timeout)).await.map_err(refused)?.into_inner();
        Ok(list.models.into_iter().map(ModelStatus::from).collect())
    }
}

fn within<T>(ask: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(ask);
    request.set_timeout(timeout);
    request
}

impl From<v1::ModelInfo> for ModelStatus {
    fn from(info: v1::ModelInfo) -> ModelStatus {
        let state = ModelState::from(info.state());
        let some = |text: String| (!text.is_empty()).then_some(text);
        ModelStatus {
            state,
            model: info.model,
            version: info.version,
            reason: some(info.reason),
            labels: info.labels,
            service: some(info.service),
            inputs: info.inputs,
            runs: info.runs,
            errors: info.errors,
            run_time: (info.run_nanos > 0).then(|| Duration::from_nanos(info.run_nanos)),
            canary_percent: info.canary_percent,
            differences: info.differences.into_iter().map(Difference::from).collect(),
            retiring: info.retiring,
        }
    }
}

impl From<v1::ScoreDifference> for Difference {
    fn from(difference: v1::ScoreDifference) -> Difference {
        let v1::ScoreDifference { answered_version, rows, dropped, errors, mean, mean_abs, max_abs, at_most: _ } = difference;
        Difference { answered_version, rows, dropped, errors, mean, mean_abs, max_abs }
    }
}

impl From<v1::ModelState> for ModelState {
    fn from(state: v1::ModelState) -> ModelState {
        match state {
            v1::ModelState::Ready => ModelState::Ready,
            v1::ModelState::Loading => ModelState::Loading,
            v1::ModelState::Unavailable => ModelState::Unavailable,
            v1::ModelState::Retired => ModelState::Retired,
            v1::ModelState::Unspecified => ModelState::Unknown,
        }
    }
}

/// As the contract writes it.
impl fmt::Display for ModelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ModelState::Ready => "READY",
            ModelState::Loading => "LOADING",
            ModelState::Unavailable => "UNAVAILABLE",
            ModelState::Retired => "RETIRED",
            ModelState::Unknown => "UNKNOWN",
        })
    }
}
