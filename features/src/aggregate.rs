//! Aggregates: the algebra behind every feature.
//!
//! Each function lifts events into a partial, partials merge in any order to the same bits (T18), and a partial is lowered to
//! a value at the end. [`Function`] is what a definition names; [`Partial`] is what chunks keep.

pub mod exact;
mod lifted;
pub mod sketch;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use crate::definition::{Feature, Slot};
use crate::key::{EventId, event_order};
use crate::row::{Row, Rows};
use crate::time::{Span, Time};
use crate::value::{Type, Value, ValueRef};
use exact::{ExactSquares, ExactSum, scatter};
pub use lifted::Lifted;
use sketch::{Distinct, Quantiles};

/// What a feature computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// Number of events (`"*"`), or of non-null values.
    Count,
    /// Exact for integers; for floats exact until one final rounding.
    Sum,
    /// Sum divided by count.
    Mean,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// Mean squared distance from the mean, over n.
    VarPop,
    /// The same over n - 1; null below two values.
    VarSamp,
    /// Square root of [`Function::VarPop`].
    StddevPop,
    /// Square root of [`Function::VarSamp`].
    StddevSamp,
    /// The value of the first event in order.
    First,
    /// The value of the last event in order.
    Last,
    /// The values of the first k events, oldest first.
    FirstK {
        /// How many.
        k: u32,
    },
    /// The values of the last k events, newest first.
    LastK {
        /// How many.
        k: u32,
    },
    /// Number of different values: exact up to a bound, then HyperLogLog.
    Distinct {
        /// The bound.
        exact_up_to: u32,
    },
    /// The q-quantile by DDSketch, within 1 % of the value.
    Quantile {
        /// In 0..=1.
        q: f64,
    },
    /// The k most frequent values, the most frequent first, ties by value.
    TopK {
        /// How many.
        k: u32,
    },
    /// Events a second over the length of the window.
    Rate,
    /// Seconds between the last event in the window and the as-of time.
    TimeSinceLast,
}

/// A partial aggregate. Merging is associative and commutative, to the bit.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Partial {
    /// Number of events or of non-null values.
    Count(u64),
    /// Of integers and booleans.
    Ints {
        /// Values.
        n: u64,
        /// Their sum.
        sum: i128,
    },
    /// Of floats.
    Floats {
        /// Values.
        n: u64,
        /// Their sum.
        sum: ExactSum,
    },
    /// For variances.
    Moments(Box<Moments>),
    /// The least value.
    Min(Option<Value>),
    /// The greatest value.
    Max(Option<Value>),
    /// The first events in order.
    First(Vec<Dated>),
    /// The last events in order, the last first.
    Last(Vec<Dated>),
    /// Different values.
    Distinct(Distinct),
    /// A sketch of the distribution.
    Quantiles(Quantiles),
    /// How often each value occurs.
    Frequencies(BTreeMap<ByOrder, u64>),
    /// The event time of the last event.
    Newest(Option<Time>),
}

/// Count, sum and sum of squares.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Moments {
    n: u64,
    sum: ExactSum,
    squares: ExactSquares,
}

/// A value with the place of its event in the total order.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Dated {
    /// Event time.
    pub time: Time,
    /// Event id.
    pub id: EventId,
    /// The value.
    pub value: Value,
}

/// A value ordered by [`Value::total_cmp`], as a key of a map.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ByOrder(pub Value);

impl Eq for ByOrder {}

