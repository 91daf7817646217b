//! What a store keeps: timelines beyond its memory budget come back from disk, retention forgets what nobody may ask for any more,
//! and a store refuses definitions that it was not made with.

use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Answer, Ask, Mode};
use floodmark_features::time::{Span, Time};
use floodmark_features::value::ValueRef;
use floodmark_ingest::replay::{Input, replay};
use floodmark_store::{OpenError, ReadError, Settings, Store};

use crate::disorder::{CARDS, DAY, DEFINITIONS, payments, read, store_with};

#[test]
fn a_small_memory_gives_the_same_answers() {
    let (home, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let input = payments();
    let (roomy, lookup) = store_with(home.path(), &input, DEFINITIONS, Settings::default());
    let budget = roomy.memory() / 8;
    let tight = Settings { memory_budget: budget, checkpoint_after: 200_000, ..Settings::default() };
    let (small, _) = store_with(other.path(), &input, DEFINITIONS, tight);
    small.keep_memory_bounded().expect("room");
    assert!(small.memory() <= budget, "{} of {budget}", small.memory());
    for payment in input.iter().step_by(37) {
        let [a, b] = [&roomy, &small].map(|store| read(store, &lookup, payment.card, payment.at, Mode::AsServed));
        assert_eq!(a, b, "{payment:?}");
    }
}

/// So many late events that checkpoints fall due while input goes on: neither they nor the commits may wait for each other for ever.
#[test]
fn checkpoints_and_commits_do_not_wait_for_each_other() {
    const LATE: i64 = 250_000;
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("payments.jsonl");
        let line =
            |id: i64| format!("{{\"id\":{id},\"at\":{},\"card\":{},\"amount\":1.5}}\n", if id == 0 { 90 * DAY } else { id }, id % 50);
        std::fs::write(&path, (0..=LATE).map(line).collect::<String>()).expect("a file");
        let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
        let store = Store::open(&home.path().join("store"), definitions, DEFINITIONS, Settings::default()).expect("a store");
        let input = Input { source: "payments".to_owned(), path };
        let summary = replay(&Arc::new(store), &[input], &mut |_| ()).expect("a replay");
        done.send(summary.tally).expect("somebody waits");
    });
    let tally = ended.recv_timeout(std::time::Duration::from_secs(120)).expect("it ends");
    assert_eq!((tally.accepted, tally.late), (1, LATE as u64));
}

/// A process that is killed while it makes the store leaves a file that is none.
#[test]
fn a_store_that_was_killed_in_the_making_is_made_again() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("floodmark.redb.new"), [0; 4096]).expect("half a store");
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    for _ in 0..2 {
        Store::open(home.path(), definitions.clone(), DEFINITIONS, Settings::default()).expect("a store");
    }
    assert!(!home.path().join("floodmark.redb.new").exists());
}

#[test]
fn retention_forgets_exactly_what_may_not_be_asked() {
    let (home, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let mut input = payments();
    // Some come when they are forgotten already but for a lifetime, which knows them only from then on.
    input.iter_mut().filter(|payment| payment.id % 20 == 7).for_each(|payment| payment.at -= 400 * DAY);
    // A lifetime goes on from what is forgotten, in one chain with windows that do not.
    let endless = DEFINITIONS.replace("[1d, 30d]", "[1d, 30d, lifetime]");
    let (whole, lookup) = store_with(home.path(), &input, &endless, Settings::default());
    let text = endless.replace("    max_out_of_orderness: 1m", "    max_out_of_orderness: 1m\n    retention: 20d");
    let (kept, _) = store_with(other.path(), &input, &text, Settings::default());

    let oldest = kept.oldest_time(0);
    let newest = input.iter().map(|p| p.at).max().unwrap_or_default();
    assert_eq!(oldest, (Time::from_micros(newest) - Span::from_secs(60 + 20 * 86_400)).previous_tick());
    assert!(kept.memory() < whole.memory() * 2 / 3, "{} of {}", kept.memory(), whole.memory());
    for n in 0..400 {
        let (card, as_of) = (n % CARDS as i64, oldest.micros() + n * DAY / 20);
        let [a, b] = [&whole, &kept].map(|store| read(store, &lookup, card, as_of, Mode::AsServed));
        assert_eq!(a, b, "card {card} as of {as_of}");
    }
    let before = Ask {
        keys: &[ValueRef::Int(1)],
        request: &[],
        as_of: oldest.previous_tick(),
        version: None,
        own_event: None,
        mode: Mode::AsServed,
    };
    match kept.read(&lookup, &before, &mut Answer::default()) {
        Err(ReadError::BeforeRetention { oldest: told, .. }) => assert_eq!(told, oldest),
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_definitions_are_refused_by_name() {
    let home = tempfile::tempdir().expect("a directory");
    let open = |text: &str| {
        let definitions = Arc::new(Definitions::parse("definitions.yaml", text).expect("definitions"));
        Store::open(home.path(), definitions, text, Settings::default())
    };
    drop(open(DEFINITIONS).expect("a new store"));
    assert!(open(&format!("{DEFINITIONS}  more: {{ features: [daily.*] }}\n")).is_ok(), "services are free to change");
    match open(&DEFINITIONS.replace("[1d, 30d]", "[1d, 31d]")) {
        Err(OpenError::Definitions { difference, .. }) => assert_eq!(difference, "view `rolling` has changed"),
        other => panic!("{other:?}"),
    }
    let held = open(DEFINITIONS).expect("the store again");
    assert!(matches!(open(DEFINITIONS), Err(OpenError::InUse(_))), "one process at a time");
    drop(held);
}
