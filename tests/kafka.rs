//! Kafka topics into the embedded store, from a real broker: each record has one outcome, whatever is killed or stopped in between.

mod outbox;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use floodmark_features::value::Value;
use floodmark_proto::v1;
use floodmark_proto::v1::push_service_client::PushServiceClient;
use floodmark_proto::v1::value::Kind;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::crash::{Chance, DEFINITIONS, EVENTS, State, assert_same, state, write_payments};
use crate::harness::kafka::{Kafka, Record, until};
use crate::harness::real::{printed, text};
use crate::push::{Running, start_defined};

/// A server that reads a topic of payments.
pub(crate) struct Reading {
    running: Running,
}

impl Reading {
    fn start(home: &Path, store: &str, kafka: &Kafka, topic: &str) -> Reading {
        Reading::start_with(home, store, &[&format!("payments=kafka://{}/{topic}", kafka.bootstrap)])
    }

    pub(crate) fn start_with(home: &Path, store: &str, more: &[&str]) -> Reading {
        let arguments = [&["--http", "127.0.0.1:0"], more].concat();
        Reading { running: start_defined(&home.join("definitions.yaml"), &home.join(store), &arguments) }
    }

    /// Every metric, by name and labels.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(&self.running.http).expect("a connection");
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").expect("a request");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page");
        let values = page.lines().filter(|line| line.starts_with("floodmark_")).filter_map(|line| line.rsplit_once(' '));
        values.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
    }

    fn metric(&self, name: &str) -> f64 {
        self.metrics().get(name).copied().unwrap_or(-1.0)
    }

    pub(crate) fn read(&self) -> u64 {
        self.metric("floodmark_events_read_total{source=\"payments\"}") as u64
    }

    /// Pushes rows of a producer's; what is acknowledged.
    pub(crate) fn push(&self, rows: Vec<v1::EventRow>) -> v1::PushAck {
        let request = v1::PushRequest {
            source: "payments".to_owned(),
            partition: "till-1".to_owned(),
            columns: ["id", "at", "card", "shop", "amount"].map(str::to_owned).to_vec(),
            rows,
            batch_id: 7,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let ack = runtime.block_on(async {
            let mut client = PushServiceClient::connect(self.running.address.clone()).await.expect("a connection");
            let mut acks = client.push(tokio_stream::iter([request])).await.expect("a stream").into_inner();
            acks.message().await.expect("an answer").expect("an acknowledgement")
        });
        // With its connection, which would else have to answer the server's goodbye.
        drop(runtime);
        ack
    }

    /// Ends it in order, and tells what its store holds.
    pub(crate) fn end(self, home: &Path, store: &str) -> State {
        self.running.terminate();
        assert!(self.running.ended(), "it ends in order");
        state(&home.join(store))
    }
}

pub(crate) fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("definitions.yaml"), DEFINITIONS).expect("definitions");
    home
}

fn records<'a>(lines: &'a [&'a str], partition: impl Fn(usize) -> i32 + 'a) -> impl Iterator<Item = Record<'a>> {
    lines.iter().enumerate().map(move |(at, line)| Record { partition: partition(at), payload: Some(line.as_bytes()), timestamp: None })
}

/// Of the store itself: a resumed count starts at what was restored, so it is read from the store when nobody has it.
pub(crate) fn all_read(reading: &Reading, expected: u64) {
    until(&format!("{expected} records"), || reading.read() >= expected);
}

