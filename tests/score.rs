//! Scores over gRPC with the example's model: alone and in company, with the event that is scored, and while models come and go.

use std::path::{Path, PathBuf};

use floodmark_proto::v1;
use floodmark_proto::v1::model_service_client::ModelServiceClient;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use floodmark_proto::v1::value::Kind;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::push::{MINUTE, Running, START, push, request, start_with, transaction, value};

/// A repository with version 1 of the example's model; `None` without ONNX Runtime.
pub(crate) fn models(home: &Path) -> Option<PathBuf> {
    if !has_onnxruntime() {
        return None;
    }
    let models = home.join("models");
    copy(&root().join("examples/fraud/models/fraud/1"), &models.join("fraud/1"));
    Some(models)
}

/// And a server that scores with it.
pub(crate) fn server(home: &Path) -> Option<(Running, PathBuf)> {
    server_with(home, &[])
}

/// The same with more options.
pub(crate) fn server_with(home: &Path, more: &[&str]) -> Option<(Running, PathBuf)> {
    let models = models(home)?;
    let running = start_with(&home.join("store"), &[&["--models", models.to_str().expect("text")], more].concat());
    Some((running, models))
}

/// Whether ONNX Runtime is there; says so if not, and fails where `REQUIRE_ORT` is set.
pub(crate) fn has_onnxruntime() -> bool {
    if root().join(".runtime/onnxruntime").exists() || std::env::var_os("ORT_DYLIB_PATH").is_some() {
        return true;
    }
    assert!(std::env::var_os("REQUIRE_ORT").is_none(), "ONNX Runtime is not there: run `make setup`");
    eprintln!("SKIPPED: ONNX Runtime is not there: run `make setup`");
    false
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the example's model") {
        let entry = entry.expect("a file");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

pub(crate) fn by_keys(customer: i64, amount: f64, minutes: i64) -> v1::ScoreRequest {
    let row = v1::EntityRow {
        keys: vec![value(Kind::Int64Value(customer)), value(Kind::Int64Value(9))],
        request: vec![value(Kind::DoubleValue(amount))],
        ..Default::default()
    };
    v1::ScoreRequest {
        model: "fraud".to_owned(),
        key_names: vec!["customer_id".to_owned(), "terminal_id".to_owned()],
        request_names: vec!["amount".to_owned()],
        rows: vec![row],
        as_of_micros: Some(START + minutes * MINUTE),
        include_features: true,
        ..Default::default()
    }
}

/// The whole event, which says everything.
pub(crate) fn by_event(id: i64, minutes: i64, amount: f64) -> v1::ScoreRequest {
    let event = v1::OwnEvent { values: transaction(id, minutes, Some(amount)).values, ..Default::default() };
    let columns = request(0, Vec::new()).columns;
    v1::ScoreRequest {
        model: "fraud".to_owned(),
        event_shape: Some(v1::EventShape { source: "transactions".to_owned(), columns }),
        rows: vec![v1::EntityRow { event: Some(event), ..Default::default() }],
        include_features: true,
        ..Default::default()
    }
}

pub(crate) async fn score(client: &ScoreServiceClient<Channel>, request: v1::ScoreRequest) -> Result<v1::ScoreResponse, tonic::Status> {
    client.clone().score(request).await.map(tonic::Response::into_inner)
}

/// What a score is made of, and the score, without the times.
pub(crate) fn row_of(mut response: v1::ScoreResponse) -> v1::ScoreRow {
    response.rows.remove(0)
}

#[tokio::test]
async fn a_score_is_the_same_alone_and_in_company() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server(home.path()) else { return };
    let events = (0..40).map(|n| transaction(n, n, Some(10.0 + n as f64))).collect();
    push(&running.address, vec![request(1, events)]).await;
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let question = |n: i64| by_keys(n % 9, 1.0 + n as f64, 30 + n);
    // A busy machine may bring the calls of one company one by one.
    let (mut shared, mut companies) = (0, 0);
    while shared <= 1 && companies < 20 {
        companies += 1;
        let mut company = JoinSet::new();
        for n in 0..200 {
            let client = client.clone();
            company.spawn(async move { (n, score(&client, question(n)).await.expect("a score")) });
        }
        // All of them, so that nobody is left to share a run with who asks alone.
        for (n, together) in company.join_all().await {
            shared = shared.max(together.times.expect("times").batch_rows);
            let alone = score(&client, question(n)).await.expect("a score");
            assert_eq!(alone.times.expect("times").batch_rows, 1);
            assert_eq!(row_of(together), row_of(alone), "question {n}");
        }
    }
    assert!(shared > 1, "calls that come together share a run");
    // A row that is refused fails its own call only.
    let mut bad = question(3);
    bad.request_names.clear();
    bad.rows[0].request.clear();
    let (bad, good) = tokio::join!(score(&client, bad), score(&client, question(3)));
    assert_eq!(bad.expect_err("no amount").code(), Code::InvalidArgument);
    good.expect("a score");
}

