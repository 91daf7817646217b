//! A new view beside a running system with history (`serve --offline`): it has all of history at once, and then what comes, while the old
//! views answer throughout.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_client::FeatureServiceClient;
use floodmark_proto::v1::get_features_request::What;
use floodmark_proto::v1::value::Kind;
use serde_json::Value;

use crate::crash::{Chance, DEFINITIONS, write_payments};
use crate::harness::real::{floodmark, text};
use crate::pipeline::world::metrics;
use crate::push::{Running, start_command, start_telling, value};

pub(crate) const START: i64 = 1_700_000_000_000_000;
pub(crate) const HOUR: i64 = 3_600_000_000;
pub(crate) const ASKED: usize = 300;

/// The views that there were, and one that is new.
pub(crate) fn new_definitions() -> String {
    let view = "  newer:
    entity: card
    source: payments
    features:
      n: { count: \"*\", windows: [2h, 3d] }
      sum: { sum: amount, windows: [3d] }
services:
  new: { features: [newer.*] }
";
    DEFINITIONS.replacen("services:\n", view, 1)
}

type Client = FeatureServiceClient<tonic::transport::Channel>;

/// What a recount needs of an event: when it happened, from when it counts, its card, its amount.
pub(crate) struct Payment {
    at: i64,
    visible: i64,
    card: i64,
    amount: f64,
}

/// The events that count, by the rules of the definitions: a minute out of order, ten minutes late (T6, T9).
pub(crate) fn payments(lines: &[&str]) -> Vec<Payment> {
    let mut newest = i64::MIN / 2;
    let mut payment = |line: &&str| {
        let record: BTreeMap<String, Value> = serde_json::from_str(line).ok()?;
        let [at, card] = ["at", "card"].map(|name| record[name].as_i64().expect("a number"));
        let visible = at.max(newest - 60_000_000 - 1 - 600_000_000 + 1);
        newest = newest.max(at);
        Some(Payment { at, visible, card, amount: record["amount"].as_f64().expect("an amount") })
    };
    lines.iter().filter_map(&mut payment).collect()
}

/// `n` over 2 hours and 3 days, and the sum over 3 days.
fn recount(payments: &[Payment], card: i64, as_of: i64) -> (i64, i64, f64) {
    let within = |hours: i64| {
        let inside = move |p: &&Payment| p.card == card && p.at > as_of - hours * HOUR && p.at <= as_of && p.visible <= as_of;
        payments.iter().filter(inside)
    };
    (within(2).count() as i64, within(72).count() as i64, within(72).map(|p| p.amount).sum())
}

pub(crate) async fn ask(client: &mut Client, service: &str, asked: &[(i64, i64)]) -> Vec<v1::FeatureRow> {
    try_ask(client, service, asked).await.expect("an answer")
}

pub(crate) async fn try_ask(client: &mut Client, service: &str, asked: &[(i64, i64)]) -> Result<Vec<v1::FeatureRow>, tonic::Status> {
    let of_cards = ["card", "shop"].map(str::to_owned);
    let (names, with_shop) = if service == "all" { (of_cards.to_vec(), true) } else { (of_cards[..1].to_vec(), false) };
    let row = |(card, as_of): &(i64, i64)| {
        let mut keys = vec![value(Kind::Int64Value(*card))];
        keys.extend(with_shop.then(|| value(Kind::StringValue(format!("s{}", card % 40)))));
        v1::EntityRow { keys, as_of_micros: Some(*as_of), ..v1::EntityRow::default() }
    };
    let rows = asked.iter().map(row).collect();
    let what = Some(What::Service(service.to_owned()));
    let request = v1::GetFeaturesRequest { what, key_names: names, rows, ..v1::GetFeaturesRequest::default() };
    Ok(client.get_features(request).await?.into_inner().rows)
}

fn values(rows: &[v1::FeatureRow]) -> Vec<&[v1::Value]> {
    rows.iter().map(|row| row.values.as_slice()).collect()
}

/// Whether the answers are those of a recount.
pub(crate) fn are(rows: &[v1::FeatureRow], asked: &[(i64, i64)], payments: &[Payment]) -> Result<(), String> {
    for ((card, as_of), row) in asked.iter().zip(rows) {
        let (few, many, sum) = recount(payments, *card, *as_of);
        let kinds: Vec<Option<Kind>> = row.values.iter().map(|value| value.kind.clone()).collect();
        let [Some(Kind::Int64Value(n)), Some(Kind::Int64Value(m)), Some(Kind::DoubleValue(s))] = &kinds[..] else {
            return Err(format!("{kinds:?}"));
        };
        if (*n, *m) != (few, many) || (s - sum).abs() > 1e-6 * sum.abs().max(1.0) {
            return Err(format!("card {card} as of {as_of}: {n}, {m}, {s} and not {few}, {many}, {sum}"));
        }
    }
    Ok(())
}

pub(crate) async fn client(running: &Running) -> Client {
    FeatureServiceClient::connect(running.address.clone()).await.expect("a server")
}

fn events_of(lines: &[&str]) -> Vec<v1::EventRow> {
    let row = |line: &&str| {
        let record: BTreeMap<String, Value> = serde_json::from_str(line).ok()?;
        let number = |name: &str| record[name].as_i64().expect("a number");
        let amount = record["amount"].as_f64().expect("an amount");
        let kinds = [
            Kind::Int64Value(number("id")),
            Kind::TimestampMicros(number("at")),
            Kind::Int64Value(number("card")),
            Kind::StringValue(record["shop"].as_str().expect("a shop").to_owned()),
            Kind::DoubleValue(amount),
        ];
        Some(v1::EventRow { values: kinds.map(value).to_vec() })
    };
    lines.iter().filter_map(row).collect()
}

pub(crate) async fn push(address: &str, lines: &[&str]) {
    let columns = ["id", "at", "card", "shop", "amount"].map(str::to_owned).to_vec();
    let request = |(at, lines): (usize, &[&str])| v1::PushRequest {
        source: "payments".to_owned(),
        partition: "one".to_owned(),
        columns: columns.clone(),
        rows: events_of(lines),
        batch_id: at as u64,
    };
    let requests = lines.chunks(5_000).enumerate().map(request).collect();
    crate::push::push(address, requests).await;
}

/// Somebody who asks for the old views all the time.
pub(crate) struct Answering {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Answering {
    pub(crate) fn start(address: String, asked: (i64, i64)) -> Answering {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let ask_on = async move {
            let mut client = FeatureServiceClient::connect(address).await.expect("a server");
            let (began, mut answers, mut slowest) = (Instant::now(), 0, Duration::ZERO);
            while !told.load(Ordering::Acquire) {
                let asking = Instant::now();
                assert_eq!(ask(&mut client, "all", &[asked]).await.len(), 1);
                slowest = slowest.max(asking.elapsed());
                answers += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            eprintln!("the old views answered {answers} times in {:?}, each within {slowest:?}", began.elapsed());
            assert!(answers > 100);
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Answering { over, thread: std::thread::spawn(move || runtime.block_on(ask_on)) }
    }

    pub(crate) fn end(self) {
        self.over.store(true, Ordering::Release);
        self.thread.join().expect("each answer came");
    }
}

#[tokio::test]
async fn a_new_view_has_all_of_history_and_follows_while_the_old_ones_answer() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| home.path().join(name);
    write_payments(&at("payments.jsonl"));
    let all = std::fs::read_to_string(at("payments.jsonl")).expect("lines");
    let lines: Vec<&str> = all.lines().take(120_000).collect();
    let (first, second) = lines.split_at(90_000);
    std::fs::write(at("old.yaml"), DEFINITIONS).expect("definitions");
    std::fs::write(at("new.yaml"), new_definitions()).expect("definitions");
    let place = text(&at("offline"));
    let more = ["--offline", &place, "--offline-interval", "200"];
    let old = start_telling(&at("old.yaml"), &at("store"), &more, Stdio::inherit());
    push(&old.address, first).await;

    let mut chance = Chance(0xf0110e);
    let asked: Vec<(i64, i64)> = (0..ASKED).map(|_| (chance.below(800) as i64, START + chance.below(70 * HOUR as u64) as i64)).collect();
    let answering = Answering::start(old.address.clone(), asked[0]);
    // As soon as the events are in the offline store; the training set needs no server at all.
    until("the first events are kept", || kept(&at("offline")) == payments(first).len()).await;
    let spine = at("spine.parquet");
    write_spine(&spine, &asked);
    let (out, definitions) = (text(&at("training.parquet")), text(&at("new.yaml")));
    let of = ["--offline", &place, "--definitions", &definitions, "--service", "new", "--time", "at"];
    floodmark(&[&["training-set", "--json"], &of[..], &["--spine", &text(&spine), "--out", &out]].concat());
    check_training_set(&out, &asked, &payments(first));

    let arguments = ["--offline", &place, "--follow-interval", "100", "--http", "127.0.0.1:0"];
    let new = start_command("serve", &at("new.yaml"), &arguments, Stdio::inherit());
    let mut client_of_new = client(&new).await;
    are(&ask(&mut client_of_new, "new", &asked).await, &asked, &payments(first)).expect("after the replay of history");
    push(&old.address, second).await;
    let taken = payments(&lines);
    let began = Instant::now();
    loop {
        let rows = ask(&mut client_of_new, "new", &asked).await;
        match are(&rows, &asked, &taken) {
            Ok(()) => break,
            Err(problem) => assert!(began.elapsed() < Duration::from_secs(60), "{problem}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("the new view had the second part {:?} after it was acknowledged", began.elapsed());
    let mut client_of_old = client(&old).await;
    let [a, b] = [ask(&mut client_of_old, "all", &asked).await, ask(&mut client_of_new, "all", &asked).await];
    assert_eq!(values(&a), values(&b), "the views that there were are the same here and there");
    answering.end();
    let page = metrics(&new.http).expect("a page");
    assert_eq!(page["floodmark_followed_events_total"] as usize, taken.len() - payments(first).len());
    assert_eq!(page["floodmark_follow_failures_total"], 0.0);
    // The clients hear of it meanwhile, and hang up.
    let ended = tokio::task::spawn_blocking(|| {
        [new, old].into_iter().all(|running| {
            running.terminate();
            running.ended()
        })
    });
    assert!(ended.await.expect("no panic"), "they end in order");
}

#[test]
fn a_new_view_counts_events_that_came_too_late_for_every_view_of_then() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| text(&home.path().join(name));
    write_payments(&home.path().join("payments.jsonl"));
    let all = std::fs::read_to_string(at("payments.jsonl")).expect("lines");
    // Of then there are views of half a day at most, and one event in a hundred came up to three days late.
    let (before, views) = DEFINITIONS.split_once("  spend:\n").expect("a view");
    let (_, shop_load) = views.split_once("  shop_load:\n").expect("a view");
    let before = before.replace("  card: { keys: [card] }\n", "");
    let old = format!("{before}  shop_load:\n{}", shop_load.replace("[spend.*, sessions.*, shop_load.*]", "[shop_load.*]"));
    std::fs::write(at("old.yaml"), old).expect("definitions");
    std::fs::write(at("new.yaml"), new_definitions()).expect("definitions");
    let input = format!("payments={}", at("payments.jsonl"));
    let report =
        floodmark(&["replay", "--json", "--definitions", &at("old.yaml"), "--store", &at("store"), "--offline", &at("offline"), &input]);
    assert!(report["late"].as_u64().is_some_and(|late| late > 1_000), "{report}");

    let taken = payments(&all.lines().collect::<Vec<_>>());
    let late = taken.iter().filter(|p| p.visible >= p.at + 12 * HOUR).count();
    assert_eq!(report["late"], late);
    let mut chance = Chance(0x1a7e);
    let asked: Vec<(i64, i64)> = (0..ASKED).map(|_| (chance.below(800) as i64, START + chance.below(150 * HOUR as u64) as i64)).collect();
    write_spine(&home.path().join("spine.parquet"), &asked);
    let of = [
        "--offline",
        &at("offline"),
        "--definitions",
        &at("new.yaml"),
        "--service",
        "new",
        "--time",
        "at",
        "--spine",
        &at("spine.parquet"),
    ];
    floodmark(&[&["training-set", "--json"], &of[..], &["--out", &at("training.parquet")]].concat());
    check_training_set(&at("training.parquet"), &asked, &taken);
    // The late ones matter, or nothing is shown.
    let on_time: Vec<Payment> = payments(&all.lines().collect::<Vec<_>>()).into_iter().filter(|p| p.visible < p.at + 12 * HOUR).collect();
    let differ = |(card, as_of): &&(i64, i64)| recount(&taken, *card, *as_of).1 != recount(&on_time, *card, *as_of).1;
    let differing = asked.iter().filter(differ).count();
    eprintln!("{differing} of {ASKED} counts hold an event that came too late for the old views");
    assert!(differing > 20);
}

/// Rows of the events' table, as its log says.
pub(crate) fn kept(place: &Path) -> usize {
    let log = place.join("events/payments/_delta_log");
    let entries = std::fs::read_dir(log).into_iter().flatten().flatten().map(|entry| entry.path());
    let adds = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).map(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter_map(|entry| {
            let stats: Value = serde_json::from_str(entry["add"]["stats"].as_str()?).ok()?;
            (entry["add"]["dataChange"] == true).then(|| stats["numRecords"].as_u64().unwrap_or(0) as usize)
        });
        rows.sum::<usize>()
    });
    adds.sum()
}

pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn write_spine(path: &Path, asked: &[(i64, i64)]) {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
    let cards: Int64Array = asked.iter().map(|(card, _)| Some(*card)).collect();
    let times: TimestampMicrosecondArray = asked.iter().map(|(_, at)| Some(*at)).collect();
    let columns: [(&str, ArrayRef); 2] = [("card", Arc::new(cards)), ("at", Arc::new(times))];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let file = std::fs::File::create(path).expect("a file");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

fn check_training_set(path: &str, asked: &[(i64, i64)], payments: &[Payment]) {
    use crate::harness::real::{batches, floats, ints};
    let rows: Vec<(i64, i64, f64)> = batches(Path::new(path))
        .iter()
        .flat_map(|batch| {
            let (few, many) = (ints(batch, "newer.n_2h"), ints(batch, "newer.n_3d"));
            few.into_iter().zip(many).zip(floats(batch, "newer.sum_3d")).map(|((few, many), sum)| (few, many, sum)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(rows.len(), asked.len());
    for ((card, as_of), (few, many, sum)) in asked.iter().zip(rows) {
        let wanted = recount(payments, *card, *as_of);
        assert_eq!((few, many), (wanted.0, wanted.1), "card {card} as of {as_of}");
        assert!((sum - wanted.2).abs() <= 1e-6 * wanted.2.abs().max(1.0), "card {card} as of {as_of}: {sum} and not {}", wanted.2);
    }
}
