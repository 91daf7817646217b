//! Events that are scored as they come, against the real server: each accepted one has one score, which is what a call at its time and
//! version gives, whatever is sent twice, comes late, or is killed.

mod parity;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use floodmark_features::definition::Definitions;
use floodmark_proto::v1;
use floodmark_proto::v1::model_service_client::ModelServiceClient;
use floodmark_proto::v1::prediction::Outcome;
use floodmark_proto::v1::push_service_client::PushServiceClient;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use floodmark_proto::v1::value::Kind;
use floodmark_store::{Settings, Store};
use prost::Message;

use crate::disorder::Chance;
use crate::harness::real::{fraud_definitions, printed, text};
use crate::push::{MINUTE, START, request, start_with, value};
use crate::score::{copy, models};

const DAY: i64 = 24 * 60 * MINUTE;
const KILLS: usize = 20;

/// A transaction of the fraud example.
#[derive(Clone, Debug)]
struct Payment {
    id: i64,
    at: i64,
    customer: i64,
    terminal: i64,
    amount: Option<f64>,
    fraud: bool,
}

impl Payment {
    fn row(&self) -> v1::EventRow {
        let values = vec![
            value(Kind::Int64Value(self.id)),
            value(Kind::TimestampMicros(self.at)),
            value(Kind::Int64Value(self.customer)),
            value(Kind::Int64Value(self.terminal)),
            v1::Value { kind: self.amount.map(Kind::DoubleValue) },
            value(Kind::BoolValue(self.fraud)),
        ];
        v1::EventRow { values }
    }
}

/// Asks for the scores of whole events.
fn by_events<'a>(payments: impl Iterator<Item = &'a Payment>) -> v1::ScoreRequest {
    let row = |payment: &Payment| {
        let event = v1::OwnEvent { values: payment.row().values, ..Default::default() };
        v1::EntityRow { event: Some(event), ..Default::default() }
    };
    v1::ScoreRequest {
        model: "fraud".to_owned(),
        event_shape: Some(v1::EventShape { source: "transactions".to_owned(), columns: request(0, Vec::new()).columns }),
        rows: payments.map(row).collect(),
        include_features: true,
        ..Default::default()
    }
}

/// Payments a few seconds apart and a little out of order.
struct Till {
    chance: Chance,
    next: i64,
    at: i64,
}

impl Till {
    fn new(seed: u64) -> Till {
        Till { chance: Chance(seed), next: 0, at: START }
    }

    fn payment(&mut self) -> Payment {
        self.at += self.chance.below(20_000_000) as i64;
        let payment = Payment {
            id: self.next,
            at: self.at - self.chance.below(50_000_000) as i64,
            customer: self.chance.below(60) as i64,
            terminal: self.chance.below(90) as i64,
            amount: Some(self.chance.below(30_000) as f64 / 100.0),
            fraud: self.chance.below(50) == 0,
        };
        self.next += 1;
        payment
    }

    fn payments(&mut self, count: usize) -> Vec<Payment> {
        (0..count).map(|_| self.payment()).collect()
    }
}

/// What a store holds of an event: where it stands, and what came out.
struct Scored {
    version: u64,
    sequence: u64,
    prediction: v1::Prediction,
}

impl Scored {
    fn row(&self) -> Option<&v1::ScoreRow> {
        match &self.prediction.outcome {
            Some(Outcome::Row(row)) => Some(row),
            _ => None,
        }
    }

    fn event_id(&self) -> i64 {
        let event = self.prediction.request.as_ref().and_then(|r| r.rows[0].event.as_ref()).expect("an event");
        match event.values[0].kind {
            Some(Kind::Int64Value(id)) => id,
            _ => panic!("an id"),
        }
    }
}

fn open(directory: &Path) -> Store {
    let text = std::fs::read_to_string(fraud_definitions()).expect("definitions");
    let definitions = Arc::new(Definitions::parse("floodmark.yaml", &text).expect("definitions"));
    Store::open(directory, definitions, &text, Settings::default()).expect("a store")
}

