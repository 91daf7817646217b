//! Timelines: the accepted events of one view and one entity key, in the total order of events.
//!
//! A B-tree of chunks. A chunk holds up to [`CHUNK_ROWS`] rows; every node knows how many rows it holds, the event times it
//! spans, its greatest `visible_from` and version, its widest inner gap, and, once somebody has asked, the partial aggregates
//! of its rows. So a window takes whole nodes where it can and looks at single rows only in the two chunks at its ends and in the
//! rare ones that hold something too late or too new. An insert touches one chunk and forgets the partials above it.

mod chunk;
mod nested;
mod session;

use std::cmp::Ordering;
use std::sync::OnceLock;

pub use chunk::Chunk;
pub use nested::Nested;
use prefetch_index::prefetch_index;

use crate::aggregate::Partial;
use crate::definition::Slot;
use crate::key::EventId;
use crate::row::{Ends, Layout, Row, Rows};
use crate::time::{Span, Time};

/// Rows of a full chunk: about 6 kB, a few microseconds to scan at worst.
pub const CHUNK_ROWS: usize = 128;
/// Children of a full branch.
const FAN_OUT: usize = 32;
/// Below this many rows a scan costs no more than the partials would.
const WORTH_A_PARTIAL: usize = 16;

/// The events of one view and one entity key.
#[derive(Debug, Default)]
pub struct Timeline {
    root: Option<Node>,
    next_chunk: u32,
    /// Chunks that are no more, for the store to delete.
    dropped: Vec<u32>,
    folded: Option<Folded>,
    bytes: usize,
}

/// What retention has dropped, as far as a lifetime window still needs it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Folded {
    /// Their partial aggregates.
    pub partials: Box<[Partial]>,
    /// What they were.
    pub summary: Summary,
}

/// What is known of the rows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// How many.
    pub rows: usize,
    /// Least event time.
    pub first: Time,
    /// Greatest event time.
    pub last: Time,
    /// Greatest `visible_from` of those that came behind the watermark; [`Time::NONE`] if none did. The others count from their own time on.
    pub late_visible: Time,
    /// Least version.
    pub oldest_version: u64,
    /// Greatest version.
    pub newest_version: u64,
    /// Widest distance of two neighbours.
    pub widest_gap: Span,
}

#[derive(Debug)]
enum Node {
    Leaf(Chunk),
    Branch(Branch),
}

#[derive(Debug)]
struct Branch {
    children: Vec<Node>,
    summary: Summary,
    partials: OnceLock<Box<[Partial]>>,
}

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The event is in the timeline now.
    New,
    /// An event with this time and id was there already; the first one stays (T13).
    Duplicate,
}

/// Which part of a timeline a read looks at.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// The first event time inside.
    pub from: Time,
    /// At `from` itself only events with a greater id than this.
    pub after: Option<&'a EventId>,
    /// The last event time inside.
    pub to: Time,
    /// At `to` itself only events with a smaller id than this.
    pub before: Option<&'a EventId>,
}

/// Which of the events in a range are known to a read (T9, T14).
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// `visible_from` at most this.
    pub visible: Time,
    /// Committed at most at this version.
    pub version: u64,
}

impl Cut {
    /// Everything is known.
    pub const ALL: Cut = Cut { visible: Time::MAX, version: u64::MAX };

    /// Whether all rows of a node up to an instant are known.
    #[inline]
    fn admits_all(&self, summary: &Summary, to: Time) -> bool {
        summary.last.min(to) <= self.visible && summary.late_visible <= self.visible && summary.newest_version <= self.version
    }

    /// Whether a row is known.
    #[inline]
    pub fn admits(&self, row: &Row<'_>) -> bool {
        row.visible_from() <= self.visible && row.version() <= self.version
    }
}

/// Takes in what a range holds.
pub trait Sink {
    /// The partials of a node that lies in the range as a whole; `slots` of the view, in order.
    fn partials(&mut self, partials: &[Partial]);
    /// Rows in the range; `cut` is given where some of them may not be known.
    fn rows(&mut self, rows: Rows<'_>, cut: Option<Cut>);
}

impl Timeline {
    /// No event at all.
    pub const EMPTY: Timeline = Timeline { root: None, next_chunk: 0, dropped: Vec::new(), folded: None, bytes: 0 };

