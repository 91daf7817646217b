//! Where the sweep puts values: row by row, because it comes by in the order of keys, one view at a time.
//!
//! ```text
//!   null bits | status bits, 2 each | one word for each value
//! ```
//!
//! Each row lies in one or two lines of the cache. Rows are in segments, which the threads make and turn into columns. The words are atomic
//! since threads write rows next to each other; relaxed, so it costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use floodmark_features::lookup::{Cell, Status};
use floodmark_features::value::Value;

/// Rows of a segment.
pub(crate) const SEGMENT_ROWS: usize = 1 << 16;

/// The values of one view.
#[derive(Debug)]
pub(crate) struct Matrix {
    shape: Shape,
    segments: Vec<Box<[AtomicU64]>>,
}

/// How a row is laid out.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// For each value, its position in the look-up's columns.
    pub(crate) positions: Vec<usize>,
    null_words: usize,
    status_words: usize,
}

/// Values that are no single word: text and lists. A word names the task that made it and its place there.
pub(crate) type Heap = Vec<Value>;

const STATUSES: [Status; 4] = [Status::NotFound, Status::Present, Status::Null, Status::Expired];

impl Shape {
    pub(crate) fn new(positions: Vec<usize>, statuses: bool) -> Shape {
        let null_words = positions.len().div_ceil(64);
        let status_words = if statuses { positions.len().div_ceil(32) } else { 0 };
        Shape { positions, null_words, status_words }
    }

    fn stride(&self) -> usize {
        self.null_words + self.status_words + self.positions.len()
    }

    /// A segment of rows of which nothing is known: everything null and not found.
    pub(crate) fn segment(&self, rows: usize) -> Box<[AtomicU64]> {
        let mut words = Vec::with_capacity(rows * self.stride());
        for _ in 0..rows {
            words.extend((0..self.null_words).map(|_| AtomicU64::new(u64::MAX)));
            words.extend((0..self.status_words + self.positions.len()).map(|_| AtomicU64::new(0)));
        }
        words.into_boxed_slice()
    }
}

impl Matrix {
    pub(crate) fn new(shape: Shape, segments: Vec<Box<[AtomicU64]>>) -> Matrix {
        Matrix { shape, segments }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    fn row(&self, row: usize) -> &[AtomicU64] {
        let stride = self.shape.stride();
        let at = row % SEGMENT_ROWS * stride;
        &self.segments[row / SEGMENT_ROWS][at..at + stride]
    }

    /// Brings rows into the cache, many at a time, for [`Matrix::put`] to find them there: rows of one key lie far apart, and stores that
    /// miss one after the other would be most of the sweep.
    pub(crate) fn fetch(&self, rows: &[u32]) {
        let both_ends = |row: &u32| {
            let words = self.row(*row as usize);
            words[0].load(Ordering::Relaxed) ^ words[words.len() - 1].load(Ordering::Relaxed)
        };
        std::hint::black_box(rows.iter().map(both_ends).fold(0, |all, word| all ^ word));
    }

    /// Keeps the cells of this view.
    #[inline]
    pub(crate) fn put(&self, row: usize, cells: &[Cell], task: usize, heap: &mut Heap) {
        let Shape { positions, null_words, status_words } = &self.shape;
        let (bits, values) = self.row(row).split_at(null_words + status_words);
        let (nulls, statuses) = bits.split_at(*null_words);
        let mut null = 0;
        for (at, (position, into)) in positions.iter().zip(values).enumerate() {
            let word = match &cells[*position].value {
                Value::Null => {
                    null |= 1 << (at % 64);
                    0
                }
                Value::Bool(b) => u64::from(*b),
                Value::Int(i) => *i as u64,
                Value::Float(x) => x.to_bits(),
                Value::Time(t) => t.micros() as u64,
                value @ (Value::Str(_) | Value::List(_)) => {
                    heap.push(value.clone());
                    (task as u64) << 32 | (heap.len() - 1) as u64
                }
            };
            into.store(word, Ordering::Relaxed);
            if at % 64 == 63 || at + 1 == positions.len() {
                nulls[at / 64].store(null, Ordering::Relaxed);
                null = 0;
            }
        }
        for (into, some) in statuses.iter().zip(positions.chunks(32)) {
            let code = |p: &usize| STATUSES.iter().position(|s| *s == cells[*p].status).unwrap_or(0) as u64;
            into.store(some.iter().rev().fold(0, |bits, p| bits << 2 | code(p)), Ordering::Relaxed);
        }
    }

    /// Whether a value of a row is null, and its word.
    #[inline]
    pub(crate) fn get(&self, row: usize, at: usize) -> (bool, u64) {
        let words = self.row(row);
        let null = words[at / 64].load(Ordering::Relaxed) >> (at % 64) & 1 != 0;
        (null, words[self.shape.null_words + self.shape.status_words + at].load(Ordering::Relaxed))
    }

    /// How a value came to be; only where statuses are kept.
    pub(crate) fn status(&self, row: usize, at: usize) -> Status {
        let word = self.row(row)[self.shape.null_words + at / 32].load(Ordering::Relaxed);
        STATUSES[(word >> (at % 32 * 2) & 3) as usize]
    }
}
