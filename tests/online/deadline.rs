//! A caller's deadline and a Redis that has stopped: whoever asks is told within it, and no thread is held for longer.

use std::time::{Duration, Instant};

use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
use tonic::{Code, Request};

use super::command::{Running, exchange_with};
use super::{DEFINITIONS, World};
use crate::harness::real::text;
use crate::harness::redis::Redis;

/// How long Redis is waited for where a call says nothing of its own.
const PATIENCE: Duration = Duration::from_secs(4);
/// After a failure nobody waits for Redis for at most a tenth of a second.
const REST: Duration = Duration::from_millis(150);
const ASKED: &str = r#"{"service":"cards","keyNames":["card"],"rows":[{"keys":[{"int64Value":"1"}],"asOfMicros":"1700006400000000"}]}"#;
const DEADLINES: &str =
    "floodmark_calls_total{transport=\"grpc\",method=\"floodmark.v1.FeatureService/GetFeatures\",code=\"DEADLINE_EXCEEDED\"}";

/// A look-up over gRPC, and how it ended.
async fn get(client: &mut FeatureServiceClient<tonic::transport::Channel>, deadline: Duration) -> Result<(), Code> {
    let rows = vec![v1::EntityRow { keys: vec![v1::Value { kind: Some(v1::value::Kind::Int64Value(1)) }], ..Default::default() }];
    let what = Some(v1::get_features_request::What::Service("cards".to_owned()));
    let mut request = Request::new(v1::GetFeaturesRequest { what, key_names: vec!["card".to_owned()], rows, ..Default::default() });
    request.set_timeout(deadline);
    client.get_features(request).await.map(|_| ()).map_err(|status| status.code())
}

/// A Redis that is to go on in the end, whatever becomes of the test: else it could not be stopped.
struct Stopped<'a>(&'a Redis, String);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(&self.1, "-CONT");
    }
}

/// About so long, and nowhere near the patience.
fn took(what: &str, elapsed: Duration, least: Duration) {
    eprintln!("{what}: {elapsed:.1?}");
    assert!(elapsed >= least && elapsed < least + least / 4 + Duration::from_millis(300), "{what} took {elapsed:?}");
}

#[tokio::test]
async fn a_redis_that_has_stopped_holds_nobody_beyond_his_deadline() {
    let Some(redis) = Redis::start(None) else { return };
    let mut world = World::new(&redis, "deadline", 13);
    world.take_in(100);
    world.mirror.catch_up().expect("a round");
    let definitions = world.home.path().join("definitions.yaml");
    std::fs::write(&definitions, DEFINITIONS).expect("a file");
    let patience = PATIENCE.as_millis().to_string();
    let serve = ["serve", "--json", "--definitions", &text(&definitions), "--online", &redis.url(), "--online-name", "deadline"];
    let more = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--threads", "1", "--online-patience", &patience];
    let serve = Running::start(&[&serve[..], &more].concat());
    let http = serve.http.clone().expect("an address");
    let post = |deadline: &str| {
        let began = Instant::now();
        (exchange_with(&http, "POST /v1/features:get", deadline, ASKED), began.elapsed())
    };
    let mut client = FeatureServiceClient::connect(format!("http://{}", serve.address)).await.expect("a server");
    assert_eq!(get(&mut client, Duration::from_secs(20)).await, Ok(()));
    assert!(post("").0.starts_with("HTTP/1.1 200"));

    let process = redis.info(&redis.nodes()[0], "process_id").expect("a process");
    redis.signal(&process, "-STOP");
    let stopped = Stopped(&redis, process);
    for (number, millis) in [(1, 20), (2, 500), (3, 20)] {
        let deadline = Duration::from_millis(millis);
        // The client gives up by itself; the one thread that serves is free for the next call once the server has, too.
        let began = Instant::now();
        get(&mut client, deadline).await.expect_err("no answer");
        client.list_services(v1::ListServicesRequest {}).await.expect("an answer");
        took(&format!("gRPC, {millis} ms"), began.elapsed(), deadline);
        let page = super::command::exchange(&http, "GET /metrics", "");
        assert!(page.contains(&format!("{DEADLINES} {number}\n")), "the server says so too: {page}");
        let (answer, elapsed) = post(&format!("grpc-timeout: {millis}m\r\n"));
        assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("DEADLINE_EXCEEDED"), "{answer}");
        took(&format!("HTTP, {millis} ms"), elapsed, deadline);
        tokio::time::sleep(REST).await;
    }
    // Whoever has more time, or says nothing, waits as long as the server is patient.
    for deadline in ["grpc-timeout: 30S\r\n", ""] {
        let (answer, elapsed) = post(deadline);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("did not answer in time"), "{answer}");
        took(&format!("HTTP, {:?}", deadline.trim()), elapsed, PATIENCE);
        tokio::time::sleep(REST).await;
    }
    drop(stopped);
    assert!(post("grpc-timeout: 20S\r\n").0.starts_with("HTTP/1.1 200"));
    assert_eq!(get(&mut client, Duration::from_secs(20)).await, Ok(()));
}
