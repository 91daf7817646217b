//! Zombies: a worker whose transaction is on the wire while it is taken for dead, and arrives when another has done its work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_features::definition::Definitions;

use super::world::{Worker, World};
use crate::chaos::payments;
use crate::chaos::proxy::Proxy;
use crate::chaos::verifier::verify;
use crate::crash::{Chance, DEFINITIONS};
use crate::harness::kafka::{Kafka, Record, until};
use crate::harness::redis::Redis;

/// How often a worker becomes a zombie.
const DEATHS: usize = 2;
/// A worker is taken for dead after its transaction has begun, and that may last: nothing but fencing ends it.
const CLIENTS: &str = "session.timeout.ms=9000\nheartbeat.interval.ms=300\ntransaction.timeout.ms=60000\n";
/// What comes is in the hand of who is to die for so long before it is committed: longer than a slow machine takes to cut it off.
const SLOW: Duration = Duration::from_secs(6);
/// The same of who takes its place.
const QUICK: Duration = Duration::from_millis(200);

#[test]
fn who_commits_what_others_have_done_while_it_was_taken_for_dead_is_refused() {
    let proxy = Proxy::start();
    let kafka = Kafka::own_with(&["--proxy", &proxy.port.to_string()]);
    let (Some(kafka), Some(redis)) = (kafka, Redis::start(None)) else { return };
    proxy.lead_to(&kafka.proxied);
    let mut world = World::new(&kafka, &redis, "zombie", DEFINITIONS, "payments");
    std::fs::write(world.home().join("clients.properties"), CLIENTS).expect("a file");
    kafka.make_topic("zombie-in", 1);
    with_interval(&mut world, QUICK);
    world.apply("a");
    let lines = payments(&mut Chance(47), 1);
    let committed = || kafka.positions("zombie.route.payments", "zombie-in") == kafka.ends("zombie-in", "read_uncommitted");
    for (death, part) in lines.chunks(lines.len() / DEATHS + 1).enumerate() {
        with_interval(&mut world, SLOW);
        world.bootstrap = format!("127.0.0.1:{}", proxy.port);
        world.route(&format!("slow-{death}"), &["zombie-in"]);
        let zombie = world.workers.len() - 1;
        until("an owner", || has_the_partition(&world.workers[zombie]));
        let produced = Instant::now();
        kafka.produce(
            "zombie-in",
            part.iter().map(|(partition, line)| Record { partition: *partition, payload: Some(line.as_bytes()), timestamp: None }),
        );
        std::thread::sleep(SLOW / 6);
        proxy.stand_still();
        assert!(!committed(), "it has them in hand");
        with_interval(&mut world, QUICK);
        world.bootstrap.clone_from(&kafka.bootstrap);
        world.route(&format!("quick-{death}"), &["zombie-in"]);
        until("another has done them", committed);
        // By then the first step of its transaction waits on the wire.
        std::thread::sleep((SLOW + QUICK).saturating_sub(produced.elapsed()));
        proxy.go_on();
        until("it is refused", || refused(&world.workers[zombie]) > 0);
        world.stop_role("route");
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

/// What workers that are started from now on gather before they commit.
fn with_interval(world: &mut World, interval: Duration) {
    let properties = world.home().join("clients.properties").to_str().expect("text").to_owned();
    world.more = ["--kafka-config", &properties, "--commit-interval", &interval.as_millis().to_string()].map(str::to_owned).to_vec();
}

fn has_the_partition(worker: &Worker) -> bool {
    count(worker, "floodmark_pipeline_partitions{", "") == 1
}

fn refused(worker: &Worker) -> u64 {
    count(worker, "floodmark_pipeline_transactions_total{", "aborted") + count(worker, "floodmark_pipeline_producers_replaced_total{", "")
}

fn count(worker: &Worker, name: &str, label: &str) -> u64 {
    let metrics = worker.metrics().unwrap_or_default();
    metrics.iter().filter(|(of, _)| of.starts_with(name) && of.contains(label)).map(|(_, count)| *count as u64).sum()
}
