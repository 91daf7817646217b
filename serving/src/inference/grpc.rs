//! The protocol's calls over gRPC.

use std::pin::Pin;

use floodmark_proto::inference::grpc_inference_service_server::GrpcInferenceService;
use floodmark_proto::inference::*;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::Inference;
use crate::deadline::Due;

/// The server's name.
pub(super) const SERVER: &str = "floodmark";

impl Inference {
    /// What is implemented beside the protocol's core, and what is missing to score.
    pub(super) fn extensions(&self) -> Vec<String> {
        let mut extensions = vec!["binary_tensor_data", "model_configuration", "statistics"];
        if self.admin {
            extensions.push("model_repository");
        }
        if self.scores.as_ref().is_some_and(|scores| scores.models().runtime().is_err()) {
            extensions.push("onnxruntime_missing");
        }
        extensions.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn server_metadata(&self) -> ServerMetadataResponse {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        ServerMetadataResponse { name: SERVER.to_owned(), version, extensions: self.extensions() }
    }
}

/// KServe's clients write the model's name where Triton's have the repository's, and nothing else.
fn model_of(repository_name: String, model_name: String) -> String {
    if model_name.is_empty() { repository_name } else { model_name }
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.is_ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        Ok(Response::new(ModelReadyResponse { ready: self.pick(&name, &version).is_ok() }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(Inference::server_metadata(self)))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        Ok(Response::new(self.metadata(&name, &version)?))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let due = request.extensions().get::<Due>().map(|due| due.0);
        Ok(Response::new(self.infer(request.get_ref(), due).await?))
    }

    type ModelStreamInferStream = Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let inference = self.clone();
        let answers = request.into_inner().then(move |request| {
            let inference = inference.clone();
            async move {
                let request = request?;
                Ok(match inference.infer(&request, None).await {
                    Ok(response) => ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) },
                    Err(status) => {
                        let response = ModelInferResponse { id: request.id, ..ModelInferResponse::default() };
                        ModelStreamInferResponse { error_message: status.message().to_owned(), infer_response: Some(response) }
                    }
                })
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Result<Response<ModelConfigResponse>, Status> {
        let ModelConfigRequest { name, version } = request.into_inner();
        Ok(Response::new(ModelConfigResponse { config: Some(self.config(&name, &version)?) }))
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Result<Response<ModelStatisticsResponse>, Status> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        Ok(Response::new(self.statistics(&name, &version)?))
    }

    async fn repository_index(&self, request: Request<RepositoryIndexRequest>) -> Result<Response<RepositoryIndexResponse>, Status> {
        Ok(Response::new(RepositoryIndexResponse { models: self.index(request.get_ref().ready)? }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let RepositoryModelLoadRequest { repository_name, model_name, parameters } = request.into_inner();
        let model_name = model_of(repository_name, model_name);
        self.load(&model_name, &parameters).await?;
        Ok(Response::new(RepositoryModelLoadResponse { model_name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let RepositoryModelUnloadRequest { repository_name, model_name, parameters } = request.into_inner();
        let model_name = model_of(repository_name, model_name);
        self.unload(&model_name, &parameters).await?;
        Ok(Response::new(RepositoryModelUnloadResponse { model_name, is_unloaded: true }))
    }
}
