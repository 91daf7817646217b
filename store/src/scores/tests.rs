//! Whatever a crash interrupts, each accepted event has one score in the end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::key::{encode_key, hash_key, partition_of};
use floodmark_features::section::{LateNote, Position};
use floodmark_features::time::{Span, Time};
use floodmark_features::value::ValueRef;

use super::*;
use crate::layout::TO_SCORE;
use crate::{Commit, Settings};

const DEFINITIONS: &str = r#"
sources:
  payments:
    schema: { id: int64, at: timestamp, card: int64 }
    event_time: at
    event_id: id
    max_out_of_orderness: 1m
entities:
  card: { keys: [card] }
views:
  spend:
    entity: card
    source: payments
    features:
      n: { count: "*", windows: [1h] }
services:
  all: { features: [spend.*] }
"#;

fn open(directory: &Path) -> Store {
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    Store::open(directory, definitions, DEFINITIONS, Settings { partitions: 2, ..Settings::default() }).expect("a store")
}

/// Payments of one card each, by id and hour; hour 0 comes too late for all windows. As a request: the ids.
fn payments(store: &Store, first: u64, events: &[(u8, i64)]) -> Commit {
    let mut partitions: Vec<_> = (0..store.partitions()).map(|_| store.empty_sections()).collect();
    for (sequence, (id, hour)) in (first..).zip(events) {
        let at = Time::from_micros(0) + Span::from_secs(hour * 3_600);
        let visible = if *hour == 0 { at + Span::from_secs(7_200) } else { at };
        let mut key = Vec::new();
        encode_key(&[ValueRef::Int(i64::from(*id))], &mut key);
        let section = &mut partitions[partition_of(hash_key(&key), store.partitions())][0];
        if visible > at {
            let position = Position { partition: "till".to_owned(), offset: sequence };
            section.late.push(LateNote { row: section.len() as u32, watermark: visible, position, payload: String::new() });
        }
        section.sequence.push(sequence);
        section.keys.extend(&key);
        section.key_ends.push(section.keys.len() as u32);
        section.hashes.push(hash_key(&key));
        section.rows.words.extend([at.micros() as u64, u64::from(*id), visible.micros() as u64, 0, 0]);
    }
    let sequences = first..first + events.len() as u64;
    let request = events.iter().map(|(id, _)| *id).collect();
    Commit { partitions, read: events.len() as u64, to_score: Some(CommitEvents { sequences, bytes: request }), ..Commit::default() }
}

fn commit(store: &Store, commit: Commit) -> (u64, Commit) {
    let mut batches = [commit];
    let version = store.commit(&mut batches, Time::from_micros(1)).expect("a commit")[0];
    let [commit] = batches;
    (version, commit)
}

fn publish(store: &Store, version: u64, commit: &Commit) {
    let outputs = store.apply_on_all_cores(version, commit).expect("applied");
    store.publish(version, commit, outputs);
}

/// The score of a payment is its id.
fn score(store: &Store, version: u64) {
    let unscored = store.unscored(version).expect("a read").expect("something to score");
    let records = unscored.accepted().map(|(row, sequence)| (sequence, vec![unscored.to_score.bytes[row]])).collect();
    store.keep_scores(version, records);
}

fn scored(store: &Store) -> Vec<u8> {
    let mut ids = Vec::new();
    let each = |record: ScoreRecord| {
        ids.extend(record.record);
        true
    };
    store.scores(each).expect("scores");
    ids
}

/// The second payment of 2 is a duplicate, and 3 is late.
const FIRST: [(u8, i64); 4] = [(1, 10), (2, 10), (2, 10), (3, 0)];
/// 1 is there already.
const SECOND: [(u8, i64); 3] = [(4, 11), (1, 10), (5, 11)];
const ACCEPTED: [u8; 4] = [1, 2, 4, 5];

/// Two commits on their way, to the step at which it is cut off.
fn walk(store: &Store, steps: usize) {
    let (mut first, mut second) = (None, None);
    for step in 0..steps {
        match (step, &first, &second) {
            (0, ..) => first = Some(commit(store, payments(store, 0, &FIRST))),
            (1, Some((version, batch)), _) => publish(store, *version, batch),
            (2, Some((version, _)), _) => score(store, *version),
            (3, ..) => second = Some(commit(store, payments(store, 4, &SECOND))),
            (4, _, Some((version, batch))) => publish(store, *version, batch),
            (5, ..) => store.checkpoint().expect("a checkpoint"),
            (6, _, Some((version, _))) => score(store, *version),
            _ => store.write_scores().expect("scores at rest"),
        }
    }
}
const STEPS: usize = 8;

