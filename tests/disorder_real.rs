//! Disorder on real transactions, through the commands: a shuffle within a minute changes no bit of a training set, and what comes
//! later than that is named by `late`, while `training-set`, look-ups and a recount in plain loops agree on all the rest.

pub(crate) mod arrivals;
pub(crate) mod recount;
pub(crate) mod serving;

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use floodmark_features::time::Time;
use serde_json::{Value, json};

use crate::disorder::Chance;
use crate::harness::real::{batches, floats, floodmark, floodmark_lines, fraud_definitions, ints, text};
use arrivals::{DAY, MINUTE, Part, Transaction};
use recount::{Ask, Behind, Counts, FEATURES, Mode, Outcome, Recount, View};
use serving::Server;

const SHUFFLE_SEED: u64 = 0x5eed_0001;
const DELAY_SEED: u64 = 0x5eed_0002;
/// Delayed transactions whose customer and terminal are asked for with the command, one process each time.
const ASKED_BY_COMMAND: usize = 60;
/// Of what is asked for with the command, so much without a server.
const ASKED_OF_THE_STORE: usize = 16;

#[test]
fn a_shuffle_within_a_minute_changes_no_bit() {
    let Some(part) = Part::read() else { return };
    let home = tempfile::tempdir().expect("a directory");
    let shuffled = part.shuffled(SHUFFLE_SEED);
    let moved = shuffled.iter().enumerate().filter(|(place, row)| place != *row).count();
    eprintln!("{moved} of {} transactions arrive at another place, seed {SHUFFLE_SEED:#x}", shuffled.len());
    assert!(moved > shuffled.len() / 2);

    let ordered = Stored::of(home.path(), "ordered", &part, &part.in_order());
    let shuffled = Stored::of(home.path(), "shuffled", &part, &shuffled);
    let rows = part.transactions.len() as u64;
    let all_accepted = Counts { accepted: rows, ..Counts::default() };
    for stored in [&ordered, &shuffled] {
        assert_tallies(&stored.summary, rows, all_accepted, [all_accepted; 3]);
    }
    let [a, b] = [&ordered, &shuffled].map(|stored| stored.training_set(&ordered.input, "as-served"));
    assert_eq!((a.num_rows() as u64, a.schema()), (rows, b.schema()));
    for name in FEATURES {
        // Floats are compared by their bytes.
        assert!(a[name].to_data() == b[name].to_data(), "{name} differs");
    }
}

#[test]
fn what_comes_too_late_is_named_and_all_the_rest_agrees_with_a_recount() {
    let Some(part) = Part::read() else { return };
    let home = tempfile::tempdir().expect("a directory");
    let (order, delayed) = part.delayed(DELAY_SEED);
    let recount = Recount::of(order.iter().map(|row| part.transactions[*row]));
    assert_variety(&recount);
    let mut behind: Vec<i64> = recount.behind.iter().map(|behind| behind.transaction.id).collect();
    behind.sort_unstable();
    assert_eq!(behind, delayed.iter().map(|row| part.transactions[*row].id).collect::<Vec<_>>(), "those that are delayed, and no other");

    let stored = Stored::of(home.path(), "delayed", &part, &order);
    assert_tallies(&stored.summary, order.len() as u64, recount.tally, recount.views);
    assert_late(&stored, &recount);

    let spine = home.path().join("spine.parquet");
    part.write(&spine, &part.in_order());
    let sets = [("as-served", Mode::AsServed), ("as-corrected", Mode::AsCorrected)].map(|(name, mode)| {
        let set = stored.training_set(&spine, name);
        assert_training_set(&set, &part.transactions, &recount, mode);
        set
    });
    let differing = differing_rows(&sets);
    eprintln!("{differing} of {} rows differ between as served and as corrected", order.len());
    assert!(differing > 1_000);

    let (store, some) = (text(&stored.directory), asks_of_some(&recount));
    assert_gets(["--store", &store], &some[..ASKED_OF_THE_STORE], &recount);
    let server = Server::start(&stored.directory);
    assert_gets(["--address", &server.address], &some, &recount);
    assert_look_ups(&server, &recount);
}

/// A store with the transactions of a file.
struct Stored {
    input: PathBuf,
    directory: PathBuf,
    /// What the replay said.
    summary: Value,
}

