//! Kafka to servable: how many events a second, beside a bare transactional copy, and how old an event is when it can be read.
//!
//! `cargo bench --bench kafka [-- EVENTS]`: a broker of its own takes the given transactions (`FLOODMARK_DATA`, else made-up ones) as JSON in
//! four partitions. Then, one after the other: the topic is copied to another by rdkafka alone, with offsets in the transactions, at a
//! commit interval of 100 ms; `floodmark up` takes it in; and a pipeline of one worker of each role does, into Redis. At last 10,000 events a
//! second are produced, and every 20 ms one of an entity of its own, whose count is asked for until it is there, of either. Then both are
//! killed and started again, until an event that has come meanwhile is counted. Prints JSON. All of it shares the machine's cores.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/harness/kafka.rs"]
#[allow(dead_code)]
mod broker;
#[path = "kafka/pipeline.rs"]
mod pipeline;
#[path = "../tests/harness/redis.rs"]
#[allow(dead_code)]
mod redis;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use broker::{Kafka, Record};
use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
use floodmark_proto::v1::get_features_request::What;
use floodmark_proto::v1::value::Kind;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

const PARTITIONS: usize = 4;
/// Of the copy, and of the pipeline while its speed is taken; an embedded store has no interval, it commits what has come.
const INTERVAL: Duration = Duration::from_millis(100);
const FRESH_RATE: u64 = 10_000;
const FRESH_SECONDS: u64 = 15;

fn main() {
    // `cargo test --benches` and `cargo bench` of everything pass flags of their own.
    let events = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).next().unwrap_or(usize::MAX);
    let Some(kafka) = Kafka::own() else { return };
    let lines = transactions(events);
    let bytes: usize = lines.iter().map(String::len).sum();
    for topic in ["transactions", "copy"] {
        kafka.make_topic(topic, PARTITIONS as i32);
    }
    kafka.make_topic("fresh", PARTITIONS as i32);
    let record = |(at, line)| Record { partition: (at % PARTITIONS) as i32, payload: Some(str::as_bytes(line)), timestamp: None };
    kafka.produce("transactions", lines.iter().map(String::as_str).enumerate().map(record));
    eprintln!("{} events, {bytes} bytes", lines.len());
    let copy = copy(&kafka, lines.len());
    let home = tempfile::tempdir().unwrap();
    let (mut up, began) = (Up::start(home.path(), &kafka, "transactions"), Instant::now());
    up.until_read(lines.len() as u64);
    let floodmark = began.elapsed();
    up.stop();
    let again = Instant::now();
    up = Up::start(home.path(), &kafka, "transactions");
    let restarted = first_right(&up.grpc, lines.len(), &lines, again);
    up.stop();
    let Some(redis) = redis::Redis::start(None) else { return };
    let interval = &INTERVAL.as_millis().to_string();
    let (mut pipe, began) =
        (pipeline::Pipe::start(&kafka, &redis, "bench", "transactions", &["--commit-interval", interval]), Instant::now());
    pipe.until_read(lines.len() as u64);
    let piped = began.elapsed();
    pipe.kill();
    let again = Instant::now();
    let mut pipe = pipeline::Pipe::start(&kafka, &redis, "bench", "transactions", &["--commit-interval", interval]);
    let piped_restarted = first_right(&pipe.grpc, lines.len(), &lines, again);
    pipe.kill();
    let rate = |took: Duration| lines.len() as f64 / took.as_secs_f64();
    let home = tempfile::tempdir().unwrap();
    let mut up = Up::start(home.path(), &kafka, "fresh");
    let latencies = fresh(&kafka, "fresh", &up.grpc, lines.len());
    up.stop();
    kafka.make_topic("fresh-too", PARTITIONS as i32);
    let mut pipe = pipeline::Pipe::start(&kafka, &redis, "fresh", "fresh-too", &[]);
    let piped_latencies = fresh(&kafka, "fresh-too", &pipe.grpc, lines.len());
    pipe.kill();
    let report = json!({
        "events": lines.len(), "bytes": bytes, "copy_events_per_second": rate(copy).round(),
        "embedded": { "events_per_second": rate(floodmark).round(), "ratio": rate(floodmark) / rate(copy),
                      "fresh": percentiles(&latencies), "restart_ms": restarted.as_millis() as u64 },
        "pipeline": { "events_per_second": rate(piped).round(), "ratio": rate(piped) / rate(copy),
                      "fresh": percentiles(&piped_latencies), "restart_ms": piped_restarted.as_millis() as u64 },
        "fresh_events_per_second": FRESH_RATE,
    });
    println!("{report}");
}