/// All scores of a store, by the id of their event; no event may have two.
fn scored(store: &Store) -> BTreeMap<i64, Scored> {
    let (mut all, mut twice) = (BTreeMap::new(), Vec::new());
    let mut before = None;
    let each = |record: floodmark_store::ScoreRecord| {
        let prediction = v1::Prediction::decode(record.record.as_slice()).expect("a prediction");
        assert_eq!((prediction.origin(), prediction.sequence), (v1::PredictionOrigin::Stream, Some(record.sequence)));
        assert!(before < Some(record.sequence), "in the order of the source");
        before = Some(record.sequence);
        let scored = Scored { version: record.version, sequence: record.sequence, prediction };
        twice.extend(all.insert(scored.event_id(), scored).map(|scored| scored.event_id()));
        true
    };
    store.scores(each).expect("scores");
    assert!(twice.is_empty(), "scored twice: {twice:?}");
    assert_eq!(store.waiting_for_scores(), [], "nothing waits");
    all
}

/// The same events by a call at their version: the same bits. Asked as the sender knows them, and as the record says.
async fn assert_as_called(address: &str, scored: &BTreeMap<i64, Scored>, payments: &BTreeMap<i64, Payment>) {
    let client = ScoreServiceClient::connect(address.to_owned()).await.expect("a server");
    let mut groups: BTreeMap<(u64, u64), Vec<&Scored>> = BTreeMap::new();
    for one in scored.values() {
        if let Some(row) = one.row() {
            groups.entry((one.version, row.model_version)).or_default().push(one);
        }
    }
    for ((version, model_version), group) in groups {
        let asked = v1::ScoreRequest {
            version: Some(version),
            model_version: model_version.to_string(),
            ..by_events(group.iter().map(|one| &payments[&one.event_id()]))
        };
        let answer = client.clone().score(asked).await.expect("scores").into_inner();
        let as_recorded = group[0].prediction.request.clone().expect("a request");
        assert_eq!((as_recorded.version, as_recorded.model_version.as_str()), (Some(version), model_version.to_string().as_str()));
        assert_eq!(as_recorded.as_of_micros, Some(payments[&group[0].event_id()].at));
        let again = client.clone().score(as_recorded).await.expect("a score").into_inner();
        assert_eq!(again.rows[0].score.to_bits(), answer.rows[0].score.to_bits());
        for (one, called) in group.iter().zip(&answer.rows) {
            let row = one.row().expect("a score");
            assert_eq!(row.score.to_bits(), called.score.to_bits(), "event {} at version {version}", one.event_id());
            assert_eq!(row.features, called.features, "event {} at version {version}", one.event_id());
            assert_eq!((row.as_of_micros, row.version, row.missing), (called.as_of_micros, called.version, called.missing));
        }
    }
}

fn by_id(payments: &[Payment]) -> BTreeMap<i64, Payment> {
    payments.iter().map(|payment| (payment.id, payment.clone())).collect()
}

fn requests(batches: &[Vec<Payment>]) -> Vec<v1::PushRequest> {
    batches.iter().zip(1..).map(|(batch, id)| request(id, batch.iter().map(Payment::row).collect())).collect()
}

