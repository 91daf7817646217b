//! The commands: what `up --online` takes in, `serve` answers, with nothing of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::DEFINITIONS;
use crate::harness::real::text;
use crate::harness::redis::Redis;

/// A server that is told to end when it is dropped.
pub(super) struct Running {
    child: Child,
    pub(super) address: String,
    pub(super) http: Option<String>,
}

impl Running {
    pub(super) fn start(arguments: &[&str]) -> Running {
        let command = || Command::new(env!("CARGO_BIN_EXE_floodmark"));
        let mut child = command().args(arguments).stdout(Stdio::piped()).spawn().expect("the floodmark command");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let told: Value = serde_json::from_str(&line).expect("JSON");
        let address = |name: &str| told[name].as_str().map(str::to_owned);
        Running { child, address: address("grpc").expect("an address"), http: address("http") }
    }

    fn get(&self) -> Option<Value> {
        let run = Command::new(env!("CARGO_BIN_EXE_floodmark"))
            .args(["get", "--json", "--address", &self.address, "--service", "cards", "--as-of", "2023-11-15T00:00:00Z", "card=1"])
            .output()
            .expect("the floodmark command");
        serde_json::from_slice(&run.stdout).ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_answers_what_up_has_taken_in() {
    let Some(redis) = Redis::start(None) else { return };
    let home = tempfile::tempdir().expect("a directory");
    let [definitions, store, file] = ["definitions.yaml", "store", "payments.jsonl"].map(|name| home.path().join(name));
    std::fs::write(&definitions, DEFINITIONS).expect("a file");
    let line = |id: i64| {
        let at = 1_700_000_000_000_000 + id * 60_000_000;
        format!("{{\"id\":{id},\"at\":{at},\"card\":{},\"shop\":\"a\",\"amount\":{id}.5,\"fraud\":false}}\n", id % 3)
    };
    std::fs::write(&file, (0..200).map(line).collect::<String>()).expect("a file");
    let url = redis.url();
    let input = format!("payments={}", text(&file));
    let up = ["up", "--json", "--definitions", &text(&definitions), "--store", &text(&store)];
    let up = Running::start(&[&up[..], &["--listen", "127.0.0.1:0", "--online", &url, &input]].concat());
    let serve = ["serve", "--json", "--definitions", &text(&definitions), "--online", &url];
    let serve = Running::start(&[&serve[..], &["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--online-patience", "5000"]].concat());
    let embedded = up.get().expect("an answer");
    assert_eq!(embedded["features"]["spend.n_2d"]["value"], 36, "{embedded}");
    let began = Instant::now();
    while serve.get().as_ref() != Some(&embedded) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?} and not {embedded}", serve.get());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Over HTTP the same, and how often it was asked.
    let http = serve.http.clone().expect("an address");
    let asked = r#"{"service":"cards","keyNames":["card"],"rows":[{"keys":[{"int64Value":"1"}],"asOfMicros":"1700006400000000"}]}"#;
    let answer = exchange(&http, "POST /v1/features:get", asked);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"36\""), "{answer}");
    let metrics = exchange(&http, "GET /metrics", "");
    assert!(metrics.contains("floodmark_calls_total{transport=\"http\",method=\"floodmark.v1.FeatureService/GetFeatures\""), "{metrics}");
    // The one that took them in is gone; what it left answers.
    drop(up);
    assert_eq!(serve.get(), Some(embedded));
}

pub(super) fn exchange(address: &str, what: &str, body: &str) -> String {
    exchange_with(address, what, "", body)
}

/// The same with more headers, each with the end of its line.
pub(super) fn exchange_with(address: &str, what: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let length = body.len();
    write!(stream, "{what} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}")
        .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
