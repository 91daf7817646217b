//! The HTTP port of the real server: the same answers as over gRPC, to the last bit; refusals, probes and its own description.

mod metrics;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use floodmark_proto::v1::value::Kind;
use serde_json::{Value, json};

use crate::push::{MINUTE, START, push, request, start_with, transaction, value};
use crate::score::{by_keys, server_with};

const HTTP: [&str; 2] = ["--http", "127.0.0.1:0"];

/// One call on a connection of its own: the status, and the body.
fn call(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    let head = format!("{method} {path} HTTP/1.1\r\nhost: floodmark\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).expect("it takes them");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    let (head, body) = said.split_once("\r\n\r\n").expect("a head");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// A value as it is written in JSON.
fn written(value: &v1::Value) -> Value {
    match &value.kind {
        None => json!({}),
        Some(Kind::BoolValue(b)) => json!({ "boolValue": b }),
        Some(Kind::Int64Value(i)) => json!({ "int64Value": i.to_string() }),
        Some(Kind::DoubleValue(x)) => json!({ "doubleValue": x }),
        Some(Kind::StringValue(s)) => json!({ "stringValue": s }),
        Some(Kind::TimestampMicros(t)) => json!({ "timestampMicros": t.to_string() }),
        Some(Kind::ListValue(list)) => json!({ "listValue": { "values": list.values.iter().map(written).collect::<Vec<_>>() } }),
    }
}

async fn events(address: &str) {
    let events = (0..30).map(|n| transaction(n, n, Some(10.1 + n as f64 / 3.0))).collect();
    push(address, vec![request(1, events)]).await;
}

#[tokio::test]
async fn features_are_the_same_bits_as_over_grpc() {
    let home = tempfile::tempdir().expect("a directory");
    let running = start_with(&home.path().join("store"), &HTTP);
    events(&running.address).await;
    // Amounts of sixteen and seventeen digits, which a reader that is content with nearly the same would change.
    let amounts: Vec<f64> = (0..50).map(|n| 57.16 + f64::from(n) / 7.0).collect();
    let row = |amount: &f64| v1::EntityRow {
        keys: vec![value(Kind::Int64Value(7)), value(Kind::Int64Value(9))],
        request: vec![value(Kind::DoubleValue(*amount))],
        ..Default::default()
    };
    let asked = v1::GetFeaturesRequest {
        what: Some(v1::get_features_request::What::Service("fraud".to_owned())),
        key_names: vec!["customer_id".to_owned(), "terminal_id".to_owned()],
        request_names: vec!["amount".to_owned()],
        rows: amounts.iter().map(row).collect(),
        as_of_micros: Some(START + 45 * MINUTE),
        ..Default::default()
    };
    let mut client = FeatureServiceClient::connect(running.address.clone()).await.expect("a server");
    let grpc = client.get_features(asked).await.expect("an answer").into_inner();
    // 64-bit integers as strings or as numbers, names as in JSON or as in the .proto: all are read.
    let row = |amount: &f64| json!({ "keys": [{ "int64Value": "7" }, { "int64_value": 9 }], "request": [{ "doubleValue": amount }] });
    let asked = json!({
        "service": "fraud", "keyNames": ["customer_id", "terminal_id"], "request_names": ["amount"],
        "asOfMicros": (START + 45 * MINUTE).to_string(), "rows": amounts.iter().map(row).collect::<Vec<_>>(),
    });
    let (status, body) = call(&running.http, "POST", "/v1/features:get", &asked.to_string());
    let http = json_of(&body);
    assert_eq!(status, 200, "{body}");
    assert_eq!(http["names"], json!(grpc.names));
    for (at, row) in grpc.rows.iter().enumerate() {
        assert_eq!(http["rows"][at]["values"], json!(row.values.iter().map(written).collect::<Vec<_>>()), "row {at}");
    }
    let row = &grpc.rows[0];
    assert!(row.values.iter().any(|value| matches!(value.kind, Some(Kind::DoubleValue(x)) if x.fract() != 0.0)));
    assert_eq!(http["columnsId"], json!(grpc.columns_id.to_string()));
    assert_eq!(http["rows"][0]["watermarkMicros"], json!(row.watermark_micros.expect("events").to_string()));
    assert_eq!(http["rows"][0]["version"], json!(row.version.to_string()));
    assert_eq!(http["rows"][0]["statuses"][0], "STATUS_PRESENT");

    let (status, body) = call(&running.http, "GET", "/v1/services", "");
    assert_eq!((status, json_of(&body)["services"][0]["name"].clone()), (200, json!("fraud")));
    let (status, body) = call(&running.http, "GET", "/v1/services/fraud", "");
    assert_eq!((status, json_of(&body)["columnsId"].clone()), (200, json!(grpc.columns_id.to_string())));
}

#[tokio::test]
async fn refusals_say_what_is_wrong() {
    let home = tempfile::tempdir().expect("a directory");
    let running = start_with(&home.path().join("store"), &HTTP);
    let get = |body: &str| {
        let (status, body) = call(&running.http, "POST", "/v1/features:get", body);
        let error = json_of(&body)["error"].clone();
        assert_eq!(error["code"], json!(status));
        error
    };
    let unknown = get(r#"{"service": "frad"}"#);
    assert_eq!((unknown["code"].clone(), unknown["status"].clone()), (json!(404), json!("NOT_FOUND")));
    let info = &unknown["details"][0];
    assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    assert_eq!((info["domain"].clone(), info["metadata"]["did_you_mean"].clone()), (json!("floodmark"), json!("fraud")));
    assert_eq!(unknown["details"][1]["fieldViolations"][0]["field"], "service");
    for (body, says) in [
        (r#"{"servce": "fraud"}"#, "no such field. field=servce"),
        (r#"{"service": 5}"#, "a field has a value that is not of its type"),
        (r#"{"service": "fraud""#, "in the middle"),
        (r#"{"service": "fraud"} x"#, "not JSON"),
        ("", "say what to look up"),
        (
            r#"{"service": "fraud", "keyNames": ["customer_id", "terminal_id"], "rows": [{"keys": [{"int64Value": "secret"}]}]}"#,
            "of its type",
        ),
    ] {
        let error = get(body);
        assert_eq!((error["code"].clone(), error["status"].clone()), (json!(400), json!("INVALID_ARGUMENT")), "{body}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(says) && !message.contains("secret"), "{body}: {message}");
    }
    assert_eq!(get(&format!(r#"{{"service": "{}"}}"#, "x".repeat(5 << 20)))["code"], 413);
    assert_eq!(get(&"[".repeat(100_000))["code"], 400);
    assert_eq!(call(&running.http, "GET", "/v1/features:get", "").0, 405);
    assert_eq!(call(&running.http, "GET", "/v1/features", "").0, 404);
    assert_eq!(call(&running.http, "POST", "/v1/models/fraud:score", "{}").0, 501, "no models here");
}

#[tokio::test]
async fn scores_and_models_over_http() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server_with(home.path(), &HTTP) else { return };
    events(&running.address).await;
    let mut client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let grpc = client.score(by_keys(7, 31.7, 45)).await.expect("a score").into_inner();
    let body = json!({
        "keyNames": ["customer_id", "terminal_id"], "requestNames": ["amount"], "asOfMicros": START + 45 * MINUTE, "includeFeatures": true,
        "rows": [{ "keys": [{ "int64Value": 7 }, { "int64Value": "9" }], "request": [{ "doubleValue": 31.7 }] }],
    });
    let (status, said) = call(&running.http, "POST", "/v1/models/fraud:score", &body.to_string());
    let (http, row) = (json_of(&said), &grpc.rows[0]);
    assert_eq!(status, 200, "{said}");
    assert_eq!(http["rows"][0]["score"].as_f64().expect("a score").to_bits(), row.score.to_bits());
    assert_eq!(http["rows"][0]["features"], json!(row.features.iter().map(written).collect::<Vec<_>>()));
    assert_eq!(http["rows"][0]["modelVersion"], "1");

    let (status, said) = call(&running.http, "GET", "/v1/models", "");
    assert_eq!((status, json_of(&said)["models"][0]["state"].clone()), (200, json!("MODEL_STATE_READY")));
    assert_eq!(call(&running.http, "GET", "/v1/models/fraud", ""), (200, said));
    assert_eq!(call(&running.http, "GET", "/v1/models/none", "").0, 404);
    let (status, said) = call(&running.http, "POST", "/v1/models/fraud:load", r#"{"version": 9}"#);
    assert_eq!((status, json_of(&said)["error"]["status"].clone()), (400, json!("FAILED_PRECONDITION")), "{said}");
    let (status, said) = call(&running.http, "POST", "/v1/models/fraud:label", r#"{"label": "stable", "version": "1"}"#);
    assert_eq!((status, json_of(&said)["models"][0]["labels"].clone()), (200, json!(["stable"])));
    let other = call(&running.http, "POST", "/v1/models/fraud:score", r#"{"model": "other"}"#);
    assert_eq!(other.0, 400);
}

/// Every `$ref` in it.
fn refers(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| refers(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| refers(value, into)),
        _ => {}
    }
}

#[tokio::test]
async fn the_description_holds_and_its_examples_are_answered() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, _)) = server_with(home.path(), &HTTP) else { return };
    let (status, body) = call(&running.http, "GET", "/openapi.json", "");
    let document = json_of(&body);
    assert_eq!((status, document["openapi"].clone()), (200, json!("3.1.0")));
    let mut all = Vec::new();
    refers(&document, &mut all);
    assert!(all.len() > 30, "{all:?}");
    for to in &all {
        let found = document.pointer(to.strip_prefix('#').expect("in this document"));
        assert!(found.is_some_and(|found| found["type"].is_string()), "{to}");
    }
    let row = &document["components"]["schemas"]["FeatureRow"]["properties"];
    assert_eq!(row["version"]["description"], "The version of the store that was read.", "comments are descriptions");
    let mut examples = 0;
    for (template, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 10), "{method} {template}");
            let Some(example) = operation.pointer("/requestBody/content/application~1json/example") else { continue };
            examples += 1;
            let name = operation.pointer("/parameters/0/example").and_then(Value::as_str).unwrap_or_default();
            let path = template.replace("{model}", name);
            let (status, body) = call(&running.http, "POST", &path, &example.to_string());
            assert_eq!((status, json_of(&body)["rows"].as_array().map(Vec::len)), (200, Some(1)), "{path}: {body}");
        }
    }
    assert_eq!(examples, 2, "features and scores");
    for path in document["paths"].as_object().expect("paths").keys().filter(|path| !path.contains('{') && !path.contains(':')) {
        assert_eq!(call(&running.http, "GET", path, "").0, 200, "{path}");
    }
}

#[tokio::test]
async fn probes_tell_a_server_that_leaves() {
    let home = tempfile::tempdir().expect("a directory");
    let running = start_with(&home.path().join("store"), &[&HTTP[..], &["--linger", "2"]].concat());
    let http = running.http.clone();
    let ready = || call(&http, "GET", "/readyz", "");
    assert_eq!(call(&http, "GET", "/healthz", "").0, 200);
    assert_eq!(ready(), (200, r#"{"ready":true,"reasons":[]}"#.to_owned()));
    running.terminate();
    // It is told by a signal, so soon after, but not at once.
    let told = (0..200).map(|_| ready()).find(|(status, _)| *status == 503).expect("it says so before it ends");
    assert_eq!(json_of(&told.1), json!({ "ready": false, "reasons": ["the server is about to end"] }));
    assert_eq!(call(&http, "GET", "/healthz", "").0, 200);
    assert_eq!(call(&http, "GET", "/v1/services", "").0, 200, "while it lingers it answers");
    assert!(running.ended(), "in order");
}