impl PartialOrd for ByOrder {
    fn partial_cmp(&self, other: &ByOrder) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByOrder {
    fn cmp(&self, other: &ByOrder) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What lowering needs to know of the window.
#[derive(Clone, Copy, Debug)]
pub struct WindowFacts {
    /// The as-of time less the delay.
    pub end: Time,
    /// The length of a window that has one.
    pub size: Option<Span>,
}

impl Slot {
    /// The partial of no event at all.
    pub fn identity(&self) -> Partial {
        match self.function {
            Function::Count | Function::Rate => Partial::Count(0),
            Function::Sum | Function::Mean => match self.kind {
                Some(Type::Float64) => Partial::Floats { n: 0, sum: ExactSum::default() },
                _ => Partial::Ints { n: 0, sum: 0 },
            },
            Function::VarPop | Function::VarSamp | Function::StddevPop | Function::StddevSamp => Partial::Moments(Box::default()),
            Function::Min => Partial::Min(None),
            Function::Max => Partial::Max(None),
            Function::First | Function::FirstK { .. } => Partial::First(Vec::new()),
            Function::Last | Function::LastK { .. } => Partial::Last(Vec::new()),
            Function::Distinct { .. } => Partial::Distinct(Distinct::default()),
            Function::Quantile { .. } => Partial::Quantiles(Quantiles::default()),
            Function::TopK { .. } => Partial::Frequencies(BTreeMap::new()),
            Function::TimeSinceLast => Partial::Newest(None),
        }
    }

    /// Lifts rows, and merges them into the partial.
    #[inline]
    pub fn add_rows(&self, partial: &mut Partial, rows: Rows<'_>) {
        if self.filter.is_none() && self.add_whole_column(partial, rows) {
            return;
        }
        self.add_rows_if(partial, rows, |_| true);
    }

    /// Counts and sums of columns without nulls, and no filter: the common case. False, and nothing added, in any other.
    #[inline]
    fn add_whole_column(&self, partial: &mut Partial, rows: Rows<'_>) -> bool {
        let Some(column) = self.column else {
            let Partial::Count(n) = partial else { return false };
            *n += rows.len() as u64;
            return true;
        };
        let Some(words) = rows.whole_column(column) else { return false };
        match partial {
            Partial::Count(n) => *n += words.len() as u64,
            Partial::Floats { n, sum } => {
                sum.add_column(words);
                *n += words.len() as u64;
            }
            Partial::Ints { n, sum } => {
                *sum += sum_of_ints(words);
                *n += words.len() as u64;
            }
            _ => return false,
        }
        true
    }

    /// Lifts the rows that `admit` lets through, and merges them into the partial.
    pub fn add_rows_if(&self, partial: &mut Partial, rows: Rows<'_>, admit: impl Fn(&Row<'_>) -> bool) {
        let wanted = |row: &Row<'_>| admit(row) && self.filter.as_ref().is_none_or(|filter| filter.accepts(row));
        for row in rows.iter().filter(wanted) {
            match self.column {
                None => self.add_row(partial, &row, ValueRef::Null),
                Some(column) if row.is_null(column) => {}
                Some(column) => self.add_row(partial, &row, row.value(column)),
            }
        }
    }

    /// One row whose value is not null.
    fn add_row(&self, partial: &mut Partial, row: &Row<'_>, value: ValueRef<'_>) {
        match partial {
            Partial::Moments(moments) => {
                moments.n += 1;
                match value {
                    ValueRef::Float(x) => {
                        moments.sum.add(x);
                        moments.squares.add(x);
                    }
                    ValueRef::Int(i) => {
                        moments.sum.add_int(i);
                        moments.squares.add_int(i);
                    }
                    _ => {}
                }
            }
            Partial::Min(best) => keep_best(best, value, Ordering::Less),
            Partial::Max(best) => keep_best(best, value, Ordering::Greater),
            Partial::First(kept) => insert_dated(kept, row, value, self.kept(), Ordering::Less),
            Partial::Last(kept) => insert_dated(kept, row, value, self.kept(), Ordering::Greater),
            Partial::Distinct(distinct) => distinct.add(identity_of(value), self.exact_up_to()),
            Partial::Quantiles(sketch) => {
                if let Some(x) = as_float(value) {
                    sketch.add(x);
                }
            }
            Partial::Frequencies(counts) => *counts.entry(ByOrder(value.to_value())).or_default() += 1,
            Partial::Newest(newest) => *newest = (*newest).max(Some(row.time())),
            Partial::Count(n) => *n += 1,
            Partial::Floats { n, sum } => {
                if let ValueRef::Float(x) = value {
                    sum.add(x);
                    *n += 1;
                }
            }
            Partial::Ints { n, sum } => {
                match value {
                    ValueRef::Int(i) => *sum += i128::from(i),
                    ValueRef::Bool(b) => *sum += i128::from(b),
                    _ => return,
                }
                *n += 1;
            }
        }
    }

    /// Merges another partial of this slot.
    #[inline]
    pub fn merge(&self, into: &mut Partial, other: &Partial) {
        match (into, other) {
            (Partial::Count(a), Partial::Count(b)) => *a += b,
            (Partial::Ints { n, sum }, Partial::Ints { n: m, sum: other }) => {
                *n += m;
                *sum += other;
            }
            (Partial::Floats { n, sum }, Partial::Floats { n: m, sum: other }) => {
                *n += m;
                sum.merge(other);
            }
            (into, other) => self.merge_rare(into, other),
        }
    }

    fn merge_rare(&self, into: &mut Partial, other: &Partial) {
        match (into, other) {
            (Partial::Moments(a), Partial::Moments(b)) => {
                a.n += b.n;
                a.sum.merge(&b.sum);
                a.squares.merge(&b.squares);
            }
            (Partial::Min(a), Partial::Min(Some(b))) => keep_best(a, b.as_ref(), Ordering::Less),
            (Partial::Max(a), Partial::Max(Some(b))) => keep_best(a, b.as_ref(), Ordering::Greater),
            (Partial::First(a), Partial::First(b)) => merge_dated(a, b, self.kept(), Ordering::Less),
            (Partial::Last(a), Partial::Last(b)) => merge_dated(a, b, self.kept(), Ordering::Greater),
            (Partial::Distinct(a), Partial::Distinct(b)) => a.merge(b, self.exact_up_to()),
            (Partial::Quantiles(a), Partial::Quantiles(b)) => a.merge(b),
            (Partial::Frequencies(a), Partial::Frequencies(b)) => {
                for (value, n) in b {
                    *a.entry(value.clone()).or_default() += n;
                }
            }
            (Partial::Newest(a), Partial::Newest(b)) => *a = (*a).max(*b),
            // `Min(None)` and `Max(None)`: nothing to take over. A slot's partials are always of one kind.
            _ => {}
        }
    }

    fn kept(&self) -> usize {
        match self.function {
            Function::FirstK { k } | Function::LastK { k } => k as usize,
            _ => 1,
        }
    }

    fn exact_up_to(&self) -> u32 {
        match self.function {
            Function::Distinct { exact_up_to } => exact_up_to,
            _ => 0,
        }
    }
}

impl Feature {
    /// Overwrites a value with that of a partial, or of nothing with the default (T17). Says whether it is an estimate.
    pub fn lower(&self, partial: &Partial, facts: WindowFacts, value: &mut Value) -> bool {
        // The common ones are written where they are to be: a value moved as a whole would wait for its parts to be written first.
        match (&self.function, partial) {
            (Function::Count, Partial::Count(n)) => *value = int(i128::from(*n)),
            (Function::Sum, Partial::Ints { sum, .. }) => *value = int(*sum),
            (Function::Sum, Partial::Floats { sum, .. }) => *value = Value::Float(sum.value()),
            (Function::Mean, Partial::Ints { n: n @ 1.., sum }) => *value = Value::Float(*sum as f64 / *n as f64),
            (Function::Mean, Partial::Floats { n: n @ 1.., sum }) => *value = Value::Float(sum.value() / *n as f64),
            (function, partial) => {
                let (rare, approximate) = function.lower_rare(partial, facts);
                *value = rare.unwrap_or_else(|| self.default.clone());
                return approximate;
            }
        }
        false
    }
}

impl Function {
    /// The value of a partial and whether it is an estimate; `None` of nothing, and of what [`Feature::lower`] does itself.
    fn lower_rare(&self, partial: &Partial, facts: WindowFacts) -> (Option<Value>, bool) {
        let exact = |value| (value, false);
        match (self, partial) {
            (Function::Rate, Partial::Count(n)) => exact(facts.size.map(|size| Value::Float(*n as f64 / size.as_secs_f64()))),
            (Function::Min, Partial::Min(best)) | (Function::Max, Partial::Max(best)) => exact(best.clone()),
            (Function::First, Partial::First(kept)) | (Function::Last, Partial::Last(kept)) => {
                exact(kept.first().map(|dated| dated.value.clone()))
            }
            (Function::FirstK { .. }, Partial::First(kept)) | (Function::LastK { .. }, Partial::Last(kept)) => {
                exact((!kept.is_empty()).then(|| Value::List(kept.iter().map(|dated| dated.value.clone()).collect())))
            }
            (Function::Distinct { .. }, Partial::Distinct(distinct)) => {
                let (n, approximate) = distinct.count();
                (Some(int(i128::from(n))), approximate)
            }
            (Function::Quantile { q }, Partial::Quantiles(sketch)) => {
                let value = sketch.quantile(*q).map(Value::Float);
                let approximate = value.is_some();
                (value, approximate)
            }
            (Function::TopK { k }, Partial::Frequencies(counts)) => exact(top(counts, *k as usize)),
            (Function::TimeSinceLast, Partial::Newest(newest)) => {
                exact(newest.map(|time| Value::Float(facts.end.since(time).as_secs_f64())))
            }
            (_, Partial::Moments(moments)) => exact(self.spread(moments).map(Value::Float)),
            _ => exact(None),
        }
    }

