//! Workers come and go while events come: partitions move, nothing is lost or counted twice, and no partition stands still for long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use floodmark_features::definition::Definitions;

use super::world::World;
use crate::chaos::payments;
use crate::chaos::verifier::verify;
use crate::crash::{Chance, DEFINITIONS};
use crate::harness::kafka::{Kafka, Record, until};
use crate::harness::redis::Redis;

#[test]
fn workers_come_and_go_and_every_event_counts_once() {
    let (Some(kafka), Some(redis)) = (Kafka::shared(), Redis::start(None)) else { return };
    let mut world = World::new(&kafka, &redis, "moving", DEFINITIONS, "payments");
    kafka.make_topic("moving-in", 4);
    let lines = payments(&mut Chance(41), 4);
    world.route("a", &["moving-in"]);
    world.apply("a");
    let over = AtomicBool::new(false);
    let pauses = std::thread::scope(|scope| {
        let produce = || {
            for part in lines.chunks(lines.len() / 36) {
                kafka.produce("moving-in", part.iter().map(|(partition, line)| record(*partition, line)));
                std::thread::sleep(Duration::from_millis(100));
            }
            over.store(true, Ordering::SeqCst);
        };
        let producing = scope.spawn(produce);
        let watching = scope.spawn(|| longest_pauses(&redis, &over));
        std::thread::sleep(Duration::from_secs(3));
        world.route("b", &["moving-in"]);
        world.apply("b");
        std::thread::sleep(Duration::from_secs(4));
        // The first of each leaves, in order; then its place is taken again.
        for at in [0, 1] {
            world.workers[at].signal("TERM");
            world.workers[at].wait();
        }
        std::thread::sleep(Duration::from_secs(3));
        world.route("a", &["moving-in"]);
        world.apply("c");
        producing.join().expect("every record is there");
        watching.join().expect("no panic")
    });
    eprintln!("each partition's longest time without news while workers came and went: {pauses:.1?}");
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let mut last = Vec::new();
    until("everything in its place", || {
        last = verify(&kafka, &redis, "moving", "moving-in", &definitions).0.problems;
        last.is_empty()
    });
    world.workers.retain_mut(|worker| worker.ended().is_none());
    world.stop_all();
}

fn record(partition: i32, line: &str) -> Record<'_> {
    Record { partition, payload: Some(line.as_bytes()), timestamp: None }
}

/// For each log partition, how long its version in Redis stayed the same at most, from its first on.
fn longest_pauses(redis: &Redis, over: &AtomicBool) -> Vec<Duration> {
    let node = redis.nodes().remove(0);
    let mut seen: BTreeMap<usize, (String, Instant, Duration)> = BTreeMap::new();
    while !over.load(Ordering::SeqCst) {
        for partition in 0..4 {
            let Some(version) = redis.ask(&node, &["HGET", &format!("fm:{{moving:{partition}}}:p"), "version"]) else { continue };
            if version.starts_with("$-1") {
                continue;
            }
            let (known, since, longest) = seen.entry(partition).or_insert_with(|| (version.clone(), Instant::now(), Duration::ZERO));
            *longest = since.elapsed().max(*longest);
            if *known != version {
                (*known, *since) = (version, Instant::now());
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    seen.into_values().map(|(_, _, longest)| longest).collect()
}