    /// A timeline of chunks read back from a store, in any order.
    pub fn of_chunks(mut chunks: Vec<Chunk>, folded: Option<Folded>, layout: &Layout) -> Timeline {
        chunks.retain(|c| !c.block.is_empty());
        chunks.sort_by(|a, b| a.rows(layout).row(0).order(&b.rows(layout).row(0)));
        let next_chunk = chunks.iter().map(|c| c.id + 1).max().unwrap_or(0);
        let bytes = chunks.iter().map(Chunk::bytes).sum();
        let mut level: Vec<Node> = chunks.into_iter().map(Node::Leaf).collect();
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len().div_ceil(FAN_OUT));
            let mut rest = level.into_iter();
            loop {
                let children: Vec<Node> = rest.by_ref().take(FAN_OUT).collect();
                if children.is_empty() {
                    break;
                }
                above.push(Node::Branch(Branch::of(children)));
            }
            level = above;
        }
        Timeline { root: level.pop(), next_chunk, dropped: Vec::new(), folded, bytes }
    }

    /// Puts an event in its place.
    pub fn insert(&mut self, row: &Row<'_>) -> Inserted {
        let Some(root) = &mut self.root else {
            let chunk = Chunk::of_row(row, &mut self.next_chunk);
            self.bytes = chunk.bytes();
            self.root = Some(Node::Leaf(chunk));
            return Inserted::New;
        };
        match root.insert(row, &mut self.next_chunk, &mut self.bytes) {
            Grown::Duplicate => return Inserted::Duplicate,
            Grown::InPlace => {}
            Grown::Split(sibling) => {
                if let Some(left) = self.root.take() {
                    self.root = Some(Node::Branch(Branch::of(vec![left, *sibling])));
                }
            }
        }
        Inserted::New
    }

    /// Whether an event is in the timeline, and as what.
    pub fn find<'a>(&'a self, time: Time, id: &EventId, layout: &'a Layout) -> Option<Row<'a>> {
        let chunk = self.root.as_ref()?.chunk_holding(time, id, layout)?;
        let (at, there) = chunk.block.place_of(time, id, layout, chunk.summary.ends());
        there.then(|| chunk.rows(layout).row(at))
    }

    /// What is known of all rows, those dropped by retention left out; `None` if there are none.
    pub fn summary(&self) -> Option<Summary> {
        self.root.as_ref().map(|root| *root.summary())
    }

    /// What retention has dropped.
    pub fn folded(&self) -> Option<&Folded> {
        self.folded.as_ref()
    }

    /// The least version of an event that ever was here.
    pub fn oldest_version(&self) -> Option<u64> {
        let folded = self.folded.as_ref().map(|f| f.summary.oldest_version);
        self.summary().map(|s| s.oldest_version).into_iter().chain(folded).min()
    }

    /// Hands what the range holds, as far as it is known, to the sink.
    #[inline]
    pub fn visit(&self, range: &Range<'_>, cut: Cut, slots: &[Slot], layout: &Layout, sink: &mut impl Sink) {
        if let Some(root) = &self.root
            && range.from <= range.to
        {
            root.visit(range, cut, slots, layout, sink);
        }
    }

    /// Begins to fetch from memory what [`Timeline::fetch`] looks at.
    #[inline]
    pub fn fetch_nodes(&self) {
        if let Some(Node::Branch(branch)) = &self.root {
            (0..branch.children.len()).for_each(|at| prefetch_index(&branch.children, at));
        }
    }

    /// Begins to fetch from memory what a read from or up to an instant will look at, of these columns. It waits for little: several
    /// such calls, and then the reads, take hardly longer than one.
    #[inline]
    pub fn fetch(&self, time: Time, columns: &[usize]) {
        if let Some(root) = &self.root {
            root.fetch(time, columns);
        }
    }

    /// Begins to fetch from memory what [`Timeline::fetch_end`] looks at.
    #[inline]
    pub fn fetch_last_node(&self) {
        if let Some(Node::Branch(branch)) = &self.root {
            // Where it begins, and where it ends.
            prefetch_index(&branch.children, branch.children.len() - 1);
            prefetch_index(&branch.children, branch.children.len());
        }
    }

    /// Begins to fetch from memory what an insert at the end will look at and write.
    #[inline]
    pub fn fetch_end(&self) {
        let mut node = self.root.as_ref();
        while let Some(at) = node {
            node = match at {
                Node::Leaf(chunk) => return chunk.block.fetch_end(),
                Node::Branch(branch) => branch.children.last(),
            };
        }
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes + size_of::<Timeline>()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.summary().map_or(0, |s| s.rows)
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Each chunk in order.
    pub fn chunks(&self) -> Vec<&Chunk> {
        let mut all = Vec::new();
        if let Some(root) = &self.root {
            root.collect(&mut all);
        }
        all
    }

    /// Whether something differs from what is stored.
    pub fn is_dirty(&self) -> bool {
        !self.dropped.is_empty() || self.chunks().iter().any(|c| c.dirty)
    }

    /// Stored chunks that are no more, for the store to delete.
    pub fn dropped(&self) -> &[u32] {
        &self.dropped
    }

    /// Says that everything is stored now.
    pub fn mark_clean(&mut self) {
        if let Some(root) = &mut self.root {
            root.mark_clean();
        }
        self.dropped.clear();
    }

    /// Drops whole chunks whose rows all lie before `horizon` and are known to whoever asks, of whom `least` knows the least; their
    /// partials are kept if a lifetime window needs them. Returns the number of rows dropped.
    pub fn trim_before(&mut self, horizon: Time, least: Cut, keep_partials: bool, slots: &[Slot], layout: &Layout) -> usize {
        let mut gone = Vec::new();
        if let Some(root) = self.root.take() {
            self.root = root.trim_before(horizon, least, &mut gone);
        }
        let mut rows = 0;
        for chunk in gone {
            rows += chunk.summary.rows;
            self.bytes = self.bytes.saturating_sub(chunk.bytes());
            self.dropped.push(chunk.id);
            if keep_partials {
                self.fold(&chunk, slots, layout);
            }
        }
        rows
    }

    fn fold(&mut self, chunk: &Chunk, slots: &[Slot], layout: &Layout) {
        let partials = chunk.partials(slots, layout);
        match &mut self.folded {
            None => self.folded = Some(Folded { partials: partials.into(), summary: chunk.summary }),
            Some(folded) => {
                folded.summary.add(&chunk.summary);
                for ((slot, into), other) in slots.iter().zip(&mut folded.partials).zip(partials) {
                    slot.merge(into, other);
                }
            }
        }
    }
}