#[test]
fn a_topic_ends_as_its_file_does_whatever_is_killed() {
    let Some(kafka) = Kafka::own() else { return };
    let home = home();
    let home = home.path();
    let file = home.join("payments.jsonl");
    write_payments(&file);
    let payments = std::fs::read_to_string(&file).expect("payments");
    let lines: Vec<&str> = payments.lines().collect();
    kafka.make_topic("quiet", 1);
    kafka.produce("quiet", records(&lines, |_| 0));
    let reading = Reading::start(home, "quiet", &kafka, "quiet");
    all_read(&reading, EVENTS);
    let quiet = reading.end(home, "quiet");
    assert!(quiet.late.len() > 100 && quiet.closed.len() > 1_000 && quiet.rejected.len() > 50, "the input exercises everything");

    // The same records in the same order, while server and broker are killed.
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos() as u64 | 1;
    eprintln!("seed {seed}");
    let mut chance = Chance(seed);
    kafka.make_topic("payments", 1);
    let (mut kills, mut outages) = (0, 0);
    let (url, publish) = (format!("payments=kafka://{}/payments", kafka.bootstrap), format!("kafka://{}/out", kafka.bootstrap));
    let arguments = [url.as_str(), "--publish", &publish];
    let disturbed = std::thread::scope(|scope| {
        let producing = scope.spawn(|| {
            for part in lines.chunks(lines.len() / 80 + 1) {
                kafka.produce("payments", records(part, |_| 0));
                std::thread::sleep(Duration::from_millis(400));
            }
        });
        while !producing.is_finished() || kills < 20 {
            let mut reading = Reading::start_with(home, "disturbed", &arguments);
            match chance.below(5) {
                0 => {
                    kafka.signal("KILL");
                    std::thread::sleep(Duration::from_millis(chance.below(1_500)));
                    kafka.start();
                    outages += 1;
                }
                1 => {
                    kafka.signal("STOP");
                    std::thread::sleep(Duration::from_millis(chance.below(3_000)));
                    kafka.signal("CONT");
                    outages += 1;
                }
                _ => {}
            }
            // Long enough for some to have sent something.
            std::thread::sleep(Duration::from_millis(chance.below(3_000)));
            reading.running.child.kill().expect("a kill");
            reading.running.child.wait().expect("an end");
            kills += 1;
        }
        producing.join().expect("every record is there");
        let reading = Reading::start_with(home, "disturbed", &arguments);
        all_read(&reading, EVENTS);
        reading.end(home, "disturbed")
    });
    // What went out in committed transactions is what the store holds, each once.
    for (command, topic) in [("late", "out.late"), ("windows", "out.windows"), ("rejects", "out.rejects")] {
        let mut kept: Vec<String> =
            printed(&[command, "--store", &text(&home.join("disturbed")), "--json"]).lines().map(str::to_owned).collect();
        let mut sent: Vec<String> = kafka.committed(topic).into_iter().map(|(_, value)| value).collect();
        kept.sort_unstable();
        sent.sort_unstable();
        assert!(kept == sent, "{topic}: {} kept, {} sent, seed {seed}", kept.len(), sent.len());
        eprintln!("{topic}: {} records, each once", sent.len());
    }
    // The topics have other names, and nothing else.
    let named = |mut state: State| {
        state.late.iter_mut().for_each(|late| late.position.partition = String::new());
        state.rejected.iter_mut().for_each(|reject| reject.position.partition = String::new());
        state
    };
    assert_eq!(disturbed.tally.read, EVENTS, "each record has one outcome, seed {seed}");
    assert_same(&named(disturbed), &named(quiet), seed);
    eprintln!("{kills} kills of the server and {outages} outages of the broker, seed {seed}: the same as undisturbed");
}

/// A payment at a second after the start.
fn payment(id: u64, second: i64) -> String {
    format!("{{\"id\":{id},\"at\":{},\"card\":{},\"shop\":\"s\",\"amount\":1.5}}", 1_700_000_000_000_000 + second * 1_000_000, id % 7)
}

