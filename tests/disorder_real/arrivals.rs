//! The first weeks of the real transactions, and the orders in which they may arrive.

use std::fs::File;
use std::path::Path;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use parquet::arrow::ArrowWriter;

use crate::disorder::Chance;
use crate::harness::real::{batches, data, floats, ints};

pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const DAY: i64 = 86_400_000_000;

/// Long enough for delays of sixty days and for what happens after them.
const DAYS: i64 = 70;
const LEAST_DELAY: i64 = 5 * MINUTE;
const LONGEST_DELAY: i64 = 60 * DAY;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Transaction {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) customer: i64,
    pub(crate) terminal: i64,
    pub(crate) amount: f64,
    pub(crate) fraud: bool,
}

/// The transactions of the first weeks, in the order in which they happened.
pub(crate) struct Part {
    rows: RecordBatch,
    pub(crate) transactions: Vec<Transaction>,
}

impl Part {
    /// `None`, and said so, where the data is not.
    pub(crate) fn read() -> Option<Part> {
        let all = batches(&data("transactions.parquet")?);
        let all = concat_batches(&all[0].schema(), &all).expect("one batch");
        let times = ints(&all, "tx_datetime");
        assert!(times.is_sorted(), "in the order in which they happened");
        let rows = all.slice(0, times.partition_point(|at| *at < times[0] + DAYS * DAY));
        let transactions = transactions(&rows);
        Some(Part { rows, transactions })
    }

    /// The rows as they happened.
    pub(crate) fn in_order(&self) -> Vec<usize> {
        (0..self.transactions.len()).collect()
    }

    /// The rows as they arrive if each takes just under a minute at most.
    pub(crate) fn shuffled(&self, seed: u64) -> Vec<usize> {
        let mut chance = Chance(seed);
        by_arrival(self.transactions.iter().map(|transaction| transaction.at + within_a_minute(&mut chance)).collect())
    }

    /// The same, but that one in a thousand takes minutes to sixty days; which ones those are comes second.
    pub(crate) fn delayed(&self, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let mut chance = Chance(seed);
        let end = self.transactions.last().map_or(0, |last| last.at);
        let mut delayed = Vec::new();
        let mut arrival = |(row, transaction): (usize, &Transaction)| {
            let longest = LONGEST_DELAY.min(end - transaction.at);
            if chance.below(1_000) > 0 || longest < 2 * LEAST_DELAY {
                return transaction.at + within_a_minute(&mut chance);
            }
            delayed.push(row);
            transaction.at + delay(&mut chance, longest)
        };
        let arrivals = self.transactions.iter().enumerate().map(&mut arrival).collect();
        (by_arrival(arrivals), delayed)
    }

    /// Writes the rows in this order.
    pub(crate) fn write(&self, path: &Path, order: &[usize]) {
        let order: UInt64Array = order.iter().map(|row| *row as u64).collect();
        let rows = take_record_batch(&self.rows, &order).expect("rows");
        let mut writer = ArrowWriter::try_new(File::create(path).expect("a file"), rows.schema(), None).expect("a writer");
        writer.write(&rows).expect("rows");
        writer.close().expect("an end");
    }
}

/// All transactions, in the order in which they happened; `None`, and said so, where the data is not.
pub(crate) fn all_transactions() -> Option<Vec<Transaction>> {
    Some(batches(&data("transactions.parquet")?).iter().flat_map(transactions).collect())
}

fn transactions(rows: &RecordBatch) -> Vec<Transaction> {
    let [ids, times, customers, terminals, frauds] =
        ["transaction_id", "tx_datetime", "customer_id", "terminal_id", "fraud"].map(|name| ints(rows, name));
    let amounts = floats(rows, "amount");
    let transaction = |row: usize| Transaction {
        id: ids[row],
        at: times[row],
        customer: customers[row],
        terminal: terminals[row],
        amount: amounts[row],
        fraud: frauds[row] == 1,
    };
    (0..ids.len()).map(transaction).collect()
}

fn within_a_minute(chance: &mut Chance) -> i64 {
    chance.below(MINUTE as u64) as i64
}

/// Every other one is anything up to the longest, the rest are mostly short: minutes and hours.
fn delay(chance: &mut Chance, longest: i64) -> i64 {
    let share = chance.below(1 << 32) as f64 / 2_f64.powi(32);
    let share = if chance.below(2) == 0 { share } else { share.powi(4) };
    LEAST_DELAY + ((longest - LEAST_DELAY) as f64 * share) as i64
}

fn by_arrival(arrivals: Vec<i64>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..arrivals.len()).collect();
    order.sort_by_key(|row| arrivals[*row]);
    order
}
