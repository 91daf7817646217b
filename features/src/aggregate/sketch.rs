//! Sketches whose merge does not depend on order: HyperLogLog for distinct counts, DDSketch for quantiles.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

/// The different values of a window: themselves up to a bound, then HyperLogLog (Flajolet et al. 2007; 2^12 registers,
/// standard error 1.6 %). Which of the two it is depends on the set alone, never on the order of merges.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Distinct {
    /// Identities, ascending: the word of a value, or the 128-bit hash of a text.
    Exact(Vec<u128>),
    /// One register per 1/4096 of the hash space.
    Estimate(Box<[u8]>),
}

const REGISTER_BITS: u32 = 12;
const REGISTERS: usize = 1 << REGISTER_BITS;

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct::Exact(Vec::new())
    }
}

impl Distinct {
    /// Adds a value by its identity.
    pub fn add(&mut self, identity: u128, exact_up_to: u32) {
        match self {
            Distinct::Exact(all) => {
                if let Err(at) = all.binary_search(&identity) {
                    all.insert(at, identity);
                    self.keep_bound(exact_up_to);
                }
            }
            Distinct::Estimate(registers) => observe(registers, identity),
        }
    }

    /// The union with another set.
    pub fn merge(&mut self, other: &Distinct, exact_up_to: u32) {
        match (&mut *self, other) {
            (Distinct::Exact(mine), Distinct::Exact(theirs)) => {
                *mine = union(mine, theirs);
                self.keep_bound(exact_up_to);
            }
            (Distinct::Exact(mine), Distinct::Estimate(theirs)) => {
                let mut registers = theirs.clone();
                mine.iter().for_each(|id| observe(&mut registers, *id));
                *self = Distinct::Estimate(registers);
            }
            (Distinct::Estimate(mine), Distinct::Exact(theirs)) => theirs.iter().for_each(|id| observe(mine, *id)),
            (Distinct::Estimate(mine), Distinct::Estimate(theirs)) => {
                mine.iter_mut().zip(theirs.iter()).for_each(|(a, b)| *a = (*a).max(*b));
            }
        }
    }

    fn keep_bound(&mut self, exact_up_to: u32) {
        if let Distinct::Exact(all) = self
            && all.len() > exact_up_to as usize
        {
            let mut registers = vec![0; REGISTERS].into_boxed_slice();
            all.iter().for_each(|id| observe(&mut registers, *id));
            *self = Distinct::Estimate(registers);
        }
    }

    /// How many, and whether that is an estimate.
    pub fn count(&self) -> (u64, bool) {
        match self {
            Distinct::Exact(all) => (all.len() as u64, false),
            Distinct::Estimate(registers) => (estimate(registers), true),
        }
    }
}

fn union(a: &[u128], b: &[u128]) -> Vec<u128> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        all.push(x.min(y));
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    all.extend_from_slice(&a[i..]);
    all.extend_from_slice(&b[j..]);
    all
}

fn observe(registers: &mut [u8], identity: u128) {
    let hash = xxh3_64(&identity.to_le_bytes());
    let register = &mut registers[(hash >> (64 - REGISTER_BITS)) as usize];
    let rank = (hash << REGISTER_BITS | 1 << (REGISTER_BITS - 1)).leading_zeros() as u8 + 1;
    *register = (*register).max(rank);
}

fn estimate(registers: &[u8]) -> u64 {
    let m = registers.len() as f64;
    let alpha = 0.7213 / (1.0 + 1.079 / m);
    // Powers of two with at most 52 places: their sum is exact, so its order does not matter.
    let inverse: f64 = registers.iter().map(|r| 2.0_f64.powi(-i32::from(*r))).sum();
    let raw = alpha * m * m / inverse;
    let empty = registers.iter().filter(|r| **r == 0).count();
    let corrected = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
    corrected.round() as u64
}