#[tokio::test]
async fn each_accepted_event_is_scored_once_as_a_call_would() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = models(home.path()) else { return };
    let store = home.path().join("store");
    let mut till = Till::new(0x5eed_1234_5678_9abc);

    // Some payments are in a file already when the server starts.
    let history = till.payments(700);
    let line = |p: &Payment| {
        let amount = p.amount.map_or("null".to_owned(), |amount| amount.to_string());
        let (id, at, customer, terminal) = (p.id, p.at, p.customer, p.terminal);
        format!(
            "{{\"transaction_id\":{id},\"tx_datetime\":{at},\"customer_id\":{customer},\"terminal_id\":{terminal},\"amount\":{amount},\"fraud\":{}}}\n",
            p.fraud
        )
    };
    let file = home.path().join("history.jsonl");
    std::fs::write(&file, history.iter().map(line).collect::<String>() + "not an event\n").expect("a file");

    // Then come others: some twice, some without an amount, some much too late or broken.
    till.at += 60 * DAY;
    let mut expected: Vec<Payment> = history;
    let mut without_score = BTreeSet::new();
    let mut batches = vec![till.payments(1)];
    expected.extend(batches[0].clone());
    let (mut late, mut partially_late, mut rejected, mut duplicates) = (0, 0, 0, 0);
    for n in 0..60 {
        let mut batch = till.payments(1 + n % 70);
        if n % 5 == 0 {
            batch[0].amount = None;
            without_score.insert(batch[0].id);
        }
        if n % 7 == 0 {
            let (middle, back) = (batch.len() / 2, (1 + n as i64 % 20) * DAY);
            batch[middle].at -= back;
            partially_late += 1;
        }
        expected.extend(batch.clone());
        let again = expected[(n * 37) % expected.len()].clone();
        if again.at > START + 60 * DAY {
            batch.push(again);
            duplicates += 1;
        }
        batch.insert(batch.len() / 2, Payment { id: 1_000_000 + n as i64, at: START + n as i64 * MINUTE, ..batch[0].clone() });
        late += 1;
        batch.push(Payment { id: 2_000_000 + n as i64, amount: Some(f64::NAN), ..batch[0].clone() });
        batch.insert(0, Payment { id: 3_000_000 + n as i64, at: i64::MAX / 2, ..batch[0].clone() });
        rejected += 2;
        batches.push(batch);
    }
    let score = ["--models", &text(&models), "--score", "transactions=fraud", &format!("transactions={}", text(&file))];
    let running = start_with(&store, &score);
    let acks = crate::push::push(&running.address, requests(&batches)).await;
    let sum = |of: fn(&v1::PushAck) -> u64| acks.iter().map(of).sum::<u64>();
    assert_eq!(sum(|a| a.partially_late), partially_late);
    assert_eq!([sum(|a| a.late), sum(|a| a.rejected), sum(|a| a.duplicates)], [late, rejected, duplicates]);
    running.stop().await;

    let all = scored(&open(&store));
    let expected = by_id(&expected);
    assert_eq!(all.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "the accepted ones and no others");
    let failed: BTreeSet<i64> = all.iter().filter(|(_, one)| one.row().is_none()).map(|(id, _)| *id).collect();
    assert_eq!(failed, without_score);
    for id in &failed {
        match &all[id].prediction.outcome {
            Some(Outcome::Error(error)) => assert_eq!(error.reason, "MISSING_INPUT"),
            other => panic!("{other:?}"),
        }
    }
    let lines = printed(&["scores", "--store", &text(&store), "--source", "transactions", "--json"]);
    assert_eq!(lines.lines().count(), all.len());
    for text in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let id = line["event_id"].as_str().and_then(|id| id.parse::<i64>().ok()).expect("an id");
        assert_eq!(line["entity"]["terminal_id"], expected[&id].terminal);
        assert_eq!((line["version"].as_u64(), line["sequence"].as_u64()), (Some(all[&id].version), Some(all[&id].sequence)));
        match all[&id].row() {
            // The text that reads back as the same bits; most readers of JSON are not that exact.
            Some(row) => assert!(text.contains(&format!(",\"score\":{},", serde_json::to_string(&row.score).expect("a number"))), "{line}"),
            None => assert_eq!(line["error"]["reason"], "MISSING_INPUT", "{line}"),
        }
    }

    // They are verified as the log of predictions is.
    let report = printed(&["verify", "--store", &text(&store), "--models", &text(&models), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["equal"].as_u64(), Some(all.len() as u64), "{report}");

    // The same server, and nothing new: nothing is scored again.
    let running = start_with(&store, &score);
    assert_as_called(&running.address, &all, &expected).await;
    running.stop().await;
    let again = scored(&open(&store));
    assert!(again.iter().all(|(id, one)| one.prediction.at_micros == all[id].prediction.at_micros) && again.len() == all.len());
}

