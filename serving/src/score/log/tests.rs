//! Which rows are logged, what a record says, and what becomes of rows that find the queue full.

use floodmark_store::{Settings, Store};

use super::*;
use crate::predictions::StoredRecords;
use crate::testing::{TEXT, definitions};

fn request(rows: usize) -> v1::ScoreRequest {
    let row = |card| v1::EntityRow { keys: vec![from_value(Value::Int(card))], as_of_micros: Some(5), ..Default::default() };
    v1::ScoreRequest {
        model: "fraud".to_owned(),
        key_names: vec!["card".to_owned()],
        rows: (0..rows as i64).map(row).collect(),
        ..Default::default()
    }
}

/// Takes all rows of a request, and hands them on with scores 0, 1, 2 and so on.
fn score(log: &Arc<Log>, request: &v1::ScoreRequest) {
    let (mut logged, mut response) = (Logged::default(), v1::ScoreResponse::default());
    let answer = Answer { cells: vec![Cell { value: Value::Float(2.5), ..Cell::default() }], ..Answer::default() };
    for at in 0..request.rows.len() {
        let keys = [ValueRef::Int(at as i64)];
        log.take(
            &Seen { request, at, keys: &keys, as_of: Time::from_micros(5), now: Time::from_micros(9), columns_id: 3, answer: &answer },
            &mut logged,
        );
        response.rows.push(v1::ScoreRow { score: at as f64, model_version: 4, as_of_micros: 5, version: 77, ..Default::default() });
    }
    logged.scored(&response);
}

#[test]
fn a_share_is_the_same_rows_everywhere_and_part_of_a_greater_one() {
    let (tenth, half) = (Share::of(0.1).expect("as asked"), Share::of(0.5).expect("as asked"));
    let held = |share: Share| (0..10_000_i64).filter(|n| share.holds(&[ValueRef::Int(n % 100)], Time::from_micros(*n))).collect::<Vec<_>>();
    let (few, many) = (held(tenth), held(half));
    assert!((850..1_150).contains(&few.len()) && (4_700..5_300).contains(&many.len()), "{} {}", few.len(), many.len());
    assert!(few.iter().all(|n| many.contains(n)));
    assert_eq!(few[..4], [11, 18, 25, 50], "on every server and in every version");
    assert_eq!(held("all".parse().expect("as asked")).len(), 10_000);
    assert_eq!(Share::of(1.0), Some(Share::ALL));
    assert!("0".parse::<Share>().expect("as asked").is_none());
    for wrong in ["1.1", "-0.1", "NaN", "some"] {
        assert!(wrong.parse::<Share>().is_err(), "{wrong}");
    }
}

#[test]
fn a_record_asks_for_its_row_alone_and_again() {
    let (log, orders) = Log::new(Share::ALL);
    score(&Arc::new(log), &request(3));
    let written: Vec<v1::Prediction> = orders
        .try_iter()
        .map(|order| match order {
            Order::Write(entry) => entry.into_prediction(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(written.len(), 3);
    let last = written.into_iter().next_back().expect("as asked");
    let asked = last.request.expect("as asked");
    assert_eq!((asked.model_version.as_str(), asked.as_of_micros, asked.version, asked.include_features), ("4", Some(5), Some(77), true));
    assert_eq!((asked.rows.len(), &asked.rows[0].keys[0]), (1, &from_value(Value::Int(2))));
    let Some(v1::prediction::Outcome::Row(row)) = last.outcome else { panic!("a row") };
    assert_eq!((row.score, row.features), (2.0, vec![from_value(Value::Float(2.5))]));
    assert_eq!((last.at_micros, last.columns_id), (9, 3));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let (log, orders) = Log::new(Share::ALL);
    let log = Arc::new(log);
    // Nobody takes them.
    for _ in 0..MOST_ROWS / 64 + 2 {
        score(&log, &request(64));
    }
    let queued = orders.try_iter().count();
    assert!(queued <= MOST_ROWS && queued > MOST_ROWS / 2, "{queued}");
    assert_eq!(log.counts().dropped as usize, (MOST_ROWS / 64 + 2) * 64 - queued);
    // By bytes as well, long before there are so many rows.
    let (log, orders) = Log::new(Share::ALL);
    let log = Arc::new(log);
    let mut long = request(1);
    long.rows[0].keys[0] = from_value(Value::Str("x".repeat(1 << 20).as_str().into()));
    for _ in 0..40 {
        score(&log, &long);
    }
    assert_eq!((orders.try_iter().count(), log.counts().dropped), (31, 9));
    drop(orders);
    score(&log, &request(2));
    assert_eq!(log.counts().dropped, 11, "the thread has ended");
}

#[test]
fn a_repeated_read_is_not_logged() {
    let (log, orders) = Log::new(Share::ALL);
    score(&Arc::new(log), &v1::ScoreRequest { version: Some(1), ..request(2) });
    assert_eq!(orders.try_iter().count(), 0);
}

#[test]
fn what_is_flushed_can_be_read_and_what_ends_is_whole() {
    let home = tempfile::tempdir().expect("a directory");
    let store = Store::open(home.path(), definitions(), TEXT, Settings::default()).expect("a store");
    let store = Arc::new(store);
    let settings = |keep_bytes| LogSettings { share: Share::ALL, keep_bytes };
    let read = || StoredRecords::new(store.clone(), Time::NONE, Time::MAX).map(|record| record.expect("a record")).collect::<Vec<_>>();
    let writer = LogWriter::start(store.clone(), settings(u64::MAX), |_| ()).expect("a thread");
    score(writer.log(), &request(600));
    writer.log().flush();
    assert_eq!(read().len(), 600, "more than a page");
    score(writer.log(), &request(3));
    assert_eq!(writer.end(), LogCounts { written: 603, ..LogCounts::default() });
    let scores: Vec<Option<v1::prediction::Outcome>> = read().split_off(600).into_iter().map(|record| record.outcome).collect();
    assert!(matches!(&scores[2], Some(v1::prediction::Outcome::Row(row)) if row.score == 2.0), "in the order of scoring: {scores:?}");
    // The oldest make room.
    let bytes = store.prediction_bytes().expect("bytes");
    let writer = LogWriter::start(store.clone(), settings(bytes / 2), |_| ()).expect("a thread");
    score(writer.log(), &request(5));
    let counts = writer.end();
    assert!(counts.written == 5 && counts.removed > 250 && read().len() as u64 == 608 - counts.removed, "{counts:?}");
}

#[test]
fn a_row_without_a_score_is_counted() {
    let (log, orders) = Log::new(Share::ALL);
    let log = Arc::new(log);
    let (mut logged, asked, answer) = (Logged::default(), request(1), Answer::default());
    let keys = [ValueRef::Int(0)];
    log.take(
        &Seen { request: &asked, at: 0, keys: &keys, as_of: Time::NONE, now: Time::NONE, columns_id: 0, answer: &answer },
        &mut logged,
    );
    logged.failed();
    assert_eq!((log.counts().failed, orders.try_iter().count()), (1, 0));
}