fn percentiles(sorted: &[Duration]) -> serde_json::Value {
    let percentile = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    json!({ "samples": sorted.len(), "p50_ms": percentile(0.5), "p90_ms": percentile(0.9), "p99_ms": percentile(0.99), "max_ms": percentile(1.0) })
}

/// How long it takes after a restart until the customer of the last transaction has all the transactions that it should have.
fn first_right(grpc: &str, events: usize, lines: &[String], since: Instant) -> Duration {
    let field = |line: &String, name: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event[name].as_i64().unwrap()
    };
    let (customer, at) = (field(&lines[events - 1], "customer_id"), field(&lines[events - 1], "tx_datetime"));
    let marker = format!("\"customer_id\":{customer},");
    let week = |line: &&String| line.contains(&marker) && field(line, "tx_datetime") > at - 7 * 86_400_000_000;
    let expected = lines.iter().filter(week).count();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        loop {
            if let Ok(mut client) = FeatureServiceClient::connect(grpc.to_owned()).await
                && let Ok(answer) = client.get_features(ask(customer, Some(at))).await
                && format!("{:?}", answer.into_inner()).contains(&format!("Int64Value({expected})"))
            {
                return since.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

/// The given transactions in time order, or as many made up.
fn transactions(most: usize) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = std::env::var_os("FLOODMARK_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from).join("transactions.parquet");
    let line = |id: i64, at: i64, customer: i64, terminal: i64, amount: f64, fraud: bool| {
        format!(
            "{{\"transaction_id\":{id},\"tx_datetime\":{at},\"customer_id\":{customer},\"terminal_id\":{terminal},\"amount\":{amount:?},\"fraud\":{fraud}}}"
        )
    };
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("{} is not there: made-up transactions", path.display());
        let made =
            |n: i64| line(n, 1_522_540_800_000_000 + n * 9_000_000, n % 4_990, n * 7 % 10_000, (n % 9_000) as f64 / 100.0, n % 113 == 0);
        return (0..most.min(1_000_000) as i64).map(made).collect();
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut lines = Vec::new();
    for batch in reader.map(Result::unwrap) {
        let column = |name: &str, kind: &DataType| cast(batch.column_by_name(name).unwrap(), kind).unwrap();
        let ints = |name: &str| column(name, &DataType::Int64).as_primitive::<Int64Type>().values().to_vec();
        let (ids, customers, terminals) = (ints("transaction_id"), ints("customer_id"), ints("terminal_id"));
        let micros = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
        let times = cast(&column("tx_datetime", &micros), &DataType::Int64).unwrap().as_primitive::<Int64Type>().values().to_vec();
        let amounts = column("amount", &DataType::Float64).as_primitive::<Float64Type>().values().to_vec();
        let frauds = ints("fraud");
        for row in 0..batch.num_rows() {
            if lines.len() == most {
                return lines;
            }
            lines.push(line(ids[row], times[row], customers[row], terminals[row], amounts[row], frauds[row] != 0));
        }
    }
    lines
}

/// Consume, produce and offsets in transactions, and nothing else.
fn copy(kafka: &Kafka, events: usize) -> Duration {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.bootstrap).set("group.id", "copy").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("fetch.queue.backoff.ms", "10").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.bootstrap).set("transactional.id", "copy").set("linger.ms", "5");
    config.set("queue.buffering.max.messages", "1000000");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    consumer.subscribe(&["transactions"]).unwrap();
    // Until the group has formed nothing is copied, and how long that takes the first time says nothing of the rate.
    let (mut began, mut copied) = (None, 0);
    while copied < events {
        producer.begin_transaction().unwrap();
        let until = Instant::now() + INTERVAL;
        let mut next = [None; PARTITIONS];
        while copied < events && Instant::now() < until {
            let Some(Ok(message)) = consumer.poll(until.saturating_duration_since(Instant::now())) else { continue };
            began.get_or_insert_with(Instant::now);
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to("copy").payload(message.payload().unwrap());
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(1));
                record = back;
            }
            next[message.partition() as usize] = Some(message.offset() + 1);
            copied += 1;
            if copied % 500 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in next.iter().enumerate().filter_map(|(at, next)| Some((at, (*next)?))) {
            offsets.add_partition_offset("transactions", partition as i32, Offset::Offset(next)).unwrap();
        }
        producer.send_offsets_to_transaction(&offsets, &consumer.group_metadata().unwrap(), Duration::from_secs(30)).unwrap();
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_micros(200));
        }
        producer.commit_transaction(Duration::from_secs(30)).unwrap();
    }
    began.map_or(Duration::ZERO, |began| began.elapsed())
}