/// Sends batches until the server is gone or has acknowledged them all; says how many it has.
async fn push_until_gone(address: &str, batches: &[Vec<Payment>]) -> usize {
    let Ok(mut client) = PushServiceClient::connect(address.to_owned()).await else { return 0 };
    let Ok(acks) = client.push(tokio_stream::iter(requests(batches))).await else { return 0 };
    let (mut acks, mut acknowledged) = (acks.into_inner(), 0);
    while let Ok(Some(_)) = acks.message().await {
        acknowledged += 1;
    }
    acknowledged
}

#[tokio::test]
async fn kill_9_leaves_each_accepted_event_one_score() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = models(home.path()) else { return };
    let store = home.path().join("store");
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos() as u64 | 1;
    eprintln!("seed {seed}");
    let mut chance = Chance(seed);
    let mut till = Till::new(seed);
    let score = ["--models", &text(&models), "--score", "transactions=fraud"];
    let mut sent: Vec<Payment> = Vec::new();
    let mut waiting: Vec<Vec<Payment>> = Vec::new();
    let mut interrupted = 0;
    for _ in 0..KILLS {
        while waiting.len() < 60 {
            let batch = till.payments(1 + chance.below(150) as usize);
            sent.extend(batch.clone());
            waiting.push(batch);
        }
        let mut running = start_with(&store, &score);
        let pause = Duration::from_millis(chance.below(700));
        let (acknowledged, ()) = tokio::join!(push_until_gone(&running.address, &waiting), async {
            tokio::time::sleep(pause).await;
            running.child.kill().expect("a kill");
        });
        running.child.wait().expect("an end");
        waiting.drain(..acknowledged);
        interrupted += usize::from(!open(&store).waiting_for_scores().is_empty());
    }
    assert!(interrupted > 0, "no kill came between an event and its score, seed {seed}");
    let running = start_with(&store, &score);
    assert_eq!(push_until_gone(&running.address, &waiting).await, waiting.len(), "seed {seed}");
    running.stop().await;

    let all = scored(&open(&store));
    let sent = by_id(&sent);
    assert_eq!(all.keys().collect::<Vec<_>>(), sent.keys().collect::<Vec<_>>(), "seed {seed}");
    let running = start_with(&store, &["--models", &text(&models)]);
    assert_as_called(&running.address, &all, &sent).await;
    running.stop().await;
    eprintln!("{KILLS} kills, {interrupted} of them while events waited for their scores, {} events, seed {seed}", sent.len());
}

#[tokio::test]
async fn each_score_names_the_version_of_the_model_that_made_it() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = models(home.path()) else { return };
    let store = home.path().join("store");
    let mut till = Till::new(99);
    let payments = till.payments(3_000);
    let batches: Vec<Vec<Payment>> = payments.chunks(50).map(<[Payment]>::to_vec).collect();
    let running = start_with(&store, &["--models", &text(&models), "--score", "transactions=fraud"]);
    crate::push::push(&running.address, requests(&batches[..10])).await;
    copy(&models.join("fraud/1"), &models.join("fraud/3"));
    let mut operator = ModelServiceClient::connect(running.address.clone()).await.expect("a server");
    let load = v1::LoadModelRequest { model: "fraud".to_owned(), version: Some(3) };
    let (loaded, acks) = tokio::join!(operator.load_model(load), crate::push::push(&running.address, requests(&batches[10..30])));
    loaded.expect("a model");
    assert_eq!(acks.len(), 20);
    crate::push::push(&running.address, requests(&batches[30..])).await;
    running.stop().await;

    let all = scored(&open(&store));
    assert_eq!(all.len(), payments.len());
    let mut by_sequence: Vec<(u64, u64)> = all.values().map(|one| (one.sequence, one.row().expect("a score").model_version)).collect();
    by_sequence.sort_unstable();
    let versions: Vec<u64> = by_sequence.into_iter().map(|(_, version)| version).collect();
    assert_eq!((versions[0], versions[versions.len() - 1]), (1, 3));
    assert!(versions.is_sorted(), "from one version to the next, once");
    let running = start_with(&store, &["--models", &text(&models)]);
    let mut operator = ModelServiceClient::connect(running.address.clone()).await.expect("a server");
    operator.load_model(v1::LoadModelRequest { model: "fraud".to_owned(), version: Some(1) }).await.expect("the first one too");
    assert_as_called(&running.address, &all, &by_id(&payments)).await;
    running.stop().await;
}

