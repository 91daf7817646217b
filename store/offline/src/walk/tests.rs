//! A walk gives each event once and in order, whatever the tables look like: against a list of what was put in.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use floodmark_features::definition::{Definitions, Source};

use super::*;
use crate::lake::Lake;

const DEFINITIONS: &str = "
sources:
  payments:
    schema: { id: int64, at: timestamp, card: int64, other: int64 }
    event_time: at
    event_id: id
entities:
  card: { keys: [card] }
views:
  spend:
    entity: card
    source: payments
    features:
      n: { count: '*', windows: [1d] }
services:
  all: { features: [spend.*] }
";

/// An event: sequence number, version, whether it came too late for every view.
type Event = (i64, i64, bool);

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn rows(source: &Source, events: &[Event]) -> RecordBatch {
    let schema = events::schema_of(source);
    let column = |name: &str| -> ArrayRef {
        match name {
            "at" | column::VISIBLE_FROM => {
                Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.0)).with_timezone("UTC"))
            }
            column::PARTITION => Arc::new(arrow::array::StringArray::from_iter_values(events.iter().map(|_| "one"))),
            column::VERSION => Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.1))),
            _ => Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.0))),
        }
    };
    let columns: Vec<ArrayRef> = schema.fields().iter().map(|field| column(field.name())).collect();
    let columns = columns.into_iter().zip(schema.fields()).map(|(column, field)| arrow::compute::cast(&column, field.data_type()));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>().expect("columns")).expect("rows")
}

/// Some thousand events in commits of some, with gaps of all sizes.
fn history(dice: &mut Dice) -> Vec<Event> {
    let (mut events, mut sequence) = (Vec::new(), 0);
    for version in 1..200 {
        for _ in 0..dice.below(12) {
            events.push((sequence, version, dice.below(5) == 0));
            sequence += 1 + if dice.below(20) == 0 { dice.below(500) as i64 } else { dice.below(2) as i64 };
        }
    }
    events
}

#[test]
fn each_event_comes_once_and_in_order_whatever_the_files_are() {
    for seed in 1..=6 {
        let dice = &mut Dice(seed * 0x9e37_79b9);
        let home = tempfile::tempdir().expect("a directory");
        let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
        let lake = Arc::new(Lake::open(home.path().to_str().expect("text")).expect("a lake"));
        let writer = OfflineStore::with(lake, &definitions, true, Table::open).expect("tables");
        let place = home.path().to_str().expect("text");
        let reader = OfflineStore::existing(place, &definitions).expect("tables");
        let mut walk = Walk { stretch: 1 + dice.below(60) as i64, ..Walk::new(reader, vec![(0, vec![2])]) };
        let source = &definitions.sources[0];
        let events = history(dice);
        let (mut given, mut flushed) = (Vec::new(), 0);
        while flushed < events.len() {
            // A flush: the late ones first, and then, if it comes that far before somebody looks, the others; whole commits.
            let until = (flushed + 1 + dice.below(400) as usize).min(events.len());
            let until = events.partition_point(|event| event.1 <= events[until - 1].1);
            let version = events[until - 1].1;
            let of = |late: bool| events[flushed..until].iter().copied().filter(|event| event.2 == late).collect::<Vec<Event>>();
            let append = |table: &Table, events: Vec<Event>| {
                if !events.is_empty() {
                    table.append("it", version as u64, &[rows(source, &events)]).expect("appended");
                }
            };
            append(writer.late[0].as_ref().expect("a table"), of(true));
            // All that was published before this flush is there; of this one a half.
            let known = flushed.checked_sub(1).map_or(0, |last| events[last].1 as u64);
            take(&mut walk, known, &mut given);
            append(&writer.events[0], of(false));
            flushed = until;
            if dice.below(3) == 0 {
                writer.compact().expect("compacted");
            }
            if dice.below(2) == 0 {
                let known = dice.below(version as u64 + 1);
                take(&mut walk, known, &mut given);
            }
        }
        take(&mut walk, u64::MAX, &mut given);
        let wanted: Vec<(i64, i64)> = events.iter().map(|event| (event.0, event.1)).collect();
        assert_eq!(given, wanted, "seed {seed}");
    }
}

fn take(walk: &mut Walk, until: u64, given: &mut Vec<(i64, i64)>) {
    while let Some((source, events)) = walk.next(until).expect("events") {
        assert_eq!(source, 0);
        assert_eq!(events.column_by_name("other").expect("a column").null_count(), events.num_rows(), "nobody has asked for it");
        let (sequences, versions) = (numbers(&events, column::SEQUENCE), numbers(&events, column::VERSION));
        assert!(versions.iter().all(|version| *version as u64 <= until));
        given.extend(sequences.iter().copied().zip(versions.iter().copied()));
    }
}
