//! The real server on a store, and look-ups over gRPC, many rows at a time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
use floodmark_proto::v1::value::Kind;

use super::recount::{Ask, FEATURES, Mode};
use crate::harness::real::{fraud_definitions, text};

/// Keeps answers well below what a client takes in one message.
const ROWS_OF_A_REQUEST: usize = 2_000;

/// Runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    /// `host:port`
    pub(crate) address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// On a store.
    pub(crate) fn start(store: &Path) -> Server {
        Server::run(&["up", "--store", &text(store)])
    }

    /// On an online store in Redis.
    pub(crate) fn start_online(url: &str, name: &str) -> Server {
        Server::run(&["serve", "--online", url, "--online-name", name, "--online-patience", "20000"])
    }

    fn run(arguments: &[&str]) -> Server {
        let child = Command::new(env!("CARGO_BIN_EXE_floodmark"))
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--threads", "1", "--json", "--definitions", &fraud_definitions()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floodmark command");
        let mut server = Server { child, address: String::new() };
        let mut line = String::new();
        BufReader::new(server.child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        server.address = said["grpc"].as_str().expect("an address").to_owned();
        server
    }

    /// The features of each ask, in their order; `None` is null.
    pub(crate) fn look_up(&self, asks: &[Ask], mode: Mode) -> Vec<[Option<f64>; 15]> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut client = FeatureServiceClient::connect(format!("http://{}", self.address)).await.expect("a server");
            let mut all = Vec::new();
            for some in asks.chunks(ROWS_OF_A_REQUEST) {
                let answer = client.get_features(request(some, mode)).await.expect("an answer").into_inner();
                assert_eq!(answer.names, FEATURES);
                all.extend(answer.rows.iter().map(numbers));
            }
            assert_eq!(all.len(), asks.len());
            all
        })
    }
}

fn request(asks: &[Ask], mode: Mode) -> v1::GetFeaturesRequest {
    let mode = match mode {
        Mode::AsServed => v1::Mode::AsServed,
        Mode::AsCorrected => v1::Mode::AsCorrected,
    };
    let key = |key| v1::Value { kind: Some(Kind::Int64Value(key)) };
    let row =
        |ask: &Ask| v1::EntityRow { keys: vec![key(ask.customer), key(ask.terminal)], as_of_micros: Some(ask.as_of), ..Default::default() };
    v1::GetFeaturesRequest {
        what: Some(v1::get_features_request::What::Service("fraud_live".to_owned())),
        key_names: vec!["customer_id".to_owned(), "terminal_id".to_owned()],
        rows: asks.iter().map(row).collect(),
        mode: mode.into(),
        ..Default::default()
    }
}

fn numbers(row: &v1::FeatureRow) -> [Option<f64>; 15] {
    assert_eq!(row.values.len(), FEATURES.len());
    std::array::from_fn(|at| match row.values[at].kind {
        Some(Kind::Int64Value(n)) => Some(n as f64),
        Some(Kind::DoubleValue(x)) => Some(x),
        None => None,
        ref other => panic!("{}: {other:?}", FEATURES[at]),
    })
}
