//! Scores from Redis: with the same models `serve` scores as `up` does, to the bit, and goes on when that is gone.

use std::process::Stdio;
use std::time::{Duration, Instant};

use floodmark_proto::v1;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::command::exchange;
use crate::harness::real::text;
use crate::harness::redis::Redis;
use crate::push::{push, request, start_command, transaction};
use crate::score::{by_event, by_keys, root, row_of, score, server_with};

/// Rows by key, as many as make several turns.
fn many(rows: i64) -> v1::ScoreRequest {
    let mut all = by_keys(0, 1.0, 60);
    all.rows = (0..rows).flat_map(|n| by_keys(n % 11, 1.0 + n as f64, 60).rows).collect();
    all
}

async fn rows(client: &ScoreServiceClient<Channel>, request: v1::ScoreRequest) -> Vec<v1::ScoreRow> {
    score(client, request).await.expect("scores").rows
}

#[tokio::test]
async fn serve_scores_as_up_does() {
    let Some(redis) = Redis::start(None) else { return };
    let home = tempfile::tempdir().expect("a directory");
    let Some((up, models)) = server_with(home.path(), &["--online", &redis.url()]) else { return };
    let events = (0..200).map(|n| transaction(n, n, Some(10.0 + n as f64))).collect();
    push(&up.address, vec![request(1, events)]).await;
    let definitions = root().join("examples/fraud/floodmark.yaml");
    let online = ["--online", &redis.url(), "--online-patience", "5000", "--http", "127.0.0.1:0", "--models", &text(&models)];
    let serve = start_command("serve", &definitions, &online, Stdio::inherit());
    let own = ScoreServiceClient::connect(up.address.clone()).await.expect("a server");
    let client = ScoreServiceClient::connect(serve.address.clone()).await.expect("a server");

    let question = |n: i64| if n % 2 == 0 { by_keys(n % 9, 1.0 + n as f64, 30 + n) } else { by_event(1_000 + n, 150 + n, 5.0 + n as f64) };
    let (began, first) = (Instant::now(), row_of(score(&own, question(7)).await.expect("a score")));
    while score(&client, question(7)).await.map(row_of).ok().as_ref() != Some(&first) {
        assert!(began.elapsed() < Duration::from_secs(30), "Redis has what the store has");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut expected = Vec::new();
    for n in 0..40 {
        expected.push(row_of(score(&own, question(n)).await.expect("a score")));
    }
    let expected_of_many = rows(&own, many(300)).await;
    assert!(expected_of_many.iter().any(|row| row.score != expected_of_many[0].score));

    // The one that took the events in is gone; what it left is scored.
    up.terminate();
    // Its clients hear of it meanwhile.
    assert!(tokio::task::spawn_blocking(|| up.ended()).await.expect("a wait"), "it ends in order");
    for (n, expected) in expected.into_iter().enumerate() {
        assert_eq!(row_of(score(&client, question(n as i64)).await.expect("a score")), expected, "question {n}");
    }
    assert_eq!(rows(&client, many(300)).await, expected_of_many);
    for path in ["/v2/models/fraud/ready", "/v2/health/ready", "/readyz"] {
        let answer = exchange(&serve.http, &format!("GET {path}"), "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let tensor = |name: &str, kind: &str, value: &str| format!(r#"{{"name":"{name}","datatype":"{kind}","shape":[1],"data":[{value}]}}"#);
    let tensors = [tensor("customer_id", "INT64", "7"), tensor("terminal_id", "INT64", "9"), tensor("amount", "FP64", "30")].join(",");
    let answer = exchange(&serve.http, "POST /v2/models/fraud/infer", &format!(r#"{{"inputs":[{tensors}]}}"#));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"outputs\""), "{answer}");

    // Redis stands still: whoever scores is told within the deadline.
    let process = redis.info(&redis.nodes()[0], "process_id").expect("a process");
    redis.signal(&process, "-STOP");
    let mut call = Request::new(question(3));
    call.set_timeout(Duration::from_millis(200));
    let (began, answer) = (Instant::now(), client.clone().score(call).await);
    let elapsed = began.elapsed();
    redis.signal(&process, "-CONT");
    let code = answer.expect_err("no answer").code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled) && elapsed < Duration::from_secs(2), "{code:?} after {elapsed:?}");
}
