//! The order of arrival: a network delays each event a little and some of them for long, and some records arrive broken.

use super::Transaction;
use super::chance::Chance;

/// How an orderly stream gets out of order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Disorder {
    /// Each event arrives within this many microseconds of its time.
    pub(crate) jitter: i64,
    /// The share of events that are delayed for much longer.
    pub(crate) late_share: f64,
    /// Those arrive between `jitter` and this many microseconds after their time.
    pub(crate) max_delay: i64,
    /// The share of records whose customer got lost; such a record is not an event any more.
    pub(crate) broken_share: f64,
    /// The share of records without an amount; such a record is an event still.
    pub(crate) no_amount_share: f64,
}

impl Default for Disorder {
    /// A second of jitter, one in a thousand up to a day late, one in ten thousand broken.
    fn default() -> Disorder {
        Disorder { jitter: 1_000_000, late_share: 0.001, max_delay: 86_400_000_000, broken_share: 0.0001, no_amount_share: 0.0001 }
    }
}

/// A record as it arrives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// When it arrives, in microseconds since the epoch.
    pub(crate) at: i64,
    /// What was sent.
    pub(crate) transaction: Transaction,
    /// The customer got lost on the way.
    pub(crate) lost_customer: bool,
    /// The amount got lost on the way.
    pub(crate) lost_amount: bool,
}

/// The records in the order of their arrival; each transaction once.
pub(crate) fn disorder(transactions: &[Transaction], seed: u64, disorder: &Disorder) -> Vec<Arrival> {
    let mut chance = Chance::new(seed);
    let mut arrivals: Vec<Arrival> = transactions
        .iter()
        .map(|transaction| {
            let late = chance.uniform(0.0, 1.0) < disorder.late_share;
            let (least, most) = if late { (disorder.jitter, disorder.max_delay) } else { (0, disorder.jitter) };
            let delay = chance.uniform(least as f64, most as f64) as i64;
            Arrival {
                at: transaction.tx_datetime.saturating_add(delay),
                transaction: transaction.clone(),
                lost_customer: chance.uniform(0.0, 1.0) < disorder.broken_share,
                lost_amount: chance.uniform(0.0, 1.0) < disorder.no_amount_share,
            }
        })
        .collect();
    arrivals.sort_by_key(|arrival| (arrival.at, arrival.transaction.transaction_id));
    arrivals
}
