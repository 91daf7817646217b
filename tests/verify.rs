//! What was scored is in the log, and scores again to the same bits, whatever came in between; what is tampered with is found.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use floodmark_features::definition::Definitions;
use floodmark_features::time::Time;
use floodmark_proto::v1;
use floodmark_proto::v1::model_service_client::ModelServiceClient;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use floodmark_proto::v1::value::Kind;
use floodmark_store::{PredictionKey, Settings, Store};
use prost::Message;
use serde_json::Value;

use crate::push::{Running, push, request, start_with, transaction};
use crate::score::{by_event, by_keys, models as repository, score};

fn start(store: &Path, models: &Path) -> Running {
    start_with(store, &["--models", models.to_str().expect("text"), "--log-predictions", "all"])
}

fn floodmark(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_floodmark")).args(arguments).output().expect("the floodmark command")
}

/// A command's lines; connections of this thread must be answered meanwhile.
async fn lines(arguments: Vec<String>, code: i32) -> Vec<Value> {
    let ran = move || floodmark(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(ran).await.expect("a thread");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out} {err}");
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of_store(command: &str, store: &Path, models: Option<&Path>) -> Vec<String> {
    let mut arguments = vec![command.to_owned(), "--json".to_owned(), "--store".to_owned(), store.display().to_string()];
    arguments.extend(models.into_iter().flat_map(|models| ["--models".to_owned(), models.display().to_string()]));
    arguments
}

fn of_server(command: &str, running: &Running) -> Vec<String> {
    [command, "--json", "--address", &running.address].map(str::to_owned).to_vec()
}

async fn stop(mut running: Running) {
    let told = Command::new("kill").args(["-TERM", &running.child.id().to_string()]).status().expect("kill");
    let ended = tokio::task::spawn_blocking(move || running.child.wait()).await.expect("a thread").expect("an end");
    assert!(told.success() && ended.success(), "it ends in order");
}

fn score_of(line: &Value) -> f64 {
    line["score"].as_f64().expect("a score")
}

/// A score as it is after it was printed and read: this reader of JSON is not exact to the last bit.
fn printed(score: f64) -> f64 {
    serde_json::from_str(&serde_json::to_string(&score).expect("text")).expect("a number")
}

#[tokio::test]
async fn what_was_scored_scores_again() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = repository(home.path()) else { return };
    let store = home.path().join("store");
    let running = start(&store, &models);
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let mut operator = ModelServiceClient::connect(running.address.clone()).await.expect("a server");
    let label = v1::LabelModelRequest { model: "fraud".to_owned(), label: "stable".to_owned(), version: Some(1) };
    operator.label_model(label).await.expect("a label");

    let mut scored = Vec::new();
    let mut ask = async |request: v1::ScoreRequest| {
        let answer = score(&client, request).await.expect("a score");
        scored.extend(answer.rows.iter().map(|row| (printed(row.score), row.provisional)));
    };
    push(&running.address, vec![request(1, vec![transaction(1, 0, Some(10.0)), transaction(2, 20, Some(30.0))])]).await;
    // By keys, at a time that is final and at one that is not; two rows at once, and without the features in the answer.
    ask(by_keys(7, 12.5, 10)).await;
    let mut two = v1::ScoreRequest { request_id: "two".to_owned(), include_features: false, ..by_keys(7, 99.0, 30) };
    two.rows.push(by_keys(8, 1.0, 0).rows.remove(0));
    ask(two).await;
    // A whole event that has not come yet, and that will come with another amount.
    ask(by_event(3, 25, 50.0)).await;
    ask(v1::ScoreRequest { model_version: "@stable".to_owned(), ..by_keys(7, 12.5, 21) }).await;
    // Out of order, on time: it changes what was provisional. Late: it changes windows that are not final.
    let more = vec![transaction(4, 26, Some(70.0)), transaction(3, 25, Some(55.0)), transaction(5, 3, Some(500.0))];
    let acks = push(&running.address, vec![request(2, more)]).await;
    assert_eq!((acks[0].accepted, acks[0].late), (3, 0));
    ask(by_keys(7, 12.5, 30)).await;
    ask(by_event(3, 25, 50.0)).await;
    // Neither is a prediction: a question that is refused, and one that repeats a read.
    score(&client, v1::ScoreRequest { request_names: Vec::new(), ..by_keys(7, 1.0, 1) }).await.expect_err("a row of another length");
    score(&client, v1::ScoreRequest { version: Some(acks[0].version), ..by_keys(7, 1.0, 1) }).await.expect("a score");
    assert_eq!(scored.len(), 7);
    assert!(scored[0].1 == 0 && scored[1].1 > 0, "final, and provisional");

    // The running server says the same as its store.
    let listed = lines(of_server("predictions", &running), 0).await;
    let bounds = |at: usize| ["--from", listed[at]["at"].as_str().expect("a time"), "--limit", "3"].map(str::to_owned);
    let some = lines([of_server("predictions", &running), bounds(3).to_vec()].concat(), 0).await;
    assert_eq!(some, listed[3..6]);
    let verified = lines(of_server("verify", &running), 0).await.remove(0);
    assert_eq!((&verified["records"], &verified["equal"]), (&7.into(), &7.into()), "{verified}");
    stop(running).await;
    let stored = lines(of_store("predictions", &store, None), 0).await;
    assert_eq!(stored.iter().map(score_of).collect::<Vec<_>>(), scored.iter().map(|(score, _)| *score).collect::<Vec<_>>());
    assert_eq!(listed.iter().map(score_of).collect::<Vec<_>>(), stored.iter().map(score_of).collect::<Vec<_>>());
    let some = lines([of_store("predictions", &store, None), bounds(5).to_vec()].concat(), 0).await;
    assert_eq!(some, stored[5..]);
    assert_eq!((&stored[0]["entity"]["customer_id"], &stored[0]["request"]["amount"]), (&7.into(), &12.5.into()));
    assert_eq!((&stored[0]["features"]["customer_spend.nb_tx_1d"], &stored[0]["origin"]), (&1.into(), &"call".into()));
    assert_eq!((&stored[2]["request_id"], &stored[2]["entity"]["customer_id"]), (&"two".into(), &8.into()));
    assert_eq!((&stored[3]["event"]["id"], &stored[3]["entity"]["terminal_id"]), (&3.into(), &9.into()), "{}", stored[3]);
    assert_eq!(stored[4]["model_version"], 1, "what the label stood for");

    let report = lines(of_store("verify", &store, Some(&models)), 0).await.remove(0);
    assert_eq!((&report["compared"], &report["equal"], &report["since"]["final_changed"]), (&7.into(), &7.into(), &0.into()), "{report}");
    let spend = &report["since"]["features"]["customer_spend.avg_amount_1d"];
    assert!(spend["changed"].as_u64() > Some(0) && spend["mean_difference"].as_f64() > Some(0.0), "{report}");
    let count = &report["since"]["features"]["customer_spend.nb_tx_1d"];
    assert!(count["corrected"].as_u64() > count["changed"].as_u64(), "the late event was not served as of a final time: {report}");
    assert_eq!(report, verified, "the server and its store say the same");
    let mut sample = of_store("verify", &store, Some(&models));
    sample.extend(["--sample".to_owned(), "3".to_owned()]);
    assert_eq!(lines(sample, 0).await[0]["records"], 3);

    // One bit of one feature of one record.
    tamper(&store, 4, |row| match &mut row.features[0].kind {
        Some(Kind::Int64Value(count)) => *count ^= 1,
        other => panic!("{other:?}"),
    });
    let report = lines(of_store("verify", &store, Some(&models)), 1).await.remove(0);
    assert_eq!((&report["equal"], &report["features_differ"], &report["scores_differ"]), (&6.into(), &1.into(), &0.into()), "{report}");
    let worst = &report["worst"][0];
    assert_eq!((&worst["what"], &worst["found"]), (&"customer_spend.nb_tx_1d".into(), &"same_version".into()));
    assert_eq!(worst["as_of"], stored[4]["as_of"]);
    let said = floodmark(&["verify", "--store", store.to_str().expect("text"), "--models", models.to_str().expect("text")]);
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(out.contains("customer_spend.nb_tx_1d served 3, again 2: customer_id=7 terminal_id=9"), "{out}");
    assert!(err.contains("no event can change a read at a version"), "{err}");
}

