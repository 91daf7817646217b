//! Kafka over TLS, by certificate or by name and password: readers, transactions, appended events and topics that are made.

use std::path::Path;

use floodmark_proto::v1::value::Kind;
use serde_json::Value;

use super::{failed, heard, payments, redis, stranger};
use crate::crash::{DEFINITIONS, State};
use crate::harness::kafka::{Kafka, Record, until};
use crate::harness::real::{floodmark_lines, text};
use crate::harness::redis::Redis;
use crate::kafka::{Reading, all_read, home, row};
use crate::pipeline::world::World;
use crate::pipeline::{embedded, kept, online, sent};

/// A broker with its listeners, and a topic of payments.
fn broker(home: &Path) -> Option<(Kafka, u64)> {
    let kafka = Kafka::own_with(&["--secure"])?;
    let payments = payments(home);
    kafka.make_topic("in", 1);
    kafka.produce("in", payments.lines().map(|line| Record { partition: 0, payload: Some(line.as_bytes()), timestamp: None }));
    Some((kafka, payments.lines().count() as u64))
}

/// A file of properties.
fn properties(home: &Path, name: &str, lines: &[(&str, &str)]) -> String {
    let file = home.join(name);
    std::fs::write(&file, lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>()).expect("a file");
    text(&file)
}

fn by_certificate<'a>(kafka: &'a Kafka, ca: &'a str) -> [(&'a str, &'a str); 4] {
    let (cert, key) = (kafka.told("cert"), kafka.told("key"));
    [("security.protocol", "SSL"), ("ssl.ca.location", ca), ("ssl.certificate.location", cert), ("ssl.key.location", key)]
}

fn by_password<'a>(kafka: &'a Kafka, mechanism: &'a str, password: &'a str) -> [(&'a str, &'a str); 5] {
    let user = [("sasl.mechanisms", mechanism), ("sasl.username", kafka.told("user")), ("sasl.password", password)];
    [("security.protocol", "SASL_SSL"), ("ssl.ca.location", kafka.told("ca")), user[0], user[1], user[2]]
}

#[test]
fn what_goes_in_and_out_over_tls_is_what_the_store_holds() {
    let home = home();
    let home = home.path();
    let Some((kafka, records)) = broker(home) else { return };
    let tls = properties(home, "tls.properties", &by_certificate(&kafka, kafka.told("ca")));
    let at = kafka.told("tls");
    let (input, publish) = (format!("payments=kafka://{at}/in"), format!("kafka://{at}/out"));
    let reading = Reading::start_with(home, "store", &["--kafka-config", &tls, "--publish", &publish, &input]);
    all_read(&reading, records);
    let ack = reading.push(vec![row(1_000_000, Kind::DoubleValue(1.5))]);
    assert_eq!(ack.appended, 1, "the broker has it");
    all_read(&reading, records + 1);
    let state: State = reading.end(home, "store");
    assert_eq!(state.tally.read, records + 1);
    for (command, topic) in [("late", "out.late"), ("windows", "out.windows"), ("rejects", "out.rejects")] {
        let (kept, sent) = (kept(&home.join("store"), command), sent(&kafka, topic));
        eprintln!("{topic}: {} kept, {} sent over TLS", kept.len(), sent.len());
        assert!(!kept.is_empty() && kept == sent, "{topic}");
    }
}

