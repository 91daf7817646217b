//! Side outputs while no broker is there: a metric counts what the clients complain of, and who ends then says what is left for the next
//! start, which sends it. And an open transaction of another, behind which nobody sees how far outputs were sent.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use floodmark_proto::v1;
use floodmark_proto::v1::push_service_client::PushServiceClient;
use floodmark_proto::v1::value::Kind;
use rdkafka::producer::Producer;

use super::home;
use crate::harness::kafka::{Kafka, until};
use crate::harness::real::text;
use crate::pipeline::world::metrics;
use crate::push::{Running, start_telling, value};

/// Pushes some rows that are refused: each is an output.
fn push_refused(server: &Running, batch_id: u64, rows: u64) {
    let row = |id: u64| {
        let at = Kind::TimestampMicros(1_700_000_000_000_000);
        let amount = Kind::StringValue("much".to_owned());
        let values = [Kind::Int64Value(id as i64), at, Kind::Int64Value(3), Kind::StringValue("s".to_owned()), amount];
        v1::EventRow { values: values.map(value).to_vec() }
    };
    let request = v1::PushRequest {
        source: "payments".to_owned(),
        partition: "till-1".to_owned(),
        columns: ["id", "at", "card", "shop", "amount"].map(str::to_owned).to_vec(),
        rows: (0..rows).map(row).collect(),
        batch_id,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ack = runtime.block_on(async {
        let mut client = PushServiceClient::connect(server.address.clone()).await.expect("a connection");
        let mut acks = client.push(tokio_stream::iter([request])).await.expect("a stream").into_inner();
        acks.message().await.expect("an answer").expect("an acknowledgement")
    });
    assert_eq!(ack.rejected, rows);
}

/// Ends it in order; what it said on standard error.
fn end(server: Running, errors: &Path) -> String {
    server.terminate();
    assert!(server.ended(), "it ends in order");
    std::fs::read_to_string(errors).expect("what it said")
}

#[test]
fn outputs_that_cannot_be_sent_are_told_of_and_sent_by_the_next_start() {
    let Some(kafka) = Kafka::own() else { return };
    let home = home();
    let errors = home.path().join("errors");
    // What is on its way is soon given up: a broker that is gone is not waited for.
    let properties = home.path().join("clients.properties");
    std::fs::write(&properties, "message.timeout.ms=1000\n").expect("a file");
    let config = text(&properties);
    let publish = format!("kafka://{}/left", kafka.bootstrap);
    let start = || {
        let arguments = ["--http", "127.0.0.1:0", "--kafka-config", &config, "--publish", &publish];
        let stderr = std::fs::File::create(&errors).expect("a file");
        start_telling(&home.path().join("definitions.yaml"), &home.path().join("store"), &arguments, stderr.into())
    };
    let metric = |server: &Running, name: &str| metrics(&server.http).and_then(|page| page.get(name).copied());
    let sent = |server: &Running, many: f64| until("outputs", || metric(server, "floodmark_published_total") == Some(many));

    let server = start();
    push_refused(&server, 1, 2);
    sent(&server, 2.0);
    until("marks", || ["left.rejects", "left.progress"].iter().all(|topic| kafka.is_settled(topic)));
    let began = std::time::Instant::now();
    kafka.signal("KILL");
    push_refused(&server, 2, 3);
    until("a complaint", || metric(&server, "floodmark_publish_troubles_total") > Some(0.0));
    eprintln!("{:?} complained", began.elapsed());
    let said = end(server, &errors);
    eprint!("{:?} {said}", began.elapsed());
    assert!(said.contains("the next start on this store sends the rest. outputs=3 trouble="), "{said}");

    // Nobody has told this one how far the other had come.
    let said = end(start(), &errors);
    eprint!("{:?} {said}", began.elapsed());
    assert!(said.contains("outputs=unknown"), "{said}");

    kafka.start();
    let server = start();
    sent(&server, 3.0);
    let said = end(server, &errors);
    assert!(!said.contains("the rest"), "{said}");
    assert_eq!(kafka.committed("left.rejects").len(), 5);
}

#[test]
fn what_another_transaction_hides_is_waited_for_and_not_sent_twice() {
    let Some(kafka) = Kafka::shared() else { return };
    let home = home();
    let publish = format!("kafka://{}/held", kafka.bootstrap);
    let start = || {
        start_telling(
            &home.path().join("definitions.yaml"),
            &home.path().join("store"),
            &["--http", "127.0.0.1:0", "--publish", &publish],
            Stdio::inherit(),
        )
    };
    let metric = |server: &Running, name: &str| metrics(&server.http).and_then(|page| page.get(name).copied()).unwrap_or(0.0);
    let sent = |server: &Running, many: f64| until("outputs", || metric(server, "floodmark_published_total") == many);

    let server = start();
    push_refused(&server, 1, 1);
    sent(&server, 1.0);
    let other = kafka.begin("another", "held.progress");
    push_refused(&server, 2, 2);
    sent(&server, 3.0);
    server.terminate();
    assert!(server.ended(), "it ends in order");

    let server = start();
    push_refused(&server, 3, 1);
    until("a complaint", || metric(&server, "floodmark_publish_troubles_total") > 0.0);
    assert_eq!(metric(&server, "floodmark_published_total"), 0.0);
    other.abort_transaction(Duration::from_secs(10)).expect("an end");
    sent(&server, 1.0);
    server.terminate();
    assert!(server.ended(), "it ends in order");
    assert_eq!(kafka.committed("held.rejects").len(), 4);
}