#[tokio::test]
async fn events_wait_for_a_model_and_nothing_is_lost() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = models(home.path()) else { return };
    let (store, none) = (home.path().join("store"), home.path().join("none"));
    std::fs::create_dir_all(&none).expect("a folder");
    let mut till = Till::new(7);
    let payments = till.payments(60);
    let batches: Vec<Vec<Payment>> = payments.chunks(20).map(<[Payment]>::to_vec).collect();

    // No version of the model is there: the events are taken in and wait, also when the server is told to end.
    let running = start_with(&store, &["--models", &text(&none), "--score", "transactions=fraud"]);
    crate::push::push(&running.address, requests(&batches[..1])).await;
    running.stop().await;
    assert_eq!(open(&store).waiting_for_scores().iter().map(|w| w.events).sum::<u64>(), 20);
    // Nobody scores: what comes is not to be scored, and what waits waits on.
    let running = start_with(&store, &[]);
    crate::push::push(&running.address, requests(&batches[1..2])).await;
    running.stop().await;
    assert_eq!(open(&store).waiting_for_scores().iter().map(|w| w.events).sum::<u64>(), 20);
    // A model is loaded while they wait.
    let running = start_with(&store, &["--models", &text(&none), "--score", "transactions=fraud"]);
    copy(&models.join("fraud/1"), &none.join("fraud/1"));
    let mut operator = ModelServiceClient::connect(running.address.clone()).await.expect("a server");
    operator.load_model(v1::LoadModelRequest { model: "fraud".to_owned(), version: Some(1) }).await.expect("a model");
    crate::push::push(&running.address, requests(&batches[2..])).await;
    running.stop().await;
    let all = scored(&open(&store));
    let expected: Vec<i64> = (0..20).chain(40..60).collect();
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), expected);
    assert!(all.values().all(|one| one.row().is_some()));
}

/// `up` with these arguments, which it refuses: its exit code, and what it says.
fn refused(definitions: &Path, store: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodmark"));
    command.args(["up", "--listen", "127.0.0.1:0", "--definitions"]).arg(definitions).arg("--store").arg(store).args(more);
    let run = command.output().expect("the floodmark command");
    (run.status.code(), String::from_utf8(run.stderr).expect("text"))
}

#[test]
fn what_cannot_be_scored_is_refused_at_the_start() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = models(home.path()) else { return };
    let (store, none) = (home.path().join("store"), text(&home.path().join("none")));
    let fraud = std::fs::read_to_string(fraud_definitions()).expect("definitions");
    let logins = "sources:\n  logins: { schema: { at: timestamp, customer_id: int64 }, event_time: at }\n";
    let definitions = home.path().join("floodmark.yaml");
    std::fs::write(&definitions, fraud.replacen("sources:\n", logins, 1)).expect("definitions");
    std::fs::create_dir(&none).expect("a repository without models");
    let file = home.path().join("history.jsonl");
    std::fs::write(&file, "").expect("a file");
    let (file, models) = (format!("transactions={}", text(&file)), text(&models));

    let (code, said) = refused(&definitions, &store, &["--models", &none, "--score", "transactions=fraud", &file]);
    assert!(code == Some(1) && said.contains("files cannot be scored: no version of the model is ready"), "{code:?} {said}");
    let (code, said) = refused(&definitions, &store, &["--models", &models, "--score", "logins=fraud"]);
    assert!(code == Some(2) && said.contains("a key is missing"), "{code:?} {said}");
    let (code, said) = refused(&definitions, &store, &["--models", &models, "--score", "payments=fraud"]);
    assert!(code == Some(2) && said.contains("known=logins,transactions"), "{code:?} {said}");
    let twice = ["--models", &models, "--score", "transactions=fraud", "--score", "transactions=other"];
    let (code, said) = refused(&definitions, &store, &twice);
    assert!(code == Some(2) && said.contains("one model scores a source"), "{code:?} {said}");
}
