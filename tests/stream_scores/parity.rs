//! One score, three ways: by a call just before the event comes, in the stream, and offline from a training set. The same bits.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use floodmark_models::matrix::Input;
use floodmark_models::model::Settings as ModelSettings;
use floodmark_models::registry::{Registry, Selection};
use floodmark_models::repository::{Policy, Repository};
use floodmark_proto::v1;
use floodmark_proto::v1::push_service_client::PushServiceClient;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use floodmark_serving::score::Scores;
use parquet::arrow::ArrowWriter;

use super::{DAY, Payment, by_events, open, scored};
use crate::harness::real::{batches, data, floats, floodmark, floodmark_lines, fraud_definitions, ints, text};
use crate::push::{request, start_with};
use crate::score::models;

/// Days that the longest window of the example's model looks back, its delay included.
const LOOKS_BACK: i64 = 37;
/// 2018-08-08
const REAL_DAY: i64 = 1_533_686_400_000_000;

#[tokio::test]
async fn a_score_is_the_same_called_streamed_and_offline() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(models) = models(home.path()) else { return };
    let world = home.path().join("world");
    floodmark(&["demo", "--customers", "400", "--terminals", "500", "--days", "45", "--reads", "1", "--store", &text(&world), "--json"]);
    let all = table(&world.join("input/labels.parquet"));
    three_ways(home.path(), &models, &all, all.num_rows() - 2_000, 2_000).await;
}

#[tokio::test]
async fn a_real_day_is_scored_the_same_called_streamed_and_offline() {
    let home = tempfile::tempdir().expect("a directory");
    let (Some(models), Some(transactions)) = (models(home.path()), data("transactions.parquet")) else { return };
    let all = table(&transactions);
    let times = ints(&all, "tx_datetime");
    let near = BooleanArray::from_iter(times.iter().map(|at| Some((REAL_DAY - LOOKS_BACK * DAY..REAL_DAY + 2 * DAY).contains(at))));
    let all = filter_record_batch(&all, &near).expect("rows");
    let before = ints(&all, "tx_datetime").iter().filter(|at| **at < REAL_DAY).count();
    three_ways(home.path(), &models, &all, before, 10_000).await;
}

/// A file as one table, in the order of the events.
fn table(path: &Path) -> RecordBatch {
    let batches = batches(path);
    let all = concat_batches(&batches[0].schema(), &batches).expect("one table");
    let ids = all.column_by_name("transaction_id").expect("ids");
    take_record_batch(&all, &sort_to_indices(ids, None, None).expect("an order")).expect("sorted")
}

fn write(path: &Path, table: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).expect("a file"), table.schema(), None).expect("a writer");
    writer.write(table).expect("rows");
    writer.close().expect("an end");
}

fn payments(table: &RecordBatch) -> Vec<Payment> {
    let [ids, times, customers, terminals] = ["transaction_id", "tx_datetime", "customer_id", "terminal_id"].map(|name| ints(table, name));
    let (amounts, frauds) = (floats(table, "amount"), ints(table, "fraud"));
    let payment = |row: usize| Payment {
        id: ids[row],
        at: times[row],
        customer: customers[row],
        terminal: terminals[row],
        amount: Some(amounts[row]),
        fraud: frauds[row] != 0,
    };
    (0..table.num_rows()).map(payment).collect()
}