    fn spread(&self, moments: &Moments) -> Option<f64> {
        let Moments { n, sum, squares } = moments;
        let samp = matches!(self, Function::VarSamp | Function::StddevSamp);
        let freedom = n.checked_sub(u64::from(samp)).filter(|n| *n > 0)?;
        let variance = scatter(*n, sum, squares) / (*n as f64 * freedom as f64);
        Some(if matches!(self, Function::StddevPop | Function::StddevSamp) { variance.sqrt() } else { variance })
    }
}

/// By halves of words: sums of those fit in a word.
fn sum_of_ints(words: &[u64]) -> i128 {
    let upper: i64 = words.iter().map(|word| *word as i64 >> 32).sum();
    let lower: u64 = words.iter().map(|word| *word & u64::from(u32::MAX)).sum();
    (i128::from(upper) << 32) + i128::from(lower)
}

/// An `int64`; sums beyond its range stop at its ends.
fn int(i: i128) -> Value {
    Value::Int(i64::try_from(i).unwrap_or(if i < 0 { i64::MIN } else { i64::MAX }))
}

fn as_float(value: ValueRef<'_>) -> Option<f64> {
    match value {
        ValueRef::Float(x) => Some(x),
        ValueRef::Int(i) => Some(i as f64),
        ValueRef::Bool(b) => Some(f64::from(u8::from(b))),
        _ => None,
    }
}

/// The word of a value, or the hash of a text: equal values have equal identities, others differ but for one chance in 2^128.
fn identity_of(value: ValueRef<'_>) -> u128 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Bool(b) => u128::from(b),
        ValueRef::Int(i) => u128::from(i as u64),
        ValueRef::Float(x) => u128::from((x + 0.0).to_bits()),
        ValueRef::Time(t) => u128::from(t.micros() as u64),
        ValueRef::Str(s) => xxh3_128(s.as_bytes()),
    }
}

