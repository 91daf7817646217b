//! The engine: the state of one log partition, and the step that applies routed events to it.
//!
//! Deterministic: the same sections under the same versions give the same timelines, late events and closed windows, in any
//! batching. It waits for nothing; what it decides is left in [`Outputs`] for the store to keep.

mod backfill;
mod closing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;

pub use closing::{Closing, OpenWindow, OpenWindows, Timer, WindowId};

use crate::definition::{ClosedWindows, Definitions};
use crate::key::hash_key;
use crate::row::{Row, Rows};
use crate::section::{LateNote, Position, Section, SectionPlan, ViewPlan, section_plans};
use crate::time::Time;
use crate::timeline::{Inserted, Timeline};
use crate::value::Value;
use crate::window::{Frame, Window};
use closing::EmitPlan;

/// What the engine needs to know of the definitions, worked out once and shared by all partitions.
#[derive(Debug)]
pub struct EnginePlan {
    /// What is computed.
    pub definitions: Arc<Definitions>,
    /// The sections that routed events come in.
    pub sections: Vec<SectionPlan>,
    /// For each view, its windows that are emitted when they close.
    emits: Vec<EmitPlan>,
    /// For each view, whether an event can fall between its windows (T1).
    may_miss: Vec<bool>,
    /// For each entity, how many views are on it.
    views_of_entity: Vec<usize>,
}

/// The state of one log partition.
#[derive(Debug)]
pub struct Shard {
    plan: Arc<EnginePlan>,
    /// For each entity, its keys.
    entities: Vec<HashTable<EntityState>>,
    /// For each section, the windows that wait to close.
    pub closing: Vec<Closing>,
    /// For each view, what became of its events.
    pub counts: Vec<ViewCounts>,
    bytes: usize,
    scratch: Vec<u64>,
}

/// All timelines of one entity key.
#[derive(Debug)]
pub struct EntityState {
    /// The key's bytes.
    pub key: Arc<[u8]>,
    /// The first of them: most keys are told apart without a look at the rest, which lies elsewhere in memory.
    head: [u8; HEAD],
    /// One for each view of the entity, in the order of the definitions.
    pub timelines: Box<[Timeline]>,
    /// Windows that are open or may still change.
    pub open: OpenWindows,
    /// When it was last read or written, in ticks of the store.
    touched: AtomicU32,
}

/// Bytes of a key that stand with its entity: two integers with their tags fit.
const HEAD: usize = 18;
/// Rows of which is fetched from memory together what they will be put beside.
const TOGETHER: usize = 16;

fn head_of(key: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let len = key.len().min(HEAD);
    head[..len].copy_from_slice(&key[..len]);
    head
}

/// What became of an event in one view (T10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// Counted from its event time on.
    Accepted,
    /// In no window of the view.
    Unassigned,
    /// Counted, but some values that should have held it were final.
    PartiallyLate,
    /// There already.
    Duplicate,
    /// Not counted: every value that could hold it was final.
    Late,
}

/// What became of the events of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ViewCounts {
    /// Counted, the partially late ones included.
    pub accepted: u64,
    /// Of these, those that missed final values.
    pub partially_late: u64,
    /// Kept in the side output only.
    pub late: u64,
    /// There already.
    pub duplicates: u64,
    /// In no window.
    pub unassigned: u64,
}

/// What a step decides, beside the state that it changes.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Late events, in the order of the source.
    pub late: Vec<LateEvent>,
    /// Closed windows, in the order of emission.
    pub closed: Vec<ClosedWindow>,
    /// Events that were not simply accepted by every view of their section, by sequence number.
    pub exceptions: Vec<(u64, Outcome)>,
    /// Entities, by kind and key, of which a window was emitted or forgotten because the watermark moved.
    pub timed: Vec<(usize, Arc<[u8]>)>,
}