/// The first rows are history; those that follow are scored before they come, as they come, and when all is over.
async fn three_ways(home: &Path, models: &Path, all: &RecordBatch, history: usize, count: usize) {
    let (store, past, day) = (home.join("store"), home.join("past.parquet"), home.join("day.parquet"));
    let table = all.slice(history, count);
    write(&past, &all.slice(0, history));
    write(&day, &table);
    let payments = payments(&table);
    let definitions = fraud_definitions();
    let taken =
        floodmark(&["replay", "--definitions", &definitions, "--store", &text(&store), &format!("transactions={}", text(&past)), "--json"]);
    assert_eq!(taken["accepted"].as_u64(), Some(history as u64));

    let running = start_with(&store, &["--models", &text(models), "--score", "transactions=fraud"]);
    let called = call_and_push(&running.address, &payments).await;
    running.stop().await;
    let training = home.join("training.parquet");
    let (store_text, day_text, out) = (text(&store), text(&day), text(&training));
    floodmark(&[
        "training-set",
        "--store",
        &store_text,
        "--service",
        "fraud",
        "--spine",
        &day_text,
        "--time",
        "tx_datetime",
        "--event-id",
        "transaction_id",
        "--out",
        &out,
    ]);
    let offline = offline(&store, models, &training);
    let streamed = scored(&open(&store));

    assert_eq!((called.len(), streamed.len(), offline.len()), (count, count, count));
    let mut distinct = std::collections::BTreeSet::new();
    for ((payment, called), offline) in payments.iter().zip(&called).zip(&offline) {
        let streamed = streamed[&payment.id].row().expect("a score").score;
        assert_eq!([called.to_bits(), offline.to_bits()], [streamed.to_bits(); 2], "{payment:?}: {called} {streamed} {offline}");
        distinct.insert(streamed.to_bits());
    }
    assert!(distinct.len() > count / 20, "{} scores are all that there are", distinct.len());
    let lines = floodmark_lines(&["scores", "--store", &store_text, "--json"]);
    assert_eq!(lines.len(), count);
    eprintln!("{count} events, {} distinct scores", distinct.len());
}

/// One event after the other: its score by a call, and then the event itself, until it is acknowledged.
async fn call_and_push(address: &str, payments: &[Payment]) -> Vec<f64> {
    let mut scores = ScoreServiceClient::connect(address.to_owned()).await.expect("a server");
    let mut client = PushServiceClient::connect(address.to_owned()).await.expect("a server");
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut acks = client.push(stream).await.expect("a stream").into_inner();
    let mut called = Vec::with_capacity(payments.len());
    for payment in payments {
        let answer = scores.score(by_events(std::iter::once(payment))).await.expect("a score").into_inner();
        called.push(answer.rows[0].score);
        let pushed: v1::PushRequest = request(payment.id as u64, vec![payment.row()]);
        sender.send(pushed).await.expect("the server takes it");
        let ack = acks.message().await.expect("an acknowledgement").expect("an acknowledgement");
        assert_eq!((ack.accepted, ack.partially_late), (1, 0), "{payment:?}");
    }
    called
}

/// The model, in this process, on the rows of a training set.
fn offline(store: &Path, models: &Path, training: &Path) -> Vec<f64> {
    let registry = Arc::new(Registry::new(Repository::new(models), None, ModelSettings::default()));
    let tried = Scores::new(Arc::new(open(store)), registry.clone()).load_all(&Policy::Latest(1)).expect("a repository");
    assert!(tried.iter().flat_map(|(_, tried)| tried).all(|(_, loaded)| loaded.is_ok()), "{tried:?}");
    let model = registry.pick("fraud", Selection::Default).expect("a model");
    let mut all = Vec::new();
    for batch in batches(training) {
        let columns: Vec<&ArrayRef> =
            model.signature().inputs.iter().map(|input| batch.column_by_name(&input.column).expect("a column")).collect();
        let mut rows = model.matrix();
        for row in 0..batch.num_rows() {
            rows.push(|input| input_of(columns[input], row)).expect("a row");
        }
        let mut scores = Vec::new();
        model.score(&rows, &mut scores).expect("scores");
        all.extend(scores);
    }
    all
}

fn input_of(column: &ArrayRef, row: usize) -> Input<'_> {
    match column.data_type() {
        _ if column.is_null(row) => Input::Missing,
        DataType::Int64 => Input::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Input::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Input::Bool(column.as_boolean().value(row)),
        other => panic!("{other} is no input"),
    }
}