#[tokio::test]
async fn the_scored_event_counts_itself_once() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server(home.path()) else { return };
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    push(&running.address, vec![request(1, vec![transaction(1, 0, Some(10.0))])]).await;
    let before = score(&client, by_event(2, 5, 30.0)).await.expect("a score");
    let at = before.feature_names.iter().position(|name| name == "customer_spend.nb_tx_1d").expect("the feature");
    assert_eq!(before.rows[0].features[at], value(Kind::Int64Value(2)), "the one that is stored, and itself");
    push(&running.address, vec![request(2, vec![transaction(2, 5, Some(30.0))])]).await;
    let after = row_of(score(&client, by_event(2, 5, 30.0)).await.expect("a score"));
    let before = row_of(before);
    assert_eq!((before.score.to_bits(), &before.features), (after.score.to_bits(), &after.features));
}

#[tokio::test]
async fn models_come_and_go_while_the_rest_serves() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, models)) = server(home.path()) else { return };
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let mut operator = ModelServiceClient::connect(running.address.clone()).await.expect("a server");
    let load = |version| v1::LoadModelRequest { model: "fraud".to_owned(), version: Some(version) };

    // A version that is cut short is refused by name, and the one before it answers.
    let broken = models.join("fraud/2");
    copy(&models.join("fraud/1"), &broken);
    let bytes = std::fs::read(broken.join("model.onnx")).expect("a model");
    std::fs::write(broken.join("model.onnx"), &bytes[..bytes.len() / 2]).expect("half a model");
    let refused = operator.load_model(load(2)).await.expect_err("half a model");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("model fraud version 2 refused at step file"), "{}", refused.message());
    let first = row_of(score(&client, by_event(1, 0, 10.0)).await.expect("a score"));
    assert_eq!(first.model_version, 1);

    // A whole one takes over, for whoever names no version.
    copy(&models.join("fraud/1"), &models.join("fraud/3"));
    operator.load_model(load(3)).await.expect("a model");
    let third = row_of(score(&client, by_event(1, 0, 10.0)).await.expect("a score"));
    assert_eq!((third.model_version, third.score.to_bits()), (3, first.score.to_bits()));
    let named = v1::ScoreRequest { model_version: "1".to_owned(), ..by_event(1, 0, 10.0) };
    assert_eq!(row_of(score(&client, named).await.expect("a score")).model_version, 1);
    let label = v1::LabelModelRequest { model: "fraud".to_owned(), label: "stable".to_owned(), version: Some(1) };
    operator.label_model(label).await.expect("a label");
    assert_eq!(row_of(score(&client, by_event(1, 0, 10.0)).await.expect("a score")).model_version, 1);

    let unload = v1::UnloadModelRequest { model: "fraud".to_owned(), version: 3 };
    operator.unload_model(unload).await.expect("it goes");
    let listed = operator.list_models(v1::ListModelsRequest::default()).await.expect("a list").into_inner().models;
    let states: Vec<(u64, v1::ModelState)> = listed.iter().map(|info| (info.version, info.state())).collect();
    let expected = [(1, v1::ModelState::Ready), (2, v1::ModelState::Unavailable), (3, v1::ModelState::Retired)];
    assert_eq!(states, expected);
    let odd = v1::ScoreRequest { model_version: "newest".to_owned(), ..by_event(1, 0, 10.0) };
    assert_eq!(score(&client, odd).await.expect_err("no version").code(), Code::InvalidArgument);
    let gone = v1::ScoreRequest { model_version: "3".to_owned(), ..by_event(1, 0, 10.0) };
    assert_eq!(score(&client, gone).await.expect_err("it has gone").code(), Code::NotFound);
}

