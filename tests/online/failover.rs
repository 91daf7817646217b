//! Redis in several processes: a cluster answers and is written as one server is, and a master that dies takes nothing along for good.

use std::time::{Duration, Instant};

use super::World;
use crate::harness::redis::Redis;

/// Rounds that are tried until one is through.
fn catch_up(world: &mut World) {
    let began = Instant::now();
    loop {
        match world.mirror.catch_up() {
            Ok(version) => return assert_eq!(version, world.store.version()),
            Err(error) => assert!(began.elapsed() < Duration::from_secs(40), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_cluster_answers_as_one_server_does() {
    let Some(redis) = Redis::start(Some("--cluster")) else { return };
    let mut world = World::new(&redis, "cluster", 21);
    for _ in 0..3 {
        world.take_in(300);
        catch_up(&mut world);
        world.compare(40);
    }
}

/// The replica has not heard of the last rounds when its master dies: it takes over with old progress, and is brought up again.
#[test]
fn a_failover_that_loses_a_suffix_is_made_good() {
    let Some(redis) = Redis::start(Some("--sentinel")) else { return };
    let mut world = World::new(&redis, "failover", 22);
    world.take_in(600);
    catch_up(&mut world);
    let sentinel = redis.nodes().remove(0);
    let master = master_of(&redis, &sentinel);
    let told = redis.info(&master, "slave0").expect("a replica");
    let port = told.split("port=").nth(1).and_then(|rest| rest.split(',').next()).expect("its port");
    let [old, new] = [&master, &format!("127.0.0.1:{port}")].map(|node| redis.info(node, "process_id").expect("a process"));
    // The replica stands still and its link is cut: what is written from now on stays with the master.
    redis.signal(&new, "-STOP");
    redis.ask(&master, &["CLIENT", "KILL", "TYPE", "replica"]).expect("an answer");
    world.take_in(400);
    catch_up(&mut world);
    redis.signal(&old, "-KILL");
    redis.signal(&new, "-CONT");
    let began = Instant::now();
    while master_of(&redis, &sentinel) == master {
        assert!(began.elapsed() < Duration::from_secs(40), "no failover");
        std::thread::sleep(Duration::from_millis(50));
    }
    world.take_in(5);
    catch_up(&mut world);
    world.compare(60);
}

fn master_of(redis: &Redis, sentinel: &str) -> String {
    let answer = redis.ask(sentinel, &["SENTINEL", "get-master-addr-by-name", "floodmark"]).expect("the sentinel");
    let lines: Vec<&str> = answer.lines().collect();
    format!("{}:{}", lines[2], lines[4])
}