fn keep_best(best: &mut Option<Value>, value: ValueRef<'_>, wanted: Ordering) {
    let value = value.to_value();
    if best.as_ref().is_none_or(|b| value.total_cmp(b) == wanted) {
        *best = Some(value);
    }
}

fn insert_dated(kept: &mut Vec<Dated>, row: &Row<'_>, value: ValueRef<'_>, k: usize, wanted: Ordering) {
    // Most rows are beaten by time alone: no id is read and no value copied for them.
    if kept.len() >= k && kept.last().is_some_and(|worst| row.time().cmp(&worst.time) == wanted.reverse()) {
        return;
    }
    place_dated(kept, Dated { time: row.time(), id: row.id(), value: value.to_value() }, k, wanted);
}

fn place_dated(kept: &mut Vec<Dated>, dated: Dated, k: usize, wanted: Ordering) {
    let at = kept.partition_point(|other| event_order((other.time, &other.id), (dated.time, &dated.id)) == wanted);
    if at < k {
        kept.insert(at, dated);
        kept.truncate(k);
    }
}

fn merge_dated(into: &mut Vec<Dated>, other: &[Dated], k: usize, wanted: Ordering) {
    for dated in other {
        place_dated(into, dated.clone(), k, wanted);
    }
}

fn top(counts: &BTreeMap<ByOrder, u64>, k: usize) -> Option<Value> {
    let mut all: Vec<(&Value, u64)> = counts.iter().map(|(value, n)| (&value.0, *n)).collect();
    // Stable: equal counts stay in the order of values.
    all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    (!all.is_empty()).then(|| Value::List(all.iter().take(k).map(|(value, _)| (*value).clone()).collect()))
}
