//! Zombies: a worker that stands still with records in hand, is taken for dead, and goes on where it was when another has done its work.

use std::sync::Arc;
use std::time::Duration;

use floodmark_features::definition::Definitions;

use super::world::{Worker, World};
use crate::chaos::payments;
use crate::chaos::verifier::verify;
use crate::crash::{Chance, DEFINITIONS};
use crate::harness::kafka::{Kafka, Record, until};
use crate::harness::redis::Redis;

/// How often a worker becomes a zombie.
const DEATHS: usize = 2;
/// A worker is soon taken for dead, but what it has begun may last: nothing but fencing ends it.
const CLIENTS: &str = "session.timeout.ms=2500\nheartbeat.interval.ms=300\ntransaction.timeout.ms=60000\n";
/// What comes is in the hand of a worker for so long before it is committed.
const INTERVAL: Duration = Duration::from_millis(1_500);

#[test]
fn who_goes_on_with_records_in_hand_after_others_have_done_them_commits_none() {
    let (Some(kafka), Some(redis)) = (Kafka::shared(), Redis::start(None)) else { return };
    let mut world = World::new(&kafka, &redis, "zombie", DEFINITIONS, "payments");
    let properties = world.home().join("clients.properties");
    std::fs::write(&properties, CLIENTS).expect("a file");
    world.more = ["--kafka-config", properties.to_str().expect("text"), "--commit-interval", &INTERVAL.as_millis().to_string()]
        .map(str::to_owned)
        .to_vec();
    kafka.make_topic("zombie-in", 1);
    world.apply("a");
    ["a", "b"].into_iter().for_each(|name| world.route(name, &["zombie-in"]));
    let lines = payments(&mut Chance(47), 1);
    let committed = || kafka.positions("zombie.route.payments", "zombie-in") == kafka.ends("zombie-in", "read_uncommitted");
    let refused = |worker: &Worker| {
        count(worker, "floodmark_pipeline_transactions_total{", "aborted")
            + count(worker, "floodmark_pipeline_producers_replaced_total{", "")
    };
    for part in lines.chunks(lines.len() / DEATHS + 1) {
        until("an owner", || world.workers.iter().any(has_the_partition));
        kafka.produce(
            "zombie-in",
            part.iter().map(|(partition, line)| Record { partition: *partition, payload: Some(line.as_bytes()), timestamp: None }),
        );
        std::thread::sleep(INTERVAL / 2);
        let zombie = world.workers.iter().find(|worker| has_the_partition(worker)).expect("an owner");
        let before = refused(zombie);
        assert!(!committed(), "it has them in hand");
        zombie.signal("STOP");
        until("the other has done them", committed);
        zombie.signal("CONT");
        // It commits what it has, as its interval is over, or hears first that it is dead.
        std::thread::sleep(INTERVAL);
        eprintln!("{} came back, and was refused {} times", zombie.name, refused(zombie) - before);
    }
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let mut last = Vec::new();
    until("everything in its place", || {
        last = verify(&kafka, &redis, "zombie", "zombie-in", &definitions).0.problems;
        last.truncate(3);
        last.iter().for_each(|problem| eprintln!("{problem}"));
        last.is_empty()
    });
    world.stop_all();
}

fn has_the_partition(worker: &Worker) -> bool {
    worker.role == "route" && count(worker, "floodmark_pipeline_partitions{", "") == 1
}

fn count(worker: &Worker, name: &str, label: &str) -> u64 {
    let metrics = worker.metrics().unwrap_or_default();
    metrics.iter().filter(|(of, _)| of.starts_with(name) && of.contains(label)).map(|(_, count)| *count as u64).sum()
}
