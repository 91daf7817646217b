//! Closed windows (T11): tumbling, sliding and session windows of views that emit them, from the first event inside to the
//! last revision.
//!
//! A grid window is open from its first event until nothing late can reach it any more. A session is a run of events less than
//! its gap apart; runs that meet become one, and a merged session takes the place of those already emitted. A session that is
//! final is forgotten, as in Flink, even if its events still count in other windows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ClosedWindow, Countable, EnginePlan, EntityState, Outputs};
use crate::aggregate::{Partial, WindowFacts};
use crate::definition::{ClosedWindows, Slot, View};
use crate::evaluate::partials_of_extent;
use crate::row::Row;
use crate::section::{SectionPlan, ViewPlan};
use crate::time::{Span, Time};
use crate::value::Value;
use crate::window::{Extent, Frame, Grid, Window};

/// What a view emits.
#[derive(Debug)]
pub(super) struct EmitPlan {
    /// Its grid and session windows, each once.
    pub(super) windows: Vec<EmitWindow>,
    discarding: bool,
}

/// One window of a view, with the features that are over it.
#[derive(Debug)]
pub(super) struct EmitWindow {
    frame: Frame,
    features: Vec<usize>,
}

impl EmitPlan {
    pub(super) fn new(view: &View) -> EmitPlan {
        let mut windows: Vec<EmitWindow> = Vec::new();
        if view.closed_windows != ClosedWindows::Silent {
            for output in view.outputs.iter().filter(|o| is_emitted(&o.frame.window)) {
                match windows.iter_mut().find(|w| w.frame == output.frame) {
                    Some(window) => window.features.push(output.feature),
                    None => windows.push(EmitWindow { frame: output.frame, features: vec![output.feature] }),
                }
            }
        }
        EmitPlan { windows, discarding: view.closed_windows == ClosedWindows::Discarding }
    }
}

fn is_emitted(window: &Window) -> bool {
    matches!(window, Window::Tumbling { .. } | Window::Sliding { .. } | Window::Session { .. })
}

/// The windows of one entity key that are open or may still change.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OpenWindows {
    /// In the order of their names.
    pub windows: BTreeMap<WindowId, OpenWindow>,
}

/// Which window of an entity key. Sessions may share a start: one that is final for a source partition that is ahead waits to be emitted
/// until the source is there too, while a late event of that partition opens the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct WindowId {
    /// Of which view.
    pub view: u32,
    /// Which of its emitted windows.
    pub window: u32,
    /// Its start.
    pub start: Time,
    /// First instant after it; a session that grows gets another name.
    pub end: Time,
}

/// A window that has events and is not final.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OpenWindow {
    /// The revision that was emitted last.
    pub emitted: Option<u32>,
    /// What a session holds, or what came since the last emission; empty for an accumulating grid window, whose events are in the timeline.
    pub pane: Vec<Partial>,
    /// Emitted sessions that this one has swallowed: start, end, revision.
    pub replaces: Vec<(Time, Time, u32)>,
}

/// The windows of a section that wait for the watermark.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Closing {
    /// The watermark that was followed last.
    pub watermark: Time,
    /// The event after which that was.
    pub followed: Option<u64>,
    /// By time, end, start, key.
    pub timers: BTreeSet<Timer>,
}

impl Default for Closing {
    fn default() -> Closing {
        Closing { watermark: Time::NONE, followed: None, timers: BTreeSet::new() }
    }
}

/// When something is due for a window: its emission at its end, or its removal once it is final.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Timer {
    /// Due once the watermark is here.
    pub at: Time,
    /// First instant after the window.
    pub end: Time,
    /// Its start.
    pub start: Time,
    /// Whose window.
    pub key: Arc<[u8]>,
    /// Of which view.
    pub view: u32,
    /// Which of its emitted windows.
    pub window: u32,
}