/// From the moment at which an event is handed to a producer (before the broker has it) until a look-up counts it.
fn fresh(kafka: &Kafka, topic: &str, grpc: &str, after: usize) -> Vec<Duration> {
    let done = AtomicBool::new(false);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.bootstrap).set("linger.ms", "2").set("enable.idempotence", "true");
    let producer: BaseProducer = config.create().unwrap();
    let event = |id: u64, customer: i64| {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let line = format!(
            "{{\"transaction_id\":{id},\"tx_datetime\":{at},\"customer_id\":{customer},\"terminal_id\":{},\"amount\":1.5,\"fraud\":false}}",
            id % 10_000
        );
        let _ = producer.send(BaseRecord::<[u8], str>::to(topic).payload(line.as_str()).partition((id % PARTITIONS as u64) as i32));
        producer.poll(Duration::ZERO);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let latencies = std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            let mut id = after as u64;
            while !done.load(Ordering::Relaxed) {
                let due = after as u64 + (began.elapsed().as_secs_f64() * FRESH_RATE as f64) as u64;
                while id < due {
                    id += 1;
                    event(id, (id % 4_990) as i64);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let latencies = runtime.block_on(async {
            let mut client = FeatureServiceClient::connect(grpc.to_owned()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
            let (mut latencies, began, mut sample) = (Vec::new(), Instant::now(), 0);
            while began.elapsed() < Duration::from_secs(FRESH_SECONDS) {
                sample += 1;
                let (customer, sent) = (1_000_000 + sample, Instant::now());
                event(1_000_000_000 + sample as u64, customer);
                loop {
                    // An online store that has nothing yet says so.
                    if let Ok(answer) = client.get_features(ask(customer, None)).await
                        && format!("{answer:?}").contains("Int64Value(1)")
                    {
                        break;
                    }
                    assert!(sent.elapsed() < Duration::from_secs(30), "it never came");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                latencies.push(sent.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            latencies
        });
        done.store(true, Ordering::Relaxed);
        latencies
    });
    let mut latencies = latencies;
    latencies.sort_unstable();
    latencies
}

fn ask(customer: i64, as_of_micros: Option<i64>) -> v1::GetFeaturesRequest {
    let value = |kind| v1::Value { kind: Some(kind) };
    v1::GetFeaturesRequest {
        what: Some(What::Features(v1::FeatureNames { names: vec!["customer_spend.nb_tx_7d".to_owned()] })),
        key_names: vec!["customer_id".to_owned()],
        rows: vec![v1::EntityRow { keys: vec![value(Kind::Int64Value(customer))], as_of_micros, ..v1::EntityRow::default() }],
        ..v1::GetFeaturesRequest::default()
    }
}

/// A server that reads a topic.
struct Up {
    child: Child,
    grpc: String,
    http: String,
}

impl Up {
    fn start(home: &Path, kafka: &Kafka, topic: &str) -> Up {
        let mut child = Command::new(env!("CARGO_BIN_EXE_floodmark"))
            .args(["up", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json", "--longest-wait", "0", "--definitions"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/floodmark.yaml"))
            .arg("--store")
            .arg(home.join("state"))
            .arg(format!("transactions=kafka://{}/{topic}", kafka.bootstrap))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| said[name].as_str().unwrap().to_owned();
        Up { child, grpc: format!("http://{}", address("grpc")), http: address("http") }
    }

    /// Until so many events can be read.
    fn until_read(&self, events: u64) {
        let name = "floodmark_events_read_total{source=\"transactions\"} ";
        loop {
            let mut stream = TcpStream::connect(&self.http).unwrap();
            write!(stream, "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).unwrap();
            let read = page.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or(0);
            if read >= events {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
    }
}