/// An event that missed final values of a view (T10).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LateEvent {
    /// Where in the source it stands, counted over all partitions.
    pub sequence: u64,
    /// Position in [`Definitions::views`].
    pub view: usize,
    /// [`Outcome::PartiallyLate`] or [`Outcome::Late`].
    pub outcome: Outcome,
    /// The entity key.
    pub key: Arc<[u8]>,
    /// The event's id, as text.
    pub event_id: String,
    /// Its event time.
    pub event_time: Time,
    /// The watermark of its partition when it came.
    pub watermark: Time,
    /// Where the event stands in its source.
    pub position: Position,
    /// The event as JSON.
    pub payload: String,
}

/// A window that closed, closed again, or was replaced (T11).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ClosedWindow {
    /// The event after which it was emitted, by sequence number.
    pub sequence: u64,
    /// Whether the watermark that followed the event closed it; else the event itself did.
    pub by_watermark: bool,
    /// Position in [`Definitions::views`].
    pub view: usize,
    /// The shape.
    pub window: Window,
    /// The entity key.
    pub key: Arc<[u8]>,
    /// First instant inside.
    pub start: Time,
    /// First instant after it.
    pub end: Time,
    /// 0 at first, one more each time that this window is emitted again.
    pub revision: u32,
    /// A merged session has taken its place.
    pub deleted: bool,
    /// `(position in the view's features, value)`; empty if deleted.
    pub values: Vec<(usize, Value)>,
}

impl EnginePlan {
    /// Works out sections and windows.
    pub fn new(definitions: Arc<Definitions>) -> EnginePlan {
        let sections = section_plans(&definitions);
        let emits = definitions.views.iter().map(EmitPlan::new).collect();
        let may_miss = definitions
            .views
            .iter()
            .map(|view| view.outputs.iter().all(|o| o.frame.window.grid().is_some_and(|grid| grid.every > grid.size)))
            .collect();
        let views_on = |entity| definitions.views.iter().filter(|v| v.entity == entity).count();
        let views_of_entity = (0..definitions.entities.len()).map(views_on).collect();
        EnginePlan { sections, emits, may_miss, views_of_entity, definitions }
    }

    /// Number of views on an entity.
    pub fn views_of(&self, entity: usize) -> usize {
        self.views_of_entity[entity]
    }
}

impl ViewCounts {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::PartiallyLate => {
                self.accepted += 1;
                self.partially_late += 1;
            }
            Outcome::Late => self.late += 1,
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Unassigned => self.unassigned += 1,
        }
    }

    /// Adds those of another partition.
    pub fn add(&mut self, other: &ViewCounts) {
        self.accepted += other.accepted;
        self.partially_late += other.partially_late;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.unassigned += other.unassigned;
    }
}

impl EntityState {
    /// An entity without events.
    pub fn new(key: &[u8], views: usize) -> EntityState {
        let timelines = (0..views).map(|_| Timeline::default()).collect();
        EntityState { key: key.into(), head: head_of(key), timelines, open: OpenWindows::default(), touched: AtomicU32::new(0) }
    }

    #[inline]
    fn is(&self, key: &[u8], head: &[u8; HEAD]) -> bool {
        self.head == *head && self.key.len() == key.len() && (key.len() <= HEAD || *self.key == *key)
    }

    /// Says that it is in use.
    pub fn touch(&self, tick: u32) {
        if self.touched.load(Ordering::Relaxed) != tick {
            self.touched.store(tick, Ordering::Relaxed);
        }
    }

    /// When it was last in use.
    pub fn touched(&self) -> u32 {
        self.touched.load(Ordering::Relaxed)
    }

    /// Whether something differs from what is stored.
    pub fn is_dirty(&self) -> bool {
        self.timelines.iter().any(Timeline::is_dirty)
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<EntityState>() + self.key.len() + self.timelines.iter().map(Timeline::bytes).sum::<usize>()
    }
}

