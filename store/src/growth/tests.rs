//! A log is read by the definitions that wrote it, and nobody inherits what was known of somebody else.

use std::sync::Arc;

use floodmark_features::engine::ViewCounts;
use floodmark_features::key::{encode_key, hash_key, partition_of};
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode};
use floodmark_features::time::{Span, Time};
use floodmark_features::value::{Value, ValueRef};

use super::*;
use crate::Commit;
use crate::layout::META_PARTITIONS;

/// Two views on the same rows with a column each; `a` and `b` stand in an order that no fingerprint holds.
fn text(columns: &str, more: &str) -> String {
    let views = ["a", "b"].map(|column| {
        format!("  v{column}:\n    entity: card\n    source: payments\n    features:\n      sum: {{ sum: {column}, windows: [1h] }}\n")
    });
    format!(
        "sources:\n  payments:\n    schema: {{ id: int64, at: timestamp, card: int64, {columns} }}\n    event_time: at\n    event_id: id\nentities:\n  card: {{ keys: [card] }}\nviews:\n{}{more}services:\n  all: {{ features: [va.*, vb.*] }}\n",
        views.concat()
    )
}

fn open(directory: &Path, text: &str, settings: Settings) -> Result<Store, OpenError> {
    let definitions = Arc::new(Definitions::parse("definitions.yaml", text).expect("definitions"));
    Store::open(directory, definitions, text, Settings { partitions: 1, ..settings })
}

/// A payment of one card, its columns in the order of the definitions.
fn pay(store: &Store, columns: [i64; 2]) {
    let mut partitions = vec![store.empty_sections()];
    let mut key = Vec::new();
    encode_key(&[ValueRef::Int(7)], &mut key);
    let section = &mut partitions[partition_of(hash_key(&key), 1)][0];
    section.sequence.push(0);
    section.keys.extend(&key);
    section.key_ends.push(section.keys.len() as u32);
    section.hashes.push(hash_key(&key));
    section.rows.words.extend([0, 1, 0, 0, 0]);
    section.rows.words.extend(columns.map(|value| value as u64));
    let mut batches = [Commit { partitions, read: 1, ..Commit::default() }];
    store.commit(&mut batches, Time::from_micros(1)).expect("a commit");
}

fn sums(store: &Store) -> Vec<Value> {
    let lookup = Lookup::of_service(store.definitions().clone(), 0);
    let keys = [ValueRef::Int(7)];
    let ask = Ask { keys: &keys, request: &[], as_of: Time::from_micros(1), version: None, own_event: None, mode: Mode::AsServed };
    let mut answer = Answer::default();
    store.read(&lookup, &ask, &mut answer).expect("an answer");
    answer.cells.into_iter().map(|cell| cell.value).collect()
}

fn edit(directory: &Path, edit: impl FnOnce(&WriteTransaction)) {
    let database = Database::create(directory.join("floodmark.redb")).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    edit(&transaction);
    transaction.commit().expect("a commit");
}

#[test]
fn a_log_of_an_older_program_is_read_by_the_definitions_that_come() {
    let home = tempfile::tempdir().expect("a directory");
    let (first, then) = (text("a: int64, b: int64", ""), text("b: int64, a: int64", ""));
    let more = text(
        "b: int64, a: int64",
        "  late:\n    entity: card\n    source: payments\n    features:\n      n: { count: '*', windows: [2h] }\n",
    );
    drop(open(home.path(), &first, Settings::default()).expect("a store"));
    // Older programs wrote the text down once, and gave no mark.
    edit(home.path(), |transaction| drop(transaction.open_table(META).expect("a table").remove(META_TEXT_IS_OF_LOG).expect("a mark")));
    let store = open(home.path(), &then, Settings::default()).expect("the store");
    pay(&store, [2, 1]);
    drop(store);
    // With a further view it is not known by which definitions the log was written.
    edit(home.path(), |transaction| {
        let mut progress = SourceProgress::new(Span::ZERO);
        let at = progress.open("till");
        progress.partition_mut(at).next_offset = 1;
        transaction.open_table(PROGRESS).expect("a table").insert(0, snapshot(&progress).as_slice()).expect("progress");
        transaction.open_table(META).expect("a table").insert(META_OFFLINE, b"nowhere".as_slice()).expect("a place");
    });
    let grows = Settings { grows: true, writes: true, ..Settings::default() };
    let refused = open(home.path(), &more, grows).expect_err("refused").to_string();
    assert!(refused.contains("older program"), "{refused}");
    // By its own it is read as it was; from then on the text is the log's.
    let store = open(home.path(), &then, Settings { writes: true, ..Settings::default() }).expect("the store");
    assert_eq!(sums(&store), [Value::Int(1), Value::Int(2)]);
    drop(store);
    let store = open(home.path(), &first, Settings { writes: true, ..Settings::default() }).expect("columns in another order");
    assert_eq!(sums(&store), [Value::Int(1), Value::Int(2)]);
    drop(store);
    let store = open(home.path(), &text("a: int64, b: int64", more_of(&more)), grows).expect("a further view");
    assert_eq!((sums(&store), store.backfilling()), (vec![Value::Int(1), Value::Int(2)], vec![2]));
}

fn more_of(text: &str) -> &str {
    let from = text.find("  late:\n").expect("a view");
    &text[from..text.find("services:\n").expect("services")]
}

#[test]
fn what_was_counted_of_a_view_that_was_taken_back_is_nobodys() {
    let home = tempfile::tempdir().expect("a directory");
    let own = text("a: int64, b: int64", "");
    let with = |name: &str| {
        text(
            "a: int64, b: int64",
            &format!("  {name}:\n    entity: card\n    source: payments\n    features:\n      n: {{ count: '*', windows: [2h] }}\n"),
        )
    };
    let writes = Settings { grows: true, writes: true, ..Settings::default() };
    // Nothing has come yet, so a view may be replaced as one likes; what stands in the store by mistake of it is gone.
    let store = open(home.path(), &with("one"), writes).expect("a store");
    store.checkpoint().expect("a checkpoint");
    drop(store);
    edit(home.path(), |transaction| {
        let counted = ViewCounts { accepted: 5, ..ViewCounts::default() };
        let state = PartitionState { closing: Vec::new(), counts: vec![counted; 3], open: Vec::new() };
        transaction.open_table(STATE).expect("a table").insert(0, snapshot(&state).as_slice()).expect("a state");
        assert!(transaction.open_table(META).expect("a table").get(META_PARTITIONS).expect("a read").is_some());
    });
    let store = open(home.path(), &with("other"), writes).expect("another view");
    assert!(store.view_counts().iter().all(|counts| *counts == ViewCounts::default()));
    drop(store);
    drop(open(home.path(), &own, writes).expect("taken back"));
}