#[tokio::test]
async fn a_canary_answers_its_share_and_a_shadow_answers_nobody() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, models)) = server(home.path()) else { return };
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let mut operator = ModelServiceClient::connect(running.address.clone()).await.expect("a server");
    for (version, label) in [(1, "stable"), (2, "canary"), (3, "shadow")] {
        if version > 1 {
            copy(&models.join("fraud/1"), &models.join(format!("fraud/{version}")));
        }
        operator.load_model(v1::LoadModelRequest { model: "fraud".to_owned(), version: Some(version) }).await.expect("a model");
        let label = v1::LabelModelRequest { model: "fraud".to_owned(), label: label.to_owned(), version: Some(version) };
        operator.label_model(label).await.expect("a label");
    }
    let share = |percent| v1::SetCanaryShareRequest { model: "fraud".to_owned(), percent };
    assert_eq!(operator.set_canary_share(share(101.0)).await.expect_err("too much").code(), Code::InvalidArgument);
    operator.set_canary_share(share(40.0)).await.expect("a share");
    let mut by_version = [0_u64; 4];
    for n in 0..300 {
        let once = row_of(score(&client, by_keys(n, 20.0, 30)).await.expect("a score"));
        let again = row_of(score(&client, by_keys(n, 20.0, 30)).await.expect("a score"));
        assert_eq!(once, again, "the same entity has the same version");
        by_version[once.model_version as usize] += 2;
    }
    assert!(by_version[2] > 150 && by_version[1] > by_version[2] && by_version[3] == 0, "{by_version:?}");
    // Every row was scored by the shadow, and the canary's by the stable version too; they are the same model.
    let listed = loop {
        let listed = operator.list_models(v1::ListModelsRequest::default()).await.expect("a list").into_inner().models;
        let compared: u64 = listed.iter().flat_map(|info| &info.differences).map(|d| d.rows + d.dropped).sum();
        if compared >= 600 + by_version[2] {
            break listed;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let compared = |at: usize| listed[at].differences.iter().map(|d| (d.answered_version, d.rows)).collect::<Vec<_>>();
    assert_eq!(compared(0), [(2, by_version[2])]);
    assert_eq!(compared(1), []);
    assert_eq!(compared(2), [(1, by_version[1]), (2, by_version[2])]);
    assert!(listed.iter().flat_map(|info| &info.differences).all(|d| d.max_abs == 0.0 && d.errors == 0));
    assert_eq!(listed[1].canary_percent, Some(40.0));
}

#[tokio::test]
async fn a_request_of_many_rows_has_the_scores_of_as_many_requests() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server(home.path()) else { return };
    push(&running.address, vec![request(1, (0..40).map(|n| transaction(n, n, Some(10.0 + n as f64))).collect())]).await;
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let mut many = by_keys(0, 1.0, 30);
    many.rows = (0..1_000).flat_map(|n| by_keys(n % 9, 1.0 + n as f64, 30).rows).collect();
    let together = score(&client, many.clone()).await.expect("scores");
    assert_eq!(together.rows.len(), 1_000);
    for n in [0, 63, 64, 65, 500, 999] {
        let alone = score(&client, by_keys(n % 9, 1.0 + n as f64, 30)).await.expect("a score");
        assert_eq!(alone.rows[0], together.rows[n as usize], "row {n}");
    }
    many.rows[777].keys.clear();
    let refused = score(&client, many).await.expect_err("a row without keys");
    assert!(refused.message().contains("rows[777]"), "{}", refused.message());
}

#[tokio::test]
async fn a_stream_answers_each_request_in_order_and_goes_on_after_a_refusal() {
    use v1::score_stream_response::Answer;
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server(home.path()) else { return };
    push(&running.address, vec![request(1, (0..40).map(|n| transaction(n, n, Some(10.0 + n as f64))).collect())]).await;
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let asked = |n: i64| v1::ScoreRequest { request_id: format!("r{n}"), ..by_keys(n % 9, 1.0 + n as f64, 30) };
    let requests: Vec<_> =
        (0..20).map(|n| v1::ScoreRequest { model: ["fraud", "frad"][usize::from(n == 7)].to_owned(), ..asked(n) }).collect();
    let mut answers = client.clone().score_stream(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    for n in 0..20 {
        let answer = answers.message().await.expect("no end yet").expect("an answer");
        assert_eq!(answer.request_id, format!("r{n}"));
        match answer.answer.expect("one of both") {
            Answer::Response(response) => {
                assert_eq!(row_of(response), row_of(score(&client, asked(n)).await.expect("a score")), "request {n}");
            }
            Answer::Error(error) => assert_eq!((n, error.code, error.reason.as_str()), (7, Code::NotFound as i32, "UNKNOWN_MODEL")),
        }
    }
    assert!(answers.message().await.expect("its end").is_none());
}