#[test]
fn a_bad_record_is_rejected_where_it_stands_and_moves_nothing() {
    let Some(kafka) = Kafka::shared() else { return };
    let home = home();
    let home = home.path();
    kafka.make_topic("bad", 1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis() as i64;
    let event =
        |id: u64, ahead_ms: i64| format!("{{\"id\":{id},\"at\":{},\"card\":1,\"shop\":\"s\",\"amount\":1.5}}", (now + ahead_ms) * 1000);
    let year = 365 * 86_400_000;
    let (good, soon, far) = (event(1, -1_000), event(2, 10 * 60_000 + 2_000), event(3, year));
    let timeless = "{\"id\":4,\"card\":1,\"shop\":\"s\",\"amount\":1.5}".to_owned();
    let huge = format!("{{\"id\":5,\"at\":{},\"card\":1,\"shop\":\"{}\",\"amount\":1.5}}", now * 1000, "x".repeat(10_000_000));
    let broken = "{\"id\":6,\"at\":".to_owned();
    let last = event(9, -500);
    let mut records: Vec<Record<'_>> = [&good, &soon, &far, &timeless, &huge, &broken]
        .map(|text| Record { partition: 0, payload: Some(text.as_bytes()), timestamp: None })
        .into();
    // A producer whose clock is a year ahead too, a tombstone, and bytes that are no text.
    records.push(Record { partition: 0, payload: Some(far.as_bytes()), timestamp: Some(now + year) });
    records.push(Record { partition: 0, payload: None, timestamp: None });
    records.push(Record { partition: 0, payload: Some(&[0xff, 0xfe]), timestamp: None });
    records.push(Record { partition: 0, payload: Some(last.as_bytes()), timestamp: None });
    let all = records.len() as u64;
    kafka.produce("bad", records);
    let reading = Reading::start(home, "state", &kafka, "bad");
    all_read(&reading, all);
    let state = reading.end(home, "state");
    let found: Vec<(u64, &str)> = state.rejected.iter().map(|reject| (reject.position.offset, reject.code.as_str())).collect();
    let expected = [
        (1, "in_the_future"),
        (2, "in_the_future"),
        (3, "null_event_time"),
        (4, "too_long"),
        (5, "malformed_json"),
        (6, "in_the_future"),
        (7, "tombstone"),
        (8, "invalid_utf8"),
    ];
    let mut found = found;
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(state.rejected.iter().all(|reject| reject.position.partition == "bad-0"));
    assert_eq!((state.tally.read, state.tally.accepted, state.tally.rejected), (all, 2, 8));
    // A minute and a tick behind the newest good one.
    assert_eq!(state.watermark.micros(), (now - 500) * 1000 - 60_000_000 - 1);
}

#[test]
fn what_stands_beside_a_value_is_a_column_where_the_value_says_nothing_of_it() {
    let Some(kafka) = Kafka::shared() else { return };
    kafka.make_topic("beside", 1);
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &kafka.bootstrap).create().expect("a producer");
    let at = 1_700_000_000_000_000_i64;
    // Each with its key and its headers `shop`.
    let records: [(&str, Option<&[u8]>, &[&[u8]]); 6] = [
        ("", Some(b"1"), &[b"s0", b"s1"]),
        (",\"card\":1,\"shop\":\"s1\"", Some(b"2"), &[b"s2"]),
        ("", Some(b"one"), &[b"s1"]),
        ("", None, &[b"s1"]),
        ("", Some(b"1"), &[&[0xff]]),
        ("", Some(b"1"), &[b"s1"]),
    ];
    for (id, (more, key, shops)) in records.iter().enumerate() {
        let value = format!("{{\"id\":{id},\"at\":{at},\"amount\":0.5{more}}}");
        let header = |headers: OwnedHeaders, shop: &&[u8]| headers.insert(Header { key: "shop", value: Some(*shop) });
        let headers = shops.iter().fold(OwnedHeaders::new(), header);
        let record = BaseRecord::<[u8], str>::to("beside").payload(&value).headers(headers);
        producer.send(if let Some(key) = key { record.key(key) } else { record }).map_err(|(error, _)| error).expect("taken");
    }
    producer.flush(Duration::from_secs(30)).expect("produced");
    let home = home();
    let url = |options: &str| format!("payments=kafka://{}/beside?{options}", kafka.bootstrap);
    let reading = Reading::start_with(home.path(), "state", &[&url("key=card&header=shop:shop")]);
    all_read(&reading, 6);
    let state = reading.end(home.path(), "state");
    let mut found: Vec<_> = state.rejected.iter().map(|reject| (reject.position.offset, reject.code.as_str())).collect();
    found.sort_unstable();
    assert_eq!(found, [(2, "wrong_type"), (3, "null_key"), (4, "invalid_utf8")]);
    // Card 1 has three payments of a half each: the value is asked first, then what stands beside it.
    let of_card = &state.answers[3].cells;
    assert_eq!((&of_card[1].value, &of_card[3].value), (&Value::Int(3), &Value::Float(1.5)), "{of_card:?}");
    let refused = Command::new(env!("CARGO_BIN_EXE_floodmark"))
        .args(["up", "--listen", "127.0.0.1:0", "--definitions"])
        .arg(home.path().join("definitions.yaml"))
        .arg("--store")
        .arg(home.path().join("other"))
        .arg(url("key=kard"))
        .output()
        .expect("the command");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("column=kard"), "{said}");
}

