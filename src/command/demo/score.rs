//! The demo's scores: the transactions of the last day over gRPC, each as its whole event as of its own time, by the example's model;
//! and the same offline, from rows of a training set, which must give the same bits.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_models::matrix::Input;
use floodmark_models::model::{Model, Settings};
use floodmark_models::registry::{LoadError, Registry, Selection};
use floodmark_models::repository::{Policy, Repository};
use floodmark_serving::client::{Client, ScoreQuestion};
use floodmark_serving::score::Scores;
use floodmark_store::Store;
use floodmark_training::{TrainingRequest, TrainingSpec, write_training_set};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde::Serialize;

use super::ranking::{self, Ranked};
use super::report::quantile;
use super::serve::{TIMEOUT, TOLD, with_server};
use super::training::{spine_of, value_at};
use super::world::World;
use crate::command::get::service_named;
use crate::command::training_set::cores;
use crate::failure::Failure;
use crate::simulator::{DAY, Transaction};

/// The example's model, so that the command needs no repository beside it.
const FILES: [(&str, &[u8]); 3] = [
    ("model.onnx", include_bytes!("../../../examples/fraud/models/fraud/1/model.onnx")),
    ("manifest.json", include_bytes!("../../../examples/fraud/models/fraud/1/manifest.json")),
    ("golden.json", include_bytes!("../../../examples/fraud/models/fraud/1/golden.json")),
];
const MODEL: &str = "fraud";
const LEARNT_FROM: &str = "The model has learnt from a made-up town (seed 2, to 2018-09-16), where eight in a hundred are frauds";
/// Cards that can be looked into on a day.
const CARDS: usize = 100;
/// A model that ranks worse than this is not made for such transactions.
const POOR: f64 = 0.7;

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Scored {
    scored: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_scores: Option<String>,
    #[serde(skip)]
    day: Time,
    frauds: usize,
    cards: usize,
    compromised_cards: usize,
    auc_roc: Option<f64>,
    average_precision: Option<f64>,
    card_precision_100: Option<f64>,
    score_p50_us: Option<f64>,
    score_p99_us: Option<f64>,
    scores_compared: usize,
    score_mismatches: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    score_differences: Vec<String>,
}

/// Scores the last day; without ONNX Runtime there are no scores, and a reason.
pub(super) fn last_day(store: &Arc<Store>, world: &World, directory: &Path) -> Result<Scored, Failure> {
    let (day, transactions) = newest_day(world);
    let registry = match load(store, &directory.join("models"))? {
        Ok(registry) => registry,
        Err(reason) => return Ok(Scored { no_scores: Some(reason), ..Scored::of(day, &[], &[], Vec::new()) }),
    };
    let (scores, latencies) = with_server(store, Some(registry.clone()), async |address| ask(&address, transactions).await)?;
    let offline = offline(store, &registry, transactions, &directory.join("input"))?;
    let mut scored = Scored::of(day, transactions, &scores, latencies);
    scored.compare(transactions, &scores, &offline);
    Ok(scored)
}

/// The transactions of the last day that has any.
fn newest_day(world: &World) -> (Time, &[Transaction]) {
    let all = world.transactions();
    let day = all.last().map_or(0, |last| last.tx_datetime.div_euclid(DAY) * DAY);
    (Time::from_micros(day), &all[all.partition_point(|t| t.tx_datetime < day)..])
}

/// Writes the model where a server finds it, and loads it. A reason, where there is nothing to run it with.
fn load(store: &Arc<Store>, directory: &Path) -> Result<Result<Arc<Registry>, String>, Failure> {
    let version = directory.join(MODEL).join("1");
    std::fs::create_dir_all(&version)?;
    for (name, bytes) in FILES {
        std::fs::write(version.join(name), bytes)?;
    }
    let registry = Arc::new(Registry::new(Repository::new(directory), None, Settings::default()));
    let tried = Scores::new(store.clone(), registry.clone()).load_all(&Policy::Latest(1))?;
    for (_, loaded) in tried.into_iter().flat_map(|(_, versions)| versions) {
        match loaded {
            Ok(_) => {}
            Err(LoadError::Runtime(missing)) => return Ok(Err(missing.to_string())),
            Err(refused) => return Err(refused.into()),
        }
    }
    Ok(Ok(registry))
}

/// One after the other; scores in their order, and how long each call took.
async fn ask(address: &str, transactions: &[Transaction]) -> Result<(Vec<f64>, Vec<Duration>), Failure> {
    let mut client = Client::connect(address).await?;
    let reads = client.reads(MODEL, TIMEOUT).await?;
    let (mut scores, mut latencies) = (Vec::with_capacity(transactions.len()), Vec::with_capacity(transactions.len()));
    for transaction in transactions {
        let event = event_of(transaction);
        let question = ScoreQuestion { model: MODEL, event: &event, ..ScoreQuestion::default() };
        let began = Instant::now();
        let scored = client.score_knowing(&reads, &question, TIMEOUT).await?;
        latencies.push(began.elapsed());
        scores.push(scored.score);
    }
    Ok((scores, latencies))
}