/// What is at hand while an event is taken in.
pub(super) struct Step<'a> {
    pub(super) plan: &'a EnginePlan,
    pub(super) view_plan: &'a ViewPlan,
    pub(super) emit: &'a EmitPlan,
    pub(super) sequence: u64,
}

impl Step<'_> {
    fn view(&self) -> &View {
        &self.plan.definitions.views[self.view_plan.view]
    }

    fn lateness(&self) -> Span {
        self.plan.definitions.sources[self.view().source].allowed_lateness
    }
}

impl OpenWindows {
    /// Whether the session that an event would join or open can still count it: merged first, judged after.
    pub(super) fn judge_session(&self, view: usize, emit: &EmitPlan, frame: &Frame, event: &Row<'_>) -> Countable {
        let Window::Session { gap } = frame.window else { return Countable::Nowhere };
        let Some(place) = emit.windows.iter().position(|w| w.frame == *frame) else { return Countable::Nowhere };
        let joined = self.joined(view, place, gap, frame.delay, event);
        let end = joined.map(|id| id.end).fold(event.time() + gap, Time::max);
        Countable::if_still(is_live(end, frame.delay, event))
    }

    /// The sessions that an event makes one.
    fn joined(&self, view: usize, place: usize, gap: Span, delay: Span, event: &Row<'_>) -> impl Iterator<Item = WindowId> {
        let id = |time| WindowId { view: view as u32, window: place as u32, start: time, end: time };
        let sessions = self.windows.range(id(Time::NONE)..=id(Time::MAX)).map(|(id, _)| *id);
        sessions.filter(move |id| is_live(id.end, delay, event) && meets(id.start, id.end, event.time(), gap))
    }
}

/// Whether a session that ends there may still count an event (`end - 1 + delay >= visible_from`).
fn is_live(end: Time, delay: Span, event: &Row<'_>) -> bool {
    end.previous_tick() + delay >= event.visible_from()
}

/// Whether an event is less than the gap away from a session (T3): their windows overlap.
fn meets(start: Time, end: Time, at: Time, gap: Span) -> bool {
    at < end && start < at + gap
}

impl Closing {
    /// Takes in an accepted event: opens, grows and merges windows, and emits those that are closed already.
    pub(super) fn take(&mut self, step: &Step<'_>, state: &mut EntityState, event: &Row<'_>, outputs: &mut Outputs) {
        for (place, window) in step.emit.windows.iter().enumerate() {
            match (window.frame.window, window.frame.window.grid()) {
                (Window::Session { gap }, _) => self.join_session(step, place, window, gap, state, event, outputs),
                (_, Some(grid)) => {
                    for start in grid.starts_holding(event.time()) {
                        self.join_grid(step, place, window, &grid, start, state, event, outputs);
                    }
                }
                _ => {}
            }
        }
    }

    fn join_grid(
        &mut self,
        step: &Step<'_>,
        place: usize,
        window: &EmitWindow,
        grid: &Grid,
        start: Time,
        state: &mut EntityState,
        event: &Row<'_>,
        outputs: &mut Outputs,
    ) {
        let extent = window.frame.grid_extent(grid, start);
        if event.visible_from() > extent.visible {
            return;
        }
        let id = WindowId { view: step.view_plan.view as u32, window: place as u32, start, end: grid.end(start) };
        let open = state.open.windows.entry(id).or_default();
        if step.emit.discarding {
            open.add(step.view(), event);
        }
        let closed = extent.visible <= self.watermark;
        if open.emitted.is_none() && !closed {
            self.timers.insert(Timer::new(extent.visible, id, state));
            return;
        }
        if closed {
            let first = open.emitted.is_none();
            emit(step.plan, step.view_plan, step.emit, window, id, state, false, step.sequence, outputs);
            if first {
                self.keep_until_final(extent.visible, step.lateness(), id, state);
            }
        }
    }

