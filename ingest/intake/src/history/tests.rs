//! Events that are taken in again from what was kept of them are judged as they were then, also where that hangs on what was forgotten.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::StreamReader;
use floodmark_features::definition::Definitions;
use floodmark_features::engine::Outcome;
use floodmark_features::time::Time;
use floodmark_store::Settings;

use super::*;
use crate::batch::SourceBatch;
use crate::columns::arrow_schema;
use crate::offsets::Offsets;
use crate::router::Router;

/// Whether a late event still counts depends on which sessions were final when it came.
const DEFINITIONS: &str = "
sources:
  clicks:
    schema: { id: int64, at: timestamp, user: int64 }
    event_time: at
    event_id: id
    max_out_of_orderness: 1s
    allowed_lateness: 20s
entities:
  user: { keys: [user] }
views:
  visits:
    entity: user
    source: clicks
    emit_closed_windows: true
    features: { n: { count: '*', windows: [{ session: 10s }] } }
  silent:
    entity: user
    source: clicks
    features: { n: { count: '*', windows: [{ session: 10s }, 15s] } }
services:
  all: { features: [visits.*, silent.*] }
";

/// Clicks of few users, a second or so apart, many of them late.
fn clicks(seed: u64, from: i64, many: i64) -> SourceBatch {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound) as i64
    };
    let ids = from..from + many;
    let late = |below: &mut dyn FnMut(u64) -> i64| if below(4) == 0 { below(60) * 1_000_000 } else { 0 };
    let times: Vec<i64> = ids.clone().map(|id| 1_700_000_000_000_000 + id * 1_000_000 - late(&mut below)).collect();
    let users: Vec<i64> = ids.clone().map(|_| below(6)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(TimestampMicrosecondArray::from(times)),
        Arc::new(Int64Array::from(users)),
    ];
    let definitions = Definitions::parse("test.yaml", DEFINITIONS).expect("definitions");
    let columns = RecordBatch::try_new(arrow_schema(&definitions.sources[0].schema), columns).expect("a batch");
    let (start, end) = (from as u64, (from + many) as u64);
    SourceBatch { columns, offsets: Offsets::Range(start..end), appended: Vec::new(), rejects: Vec::new(), end }
}

/// What was kept of a commit, as the offline store gives it back.
fn kept(commit: &Commit, version: u64, refused: &[u64]) -> RecordBatch {
    let events = commit.to_keep.as_ref().expect("events to keep");
    let batch = StreamReader::try_new(events.bytes.as_slice(), None).expect("a stream").next().expect("a batch").expect("rows");
    let accepted: BooleanArray = events.sequences.clone().map(|sequence| Some(!refused.contains(&sequence))).collect();
    let sequences = Int64Array::from_iter_values(events.sequences.clone().map(|sequence| sequence as i64));
    let more: [(&str, ArrayRef); 2] =
        [(column::VERSION, Arc::new(Int64Array::from_value(version as i64, batch.num_rows()))), (column::SEQUENCE, Arc::new(sequences))];
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
    fields.extend(more.iter().map(|(name, _)| Arc::new(Field::new(*name, DataType::Int64, true))));
    let columns = batch.columns().iter().cloned().chain(more.into_iter().map(|(_, column)| column)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch");
    filter_record_batch(&batch, &accepted).expect("rows")
}

#[test]
fn views_make_of_history_what_they_made_of_the_stream() {
    let definitions = Arc::new(Definitions::parse("test.yaml", DEFINITIONS).expect("definitions"));
    let mut late = 0;
    for seed in 0..40 {
        let store = Store::in_memory(definitions.clone(), Settings { partitions: 3, ..Settings::default() }).expect("a store");
        let mut router = Router::new(store.plan().clone(), 0, store.partitions(), store.progress(0)).kept(true);
        // The second is behind the first, and comes seldom.
        let partitions = ["ahead", "behind"].map(|name| router.progress_mut().open(name));
        let mut past = Vec::new();
        for round in 0..8 {
            let behind = round % 3 == 2;
            let from = if behind { round * 50 + 880 } else { round * 50 + 1_000 };
            let batch = clicks(seed, from, 50);
            let commit = router.route(&batch, partitions[usize::from(behind)], Time::from_micros(1_800_000_000_000_000));
            let version = 100 + round as u64;
            let outputs = store.apply_on_all_cores(version, &commit).expect("applied");
            let mut refused: Vec<u64> = Vec::new();
            for (sequence, outcome) in outputs.iter().flat_map(|outputs| &outputs.exceptions) {
                if *outcome == Outcome::Late
                    && outputs.iter().flat_map(|o| &o.late).filter(|l| l.sequence == *sequence && l.outcome == Outcome::Late).count() == 2
                {
                    refused.push(*sequence);
                }
            }
            past.push(kept(&commit, version, &refused));
            store.publish(version, &commit, outputs);
        }
        let past = concat_batches(&past[0].schema(), &past).expect("one batch");
        let again = Store::in_memory(definitions.clone(), Settings { partitions: 2, ..Settings::default() }).expect("a store");
        take_history(&again, &[(0, past)], &|_| ()).expect("taken");
        assert_eq!(again.version(), store.version());
        for (view, (then, now)) in store.view_counts().iter().zip(again.view_counts()).enumerate() {
            late += then.late;
            assert_eq!((then.accepted, then.partially_late), (now.accepted, now.partially_late), "seed {seed} view {view}");
        }
    }
    assert!(late > 200, "the clicks exercise it: {late} late");
}
