//! The protocol's paths, tensors in JSON and as bytes, and what goes wrong.

#![allow(clippy::unwrap_used)] // in a test, a panic is the message

use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::testing::{World, linear};
use super::*;

/// An answer: its status and its JSON.
async fn call(inference: &Inference, method: &str, path: &str, body: &str) -> (u16, Value) {
    let method: Method = method.parse().unwrap();
    let answer = inference.answer(&method, path, &HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes())).await;
    let answer = answer.unwrap_or_else(|| panic!("{path} is none of the protocol's"));
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
}

/// JSON and bytes after it; so is the answer.
async fn infer(inference: &Inference, model: &str, json: &Value, following: &[u8]) -> (u16, Value, Vec<u8>) {
    let json = json.to_string();
    let mut headers = HeaderMap::new();
    headers.insert(JSON_LENGTH, HeaderValue::from(json.len()));
    let body = [json.as_bytes(), following].concat();
    let answer = inference.answer(&Method::POST, &format!("/v2/models/{model}/infer"), &headers, body.into()).await.unwrap();
    let length = answer.headers().get(JSON_LENGTH).map_or(answer.body().len(), |length| length.to_str().unwrap().parse().unwrap());
    let (json, bytes) = answer.body().split_at(length);
    (answer.status().as_u16(), serde_json::from_slice(json).unwrap(), bytes.to_vec())
}

fn input(name: &str, datatype: &str, shape: &[i64], data: Value) -> Value {
    json!({ "name": name, "datatype": datatype, "shape": shape, "data": data })
}

#[tokio::test]
async fn data_may_be_flat_or_nested_and_null_is_missing() {
    let Some(world) = World::loaded(false) else { return };
    let expected = json!([linear([4.0, 2.0, 1.0]), linear([1.0, 0.0, 0.5])]);
    for data in [json!([4, 2.0, 1, 1, null, null]), json!([[4, 2, 1], [1.0, null, null]])] {
        let body = json!({ "id": "r-7", "model_name": "ignored", "inputs": [input("X", "FP32", &[2, 3], data)] });
        let (status, answer) = call(&world.inference, "POST", "/v2/models/matrix/infer", &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let output = json!({ "name": "score", "datatype": "FP32", "shape": [2], "data": expected });
        let whole =
            json!({ "model_name": "matrix", "model_version": "1", "id": "r-7", "parameters": { "missing": 2 }, "outputs": [output] });
        assert_eq!(answer, whole);
    }
    let columns = json!({ "inputs": [
        input("cat", "BYTES", &[2], json!(["food", "ü"])),
        input("nb", "INT64", &[2, 1], json!([[3], [7]])),
        input("amount", "FP64", &[2], json!([2.5, 4.0])),
    ] });
    let (status, answer) = call(&world.inference, "POST", "/v2/models/columns/versions/1/infer", &columns.to_string()).await;
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([7.5, 28.0])));
    let asked = json!({ "parameters": { "as_of": "2018-04-01T00:00:00Z" }, "inputs": [
        input("customer_id", "INT64", &[1], json!([7])),
        input("terminal_id", "BYTES", &[1], json!(["t-9"])),
        input("amount", "FP64", &[1], json!([8.0])),
    ] });
    let (status, answer) = call(&world.inference, "POST", "/v2/models/wide/infer", &asked.to_string()).await;
    assert_eq!(
        (status, &answer["outputs"][0]["data"], &answer["parameters"]["as_of_micros"]),
        (200, &json!([4.0]), &json!(1522540800000000_i64))
    );
}