    fn join_session(
        &mut self,
        step: &Step<'_>,
        place: usize,
        window: &EmitWindow,
        gap: Span,
        state: &mut EntityState,
        event: &Row<'_>,
        outputs: &mut Outputs,
    ) {
        let delay = window.frame.delay;
        let neighbours: Vec<WindowId> = state.open.joined(step.view_plan.view, place, gap, delay, event).collect();
        let end = neighbours.iter().map(|id| id.end).fold(event.time() + gap, Time::max);
        if !is_live(end, delay, event) {
            // Another window of the view took the event; this session is final without it.
            return;
        }
        let start = neighbours.iter().map(|id| id.start).fold(event.time(), Time::min);
        let id = WindowId { view: step.view_plan.view as u32, window: place as u32, start, end };
        let mut merged = OpenWindow::default();
        merged.add(step.view(), event);
        for neighbour in neighbours {
            if let Some(open) = state.open.windows.remove(&neighbour) {
                self.timers.remove(&Timer::new(neighbour.end.previous_tick() + delay, neighbour, state));
                merged.swallow(&step.view().slots, neighbour, open);
            }
        }
        // Events inside leave a session's extent as it was: then it is the same window with a further revision.
        if let Some(same) = merged.replaces.iter().position(|(s, e, _)| (*s, *e) == (start, end)) {
            merged.emitted = Some(merged.replaces.remove(same).2);
        }
        let closes = end.previous_tick() + delay;
        state.open.windows.insert(id, merged);
        if closes <= self.watermark {
            emit(step.plan, step.view_plan, step.emit, window, id, state, false, step.sequence, outputs);
            self.keep_until_final(closes, step.lateness(), id, state);
        } else {
            self.timers.insert(Timer::new(closes, id, state));
        }
    }

    /// Sets the timers of windows that were read back: one that has not closed is due when it does, one that has when it is final.
    pub(super) fn await_windows(&mut self, plan: &EnginePlan, section: &SectionPlan, state: &EntityState) {
        for id in state.open.windows.keys() {
            let of_section = section.views.iter().any(|view_plan| view_plan.view == id.view as usize);
            let window = plan.emits[id.view as usize].windows.get(id.window as usize).filter(|_| of_section);
            let Some(window) = window else { continue };
            let closes = id.end.previous_tick() + window.frame.delay;
            let lateness = plan.definitions.sources[section.source].allowed_lateness;
            let at = if closes > self.watermark { closes } else { closes + lateness };
            self.timers.insert(Timer::new(at, *id, state));
        }
    }

    /// What is due once the watermark is at `watermark`, in the order of emission: end, start, key.
    pub(super) fn advance(&mut self, watermark: Time) -> Vec<Timer> {
        if watermark <= self.watermark {
            return Vec::new();
        }
        self.watermark = watermark;
        let mut due = Vec::new();
        while self.timers.first().is_some_and(|timer| timer.at <= watermark) {
            due.extend(self.timers.pop_first());
        }
        due.sort_by(|a, b| (a.end, a.start, &a.key, a.view, a.window).cmp(&(b.end, b.start, &b.key, b.view, b.window)));
        due
    }

    /// Emits a window that has closed, or removes one that is final.
    pub(super) fn fire(
        &mut self,
        plan: &EnginePlan,
        section: usize,
        state: &mut EntityState,
        timer: &Timer,
        sequence: u64,
        outputs: &mut Outputs,
    ) {
        let id = timer.id();
        let Some(view_plan) = plan.sections[section].views.iter().find(|v| v.view == timer.view as usize) else { return };
        let emit_plan = &plan.emits[view_plan.view];
        let window = &emit_plan.windows[timer.window as usize];
        let closes = timer.end.previous_tick() + window.frame.delay;
        let Some(open) = state.open.windows.get(&id) else { return };
        if open.emitted.is_none() || (timer.at == closes && !open.replaces.is_empty()) {
            emit(plan, view_plan, emit_plan, window, id, state, true, sequence, outputs);
            let lateness = plan.definitions.sources[plan.definitions.views[view_plan.view].source].allowed_lateness;
            self.keep_until_final(closes, lateness, id, state);
        } else if timer.at > closes {
            state.open.windows.remove(&id);
        }
    }