impl Stored {
    fn of(home: &Path, name: &str, part: &Part, order: &[usize]) -> Stored {
        let (input, directory) = (home.join(format!("{name}.parquet")), home.join(name));
        part.write(&input, order);
        let argument = format!("transactions={}", input.display());
        let summary = floodmark(&["replay", "--definitions", &fraud_definitions(), "--store", &text(&directory), &argument, "--json"]);
        Stored { input, directory, summary }
    }

    /// The features of every row of the spine, each as of itself.
    fn training_set(&self, spine: &Path, mode: &str) -> RecordBatch {
        let (store, spine, out) = (text(&self.directory), text(spine), self.directory.with_extension(format!("{mode}.parquet")));
        let what = ["training-set", "--store", &store, "--service", "fraud_live", "--mode", mode];
        let rows = ["--spine", &spine, "--time", "tx_datetime", "--event-id", "transaction_id", "--out", &text(&out)];
        floodmark(&[&what[..], &rows].concat());
        let batches = batches(&out);
        concat_batches(&batches[0].schema(), &batches).expect("one batch")
    }

    fn late(&self) -> Vec<Value> {
        floodmark_lines(&["late", "--store", &text(&self.directory), "--json"])
    }
}

/// Says what there is to be found, and that it is enough.
fn assert_variety(recount: &Recount) {
    eprintln!("{} transactions too late, seed {DELAY_SEED:#x}; all together {:?}", recount.behind.len(), recount.tally);
    for view in View::ALL {
        let counts = recount.views[view as usize];
        eprintln!("  {}: {counts:?}", view.name());
        assert!(counts.partially_late > 20 && counts.late > 20, "every outcome is there");
    }
    let lateness = recount.behind.iter().map(|behind| behind.watermark - behind.transaction.at);
    let (least, most) = (lateness.clone().min().unwrap_or_default(), lateness.max().unwrap_or_default());
    eprintln!("  behind the watermark by {} minutes to {} days", least / MINUTE, most / DAY);
    assert!(least < 10 * MINUTE && most > 55 * DAY);
}

fn assert_tallies(summary: &Value, read: u64, tally: Counts, views: [Counts; 3]) {
    let said = ["read", "accepted", "partially_late", "late", "rejected", "duplicates"].map(|key| summary[key].as_u64());
    assert_eq!(said, [read, tally.accepted, tally.partially_late, tally.late, 0, 0].map(Some));
    for view in View::ALL {
        let Counts { accepted, partially_late, late } = views[view as usize];
        let expected = json!({ "accepted": accepted, "partially_late": partially_late, "late": late, "duplicates": 0, "unassigned": 0 });
        assert_eq!(summary["views"][view.name()], expected, "{}", view.name());
    }
}

/// T10: each late transaction is there for each view, in the order of arrival, with all that is known of it.
fn assert_late(stored: &Stored, recount: &Recount) {
    let partition = text(&stored.input.canonicalize().expect("a path"));
    let lines = |behind: &Behind| View::ALL.map(|view| late_line(behind, view, &partition));
    let expected: Vec<Value> = recount.behind.iter().flat_map(lines).collect();
    let found: Vec<Value> = stored.late().into_iter().map(with_payload_read).collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    eprintln!("{} lines of late events are as expected", found.len());
}

fn late_line(behind: &Behind, view: View, partition: &str) -> Value {
    let Behind { offset, transaction, watermark, outcomes, .. } = behind;
    let (outcome, reason) = match outcomes[view as usize] {
        Outcome::Late => ("late", "all_windows_final"),
        _ => ("partially_late", "some_values_final"),
    };
    let (key, value) = view.key(transaction.customer, transaction.terminal);
    json!({
        "source": "transactions",
        "view": view.name(),
        "entity": { key: value },
        "event_id": transaction.id.to_string(),
        "event_time": written(transaction.at),
        "outcome": outcome,
        "reason": reason,
        "watermark": written(*watermark),
        "lateness_us": watermark - transaction.at,
        "position": { "partition": partition, "offset": offset },
        "payload": {
            "transaction_id": transaction.id,
            "tx_datetime": written(transaction.at),
            "customer_id": transaction.customer,
            "terminal_id": transaction.terminal,
            "amount": transaction.amount,
            "fraud": transaction.fraud,
        },
    })
}

