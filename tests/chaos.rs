//! Chaos: a pipeline on a real Kafka and a real Redis, whose workers, servers and network fail in every way that a seed thinks of, while
//! events come. Afterwards a verifier that knows nothing but topics and store looks whether anything can be seen of it.
//!
//! `make test` plays a few rounds, `make chaos` a hundred (FLOODMARK_CHAOS_ROUNDS) and some more on three nodes of Kafka
//! (FLOODMARK_CHAOS_NODES), one of which may run out of room; from FLOODMARK_CHAOS_SEED or from the clock.
//!
//! A broker that is killed and is back before the others take it for dead goes on for a second with what it knew. If a transaction runs out
//! in that second, and its partitions lose their only leader right then, Kafka 4.4 takes them for deleted and writes no mark ("Couldn't
//! find leader endpoint ... these partitions are likely deleted already" in its log): the transaction hangs, and only `kafka-transactions.sh
//! abort` ends it. So a broker that is alone fails only in rounds in which transactions may last as long as they do in life, which is longer
//! than it is away. A round that fails tells whether its broker's log says so: one that is committed or aborted in that second may
//! hang as well.

mod faults;
pub(crate) mod proxy;
mod recount;
pub(crate) mod verifier;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Ask, Cell, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_store::redis::Reader;

use crate::crash::{Chance, DEFINITIONS};
use crate::harness::kafka::{Kafka, Record};
use crate::harness::redis::Redis;
use crate::pipeline::world::World;
use faults::Faults;
use proxy::Proxy;
use verifier::{Findings, Fold, verify};

const EVENTS: u64 = 8_000;
const START: i64 = 1_700_000_000_000_000;
/// Cards that come seldom.
const COLD: std::ops::Range<i64> = 1_000..4_000;
/// Short times, so that a round sees what else takes a minute; the same relations as in life.
const CLIENTS: &str = "session.timeout.ms=2500\nheartbeat.interval.ms=300\nmessage.timeout.ms=3500\n";
const SHORT_TRANSACTIONS: &str = "transaction.timeout.ms=4000\n";
const LONG_TRANSACTIONS: &str = "transaction.timeout.ms=60000\n";

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_fails_the_state_is_that_of_a_run_in_which_nothing_did() {
    let rounds = setting("FLOODMARK_CHAOS_ROUNDS").unwrap_or(3);
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let seed = setting("FLOODMARK_CHAOS_SEED").unwrap_or_else(clock) | 1;
    let began = Instant::now();
    let mut chance = Chance(seed);
    let mut server: Option<(Kafka, Proxy)> = None;
    for round in 0..rounds {
        let seed = chance.below(u64::MAX) | 1;
        // Another broker now and then: this one's topics are many by now.
        if round % 10 == 0 {
            drop(server.take());
            let proxy = Proxy::start();
            let port = proxy.port.to_string();
            let several = setting("FLOODMARK_CHAOS_NODES").is_some_and(|nodes| nodes > 1);
            let arguments = if several { ["--nodes", "3"] } else { ["--proxy", &port] };
            let Some(kafka) = Kafka::own_with(&arguments) else { return };
            // Of several nodes each would need a proxy of its own: that is left to the rounds with one.
            proxy.lead_to(&kafka.proxied);
            server = Some((kafka, proxy));
        }
        let (kafka, proxy) = server.as_ref().expect("a broker");
        if !play(kafka, proxy, seed, round) {
            return;
        }
    }
    eprintln!("{rounds} rounds in {:?}, nothing to be seen of any", began.elapsed());
}

