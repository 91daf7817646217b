//! Windows: which span of event time a feature looks over, and when an event can still be counted in it (T1 to T4, T9, T10).
//!
//! A *frame* is what a window is worth at one as-of time: bounds on event time, and the latest `visible_from` that counts.

use crate::time::{Span, Time};

/// The shape of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Window {
    /// Ends at the as-of time itself: `(t - size, t]` unless the view's bounds say otherwise. SQL's RANGE frame.
    Rolling {
        /// Length.
        size: Span,
    },
    /// `[start, start + size)`, one after the other, aligned to the epoch plus `offset`.
    Tumbling {
        /// Length and distance.
        size: Span,
        /// Shift of the grid.
        offset: Span,
    },
    /// `[start, start + size)`, a new one every `every`, aligned to the epoch plus `offset`. Flink's HOP.
    Sliding {
        /// Length.
        size: Span,
        /// Distance of two starts; may exceed `size`.
        every: Span,
        /// Shift of the grid.
        offset: Span,
    },
    /// Events whose neighbours are less than `gap` apart: `[first, last + gap)`.
    Session {
        /// Two neighbours this far apart, or farther, belong to different sessions.
        gap: Span,
    },
    /// Everything up to the as-of time.
    Lifetime,
}

/// Which ends of a rolling window belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Bounds {
    /// `(t - size, t]`, the default.
    #[default]
    OpenClosed,
    /// `[t - size, t)`
    ClosedOpen,
    /// `[t - size, t]`
    Closed,
    /// `(t - size, t)`
    Open,
}

impl Bounds {
    /// Every choice as a definition writes it.
    pub const ALL: [(&'static str, Bounds); 4] =
        [("(]", Bounds::OpenClosed), ("[)", Bounds::ClosedOpen), ("[]", Bounds::Closed), ("()", Bounds::Open)];

    /// Whether an event exactly `size` old counts.
    pub fn includes_start(self) -> bool {
        matches!(self, Bounds::ClosedOpen | Bounds::Closed)
    }

    /// Whether an event at the as-of time itself counts.
    pub fn includes_end(self) -> bool {
        matches!(self, Bounds::OpenClosed | Bounds::Closed)
    }
}

/// A window of a feature: its shape, the bounds of its view, and how long its answer waits for labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The shape.
    pub window: Window,
    /// Ends of a rolling window; whether a grid window that ends with the as-of instant counts as complete (T4).
    pub bounds: Bounds,
    /// The window as of `t` is the one that ends at `t - delay`; visibility is still judged at `t` (T2).
    pub delay: Span,
}

/// The event times that a window spans at one as-of time, both ends included, and the latest `visible_from` that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First event time inside.
    pub from: Time,
    /// Last event time inside; below `from` if the window is empty.
    pub to: Time,
    /// An event counts only if its `visible_from` is at or below this.
    pub visible: Time,
}

impl Window {
    /// As in a feature's name: `1d` for a rolling window, else `tumbling_1d`, `sliding_1h_5m`, `session_30m`, `lifetime`;
    /// a grid's offset follows (`tumbling_1d_offset_8h`).
    pub fn label(&self) -> String {
        let shifted = |offset: Span| if offset == Span::ZERO { String::new() } else { format!("_offset_{offset}") };
        match *self {
            Window::Rolling { size } => size.to_string(),
            Window::Tumbling { size, offset } => format!("tumbling_{size}{}", shifted(offset)),
            Window::Sliding { size, every, offset } => format!("sliding_{size}_{every}{}", shifted(offset)),
            Window::Session { gap } => format!("session_{gap}"),
            Window::Lifetime => "lifetime".to_owned(),
        }
    }

    /// How long a window is that has a length.
    pub fn size(&self) -> Option<Span> {
        match *self {
            Window::Rolling { size } | Window::Tumbling { size, .. } | Window::Sliding { size, .. } => Some(size),
            Window::Session { .. } | Window::Lifetime => None,
        }
    }

    /// Size, distance and offset of a window on a grid; `None` for the others.
    pub fn grid(&self) -> Option<Grid> {
        match *self {
            Window::Tumbling { size, offset } => Some(Grid { size, every: size, offset }),
            Window::Sliding { size, every, offset } => Some(Grid { size, every, offset }),
            Window::Rolling { .. } | Window::Session { .. } | Window::Lifetime => None,
        }
    }
}

