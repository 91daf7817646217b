//! The Open Inference Protocol on the real server: alone and in company, and with models that go and come back.

use std::path::Path;

use floodmark_proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use floodmark_proto::inference::model_infer_request::InferInputTensor;
use floodmark_proto::inference::*;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::push::start_with;
use crate::score::server_with;

type Client = GrpcInferenceServiceClient<Channel>;

/// How many inputs the example's model has.
const WIDTH: usize = 14;

fn matrix(row: usize) -> ModelInferRequest {
    let values = (0..WIDTH).map(|at| ((row * 31 + at * 7) % 97) as f32 / 3.0);
    let input =
        InferInputTensor { name: "X".to_owned(), datatype: "FP32".to_owned(), shape: vec![1, WIDTH as i64], ..InferInputTensor::default() };
    ModelInferRequest {
        model_name: "fraud".to_owned(),
        id: row.to_string(),
        inputs: vec![input],
        raw_input_contents: vec![values.flat_map(f32::to_le_bytes).collect()],
        ..ModelInferRequest::default()
    }
}

async fn infer(client: &Client, request: ModelInferRequest) -> Result<ModelInferResponse, tonic::Status> {
    client.clone().model_infer(request).await.map(tonic::Response::into_inner)
}

async fn runs(client: &Client) -> (u64, u64) {
    let request = ModelStatisticsRequest { name: "fraud".to_owned(), ..ModelStatisticsRequest::default() };
    let statistics = client.clone().model_statistics(request).await.expect("statistics").into_inner().model_stats.remove(0);
    (statistics.execution_count, statistics.inference_count)
}

#[tokio::test]
async fn an_inference_is_the_same_alone_and_in_company() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server_with(home.path(), &[]) else { return };
    let client = Client::connect(running.address.clone()).await.expect("a server");
    let mut alone = Vec::new();
    for row in 0..300 {
        alone.push(infer(&client, matrix(row)).await.expect("a score"));
    }
    assert_eq!(runs(&client).await, (300, 300));
    let mut company = JoinSet::new();
    for row in 0..300 {
        let client = client.clone();
        company.spawn(async move {
            // Among them some that are refused.
            let wrong = row % 10 == 9;
            let name = if wrong { "nobody" } else { "fraud" };
            (row, wrong, infer(&client, ModelInferRequest { model_name: name.to_owned(), ..matrix(row) }).await)
        });
    }
    while let Some(done) = company.join_next().await {
        match done.expect("an answer") {
            (_, true, answer) => assert_eq!(answer.expect_err("no such model").code(), Code::NotFound),
            (row, false, answer) => assert_eq!(answer.expect("a score"), alone[row], "row {row}"),
        }
    }
    let (runs, rows) = runs(&client).await;
    assert!(rows == 570 && runs < rows, "calls that come together share a run: {runs} runs for {rows} rows");
}

#[tokio::test]
async fn operators_take_a_model_out_and_bring_it_back() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server_with(home.path(), &["--admin"]) else { return };
    let mut client = Client::connect(running.address.clone()).await.expect("a server");
    assert!(client.server_live(ServerLiveRequest {}).await.expect("it lives").into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.expect("it is ready").into_inner().ready);
    let unload = RepositoryModelUnloadRequest { model_name: "fraud".to_owned(), ..RepositoryModelUnloadRequest::default() };
    client.repository_model_unload(unload).await.expect("it goes");
    let index = client.repository_index(RepositoryIndexRequest::default()).await.expect("an index").into_inner().models;
    assert_eq!((index[0].state.as_str(), index[0].reason.as_str()), ("UNAVAILABLE", "unloaded"));
    assert_eq!(infer(&client, matrix(0)).await.expect_err("it has gone").code(), Code::NotFound);
    assert!(!client.server_ready(ServerReadyRequest {}).await.expect("it answers").into_inner().ready, "there was a model, and is none");
    let load = RepositoryModelLoadRequest { model_name: "fraud".to_owned(), ..RepositoryModelLoadRequest::default() };
    client.repository_model_load(load).await.expect("it comes back");
    infer(&client, matrix(0)).await.expect("a score");
}

#[tokio::test]
async fn without_onnx_runtime_the_server_says_what_is_missing() {
    let home = tempfile::tempdir().expect("a directory");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/models");
    let nowhere = home.path().join("nowhere");
    let options = ["--models", models.to_str().expect("text"), "--onnxruntime", nowhere.to_str().expect("text")];
    let running = start_with(&home.path().join("store"), &options);
    let mut client = Client::connect(running.address.clone()).await.expect("a server");
    assert!(client.server_live(ServerLiveRequest {}).await.expect("it lives").into_inner().live);
    assert!(!client.server_ready(ServerReadyRequest {}).await.expect("it answers").into_inner().ready);
    let metadata = client.server_metadata(ServerMetadataRequest {}).await.expect("it answers").into_inner();
    assert!(metadata.extensions.contains(&"onnxruntime_missing".to_owned()), "{:?}", metadata.extensions);
    let refused = infer(&client, matrix(0)).await.expect_err("nothing runs it");
    assert!(refused.code() == Code::Unavailable && refused.message().contains("make setup"), "{refused}");
}
