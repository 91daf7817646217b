//! Scoring again with a store of this process and the models of a repository: each version is loaded when a record first needs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use floodmark_models::registry::{LoadError, Registry};
use floodmark_proto::v1;
use floodmark_store::Store;
use prost::Message;
use tonic::Status;

use super::Again;
use crate::predictions::describe;
use crate::score::Scores;
use crate::service::Features;

/// A store and its models.
#[derive(Debug)]
pub struct Local {
    features: Features,
    scores: Scores,
    services: Vec<v1::ServiceInfo>,
    /// By model and version, why it cannot be loaded.
    tried: BTreeMap<(String, String), Option<LoadError>>,
}

impl Local {
    /// Models are loaded from the repository of the registry as they are needed.
    pub fn new(store: Arc<Store>, models: Arc<Registry>) -> Local {
        let services = describe(&store);
        Local { features: Features::new(store.clone()), scores: Scores::new(store, models), services, tried: BTreeMap::new() }
    }

    /// The versions that could not be loaded, and why.
    pub fn refused(&self) -> impl Iterator<Item = String> {
        self.tried.values().flatten().map(LoadError::to_string)
    }

    fn load(&mut self, request: &v1::ScoreRequest) {
        let version = (request.model.clone(), request.model_version.clone());
        if !self.tried.contains_key(&version) {
            let loaded = match version.1.parse() {
                Ok(number) => self.scores.load(&version.0, number).map(drop),
                Err(_) => Ok(()), // scoring will say that this is no version
            };
            self.tried.insert(version, loaded.err());
        }
    }
}

impl Again for Local {
    fn services(&self) -> &[v1::ServiceInfo] {
        &self.services
    }

    fn score(&mut self, requests: &[v1::ScoreRequest]) -> Vec<Result<v1::ScoreResponse, Status>> {
        requests.iter().for_each(|request| self.load(request));
        self.scores.score_together(requests)
    }

    fn look_up(&mut self, requests: &[v1::GetFeaturesRequest]) -> Vec<Result<v1::GetFeaturesResponse, Status>> {
        let look_up = |request: &v1::GetFeaturesRequest| {
            let framed = self.features.look_up_at_once(request, None)?;
            v1::GetFeaturesResponse::decode(framed.as_message()).map_err(|error| Status::internal(error.to_string()))
        };
        requests.iter().map(look_up).collect()
    }
}
