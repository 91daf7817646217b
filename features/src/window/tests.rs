//! Windows at their edges.

use super::*;

fn at(micros: i64) -> Time {
    Time::from_micros(micros)
}

fn span(micros: i64) -> Span {
    Span::from_micros(micros)
}

fn frame(window: Window) -> Frame {
    Frame { window, bounds: Bounds::OpenClosed, delay: Span::ZERO }
}

fn starts(size: i64, every: i64, offset: i64, ts: i64) -> Vec<i64> {
    let grid = Grid { size: span(size), every: span(every), offset: span(offset) };
    grid.starts_holding(at(ts)).map(Time::micros).collect()
}

#[test]
fn a_grid_holds_an_event_in_each_window_that_spans_it() {
    assert_eq!(starts(10, 5, 0, 7), [5, 0]);
    assert_eq!(starts(10, 5, 0, -1), [-5, -10], "before the epoch too");
    assert_eq!(starts(5000, 5000, -100, 4899), [-100]);
    assert_eq!(starts(5000, 5000, -100, 4900), [4900]);
    assert_eq!(starts(3, 10, 0, 3), [] as [i64; 0], "in a gap of the grid");
    assert_eq!(starts(7, 5, 0, 5), [5, 0], "size need not be a multiple of every");
    assert_eq!(starts(5, 5, 0, i64::MIN), [i64::MIN], "saturates at the far end");
}

#[test]
fn a_rolling_window_has_four_kinds_of_ends() {
    let spans = |bounds| {
        let e = Frame { bounds, ..frame(Window::Rolling { size: span(10) }) }.extent(at(100)).expect("no session");
        (e.from.micros(), e.to.micros(), e.visible.micros())
    };
    assert_eq!(spans(Bounds::OpenClosed), (91, 100, 100));
    assert_eq!(spans(Bounds::ClosedOpen), (90, 99, 100));
    assert_eq!(spans(Bounds::Closed), (90, 100, 100));
    assert_eq!(spans(Bounds::Open), (91, 99, 100));
}

#[test]
fn a_delayed_window_ends_earlier_and_is_judged_at_the_as_of_time() {
    let delayed = Frame { delay: span(7), ..frame(Window::Rolling { size: span(10) }) };
    assert_eq!(delayed.extent(at(100)), Some(Extent { from: at(84), to: at(93), visible: at(100) }));
}

#[test]
fn a_grid_window_is_complete_at_its_last_instant() {
    let tumbling = frame(Window::Tumbling { size: span(10), offset: Span::ZERO });
    let start = |frame: &Frame, t| frame.extent(at(t)).expect("no session").from.micros();
    assert_eq!(start(&tumbling, 18), 0);
    assert_eq!(start(&tumbling, 19), 10, "end - 1 <= t");
    let open = Frame { bounds: Bounds::ClosedOpen, ..tumbling };
    assert_eq!(start(&open, 19), 0, "end <= t where the bounds exclude t");
    assert_eq!(start(&open, 20), 10);
    assert_eq!(tumbling.extent(at(19)).expect("no session").visible, at(19));
}

#[test]
fn an_event_can_be_counted_until_the_last_value_that_holds_it() {
    let until = |frame: Frame, ts| frame.countable_until(at(ts)).map(Time::micros);
    let rolling = frame(Window::Rolling { size: span(10) });
    assert_eq!(until(rolling, 100), Some(109));
    assert_eq!(until(Frame { bounds: Bounds::Closed, ..rolling }, 100), Some(110));
    assert_eq!(until(Frame { delay: span(5), ..rolling }, 100), Some(114));
    assert_eq!(until(frame(Window::Tumbling { size: span(10), offset: Span::ZERO }), 103), Some(109));
    let sliding = Window::Sliding { size: span(10), every: span(5), offset: Span::ZERO };
    assert_eq!(until(frame(sliding), 103), Some(109));
    assert_eq!(until(frame(sliding), 106), Some(114));
    let gaps = Window::Sliding { size: span(3), every: span(10), offset: Span::ZERO };
    assert_eq!(until(frame(gaps), 5), None);
}
