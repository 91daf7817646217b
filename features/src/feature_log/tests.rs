//! Stories about the feature log: what a batch says survives its bytes, what comes twice or is missing is seen, and whoever goes on in the
//! middle comes to the same end.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::codec::{restore, snapshot};
use crate::definition::Definitions;
use crate::engine::{EntityState, OpenWindows, Outputs, Shard};
use crate::key::{EventId, encode_key, hash_key};
use crate::section::{LateNote, Position};
use crate::timeline::Timeline;
use crate::value::{Value, ValueRef};
use crate::watermark::{BoundedOutOfOrderness, visible_from};

const LATENESS: i64 = 20;

fn plan(emits: bool) -> Arc<EnginePlan> {
    let yaml = format!(
        "sources:
  tx:
    schema: {{ id: int64, at: timestamp, card: string, amount: float64 }}
    event_time: at
    event_id: id
    max_out_of_orderness: 10us
    allowed_lateness: {LATENESS}us
entities:
  card: {{ keys: [card] }}
views:
  spend:
    entity: card
    source: tx
    emit_closed_windows: {emits}
    features:
      n: {{ count: \"*\", windows: [{{ session: 15us }}, {{ tumbling: 40us }}, {{ sliding: 60us, every: 20us }}] }}
      sum: {{ sum: amount, windows: [{{ tumbling: 40us }}] }}
"
    );
    let definitions = Definitions::parse("f.yaml", &yaml).unwrap_or_else(|errors| panic!("{errors}"));
    Arc::new(EnginePlan::new(Arc::new(definitions)))
}

fn at(micros: i64) -> Time {
    Time::from_micros(micros)
}

/// A source partition as route sees it.
struct Routed {
    partition: usize,
    next: u64,
    marks: BoundedOutOfOrderness,
}

impl Routed {
    fn new(partition: usize) -> Routed {
        Routed { partition, next: 0, marks: BoundedOutOfOrderness::new(crate::time::Span::from_micros(10)) }
    }

    /// Events as `(time, card)`; their ids are their offsets.
    fn batch(&mut self, events: &[(i64, u8)], stamp: u64) -> RoutedBatch {
        let (before, from) = (self.marks.watermark(), self.next);
        let (mut section, mut trail) = (Section::default(), Vec::new());
        for (time, card) in events {
            let watermark = self.marks.watermark();
            let visible = visible_from(at(*time), watermark, crate::time::Span::from_micros(LATENESS));
            encode_key(&[ValueRef::Str(&format!("card {card}"))], &mut section.keys);
            section.key_ends.push(section.keys.len() as u32);
            let row = section.len() as u32;
            section.sequence.push(self.next);
            let id = EventId::Int((self.partition as i64) << 32 | self.next as i64);
            section.rows.push(at(*time), &id, visible, 0, &[Value::Float(*time as f64 / 7.0)]);
            if visible > at(*time) {
                let position = Position { partition: format!("t-{}", self.partition), offset: self.next };
                section.late.push(LateNote { row, watermark, position, payload: "{}".to_owned() });
            }
            self.marks.observe(at(*time));
            if self.marks.watermark() > watermark {
                trail.push((self.next, self.marks.watermark()));
            }
            self.next += 1;
        }
        section.rehash();
        let head = BatchHead {
            definitions: 7,
            source: 0,
            topic: "t".to_owned(),
            partition: self.partition,
            partitions: 2,
            offsets: from..self.next,
            stamp,
            before,
            watermark: self.marks.watermark(),
            activity: Activity::Active,
        };
        let sections = if section.is_empty() { Vec::new() } else { vec![(0, section)] };
        RoutedBatch { head, trail, sections }
    }

    fn idle(&mut self, clock: Time) -> RoutedBatch {
        let mut batch = self.batch(&[], 1);
        batch.head.activity = Activity::Idle { clock };
        batch
    }
}

fn bytes(plan: &EnginePlan, batch: &RoutedBatch) -> Vec<u8> {
    let mut sections = vec![Section::default(); plan.sections.len()];
    batch.sections.iter().for_each(|(at, section)| sections[*at] = section.clone());
    let mut out = Vec::new();
    encode_batch(plan, &batch.head, &batch.trail, &sections, &mut out);
    out
}

fn events() -> impl Strategy<Value = Vec<(i64, u8)>> {
    prop::collection::vec((0..300_i64, 0..4_u8), 0..12)
}

proptest! {
    #[test]
    fn a_batch_comes_back_from_its_bytes(events in events(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
        let plan = plan(true);
        let batch = Routed::new(1).batch(&events, 5);
        let written = bytes(&plan, &batch);
        let read = decode_batch(&plan, &written).expect("a batch");
        prop_assert_eq!((&read.head, &read.sections), (&batch.head, &batch.sections));
        // Each row is behind the same watermark as before, and the end is the same.
        let before = |trail: &[(u64, Time)], row: u64| trail.iter().rfind(|(offset, _)| *offset < row).map(|(_, at)| *at);
        for row in batch.head.offsets.clone() {
            prop_assert_eq!(before(&read.trail, row), before(&batch.trail, row));
        }
        prop_assert_eq!(read.trail.last(), batch.trail.last());
        // Damage is an error or another batch, and never more.
        let _ = decode_batch(&plan, &written[..cut.index(written.len())]);
        let mut damaged = written.clone();
        damaged[flip.index(written.len())] ^= 0x41;
        let _ = decode_batch(&plan, &damaged);
    }

    #[test]
    fn whoever_goes_on_in_the_middle_comes_to_the_same_end(
        turns in prop::collection::vec((0..2_usize, events()), 1..14), restart in any::<prop::sample::Index>()) {
        let plan = plan(true);
        let (mut partitions, mut log) = ([Routed::new(0), Routed::new(1)], Vec::new());
        for (stamp, (partition, events)) in turns.iter().enumerate() {
            // Time goes on, so that windows close.
            let events: Vec<(i64, u8)> = events.iter().map(|(time, card)| (time + stamp as i64 * 60, *card)).collect();
            log.push(partitions[*partition].batch(&events, stamp as u64));
        }
        let restart = restart.index(log.len());
        let (mut straight, mut broken) = (Applied::new(&plan), Applied::new(&plan));
        for (offset, batch) in log.iter().enumerate() {
            if offset == restart {
                broken = broken.resumed(&plan);
            }
            let (expected, found) = (straight.apply(&plan, offset, batch), broken.apply(&plan, offset, batch));
            prop_assert_eq!(&expected.late, &found.late, "at {}", offset);
            prop_assert_eq!(&expected.closed, &found.closed, "at {}", offset);
        }
        prop_assert_eq!(&straight.shard.counts, &broken.shard.counts);
        prop_assert_eq!(&straight.progress, &broken.progress);
        prop_assert_eq!(straight.open(), broken.open(), "what is final is forgotten");
    }
}

/// A log partition that is being applied.
struct Applied {
    shard: Shard,
    progress: LogProgress,
}

impl Applied {
    fn new(plan: &Arc<EnginePlan>) -> Applied {
        Applied { shard: Shard::new(plan.clone()), progress: LogProgress::new(&plan.definitions) }
    }

    fn apply(&mut self, plan: &EnginePlan, offset: usize, batch: &RoutedBatch) -> Outputs {
        let (mut batch, mut outputs) = (batch.clone(), Outputs::default());
        let taken = self.progress.take(plan, offset as u64, &mut batch).expect("in its place");
        let Taken::New { version, trail } = taken else { panic!("it is new") };
        for (at, section) in &batch.sections {
            self.shard.apply(*at, section, 0..section.len(), version, &trail, 1, &mut outputs);
        }
        self.shard.follow(0, &trail, None, &mut outputs);
        outputs
    }

    fn open(&self) -> Vec<(Arc<[u8]>, OpenWindows)> {
        let some = self.shard.entities(0).filter(|state| !state.open.windows.is_empty());
        let mut open: Vec<_> = some.map(|state| (state.key.clone(), state.open.clone())).collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        open
    }

    /// What another process makes of what is stored.
    fn resumed(&self, plan: &Arc<EnginePlan>) -> Applied {
        let mut shard = Shard::resumed(plan.clone(), &self.shard.followed(), self.shard.counts.clone());
        for state in self.shard.entities(0) {
            let mut copy = EntityState::new(&state.key, 1);
            let layout = &plan.sections[0].views[0].layout;
            copy.timelines[0] = Timeline::default();
            for chunk in state.timelines[0].chunks() {
                for row in chunk.rows(layout).iter() {
                    copy.timelines[0].insert(&row);
                }
            }
            copy.open = restore(&snapshot(&state.open)).expect("windows");
            shard.admit_open(0, copy);
        }
        Applied { shard, progress: restore(&snapshot(&self.progress)).expect("progress") }
    }
}

#[test]
fn without_closed_windows_only_the_last_watermark_is_told() {
    let plan = plan(false);
    let batch = Routed::new(0).batch(&[(100, 1), (200, 2), (300, 1)], 1);
    let read = decode_batch(&plan, &bytes(&plan, &batch)).expect("a batch");
    assert_eq!((read.trail.as_slice(), batch.trail.len()), (&batch.trail[2..], 3));
}

#[test]
fn what_is_no_batch_is_told() {
    let plan = plan(true);
    let batch = Routed::new(0).batch(&[(100, 1)], 1);
    let written = bytes(&plan, &batch);
    assert_eq!(definitions_of(&written), Ok(7));
    for at in 0..written.len() {
        assert!(decode_batch(&plan, &written[..at]).is_err(), "cut at {at}");
    }
    let newer = [&[9], &written[1..]].concat();
    assert!(decode_batch(&plan, &newer).expect_err("another format").what.contains("format"));
}

#[test]
fn a_batch_that_comes_again_changes_nothing() {
    let (plan, mut partition) = (plan(true), Routed::new(0));
    let (first, second) = (partition.batch(&[(100, 1), (120, 2)], 5), partition.batch(&[(130, 1)], 6));
    let mut progress = LogProgress::new(&plan.definitions);
    for (offset, batch) in [&first, &second].into_iter().enumerate() {
        progress.take(&plan, offset as u64, &mut batch.clone()).expect("in its place");
    }
    let before = progress.clone();
    for (offset, batch) in [&first, &second].into_iter().enumerate() {
        assert_eq!(progress.take(&plan, 2 + offset as u64, &mut batch.clone()), Ok(Taken::Again));
    }
    assert_eq!(progress, LogProgress { next_offset: 4, ..before });
}

#[test]
fn a_hole_is_seen_and_a_log_may_begin_anywhere() {
    let (plan, mut partition) = (plan(true), Routed::new(1));
    partition.next = 50;
    let mut progress = LogProgress::new(&plan.definitions);
    progress.take(&plan, 0, &mut partition.batch(&[(100, 1)], 1)).expect("the first may begin anywhere");
    partition.next = 53;
    let error = progress.take(&plan, 1, &mut partition.batch(&[(110, 1)], 1)).expect_err("51 and 52 are missing");
    assert_eq!((error.partition, error.expected, error.found), (1, 51, 53));
}

#[test]
fn versions_rise_whatever_the_clocks_say() {
    let (plan, mut partition) = (plan(true), Routed::new(0));
    let mut progress = LogProgress::new(&plan.definitions);
    let mut versions = Vec::new();
    for (offset, stamp) in [1_000, 1_000, 900, 5_000].into_iter().enumerate() {
        let taken = progress.take(&plan, offset as u64, &mut partition.batch(&[(100, 1)], stamp)).expect("in its place");
        let Taken::New { version, .. } = taken else { panic!("it is new") };
        versions.push(version);
    }
    assert_eq!(versions, [1_000, 1_001, 1_002, 5_000]);
}

#[test]
fn a_partition_that_comes_back_behind_changes_nothing_final() {
    let (plan, mut a, mut b) = (plan(true), Routed::new(0), Routed::new(1));
    let mut progress = LogProgress::new(&plan.definitions);
    let mut take = |offset, mut batch: RoutedBatch| {
        progress.take(&plan, offset, &mut batch).expect("in its place");
        (progress.watermarks()[0], batch)
    };
    assert_eq!(take(0, a.batch(&[(100, 1)], 1)).0, Time::NONE, "the other has not reported");
    assert_eq!(take(1, b.batch(&[(50, 1)], 1)).0, at(39), "the slower one");
    assert_eq!(take(2, b.idle(Time::NONE)).0, at(89), "an idle one does not hold back");
    assert_eq!(take(3, a.batch(&[(200, 1)], 1)).0, at(189));
    let (watermark, batch) = take(4, b.batch(&[(60, 1), (250, 1)], 1));
    assert_eq!(watermark, at(189), "it does not drag back");
    let section = &batch.sections[0].1;
    let rows = section.rows.rows(&plan.sections[0].layout);
    assert_eq!((rows.row(0).visible_from(), rows.row(1).visible_from()), (at(170), at(250)), "as of then (T9)");
    let [note] = section.late.as_slice() else { panic!("{:?}", section.late) };
    assert_eq!((note.row, note.watermark), (0, at(189)));
    assert_eq!(note.position, Position { partition: "t-1".to_owned(), offset: 1 });
    assert!(note.payload.contains("\"amount\""), "{}", note.payload);
}

#[test]
fn where_all_are_idle_the_clock_may_go_on() {
    let (plan, mut a, mut b) = (plan(true), Routed::new(0), Routed::new(1));
    let mut progress = LogProgress::new(&plan.definitions);
    let mut take = |offset, mut batch: RoutedBatch| {
        progress.take(&plan, offset, &mut batch).expect("in its place");
        progress.watermarks()[0]
    };
    take(0, a.batch(&[(100, 1)], 1));
    take(1, b.batch(&[(100, 1)], 1));
    assert_eq!(take(2, a.idle(at(500))), at(89), "one of them is not");
    assert_eq!(take(3, b.idle(Time::NONE)), at(89), "it is to hold");
    assert_eq!(take(4, b.idle(at(600))), at(600));
}

#[test]
fn keys_find_their_rows_after_the_bytes() {
    let plan = plan(true);
    let batch = Routed::new(0).batch(&[(100, 1)], 1);
    let read = decode_batch(&plan, &bytes(&plan, &batch)).expect("a batch");
    let section = &read.sections[0].1;
    assert_eq!(section.hashes, [hash_key(section.key(0))]);
}
