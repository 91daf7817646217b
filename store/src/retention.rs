//! Retention: how far back a source can be asked, and what of a timeline no answer needs any more.

use floodmark_features::definition::{Source, View};
use floodmark_features::row::Layout;
use floodmark_features::time::{Span, Time};
use floodmark_features::timeline::{Cut, Timeline};
use floodmark_features::watermark::SourceProgress;
use floodmark_features::window::Window;

/// The oldest as-of time that can be asked of a source whose event time is complete up to `watermark`; `None` if it keeps all, or has
/// nothing. Events as old as are still accepted are kept in any case.
pub(crate) fn oldest(source: &Source, progress: &SourceProgress, watermark: Time) -> Option<Time> {
    let retention = source.retention?;
    let reached = progress.reached().min(watermark);
    (reached > Time::NONE).then(|| reached - retention.max(source.allowed_lateness))
}

/// What the windows of a view need of its timelines.
pub(crate) struct Need {
    /// This far back from the oldest as-of time.
    reach: Span,
    /// Whole sessions with this gap.
    gap: Option<Span>,
    /// What is forgotten, as partials.
    has_lifetime: bool,
}

impl Need {
    pub(crate) fn of(view: &View) -> Need {
        let frames = || view.outputs.iter().map(|o| &o.frame);
        Need {
            reach: frames().filter_map(|f| f.reach()).chain(frames().map(|f| f.delay)).fold(Span::ZERO, Span::max),
            gap: frames().filter_map(|f| if let Window::Session { gap } = f.window { Some(gap) } else { None }).max(),
            has_lifetime: frames().any(|f| f.window == Window::Lifetime),
        }
    }

    /// Drops the chunks of a timeline that no answer at `oldest` or later needs, nor anyone who begins again at a version. True if there
    /// were any.
    pub(crate) fn trim(&self, timeline: &mut Timeline, oldest: Time, version: u64, view: &View, layout: &Layout) -> bool {
        let horizon = oldest - self.reach;
        // Never inside a session that reaches beyond.
        let start = self.gap.and_then(|gap| timeline.session_start(horizon, horizon, None, None, gap, Cut::ALL, layout));
        // Late events are in no answer as of before they came.
        let least = Cut { visible: oldest, version };
        timeline.trim_before(start.unwrap_or(horizon), least, self.has_lifetime, &view.slots, layout) > 0
    }
}
