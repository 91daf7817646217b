//! What happens in the demo: transactions, the order in which they arrive, and what goes wrong on the way.

use std::collections::VecDeque;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use floodmark_features::definition::Definitions;
use floodmark_features::time::Time;
use floodmark_ingest::replay::Input;
use floodmark_ingest::source;

use crate::failure::Failure;
use crate::simulator::{Arrival, Chance, Disorder, Transaction, disorder, write_json_lines, write_parquet};

/// One arrival in so many is sent again, so many arrivals later.
const SENT_AGAIN: (usize, usize) = (997, 50);
/// So many of the first transactions are found in a drawer and arrive last of all.
const IN_A_DRAWER: usize = 5;
/// Of ten parts of the arrivals, so many are history in Parquet; the rest comes after it as JSON lines.
const HISTORY: usize = 9;
/// The demo's source.
pub(super) const SOURCE: &str = "transactions";

/// All that is made up.
#[derive(Debug)]
pub(super) struct World {
    transactions: Vec<Transaction>,
    arrivals: Vec<Arrival>,
}

/// Something to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) customer: i64,
    pub(super) terminal: i64,
    pub(super) as_of: Time,
}

impl World {
    /// Lets transactions arrive: jittered, some late, some broken, some twice, a few much too late.
    pub(super) fn of(transactions: Vec<Transaction>, seed: u64) -> Result<World, Failure> {
        if transactions.is_empty() {
            return Err(Failure::failed("there are no transactions: ask for more customers, terminals or days"));
        }
        let how = Disorder { late_share: 0.005, broken_share: 0.0005, ..Disorder::default() };
        let mut arrivals = disorder(&transactions, seed, &how);
        let found: Vec<Arrival> = arrivals.drain(..IN_A_DRAWER.min(arrivals.len())).collect();
        arrivals.extend(found);
        Ok(World { arrivals: with_copies(arrivals), transactions })
    }

    pub(super) fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    pub(super) fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// Writes what arrives as files, to be replayed one after the other.
    pub(super) fn write(&self, directory: &Path) -> Result<Vec<Input>, Failure> {
        std::fs::create_dir_all(directory)?;
        let (history, rest) = self.arrivals.split_at(self.arrivals.len() * HISTORY / 10);
        let (parquet, json_lines) = (directory.join("history.parquet"), directory.join("newest.jsonl"));
        write_parquet(&parquet, history)?;
        write_json_lines(&json_lines, rest)?;
        Ok([parquet, json_lines].map(|path| Input { source: SOURCE.to_owned(), path }).to_vec())
    }

    /// Who paid where, as of random times from before the first transaction to after the last one.
    pub(super) fn samples(&self, seed: u64, count: usize) -> Vec<Sample> {
        const WEEK: f64 = 7.0 * 86_400e6;
        let mut chance = Chance::new(seed);
        let times = || self.transactions.iter().map(|t| t.tx_datetime);
        let (first, last) = (times().min().unwrap_or_default() as f64, times().max().unwrap_or_default() as f64);
        let sample = |_| {
            let transaction = chance.pick(&self.transactions);
            let near = Time::from_micros(transaction.tx_datetime);
            // Half of them at the very instant of a transaction, where the ends of windows are.
            let as_of =
                if chance.uniform(0.0, 1.0) < 0.5 { near } else { Time::from_micros(chance.uniform(first - WEEK, last + WEEK) as i64) };
            Sample { customer: transaction.customer_id, terminal: transaction.terminal_id, as_of }
        };
        (0..count).map(sample).collect()
    }
}

/// Some arrivals come once more: their sender had no answer.
fn with_copies(arrivals: Vec<Arrival>) -> Vec<Arrival> {
    let (one_in, later) = SENT_AGAIN;
    let mut copies: VecDeque<(usize, Arrival)> = VecDeque::new();
    let mut all = Vec::with_capacity(arrivals.len() + arrivals.len() / one_in + 1);
    for (at, arrival) in arrivals.into_iter().enumerate() {
        if at % one_in == one_in - 1 {
            copies.push_back((at + later, arrival.clone()));
        }
        all.push(arrival);
        while let Some((_, copy)) = copies.pop_front_if(|(due, _)| *due <= at) {
            all.push(copy);
        }
    }
    all.extend(copies.into_iter().map(|(_, copy)| copy));
    all
}

/// Reads somebody's own transactions; rows that lack something are left out.
pub(super) fn read_transactions(path: &Path, definitions: &Definitions) -> Result<Vec<Transaction>, Failure> {
    let (_, source) = definitions.source(SOURCE).ok_or_else(|| Failure::failed("the demo has no such source"))?;
    let all: Vec<usize> = (0..source.schema.columns.len()).collect();
    let mut reader = source::open(path, source, 0, &all)?;
    let mut transactions = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        let columns = batch.columns.columns();
        let [ids, times, customers, terminals, amounts, frauds] = columns else {
            return Err(Failure::failed("the demo's source has other columns"));
        };
        let int = |column: &dyn Array, row| column.as_primitive::<Int64Type>().value(row);
        transactions.extend((0..batch.columns.num_rows()).map(|row| Transaction {
            transaction_id: int(ids, row),
            tx_datetime: times.as_primitive::<TimestampMicrosecondType>().value(row),
            customer_id: int(customers, row),
            terminal_id: int(terminals, row),
            amount: amounts.as_primitive::<Float64Type>().value(row),
            fraud: frauds.as_boolean().value(row),
        }));
    }
    transactions.sort_by_key(|t| (t.tx_datetime, t.transaction_id));
    Ok(transactions)
}
