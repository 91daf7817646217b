//! Routing: typed batches in, routed events for each log partition out. It keeps no state but the watermark.
//!
//! One router serves one source, and sees its records in one order; so the watermark moves record by record (T6), and a
//! rerun of the same input makes the same decisions.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use floodmark_features::definition;
use floodmark_features::engine::EnginePlan;
use floodmark_features::key::{encode_key, hash_key, partition_of};
use floodmark_features::row::push_text;
use floodmark_features::section::{LateNote, Position, Section, SectionPlan};
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_features::watermark::{SourceProgress, visible_from};
use floodmark_store::{Commit, RejectedRecord};

use crate::batch::SourceBatch;
use crate::keeping::Keeping;
use crate::payload::{bounded, payload_of};
use crate::reject::{Reject, RejectReason};
use crate::to_score::Rows;

/// Turns the records of one source into routed events.
#[derive(Debug)]
pub struct Router {
    plan: Arc<EnginePlan>,
    source: usize,
    partitions: usize,
    progress: SourceProgress,
    /// Sections of the plan that take this source's events.
    sections: Vec<usize>,
    emits: bool,
    /// Whether its events are to be scored.
    scored: bool,
    /// Whether its events wait for an offline store.
    kept: bool,
    /// Where each partition has a router of its own: which it is.
    alone: Option<u64>,
    key: Vec<u8>,
}

/// Without an event id of its own a record is known by its partition and offset: this many bits for the offset.
const OFFSET_BITS: u32 = 44;

impl Router {
    /// A router that goes on where `progress` stands.
    pub fn new(plan: Arc<EnginePlan>, source: usize, partitions: usize, progress: SourceProgress) -> Router {
        let sections: Vec<usize> = (0..plan.sections.len()).filter(|at| plan.sections[*at].source == source).collect();
        let emits = sections.iter().any(|at| plan.sections[*at].emits);
        Router { plan, source, partitions, progress, sections, emits, scored: false, kept: false, alone: None, key: Vec::new() }
    }

    /// The same, and what it commits goes to whoever scores it as well.
    pub fn scored(self, scored: bool) -> Router {
        Router { scored, ..self }
    }

    /// The same, and what it commits waits for the offline store as well.
    pub fn kept(self, kept: bool) -> Router {
        Router { kept, ..self }
    }

    /// The same for one partition of the source alone, by its number. Nothing is counted over all partitions then: events have their
    /// offsets for sequence numbers.
    pub fn alone(self, partition: u64) -> Router {
        Router { alone: Some(partition), ..self }
    }

