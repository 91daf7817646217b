//! Nested ranges on a timeline: windows with the same end, walked once from their end towards the past. Each adds to the one before.

use super::{Branch, Chunk, Cut, Node, Sink, Summary, Timeline, WORTH_A_PARTIAL};
use crate::definition::Slot;
use crate::row::Layout;
use crate::time::Time;

/// Takes in nested ranges, the shortest first.
pub trait Nested: Sink {
    /// All that the current range spans has been handed over. Gives where the next one begins, not after this one; `None` if this was
    /// the last.
    fn next_start(&mut self) -> Option<Time>;
}

/// How far a walk towards the past has come.
struct Walk<'a, S> {
    /// Where the current range begins.
    from: Time,
    /// The last event time inside.
    to: Time,
    cut: Cut,
    slots: &'a [Slot],
    layout: &'a Layout,
    sink: &'a mut S,
}

/// There are no more ranges.
struct Done;

impl Timeline {
    /// Hands what nested ranges that end at `to` hold, as far as it is known, to the sink; the first of them begins at `from`.
    pub fn visit_nested(&self, from: Time, to: Time, cut: Cut, slots: &[Slot], layout: &Layout, sink: &mut impl Nested) {
        let mut walk = Walk { from, to, cut, slots, layout, sink };
        let mut walked = self.root.as_ref().map_or(Ok(()), |root| root.visit_nested(&mut walk));
        // The other ranges begin before the first event.
        while walked.is_ok() {
            walked = walk.next_range();
        }
    }
}

impl<S: Nested> Walk<'_, S> {
    fn next_range(&mut self) -> Result<(), Done> {
        self.from = self.sink.next_start().ok_or(Done)?;
        Ok(())
    }

    fn admits_all(&self, summary: &Summary) -> bool {
        self.cut.admits_all(summary, self.to)
    }

    /// Whether the current range spans all of a node, and all of it is known.
    fn takes_whole(&self, summary: &Summary) -> bool {
        summary.first >= self.from && summary.last <= self.to && self.admits_all(summary)
    }
}

impl Node {
    fn visit_nested<S: Nested>(&self, walk: &mut Walk<'_, S>) -> Result<(), Done> {
        let summary = self.summary();
        while summary.last < walk.from {
            walk.next_range()?;
        }
        match self {
            Node::Leaf(chunk) => chunk.visit_nested(walk),
            Node::Branch(branch) => branch.visit_nested(walk),
        }
    }
}

impl Branch {
    fn visit_nested<S: Nested>(&self, walk: &mut Walk<'_, S>) -> Result<(), Done> {
        if walk.takes_whole(&self.summary) {
            walk.sink.partials(self.partials(walk.slots, walk.layout));
            return Ok(());
        }
        let begun = self.children.partition_point(|child| child.summary().first <= walk.to);
        self.children[..begun].iter().rev().try_for_each(|child| child.visit_nested(walk))
    }
}

impl Chunk {
    fn visit_nested<S: Nested>(&self, walk: &mut Walk<'_, S>) -> Result<(), Done> {
        let (summary, ends) = (&self.summary, self.summary.ends());
        if summary.rows >= WORTH_A_PARTIAL && walk.takes_whole(summary) {
            walk.sink.partials(self.partials(walk.slots, walk.layout));
            return Ok(());
        }
        let (rows, known) = (self.rows(walk.layout), walk.admits_all(summary));
        let mut end = self.block.count_through(walk.to, ends);
        loop {
            let start = self.block.count_before(walk.from, ends);
            if start < end {
                walk.sink.rows(rows.slice(start, end), (!known).then_some(walk.cut));
            }
            if start == 0 {
                return Ok(());
            }
            end = end.min(start);
            walk.next_range()?;
        }
    }
}