/// Where tumbling and sliding windows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Length of a window.
    pub size: Span,
    /// Distance of two starts.
    pub every: Span,
    /// Shift of the starts from the epoch.
    pub offset: Span,
}

impl Grid {
    /// The newest start at or before `at` (T1): correct for times before the epoch.
    pub fn start_at(&self, at: Time) -> Time {
        let every = i128::from(self.every.micros());
        let start = i128::from(at.micros()) - (i128::from(at.micros()) - i128::from(self.offset.micros())).rem_euclid(every);
        Time::from_micros(i64::try_from(start).unwrap_or(i64::MIN))
    }

    /// The starts of the windows that hold `at`, newest first; none if it falls in a gap (`every > size`).
    pub fn starts_holding(&self, at: Time) -> impl Iterator<Item = Time> + use<> {
        let Grid { size, every, .. } = *self;
        let newest = self.start_at(at);
        (0_i64..)
            .map_while(move |n| newest.micros().checked_sub(every.micros().checked_mul(n)?).map(Time::from_micros))
            .take_while(move |start| at.since(*start) < size)
    }

    /// The end, exclusive, of the window that starts there.
    pub fn end(&self, start: Time) -> Time {
        start + self.size
    }

    /// The start of the newest window whose last instant (`end - 1`, or `end` where the bounds exclude it) is at or before `at` (T4).
    fn newest_complete(&self, at: Time, bounds: Bounds) -> Time {
        let last = if bounds.includes_end() { at.next_tick() } else { at };
        self.start_at(last - self.size)
    }
}

impl Frame {
    /// What the window spans as of `t`; `None` for a session, whose start depends on the events.
    pub fn extent(&self, t: Time) -> Option<Extent> {
        let to = t - self.delay;
        match self.window {
            Window::Rolling { size } => {
                let from = to - size;
                Some(Extent {
                    from: if self.bounds.includes_start() { from } else { from.next_tick() },
                    to: if self.bounds.includes_end() { to } else { to.previous_tick() },
                    visible: t,
                })
            }
            Window::Lifetime => Some(Extent { from: Time::NONE, to: self.last_instant(to), visible: t }),
            Window::Tumbling { .. } | Window::Sliding { .. } => {
                let grid = self.window.grid()?;
                let start = grid.newest_complete(to, self.bounds);
                Some(self.grid_extent(&grid, start))
            }
            Window::Session { .. } => None,
        }
    }

    /// What the grid's window with that start spans, whenever it is looked at.
    pub fn grid_extent(&self, grid: &Grid, start: Time) -> Extent {
        let last = grid.end(start).previous_tick();
        Extent { from: start, to: last, visible: last + self.delay }
    }

    /// The last instant that counts where `to` is the end: `to` itself unless the bounds exclude it.
    pub fn last_instant(&self, to: Time) -> Time {
        if self.bounds.includes_end() { to } else { to.previous_tick() }
    }

    /// The greatest `visible_from` with which an event at `at` is still counted by some value of this window; `None` if no
    /// window holds it at all (a gap of a grid), or if it is a session, which is decided by its neighbours.
    pub fn countable_until(&self, at: Time) -> Option<Time> {
        match self.window {
            Window::Rolling { size } => {
                let oldest = at + size + self.delay;
                Some(if self.bounds.includes_start() { oldest } else { oldest.previous_tick() })
            }
            Window::Lifetime => Some(Time::MAX.previous_tick()),
            Window::Tumbling { .. } | Window::Sliding { .. } => {
                let grid = self.window.grid()?;
                let newest = grid.starts_holding(at).next()?;
                Some(self.grid_extent(&grid, newest).visible)
            }
            Window::Session { .. } => None,
        }
    }

    /// How far back of the as-of time this window can look; `None` if without bound (lifetime, session).
    pub fn reach(&self) -> Option<Span> {
        match self.window {
            Window::Rolling { size } => Some(size + self.delay),
            Window::Tumbling { size, .. } => Some(size + size + self.delay),
            Window::Sliding { size, every, .. } => Some(size + every + self.delay),
            Window::Session { .. } | Window::Lifetime => None,
        }
    }
}

#[cfg(test)]
mod tests;