enum Grown {
    InPlace,
    Duplicate,
    Split(Box<Node>),
}

impl Node {
    #[inline]
    fn summary(&self) -> &Summary {
        match self {
            Node::Leaf(chunk) => &chunk.summary,
            Node::Branch(branch) => &branch.summary,
        }
    }

    fn first_row<'a>(&'a self, layout: &'a Layout) -> Row<'a> {
        match self {
            Node::Leaf(chunk) => chunk.rows(layout).row(0),
            Node::Branch(branch) => branch.children[0].first_row(layout),
        }
    }

    fn insert(&mut self, row: &Row<'_>, next_chunk: &mut u32, bytes: &mut usize) -> Grown {
        match self {
            Node::Leaf(chunk) => chunk.insert(row, next_chunk, bytes),
            Node::Branch(branch) => branch.insert(row, next_chunk, bytes),
        }
    }

    fn chunk_holding(&self, time: Time, id: &EventId, layout: &Layout) -> Option<&Chunk> {
        match self {
            Node::Leaf(chunk) => Some(chunk),
            Node::Branch(branch) => {
                let after = |child: &Node| {
                    let first = child.first_row(layout);
                    first.time() < time || (first.time() == time && first.order_of_id(id) != Ordering::Greater)
                };
                let at = branch.children.partition_point(after);
                branch.children[at.checked_sub(1)?].chunk_holding(time, id, layout)
            }
        }
    }

    fn visit(&self, range: &Range<'_>, cut: Cut, slots: &[Slot], layout: &Layout, sink: &mut impl Sink) {
        let summary = self.summary();
        if summary.last < range.from || summary.first > range.to {
            return;
        }
        let known = cut.admits_all(summary, range.to);
        let whole = range.covers(summary);
        match self {
            Node::Leaf(chunk) => {
                if whole && known && summary.rows >= WORTH_A_PARTIAL {
                    return sink.partials(chunk.partials(slots, layout));
                }
                let (from, to) = if whole { (0, summary.rows) } else { chunk.span(range, layout) };
                if from < to {
                    sink.rows(chunk.rows(layout).slice(from, to), (!known).then_some(cut));
                }
            }
            Node::Branch(branch) => {
                if whole && known {
                    return sink.partials(branch.partials(slots, layout));
                }
                branch.between(range).for_each(|child| child.visit(range, cut, slots, layout, sink));
            }
        }
    }

    #[inline]
    fn fetch(&self, time: Time, columns: &[usize]) {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(chunk) => return chunk.fetch(time, columns),
                Node::Branch(branch) => {
                    // Counted, not searched: no load waits for another.
                    let at = branch.children.iter().map(|child| usize::from(child.summary().first <= time)).sum::<usize>();
                    node = &branch.children[at.saturating_sub(1)];
                }
            }
        }
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a Chunk>) {
        match self {
            Node::Leaf(chunk) => all.push(chunk),
            Node::Branch(branch) => branch.children.iter().for_each(|child| child.collect(all)),
        }
    }

    fn mark_clean(&mut self) {
        match self {
            Node::Leaf(chunk) => chunk.dirty = false,
            Node::Branch(branch) => branch.children.iter_mut().for_each(Node::mark_clean),
        }
    }

    fn trim_before(self, horizon: Time, least: Cut, gone: &mut Vec<Chunk>) -> Option<Node> {
        if self.summary().first >= horizon {
            return Some(self);
        }
        match self {
            Node::Leaf(chunk) if chunk.summary.last < horizon && least.admits_all(&chunk.summary, Time::NONE) => {
                gone.push(chunk);
                None
            }
            Node::Leaf(chunk) => Some(Node::Leaf(chunk)),
            Node::Branch(branch) => {
                let mut children: Vec<Node> =
                    branch.children.into_iter().filter_map(|child| child.trim_before(horizon, least, gone)).collect();
                if children.len() == 1 { children.pop() } else { (!children.is_empty()).then(|| Node::Branch(Branch::of(children))) }
            }
        }
    }
}