    /// An emitted window stays until nothing late can reach it (`W >= end - 1 + lateness`).
    fn keep_until_final(&mut self, closes: Time, lateness: Span, id: WindowId, state: &mut EntityState) {
        let final_at = closes + lateness;
        if final_at <= self.watermark {
            state.open.windows.remove(&id);
        } else {
            self.timers.insert(Timer::new(final_at, id, state));
        }
    }
}

impl Timer {
    fn new(at: Time, id: WindowId, state: &EntityState) -> Timer {
        Timer { at, end: id.end, start: id.start, key: state.key.clone(), view: id.view, window: id.window }
    }

    fn id(&self) -> WindowId {
        WindowId { view: self.view, window: self.window, start: self.start, end: self.end }
    }
}

impl OpenWindow {
    fn add(&mut self, view: &View, event: &Row<'_>) {
        self.ensure_pane(&view.slots);
        for (slot, partial) in view.slots.iter().zip(&mut self.pane) {
            slot.add_rows(partial, event.alone());
        }
    }

    fn ensure_pane(&mut self, slots: &[Slot]) {
        if self.pane.is_empty() {
            self.pane = slots.iter().map(Slot::identity).collect();
        }
    }

    /// Takes over a neighbouring session.
    fn swallow(&mut self, slots: &[Slot], id: WindowId, other: OpenWindow) {
        self.ensure_pane(slots);
        for ((slot, into), partial) in slots.iter().zip(&mut self.pane).zip(&other.pane) {
            slot.merge(into, partial);
        }
        self.replaces.extend(other.replaces);
        if let Some(revision) = other.emitted {
            self.replaces.push((id.start, id.end, revision));
        }
    }
}

/// Emits a window of an entity, after the deletes of those that it replaces.
fn emit(
    plan: &EnginePlan,
    view_plan: &ViewPlan,
    emit_plan: &EmitPlan,
    window: &EmitWindow,
    id: WindowId,
    state: &mut EntityState,
    by_watermark: bool,
    sequence: u64,
    outputs: &mut Outputs,
) {
    let view = &plan.definitions.views[view_plan.view];
    let EntityState { key, timelines, open, .. } = state;
    let Some(open) = open.windows.get_mut(&id) else { return };
    let closed = |start, end, revision, deleted, values| ClosedWindow {
        sequence,
        by_watermark,
        view: view_plan.view,
        window: window.frame.window,
        key: key.clone(),
        start,
        end,
        revision,
        deleted,
        values,
    };
    let mut replaced = std::mem::take(&mut open.replaces);
    replaced.sort_unstable();
    if !emit_plan.discarding {
        outputs.closed.extend(replaced.into_iter().map(|(start, end, revision)| closed(start, end, revision + 1, true, Vec::new())));
    }
    let grid_partials;
    let partials: &[Partial] = if open.pane.is_empty() {
        let extent = Extent { from: id.start, to: id.end.previous_tick(), visible: id.end.previous_tick() + window.frame.delay };
        grid_partials = partials_of_extent(view, &view_plan.layout, &timelines[view_plan.place], extent);
        &grid_partials
    } else {
        &open.pane
    };
    let facts = WindowFacts { end: id.end, size: window.frame.window.size() };
    let values: Vec<(usize, Value)> = window
        .features
        .iter()
        .map(|at| {
            let feature = &view.features[*at];
            let mut value = Value::Null;
            feature.lower(&partials[feature.slot], facts, &mut value);
            (*at, value)
        })
        .collect();
    let revision = open.emitted.map_or(0, |r| r + 1);
    outputs.closed.push(closed(id.start, id.end, revision, false, values));
    open.emitted = Some(revision);
    if emit_plan.discarding {
        open.pane = view.slots.iter().map(Slot::identity).collect();
    }
}
