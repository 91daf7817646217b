//! Drives the event-time core as router and store do: one source, any number of views, events one by one or in batches.

use std::sync::Arc;

use floodmark_features::codec::{decode_rows, encode_rows, restore, snapshot};
use floodmark_features::definition::Definitions;
use floodmark_features::engine::{EnginePlan, EntityState, Outputs, Shard};
use floodmark_features::key::{EventId, encode_key, hash_key};
use floodmark_features::lookup::{Answer, Ask, Cell, Known, Lookup};
use floodmark_features::row::Layout;
use floodmark_features::section::{LateNote, Position, Section};
use floodmark_features::time::{Span, Time};
use floodmark_features::timeline::{Chunk, Timeline};
use floodmark_features::value::{Value, ValueRef};
use floodmark_features::watermark::{SourceProgress, visible_from};

/// Definitions that are right.
pub(crate) fn definitions(yaml: &str) -> Arc<Definitions> {
    Arc::new(Definitions::parse("test.yaml", yaml).unwrap_or_else(|errors| panic!("{errors}\n{yaml}")))
}

/// An event as the source has it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) time: Time,
    pub(crate) id: i64,
    /// By the source's schema.
    pub(crate) values: Vec<Value>,
}

/// What the router makes of one event, or of the end of the input.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) sequence: u64,
    pub(crate) event: Option<Routed>,
    /// The source's watermark after it, if that moved.
    pub(crate) moved: Option<Time>,
}

/// An event with what the router adds.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    pub(crate) event: Event,
    pub(crate) visible: Time,
    pub(crate) watermark: Time,
    pub(crate) payload: String,
}

/// Keeps the watermarks of a source.
pub(crate) struct Router {
    progress: SourceProgress,
    lateness: Span,
}

impl Router {
    pub(crate) fn new(definitions: &Definitions) -> Router {
        let source = &definitions.sources[0];
        Router { progress: SourceProgress::new(source.max_out_of_orderness), lateness: source.allowed_lateness }
    }

    /// An event of a partition, in the order of arrival.
    pub(crate) fn route(&mut self, partition: usize, event: Event) -> Step {
        let watermark = self.progress.watermark_of(partition);
        let visible = visible_from(event.time, watermark, self.lateness);
        let moved = self.progress.observe(partition, event.time);
        let routed = Routed { visible, watermark, payload: String::new(), event };
        Step { event: Some(routed), ..self.step(moved) }
    }

    /// Partitions that are there from the start.
    pub(crate) fn open(&mut self, partitions: usize) {
        (0..partitions).for_each(|n| assert_eq!(self.progress.open(&n.to_string()), n));
    }

    /// The end of all partitions.
    pub(crate) fn end(&mut self) -> Step {
        let partitions = self.progress.partitions().len();
        let moved = (0..partitions).filter(|n| self.progress.end(*n)).count() > 0;
        self.step(moved)
    }

    fn step(&mut self, moved: bool) -> Step {
        let sequence = self.progress.next_sequence;
        self.progress.next_sequence += 1;
        Step { sequence, event: None, moved: moved.then(|| self.progress.watermark()) }
    }
}

/// A partition of the log and what it has put out.
pub(crate) struct Engine {
    pub(crate) plan: Arc<EnginePlan>,
    pub(crate) shard: Shard,
    pub(crate) outputs: Outputs,
}

impl Engine {
    pub(crate) fn new(definitions: Arc<Definitions>) -> Engine {
        let plan = Arc::new(EnginePlan::new(definitions));
        Engine { shard: Shard::new(plan.clone()), plan, outputs: Outputs::default() }
    }

    /// Applies some steps as one commit.
    pub(crate) fn apply(&mut self, steps: &[Step], version: u64) {
        let trail: Vec<(u64, Time)> = steps.iter().filter_map(|s| Some((s.sequence, s.moved?))).collect();
        for at in 0..self.plan.sections.len() {
            let section = self.section(at, steps);
            self.shard.apply(at, &section, 0..section.len(), version, &trail, 0, &mut self.outputs);
            self.shard.follow(at, &trail, None, &mut self.outputs);
        }
    }