    /// Columns that must not be null: the keys of every entity that takes events of the source.
    pub fn required(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.sections.iter().flat_map(|at| self.plan.sections[*at].key_columns.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Positions and watermarks as of the last batch routed.
    pub fn progress(&self) -> &SourceProgress {
        &self.progress
    }

    /// The same, to open partitions and to tell which are idle.
    pub fn progress_mut(&mut self) -> &mut SourceProgress {
        &mut self.progress
    }

    /// Routes a batch of one partition. `receipt` is when its records were received. Where they say when they were appended to their
    /// log, that counts (T7), so that a rerun decides the same; but nothing is appended after it was received, and a producer's clock
    /// that says so is not believed.
    pub fn route(&mut self, batch: &SourceBatch, partition: usize, receipt: Time) -> Commit {
        let mut commit = self.empty_commit();
        let moved = self.progress.set_active(partition);
        self.note_trail(moved, &mut commit);
        let name = self.progress.partitions()[partition].name.clone();
        let read = batch.columns.num_rows() + batch.rejects.len();
        commit.read = read as u64;
        commit.rejects = batch.rejects.iter().map(|reject| self.rejected(reject, &name)).collect();
        self.route_rows(batch, partition, receipt, &name, &mut commit);
        self.progress.partition_mut(partition).next_offset = batch.end;
        commit.progress = Some(self.progress.clone());
        commit
    }

    /// Says that a bounded input has come to its end (T12).
    pub fn end(&mut self, partition: usize) -> Commit {
        let mut commit = self.empty_commit();
        let moved = self.progress.end(partition);
        self.finish(moved, &mut commit);
        commit
    }

    /// What a change of idleness does: nothing to commit if the watermark stays.
    pub fn after_idleness(&mut self, moved: bool) -> Option<Commit> {
        let mut commit = self.empty_commit();
        self.finish(moved, &mut commit);
        moved.then_some(commit)
    }

    fn finish(&mut self, moved: bool, commit: &mut Commit) {
        self.note_trail(moved, commit);
        commit.progress = Some(self.progress.clone());
    }

    /// A watermark that moves without an event has a sequence number of its own.
    fn note_trail(&mut self, moved: bool, commit: &mut Commit) {
        if moved && self.emits {
            commit.trail.push((self.progress.next_sequence, self.progress.watermark()));
            self.progress.next_sequence += 1;
        }
    }

    fn empty_commit(&self) -> Commit {
        let sections = || self.plan.sections.iter().map(|_| Section::default()).collect();
        Commit { source: self.source, partitions: (0..self.partitions).map(|_| sections()).collect(), ..Commit::default() }
    }

    fn rejected(&self, reject: &Reject, partition: &str) -> RejectedRecord {
        RejectedRecord {
            source: self.source as u32,
            position: Position { partition: partition.to_owned(), offset: reject.offset },
            code: reject.reason.code().to_owned(),
            message: reject.reason.to_string(),
            payload: reject.payload.clone(),
        }
    }

    /// For events that are spread over the partitions evenly: sections that grow are copied each time.
    fn make_room(&self, events: usize, commit: &mut Commit) {
        let each = events / self.partitions + events / self.partitions / 8;
        for sections in &mut commit.partitions {
            for at in &self.sections {
                sections[*at].reserve(each, self.plan.sections[*at].layout.stride());
            }
        }
    }

    fn route_rows(&mut self, batch: &SourceBatch, partition: usize, receipt: Time, name: &str, commit: &mut Commit) {
        let plan = self.plan.clone();
        let definition = &plan.definitions.sources[self.source];
        let Some(columns) = Columns::of(&batch.columns, definition) else { return };
        self.make_room(batch.columns.num_rows(), commit);
        let mut to_keep = self.kept.then(|| Keeping::new(definition, self.progress.next_sequence, batch.columns.num_rows()));
        let mut to_score = self.scored.then(|| Rows::new(definition, self.progress.next_sequence));
        for row in 0..batch.columns.num_rows() {
            let Some(offset) = batch.offsets.get(row) else { return };
            let time = columns.time(row);
            let appended = batch.appended.get(row).map_or(receipt, |appended| receipt.min(*appended));
            if time > appended + definition.max_future_skew {
                let ahead = time.since(appended);
                let reason = RejectReason::InTheFuture { ahead, max_future_skew: definition.max_future_skew };
                let reject = Reject::new(offset, reason, payload_of(&batch.columns, row));
                commit.rejects.push(self.rejected(&reject, name));
                continue;
            }
            let watermark = self.progress.watermark_of(partition);
            let visible = visible_from(time, watermark, definition.allowed_lateness);
            let sequence = if self.alone.is_some() { offset } else { self.progress.next_sequence };
            self.progress.next_sequence += 1;
            let made_id = self.alone.unwrap_or(partition as u64) << OFFSET_BITS | offset;
            let event = Event { row, time, visible, sequence, made_id };
            if let Some(rows) = &mut to_keep {
                rows.push(row, visible, made_id, offset);
            }
            for at in &self.sections {
                let section_plan = &plan.sections[*at];
                columns.key(section_plan, row, &mut self.key);
                let hash = hash_key(&self.key);
                let section = &mut commit.partitions[partition_of(hash, self.partitions)][*at];
                if visible > time {
                    let position = Position { partition: name.to_owned(), offset };
                    let payload = bounded(payload_of(&batch.columns, row));
                    section.late.push(LateNote { row: section.len() as u32, watermark, position, payload });
                }
                columns.push(&event, section_plan, &self.key, hash, section);
            }
            if self.progress.observe(partition, time) && self.emits {
                commit.trail.push((sequence, self.progress.watermark()));
            }
            if let Some(rows) = &mut to_score {
                let made_id = columns.event_id.is_none().then_some(event.made_id);
                rows.push(columns.all.iter().map(|column| column.value(row)), made_id);
            }
        }
        commit.to_keep = to_keep.and_then(|rows| rows.finish(&batch.columns, name));
        commit.to_score = to_score.and_then(Rows::finish);
    }
}

/// One record on its way.
pub(crate) struct Event {
    pub(crate) row: usize,
    pub(crate) time: Time,
    pub(crate) visible: Time,
    pub(crate) sequence: u64,
    /// Its id, where the source declares none.
    pub(crate) made_id: u64,
}

/// The typed columns of a batch.
pub(crate) struct Columns<'a> {
    all: Vec<ColumnRef<'a>>,
    event_time: &'a TimestampMicrosecondArray,
    event_id: Option<usize>,
}

enum Words<'a> {
    Int(&'a Int64Array),
    Float(&'a Float64Array),
    Bool(&'a BooleanArray),
    Text(&'a StringArray),
    Time(&'a TimestampMicrosecondArray),
}

struct ColumnRef<'a> {
    words: Words<'a>,
    nulls: Option<&'a NullBuffer>,
}

impl<'a> Columns<'a> {
    /// `None` if the batch does not have the columns of the definition; sources see to it that it has.
    pub(crate) fn of(batch: &'a RecordBatch, definition: &definition::Source) -> Option<Columns<'a>> {
        let all: Option<Vec<ColumnRef<'a>>> = batch.columns().iter().map(|column| ColumnRef::of(column.as_ref())).collect();
        let event_time = batch.columns().get(definition.event_time)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        Some(Columns { all: all?, event_time, event_id: definition.event_id })
    }

    pub(crate) fn time(&self, row: usize) -> Time {
        Time::from_micros(self.event_time.value(row))
    }

    pub(crate) fn has_key(&self, plan: &SectionPlan, row: usize) -> bool {
        !plan.key_columns.iter().any(|column| self.all[*column].is_null(row))
    }

    pub(crate) fn key(&self, plan: &SectionPlan, row: usize, out: &mut Vec<u8>) {
        out.clear();
        for column in &plan.key_columns {
            encode_key(&[self.all[*column].value(row)], out);
        }
    }

    pub(crate) fn push(&self, event: &Event, plan: &SectionPlan, key: &[u8], hash: u64, into: &mut Section) {
        into.sequence.push(event.sequence);
        into.keys.extend_from_slice(key);
        into.key_ends.push(into.keys.len() as u32);
        into.hashes.push(hash);
        let heap = &mut into.rows.heap;
        let id = self.event_id.map_or(event.made_id, |column| self.all[column].word(event.row, heap));
        let nulls =
            plan.columns.iter().enumerate().fold(0, |bits, (at, column)| bits | u64::from(self.all[*column].is_null(event.row)) << at);
        into.rows.words.extend_from_slice(&[event.time.micros() as u64, id, event.visible.micros() as u64, 0, nulls]);
        for column in &plan.columns {
            let word = self.all[*column].word(event.row, heap);
            into.rows.words.push(word);
        }
    }
}

impl<'a> ColumnRef<'a> {
    fn of(column: &'a dyn Array) -> Option<ColumnRef<'a>> {
        let words = match column.data_type() {
            DataType::Int64 => Words::Int(column.as_primitive::<Int64Type>()),
            DataType::Float64 => Words::Float(column.as_primitive::<Float64Type>()),
            DataType::Boolean => Words::Bool(column.as_boolean()),
            DataType::Utf8 => Words::Text(column.as_string()),
            DataType::Timestamp(..) => Words::Time(column.as_primitive_opt::<TimestampMicrosecondType>()?),
            _ => return None,
        };
        Some(ColumnRef { words, nulls: column.nulls() })
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// The word of a value as a row keeps it; 0 for null.
    #[inline]
    fn word(&self, row: usize, heap: &mut Vec<u8>) -> u64 {
        if self.is_null(row) {
            return 0;
        }
        match self.words {
            Words::Int(array) => array.value(row) as u64,
            Words::Float(array) => array.value(row).to_bits(),
            Words::Bool(array) => u64::from(array.value(row)),
            Words::Time(array) => array.value(row) as u64,
            Words::Text(array) => push_text(heap, array.value(row).as_bytes()),
        }
    }

    fn value(&self, row: usize) -> ValueRef<'a> {
        if self.is_null(row) {
            return ValueRef::Null;
        }
        match self.words {
            Words::Int(array) => ValueRef::Int(array.value(row)),
            Words::Float(array) => ValueRef::Float(array.value(row)),
            Words::Bool(array) => ValueRef::Bool(array.value(row)),
            Words::Time(array) => ValueRef::Time(Time::from_micros(array.value(row))),
            Words::Text(array) => ValueRef::Str(array.value(row)),
        }
    }
}
