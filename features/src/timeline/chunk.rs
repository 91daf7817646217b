//! Chunks: some rows of a timeline that are stored together, with what is known of them.

use std::cmp::Ordering;
use std::sync::OnceLock;

use super::{CHUNK_ROWS, Grown, Node, Range, Summary};
use crate::aggregate::Partial;
use crate::definition::Slot;
use crate::key::EventId;
use crate::row::{Layout, Row, RowBuffer, Rows};
use crate::time::Time;

/// Some rows of a timeline that are stored together.
#[derive(Debug)]
pub struct Chunk {
    /// Its name within the timeline, never used again.
    pub id: u32,
    /// Whether it differs from what is stored.
    pub dirty: bool,
    pub(super) rows: RowBuffer,
    pub(super) summary: Summary,
    pub(super) partials: OnceLock<Box<[Partial]>>,
}

impl Chunk {
    /// A chunk read back from a store.
    pub fn of_rows(id: u32, rows: RowBuffer, layout: &Layout) -> Chunk {
        let summary = Summary::of(rows.rows(layout));
        Chunk { id, dirty: false, rows, summary, partials: OnceLock::new() }
    }

    pub(super) fn of_row(row: &Row<'_>, next_chunk: &mut u32) -> Chunk {
        let mut rows = RowBuffer::default();
        rows.insert(0, row);
        let chunk = Chunk { id: *next_chunk, dirty: true, rows, summary: Summary::of_row(row), partials: OnceLock::new() };
        *next_chunk += 1;
        chunk
    }

    /// Its rows, in order.
    pub fn rows<'a>(&'a self, layout: &'a Layout) -> Rows<'a> {
        self.rows.rows(layout)
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + size_of::<Chunk>()
    }

    pub(super) fn partials(&self, slots: &[Slot], layout: &Layout) -> &[Partial] {
        self.partials.get_or_init(|| {
            let lift = |slot: &Slot| {
                let mut partial = slot.identity();
                slot.add_rows(&mut partial, self.rows.rows(layout), |_| true);
                partial
            };
            slots.iter().map(lift).collect()
        })
    }

    /// The position of the first row that is not before `(time, id)`; without an id, of the first at or after `time`.
    #[inline]
    pub(super) fn first_not_before(&self, time: Time, id: Option<&EventId>, layout: &Layout) -> usize {
        let rows = self.rows.rows(layout);
        partition_point(rows, |row| row.time() < time || (row.time() == time && id.is_some_and(|id| row.order_of_id(id) == Ordering::Less)))
    }

    /// The position behind the last row that is not after `(time, id)`; without an id, behind the last at or before `time`.
    #[inline]
    pub(super) fn first_after(&self, time: Time, id: Option<&EventId>, layout: &Layout) -> usize {
        let rows = self.rows.rows(layout);
        partition_point(rows, |row| {
            row.time() < time || (row.time() == time && id.is_none_or(|id| row.order_of_id(id) != Ordering::Greater))
        })
    }

    pub(super) fn insert(&mut self, row: &Row<'_>, next_chunk: &mut u32, bytes: &mut usize) -> Grown {
        let rows = self.rows.rows(row.layout);
        let len = rows.len();
        let at =
            if rows.row(len - 1).order(row) == Ordering::Less { len } else { partition_point(rows, |r| r.order(row) == Ordering::Less) };
        if at < len && rows.row(at).order(row) == Ordering::Equal {
            return Grown::Duplicate;
        }
        if len < CHUNK_ROWS {
            let was = self.bytes();
            self.put(at, row);
            *bytes += self.bytes() - was;
            return Grown::InPlace;
        }
        let was = self.bytes();
        let sibling = if at == len {
            // At the end: leave this one full and go on in a new one, so that input in order packs tightly.
            Chunk::of_row(row, next_chunk)
        } else {
            let mut tail = self.split_off(len / 2, row.layout, next_chunk);
            if at <= len / 2 {
                self.put(at, row)
            } else {
                tail.put(at - len / 2, row)
            }
            tail
        };
        *bytes = (*bytes + self.bytes() + sibling.bytes()).saturating_sub(was);
        Grown::Split(Box::new(Node::Leaf(sibling)))
    }

    pub(super) fn put(&mut self, at: usize, row: &Row<'_>) {
        self.rows.insert(at, row);
        self.dirty = true;
        self.partials.take();
        if at == self.summary.rows {
            self.summary.append(row);
        } else {
            self.summary = Summary::of(self.rows.rows(row.layout));
        }
    }

    pub(super) fn split_off(&mut self, at: usize, layout: &Layout, next_chunk: &mut u32) -> Chunk {
        let tail = self.rows.split_off(at, layout);
        self.summary = Summary::of(self.rows.rows(layout));
        self.dirty = true;
        self.partials.take();
        let chunk = Chunk { dirty: true, ..Chunk::of_rows(*next_chunk, tail, layout) };
        *next_chunk += 1;
        chunk
    }

    pub(super) fn span(&self, range: &Range<'_>, layout: &Layout) -> (usize, usize) {
        // A chunk that starts or ends inside the range needs no search at that end.
        let from = match range.after {
            None if self.summary.first >= range.from => 0,
            None => self.first_not_before(range.from, None, layout),
            Some(id) => self.first_after(range.from, Some(id), layout),
        };
        let to = match range.before {
            None if self.summary.last <= range.to => self.summary.rows,
            None => self.first_after(range.to, None, layout),
            Some(id) => self.first_not_before(range.to, Some(id), layout),
        };
        (from, to)
    }
}

/// Binary search over rows.
#[inline]
fn partition_point(rows: Rows<'_>, before: impl Fn(&Row<'_>) -> bool) -> usize {
    let (mut low, mut high) = (0, rows.len());
    while low < high {
        let middle = low.midpoint(high);
        if before(&rows.row(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