    fn section(&self, at: usize, steps: &[Step]) -> Section {
        let plan = &self.plan.sections[at];
        let mut section = Section::default();
        for step in steps {
            let Some(Routed { event, visible, watermark, payload }) = &step.event else { continue };
            if *visible > event.time {
                let position = Position { partition: "0".to_owned(), offset: step.sequence };
                section.late.push(LateNote { row: section.len() as u32, watermark: *watermark, position, payload: payload.clone() });
            }
            let key: Vec<ValueRef<'_>> = plan.key_columns.iter().map(|c| event.values[*c].as_ref()).collect();
            encode_key(&key, &mut section.keys);
            section.key_ends.push(section.keys.len() as u32);
            section.sequence.push(step.sequence);
            let columns: Vec<Value> = plan.columns.iter().map(|c| event.values[*c].clone()).collect();
            section.rows.push(event.time, &EventId::Int(event.id), *visible, 0, &columns);
        }
        section.rehash();
        section
    }

    /// What a look-up of one entity gives.
    pub(crate) fn read(&self, lookup: &Lookup, ask: &Ask<'_>) -> Answer {
        let definitions = &self.plan.definitions;
        let mut cells = vec![Cell::default(); lookup.columns.len()];
        let known = Known { version: ask.version.unwrap_or(u64::MAX), final_until: Time::MAX };
        let mut key = Vec::new();
        for read in &lookup.reads {
            let view = &definitions.views[read.view];
            key.clear();
            read.encode_key(ask, &mut key);
            let (place, layout) = self.place(read.view);
            let timeline = self.shard.entity(view.entity, hash_key(&key), &key).map(|e| &e.timelines[place]);
            read.evaluate(view, layout, timeline, ask, known, &mut cells);
        }
        Answer { cells, watermark: Time::NONE, version: known.version }
    }

    fn place(&self, view: usize) -> (usize, &Layout) {
        let plan = self.plan.sections.iter().flat_map(|s| &s.views).find(|v| v.view == view).expect("a plan for each view");
        (plan.place, &plan.layout)
    }

    /// Writes all state down, forgets it and reads it back.
    pub(crate) fn restart(&mut self) {
        let definitions = self.plan.definitions.clone();
        let mut fresh = Shard::new(self.plan.clone());
        fresh.counts = restore(&snapshot(&self.shard.counts)).expect("counts come back");
        fresh.closing = restore(&snapshot(&self.shard.closing)).expect("timers come back");
        for entity in 0..definitions.entities.len() {
            for state in self.shard.entities(entity) {
                let mut back = EntityState::new(&state.key, self.plan.views_of(entity));
                back.open = restore(&snapshot(&state.open)).expect("open windows come back");
                for view in (0..definitions.views.len()).filter(|v| definitions.views[*v].entity == entity) {
                    let (place, layout) = self.place(view);
                    let chunks = state.timelines[place].chunks().into_iter().map(|chunk| copy(chunk, layout)).collect();
                    back.timelines[place] = Timeline::of_chunks(chunks, state.timelines[place].folded().cloned(), layout);
                }
                fresh.admit(entity, back);
            }
        }
        self.shard = fresh;
    }

    /// All accepted events of all views with everything that is known of them but the version, and the counts.
    pub(crate) fn contents(&self) -> Vec<String> {
        let definitions = &self.plan.definitions;
        let mut all = Vec::new();
        for view in 0..definitions.views.len() {
            let (place, layout) = self.place(view);
            for state in self.shard.entities(definitions.views[view].entity) {
                for row in state.timelines[place].chunks().iter().flat_map(|chunk| chunk.rows(layout).iter()) {
                    let values: Vec<ValueRef<'_>> = (0..layout.types.len()).map(|c| row.value(c)).collect();
                    all.push(format!("{view} {:?} {:?} {} {:?} {values:?}", state.key, row.time(), row.id(), row.visible_from()));
                }
            }
        }
        all.sort();
        all.push(format!("{:?}", self.shard.counts));
        all
    }
}

fn copy(chunk: &Chunk, layout: &Layout) -> Chunk {
    let mut bytes = Vec::new();
    encode_rows(chunk.rows(layout), &mut bytes);
    let rows = decode_rows(&mut bytes.as_slice(), layout).expect("rows come back");
    Chunk::of_block(chunk.id, rows, layout)
}
