//! What a version has scored since it serves, in numbers for operators.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::matrix::Matrix;

/// Greatest numbers of rows in the classes of [`Scored::batches`]; a last class has what is greater.
pub const BATCH_ROWS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Greatest scores in the classes of [`Scored::scores`]; a last class has what is greater.
pub const SCORES: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// What a version has scored; runs that failed are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scored {
    /// Rows.
    pub rows: u64,
    /// Values that were missing in them.
    pub missing: u64,
    /// Runs by their number of rows.
    pub batches: [u64; BATCH_ROWS.len() + 1],
    /// Rows by their score.
    pub scores: [u64; SCORES.len() + 1],
    /// All scores added.
    pub sum: f64,
}

/// The same, while it is counted. Threads that score share it: it costs some nanoseconds a row.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    rows: AtomicU64,
    missing: AtomicU64,
    batches: [AtomicU64; BATCH_ROWS.len() + 1],
    scores: [AtomicU64; SCORES.len() + 1],
    /// The bits of a float.
    sum: AtomicU64,
}

impl Stats {
    pub(crate) fn take(&self, rows: &Matrix, scores: &[f64]) {
        let count = rows.rows();
        self.rows.fetch_add(count as u64, Ordering::Relaxed);
        if rows.missing() > 0 {
            self.missing.fetch_add(rows.missing() as u64, Ordering::Relaxed);
        }
        self.batches[class(&BATCH_ROWS, count as f64)].fetch_add(1, Ordering::Relaxed);
        // Other threads count here too: a class is touched once for a run, not for each row.
        let mut in_class = [0; SCORES.len() + 1];
        scores.iter().for_each(|score| in_class[class(&SCORES, *score)] += 1);
        for (shared, more) in self.scores.iter().zip(in_class).filter(|(_, more)| *more > 0) {
            shared.fetch_add(more, Ordering::Relaxed);
        }
        let more: f64 = scores.iter().sum();
        let added = |sum| Some((f64::from_bits(sum) + more).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added); // never refuses
    }

    pub(crate) fn read(&self) -> Scored {
        Scored {
            rows: self.rows.load(Ordering::Relaxed),
            missing: self.missing.load(Ordering::Relaxed),
            batches: from_fn(|at| self.batches[at].load(Ordering::Relaxed)),
            scores: from_fn(|at| self.scores[at].load(Ordering::Relaxed)),
            sum: f64::from_bits(self.sum.load(Ordering::Relaxed)),
        }
    }
}

fn class(bounds: &[f64], value: f64) -> usize {
    bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_the_last_of_its_class() {
        assert_eq!([-1.0, 0.1, 0.100_000_1, 1.0, 1.5].map(|score| class(&SCORES, score)), [0, 0, 1, 9, 10]);
        assert_eq!([1.0, 2.0, 3.0, 1024.0, 1025.0].map(|rows| class(&BATCH_ROWS, rows)), [0, 1, 2, 10, 11]);
    }
}
