//! Stories about the feature log: what a batch says survives its bytes, what comes twice or is missing is seen, and whoever goes on in the
//! middle comes to the same end.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::codec::{decode_rows, encode_rows, restore, snapshot};
use crate::definition::Definitions;
use crate::engine::{EntityState, OpenWindows, Outputs, Shard};
use crate::key::{EventId, encode_key, hash_key};
use crate::row::Layout;
use crate::section::{LateNote, Position, SectionPlan};
use crate::timeline::{Chunk, Timeline};
use crate::value::{Value, ValueRef};
use crate::watermark::{BoundedOutOfOrderness, visible_from};

/// Two sources of one entity, and one of them of another entity as well: that section, the second, emits nothing.
const DEFINITIONS: &str = "sources:
  tx:
    { schema: { id: int64, at: timestamp, card: string, shop: int64, amount: float64, memo: string },
      event_time: at, event_id: id, max_out_of_orderness: 10us, allowed_lateness: 20us }
  refund:
    { schema: { at: timestamp, card: string, amount: float64 }, event_time: at, allowed_lateness: 70us }
entities: { card: { keys: [card] }, shop: { keys: [shop] } }
views:
  spend:
    { entity: card, source: tx, emit_closed_windows: true, features: {
      n: { count: '*', windows: [{ session: 15us }, { tumbling: 40us }, { sliding: 60us, every: 20us }] },
      sum: { sum: amount, windows: [{ tumbling: 40us }] },
      label: { count: '*', windows: [{ tumbling: 40us }, { session: 15us }], delay: 30us } } }
  shops: { entity: shop, source: tx, features: { last: { last: memo, windows: [1h] } } }
  back:
    { entity: card, source: refund, emit_closed_windows: true, features: {
      n: { count: '*', windows: [{ session: 25us }, { tumbling: 40us }] } } }
  fresh:
    { entity: card, source: tx, emit_closed_windows: discarding, features: {
      sum: { sum: amount, windows: [{ session: 25us }, { sliding: 60us, every: 20us }] } } }
";

fn plan() -> Arc<EnginePlan> {
    plan_of(DEFINITIONS)
}

fn plan_of(yaml: &str) -> Arc<EnginePlan> {
    let definitions = Definitions::parse("f.yaml", yaml).unwrap_or_else(|errors| panic!("{errors}"));
    Arc::new(EnginePlan::new(Arc::new(definitions)))
}

fn at(micros: i64) -> Time {
    Time::from_micros(micros)
}

/// Time, card and id.
type Event = (i64, u8, i64);

/// A source partition as route sees it.
struct Routed {
    plan: Arc<EnginePlan>,
    source: usize,
    partition: usize,
    next: u64,
    marks: BoundedOutOfOrderness,
    /// The log partition has the rows of the cards below; others move the watermark alone.
    below: u8,
}

impl Routed {
    fn new(plan: &Arc<EnginePlan>, source: usize, partition: usize) -> Routed {
        let marks = BoundedOutOfOrderness::new(plan.definitions.sources[source].max_out_of_orderness);
        Routed { plan: plan.clone(), source, partition, next: 0, marks, below: u8::MAX }
    }

    fn batch(&mut self, events: &[Event], stamp: u64) -> RoutedBatch {
        let (before, from) = (self.marks.watermark(), self.next);
        let mut sections = vec![Section::default(); self.plan.sections.len()];
        let mut trail = Vec::new();
        for event in events {
            let watermark = self.marks.watermark();
            let kept = |plan: &SectionPlan| plan.source == self.source && event.1 < self.below;
            for (section, plan) in sections.iter_mut().zip(&self.plan.sections).filter(|(_, plan)| kept(plan)) {
                self.push(event, plan, section);
            }
            self.marks.observe(at(event.0));
            if self.marks.watermark() > watermark {
                trail.push((self.next, self.marks.watermark()));
            }
            self.next += 1;
        }
        let head = BatchHead {
            definitions: 7,
            source: self.source,
            topic: "topic".to_owned(),
            partition: self.partition,
            partitions: 2,
            offsets: from..self.next,
            stamp,
            before,
            watermark: self.marks.watermark(),
            activity: Activity::Active,
        };
        RoutedBatch { head, trail, sections: sections.into_iter().enumerate().filter(|(_, section)| !section.is_empty()).collect() }
    }

