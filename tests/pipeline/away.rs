//! A broker that is away for longer than a client is believed in: who reads begins anew with another, and misses nothing.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_features::definition::Definitions;

use super::world::{World, metrics};
use crate::chaos::payments;
use crate::chaos::verifier::verify;
use crate::crash::{Chance, DEFINITIONS};
use crate::harness::kafka::{Kafka, Record, until};
use crate::harness::redis::Redis;
use crate::push::start_telling;

#[test]
fn a_broker_that_was_away_for_long_is_read_on_by_other_clients() {
    let (Some(kafka), Some(redis)) = (Kafka::own(), Redis::start(None)) else { return };
    let mut world = World::new(&kafka, &redis, "away", DEFINITIONS, "payments");
    kafka.make_topic("away-in", 2);
    let lines = payments(&mut Chance(43), 2);
    let (first, rest) = lines.split_at(lines.len() / 2);
    kafka.produce("away-in", first.iter().map(record));
    world.route("a", &["away-in"]);
    world.apply("a");
    let store = world.home().join("store");
    let input = format!("payments=kafka://{}/away-in", kafka.bootstrap);
    let up = start_telling(&world.definitions(), &store, &["--http", "127.0.0.1:0", &input], Stdio::inherit());
    let read =
        || metrics(&up.http).and_then(|page| page.get("floodmark_events_read_total{source=\"payments\"}").copied()).unwrap_or(0.0) as usize;
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let verified = || verify(&kafka, &redis, "away", "away-in", &definitions).0.problems.is_empty();
    until("the first half", || read() == first.len() && verified());
    // A broker that is killed may leave hanging what has no mark yet.
    until("marks", || ["log", "late", "windows", "rejects"].iter().all(|suffix| kafka.is_settled(&format!("away.{suffix}"))));

    kafka.signal("KILL");
    let began = Instant::now();
    let replaced = |address: &str, name: &str| {
        metrics(address).is_some_and(|page| page.iter().any(|(of, count)| of.starts_with(name) && *count > 0.0))
    };
    until("other clients of each", || {
        let workers = world.workers.iter().all(|worker| replaced(&worker.http, "floodmark_pipeline_clients_replaced_total"));
        workers && replaced(&up.http, "floodmark_kafka_clients_replaced_total")
    });
    let elapsed = began.elapsed();
    assert!(elapsed > Duration::from_secs(15), "a broker that is away for a moment is waited for");
    kafka.start();
    kafka.produce("away-in", rest.iter().map(record));
    until("all of it", || read() == lines.len() && verified());
    eprintln!("begun anew after {elapsed:.1?}");
    up.terminate();
    assert!(up.ended(), "it ends in order");
    world.stop_all();
}

fn record((partition, line): &(i32, String)) -> Record<'_> {
    Record { partition: *partition, payload: Some(line.as_bytes()), timestamp: None }
}