/// Changes one record of the log, by its place in the order of time.
fn tamper(directory: &Path, at: usize, change: impl Fn(&mut v1::ScoreRow)) {
    let text = Store::definitions_of(directory).expect("definitions");
    let definitions = Arc::new(Definitions::parse("definitions.yaml", &text).expect("definitions"));
    let store = Store::open(directory, definitions, &text, Settings::default()).expect("a store");
    let mut records = Vec::new();
    let each = |key: PredictionKey, bytes: &[u8]| {
        records.push((key.at, bytes.to_vec()));
        true
    };
    store.predictions(PredictionKey::between(Time::NONE, Time::MAX), each).expect("records");
    let mut record = v1::Prediction::decode(records[at].1.as_slice()).expect("a record");
    match &mut record.outcome {
        Some(v1::prediction::Outcome::Row(row)) => change(row),
        other => panic!("{other:?}"),
    }
    records[at].1 = record.encode_to_vec();
    store.append_predictions(&[], 0, false).expect("room");
    store.append_predictions(&records, u64::MAX, true).expect("records");
}

/// Events come while rows are scored as of the edge of what is final: each score says truly what it was made of.
#[tokio::test]
async fn what_is_scored_while_events_come_scores_again() {
    const CALLS: i64 = 3_000;
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = repository(home.path()) else { return };
    let store = home.path().join("store");
    let running = start(&store, &models);
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let newest = Arc::new(AtomicI64::new(0));
    let (scored, address) = (Arc::new(AtomicI64::new(0)), running.address.clone());
    let pushing = {
        let (newest, scored) = (newest.clone(), scored.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while scored.load(Ordering::Relaxed) < CALLS {
                // The second is out of order, sometimes late.
                let events = [2 * n, 2 * n - 1 - n % 3].map(|minutes| transaction(2 * n + minutes % 2, minutes, Some(n as f64)));
                push(&address, vec![request(n as u64 + 1, events.to_vec())]).await;
                n += 1;
                newest.store(2 * n, Ordering::Relaxed);
            }
            n
        })
    };
    let callers = (0..4).map(|caller| {
        let (client, newest, scored) = (client.clone(), newest.clone(), scored.clone());
        tokio::spawn(async move {
            for n in 0..CALLS / 4 {
                let minutes = newest.load(Ordering::Relaxed) + (n + caller) % 4 - 2;
                let asked = if n % 5 == 0 { by_event(1_000_000 + n, minutes, 5.0) } else { by_keys(7, 5.0, minutes) };
                score(&client, asked).await.expect("a score");
                scored.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("scores");
    }
    assert!(pushing.await.expect("pushes") > 10, "events came meanwhile");
    stop(running).await;
    let report = lines(of_store("verify", &store, Some(&models)), 0).await.remove(0);
    assert_eq!((&report["records"], &report["equal"]), (&CALLS.into(), &CALLS.into()), "{report}");
    assert!(report["since"]["changed"].as_i64() > Some(0) && report["since"]["changed"].as_i64() < Some(CALLS), "{report}");
}

#[tokio::test]
async fn kill_9_loses_no_more_of_the_log_than_its_tail() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = repository(home.path()) else { return };
    let store = home.path().join("store");
    let mut running = start(&store, &models);
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    push(&running.address, vec![request(1, (0..30).map(|n| transaction(n, n, Some(n as f64))).collect())]).await;
    let mut scored = Vec::new();
    for n in 0..40 {
        scored.push(printed(score(&client, by_keys(7, n as f64, n)).await.expect("a score").rows[0].score));
        if n == 19 {
            // Read, so written; and durable with the next commit of anything.
            assert_eq!(lines(of_server("predictions", &running), 0).await.len(), 20);
            push(&running.address, vec![request(2, vec![transaction(100, 31, Some(1.0))])]).await;
        }
    }
    running.child.kill().expect("a kill");
    running.child.wait().expect("an end");
    let kept = lines(of_store("predictions", &store, None), 0).await;
    assert!((20..=40).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.iter().map(score_of).collect::<Vec<_>>(), scored[..kept.len()], "none out of the middle");
    let report = lines(of_store("verify", &store, Some(&models)), 0).await.remove(0);
    assert_eq!(report["equal"], kept.len());
    // The log goes on where it was.
    let running = start(&store, &models);
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    score(&client, by_keys(7, 1.0, 50)).await.expect("a score");
    stop(running).await;
    assert_eq!(lines(of_store("predictions", &store, None), 0).await.len(), kept.len() + 1);
}