    fn push(&self, &(time, card, id): &Event, plan: &SectionPlan, section: &mut Section) {
        let source = &self.plan.definitions.sources[self.source];
        let (watermark, offset) = (self.marks.watermark(), self.next);
        let visible = visible_from(at(time), watermark, source.allowed_lateness);
        let (name, memo) = (format!("card {card}\0é"), format!("of {time}"));
        let value = |column: &usize| match source.schema.columns[*column].name.as_str() {
            "card" => ValueRef::Str(&name),
            "shop" => ValueRef::Int(i64::from(card) % 2),
            "memo" if card > 0 => ValueRef::Str(&memo),
            "amount" if id != 1 => ValueRef::Float(time as f64 / 7.0),
            _ => ValueRef::Null,
        };
        if visible > at(time) {
            let position = Position { partition: format!("topic-{}", self.partition), offset };
            section.late.push(LateNote { row: section.len() as u32, watermark, position, payload: OWN_PAYLOAD.to_owned() });
        }
        section.sequence.push(offset);
        encode_key(&plan.key_columns.iter().map(value).collect::<Vec<_>>(), &mut section.keys);
        section.key_ends.push(section.keys.len() as u32);
        let values: Vec<Value> = plan.columns.iter().map(|column| value(column).to_value()).collect();
        let id = source.event_id.map_or(EventId::Int((self.partition as i64) << 44 | offset as i64), |_| EventId::Int(id));
        section.rows.push(at(time), &id, visible, 0, &values);
        section.hashes.push(hash_key(section.key(section.len() - 1)));
    }

    fn idle(&mut self, clock: Time) -> RoutedBatch {
        let mut batch = self.batch(&[], 1);
        batch.head.activity = Activity::Idle { clock };
        batch
    }
}

/// What route says of an event that is late for its own partition.
const OWN_PAYLOAD: &str = r#"{"late":"for route"}"#;

fn bytes(plan: &EnginePlan, batch: &RoutedBatch) -> Vec<u8> {
    let mut sections = vec![Section::default(); plan.sections.len()];
    batch.sections.iter().for_each(|(at, section)| sections[*at] = section.clone());
    let mut out = Vec::new();
    encode_batch(plan, &batch.head, &batch.trail, &sections, &mut out);
    out
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((0..200_i64, 0..3_u8, 0..3_i64), 0..12)
}