/// A quantile sketch with relative error 1 % (DDSketch, Masson et al. 2019), sparse and without collapsing, so that merging
/// is addition of counts.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Quantiles {
    /// Counts by the bucket of the absolute value; the key is negative-first order of values.
    buckets: BTreeMap<i32, u64>,
    count: u64,
}

/// A bucket holds values within this relative distance of its middle.
const RELATIVE_ERROR: f64 = 0.01;
/// Buckets of positive values are shifted by this, those of negative values mirrored; zero is bucket 0.
const SHIFT: i32 = 1 << 20;

impl Quantiles {
    /// Adds a finite value.
    pub fn add(&mut self, x: f64) {
        *self.buckets.entry(bucket(x)).or_default() += 1;
        self.count += 1;
    }

    /// Adds another sketch.
    pub fn merge(&mut self, other: &Quantiles) {
        for (bucket, n) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += n;
        }
        self.count += other.count;
    }

    /// The value at rank `floor(q * (n - 1))`, within 1 %; `None` of nothing.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q * self.count.checked_sub(1)? as f64).floor() as u64;
        let mut seen = 0;
        self.buckets.iter().find_map(|(bucket, n)| {
            seen += n;
            (seen > rank).then(|| middle(*bucket))
        })
    }
}

fn log_gamma() -> f64 {
    ((1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)).ln()
}

fn bucket(x: f64) -> i32 {
    if x == 0.0 {
        return 0;
    }
    let index = (x.abs().ln() / log_gamma()).ceil() as i32 + SHIFT;
    if x < 0.0 { -index } else { index }
}

fn middle(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let upper = (f64::from(bucket.abs() - SHIFT) * log_gamma()).exp();
    let value = upper * (1.0 - RELATIVE_ERROR);
    if bucket < 0 { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_is_exact_up_to_its_bound_and_close_above_it() {
        let mut few = Distinct::default();
        (0..1000_u128).chain(0..1000).for_each(|id| few.add(id, 1000));
        assert_eq!(few.count(), (1000, false));
        few.add(1000, 1000);
        let (n, approximate) = few.count();
        assert!(approximate && (970..=1032).contains(&n), "{n}");
        for size in [10_000_u128, 100_000, 1_000_000] {
            let mut many = Distinct::default();
            (0..size).for_each(|id| many.add(id * 7, 1000));
            let error = (many.count().0 as f64 / size as f64 - 1.0).abs();
            assert!(error < 0.05, "{size}: {error}");
        }
    }

    #[test]
    fn distinct_does_not_depend_on_the_order_of_merges() {
        let part = |from: u128, to: u128| {
            let mut part = Distinct::default();
            (from..to).for_each(|id| part.add(id, 100));
            part
        };
        let merged = |parts: [Distinct; 3]| {
            let mut all = Distinct::default();
            parts.iter().for_each(|p| all.merge(p, 100));
            all
        };
        let (a, b, c) = (part(0, 60), part(50, 90), part(80, 300));
        assert_eq!(merged([a.clone(), b.clone(), c.clone()]), merged([c.clone(), a.clone(), b.clone()]));
        assert_eq!(merged([a.clone(), b.clone(), c.clone()]), part(0, 300));
        assert_eq!(merged([a, b, Distinct::default()]).count(), (90, false));
    }

    #[test]
    fn quantiles_are_within_one_percent() {
        let mut sketch = Quantiles::default();
        let mut values: Vec<f64> = (0..1000).map(|i| f64::from(i * i - 5000) / 7.0).collect();
        values.iter().for_each(|x| sketch.add(*x));
        values.sort_by(f64::total_cmp);
        for q in [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[(q * 999.0) as usize];
            let got = sketch.quantile(q).expect("not empty");
            assert!((got - exact).abs() <= exact.abs() * 0.0101, "q={q} got={got} exact={exact}");
        }
        assert_eq!(Quantiles::default().quantile(0.5), None);
    }
}