impl Shard {
    /// A partition without events.
    pub fn new(plan: Arc<EnginePlan>) -> Shard {
        let entities = plan.definitions.entities.iter().map(|_| HashTable::new()).collect();
        let closing = plan.sections.iter().map(|_| Closing::default()).collect();
        let counts = vec![ViewCounts::default(); plan.definitions.views.len()];
        Shard { plan, entities, closing, counts, bytes: 0, scratch: Vec::new() }
    }

    /// The entity of that key.
    #[inline]
    pub fn entity(&self, entity: usize, hash: u64, key: &[u8]) -> Option<&EntityState> {
        let head = head_of(key);
        self.entities[entity].find(hash, |state| state.is(key, &head))
    }

    /// Puts an entity in that was read back from the store, unless it is there.
    pub fn admit(&mut self, entity: usize, state: EntityState) {
        let hash = hash_key(&state.key);
        if self.entity(entity, hash, &state.key).is_none() {
            self.bytes += state.bytes();
            self.entities[entity].insert_unique(hash, state, |s| hash_key(&s.key));
        }
    }

    /// Each entity of a kind.
    pub fn entities(&self, entity: usize) -> impl Iterator<Item = &EntityState> {
        self.entities[entity].iter()
    }

    /// Each entity of a kind, to be changed; [`Shard::recount`] is due afterwards if timelines were.
    pub fn entities_mut(&mut self, entity: usize) -> impl Iterator<Item = &mut EntityState> {
        self.entities[entity].iter_mut()
    }

    /// Changes an entity, if it is there.
    pub fn update<R>(&mut self, entity: usize, hash: u64, key: &[u8], change: impl FnOnce(&mut EntityState) -> R) -> Option<R> {
        let head = head_of(key);
        let state = self.entities[entity].find_mut(hash, |state| state.is(key, &head))?;
        let before = state.bytes();
        let changed = change(state);
        self.bytes = (self.bytes + state.bytes()).saturating_sub(before);
        Some(changed)
    }

