//! The online store in Redis: whatever is asked of it, the answer has the bits of the embedded store that it mirrors; one process writes;
//! what Redis loses is written again.

mod applier;
mod command;
mod deadline;
mod failover;
mod scores;
mod valkey;

use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::key::EventId;
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode, OwnEvent};
use floodmark_features::time::Time;
use floodmark_features::value::{Value, ValueRef};
use floodmark_ingest::replay::{Input, replay};
use floodmark_store::redis::{Mirror, OnlineError, Reader};
use floodmark_store::{ReadError, Settings, Store};
use tempfile::TempDir;

use crate::disorder::Chance;
use crate::harness::redis::Redis;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_700_000_000 * SECOND;
const CARDS: u64 = 4;
const SHOPS: u64 = 60;

const DEFINITIONS: &str = r#"
sources:
  payments:
    schema: { id: int64, at: timestamp, card: int64, shop: string, amount: float64, fraud: bool }
    event_time: at
    event_id: id
    max_out_of_orderness: 10m
    allowed_lateness: 1h
    retention: 6d
entities:
  card: { keys: [card] }
  shop: { keys: [shop] }
views:
  spend:
    entity: card
    source: payments
    features:
      n: { count: "*", windows: [1h, 2d, lifetime] }
      sum: { sum: amount, windows: [1d, lifetime] }
      top: { max: amount, windows: [2d] }
      shops: { distinct: shop, windows: [1d] }
  burst:
    entity: card
    source: payments
    features:
      n: { count: "*", windows: [{ session: 30m }, { sliding: 1h, every: 5m }, { tumbling: 1d }] }
  risk:
    entity: shop
    source: payments
    features:
      n: { count: "*", windows: [1d], delay: 1d }
      risk: { mean: fraud, windows: [2d], delay: 1d, default: 0 }
      last: { last: amount, windows: [2d] }
services:
  all:
    features: [spend.*, burst.*, risk.*]
    request: { amount: float64 }
    derived: { ratio: amount / spend.sum_1d }
  cards: { features: [spend.*, burst.*] }
"#;

/// An embedded store, its mirror and a reader.
struct World {
    home: TempDir,
    store: Arc<Store>,
    mirror: Mirror,
    reader: Reader,
    lookups: Vec<Lookup>,
    chance: Chance,
    /// How far the events have come.
    at: i64,
    ids: i64,
    files: usize,
    versions: Vec<u64>,
}

fn settings(seed: u64) -> Settings {
    let roomy = Settings { partitions: 4, ..Settings::default() };
    match seed % 2 {
        // Timelines stay in memory, and chunks are written one by one.
        0 => roomy,
        // So little memory that timelines are dropped and read back all the time.
        _ => Settings { memory_budget: 120_000, checkpoint_after: 30_000, ..roomy },
    }
}

impl World {
    fn new(redis: &Redis, name: &str, seed: u64) -> World {
        let home = tempfile::tempdir().expect("a directory");
        let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
        let store = Arc::new(Store::open(home.path(), definitions.clone(), DEFINITIONS, settings(seed)).expect("a store"));
        let mut mirror = Mirror::attach(store.clone(), &redis.settings(name)).expect("a mirror");
        mirror.catch_up().expect("an empty store");
        let reader = Reader::open(redis.settings(name), definitions.clone()).expect("a reader");
        let lookups = (0..2).map(|service| Lookup::of_service(definitions.clone(), service)).collect();
        World { home, store, mirror, reader, lookups, chance: Chance(seed), at: START, ids: 0, files: 0, versions: Vec::new() }
    }

    /// Some more events, out of order, some of them late, some twice.
    fn take_in(&mut self, events: usize) {
        let mut lines = String::new();
        for _ in 0..events {
            let chance = &mut self.chance;
            self.at += chance.below(240) as i64 * SECOND;
            let back = match chance.below(20) {
                0 => chance.below(3 * 86_400) as i64,
                1..10 => chance.below(600) as i64,
                _ => 0,
            };
            let id = if chance.below(30) == 0 { self.ids - 1 } else { self.ids };
            self.ids += 1;
            let (at, card, shop) = (self.at - back * SECOND, chance.below(CARDS), chance.below(SHOPS));
            let (amount, fraud) = (chance.below(100_000) as f64 / 7.0, chance.below(9) == 0);
            lines +=
                &format!("{{\"id\":{id},\"at\":{at},\"card\":{card},\"shop\":\"shop {shop}\",\"amount\":{amount},\"fraud\":{fraud}}}\n");
        }
        let path = self.home.path().join(format!("payments-{}.jsonl", self.files));
        self.files += 1;
        std::fs::write(&path, lines).expect("a file");
        replay(&self.store, &[Input { source: "payments".to_owned(), path }], &mut |_| ()).expect("a replay");
        self.store.keep_memory_bounded().expect("room");
        self.versions.push(self.store.version());
    }