proptest! {
    #[test]
    fn a_batch_comes_back_from_its_bytes(
        events in events(), below in 0..4_u8, next in 0..u64::MAX >> 1, stamp in any::<u64>(), times in any::<[i64; 2]>(),
        clock in any::<Option<i64>>(),
    ) {
        let plan = plan();
        let mut batch = Routed { next, below, ..Routed::new(&plan, 0, 1) }.batch(&events, stamp);
        let activity = clock.map_or(Activity::Active, |clock| Activity::Idle { clock: at(clock) });
        batch.head = BatchHead { before: at(times[0]), watermark: at(times[1]), activity, ..batch.head };
        let read = decode_batch(&plan, &bytes(&plan, &batch)).expect("a batch");
        prop_assert_eq!((&read.head, &read.sections), (&batch.head, &batch.sections));
    }

    #[test]
    fn rows_cannot_tell_what_is_left_out_of_a_trail(events in events(), below in 0..4_u8) {
        let plan = plan();
        let batch = Routed { below, ..Routed::new(&plan, 0, 1) }.batch(&events, 1);
        let read = decode_batch(&plan, &bytes(&plan, &batch)).expect("a batch");
        let before = |trail: &[(u64, Time)], row: u64| trail.iter().rfind(|(offset, _)| *offset < row).map(|(_, at)| *at);
        let rows: Vec<u64> = batch.sections.iter().flat_map(|(_, section)| section.sequence.iter().copied()).collect();
        prop_assert!(rows.iter().all(|row| before(&read.trail, *row) == before(&batch.trail, *row)), "{:?} for {:?}", read.trail, rows);
        prop_assert_eq!(read.trail.last(), batch.trail.last());
        let needed = |watermark: Time| rows.iter().any(|row| before(&batch.trail, *row) == Some(watermark));
        prop_assert!(read.trail.iter().rev().skip(1).all(|(_, watermark)| needed(*watermark)), "{:?} for {:?}", read.trail, rows);
    }

    #[test]
    fn whoever_goes_on_in_the_middle_comes_to_the_same_end(turns in prop::collection::vec(turn(), 1..16)) {
        let plan = plan();
        let mut partitions = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(source, partition)| Routed::new(&plan, source, partition));
        let (mut straight, mut broken) = (Log::new(&plan), Log::new(&plan));
        for (turn, (partition, idle, events, restarts)) in turns.into_iter().enumerate() {
            // Time goes on, so that windows close; one partition of each source is behind the other.
            let now = turn as i64 * 60 - partition as i64 % 2 * 80;
            let batch = match idle {
                Some(clock) => partitions[partition].idle(clock.map_or(Time::NONE, |clock| at(clock + now))),
                None => {
                    let events: Vec<Event> = events.into_iter().map(|(time, card, id)| (time + now, card, id)).collect();
                    partitions[partition].batch(&events, turn as u64 * 3)
                }
            };
            if restarts {
                broken = broken.resumed();
            }
            let record = bytes(&plan, &batch);
            let (expected, found) = (straight.apply(&record), broken.apply(&record));
            prop_assert_eq!(&expected.late, &found.late, "at {}", turn);
            prop_assert_eq!(&expected.closed, &found.closed, "at {}", turn);
            prop_assert_eq!(&expected.exceptions, &found.exceptions, "at {}", turn);
        }
        prop_assert_eq!(&straight.shard.counts, &broken.shard.counts);
        prop_assert_eq!(&straight.progress, &broken.progress);
        prop_assert_eq!(straight.shard.followed(), broken.shard.followed());
        prop_assert_eq!(straight.open(), broken.open(), "what is final is forgotten");
    }
}

/// Which partition is next; whether it is idle, with a clock or without; else its events; whether another process goes on from here.
fn turn() -> impl Strategy<Value = (usize, Option<Option<i64>>, Vec<Event>, bool)> {
    let idle = prop::option::weighted(0.25, prop::option::of(0..200_i64));
    (0..4_usize, idle, events(), prop::bool::weighted(0.4))
}

/// A log partition, applied batch by batch.
struct Log {
    plan: Arc<EnginePlan>,
    progress: LogProgress,
    shard: Shard,
}

impl Log {
    fn new(plan: &Arc<EnginePlan>) -> Log {
        Log { plan: plan.clone(), progress: LogProgress::new(&plan.definitions), shard: Shard::new(plan.clone()) }
    }

    fn take(&mut self, batch: &mut RoutedBatch) -> Result<Taken, OutOfPlace> {
        self.progress.take(&self.plan, self.progress.next_offset, batch)
    }

    /// The version of a batch, and what it does to the watermark.
    fn new_batch(&mut self, batch: &mut RoutedBatch) -> (u64, Vec<(u64, Time)>) {
        let Ok(Taken::New { version, trail }) = self.take(batch) else { panic!("it is new, and in its place") };
        (version, trail)
    }

    /// The watermark of its source after a batch.
    fn after(&mut self, batch: &mut RoutedBatch) -> Time {
        self.new_batch(batch);
        self.progress.watermarks()[batch.head.source]
    }

    fn apply(&mut self, record: &[u8]) -> Outputs {
        let mut batch = decode_batch(&self.plan, record).expect("a batch");
        let (version, trail) = self.new_batch(&mut batch);
        let mut outputs = Outputs::default();
        for (at, section) in &batch.sections {
            self.shard.apply(*at, section, 0..section.len(), version, &trail, 1, &mut outputs);
        }
        let follows = |at: &usize| self.plan.sections[*at].emits && self.plan.sections[*at].source == batch.head.source;
        for at in (0..self.plan.sections.len()).filter(follows) {
            self.shard.follow(at, &trail, None, &mut outputs);
        }
        outputs
    }

    fn open(&self) -> BTreeMap<Arc<[u8]>, OpenWindows> {
        let some = self.shard.entities(0).filter(|state| !state.open.windows.is_empty());
        some.map(|state| (state.key.clone(), state.open.clone())).collect()
    }

