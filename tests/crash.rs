//! kill -9 at random moments of ingest: whatever was interrupted, the state at the end equals that of a run in which nothing happened.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_features::definition::Definitions;
use floodmark_features::engine::{ClosedWindow, LateEvent, ViewCounts};
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_store::{RejectedRecord, Settings, Store, Tally};

const KILLS: usize = 50;
pub(crate) const EVENTS: u64 = 250_000;
const CARDS: u64 = 700;

pub(crate) const DEFINITIONS: &str = r#"
sources:
  payments:
    schema: { id: int64, at: timestamp, card: int64, shop: string, amount: float64 }
    event_time: at
    event_id: id
    max_out_of_orderness: 1m
    allowed_lateness: 10m
entities:
  card: { keys: [card] }
  shop: { keys: [shop] }
views:
  spend:
    entity: card
    source: payments
    features:
      n: { count: "*", windows: [1h, 1d, lifetime] }
      sum: { sum: amount, windows: [1d] }
      shops: { distinct: shop, windows: [1d] }
  sessions:
    entity: card
    source: payments
    emit_closed_windows: true
    features:
      n: { count: "*", windows: [{ session: 30m }, { tumbling: 6h }] }
  shop_load:
    entity: shop
    source: payments
    features:
      biggest: { max: amount, windows: [12h] }
services:
  all: { features: [spend.*, sessions.*, shop_load.*] }
"#;

/// A small generator, the same everywhere.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Payments a few seconds apart, jittered, some of them late, repeated or broken.
pub(crate) fn write_payments(path: &Path) {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let start = 1_700_000_000_000_000_i64;
    for id in 0..EVENTS {
        let mut at = start + id as i64 * 2_000_000 - chance.below(50_000_000) as i64;
        if chance.below(100) == 0 {
            at -= chance.below(3 * 86_400_000_000) as i64;
        }
        let (card, shop, cents) = (chance.below(CARDS), chance.below(40), chance.below(100_000));
        match chance.below(2_000) {
            0 => writeln!(out, "{{\"id\":{id},\"at\":"),
            _ => writeln!(out, "{{\"id\":{id},\"at\":{at},\"card\":{card},\"shop\":\"s{shop}\",\"amount\":{}}}", cents as f64 / 100.0),
        }
        .expect("a line");
    }
    out.flush().expect("a flush");
}

fn replay(home: &Path, store: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_floodmark"))
        .arg("replay")
        .arg("--definitions")
        .arg(home.join("definitions.yaml"))
        .arg("--store")
        .arg(store)
        .arg(format!("payments={}", home.join("payments.jsonl").display()))
        .arg("--json")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the floodmark command")
}

/// Everything that can be told of a store without its versions.
#[derive(PartialEq)]
pub(crate) struct State {
    pub(crate) tally: Tally,
    pub(crate) views: Vec<ViewCounts>,
    pub(crate) watermark: Time,
    pub(crate) late: Vec<LateEvent>,
    pub(crate) closed: Vec<ClosedWindow>,
    pub(crate) rejected: Vec<RejectedRecord>,
    pub(crate) answers: Vec<Answer>,
}

pub(crate) fn state(directory: &Path) -> State {
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let store = Store::open(directory, definitions.clone(), DEFINITIONS, Settings::default()).expect("a store");
    let (mut late, mut closed, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    store
        .late_events(|event| {
            late.push(event);
            true
        })
        .expect("late events");
    store
        .closed_windows(|window| {
            closed.push(window);
            true
        })
        .expect("closed windows");
    store
        .rejected_records(|record| {
            rejected.push(record);
            true
        })
        .expect("rejected records");
    let lookup = Lookup::of_service(definitions.clone(), 0);
    let mut answers = Vec::new();
    for card in 0..CARDS {
        for hours in [10, 60, 138] {
            let shop = format!("s{}", card % 40);
            let keys = [ValueRef::Int(card as i64), ValueRef::Str(&shop)];
            let as_of = Time::from_micros(1_700_000_000_000_000 + hours * 3_600_000_000);
            let ask = Ask { keys: &keys, request: &[], as_of, version: None, own_event: None, mode: Mode::AsServed };
            let mut answer = Answer::default();
            store.read(&lookup, &ask, &mut answer).expect("an answer");
            answers.push(Answer { version: 0, ..answer });
        }
    }
    State { tally: store.tally(0), views: store.view_counts(), watermark: store.source_watermark(0), late, closed, rejected, answers }
}

pub(crate) fn assert_same(disturbed: &State, quiet: &State, seed: u64) {
    assert_eq!(disturbed.tally, quiet.tally, "seed {seed}");
    assert_eq!(disturbed.views, quiet.views, "seed {seed}");
    assert_eq!(disturbed.watermark, quiet.watermark, "seed {seed}");
    assert_eq!(disturbed.rejected, quiet.rejected, "seed {seed}");
    assert!(disturbed.late == quiet.late, "late events differ: {} and {}, seed {seed}", disturbed.late.len(), quiet.late.len());
    assert!(disturbed.closed == quiet.closed, "closed windows differ: {} and {}, seed {seed}", disturbed.closed.len(), quiet.closed.len());
    assert!(disturbed.answers == quiet.answers, "answers differ, seed {seed}");
}

/// Kills what takes about so many milliseconds, at random moments, until one of it was quicker; how many were killed.
pub(crate) fn kill_until_it_ends(chance: &mut Chance, whole: u64, start: impl Fn() -> Child) -> usize {
    for kills in 0.. {
        let mut child = start();
        std::thread::sleep(Duration::from_millis(chance.below(whole + whole / 4)));
        if child.try_wait().expect("a child").is_some() {
            return kills;
        }
        child.kill().expect("a kill");
        child.wait().expect("an end");
    }
    unreachable!("one of them ends")
}

#[test]
fn a_killed_ingest_ends_as_if_nothing_had_happened() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("definitions.yaml"), DEFINITIONS).expect("definitions");
    write_payments(&home.path().join("payments.jsonl"));

    let quiet: PathBuf = home.path().join("quiet");
    let began = Instant::now();
    let done = replay(home.path(), &quiet).wait_with_output().expect("an end");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let whole = began.elapsed().as_millis() as u64;
    let expected = state(&quiet);
    assert!(expected.late.len() > 100 && expected.closed.len() > 1_000 && expected.rejected.len() > 50, "the input exercises everything");

    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos() as u64 | 1;
    let mut chance = Chance(seed);
    let (mut kills, mut round) = (0, 0);
    while kills < KILLS {
        round += 1;
        let store = home.path().join(format!("disturbed-{round}"));
        kills += kill_until_it_ends(&mut chance, whole, || replay(home.path(), &store));
        let end = replay(home.path(), &store).wait_with_output().expect("an end");
        assert!(end.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&end.stderr));
        assert_same(&state(&store), &expected, seed);
        std::fs::remove_dir_all(&store).expect("a directory to remove");
    }
    eprintln!("{kills} kills over {round} stores, seed {seed}");
}
