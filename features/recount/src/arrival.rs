//! What becomes of an event that comes: accepted or not, by the view that it comes to.

use floodmark_features::definition::ClosedWindows;
use floodmark_features::lookup::Mode;
use floodmark_features::time::Time;
use floodmark_features::window::{Frame, Window};

use crate::window::{Ticks, inside, not_after, starts_holding, ticks};
use crate::{Event, Moment, Recount};

/// What became of an event in a view (T10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It counts in every window that holds it.
    Accepted,
    /// It came behind the watermark, and counts in values that were not final.
    PartiallyLate,
    /// Every value that it could be in was final.
    Late,
    /// It is there already (T13).
    Duplicate,
    /// No window of the view holds its time (T1).
    Unassigned,
}

impl Recount<'_> {
    /// Takes in the next event, in the order in which they came.
    pub fn take(&mut self, event: Event) -> Fate {
        // T13
        let place = self.events.binary_search_by(|other| (other.time, &other.id).cmp(&(event.time, &event.id)));
        let Err(place) = place else { return Fate::Duplicate };
        let frames: Vec<Frame> = self.view.outputs.iter().map(|output| output.frame).collect();
        // T1
        if !frames.iter().any(|frame| may_hold(frame, ticks(event.time))) {
            return Fate::Unassigned;
        }
        // T10
        let behind = event.visible_from > event.time;
        if behind && !(0..frames.len()).any(|output| self.may_count(output, &frames[output], &event)) {
            return Fate::Late;
        }
        for (output, frame) in frames.iter().enumerate() {
            self.join_session(output, frame, &event);
        }
        self.events.insert(place, event);
        if behind { Fate::PartiallyLate } else { Fate::Accepted }
    }

    fn emits(&self) -> bool {
        self.view.closed_windows != ClosedWindows::Silent
    }

    /// Whether some value that is not final can hold the event.
    fn may_count(&self, output: usize, frame: &Frame, event: &Event) -> bool {
        let (at, visible, delay) = (ticks(event.time), ticks(event.visible_from), Ticks::from(frame.delay.micros()));
        match frame.window {
            Window::Lifetime => true,
            Window::Rolling { size } => {
                let last = at + Ticks::from(size.micros()) + delay;
                visible <= if frame.bounds.includes_start() { last } else { last - 1 }
            }
            Window::Tumbling { size, .. } | Window::Sliding { size, .. } => {
                let starts = frame.window.grid().map(|grid| starts_holding(grid, at)).unwrap_or_default();
                starts.iter().any(|start| visible <= start + Ticks::from(size.micros()) - 1 + delay)
            }
            Window::Session { gap } if self.emits() => {
                let (_, last) = self.joined(output, frame, gap.micros().into(), event);
                last + Ticks::from(gap.micros()) - 1 + delay >= visible
            }
            Window::Session { .. } => self.is_in_an_open_session(frame, event),
        }
    }

    /// Whether the session that is open as of some time from `visible_from` on has the event in it. What is open changes only when an
    /// event begins to count or time comes to one, and a gap only grows until then.
    fn is_in_an_open_session(&self, frame: &Frame, event: &Event) -> bool {
        let mut all = self.events.clone();
        let place = all.partition_point(|other| (other.time, &other.id) < (event.time, &event.id));
        all.insert(place, event.clone());
        let reached = |of: &Event| {
            let at = of.time + frame.delay;
            if frame.bounds.includes_end() { at } else { at.next_tick() }
        };
        let turns = all.iter().flat_map(|of| [of.visible_from, reached(of)]).filter(|turn| *turn >= event.visible_from);
        let has_it = |as_of: Time| {
            let moment = Moment { as_of, version: u64::MAX, mode: Mode::AsServed };
            inside(frame, &all, &moment).iter().any(|other| (other.time, &other.id) == (event.time, &event.id))
        };
        turns.filter(|turn| not_after(frame, ticks(*turn), ticks(event.time))).any(has_it)
    }

    /// The first and last event time of the event's session, with those of all live sessions that it meets: merged first, judged after; a
    /// session that is final is not joined (T9).
    fn joined(&self, output: usize, frame: &Frame, gap: Ticks, event: &Event) -> (Ticks, Ticks) {
        let at = ticks(event.time);
        let meets = self.sessions[output].iter().filter(|session| is_met(session, frame, gap, event));
        meets.fold((at, at), |(first, last), session| (first.min(session.0), last.max(session.1)))
    }

    fn join_session(&mut self, output: usize, frame: &Frame, event: &Event) {
        let Window::Session { gap } = frame.window else { return };
        let gap = Ticks::from(gap.micros());
        let joined = self.joined(output, frame, gap, event);
        if !self.emits() || joined.1 + gap - 1 + Ticks::from(frame.delay.micros()) < ticks(event.visible_from) {
            return;
        }
        self.sessions[output].retain(|session| !is_met(session, frame, gap, event));
        self.sessions[output].push(joined);
    }
}

fn is_met(session: &(Ticks, Ticks), frame: &Frame, gap: Ticks, event: &Event) -> bool {
    let at = ticks(event.time);
    let live = session.1 + gap - 1 + Ticks::from(frame.delay.micros()) >= ticks(event.visible_from);
    live && at > session.0 - gap && at < session.1 + gap
}

/// T1: whether any window at all holds an instant.
fn may_hold(frame: &Frame, at: Ticks) -> bool {
    frame.window.grid().is_none_or(|grid| !starts_holding(grid, at).is_empty())
}
