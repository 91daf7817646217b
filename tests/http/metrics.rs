//! `/metrics` after traffic of every kind: the numbers are those of the traffic, and the names those of docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
use floodmark_proto::v1::model_service_client::ModelServiceClient;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use super::{HTTP, call};
use crate::push::{MINUTE, START, push, request, transaction};
use crate::score::{by_keys, copy, server_with};

/// A page: the value of each line, and the kind of each metric.
struct Page {
    values: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

impl Page {
    fn of(address: &str) -> Page {
        let (status, text) = call(address, "GET", "/metrics", "");
        assert_eq!(status, 200);
        let (mut values, mut kinds, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helped.insert(rest.split(' ').next().expect("a name").to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert!(helped.contains(name) && kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            } else {
                let (key, value) = line.rsplit_once(' ').expect("a value");
                let name = key.split('{').next().expect("a name");
                let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
                assert!(kinds.contains_key(name) || kinds.get(stem).is_some_and(|kind| kind == "histogram"), "{line}");
                let value = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(values.insert(key.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        Page { values, kinds }
    }

    #[track_caller]
    fn at(&self, key: &str) -> f64 {
        *self.values.get(key).unwrap_or_else(|| panic!("no {key} in {:#?}", self.values.keys()))
    }
}

/// Events scored as they came.
const STREAMED: &str = r#"floodmark_stream_scores_total{outcome="scored"}"#;

/// The page once it says what it will say.
async fn once(address: &str, says: impl Fn(&Page) -> bool) -> Page {
    for _ in 0..500 {
        let page = Page::of(address);
        if says(&page) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never does: {:#?}", Page::of(address).values);
}

/// Asks for a path that nobody serves.
async fn unknown(address: &str) -> Code {
    let channel = Channel::from_shared(address.to_owned()).expect("an address").connect().await.expect("a server");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("a connection");
    let path = "/nobody.Knows/This".parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<v1::ListServicesRequest, v1::ListServicesResponse>::default();
    grpc.unary(tonic::Request::new(v1::ListServicesRequest {}), path, codec).await.expect_err("nobody").code()
}

fn features(service: &str) -> v1::GetFeaturesRequest {
    let v1::ScoreRequest { key_names, rows, request_names, .. } = by_keys(7, 10.0, 0);
    let what = Some(v1::get_features_request::What::Service(service.to_owned()));
    v1::GetFeaturesRequest { what, key_names, request_names, rows, ..Default::default() }
}

#[tokio::test]
async fn numbers_and_names_are_right_after_traffic() {
    let home = tempfile::tempdir().expect("a directory");
    let offline = home.path().join("offline").display().to_string();
    let more = [&HTTP[..], &["--log-predictions", "all", "--score", "transactions=fraud", "--offline", &offline]].concat();
    let Some((running, models)) = server_with(home.path(), &more) else { return };
    let (grpc, http) = (running.address.clone(), running.http.clone());

    // Events: two accepted, then one that is late for every view, one twice, one broken.
    let first = vec![transaction(1, 0, Some(10.0)), transaction(2, 60 * 24 * 40, Some(1.0))];
    let second = vec![transaction(3, 1, Some(1.0)), transaction(1, 0, Some(10.0)), transaction(4, 0, Some(f64::NAN))];
    let acks = push(&grpc, vec![request(1, first), request(2, second)]).await;
    assert_eq!((acks[1].late, acks[1].duplicates, acks[1].rejected), (1, 1, 1));
    // They are scored as they come.
    let before = once(&http, |page| page.values.get(STREAMED) == Some(&2.0)).await;
    // Look-ups, over gRPC and HTTP; one is refused.
    let mut client = FeatureServiceClient::connect(grpc.clone()).await.expect("a server");
    for _ in 0..3 {
        client.get_features(features("fraud")).await.expect("an answer");
    }
    assert_eq!(client.get_features(features("frad")).await.expect_err("no such service").code(), Code::NotFound);
    client.list_services(v1::ListServicesRequest {}).await.expect("a list");
    assert_eq!(call(&http, "GET", "/v1/services/fraud", "").0, 200);
    assert_eq!(call(&http, "GET", "/v1/services/none", "").0, 404);
    assert_eq!(unknown(&grpc).await, Code::Unimplemented);
    // Models: one more beside the first, one that is not there. Scores, which the one beside gives as well.
    copy(&models.join("fraud/1"), &models.join("fraud/2"));
    let mut operator = ModelServiceClient::connect(grpc.clone()).await.expect("a server");
    let load = |version| v1::LoadModelRequest { model: "fraud".to_owned(), version: Some(version) };
    operator.load_model(load(2)).await.expect("a model");
    std::fs::create_dir(models.join("fraud/9")).expect("a version without files");
    operator.load_model(load(9)).await.expect_err("there is no model in it");
    for (label, version) in [("stable", 1), ("shadow", 2)] {
        let label = v1::LabelModelRequest { model: "fraud".to_owned(), label: label.to_owned(), version: Some(version) };
        operator.label_model(label).await.expect("a label");
    }
    let mut scores = ScoreServiceClient::connect(grpc.clone()).await.expect("a server");
    let mut many = by_keys(7, 10.0, 0);
    many.rows = vec![many.rows[0].clone(); 3];
    let mut sum = 0.0;
    for request in [by_keys(7, 10.0, 0), many] {
        sum += scores.score(request).await.expect("scores").into_inner().rows.iter().map(|row| row.score).sum::<f64>();
    }

    // Rows are compared and logged at leisure.
    let page = once(&http, |page| {
        page.values.get(&beside("_count")) == Some(&4.0)
            && page.values.get(r#"floodmark_logged_predictions_total{outcome="written"}"#) == Some(&4.0)
    })
    .await;
    let calls = |transport: &str, method: &str, code: &str| {
        format!(r#"floodmark_calls_total{{transport="{transport}",method="{method}",code="{code}"}}"#)
    };
    for (transport, method, code, count) in [
        ("grpc", "floodmark.v1.FeatureService/GetFeatures", "OK", 3.0),
        ("grpc", "floodmark.v1.FeatureService/GetFeatures", "NOT_FOUND", 1.0),
        ("grpc", "floodmark.v1.FeatureService/ListServices", "OK", 1.0),
        ("grpc", "floodmark.v1.PushService/Push", "OK", 1.0),
        ("grpc", "floodmark.v1.ScoreService/Score", "OK", 2.0),
        ("grpc", "floodmark.v1.ModelService/LoadModel", "FAILED_PRECONDITION", 1.0),
        ("grpc", "other", "UNIMPLEMENTED", 1.0),
        ("http", "floodmark.v1.FeatureService/GetService", "OK", 1.0),
        ("http", "floodmark.v1.FeatureService/GetService", "NOT_FOUND", 1.0),
    ] {
        assert_eq!(page.at(&calls(transport, method, code)), count, "{transport} {method} {code}");
    }
    let look_ups = r#"transport="grpc",method="floodmark.v1.FeatureService/GetFeatures""#;
    assert_eq!(page.at(&format!("floodmark_call_duration_seconds_count{{{look_ups}}}")), 4.0);
    assert_eq!(page.at(&format!(r#"floodmark_call_duration_seconds_bucket{{{look_ups},le="+Inf"}}"#)), 4.0);
    assert_eq!(page.at(&format!("floodmark_calls_in_flight{{{look_ups}}}")), 0.0);
    assert_eq!(page.at(r#"floodmark_http_requests_total{status="404"}"#), 1.0);
    assert_eq!(page.at("floodmark_http_requests_in_flight"), 1.0, "this one");

    let events = |outcome: &str| page.at(&format!(r#"floodmark_events_total{{source="transactions",outcome="{outcome}"}}"#));
    assert_eq!(["accepted", "late", "duplicate", "rejected"].map(events), [2.0, 1.0, 1.0, 1.0]);
    assert_eq!(page.at(r#"floodmark_events_read_total{source="transactions"}"#), 5.0);
    let watermark = page.at(r#"floodmark_source_watermark_seconds{source="transactions"}"#);
    assert_eq!(watermark, (START + (60 * 24 * 40 - 1) * MINUTE - 1) as f64 / 1e6);
    assert_eq!(page.at("floodmark_store_version_seconds"), acks[1].version as f64 / 1e6);

    // Less what the stream had scored before.
    let model = |metric: &str, version: u64| {
        let key = format!(r#"floodmark_model_{metric}{{model="fraud",version="{version}"}}"#);
        page.at(&key) - before.values.get(&key).unwrap_or(&0.0)
    };
    assert_eq!(before.at(r#"floodmark_model_rows_total{model="fraud",version="1"}"#), 2.0);
    assert_eq!(page.at(r#"floodmark_stream_events_waiting{source="transactions"}"#), 0.0);
    assert!(page.at(r#"floodmark_offline_events_waiting{source="transactions"}"#) > 0.0, "a minute has not passed");
    assert_eq!((model("rows_total", 1), model("runs_total", 1), model("batch_rows_count", 1)), (4.0, 2.0, 2.0));
    assert_eq!((model("score_count", 1), model("batch_rows_sum", 1)), (4.0, 4.0));
    assert!((model("score_sum", 1) - sum).abs() < 1e-9, "{sum}");
    assert_eq!(model("rows_total", 2), 4.0, "beside");
    assert_eq!(page.at(r#"floodmark_model_state{model="fraud",version="9",state="unavailable"}"#), 1.0);
    assert_eq!((page.at("floodmark_model_loads_total"), page.at(r#"floodmark_model_load_failures_total{step="manifest"}"#)), (2.0, 1.0));
    assert_eq!((page.at(&beside("_count")), page.at(&beside("_sum"))), (4.0, 0.0), "the same model scores the same");

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(file).expect("the documentation");
    // Those of Kafka and of pipelines are there where topics are, those of following are of `serve`, and those of views that are computed from
    // history are there meanwhile; tests/kafka.rs, tests/pipeline.rs, tests/follow.rs and tests/backfill.rs read them.
    let others = ["kafka_", "publish", "pipeline_", "online_", "follow", "backfill_", "view_backfilling"];
    let here = |row: &&str| !others.iter().any(|of| row.starts_with(of));
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `floodmark_")).filter(here);
    let documented: BTreeMap<String, String> = rows
        .map(|row| {
            let mut cells = row.split('|');
            (
                format!("floodmark_{}", cells.next().expect("a name").trim().trim_end_matches('`')),
                cells.next().expect("a kind").trim().to_owned(),
            )
        })
        .collect();
    assert_eq!(page.kinds, documented, "docs/metrics.md has what is printed, and nothing else");
}

fn beside(suffix: &str) -> String {
    format!(r#"floodmark_model_score_difference{suffix}{{model="fraud",answered="1",beside="2"}}"#)
}