/// The payload is JSON within JSON.
fn with_payload_read(mut line: Value) -> Value {
    let payload = line["payload"].as_str().expect("text").to_owned();
    line["payload"] = serde_json::from_str(&payload).expect("JSON");
    line
}

/// An instant as the commands write it.
fn written(micros: i64) -> String {
    Time::from_micros(micros).to_string()
}

/// Every row is there, in its place, with the values of the recount.
fn assert_training_set(set: &RecordBatch, transactions: &[Transaction], recount: &Recount, mode: Mode) {
    assert!(ints(set, "transaction_id").into_iter().eq(transactions.iter().map(|transaction| transaction.id)), "the spine's rows");
    let columns = FEATURES.map(|name| floats(set, name));
    for (row, transaction) in transactions.iter().enumerate() {
        let Transaction { at, customer, terminal, .. } = *transaction;
        let expected = recount.answer(&Ask { customer, terminal, as_of: at, own: Some(*transaction) }, mode);
        let found = std::array::from_fn(|feature| Some(columns[feature][row]));
        assert_eq!(found, expected, "{mode:?} {transaction:?}");
    }
    eprintln!("{mode:?}: {} rows agree with the recount", transactions.len());
}

fn differing_rows([a, b]: &[RecordBatch; 2]) -> usize {
    let columns = FEATURES.map(|name| (floats(a, name), floats(b, name)));
    (0..a.num_rows()).filter(|row| columns.iter().any(|(a, b)| a[*row] != b[*row])).count()
}

/// The customer and the terminal of a late transaction, as of the moments at which it begins or ends to count, or would have.
fn asks(behind: &Behind, chance: &mut Chance) -> Vec<Ask> {
    let Behind { transaction: Transaction { at, customer, terminal, .. }, visible_from, .. } = *behind;
    let midnight = at - at.rem_euclid(DAY) + DAY;
    let moments = [at, visible_from - 1, visible_from, midnight - 1, at + 7 * DAY, at + 30 * DAY - 1, at + 37 * DAY - 1];
    let any = at - DAY + chance.below(40 * DAY as u64) as i64;
    moments.into_iter().chain([any]).map(|as_of| Ask { customer, terminal, as_of, own: None }).collect()
}

/// Over gRPC, both modes: all late transactions.
fn assert_look_ups(server: &Server, recount: &Recount) {
    let mut chance = Chance(DELAY_SEED);
    let asks: Vec<Ask> = recount.behind.iter().flat_map(|behind| asks(behind, &mut chance)).collect();
    for mode in [Mode::AsServed, Mode::AsCorrected] {
        for (ask, found) in asks.iter().zip(server.look_up(&asks, mode)) {
            assert_eq!(found, recount.answer(ask, mode), "{mode:?} {ask:?}");
        }
        eprintln!("{mode:?}: {} look-ups agree with the recount", asks.len());
    }
}

/// The same for some of the late transactions, from all over the part.
fn asks_of_some(recount: &Recount) -> Vec<Ask> {
    let mut chance = Chance(DELAY_SEED);
    let some = recount.behind.iter().step_by(recount.behind.len() / ASKED_BY_COMMAND).take(ASKED_BY_COMMAND);
    some.flat_map(|behind| asks(behind, &mut chance)).collect()
}

/// With the command, which answers as served.
fn assert_gets(from: [&str; 2], asks: &[Ask], recount: &Recount) {
    for ask in asks {
        let (customer, terminal) = (format!("customer_id={}", ask.customer), format!("terminal_id={}", ask.terminal));
        let as_of = written(ask.as_of);
        let answer = floodmark(&["get", from[0], from[1], "--service", "fraud_live", &customer, &terminal, "--as-of", &as_of, "--json"]);
        assert_eq!(answer["as_of"], json!(as_of));
        let found = FEATURES.map(|name| answer["features"][name]["value"].as_f64());
        let expected = recount.answer(ask, Mode::AsServed);
        assert!(found.iter().zip(&expected).all(|(a, b)| same_but_for_reading(*a, *b)), "{ask:?}: {found:?} and not {expected:?}");
    }
    eprintln!("{} answers of `get {}` agree with the recount", asks.len(), from[0]);
}

/// A float that is read from JSON may be the neighbour of the one that was written.
fn same_but_for_reading(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= f64::EPSILON * b.abs(),
        _ => a == b,
    }
}
