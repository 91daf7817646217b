//! Which part of the history can matter to a spine.

use floodmark_features::lookup::Lookup;
use floodmark_features::time::Time;
use floodmark_features::window::Window;

/// The event times that can matter to rows of these times, both included. Where statuses are asked for, an entity is not found only if it was
/// never heard of; sessions and lifetimes have no beginning; and whether a late event is in a session depends on others at any time.
pub(crate) fn times(lookup: &Lookup, rows: Option<(Time, Time)>, statuses: bool) -> (Time, Time) {
    // Of no rows, nothing matters.
    let Some((first, last)) = rows else { return (Time::MAX, Time::NONE) };
    let views = lookup.reads.iter().map(|read| &lookup.definitions.views[read.view]);
    let mut from = first;
    for output in views.flat_map(|view| &view.outputs) {
        match (output.frame.window, output.frame.reach()) {
            (Window::Session { .. }, _) => return (Time::NONE, Time::MAX),
            (_, Some(reach)) if !statuses => from = from.min((first - reach).previous_tick()),
            _ => from = Time::NONE,
        }
    }
    (from, last)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use floodmark_features::definition::Definitions;

    use super::*;

    fn of(features: &str, statuses: bool) -> (i64, i64) {
        let text = format!(
            "sources: {{ s: {{ schema: {{ id: int64, at: timestamp, k: int64 }}, event_time: at, event_id: id }} }}\n\
             entities: {{ e: {{ keys: [k] }} }}\n\
             views: {{ v: {{ entity: e, source: s, features: {{ {features} }} }} }}\n\
             services: {{ all: {{ features: [v.*] }} }}\n"
        );
        let definitions = Arc::new(Definitions::parse("d.yaml", &text).expect("definitions"));
        let second = |second: i64| Time::from_micros(second * 1_000_000);
        let (from, to) = times(&Lookup::of_service(definitions, 0), Some((second(100), second(200))), statuses);
        (from.micros(), to.micros())
    }

    #[test]
    fn what_matters_is_as_far_back_as_the_longest_window_reaches() {
        let seconds = |n: i64| n * 1_000_000;
        assert_eq!(of("n: { count: \"*\", windows: [10s, 30s], delay: 5s }", false), (seconds(100 - 35) - 1, seconds(200)));
        assert_eq!(of("n: { count: \"*\", windows: [{ tumbling: 10s }] }", false), (seconds(100 - 20) - 1, seconds(200)));
        assert_eq!(of("n: { count: \"*\", windows: [10s] }", true), (i64::MIN, seconds(200)));
        assert_eq!(of("n: { count: \"*\", windows: [10s, lifetime] }", false), (i64::MIN, seconds(200)));
        assert_eq!(of("n: { count: \"*\", windows: [10s, { session: 1s }] }", false), (i64::MIN, i64::MAX));
    }
}
