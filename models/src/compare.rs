//! Comparison: versions that score the same rows as the one that answers, after it and at their own pace.
//!
//! Rows wait in a queue with a bound, and are compared on one thread that rests for longer than it works: an answer never waits for
//! it, and where there are more rows than it can take, some are left out and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;

use crate::matrix::Matrix;
use crate::model::Model;

/// Rows that may wait.
const MOST_ROWS: usize = 1 << 16;

/// Rows that are run together, if they are for the same two versions: so long may the one that answers have to wait for a session.
const ROWS_AT_ONCE: usize = 64;

/// After a run the thread rests for so many times as long: it takes no more than a quarter of a core.
const REST: u32 = 3;

/// Bounds of [`Difference::at_most`]: how many scores differ by at most this.
pub const DIFFERENCES: [f64; 9] = [0.0, 1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.25, 1.0];

/// Rows that were scored, for another version to score as well.
#[derive(Debug)]
pub struct Beside {
    /// Whose scores were the answer.
    pub answered: Arc<Model>,
    /// Who scores beside it.
    pub beside: Arc<Model>,
    /// The rows, as the other one takes them.
    pub rows: Matrix,
    /// The scores that were the answer.
    pub scores: Vec<f64>,
    /// Rows beside these that the other one cannot be given.
    pub left_out: u64,
}

/// What two versions of a model made of the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Difference {
    /// Rows that both scored.
    pub rows: u64,
    /// Rows that were not compared, as too many waited.
    pub dropped: u64,
    /// Rows that the other version cannot be given, or has no score for.
    pub errors: u64,
    /// The sum of `other - answer`.
    pub sum: f64,
    /// The sum of their sizes.
    pub sum_abs: f64,
    /// The greatest of their sizes.
    pub max_abs: f64,
    /// For each of [`DIFFERENCES`], how many are no greater.
    pub at_most: [u64; DIFFERENCES.len()],
}

/// Whose difference: the model, the version that answered, the one beside it.
pub type Pair = (String, u64, u64);

/// Compares on a thread of its own, which starts with the first rows.
pub(crate) struct Comparer {
    queue: OnceLock<Sender<Beside>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    differences: Mutex<BTreeMap<Pair, Difference>>,
}

impl Comparer {
    pub(crate) fn new() -> Comparer {
        Comparer { queue: OnceLock::new(), shared: Arc::default() }
    }

    /// Takes rows to be compared some time, or counts them as dropped. Never waits.
    pub(crate) fn offer(&self, batch: Beside) {
        let rows = batch.rows.rows();
        if rows == 0 {
            return self.shared.of(&batch, |difference| difference.errors += batch.left_out);
        }
        let waiting = self.shared.waiting.fetch_add(rows, Ordering::Relaxed);
        let queue = self.queue.get_or_init(|| start(self.shared.clone()));
        if waiting + rows > MOST_ROWS {
            self.shared.waiting.fetch_sub(rows, Ordering::Relaxed);
            self.shared.of(&batch, |difference| difference.dropped += rows as u64);
        } else if let Err(back) = queue.send(batch) {
            self.shared.of(&back.0, |difference| difference.dropped += rows as u64); // the thread could not be started
        }
    }

    pub(crate) fn differences(&self) -> Vec<(Pair, Difference)> {
        self.shared.differences.lock().iter().map(|(pair, difference)| (pair.clone(), *difference)).collect()
    }
}

impl fmt::Debug for Comparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.differences()).finish()
    }
}

fn start(shared: Arc<Shared>) -> Sender<Beside> {
    let (queue, waiting) = channel();
    // If there is no thread to be had, the queue has no end, and what is sent into it is counted as dropped.
    let _ = thread::Builder::new().name("compare".to_owned()).spawn(move || compare_all(&shared, &waiting));
    queue
}

fn compare_all(shared: &Shared, waiting: &Receiver<Beside>) {
    let mut scores = Vec::new();
    let mut kept = None;
    while let Some(mut batch) = kept.take().or_else(|| waiting.recv().ok()) {
        while batch.rows.rows() < ROWS_AT_ONCE
            && let Ok(next) = waiting.try_recv()
        {
            if !batch.is_like(&next) {
                kept = Some(next);
                break;
            }
            batch.rows.append(&next.rows);
            batch.scores.extend(next.scores);
            batch.left_out += next.left_out;
        }
        shared.waiting.fetch_sub(batch.rows.rows(), Ordering::Relaxed);
        let began = Instant::now();
        compare(shared, &batch, &mut scores);
        drop(batch); // or a version that was retired would stay for as long as nothing else comes
        thread::sleep(began.elapsed() * REST);
    }
}

fn compare(shared: &Shared, batch: &Beside, scores: &mut Vec<f64>) {
    let mut found = Difference { errors: batch.left_out, ..Difference::default() };
    match batch.beside.score(&batch.rows, scores) {
        Ok(()) => batch.scores.iter().zip(&*scores).for_each(|(answer, other)| found.take(other - answer)),
        Err(_) => found.errors += batch.rows.rows() as u64,
    }
    shared.of(batch, |difference| difference.add(&found));
}

impl Beside {
    fn is_like(&self, other: &Beside) -> bool {
        Arc::ptr_eq(&self.answered, &other.answered) && Arc::ptr_eq(&self.beside, &other.beside)
    }
}

impl Shared {
    fn of(&self, batch: &Beside, change: impl FnOnce(&mut Difference)) {
        let pair = (batch.answered.name().to_owned(), batch.answered.version(), batch.beside.version());
        change(self.differences.lock().entry(pair).or_default());
    }
}

impl Difference {
    fn add(&mut self, more: &Difference) {
        self.rows += more.rows;
        self.dropped += more.dropped;
        self.errors += more.errors;
        self.sum += more.sum;
        self.sum_abs += more.sum_abs;
        self.max_abs = self.max_abs.max(more.max_abs);
        self.at_most.iter_mut().zip(more.at_most).for_each(|(count, more)| *count += more);
    }

    fn take(&mut self, difference: f64) {
        let size = difference.abs();
        self.rows += 1;
        self.sum += difference;
        self.sum_abs += size;
        self.max_abs = self.max_abs.max(size);
        self.at_most.iter_mut().zip(DIFFERENCES).filter(|(_, bound)| size <= *bound).for_each(|(count, _)| *count += 1);
    }
}

#[cfg(test)]
mod tests;