    /// What another process makes of what is stored.
    fn resumed(&self) -> Log {
        let definitions = &self.plan.definitions;
        let mut shard = Shard::resumed(self.plan.clone(), &self.shard.followed(), self.shard.counts.clone());
        for entity in 0..definitions.entities.len() {
            let views = || definitions.views.iter().filter(|view| view.entity == entity);
            for state in self.shard.entities(entity) {
                let mut copy = EntityState::new(&state.key, views().count());
                for (timeline, (old, view)) in copy.timelines.iter_mut().zip(state.timelines.iter().zip(views())) {
                    *timeline = stored(old, &view.layout(&definitions.sources));
                }
                copy.open = restore(&snapshot(&state.open)).expect("windows");
                if copy.open.windows.is_empty() { shard.admit(entity, copy) } else { shard.admit_open(entity, copy) }
            }
        }
        Log { plan: self.plan.clone(), progress: restore(&snapshot(&self.progress)).expect("progress"), shard }
    }
}

/// A timeline, written and read back.
fn stored(timeline: &Timeline, layout: &Layout) -> Timeline {
    let chunk = |chunk: &&Chunk| {
        let mut bytes = Vec::new();
        encode_rows(chunk.rows(layout), &mut bytes);
        Chunk::of_block(chunk.id, decode_rows(&mut bytes.as_slice(), layout).expect("rows"), layout)
    };
    Timeline::of_chunks(timeline.chunks().iter().map(chunk).collect(), None, layout)
}

#[test]
fn without_closed_windows_only_the_last_watermark_is_told() {
    let plan = plan_of(&["true", "discarding"].iter().fold(DEFINITIONS.to_owned(), |yaml, emits| yaml.replace(emits, "false")));
    let batch = Routed::new(&plan, 0, 0).batch(&[(100, 1, 0), (200, 2, 0), (300, 1, 0)], 1);
    let read = decode_batch(&plan, &bytes(&plan, &batch)).expect("a batch");
    assert_eq!((read.trail.as_slice(), batch.trail.len()), (&batch.trail[2..], 3));
}

