//! Chunks: some rows of a timeline that are stored together, with what is known of them.

use std::sync::OnceLock;

use super::{CHUNK_ROWS, Grown, Node, Range, Summary};
use crate::aggregate::Partial;
use crate::definition::Slot;
use crate::row::{Block, Layout, Row, Rows};
use crate::time::{Span, Time};

/// Some rows of a timeline that are stored together.
#[derive(Debug)]
pub struct Chunk {
    /// Its name within the timeline, never used again.
    pub id: u32,
    /// Whether it differs from what is stored.
    pub dirty: bool,
    /// The version of the commit that changed it last. Of a chunk read back from a store, that of its newest row: it may have lost rows
    /// to a sibling later.
    pub changed: u64,
    pub(super) block: Block,
    pub(super) summary: Summary,
    pub(super) partials: OnceLock<Box<[Partial]>>,
}

impl Chunk {
    /// A chunk read back from a store.
    pub fn of_block(id: u32, block: Block, layout: &Layout) -> Chunk {
        let summary = Summary::of(block.rows(layout));
        Chunk { id, dirty: false, changed: summary.newest_version, block, summary, partials: OnceLock::new() }
    }

    pub(super) fn of_row(row: &Row<'_>, next_chunk: &mut u32) -> Chunk {
        let mut block = Block::default();
        block.insert(0, row);
        let summary = Summary::of_row(row);
        let chunk = Chunk { id: *next_chunk, dirty: true, changed: row.version(), block, summary, partials: OnceLock::new() };
        *next_chunk += 1;
        chunk
    }

    /// Its rows, in order.
    pub fn rows<'a>(&'a self, layout: &'a Layout) -> Rows<'a> {
        self.block.rows(layout)
    }

    pub(super) fn bytes(&self) -> usize {
        self.block.bytes() + size_of::<Chunk>()
    }

    pub(super) fn partials(&self, slots: &[Slot], layout: &Layout) -> &[Partial] {
        self.partials.get_or_init(|| {
            let lift = |slot: &Slot| {
                let mut partial = slot.identity();
                slot.add_rows(&mut partial, self.block.rows(layout));
                partial
            };
            slots.iter().map(lift).collect()
        })
    }

    pub(super) fn insert(&mut self, row: &Row<'_>, next_chunk: &mut u32, bytes: &mut usize) -> Grown {
        let len = self.block.len();
        let (at, there) = if self.summary.last < row.time() { (len, false) } else { self.block.place_of_row(row, self.summary.ends()) };
        if there {
            return Grown::Duplicate;
        }
        let was = self.bytes();
        if len < CHUNK_ROWS {
            self.put(at, row);
            *bytes += self.bytes() - was;
            return Grown::InPlace;
        }
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
            (self.changed, tail.changed) = (row.version(), row.version());
            tail
        };
        *bytes = (*bytes + self.bytes() + sibling.bytes()).saturating_sub(was);
        Grown::Split(Box::new(Node::Leaf(sibling)))
    }

    pub(super) fn put(&mut self, at: usize, row: &Row<'_>) {
        let splits_widest = self.gap_before(at, row.layout).is_some_and(|gap| gap > Span::ZERO && gap == self.summary.widest_gap);
        self.block.insert(at, row);
        (self.dirty, self.changed) = (true, row.version());
        self.partials.take();
        match splits_widest {
            // What is the widest now is not known without looking.
            true => self.summary = Summary::of(self.block.rows(row.layout)),
            false => self.summary.insert(row),
        }
        debug_assert_eq!(self.summary, Summary::of(self.block.rows(row.layout)));
    }

    /// How long there was nothing before a row that is not the first.
    fn gap_before(&self, at: usize, layout: &Layout) -> Option<Span> {
        let rows = self.block.rows(layout);
        (0 < at && at < rows.len()).then(|| rows.row(at).time().since(rows.row(at - 1).time()))
    }

    pub(super) fn split_off(&mut self, at: usize, layout: &Layout, next_chunk: &mut u32) -> Chunk {
        let tail = self.block.split_off(at, layout);
        self.summary = Summary::of(self.block.rows(layout));
        self.dirty = true;
        self.partials.take();
        let chunk = Chunk { dirty: true, ..Chunk::of_block(*next_chunk, tail, layout) };
        *next_chunk += 1;
        chunk
    }

    /// Which rows lie in a range.
    pub(super) fn span(&self, range: &Range<'_>, layout: &Layout) -> (usize, usize) {
        // A chunk that starts or ends inside the range needs no search at that end.
        let ends = self.summary.ends();
        let from = match range.after {
            None if ends.first >= range.from => 0,
            None => self.block.count_before(range.from, ends),
            Some(id) => {
                let (at, there) = self.block.place_of(range.from, id, layout, ends);
                at + usize::from(there)
            }
        };
        let to = match range.before {
            None if ends.last <= range.to => self.summary.rows,
            None => self.block.count_through(range.to, ends),
            Some(id) => self.block.place_of(range.to, id, layout, ends).0,
        };
        (from, to)
    }

    /// See [`Block::fetch`].
    #[inline]
    pub(super) fn fetch(&self, time: Time, columns: &[usize]) {
        self.block.fetch(time, self.summary.ends(), columns);
    }
}
