//! Card transactions made up for the demo: customers and terminals on a map, habits, and three kinds of fraud.
//!
//! In the spirit of the simulator of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot, Bontempi), written anew. The
//! same seed and settings give the same transactions on every machine. [`disorder`] turns event order into an arrival
//! order as a network makes it; [`files`] writes what arrives.

mod arrival;
mod chance;
mod files;
mod population;

use std::collections::BTreeMap;

pub(crate) use arrival::{Arrival, Disorder, disorder};
pub(crate) use chance::Chance;
pub(crate) use files::{write_json_lines, write_parquet};

use population::{Customer, Population};

/// Microseconds of a day.
pub(crate) const DAY: i64 = 86_400_000_000;
const SECOND: f64 = 1e6;
/// Spread of the time of day around noon, in seconds.
const TIME_OF_DAY_SPREAD: f64 = 20_000.0;

/// Scenario 1: an amount above this is a fraud.
const SUSPICIOUS_AMOUNT: f64 = 220.0;
/// Scenario 2: each day this many terminals are compromised, for this many days from the next on.
const TERMINALS_A_DAY: usize = 2;
const TERMINAL_DAYS: u32 = 28;
/// Scenario 3: each day this many customers are compromised, for this many days from the next on.
const CUSTOMERS_A_DAY: usize = 3;
const CUSTOMER_DAYS: u32 = 14;
/// One in so many transactions of a compromised customer is the thief's, with the amount multiplied.
const ONE_IN: f64 = 3.0;
const THIEF_FACTOR: f64 = 5.0;

/// How large a world to make up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Customers, numbered from 0.
    pub(crate) customers: u32,
    /// Terminals, numbered from 0.
    pub(crate) terminals: u32,
    /// Days, the first one beginning at `start`.
    pub(crate) days: u32,
    /// Midnight of the first day, microseconds since the epoch.
    pub(crate) start: i64,
    /// A customer uses the terminals within this distance, on a map of 100 by 100.
    pub(crate) radius: f64,
}

impl Default for Settings {
    /// Half a year of a small town, from 2018-04-01 on.
    fn default() -> Settings {
        Settings { customers: 500, terminals: 1_000, days: 183, start: 1_522_540_800_000_000, radius: 5.0 }
    }
}

/// A payment by card.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transaction {
    /// Rising with the time, from 0.
    pub(crate) transaction_id: i64,
    /// When, in microseconds since the epoch; whole seconds.
    pub(crate) tx_datetime: i64,
    /// Who paid.
    pub(crate) customer_id: i64,
    /// Where.
    pub(crate) terminal_id: i64,
    /// How much, rounded to cents.
    pub(crate) amount: f64,
    /// Whether it was a fraud.
    pub(crate) fraud: bool,
}

/// Makes up transactions; the same seed and settings give the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Simulator {
    seed: u64,
    settings: Settings,
}

impl Simulator {
    /// A simulator of one world.
    pub(crate) fn new(seed: u64, settings: Settings) -> Simulator {
        Simulator { seed, settings }
    }

    /// All transactions of all days in the order of their time.
    pub(crate) fn transactions(&self) -> Vec<Transaction> {
        let mut world = Chance::new(self.seed);
        let population = Population::new(&self.settings, &mut world.branch());
        let mut transactions = Vec::new();
        for customer in &population.customers {
            // Its own branch: another customer or day more leaves the others as they are.
            self.live(customer, &mut world.branch(), &mut transactions);
        }
        // A stable sort: the same instant keeps the order of the customers.
        transactions.sort_by_key(|t| t.tx_datetime);
        for (id, transaction) in (0..).zip(&mut transactions) {
            transaction.transaction_id = id;
        }
        self.defraud(&population, &mut world.branch(), &mut transactions);
        transactions
    }

    /// The honest payments of a customer.
    fn live(&self, customer: &Customer, chance: &mut Chance, transactions: &mut Vec<Transaction>) {
        if customer.terminals.is_empty() {
            return;
        }
        for day in 0..i64::from(self.settings.days) {
            for _ in 0..chance.poisson(customer.a_day) {
                let time_of_day = chance.normal(DAY as f64 / 2.0, TIME_OF_DAY_SPREAD * SECOND);
                let (amount, terminal) = (customer.amount(chance), *chance.pick(&customer.terminals));
                // Whoever would pay beyond midnight does not pay.
                if (0.0..DAY as f64).contains(&time_of_day) {
                    let second = (time_of_day / SECOND).floor() * SECOND;
                    transactions.push(Transaction {
                        transaction_id: 0,
                        tx_datetime: self.settings.start + day * DAY + second as i64,
                        customer_id: customer.id,
                        terminal_id: terminal,
                        amount,
                        fraud: false,
                    });
                }
            }
        }
    }

    /// Adds the three scenarios of fraud, day by day.
    fn defraud(&self, population: &Population, chance: &mut Chance, transactions: &mut [Transaction]) {
        let mut terminals = Compromised::default();
        let mut customers = Compromised::default();
        let mut rest = transactions;
        for day in 0..self.settings.days {
            let midnight = self.settings.start + i64::from(day + 1) * DAY;
            let (today, later) = rest.split_at_mut(rest.partition_point(|t| t.tx_datetime < midnight));
            rest = later;
            for transaction in today {
                transaction.fraud = transaction.amount > SUSPICIOUS_AMOUNT || terminals.includes(transaction.terminal_id, day);
                if customers.includes(transaction.customer_id, day) && chance.uniform(0.0, ONE_IN) < 1.0 {
                    transaction.amount = cents(transaction.amount * THIEF_FACTOR);
                    transaction.fraud = true;
                }
            }
            for _ in 0..TERMINALS_A_DAY.min(population.terminals.len()) {
                terminals.add(chance.below(population.terminals.len()) as i64, day + TERMINAL_DAYS);
            }
            for _ in 0..CUSTOMERS_A_DAY.min(population.customers.len()) {
                customers.add(chance.below(population.customers.len()) as i64, day + CUSTOMER_DAYS);
            }
        }
    }
}

/// Who is compromised, and to which day, inclusive.
#[derive(Debug, Default)]
struct Compromised {
    until: BTreeMap<i64, u32>,
}

impl Compromised {
    fn add(&mut self, id: i64, until: u32) {
        self.until.insert(id, until);
    }

    fn includes(&self, id: i64, day: u32) -> bool {
        self.until.get(&id).is_some_and(|until| day <= *until)
    }
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests;