    /// Drops the entities for which `keep` is false.
    pub fn retain(&mut self, entity: usize, mut keep: impl FnMut(&EntityState) -> bool) {
        let mut dropped = 0;
        self.entities[entity].retain(|state| {
            let kept = keep(state);
            dropped += if kept { 0 } else { state.bytes() };
            kept
        });
        self.bytes = self.bytes.saturating_sub(dropped);
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Measures the memory in use afresh.
    pub fn recount(&mut self) {
        self.bytes = self.entities.iter().flatten().map(EntityState::bytes).sum();
    }

    /// Applies some rows of a section that was committed under `version`. `trail` is what the watermark of the source became,
    /// after which event (T6); it may be empty where no view emits closed windows.
    pub fn apply(
        &mut self,
        at: usize,
        section: &Section,
        rows: std::ops::Range<usize>,
        version: u64,
        trail: &[(u64, Time)],
        tick: u32,
        outputs: &mut Outputs,
    ) {
        let plan = self.plan.clone();
        let section_plan = &plan.sections[at];
        if section_plan.views.is_empty() {
            return;
        }
        let routed = section.rows.rows(&section_plan.layout);
        for begin in rows.clone().step_by(TOGETHER) {
            let some = begin..rows.end.min(begin + TOGETHER);
            self.fetch(section_plan, section, some.clone());
            for row in some {
                if section_plan.emits {
                    self.follow(at, trail, Some(section.sequence[row]), outputs);
                }
                let outcome = self.apply_row(&plan, at, section, routed, row, version, tick, outputs);
                if outcome > Outcome::Unassigned {
                    outputs.exceptions.push((section.sequence[row], outcome));
                }
            }
        }
    }

    /// Begins to fetch from memory what the rows will be put beside. Each step needs what the one before has fetched, and takes it for
    /// all rows, so that they wait for memory together and not one after the other.
    fn fetch(&self, section_plan: &SectionPlan, section: &Section, rows: std::ops::Range<usize>) {
        let mut states = [None; TOGETHER];
        for (state, row) in states.iter_mut().zip(rows) {
            *state = self.entity(section_plan.entity, section.hashes[row], section.key(row));
        }
        let timelines = || states.iter().flatten().flat_map(|state| section_plan.views.iter().map(|view| &state.timelines[view.place]));
        timelines().for_each(Timeline::fetch_last_node);
        timelines().for_each(Timeline::fetch_end);
    }

    /// One event, view by view; the best outcome.
    fn apply_row(
        &mut self,
        plan: &EnginePlan,
        at: usize,
        section: &Section,
        routed: Rows<'_>,
        row: usize,
        version: u64,
        tick: u32,
        outputs: &mut Outputs,
    ) -> Outcome {
        let section_plan = &plan.sections[at];
        let (hash, key) = (section.hashes[row], section.key(row));
        let views = plan.views_of(section_plan.entity);
        let head = head_of(key);
        let entry = self.entities[section_plan.entity].entry(hash, |s| s.is(key, &head), |s| hash_key(&s.key));
        let state = entry.or_insert_with(|| EntityState::new(key, views)).into_mut();
        state.touch(tick);
        let mut best = Outcome::Late;
        for view_plan in &section_plan.views {
            view_plan.project(&routed.row(row), version, &mut self.scratch);
            let event = Row::of_words(&self.scratch, routed.heap(), &view_plan.layout);
            let before = state.timelines[view_plan.place].bytes();
            let outcome = plan.judge_and_insert(view_plan, state, &event);
            self.bytes = (self.bytes + state.timelines[view_plan.place].bytes()).saturating_sub(before);
            self.counts[view_plan.view].count(outcome);
            if matches!(outcome, Outcome::Accepted | Outcome::PartiallyLate) {
                let emit = &plan.emits[view_plan.view];
                if !emit.windows.is_empty() {
                    let step = closing::Step { plan, view_plan, emit, sequence: section.sequence[row] };
                    self.closing[at].take(&step, state, &event, outputs);
                }
            }
            if matches!(outcome, Outcome::PartiallyLate | Outcome::Late) {
                let note = section.note(row);
                outputs.late.push(late_event(view_plan.view, outcome, &event, state, section.sequence[row], note));
            }
            best = best.min(outcome);
        }
        best
    }

    /// Moves the watermark of a section along its trail, up to but not including what follows the event `before`; all of it for `None`.
    pub fn follow(&mut self, at: usize, trail: &[(u64, Time)], before: Option<u64>, outputs: &mut Outputs) {
        let plan = self.plan.clone();
        if !plan.sections[at].emits {
            return;
        }
        let entity = plan.sections[at].entity;
        let mut closing = std::mem::take(&mut self.closing[at]);
        let fresh = trail.partition_point(|(sequence, _)| closing.followed.is_some_and(|done| *sequence <= done));
        for (sequence, watermark) in trail[fresh..].iter().take_while(|(sequence, _)| before.is_none_or(|b| *sequence < b)) {
            closing.followed = Some(*sequence);
            let due = closing.advance(*watermark);
            for timer in due {
                let found = self.entities[entity].find_mut(hash_key(&timer.key), |s| *s.key == *timer.key);
                if let Some(state) = found {
                    outputs.timed.push((entity, timer.key.clone()));
                    closing.fire(&plan, at, state, &timer, *sequence, outputs);
                }
            }
        }
        self.closing[at] = closing;
    }
}

impl Shard {
    /// A partition whose watermarks stand where they did, without its entities. Those with open windows are to be admitted with
    /// [`Shard::admit_open`] before anything is applied; others may follow when they are needed.
    pub fn resumed(plan: Arc<EnginePlan>, followed: &[(Time, Option<u64>)], counts: Vec<ViewCounts>) -> Shard {
        let mut shard = Shard::new(plan);
        shard.counts = counts;
        for (closing, (watermark, followed)) in shard.closing.iter_mut().zip(followed) {
            (closing.watermark, closing.followed) = (*watermark, *followed);
        }
        shard
    }

