//! Which events a window holds, as of a time.

use floodmark_features::lookup::Mode;
use floodmark_features::time::Time;
use floodmark_features::window::{Frame, Grid, Window};

use crate::{Event, Moment};

/// Microseconds, with room for every sum of them.
pub(crate) type Ticks = i128;

pub(crate) fn ticks(time: Time) -> Ticks {
    time.micros().into()
}

/// T9, T14, T15: the events that are known.
pub(crate) fn known<'e>(events: &'e [Event], visible: Time, moment: &Moment) -> impl Iterator<Item = &'e Event> {
    let Moment { version, mode, .. } = *moment;
    events.iter().filter(move |event| event.version <= version && (mode == Mode::AsCorrected || event.visible_from <= visible))
}

/// The events in the window as of the moment, in the total order of events.
pub(crate) fn inside<'e>(frame: &Frame, events: &'e [Event], moment: &Moment) -> Vec<&'e Event> {
    let at = ticks(moment.as_of);
    let visible = Time::from_micros(i64::try_from(last_visible(frame, at)).unwrap_or(i64::MAX));
    let known = known(events, visible, moment);
    match frame.window {
        Window::Session { gap } => {
            let to = at - Ticks::from(frame.delay.micros());
            let until: Vec<&Event> = known.filter(|event| not_after(frame, at, ticks(event.time))).collect();
            open_session(until, to, gap.micros().into())
        }
        _ => known.filter(|event| spans(frame, at, ticks(event.time))).collect(),
    }
}

/// T3: back from `to`, as long as one event follows the other within the gap.
fn open_session(mut events: Vec<&Event>, to: Ticks, gap: Ticks) -> Vec<&Event> {
    let (mut reached, mut start) = (to, events.len());
    while start > 0 && reached - ticks(events[start - 1].time) < gap {
        start -= 1;
        reached = ticks(events[start].time);
    }
    events.split_off(start)
}

/// T2: whether an event time is not behind the end of the window.
pub(crate) fn not_after(frame: &Frame, at: Ticks, event: Ticks) -> bool {
    let to = at - Ticks::from(frame.delay.micros());
    if frame.bounds.includes_end() { event <= to } else { event < to }
}

/// Whether the window as of `at` spans an event time; not for sessions, which are made of their neighbours.
fn spans(frame: &Frame, at: Ticks, event: Ticks) -> bool {
    match frame.window {
        // T2
        Window::Rolling { size } => {
            let from = at - Ticks::from(frame.delay.micros()) - Ticks::from(size.micros());
            not_after(frame, at, event) && if frame.bounds.includes_start() { event >= from } else { event > from }
        }
        Window::Lifetime | Window::Session { .. } => not_after(frame, at, event),
        // T4
        Window::Tumbling { .. } | Window::Sliding { .. } => {
            let start = newest_start(frame, at);
            frame.window.grid().is_some_and(|grid| (start..start + Ticks::from(grid.size.micros())).contains(&event))
        }
    }
}

/// T4: the start of the newest window of the grid that is complete.
fn newest_start(frame: &Frame, at: Ticks) -> Ticks {
    let Some(Grid { size, every, offset }) = frame.window.grid() else { return 0 };
    let (size, every, offset) = (Ticks::from(size.micros()), Ticks::from(every.micros()), Ticks::from(offset.micros()));
    let to = at - Ticks::from(frame.delay.micros());
    // Complete is a window whose last instant, the tick before its end, is not after `to`, or with an open end is before it.
    let last = if frame.bounds.includes_end() { to } else { to - 1 };
    let latest = last + 1 - size;
    latest - (latest - offset).rem_euclid(every)
}

/// T9: the latest `visible_from` that counts as of `at`. A window of a grid was final when it was complete.
fn last_visible(frame: &Frame, at: Ticks) -> Ticks {
    match frame.window.grid() {
        Some(grid) => newest_start(frame, at) + Ticks::from(grid.size.micros()) - 1 + Ticks::from(frame.delay.micros()),
        None => at,
    }
}

/// T1: the starts of the windows of the grid that hold an instant.
pub(crate) fn starts_holding(grid: Grid, at: Ticks) -> Vec<Ticks> {
    let (size, every, offset) = (Ticks::from(grid.size.micros()), Ticks::from(grid.every.micros()), Ticks::from(grid.offset.micros()));
    let mut starts = Vec::new();
    let mut start = at - (at - offset).rem_euclid(every);
    while start + size > at {
        starts.push(start);
        start -= every;
    }
    starts
}