#[test]
fn damage_is_an_error_or_another_batch_and_never_a_panic() {
    let plan = plan();
    let batch = Routed::new(&plan, 0, 0).batch(&[(100, 1, 0), (20, 2, 1), (400, 1, 2), (410, 0, 3)], 1);
    assert_eq!(batch.sections.iter().map(|(at, section)| (*at, section.late.len())).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    let written = bytes(&plan, &batch);
    for cut in 0..written.len() {
        assert!(decode_batch(&plan, &written[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..written.len() {
        for flip in [0x01, 0x02, 0x40, 0x80, 0xff] {
            let mut damaged = written.clone();
            damaged[at] ^= flip;
            let _ = decode_batch(&plan, &damaged);
        }
    }
}

#[test]
fn what_is_no_batch_of_ours_is_told() {
    let plan = plan();
    let batch = Routed::new(&plan, 0, 0).batch(&[(100, 1, 0), (200, 1, 1)], 1);
    let refused = |bytes: &[u8]| decode_batch(&plan, bytes).expect_err("no batch of ours").what;
    let written = bytes(&plan, &batch);
    assert_eq!(definitions_of(&written), Ok(7));
    assert_eq!(refused(&[&[9], &written[1..]].concat()), "they have a format that this program does not know");
    assert_eq!(refused(&[&written[..], &[0]].concat()), "there is more than a batch");

    let empty = bytes(&plan, &RoutedBatch { sections: Vec::new(), ..batch.clone() });
    let (count, before) = empty.split_last().expect("it ends with the number of sections");
    assert_eq!((count, plan.sections[2].source), (&0, 1));
    for unknown in [2, 3, 99] {
        assert_eq!(refused(&[before, &[1, unknown, 0]].concat()), "a section has an unknown number", "{unknown}");
    }
    let other = |source, offsets, trail: &[(u64, Time)]| {
        let head = BatchHead { source, offsets, ..batch.head.clone() };
        refused(&bytes(&plan, &RoutedBatch { head, trail: trail.to_vec(), ..batch.clone() }))
    };
    assert_eq!(other(2, 0..2, &[]), "a batch is of an unknown source");
    assert_eq!(other(0, 0..1, &batch.trail), "a watermark is of another batch");
    assert_eq!(other(0, 0..1, &[]), "a row is of another batch");
}

#[test]
fn a_batch_that_comes_again_changes_nothing_but_the_place_in_the_log() {
    let plan = plan();
    let (mut log, mut partition) = (Log::new(&plan), Routed::new(&plan, 0, 0));
    let (first, second) = (partition.batch(&[(100, 1, 0), (120, 2, 1)], 5), partition.batch(&[(130, 1, 2)], 6));
    assert_eq!([&first, &second].map(|batch| log.new_batch(&mut batch.clone()).0), [5, 6]);
    let before = log.progress.clone();
    for mut batch in [first, second] {
        assert_eq!(log.take(&mut batch), Ok(Taken::Again));
    }
    assert_eq!(log.progress, LogProgress { next_offset: 4, ..before });
}

#[test]
fn a_hole_is_told_with_its_numbers_and_a_log_may_begin_anywhere() {
    let plan = plan();
    let (mut log, mut partition) = (Log::new(&plan), Routed { next: 50, ..Routed::new(&plan, 1, 1) });
    log.after(&mut partition.batch(&[(100, 1, 0), (101, 1, 0)], 1));
    let before = log.progress.clone();
    for (from, events) in [(53, 1), (51, 2), (49, 5)] {
        partition.next = from;
        let error = log.take(&mut partition.batch(&vec![(110, 1, 0); events], 1));
        assert_eq!(error, Err(OutOfPlace { source_name: "refund".to_owned(), partition: 1, expected: 52, found: from }));
    }
    assert_eq!(log.progress, before);
}

#[test]
fn versions_rise_whatever_the_clocks_say() {
    let plan = plan();
    let (mut log, mut a, mut b) = (Log::new(&plan), Routed::new(&plan, 0, 0), Routed::new(&plan, 1, 0));
    let (first, second, third) = (a.batch(&[(100, 1, 0)], 1_000), b.batch(&[(100, 1, 0)], 1_000), b.idle(at(7)));
    let batches = [first, second, third, a.batch(&[(100, 1, 0)], 900), a.batch(&[(100, 1, 0)], 5_000)];
    assert_eq!(batches.map(|mut batch| log.new_batch(&mut batch).0), [1_000, 1_001, 1_002, 1_003, 5_000]);
}

#[test]
fn an_idle_partition_stays_where_it_is_and_what_it_does_comes_after_all_events() {
    let plan = plan();
    let (mut log, mut a, mut b) = (Log::new(&plan), Routed::new(&plan, 0, 0), Routed::new(&plan, 0, 1));
    log.after(&mut a.batch(&[(100, 1, 0), (110, 1, 1)], 1));
    assert_eq!(log.new_batch(&mut b.idle(Time::NONE)), (2, vec![(2, at(99))]));
    assert_eq!(log.new_batch(&mut b.idle(Time::NONE)), (3, Vec::new()), "told again");
    let mut next = a.batch(&[(120, 1, 2)], 1);
    assert_eq!(log.new_batch(&mut next), (4, vec![(3, at(109))]));
    assert!(next.sections.iter().all(|(_, section)| section.sequence == [3]));
    assert_eq!([0, 1].map(|partition| log.progress.sources[0].partitions()[partition].next_offset), [3, 0]);
}

/// When each row of the batch's first section counts.
fn visible(plan: &EnginePlan, batch: &RoutedBatch) -> Vec<i64> {
    let (at, section) = &batch.sections[0];
    section.rows.rows(&plan.sections[*at].layout).iter().map(|row| row.visible_from().micros()).collect()
}

#[test]
fn a_partition_that_comes_back_behind_changes_nothing_final() {
    let plan = plan();
    let (mut log, mut a, mut b) = (Log::new(&plan), Routed::new(&plan, 0, 0), Routed::new(&plan, 0, 1));
    assert_eq!(log.after(&mut a.batch(&[(100, 1, 0)], 1)), Time::NONE, "the other has not reported");
    assert_eq!(log.after(&mut b.batch(&[(50, 1, 0)], 1)), at(39), "the slower one");
    assert_eq!(log.after(&mut b.idle(Time::NONE)), at(89), "an idle one does not hold back");
    assert_eq!(log.after(&mut a.batch(&[(200, 1, 0)], 1)), at(189));
    let mut back = b.batch(&[(10, 1, 0), (63, 1, 2), (180, 2, 0)], 1);
    assert_eq!(log.after(&mut back), at(189), "it does not drag back");
    assert_eq!(visible(&plan, &back), [170, 170, 180], "as of then (T9)");
    for ((_, section), column) in back.sections.iter().zip([("amount", serde_json::json!(9.0)), ("memo", serde_json::json!("of 63"))]) {
        let [late, overtaken] = section.late.as_slice() else { panic!("{:?}", section.late) };
        assert_eq!((late.row, late.watermark, late.payload.as_str()), (0, at(39), OWN_PAYLOAD), "late for its own partition already");
        assert_eq!((overtaken.row, overtaken.watermark), (1, at(189)));
        assert_eq!(overtaken.position, Position { partition: "topic-1".to_owned(), offset: 2 });
        let payload: serde_json::Value = serde_json::from_str(&overtaken.payload).expect("JSON");
        assert_eq!((&payload["at"], &payload[column.0]), (&serde_json::json!(at(63).to_string()), &column.1));
    }

    let mut next = b.batch(&[(165, 1, 3), (300, 1, 4), (250, 1, 5)], 1);
    assert_eq!(log.after(&mut next), at(189), "now the other holds it");
    assert_eq!(visible(&plan, &next), [170, 300, 270]);
    assert_eq!(next.sections[0].1.note(2).map(|note| note.watermark), Some(at(289)));
}

#[test]
fn a_partition_that_is_new_changes_nothing_final() {
    let plan = plan();
    let (mut log, mut a, mut c) = (Log::new(&plan), Routed::new(&plan, 0, 0), Routed::new(&plan, 0, 2));
    log.after(&mut Routed::new(&plan, 0, 1).idle(Time::NONE));
    assert_eq!(log.after(&mut a.batch(&[(200, 1, 0)], 1)), at(189));
    let mut first = c.batch(&[(20, 1, 0)], 1);
    first.head.partitions = 3;
    assert_eq!((log.after(&mut first), visible(&plan, &first)), (at(189), vec![170]));
}

#[test]
fn where_all_are_idle_the_clock_may_go_on() {
    let plan = plan();
    let (mut log, mut a, mut b) = (Log::new(&plan), Routed::new(&plan, 0, 0), Routed::new(&plan, 0, 1));
    log.after(&mut a.batch(&[(100, 1, 0)], 1));
    log.after(&mut b.batch(&[(100, 1, 0)], 1));
    assert_eq!(log.after(&mut a.idle(at(500))), at(89), "one of them is not");
    assert_eq!(log.after(&mut b.idle(Time::NONE)), at(89), "it is to hold");
    assert_eq!(log.after(&mut b.idle(at(600))), at(600));
    assert_eq!(log.after(&mut a.idle(at(550))), at(600), "never back");
    let mut woken = a.batch(&[(300, 1, 1), (590, 1, 2)], 1);
    assert_eq!(log.after(&mut woken), at(600));
    assert_eq!(visible(&plan, &woken), [581, 590], "the clock went by");
}

#[test]
fn a_session_is_not_lost_before_it_has_closed() {
    let plan = plan();
    let (mut log, mut ahead, mut behind) = (Log::new(&plan), Routed::new(&plan, 1, 0), Routed::new(&plan, 1, 1));
    // For the partition ahead [0, 25) is final after 101; for the source, which waits for the other one, it has not closed yet.
    let batches = [ahead.batch(&[(0, 1, 0), (101, 2, 0), (20, 1, 1), (0, 1, 2)], 1), behind.batch(&[(60, 2, 3)], 1)];
    let [before, after] = batches.map(|batch| log.apply(&bytes(&plan, &batch)).closed);
    let sessions = after.iter().filter(|closed| matches!(closed.window, crate::window::Window::Session { .. }));
    let found: Vec<_> = sessions.map(|closed| (closed.start, closed.end, closed.values[0].1.clone())).collect();
    assert_eq!((before.len(), found), (0, vec![(at(0), at(25), Value::Int(1)), (at(0), at(45), Value::Int(2))]));
}