/// Plays one round; false if there is no Redis.
fn play(kafka: &Kafka, proxy: &Proxy, seed: u64, round: u64) -> bool {
    let began = Instant::now();
    let mut chance = Chance(seed);
    let shape = match round % 6 {
        2 => Some("--sentinel"),
        4 => Some("--cluster"),
        _ => None,
    };
    let Some(redis) = Redis::start(shape) else { return false };
    let prefix = format!("chaos-{round}-{seed:x}");
    let input = format!("{prefix}-in");
    let partitions = [1, 2, 4][chance.below(3) as usize];
    kafka.make_topic(&input, partitions);
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let mut world = World::new(kafka, &redis, &prefix, DEFINITIONS, "payments");
    let properties = world.home().join("clients.properties");
    // A broker that is alone may fail in every other round, with each shape of Redis, and then no transaction runs out.
    let broker_may_fail = kafka.nodes() > 1 || (round + round / 6) % 2 == 1;
    let transactions = if broker_may_fail && kafka.nodes() == 1 { LONG_TRANSACTIONS } else { SHORT_TRANSACTIONS };
    std::fs::write(&properties, format!("{CLIENTS}{transactions}")).expect("a file");
    world.more = vec!["--kafka-config".to_owned(), properties.to_str().expect("text").to_owned()];
    if kafka.nodes() == 1 {
        world.bootstrap = format!("127.0.0.1:{}", proxy.port);
    }
    for name in ["a", "b"] {
        world.route(name, &[&input]);
        world.apply(name);
    }
    let lines = payments(&mut chance, partitions);
    let over = AtomicBool::new(false);
    let (mut faults, said) = std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(kafka, &input, &lines, seed));
        let asking = scope.spawn(|| ask(&redis, &prefix, &definitions, seed, &over));
        let mut faults = Faults::new(kafka, proxy, &redis, shape, seed);
        faults.broker_may_fail = broker_may_fail;
        for _ in 0..2 + chance.below(3) {
            std::thread::sleep(Duration::from_millis(chance.below(1_500)));
            faults.strike(&mut world);
        }
        producing.join().expect("every record is there");
        over.store(true, Ordering::SeqCst);
        (faults, asking.join().expect("no panic"))
    });
    faults.heal(&mut world);
    let healed = began.elapsed();
    let (findings, fold) = settle(kafka, &redis, &prefix, &input, &definitions, &mut world);
    let mut problems = findings.problems;
    problems.extend(faults.unexpected);
    problems.extend(recount::differences(kafka, &input, &definitions, &fold));
    let finals = said.iter().map(|said| said.finals()).sum::<usize>();
    problems.extend(said.iter().filter_map(|said| said.was_wrong(&definitions, &fold)));
    eprintln!(
        "round {round} seed {seed}: {} | {} records, {} refused, {partitions} partitions, {} batches, {} late, {} windows, {finals} values said to be final | healed after {healed:.1?}, settled after {:.1?}",
        faults.log.join(", "),
        findings.events,
        findings.rejects,
        findings.batches,
        findings.late,
        findings.windows,
        began.elapsed(),
    );
    if !problems.is_empty() {
        world.show_logs();
        kinds(&problems);
        for suffix in ["log", "rejects", "late", "windows"] {
            let [stable, end] =
                ["read_committed", "read_uncommitted"].map(|isolation| kafka.ends(&format!("{prefix}.{suffix}"), isolation));
            eprintln!("{prefix}.{suffix}: stable {stable:?} end {end:?}");
        }
        eprintln!("marks that the broker says it has not written: {:#?}", kafka.lost_marks(&prefix));
    }
    assert!(
        problems.is_empty(),
        "round {round} seed {seed}: {} problems\n{}",
        problems.len(),
        problems[..problems.len().min(12)].join("\n")
    );
    true
}

/// How many problems there are of each kind, and the last of it.
fn kinds(problems: &[String]) {
    let kind = |problem: &String| {
        problem.split_whitespace().filter(|word| word.chars().all(char::is_alphabetic)).take(6).collect::<Vec<_>>().join(" ")
    };
    let mut kinds: std::collections::BTreeMap<String, (usize, &String)> = Default::default();
    for problem in problems {
        let entry = kinds.entry(kind(problem)).or_insert((0, problem));
        *entry = (entry.0 + 1, problem);
    }
    kinds.iter().for_each(|(kind, (count, last))| eprintln!("{count} times {kind}: {last}"));
}

/// Payments with their partitions, in order: jittered, some late, some broken, some coming twice, and a part of them again.
pub(crate) fn payments(chance: &mut Chance, partitions: i32) -> Vec<(i32, String)> {
    let mut lines = Vec::new();
    for id in 0..EVENTS {
        let mut at = START + id as i64 * 4_000_000 - chance.below(50_000_000) as i64;
        if chance.below(60) == 0 {
            at -= chance.below(2 * 86_400_000_000) as i64;
        }
        // Most cards come again and again; the others once or twice, so that nothing writes again what a store has lost of them.
        let card = if chance.below(3) == 0 { COLD.start as u64 + chance.below((COLD.end - COLD.start) as u64) } else { chance.below(200) };
        let (shop, cents) = (chance.below(40), chance.below(100_000));
        let line = match chance.below(400) {
            0 => format!("{{\"id\":{id},\"at\":"),
            _ => format!("{{\"id\":{id},\"at\":{at},\"card\":{card},\"shop\":\"s{shop}\",\"amount\":{}}}", cents as f64 / 100.0),
        };
        let partition = (id % partitions as u64) as i32;
        if chance.below(100) == 0 {
            lines.push((partition, line.clone()));
        }
        lines.push((partition, line));
    }
    let from = chance.below(EVENTS / 2) as usize;
    let again = lines[from..from + 300].to_vec();
    lines.splice(from + 500..from + 500, again);
    lines
}