/// What is known when somebody pays: everything but whether it is a fraud.
fn event_of(transaction: &Transaction) -> Vec<(String, Value)> {
    let columns = [
        ("transaction_id", Value::Int(transaction.transaction_id)),
        ("tx_datetime", Value::Time(Time::from_micros(transaction.tx_datetime))),
        ("customer_id", Value::Int(transaction.customer_id)),
        ("terminal_id", Value::Int(transaction.terminal_id)),
        ("amount", Value::Float(transaction.amount)),
    ];
    columns.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The same transactions as rows of a training set, scored all at once.
fn offline(store: &Arc<Store>, registry: &Registry, transactions: &[Transaction], directory: &Path) -> Result<Vec<f64>, Failure> {
    let (spine, out) = (directory.join("last_day.parquet"), directory.join("last_day_training.parquet"));
    spine_of(&spine, transactions)?;
    let definitions = store.definitions().clone();
    let model = registry.pick(MODEL, Selection::Default)?;
    let service = service_named(&definitions, &model.signature().service)?;
    let request = TrainingRequest {
        spec: TrainingSpec {
            lookup: Arc::new(Lookup::of_service(definitions, service)),
            time: "tx_datetime".to_owned(),
            event_id: Some("transaction_id".to_owned()),
            mode: Mode::AsServed,
            version: None,
            threads: cores(),
            statuses: false,
        },
        spine,
        out: out.clone(),
    };
    write_training_set(store, &request, &|_| ())?;
    let (mut rows, mut scores) = (model.matrix(), Vec::new());
    for batch in ParquetRecordBatchReader::try_new(File::open(out)?, 65_536)? {
        push(&batch?, &model, &mut rows)?;
    }
    model.score(&rows, &mut scores)?;
    Ok(scores)
}

fn push(batch: &RecordBatch, model: &Model, rows: &mut floodmark_models::matrix::Matrix) -> Result<(), Failure> {
    let column = |name: &str| {
        let found = batch.column_by_name(name);
        found.ok_or_else(|| Failure::failed(format!("the training set lacks an input of the model. column={name}")))
    };
    let columns = model.signature().inputs.iter().map(|input| column(&input.column)).collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        rows.push(|at| match value_at(columns[at], row) {
            Value::Int(i) => Input::Int(i),
            Value::Float(x) => Input::Float(x),
            _ => Input::Missing,
        })?;
    }
    Ok(())
}

impl Scored {
    fn of(day: Time, transactions: &[Transaction], scores: &[f64], mut latencies: Vec<Duration>) -> Scored {
        let ranked = |(t, score): (&Transaction, &f64)| Ranked { score: *score, fraud: t.fraud, card: t.customer_id };
        let rows: Vec<Ranked> = transactions.iter().zip(scores).map(ranked).collect();
        latencies.sort_unstable();
        let some = |number: f64| (!rows.is_empty()).then_some(number);
        Scored {
            scored: rows.len(),
            no_scores: None,
            day,
            frauds: rows.iter().filter(|row| row.fraud).count(),
            cards: ranking::cards(&rows),
            compromised_cards: ranking::cards(rows.iter().filter(|row| row.fraud)),
            auc_roc: ranking::auc_roc(&rows),
            average_precision: ranking::average_precision(&rows),
            card_precision_100: some(ranking::card_precision(&rows, CARDS)),
            score_p50_us: some(quantile(&latencies, 0.5)),
            score_p99_us: some(quantile(&latencies, 0.99)),
            scores_compared: 0,
            score_mismatches: 0,
            score_differences: Vec::new(),
        }
    }

    /// Served and offline must agree to the last bit.
    fn compare(&mut self, transactions: &[Transaction], served: &[f64], offline: &[f64]) {
        self.scores_compared = served.len().min(offline.len());
        // A row that only one side has is a difference too.
        self.score_mismatches = served.len().abs_diff(offline.len()) as u64;
        for (transaction, (served, offline)) in transactions.iter().zip(served.iter().zip(offline)) {
            if served.to_bits() != offline.to_bits() {
                self.score_mismatches += 1;
                if self.score_differences.len() < TOLD {
                    let id = transaction.transaction_id;
                    self.score_differences.push(format!("score of transaction {id}: {served} served, {offline} from the training set"));
                }
            }
        }
    }

    pub(super) fn mismatches(&self) -> u64 {
        self.score_mismatches
    }

    /// For people.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let day = self.day.to_string();
        let day = day.get(..10).unwrap_or(&day);
        if let Some(reason) = &self.no_scores {
            return writeln!(out, "\nNo scores of {day}: {reason}");
        }
        let Scored { scored, frauds, cards, compromised_cards, .. } = self;
        writeln!(out, "\nScores over gRPC: {scored} transactions of {day}, each as a whole event as of its own time, one after the other")?;
        writeln!(out, "  p50 {:>32.0} us", self.score_p50_us.unwrap_or_default())?;
        writeln!(out, "  p99 {:>32.0} us", self.score_p99_us.unwrap_or_default())?;
        let share = 100.0 * *frauds as f64 / (*scored).max(1) as f64;
        writeln!(out, "  frauds {frauds:>29}   {share:.1} in a hundred")?;
        measure(out, "ROC AUC", self.auc_roc, "a fraud has the higher score than what is none")?;
        measure(out, "average precision", self.average_precision, "over all frauds, from the highest score down")?;
        let found = format!("frauds among the {CARDS} highest cards of {cards}; {compromised_cards} had one");
        measure(out, &format!("card precision@{CARDS}"), self.card_precision_100, &found)?;
        writeln!(out, "  mismatches {:>25}   of {} bit by bit, with a training set's rows", self.score_mismatches, self.scores_compared)?;
        for difference in &self.score_differences {
            writeln!(out, "  {difference}")?;
        }
        match self.auc_roc {
            Some(auc) if auc < POOR => writeln!(out, "  {LEARNT_FROM}; these transactions are of another kind, and it is poor at them.")?,
            _ => writeln!(out, "  {LEARNT_FROM}.")?,
        }
        Ok(())
    }
}

fn measure(out: &mut impl Write, name: &str, value: Option<f64>, what: &str) -> io::Result<()> {
    match value {
        Some(value) => writeln!(out, "  {name:<19} {value:>16.3}   {what}"),
        None => writeln!(out, "  {name:<19} {:>16}   it needs frauds and others", "none"),
    }
}