impl Branch {
    fn of(children: Vec<Node>) -> Branch {
        let summary = summary_of(&children);
        Branch { children, summary, partials: OnceLock::new() }
    }

    /// The children that may hold something of a range, in order.
    #[inline]
    fn between(&self, range: &Range<'_>) -> impl DoubleEndedIterator<Item = &Node> {
        let start = self.children.partition_point(|child| child.summary().last < range.from);
        let len = self.children[start..].partition_point(|child| child.summary().first <= range.to);
        self.children[start..start + len].iter()
    }

    fn insert(&mut self, row: &Row<'_>, next_chunk: &mut u32, bytes: &mut usize) -> Grown {
        let last = self.children.len() - 1;
        let at = if self.children[last].summary().first < row.time() {
            last
        } else {
            let not_after = |child: &Node| child.first_row(row.layout).order(row) != Ordering::Greater;
            self.children.partition_point(not_after).saturating_sub(1)
        };
        match self.children[at].insert(row, next_chunk, bytes) {
            Grown::Duplicate => return Grown::Duplicate,
            Grown::InPlace => {}
            Grown::Split(sibling) => self.children.insert(at + 1, *sibling),
        }
        self.partials.take();
        if self.children.len() > FAN_OUT {
            let appended = at == last;
            let tail = self.children.split_off(if appended { FAN_OUT } else { FAN_OUT / 2 });
            self.summary = summary_of(&self.children);
            return Grown::Split(Box::new(Node::Branch(Branch::of(tail))));
        }
        if row.time() >= self.summary.last {
            self.summary.append(row);
        } else {
            self.summary = summary_of(&self.children);
        }
        Grown::InPlace
    }

    fn partials(&self, slots: &[Slot], layout: &Layout) -> &[Partial] {
        self.partials.get_or_init(|| {
            let mut all: Box<[Partial]> = slots.iter().map(Slot::identity).collect();
            for child in &self.children {
                let partials = match child {
                    Node::Leaf(chunk) => chunk.partials(slots, layout),
                    Node::Branch(branch) => branch.partials(slots, layout),
                };
                for ((slot, into), partial) in slots.iter().zip(&mut all).zip(partials) {
                    slot.merge(into, partial);
                }
            }
            all
        })
    }
}

fn summary_of(children: &[Node]) -> Summary {
    let mut all = *children[0].summary();
    children[1..].iter().for_each(|child| all.add(child.summary()));
    all
}

impl Summary {
    fn of_row(row: &Row<'_>) -> Summary {
        let (time, version) = (row.time(), row.version());
        Summary {
            rows: 1,
            first: time,
            last: time,
            late_visible: if row.visible_from() > time { row.visible_from() } else { Time::NONE },
            oldest_version: version,
            newest_version: version,
            widest_gap: Span::ZERO,
        }
    }

    fn of(rows: Rows<'_>) -> Summary {
        let mut all = Summary::of_row(&rows.row(0));
        rows.slice(1, rows.len()).iter().for_each(|row| all.append(&row));
        all
    }

    fn ends(&self) -> Ends {
        Ends { first: self.first, last: self.last }
    }

    fn append(&mut self, row: &Row<'_>) {
        self.add(&Summary::of_row(row));
    }

    /// Adds a row wherever it belongs, as long as it does not divide the widest gap.
    fn insert(&mut self, row: &Row<'_>) {
        self.widest_gap = self.widest_gap.max(self.first.since(row.time()));
        self.append(row);
    }

    /// Adds what follows.
    fn add(&mut self, next: &Summary) {
        self.widest_gap = self.widest_gap.max(next.widest_gap).max(next.first.since(self.last));
        self.rows += next.rows;
        self.first = self.first.min(next.first);
        self.last = self.last.max(next.last);
        self.late_visible = self.late_visible.max(next.late_visible);
        self.oldest_version = self.oldest_version.min(next.oldest_version);
        self.newest_version = self.newest_version.max(next.newest_version);
    }
}

impl Range<'_> {
    #[inline]
    fn covers(&self, summary: &Summary) -> bool {
        let starts = summary.first > self.from || (summary.first == self.from && self.after.is_none());
        starts && (summary.last < self.to || (summary.last == self.to && self.before.is_none()))
    }
}
