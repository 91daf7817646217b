//! Producers over gRPC, against the real server: acknowledged events can be read at once, come once, and outlive kill -9.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
use floodmark_proto::v1::push_service_client::PushServiceClient;
use floodmark_proto::v1::value::Kind;

use crate::harness::real::{floodmark, fraud_definitions, text};

pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const START: i64 = 1_522_540_800_000_000;

/// A server of the fraud example.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// Of its HTTP port; empty without `--http`.
    pub(crate) http: String,
}

impl Running {
    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(told.success());
    }

    /// Waits for its end; whether that was in order.
    pub(crate) fn ended(mut self) -> bool {
        self.child.wait().expect("an end").success()
    }
}

/// A test that fails must not leave it behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

impl Running {
    /// Memory that is resident, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Tells it to end, and waits until it has, in order.
    pub(crate) async fn stop(mut self) {
        self.terminate();
        // Waiting must not stop this thread: its connections still have to answer the server's goodbye.
        let ended = tokio::task::spawn_blocking(move || self.child.wait()).await.expect("a thread").expect("an end");
        assert!(ended.success(), "it ends in order");
    }
}

fn start(store: &Path) -> Running {
    start_with(store, &[])
}

pub(crate) fn start_with(store: &Path, more: &[&str]) -> Running {
    start_defined(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/floodmark.yaml"), store, more)
}

pub(crate) fn start_defined(definitions: &Path, store: &Path, more: &[&str]) -> Running {
    start_telling(definitions, store, more, Stdio::inherit())
}

/// The same, with another standard error.
pub(crate) fn start_telling(definitions: &Path, store: &Path, more: &[&str], errors: Stdio) -> Running {
    // On a busy machine calls wait, and none is to be refused for that.
    let up = ["--longest-wait", "0", "--store", store.to_str().expect("text")];
    start_command("up", definitions, &[&up, more].concat(), errors)
}

/// `up` or `serve`.
pub(crate) fn start_command(command: &str, definitions: &Path, more: &[&str], errors: Stdio) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_floodmark"))
        .args([command, "--listen", "127.0.0.1:0", "--json", "--definitions"])
        .arg(definitions)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .expect("the floodmark command");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let http = said["http"].as_str().unwrap_or_default().to_owned();
    Running { child, address: format!("http://{}", said["grpc"].as_str().expect("an address")), http }
}

pub(crate) fn value(kind: Kind) -> v1::Value {
    v1::Value { kind: Some(kind) }
}

/// A transaction of customer 7 at terminal 9.
pub(crate) fn transaction(id: i64, minutes: i64, amount: Option<f64>) -> v1::EventRow {
    let mut values = vec![
        value(Kind::Int64Value(id)),
        value(Kind::TimestampMicros(START + minutes * MINUTE)),
        value(Kind::Int64Value(7)),
        value(Kind::Int64Value(9)),
        v1::Value { kind: amount.map(Kind::DoubleValue) },
    ];
    values.push(value(Kind::BoolValue(false)));
    v1::EventRow { values }
}

pub(crate) fn request(batch_id: u64, rows: Vec<v1::EventRow>) -> v1::PushRequest {
    let columns = ["transaction_id", "tx_datetime", "customer_id", "terminal_id", "amount", "fraud"];
    v1::PushRequest {
        source: "transactions".to_owned(),
        partition: "till-1".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
        batch_id,
    }
}

