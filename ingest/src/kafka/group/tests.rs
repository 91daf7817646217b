//! On a real broker: who was taken for dead has no part in any transaction.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};

use super::*;
use crate::kafka::client::{AT_ONCE, admin};
use crate::kafka::transactions::{Broken, Transactions};

/// A broker that is stopped when it is dropped.
struct Broker {
    folder: tempfile::TempDir,
    topic: Topic,
}

impl Broker {
    /// `None`, and said, where there is none to be had.
    fn start() -> Option<Broker> {
        let folder = tempfile::tempdir().expect("a folder");
        let started = script().arg("kafka").arg(folder.path()).output().ok().filter(|started| started.status.success());
        let Some(started) = started else {
            assert!(std::env::var_os("REQUIRE_SERVICES").is_none(), "Kafka is required and not there: make services");
            eprintln!("SKIPPED: Kafka is not there; `.ci/services fetch` says why");
            return None;
        };
        let said: serde_json::Value = serde_json::from_slice(&started.stdout).expect("JSON");
        let mut topic: Topic = format!("kafka://{}/in", said["bootstrap"].as_str().expect("an address")).parse().expect("a topic");
        // Who does not poll for a while is dead.
        let short = [("session.timeout.ms", "1000"), ("heartbeat.interval.ms", "100"), ("max.poll.interval.ms", "1200")];
        topic.properties = short.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let client: AdminClient<Told> = admin(&topic).create_with_context(Told::default()).expect("a client");
        let topics = ["in", "out"].map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(client.create_topics(&topics, &AdminOptions::new())).expect("topics");
        Some(Broker { folder, topic })
    }

    fn join(&self) -> Group {
        Group::join(&self.topic, "group", &["in"], AT_ONCE, &Arc::default()).expect("a member")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = script().arg("stop").arg(self.folder.path()).output();
    }
}

fn script() -> Command {
    Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.ci/services"))
}

fn position(next: u64) -> Position {
    Position { topic: "in".to_owned(), partition: 0, next: Some(next), note: String::new() }
}

/// Polls until the partition is given.
fn until_given(group: &mut Group) {
    let began = Instant::now();
    loop {
        group.poll(Duration::from_millis(50));
        for change in group.changes() {
            let Change::Given(places) = change else { continue };
            let at: Vec<(Place, u64)> = places.iter().map(|place| (place.clone(), 0)).collect();
            group.assign(&at).expect("an assignment");
            if !places.is_empty() && group.member().is_some() {
                return;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the partition is not given");
    }
}

fn commit(transactions: &Transactions, group: &Group, next: u64) -> Result<(), Broken> {
    transactions.begin()?;
    transactions.send("out", b"", b"a record")?;
    transactions.send_positions(&[position(next)], &group.member().expect("a member"))?;
    transactions.commit()
}

#[test]
fn who_was_taken_for_dead_commits_nothing() {
    let Some(broker) = Broker::start() else { return };
    let [first, second] = ["first", "second"].map(|id| Transactions::start(&broker.topic, id, &Arc::default()).expect("a producer"));
    let mut dead = broker.join();
    until_given(&mut dead);
    commit(&first, &dead, 3).expect("it is its own");
    // It does not poll: the group goes on without it.
    let mut alive = broker.join();
    until_given(&mut alive);
    commit(&second, &alive, 5).expect("it is its own now");
    let refused = commit(&first, &dead, 4).expect_err("it is not its own any more");
    assert!(matches!(refused, Broken::Abort(_)), "{refused}");
    first.abort().expect("and the producer goes on");
    let committed = alive.committed(&[("in".to_owned(), 0)]).expect("an answer");
    assert_eq!(committed[0].next, Some(5));
    // Who polls again hears of it, comes anew, and is not taken for the one it was.
    alive.client.unsubscribe();
    until_given(&mut dead);
    commit(&first, &dead, 6).expect("it is its own again");
}

#[test]
fn what_is_committed_with_a_position_comes_back_with_it() {
    let Some(broker) = Broker::start() else { return };
    let transactions = Transactions::start(&broker.topic, "id", &Arc::default()).expect("a producer");
    let mut group = broker.join();
    let place = ("in".to_owned(), 0);
    // A coordinator that has only just begun may refuse to answer.
    until_given(&mut group);
    assert_eq!(group.committed(std::slice::from_ref(&place)).expect("an answer")[0].next, None);
    let noted = Position { note: "{\"watermark\":12}".to_owned(), ..position(7) };
    transactions.begin().expect("a transaction");
    transactions.send_positions(std::slice::from_ref(&noted), &group.member().expect("a member")).expect("sent");
    transactions.commit().expect("committed");
    assert_eq!(group.committed(&[place]).expect("an answer"), [noted]);
}
