//! Stock clients of Triton and KServe against the real server: their scores are those of Python's ONNX Runtime, and by entity key
//! those of `floodmark.v1`, bit for bit.

use std::path::Path;
use std::process::{Command, Stdio};

use floodmark_proto::v1;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use floodmark_proto::v1::value::Kind;
use serde_json::json;

use crate::push::{MINUTE, Running, START, push, request, transaction, value};
use crate::score::server_with;

/// Customers, terminals and amounts, the last of a customer that nobody knows.
const ASKED: [(i64, i64, f64); 4] = [(7, 9, 57.16), (7, 3, 1234.56), (7, 9, 0.1), (4711, 9, 20.0)];

/// When they are asked about.
const AT: i64 = START + 45 * MINUTE;
const AT_TEXT: &str = "2018-04-01T00:45:00Z";

#[tokio::test]
async fn tritons_client_is_served() {
    check("triton", "tests/clients/requirements-triton.txt", "tests/clients/triton_client.py").await;
}

#[tokio::test]
async fn kserves_client_is_served() {
    check("kserve", "tests/clients/requirements-kserve.txt", "tests/clients/kserve_client.py").await;
}

async fn check(environment: &str, requirements: &str, script: &str) {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, models)) = server_with(home.path(), &["--http", "127.0.0.1:0"]) else { return };
    let Some(python) = python(environment, requirements) else { return };
    let events = (0..40).map(|n| transaction(n, n, Some(10.0 + n as f64))).collect();
    push(&running.address, vec![request(1, events)]).await;
    let asked = asked(&running).await.to_string();
    let model = models.join("fraud/1");
    let mut client = Command::new(python);
    client.arg(root().join(script)).args(["--grpc", running.address.trim_start_matches("http://"), "--http", &running.http]);
    client.args(["--asked", &asked, "--model"]).arg(model).env("PYTHONDONTWRITEBYTECODE", "1"); // nothing is left beside the scripts
    let output = tokio::task::spawn_blocking(move || client.stdin(Stdio::null()).output()).await.expect("a thread").expect("Python");
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("all of "), "{script}:\n{said}\n{complaint}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Python with what the client needs. Where `REQUIRE_ORT` says that nothing may be skipped, it must be there.
pub(crate) fn python(environment: &str, requirements: &str) -> Option<String> {
    let made = Command::new(root().join(".ci/python")).args([environment, requirements]).current_dir(root()).output().expect("bash");
    if made.status.success() {
        return Some(String::from_utf8_lossy(&made.stdout).trim().to_owned());
    }
    let complaint = String::from_utf8_lossy(&made.stderr);
    assert!(std::env::var_os("REQUIRE_ORT").is_none(), "no Python for {environment}: {complaint}");
    eprintln!("SKIPPED: no Python for {environment}: {complaint}");
    None
}

/// What `floodmark.v1` says to the same questions.
async fn asked(running: &Running) -> serde_json::Value {
    let row = |(customer, terminal, amount)| v1::EntityRow {
        keys: vec![value(Kind::Int64Value(customer)), value(Kind::Int64Value(terminal))],
        request: vec![value(Kind::DoubleValue(amount))],
        ..Default::default()
    };
    let question = v1::ScoreRequest {
        model: "fraud".to_owned(),
        key_names: vec!["customer_id".to_owned(), "terminal_id".to_owned()],
        request_names: vec!["amount".to_owned()],
        rows: ASKED.map(row).to_vec(),
        as_of_micros: Some(AT),
        ..Default::default()
    };
    let mut client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let answer = client.score(question).await.expect("scores").into_inner();
    let scores: Vec<f64> = answer.rows.iter().map(|row| row.score).collect();
    assert!(scores.iter().any(|score| *score != scores[0]), "scores that differ: {scores:?}");
    let rows = ASKED.iter().zip(scores).map(|((customer, terminal, amount), score)| {
        json!({ "customer_id": customer, "terminal_id": terminal, "amount": amount, "score": score })
    });
    json!({
        "as_of": AT,
        "as_of_text": AT_TEXT,
        "rows": rows.collect::<Vec<_>>(),
        "watermark_micros": answer.rows[0].watermark_micros,
        "version": answer.rows[0].version,
        "missing": answer.rows.iter().map(|row| row.missing).sum::<u32>(),
        "provisional": answer.rows.iter().map(|row| row.provisional).sum::<u32>(),
    })
}