pub(crate) async fn push(address: &str, requests: Vec<v1::PushRequest>) -> Vec<v1::PushAck> {
    let mut client = PushServiceClient::connect(address.to_owned()).await.expect("a server");
    let mut acks = client.push(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    let mut all = Vec::new();
    while let Some(ack) = acks.message().await.expect("an acknowledgement") {
        all.push(ack);
    }
    all
}

/// `customer_spend.nb_tx_1d` and `avg_amount_1d` of customer 7.
async fn read(address: &str, minutes: i64) -> (Kind, Kind, v1::FeatureRow) {
    let mut client = FeatureServiceClient::connect(address.to_owned()).await.expect("a server");
    let asked = v1::GetFeaturesRequest {
        what: Some(v1::get_features_request::What::Service("fraud".to_owned())),
        key_names: vec!["customer_id".to_owned(), "terminal_id".to_owned()],
        rows: vec![v1::EntityRow { keys: vec![value(Kind::Int64Value(7)), value(Kind::Int64Value(9))], ..Default::default() }],
        as_of_micros: Some(START + minutes * MINUTE),
        ..Default::default()
    };
    let answer = client.get_features(asked).await.expect("an answer").into_inner();
    let at = |name: &str| answer.names.iter().position(|n| n == name).expect("a feature");
    let kind = |name: &str| answer.rows[0].values[at(name)].kind.clone().expect("a value");
    (kind("customer_spend.nb_tx_1d"), kind("customer_spend.avg_amount_1d"), answer.rows[0].clone())
}

#[tokio::test]
async fn acknowledged_events_are_there_once_and_for_good() {
    let home = tempfile::tempdir().expect("a directory");
    let store = home.path().join("store");
    let mut running = start(&store);
    let first = vec![transaction(1, 0, Some(10.0)), transaction(2, 5, Some(30.0)), transaction(3, 6, Some(f64::NAN))];
    let far_ahead = v1::EventRow {
        values: [
            value(Kind::Int64Value(99)),
            value(Kind::StringValue("2999-01-01T00:00:00Z".to_owned())),
            value(Kind::Int64Value(7)),
            value(Kind::Int64Value(9)),
        ]
        .to_vec(),
    };
    let acks = push(&running.address, vec![request(1, first.clone()), request(2, vec![transaction(4, 9, Some(20.0)), far_ahead])]).await;
    assert_eq!((acks[0].batch_id, acks[0].accepted, acks[0].rejected), (1, 2, 1));
    assert_eq!((acks[0].rejections[0].index, acks[0].rejections[0].code.as_str()), (2, "not_finite"));
    assert_eq!((acks[1].accepted, acks[1].rejections[0].code.as_str()), (1, "in_the_future"));
    assert!(acks[1].version > acks[0].version);

    let (count, mean, row) = read(&running.address, 10).await;
    assert_eq!((count, mean), (Kind::Int64Value(3), Kind::DoubleValue(20.0)));
    assert!(row.version >= acks[1].version && row.provisional, "above the watermark a value may still change");
    assert_eq!(row.watermark_micros, Some(START + 8 * MINUTE - 1), "nine minutes less the allowed disorder, and a tick");

    // Killed, and started again: what was acknowledged is there, and what is sent again counts once.
    running.child.kill().expect("a kill");
    running.child.wait().expect("an end");
    running = start(&store);
    let again = push(&running.address, vec![request(1, first)]).await;
    assert_eq!((again[0].accepted, again[0].duplicates, again[0].rejected), (0, 2, 1));
    let (count, mean, _) = read(&running.address, 10).await;
    assert_eq!((count, mean), (Kind::Int64Value(3), Kind::DoubleValue(20.0)));

    // Far behind the watermark: named late, and final values stay as they are.
    let late = push(&running.address, vec![request(5, vec![transaction(5, 60 * 24 * 40, Some(1.0)), transaction(6, 1, Some(1.0))])]).await;
    assert_eq!((late[0].accepted, late[0].late), (1, 1));
    assert_eq!(read(&running.address, 8).await.0, Kind::Int64Value(2), "as of a final time");

    running.stop().await;
    let late = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(["late", "--json", "--store"]).arg(&store).output().expect("late events");
    let lines: Vec<serde_json::Value> =
        String::from_utf8_lossy(&late.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().all(|line| line["event_id"] == "6") && lines.len() == 3, "{lines:?}");
    assert_eq!(lines[0]["position"]["partition"], "till-1");
}

/// A file is taken in to its end; then a producer pushes, is silent for longer than the idle timeout, and pushes again: nobody has said that
/// time is at its end.
#[tokio::test]
async fn silence_after_a_file_makes_nothing_late() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| home.path().join(name);
    let definitions = std::fs::read_to_string(fraud_definitions()).expect("definitions");
    std::fs::write(at("definitions.yaml"), definitions.replace("allowed_lateness: 0s", "allowed_lateness: 0s\n    idle_timeout: 500ms"))
        .expect("definitions");
    let row = format!(r#"{{"transaction_id":1,"tx_datetime":{START},"customer_id":7,"terminal_id":9,"amount":1.0,"fraud":false}}"#);
    std::fs::write(at("first.jsonl"), row + "\n").expect("a file");
    let (given, store) = (text(&at("definitions.yaml")), text(&at("store")));
    let input = format!("transactions={}", text(&at("first.jsonl")));
    let taken = floodmark(&["replay", "--json", "--definitions", &given, "--store", &store, &input]);
    assert_eq!(taken["accepted"], 1);

    let running = start_telling(&at("definitions.yaml"), &at("store"), &[], Stdio::inherit());
    for pause in 1..=3 {
        let minute = 10 * pause;
        let acks = push(&running.address, vec![request(pause as u64, vec![transaction(1 + pause, minute, Some(10.0))])]).await;
        assert_eq!((acks[0].accepted, acks[0].late), (1, 0), "after pause {}", pause - 1);
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        let (count, _, row) = read(&running.address, minute).await;
        assert_eq!(count, Kind::Int64Value(1 + pause));
        assert_eq!(row.watermark_micros, Some(START + (minute - 1) * MINUTE - 1), "after pause {pause}");
    }
    running.terminate();
    assert!(tokio::task::spawn_blocking(|| running.ended()).await.expect("no panic"), "it ends in order");
}