/// In a dozen parts, over several seconds.
fn produce(kafka: &Kafka, topic: &str, lines: &[(i32, String)], seed: u64) {
    let mut chance = Chance(seed ^ 0x5555);
    for part in lines.chunks(lines.len() / 12 + 1) {
        let records =
            part.iter().map(|(partition, line)| Record { partition: *partition, payload: Some(line.as_bytes()), timestamp: None });
        kafka.produce(topic, records);
        std::thread::sleep(Duration::from_millis(chance.below(500)));
    }
}

/// What a client was told.
struct Said {
    card: i64,
    shop: String,
    as_of: Time,
    cells: Vec<Cell>,
}

impl Said {
    fn finals(&self) -> usize {
        self.cells.iter().filter(|cell| !cell.provisional).count()
    }

    /// What was said to be final must be what it is worth at the end (T9).
    fn was_wrong(&self, definitions: &Arc<Definitions>, fold: &Fold) -> Option<String> {
        let lookup = Lookup::of_service(definitions.clone(), 0);
        let keys = [ValueRef::Int(self.card), ValueRef::Str(&self.shop)];
        let ask = Ask { keys: &keys, request: &[], as_of: self.as_of, version: None, own_event: None, mode: Mode::AsServed };
        let worth = fold.answer(&lookup, &ask);
        let wrong = self.cells.iter().zip(&worth).find(|(said, worth)| !said.provisional && said.value != worth.value);
        wrong.map(|(said, worth)| format!("card {} as of {}: {said:?} was said to be final, and is {worth:?}", self.card, self.as_of))
    }
}

/// Asks all the while, as serving nodes do.
fn ask(redis: &Redis, prefix: &str, definitions: &Arc<Definitions>, seed: u64, over: &AtomicBool) -> Vec<Said> {
    let mut chance = Chance(seed ^ 0x3333);
    let lookup = Lookup::of_service(definitions.clone(), 0);
    let (mut reader, mut said) = (None, Vec::new());
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
        if reader.is_none() {
            reader = Reader::open(redis.settings(prefix), definitions.clone()).ok();
        }
        let Some(reader) = &reader else { continue };
        let (card, shop) = (chance.below(200) as i64, format!("s{}", chance.below(40)));
        let as_of = Time::from_micros(START - 3_600_000_000 + chance.below(9 * 3_600_000_000) as i64);
        let keys = [ValueRef::Int(card), ValueRef::Str(&shop)];
        let ask = Ask { keys: &keys, request: &[], as_of, version: None, own_event: None, mode: Mode::AsServed };
        let answer = reader.read_within(&lookup, &[ask], Duration::from_millis(500)).pop();
        if let Some(Ok(answer)) = answer {
            said.push(Said { card, shop, as_of, cells: answer.cells });
        }
    }
    said
}

/// Waits until all that came is where it belongs, and ends the workers; what is wrong by then stays wrong.
fn settle(kafka: &Kafka, redis: &Redis, prefix: &str, input: &str, definitions: &Arc<Definitions>, world: &mut World) -> (Findings, Fold) {
    let began = Instant::now();
    let group = format!("{prefix}.route.payments");
    let routed = || kafka.positions(&group, input).is_some_and(|at| Some(at) == kafka.ends(input, "read_uncommitted"));
    while !routed() && began.elapsed() < Duration::from_secs(90) {
        std::thread::sleep(Duration::from_millis(200));
    }
    eprintln!("routed after {:.1?}", began.elapsed());
    loop {
        let (findings, fold) = verify(kafka, redis, prefix, input, definitions);
        eprintln!("verified after {:.1?}: {} problems {:?}", began.elapsed(), findings.problems.len(), findings.problems.first());
        if findings.problems.is_empty() || began.elapsed() > Duration::from_secs(90) {
            world.stop_all();
            return (findings, fold);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}