    /// Asks both stores the same random rows, several at once, and compares to the last bit.
    fn compare(&mut self, requests: usize) {
        let mut seen = Seen::default();
        for _ in 0..requests {
            let lookup = self.chance.below(2) as usize;
            let rows: Vec<Row> = (0..=self.chance.below(6)).map(|_| self.row()).collect();
            let lookup = &self.lookups[lookup];
            let keys: Vec<[ValueRef<'_>; 2]> = rows.iter().map(|row| [ValueRef::Int(row.card), ValueRef::Str(&row.shop)]).collect();
            let amount = [ValueRef::Float(12.5)];
            let asks: Vec<Ask<'_>> = rows
                .iter()
                .zip(&keys)
                .map(|(row, keys)| Ask {
                    keys: &keys[..lookup.keys.columns.len()],
                    request: &amount[..lookup.request.columns.len()],
                    as_of: row.as_of,
                    version: row.version,
                    own_event: row.own.as_ref(),
                    mode: row.mode,
                })
                .collect();
            let answers = self.reader.read(lookup, &asks);
            assert_eq!(answers.len(), asks.len());
            for ((ask, row), online) in asks.iter().zip(&rows).zip(answers) {
                let mut embedded = Answer::default();
                let embedded = self.store.read(lookup, ask, &mut embedded).map(|()| embedded);
                seen.count(&embedded);
                assert_eq!(shown(embedded), shown(online), "{row:?}");
            }
        }
        assert!(seen.answers > requests && seen.finals > 0, "{seen:?}");
    }

    fn row(&mut self) -> Row {
        let chance = &mut self.chance;
        let card = chance.below(CARDS + 1) as i64;
        let shop = format!("shop {}", chance.below(SHOPS + 5));
        let as_of = match chance.below(12) {
            0 => self.at - 8 * DAY + chance.below(16 * 86_400) as i64 * SECOND,
            1 => self.at + DAY,
            _ => self.at - chance.below(3 * 86_400) as i64 * SECOND,
        };
        let version = match chance.below(5) {
            0 => self.versions.get(chance.below(self.versions.len().max(1) as u64) as usize).copied(),
            1 if chance.below(8) == 0 => Some(u64::MAX),
            _ => None,
        };
        let own = (chance.below(3) == 0).then(|| OwnEvent {
            source: 0,
            id: EventId::Int(chance.below(self.ids as u64 + 5) as i64),
            time: Time::from_micros(as_of),
            fields: (chance.below(2) == 0).then(|| {
                let at = Value::Time(Time::from_micros(as_of));
                vec![Value::Int(self.ids), at, Value::Int(card), Value::Str(shop.as_str().into()), Value::Float(3.3), Value::Bool(true)]
            }),
            exclude: chance.below(4) == 0,
        });
        let mode = if chance.below(4) == 0 { Mode::AsCorrected } else { Mode::AsServed };
        Row { card, shop, as_of: Time::from_micros(as_of), version, own, mode }
    }
}

#[derive(Debug)]
struct Row {
    card: i64,
    shop: String,
    as_of: Time,
    version: Option<u64>,
    own: Option<OwnEvent>,
    mode: Mode,
}

/// That the comparison has seen what it is for.
#[derive(Debug, Default)]
struct Seen {
    answers: usize,
    finals: usize,
}

impl Seen {
    fn count(&mut self, answer: &Result<Answer, ReadError>) {
        if let Ok(answer) = answer {
            self.answers += 1;
            self.finals += answer.cells.iter().filter(|cell| !cell.provisional).count();
        }
    }
}

/// Answers and refusals to be compared: floats by their bits.
fn shown(answer: Result<Answer, ReadError>) -> Result<(String, Vec<u64>), String> {
    let bits = |answer: &Answer| {
        let floats = answer.cells.iter().filter_map(|cell| if let Value::Float(x) = cell.value { Some(x.to_bits()) } else { None });
        floats.collect()
    };
    answer.map(|answer| (format!("{answer:?}"), bits(&answer))).map_err(|error| error.to_string())
}

#[test]
fn redis_answers_with_the_bits_of_the_embedded_store() {
    if let Some(redis) = Redis::start(None) {
        same_bits(&redis);
    }
}

fn same_bits(redis: &Redis) {
    for seed in [11, 12, 13, 14] {
        let mut world = World::new(redis, &format!("bits-{seed}"), seed);
        for round in 0..14 {
            let events = 1 + world.chance.below(if round % 3 == 0 { 900 } else { 60 }) as usize;
            world.take_in(events);
            if round % 4 == 2 {
                continue; // two commits in one round of the mirror
            }
            if round % 5 == 1 && seed != 12 {
                world.store.checkpoint().expect("a checkpoint");
            }
            assert_eq!(world.mirror.catch_up().expect("a round"), world.store.version());
            world.compare(60);
        }
    }
}

#[test]
fn a_redis_that_is_behind_answers_as_the_store_did() {
    if let Some(redis) = Redis::start(None) {
        behind(&redis);
    }
}

fn behind(redis: &Redis) {
    let mut world = World::new(redis, "behind", 5);
    world.take_in(800);
    world.mirror.catch_up().expect("a round");
    let then = world.store.version();
    world.take_in(300);
    let lookup = &world.lookups[1];
    for card in 0..CARDS as i64 {
        let ask = Ask {
            keys: &[ValueRef::Int(card)],
            request: &[],
            as_of: Time::from_micros(world.at),
            version: None,
            own_event: None,
            mode: Mode::AsServed,
        };
        let online = world.reader.read(lookup, &[ask]).remove(0).expect("an answer");
        let mut embedded = Answer::default();
        world.store.read(lookup, &Ask { version: Some(then), ..ask }, &mut embedded).expect("an answer");
        let values = |answer: &Answer| answer.cells.iter().map(|cell| cell.value.clone()).collect::<Vec<_>>();
        assert_eq!((online.version, values(&online)), (then, values(&embedded)));
    }
}

#[test]
fn the_process_that_came_first_must_stop() {
    if let Some(redis) = Redis::start(None) {
        fenced(&redis);
    }
}

fn fenced(redis: &Redis) {
    let mut world = World::new(redis, "fence", 6);
    world.take_in(50);
    let mut second = Mirror::attach(world.store.clone(), &redis.settings("fence")).expect("it takes over");
    // And again, after it has lost its connection: a claim does not come back by being repeated.
    let [first, again] = [(); 2].map(|()| match world.mirror.catch_up() {
        Err(OnlineError::Fenced { ours, newest }) => (ours, newest),
        other => panic!("{other:?}"),
    });
    assert!(first.0 < first.1 && first == again, "{first:?} {again:?}");
    second.catch_up().expect("the second writes");
    world.compare(30);
}

#[test]
fn what_redis_has_lost_is_written_again() {
    if let Some(redis) = Redis::start(None) {
        lost(&redis);
    }
}

fn lost(redis: &Redis) {
    let mut world = World::new(redis, "lost", 7);
    world.take_in(900);
    world.mirror.catch_up().expect("a round");
    let node = redis.nodes().remove(0);

    // All of it.
    redis.ask(&node, &["FLUSHALL"]).expect("an answer");
    let ask =
        |card| Ask { keys: card, request: &[], as_of: Time::from_micros(START), version: None, own_event: None, mode: Mode::AsServed };
    let refused = world.reader.read(&world.lookups[1], &[ask(&[ValueRef::Int(1)])]).remove(0);
    assert!(matches!(refused, Err(ReadError::Online(OnlineError::Missing { .. }))), "not that the entity is unknown: {refused:?}");
    world.take_in(3);
    world.mirror.catch_up().expect("all is written again");
    world.compare(60);

    // A suffix, as a failover to a replica that was behind does: all is as it was some rounds ago.
    let each = |keys: &str, command: &str| {
        let script = format!("for _, key in ipairs(redis.call('KEYS', '{keys}')) do redis.call({command}) end");
        redis.ask(&node, &["EVAL", &script, "0"]).expect("an answer");
    };
    each("fm:*", "'COPY', key, 'saved:' .. key");
    for _ in 0..3 {
        world.take_in(300);
        world.mirror.catch_up().expect("a round");
    }
    each("fm:*", "'DEL', key");
    each("saved:*", "'COPY', key, string.sub(key, 7)");
    world.take_in(3);
    world.mirror.catch_up().expect("what is missing is written again");
    world.compare(100);
}

#[test]
fn a_store_that_is_opened_again_goes_on() {
    if let Some(redis) = Redis::start(None) {
        opened_again(&redis);
    }
}

fn opened_again(redis: &Redis) {
    let mut world = World::new(redis, "again", 8);
    world.take_in(700);
    world.mirror.catch_up().expect("a round");
    world.take_in(200);
    let definitions = world.store.definitions().clone();
    let World { home, store, mirror, .. } = world;
    drop(mirror);
    drop(store);
    let store = Arc::new(Store::open(home.path(), definitions.clone(), DEFINITIONS, settings(8)).expect("the store again"));
    let mirror = Mirror::attach(store.clone(), &redis.settings("again")).expect("a mirror");
    let reader = Reader::open(redis.settings("again"), definitions.clone()).expect("a reader");
    let lookups = (0..2).map(|service| Lookup::of_service(definitions.clone(), service)).collect();
    let mut world = World { home, store, mirror, reader, lookups, ..World::new(redis, "other", 9) };
    (world.at, world.ids, world.files) = (START + 2 * DAY, 900, 100);
    world.mirror.catch_up().expect("a round");
    world.compare(60);
    world.take_in(300);
    world.mirror.catch_up().expect("a round");
    world.compare(60);
}

#[test]
fn a_store_put_back_from_a_copy_does_not_write_over_what_is_newer() {
    if let Some(redis) = Redis::start(None) {
        copied(&redis);
    }
}

fn copied(redis: &Redis) {
    let mut world = World::new(redis, "copied", 11);
    world.take_in(300);
    world.mirror.catch_up().expect("a round");
    let definitions = world.store.definitions().clone();
    let World { home, store, mut mirror, .. } = world;
    let copy = tempfile::tempdir().expect("a directory");
    std::fs::copy(home.path().join("floodmark.redb"), copy.path().join("floodmark.redb")).expect("a copy");
    let mut world = World { store, home, ..World::new(redis, "other-copied", 12) };
    (world.at, world.ids, world.files) = (START + 2 * DAY, 900, 100);
    world.take_in(100);
    mirror.catch_up().expect("a round");
    drop((world, mirror));
    let back = Arc::new(Store::open(copy.path(), definitions, DEFINITIONS, settings(11)).expect("the copy"));
    let refused = Mirror::attach(back, &redis.settings("copied")).map(|_| ()).expect_err("an older copy");
    assert!(refused.to_string().contains("an older copy"), "{refused}");
}

#[test]
fn what_is_not_ours_is_refused_by_name() {
    if let Some(redis) = Redis::start(None) {
        not_ours(&redis);
    }
}

fn not_ours(redis: &Redis) {
    let world = World::new(redis, "ours", 10);
    let changed = DEFINITIONS.replace("windows: [1h, 2d, lifetime]", "windows: [2h, 2d, lifetime]");
    let definitions = Arc::new(Definitions::parse("definitions.yaml", &changed).expect("definitions"));
    let refused = Reader::open(redis.settings("ours"), definitions).map(|_| ()).expect_err("other definitions");
    assert!(refused.to_string().contains("view `spend` has changed"), "{refused}");
    let definitions = world.store.definitions().clone();
    let refused = Reader::open(redis.settings("nobody's"), definitions.clone()).map(|_| ()).expect_err("nothing there");
    assert!(matches!(refused, OnlineError::Missing { .. }), "{refused}");
    let home = tempfile::tempdir().expect("a directory");
    let other = Arc::new(Store::open(home.path(), definitions, DEFINITIONS, settings(8)).expect("a store"));
    let refused = Mirror::attach(other, &redis.settings("ours")).map(|_| ()).expect_err("another store");
    assert!(refused.to_string().contains("it is filled from another store or feature log"), "{refused}");
    redis.ask(&redis.nodes()[0], &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).expect("an answer");
    let refused = Mirror::attach(world.store.clone(), &redis.settings("ours")).map(|_| ()).expect_err("keys may vanish");
    assert!(matches!(refused, OnlineError::Evicts { .. }), "{refused}");
}