#[tokio::test]
async fn tensors_come_and_go_as_bytes() {
    let Some(world) = World::loaded(false) else { return };
    let row: Vec<u8> = [4.0_f32, 2.0, 1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = |size: usize| json!({ "name": "X", "datatype": "FP32", "shape": [1, 3], "parameters": { "binary_data_size": size } });
    let all = json!({ "inputs": [tensor(12)], "parameters": { "binary_data_output": true } });
    let (status, answer, bytes) = infer(&world.inference, "matrix", &all, &row).await;
    assert_eq!((status, bytes), (200, 2.5_f32.to_le_bytes().to_vec()), "{answer}");
    assert_eq!(answer["outputs"], json!([{ "name": "score", "datatype": "FP32", "shape": [1], "parameters": { "binary_data_size": 4 } }]));
    // What is said of the output itself counts.
    let outputs = json!([{ "name": "score", "parameters": { "binary_data": false } }]);
    let plain = json!({ "inputs": [tensor(12)], "parameters": { "binary_data_output": true }, "outputs": outputs });
    let (_, answer, bytes) = infer(&world.inference, "wide", &plain, &row).await;
    assert_eq!((&answer["outputs"][0]["data"], bytes.len()), (&json!([2.5]), 0));
    let outputs = json!([{ "name": "score", "parameters": { "binary_data": true } }]);
    let binary = json!({ "inputs": [tensor(12)], "outputs": outputs });
    let (_, answer, bytes) = infer(&world.inference, "wide", &binary, &row).await;
    assert_eq!((&answer["outputs"][0]["data"], bytes), (&Value::Null, 2.5_f64.to_le_bytes().to_vec()));
    // JSON and bytes may be mixed among the inputs.
    let cat = json!({ "name": "cat", "datatype": "BYTES", "shape": [1], "parameters": { "binary_data_size": 5 } });
    let nb = json!({ "name": "nb", "datatype": "INT64", "shape": [1], "parameters": { "binary_data_size": 8 } });
    let inputs = json!({ "inputs": [cat, input("amount", "FP32", &[1], json!([2.5])), nb] });
    let following = [&[1, 0, 0, 0, b'x'][..], &3_i64.to_le_bytes()].concat();
    assert_eq!(infer(&world.inference, "columns", &inputs, &following).await.1["outputs"][0]["data"], json!([7.5]));

    for (body, following, words) in [
        (json!({ "inputs": [tensor(12)] }), &row[..11], "no length within what follows"),
        (json!({ "inputs": [tensor(8)] }), &row[..8], "expected=12 found=8 bytes"),
        (json!({ "inputs": [tensor(12)] }), &[&row[..], &[0]].concat()[..], "1 bytes after the last tensor"),
        (
            json!({ "inputs": [{ "name": "X", "datatype": "FP32", "shape": [1, 3], "parameters": { "binary_data_size": 12 }, "data": [1, 2, 3] }] }),
            &row[..],
            "both raw and typed",
        ),
    ] {
        let (status, answer, _) = infer(&world.inference, "matrix", &body, following).await;
        assert!(status == 400 && answer["error"].as_str().unwrap().contains(words), "{answer}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(JSON_LENGTH, HeaderValue::from(99));
    let answer = world.inference.answer(&Method::POST, "/v2/models/matrix/infer", &headers, Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn errors_have_the_key_that_clients_read() {
    let Some(world) = World::loaded(false) else { return };
    world.another("matrix", 2, true);
    world.scores.load("matrix", 2).expect_err("its golden rows are gone");
    let one = |datatype, data| json!({ "inputs": [input("X", datatype, &[1, 3], data)] }).to_string();
    for (path, body, status, words) in [
        ("/v2/models/nobody/infer", one("FP32", json!([1, 2, 3])), 404, "no such model"),
        ("/v2/models/matrix/versions/9/infer", one("FP32", json!([1, 2, 3])), 404, "no such version"),
        ("/v2/models/matrix/versions/2/infer", one("FP32", json!([1, 2, 3])), 503, "refused at step manifest"),
        ("/v2/models/matrix/versions/%40stable/infer", one("FP32", json!([1, 2, 3])), 404, "wanted=stable"),
        ("/v2/models/matrix/infer", one("FP32", json!([1, 2])), 400, "expected=3 found=2 values"),
        ("/v2/models/matrix/infer", one("FP32", json!([1, "2", 3])), 400, "tensor=X value=1 datatype=FP32 found=a text"),
        ("/v2/models/matrix/infer", one("INT8", json!([1, 2.5, 3])), 400, "value=1 datatype=INT8 found=a number with a point"),
        ("/v2/models/matrix/infer", one("INT8", json!([1, 2, 300])), 400, "out of its datatype's range"),
        ("/v2/models/matrix/infer", one("FP16", json!([1, 2, 3])), 400, "raw only"),
        ("/v2/models/matrix/infer", one("FLOAT", json!([1, 2, 3])), 400, "datatype=FLOAT"),
        ("/v2/models/matrix/infer", "{".to_owned(), 400, "EOF"),
        ("/v2/models/matrix/infer", "{}".to_owned(), 400, "missing field `inputs`"),
        ("/v2/models/matrix/infer", r#"{ "inputs": "secret" }"#.to_owned(), 400, "a value is not of its field's type at line 1"),
        ("/v2/repository/index", String::new(), 403, "--admin"),
        ("/v2/repository/models/matrix/load", String::new(), 403, "--admin"),
        ("/v2/repository/models/matrix/unload", "{}".to_owned(), 403, "--admin"),
    ] {
        let (found, answer) = call(&world.inference, "POST", path, &body).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(found == status && error.contains(words), "{path}: {found} {answer}");
    }
}

#[tokio::test]
async fn paths_are_the_protocols() {
    let Some(world) = World::loaded(true) else { return };
    let inference = &world.inference;
    let get = async |path: &str| call(inference, "GET", path, "").await;
    assert_eq!(get("/v2/health/live").await, (200, json!({ "live": true, "ready": true })));
    assert_eq!(get("/v2/health/ready").await, (200, json!({ "live": true, "ready": true })));
    assert_eq!(get("/v2").await.1["name"], "floodmark");
    assert_eq!(get("/v2/models").await.1, json!({ "models": ["columns", "matrix", "wide"] }));
    let metadata = get("/v2/models/matrix").await.1;
    assert_eq!(metadata["inputs"], json!([{ "name": "X", "datatype": "FP32", "shape": [-1, 3] }]));
    assert_eq!(metadata, get("/v2/models/matrix/versions/1").await.1);
    assert_eq!(get("/v2/models/matrix/ready").await, (200, json!({ "name": "matrix", "ready": true })));
    assert_eq!((get("/v2/models/matrix/versions/9/ready").await.0, get("/v2/models/nobody/ready").await.0), (404, 404));
    let config = get("/v2/models/matrix/config").await.1;
    assert_eq!((&config["max_batch_size"], &config["input"][0]["data_type"]), (&json!(0), &json!("TYPE_FP32")));
    assert_eq!(config["input"][0]["dims"], json!([-1, 3]));
    assert_eq!(get("/v2/models/matrix/stats").await.1["model_stats"][0]["inference_count"], 0);
    assert_eq!(get("/v2/models/stats").await.1["model_stats"].as_array().unwrap().len(), 3);
    let method = json!({ "error": "the path does not have this method. allowed=GET, HEAD" });
    assert_eq!(call(inference, "POST", "/v2/models/matrix", "").await, (405, method));
    assert_eq!(call(inference, "GET", "/v2/models/matrix/infer", "").await.0, 405);
    for path in ["/", "/v1/models", "/v2/", "/v2/models/matrix/explain", "/v2/models/matrix/versions/1/nothing/ready", "v2"] {
        assert!(inference.answer(&Method::GET, path, &HeaderMap::new(), Bytes::new()).await.is_none(), "{path}");
    }

    world.another("matrix", 2, false);
    let post = async |path: &str, body: &str| call(inference, "POST", path, body).await;
    assert_eq!(post("/v2/repository/models/matrix/load", "").await, (200, json!({ "name": "matrix", "load": true })));
    let ready = post("/v2/repository/index", r#"{ "ready": true }"#).await.1;
    assert_eq!(ready[2], json!({ "name": "matrix", "version": "2", "state": "READY", "reason": "" }));
    assert_eq!(post("/v2/repository/models/matrix/unload", r#"{ "parameters": { "version": 2 } }"#).await.0, 200);
    assert_eq!(post("/v2/repository/index", "").await.1[2]["state"], "UNAVAILABLE");

    world.leave.send(true).unwrap();
    assert_eq!(get("/v2/health/ready").await, (503, json!({ "live": true, "ready": false })));
    assert_eq!(get("/v2/health/live").await.0, 200);
    let nothing = Inference::new(None, true, watch::channel(false).1);
    assert_eq!(call(&nothing, "GET", "/v2/models", "").await.1, json!({ "models": [] }));
    assert_eq!(call(&nothing, "POST", "/v2/repository/index", "").await, (200, json!([])));
}