#[test]
fn a_pipeline_by_name_and_password_makes_what_the_embedded_store_makes() {
    let home = home();
    let home = home.path();
    let (Some((kafka, records)), Some(redis)) = (broker(home), Redis::start(Some("--tls"))) else { return };
    redis::make_users(&redis);
    let mut world = World::new(&kafka, &redis, "pw", DEFINITIONS, "payments");
    world.bootstrap = kafka.told("sasl").to_owned();
    world.redis_url = redis::address(&redis, "floodmark-writer");
    world.of_redis = ["--online-ca", redis.told("ca")].map(str::to_owned).to_vec();
    let scram = properties(home, "scram.properties", &by_password(&kafka, "SCRAM-SHA-512", kafka.told("password")));
    let plain = properties(home, "plain.properties", &by_password(&kafka, "PLAIN", kafka.told("password")));
    world.more = vec!["--kafka-config".to_owned(), scram.clone()];
    world.route("a", &["in"]);
    world.more[1] = plain;
    world.apply("a");
    world.until_taken("spend", records);
    until("a status that says so", || {
        let (pipeline, input) = (format!("kafka://{}/pw", world.bootstrap), format!("payments=kafka://{}/in", world.bootstrap));
        let lines = floodmark_lines(&["status", "--json", "--kafka-config", &scram, "--pipeline", &pipeline, &input]);
        let [source, log @ ..] = lines.as_slice() else { return false };
        let same = |line: &Value| line["lag"] == 0 && line["watermarks"]["payments"] == source["watermark"];
        source["lag"] == 0 && log.len() == 4 && log.iter().all(same)
    });
    world.stop_all();
    assert_eq!(redis::denied(&redis), "*0\r\n", "nothing was asked of redis that is not allowed");

    let reading = Reading::start_with(home, "store", &[&format!("payments=kafka://{}/in", kafka.bootstrap)]);
    all_read(&reading, records);
    reading.end(home, "store");
    assert_eq!(sent(&kafka, "pw.rejects"), kept(&home.join("store"), "rejects"));
    let (online, embedded) = (online(&redis, "pw"), embedded(&home.join("store")));
    eprintln!("{} answers of {records} records over SASL and TLS", online.len());
    assert!(online == embedded, "answers");
}

#[test]
fn whoever_is_not_let_in_or_does_not_trust_says_which_broker_and_what_to_do() {
    let home = home();
    let home = home.path();
    let Some(kafka) = Kafka::own_with(&["--secure"]) else { return };
    kafka.make_topic("in", 1);
    let unknown = text(&stranger(home));
    let (tls, sasl) = (kafka.told("tls"), kafka.told("sasl"));
    let nobody = [("security.protocol", "SSL"), ("ssl.ca.location", kafka.told("ca"))];
    let cases: [(&str, &[(&str, &str)], &str, &str); 5] = [
        ("wrong", &by_password(&kafka, "SCRAM-SHA-512", "wrong"), sasl, "correct sasl.username, sasl.password"),
        ("plain", &by_password(&kafka, "PLAIN", "wrong"), sasl, "correct sasl.username, sasl.password"),
        ("stranger", &by_certificate(&kafka, &unknown), tls, "name who vouches for it in ssl.ca.location"),
        ("nobody", &nobody, tls, "ssl.certificate.location"),
        ("no-tls", &[], sasl, "say so with security.protocol"),
    ];
    let definitions = text(&home.join("definitions.yaml"));
    for (name, lines, at, way_out) in cases {
        eprintln!("-- {name}");
        let file = properties(home, &format!("{name}.properties"), lines);
        let (input, pipeline) = (format!("payments=kafka://{at}/in"), format!("kafka://{at}/pipeline"));
        let common = ["--definitions", &definitions, "--kafka-config", &file];
        let (store, log) = (text(&home.join(name)), home.join(format!("{name}.log")));
        let up = ["up", "--listen", "127.0.0.1:0", "--store", &store, &input];
        heard(&[&up[..], &common].concat(), &log, &[at, way_out, "source payments"]);
        if name != "wrong" {
            continue;
        }
        let up = ["up", "--listen", "127.0.0.1:0", "--store", &store, "--publish", &pipeline];
        heard(&[&up[..], &common].concat(), &log, &[at, way_out, "outputs"]);
        let route = ["ingest", "--role", "route", "--worker", "a", "--pipeline", &pipeline, &input];
        heard(&[&route[..], &common].concat(), &log, &[at, way_out]);
        let said = failed(&["status", "--kafka-config", &file, "--pipeline", &pipeline]);
        assert!(said.contains(at) && said.contains(way_out), "{said}");
    }
}