#[test]
fn an_idle_partition_holds_nothing_back_and_one_that_returns_drags_nothing_back() {
    let Some(kafka) = Kafka::shared() else { return };
    let home = home();
    let home = home.path();
    let definitions = DEFINITIONS.replace("allowed_lateness: 10m", "allowed_lateness: 0s\n    idle_timeout: 2s");
    std::fs::write(home.join("definitions.yaml"), definitions).expect("definitions");
    kafka.make_topic("idle", 2);
    let produce = |partition: i32, id: u64, second: i64| {
        let text = payment(id, second);
        kafka.produce("idle", [Record { partition, payload: Some(text.as_bytes()), timestamp: None }]);
    };
    let watermark_of = |second: i64| 1_700_000_000.0 + (second - 60) as f64 - 1e-6;
    let reading = Reading::start(home, "state", &kafka, "idle");
    let watermark = || reading.metric("floodmark_source_watermark_seconds{source=\"payments\"}");
    produce(0, 1, 1_000);
    all_read(&reading, 1);
    assert_eq!(watermark(), -1.0, "the other partition has said nothing yet: no watermark");
    // It is at its end, and the broker says so: idle, and the watermark follows the one that speaks. Then that one is idle too: it holds.
    until("the watermark of the first partition", || (watermark() - watermark_of(1_000)).abs() < 1e-5);
    let idle =
        |partition: u32| reading.metric(&format!("floodmark_kafka_partition_idle{{source=\"payments\",partition=\"idle-{partition}\"}}"));
    until("both to be idle", || idle(0) == 1.0 && idle(1) == 1.0);
    assert!((watermark() - watermark_of(1_000)).abs() < 1e-5, "all idle: hold");
    // The second returns, far behind: it is late for what is final, and drags nothing back.
    produce(1, 2, 10);
    produce(0, 3, 2_000);
    all_read(&reading, 3);
    until("the first to go on", || (watermark() - watermark_of(2_000)).abs() < 1e-5);
    assert_eq!(reading.metric("floodmark_kafka_lag_records{source=\"payments\",partition=\"idle-1\"}"), 0.0);
    // It catches up, and takes part again: now the first one leads.
    produce(1, 4, 1_990);
    produce(0, 5, 5_000);
    all_read(&reading, 5);
    for metric in ["delay_seconds", "troubles_total"] {
        assert!(reading.metric(&format!("floodmark_kafka_{metric}{{source=\"payments\"}}")) >= 0.0, "{metric}");
    }
    until("the second to hold it", || (watermark() - watermark_of(1_990)).abs() < 20.0);
    reading.running.terminate();
    assert!(reading.running.ended());
}

/// A payment as a row.
pub(crate) fn row(id: i64, amount: Kind) -> v1::EventRow {
    let values = [
        Kind::Int64Value(id),
        Kind::TimestampMicros(1_700_000_000_000_000 + id),
        Kind::Int64Value(3),
        Kind::StringValue("s".to_owned()),
        amount,
    ];
    v1::EventRow { values: values.map(|kind| v1::Value { kind: Some(kind) }).to_vec() }
}

#[test]
fn pushed_events_of_a_source_with_a_topic_are_in_the_topic_when_they_are_acknowledged() {
    let Some(kafka) = Kafka::shared() else { return };
    let home = home();
    let home = home.path();
    kafka.make_topic("pushed", 2);
    let reading = Reading::start(home, "state", &kafka, "pushed");
    let ack =
        reading.push(vec![row(1, Kind::DoubleValue(1.5)), row(2, Kind::StringValue("much".to_owned())), row(1, Kind::DoubleValue(1.5))]);
    assert_eq!((ack.batch_id, ack.appended, ack.accepted, ack.rejected), (7, 3, 0, 0));
    assert_eq!(kafka.committed("pushed").len(), 3, "the broker has them");
    all_read(&reading, 3);
    let state = reading.end(home, "state");
    assert_eq!((state.tally.accepted, state.tally.rejected, state.tally.duplicates), (1, 1, 1));
    assert_eq!(state.rejected[0].code, "wrong_type");
}