    /// How far each section has followed its watermark, as [`Shard::resumed`] takes it.
    pub fn followed(&self) -> Vec<(Time, Option<u64>)> {
        self.closing.iter().map(|closing| (closing.watermark, closing.followed)).collect()
    }

    /// Puts an entity in that was read back, with the timers of its open windows, unless it is there.
    pub fn admit_open(&mut self, entity: usize, state: EntityState) {
        let plan = self.plan.clone();
        if self.entity(entity, hash_key(&state.key), &state.key).is_some() {
            return;
        }
        for (at, section) in plan.sections.iter().enumerate().filter(|(_, section)| section.entity == entity && section.emits) {
            self.closing[at].await_windows(&plan, section, &state);
        }
        self.admit(entity, state);
    }
}

impl EnginePlan {
    /// Decides what becomes of an event in a view, and puts it in its timeline if it is accepted (T9, T10, T13).
    fn judge_and_insert(&self, view_plan: &ViewPlan, state: &mut EntityState, event: &Row<'_>) -> Outcome {
        let behind = event.visible_from() > event.time();
        if behind || self.may_miss[view_plan.view] {
            if state.timelines[view_plan.place].find(event.time(), &event.id(), event.layout).is_some() {
                return Outcome::Duplicate;
            }
            match self.countable(view_plan, state, event) {
                Countable::Nowhere => return Outcome::Unassigned,
                Countable::NoMore => return Outcome::Late,
                Countable::Still => {}
            }
        }
        match state.timelines[view_plan.place].insert(event) {
            Inserted::Duplicate => Outcome::Duplicate,
            Inserted::New if behind => Outcome::PartiallyLate,
            Inserted::New => Outcome::Accepted,
        }
    }

    fn countable(&self, view_plan: &ViewPlan, state: &EntityState, event: &Row<'_>) -> Countable {
        let view = &self.definitions.views[view_plan.view];
        let emits = view.closed_windows != ClosedWindows::Silent;
        let mut best = Countable::Nowhere;
        for frame in view.outputs.iter().map(|o| &o.frame) {
            best = best.max(match frame.window {
                Window::Session { .. } if emits => state.open.judge_session(view_plan.view, &self.emits[view_plan.view], frame, event),
                Window::Session { gap } => {
                    let timeline = &state.timelines[view_plan.place];
                    let with_end = frame.bounds.includes_end();
                    Countable::if_still(timeline.session_may_count(
                        event.time(),
                        event.visible_from(),
                        frame.delay,
                        with_end,
                        gap,
                        event.layout,
                    ))
                }
                _ => grid_or_rolling(frame, event),
            });
            if best == Countable::Still {
                break;
            }
        }
        best
    }
}

fn grid_or_rolling(frame: &Frame, event: &Row<'_>) -> Countable {
    match frame.countable_until(event.time()) {
        None => Countable::Nowhere,
        Some(until) => Countable::if_still(event.visible_from() <= until),
    }
}

/// Whether some value of a view can hold an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Countable {
    /// No window spans it.
    Nowhere,
    /// All values that hold it are final.
    NoMore,
    /// Some value is not.
    Still,
}

impl Countable {
    fn if_still(still: bool) -> Countable {
        if still { Countable::Still } else { Countable::NoMore }
    }
}

fn late_event(view: usize, outcome: Outcome, event: &Row<'_>, state: &EntityState, sequence: u64, note: Option<&LateNote>) -> LateEvent {
    LateEvent {
        sequence,
        view,
        outcome,
        key: state.key.clone(),
        event_id: event.id().to_string(),
        event_time: event.time(),
        watermark: note.map_or(Time::NONE, |n| n.watermark),
        position: note.map_or_else(|| Position { partition: String::new(), offset: sequence }, |n| n.position.clone()),
        payload: note.map_or_else(String::new, |n| n.payload.clone()),
    }
}