/// What a start does with what waits, and what a producer does that had no answer.
fn go_on(store: &Store) {
    for waiting in store.waiting_for_scores() {
        score(store, waiting.version);
    }
    for (first, events) in [(100, &FIRST[..]), (200, &SECOND[..])] {
        let (version, batch) = commit(store, payments(store, first, events));
        publish(store, version, &batch);
        score(store, version);
    }
    store.write_scores().expect("scores at rest");
}

#[test]
fn each_accepted_event_has_one_score_wherever_it_is_cut_off() {
    for steps in 1..=STEPS {
        for checkpoint_between in [false, true] {
            let home = tempfile::tempdir().expect("a directory");
            walk(&open(home.path()), steps);
            if checkpoint_between {
                // Somebody opens it who does not score: who is not to be scored is known for good.
                let store = open(home.path());
                store.checkpoint().expect("a checkpoint");
            }
            go_on(&open(home.path()));
            let store = open(home.path());
            let ids = scored(&store);
            let case = format!("cut off after step {steps}, checkpoint between: {checkpoint_between}");
            assert_eq!(ids.len(), ACCEPTED.len(), "{case}: {ids:?}");
            assert_eq!(ids.into_iter().collect::<BTreeSet<u8>>(), BTreeSet::from(ACCEPTED), "{case}");
            assert_eq!(store.waiting_for_scores(), [], "{case}");
        }
    }
}

#[test]
fn ready_scores_are_read_before_they_are_stored_and_go_with_the_next_commit() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let (version, batch) = commit(&store, payments(&store, 0, &FIRST));
    assert_eq!(store.waiting_for_scores(), [], "not before it can be read");
    publish(&store, version, &batch);
    assert_eq!(store.waiting_for_scores(), [Waiting { version, source: 0, events: 2 }]);
    assert_eq!(store.unscored(version).expect("a read").expect("an entry").refused, [2, 3]);
    score(&store, version);
    assert_eq!((scored(&store), store.ready_score_bytes()), (vec![1, 2], 2));
    assert_eq!(store.waiting_for_scores(), [], "its scores are there");
    commit(&store, payments(&store, 4, &SECOND));
    assert_eq!((scored(&store), store.ready_score_bytes()), (vec![1, 2], 0));
    drop(store);
    assert_eq!(scored(&open(home.path())), [1, 2]);
}

#[test]
fn who_came_too_late_is_known_of_what_is_to_be_kept_also_when_the_log_is_cut() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let events = payments(&store, 0, &FIRST);
    let (version, batch) = commit(&store, Commit { to_keep: events.to_score.clone(), to_score: None, ..events });
    publish(&store, version, &batch);
    let known = |store: &Store| {
        let kept = store.kept_within(0, 0..u64::MAX, 10).expect("a read").remove(0);
        (kept.version, kept.first, kept.refused, kept.late)
    };
    let late = FIRST.iter().position(|(_, hour)| *hour == 0).expect("a late one") as u64;
    assert_eq!(known(&store), (version, 0, vec![2, 3], vec![late]));
    drop(store);
    let store = open(home.path());
    assert_eq!(known(&store), (version, 0, vec![2, 3], vec![late]), "as the log says");
    store.checkpoint().expect("a checkpoint");
    drop(store);
    assert_eq!(known(&open(home.path())), (version, 0, vec![2, 3], vec![late]), "as the checkpoint says");
}

#[test]
fn a_store_from_before_scores_opens() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let (version, batch) = commit(&store, Commit { to_score: None, ..payments(&store, 0, &FIRST) });
    publish(&store, version, &batch);
    let transaction = store.database.begin_write().expect("a transaction");
    transaction.delete_table(TO_SCORE).expect("no queue");
    transaction.delete_table(crate::layout::TO_KEEP).expect("no queue");
    transaction.delete_table(SCORES).expect("no scores");
    transaction.commit().expect("a commit");
    drop(store);
    let store = open(home.path());
    assert_eq!((scored(&store), store.waiting_for_scores()), (Vec::new(), Vec::new()));
    let (version, batch) = commit(&store, payments(&store, 4, &SECOND));
    publish(&store, version, &batch);
    score(&store, version);
    assert_eq!(scored(&store), [4, 5]);
}
