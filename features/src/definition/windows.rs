//! The windows of a feature: `1d`, `lifetime`, or a mapping such as `{ sliding: 1h, every: 5m }`.

use super::error::Problems;
use super::grammar::WINDOW;
use super::reader::{Fields, Item};
use crate::time::Span;
use crate::window::Window;

/// An event may be in this many windows of a sliding feature.
const MAX_OVERLAP: i64 = 10_000;

/// All windows, none of them twice.
pub(super) fn parse(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<Window>> {
    let mut windows: Vec<Window> = Vec::new();
    let mut wrong = false;
    for item in item.list("a list of windows", problems)? {
        match window(&item, problems) {
            Some(window) if windows.contains(&window) => {
                item.wrong(format!("repeats the window {}, expected each once", window.label()), problems);
                wrong = true;
            }
            Some(window) => windows.push(window),
            None => wrong = true,
        }
    }
    (!wrong).then_some(windows)
}

fn window(item: &Item<'_>, problems: &mut Problems) -> Option<Window> {
    match item.scalar() {
        Some("lifetime") => return Some(Window::Lifetime),
        Some(text) if Span::parse(text).is_some() => return Some(Window::Rolling { size: item.positive_span(problems)? }),
        _ => {}
    }
    if !item.is_map() {
        return item.expected("a window such as 1d, { sliding: 1h, every: 5m } or lifetime", problems);
    }
    let fields = item.fields(&WINDOW, problems)?;
    let (kind, length) = fields.choice(&WINDOW, problems)?;
    refuse_other_keys(kind, &fields, problems)?;
    let size = length.positive_span(problems)?;
    let window = match kind {
        "rolling" => Window::Rolling { size },
        "session" => Window::Session { gap: size },
        "tumbling" => Window::Tumbling { size, offset: offset_below(size, &fields, problems)? },
        _ => {
            let Some(every) = fields.get("every") else {
                item.wrong("a sliding window needs the key \"every\": the distance of two starts", problems);
                return None;
            };
            let every_span = every.positive_span(problems)?;
            if (size.micros() - 1) / every_span.micros() >= MAX_OVERLAP {
                every
                    .wrong(format!("an event would be in more than {MAX_OVERLAP} windows of {size}, expected a longer distance"), problems);
                return None;
            }
            Window::Sliding { size, every: every_span, offset: offset_below(every_span, &fields, problems)? }
        }
    };
    Some(window)
}

/// `every` is for sliding windows, `offset` for sliding and tumbling ones.
fn refuse_other_keys(kind: &str, fields: &Fields<'_>, problems: &mut Problems) -> Option<()> {
    let mut fits = Some(());
    for (key, kinds) in [("every", &["sliding"][..]), ("offset", &["tumbling", "sliding"])] {
        if let Some(item) = fields.get(key)
            && !kinds.contains(&kind)
        {
            item.wrong(format!("a {kind} window has no {key}, expected it with {}", kinds.join(" or ")), problems);
            fits = None;
        }
    }
    fits
}

fn offset_below(every: Span, fields: &Fields<'_>, problems: &mut Problems) -> Option<Span> {
    let Some(item) = fields.get("offset") else { return Some(Span::ZERO) };
    let offset = item.offset(problems)?;
    if offset.micros().saturating_abs() < every.micros() {
        return Some(offset);
    }
    item.wrong(format!("expected an offset shorter than {every}, the distance of two windows, found {offset}"), problems);
    None
}
