//! Sessions on a timeline: walks over neighbours less than a gap apart, towards the past for a read, towards the future to judge
//! a late event. A node whose widest gap is small enough is passed as a whole.

use super::{Cut, Node, Range, Sink, Timeline};
use crate::aggregate::Partial;
use crate::key::EventId;
use crate::row::{Layout, Rows};
use crate::time::{Span, Time};

impl Timeline {
    /// The event time of the last known event at or before `to`.
    pub fn last_before(&self, to: Time, before: Option<&EventId>, cut: Cut, layout: &Layout) -> Option<Time> {
        let range = Range { from: Time::NONE, after: None, to, before };
        let mut found = None;
        self.root.as_ref()?.walk_back(&range, cut, layout, &mut |times| {
            found = Some(match times {
                Times::One(at) => at,
                Times::Run { last, .. } => last,
            });
            Walk::Stop
        });
        found
    }

    /// Where the session that is open at `at` starts, made of events up to `to`: the earliest event from which each neighbour is less
    /// than `gap` away, up to `at`; `None` if the last known event is `gap` or more before `at`. `own` is an event that counts
    /// whether or not it is stored.
    pub fn session_start(
        &self,
        at: Time,
        to: Time,
        before: Option<&EventId>,
        own: Option<Time>,
        gap: Span,
        cut: Cut,
        layout: &Layout,
    ) -> Option<Time> {
        let mut chain = Chain { reached: at, started: false, gap, own };
        if let Some(root) = &self.root {
            let range = Range { from: Time::NONE, after: None, to, before };
            root.walk_back(&range, cut, layout, &mut |times| chain.extend(times));
        }
        chain.take_own(Time::NONE);
        chain.started.then_some(chain.reached)
    }

    /// Whether the session that is open as of some time from `visible_from` on can hold an event at `at` (T10). As of `t` that is the
    /// session open at `t - delay`, made of what is visible at `t`, up to that instant (`with_end`) or before it.
    pub fn session_may_count(&self, at: Time, visible_from: Time, delay: Span, with_end: bool, gap: Span, layout: &Layout) -> bool {
        let first = at + delay;
        let mut next = Some(visible_from.max(if with_end { first } else { first.next_tick() }));
        while let Some(t) = next {
            let to = if with_end { t - delay } else { (t - delay).previous_tick() };
            let mut chain = ForwardChain { reached: at, t, until: t - delay, gap, broken: false, next: None };
            self.visit(&Range { from: at, after: None, to, before: None }, NOTHING_WHOLESALE, &[], layout, &mut chain);
            if chain.is_open() {
                return true;
            }
            // Only something that becomes visible later can still close a gap.
            next = chain.next;
        }
        false
    }
}

impl Node {
    fn walk_back(&self, range: &Range<'_>, cut: Cut, layout: &Layout, step: &mut impl FnMut(Times) -> Walk) -> Walk {
        let summary = self.summary();
        if summary.first > range.to {
            return Walk::On;
        }
        let whole = range.covers(summary) && cut.admits_all(summary, range.to);
        if whole && step(Times::Run { first: summary.first, last: summary.last, widest_gap: summary.widest_gap }) == Walk::On {
            return Walk::On;
        }
        match self {
            Node::Leaf(chunk) => {
                let (from, to) = chunk.span(range, layout);
                let known = chunk.rows(layout).slice(from, to).iter().rev().filter(|row| cut.admits(row));
                for row in known {
                    if step(Times::One(row.time())) == Walk::Stop {
                        return Walk::Stop;
                    }
                }
                Walk::On
            }
            Node::Branch(branch) => {
                for child in branch.between(range).rev() {
                    if child.walk_back(range, cut, layout, step) == Walk::Stop {
                        return Walk::Stop;
                    }
                }
                Walk::On
            }
        }
    }
}

/// What a walk towards the past meets.
enum Times {
    One(Time),
    Run { first: Time, last: Time, widest_gap: Span },
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Walk {
    On,
    Stop,
}

/// Neighbours less than `gap` apart, from the end towards the past.
struct Chain {
    reached: Time,
    started: bool,
    gap: Span,
    own: Option<Time>,
}

impl Chain {
    fn extend(&mut self, times: Times) -> Walk {
        match times {
            Times::Run { first, last, widest_gap } => {
                let own_inside = self.own.is_some_and(|own| own >= first);
                // Stopping here only says that the run has to be looked at more closely.
                if own_inside || widest_gap >= self.gap || self.reached.since(last) >= self.gap {
                    return Walk::Stop;
                }
                self.reached = first;
                self.started = true;
                Walk::On
            }
            Times::One(at) => {
                self.take_own(at);
                if self.reached.since(at) >= self.gap {
                    return Walk::Stop;
                }
                self.reached = at;
                self.started = true;
                Walk::On
            }
        }
    }

    /// Passes the own event if it lies at or after `at`.
    fn take_own(&mut self, at: Time) {
        if let Some(own) = self.own.take_if(|own| *own >= at)
            && self.reached.since(own) < self.gap
        {
            self.reached = own;
            self.started = true;
        }
    }
}

/// A cut that no node passes as a whole, so that a sink sees every row.
const NOTHING_WHOLESALE: Cut = Cut { visible: Time::NONE, version: 0 };

/// Neighbours less than `gap` apart, towards the future, as of `t`.
struct ForwardChain {
    reached: Time,
    t: Time,
    /// The session has to be open then.
    until: Time,
    gap: Span,
    broken: bool,
    /// When the first of the neighbours passed over becomes visible.
    next: Option<Time>,
}

impl ForwardChain {
    fn is_open(&self) -> bool {
        self.until.since(self.reached) < self.gap
    }
}

impl Sink for ForwardChain {
    fn partials(&mut self, _: &[Partial]) {}

    fn rows(&mut self, rows: Rows<'_>, _: Option<Cut>) {
        for row in rows.iter() {
            self.broken |= row.time().since(self.reached) >= self.gap;
            if self.broken || self.is_open() {
                return;
            }
            let visible = row.visible_from();
            if visible <= self.t {
                self.reached = row.time();
            } else {
                self.next = Some(self.next.map_or(visible, |next| next.min(visible)));
            }
        }
    }
}
