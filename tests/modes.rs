//! The three kinds of training set (T15) on a stream with late events: each is a recount in plain loops, and they differ exactly where a
//! late event says that they must.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Int64Type};
use floodmark_features::definition::Definitions;
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_ingest::replay::{Input, replay};
use floodmark_store::{Settings, Store};
use floodmark_training::{TrainingSpec, TrainingStream};

use crate::disorder::{CARDS, Chance, DAY, DEFINITIONS, Payment, arriving, payments};

/// How often the store is asked which version it has come to.
const PIECES: usize = 3;
const ROWS: usize = 6_000;
/// `rolling.n_1d`, `rolling.n_30d`, `rolling.mean_1d`, `rolling.mean_30d`, `daily.n_tumbling_1d`.
const WIDTH: usize = 5;

/// Which events a kind of training set sees: those of the first pieces, late ones or not.
#[derive(Clone, Copy, Debug)]
struct Kind {
    pieces: usize,
    corrected: bool,
}

/// An event and the piece that brought it.
type Brought = (Payment, usize);

/// The events of a card in a window, by filtering all of them.
fn inside(events: &[Brought], kind: Kind, as_of: i64, feature: usize) -> Vec<&Brought> {
    let seen = |(_, piece): &&Brought| *piece < kind.pieces;
    let in_window = |(p, _): &&Brought| match feature {
        // The last whole day; what came when its value was final is in the side output only.
        4 => {
            let end = (as_of + 1).div_euclid(DAY) * DAY;
            p.at >= end - DAY && p.at < end && p.visible < end
        }
        _ => {
            let days = if feature.is_multiple_of(2) { 1 } else { 30 };
            let counts = p.visible < p.at + 30 * DAY && (kind.corrected || p.visible <= as_of);
            p.at > as_of - days * DAY && p.at <= as_of && counts
        }
    };
    events.iter().filter(seen).filter(in_window).collect()
}

/// A row of a recount: counts, and means to what their sums can be off.
fn recount(events: &[Brought], kind: Kind, as_of: i64) -> [Option<f64>; WIDTH] {
    std::array::from_fn(|feature| {
        let inside = inside(events, kind, as_of, feature);
        let sum: f64 = inside.iter().map(|(p, _)| p.amount).sum();
        match feature {
            2 | 3 => (!inside.is_empty()).then(|| sum / inside.len() as f64),
            _ => Some(inside.len() as f64),
        }
    })
}

fn training_set(store: &Arc<Store>, lookup: &Arc<Lookup>, spine: &RecordBatch, mode: Mode, version: u64) -> Vec<[Option<f64>; WIDTH]> {
    let (lookup, time, version) = (lookup.clone(), "at".to_owned(), Some(version));
    let spec = TrainingSpec { lookup, time, event_id: None, mode, version, threads: 2, statuses: false };
    let set = TrainingStream::new(store.clone(), spec, &spine.schema()).expect("a training set");
    let batches = set.add(std::slice::from_ref(spine)).expect("rows");
    let number = |batch: &RecordBatch, at: usize, row: usize| {
        let column = batch.column(batch.num_columns() - WIDTH + at);
        let value = column.as_primitive_opt::<Int64Type>().map(|column| column.value(row) as f64);
        (!column.is_null(row)).then(|| value.unwrap_or_else(|| column.as_primitive::<Float64Type>().value(row)))
    };
    let row = |batch: &RecordBatch, row: usize| std::array::from_fn(|at| number(batch, at, row));
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at)).collect::<Vec<_>>()).collect()
}

fn same(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
        _ => a == b,
    }
}

#[test]
fn as_served_as_corrected_and_as_of_a_version_differ_where_a_late_event_says_so() {
    let home = tempfile::tempdir().expect("a directory");
    let mut chance = Chance(0x60d5);
    let mut delay = |p: &Payment| match chance.below(100) {
        0 => p.at + 120_000_000 + chance.below(40 * 86_400) as i64 * 1_000_000,
        _ => p.at + chance.below(60) as i64 * 1_000_000,
    };
    let arrived = arriving(payments().iter().map(|p| (delay(p), *p)).collect());
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let store = Store::open(&home.path().join("store"), definitions.clone(), DEFINITIONS, Settings::default()).expect("a store");
    let (store, lookup) = (Arc::new(store), Arc::new(Lookup::of_service(definitions, 0)));
    // The log of one producer, of which more is there each time.
    let file = home.path().join("payments.jsonl");
    let (mut versions, mut lines) = (Vec::new(), String::new());
    let mut events: Vec<Vec<Brought>> = vec![Vec::new(); CARDS as usize];
    for (piece, part) in arrived.chunks(arrived.len().div_ceil(PIECES)).enumerate() {
        for p in part {
            lines += &format!("{{\"id\":{},\"at\":{},\"card\":{},\"amount\":{}}}\n", p.id, p.at, p.card, p.amount);
            events[p.card as usize].push((*p, piece));
        }
        std::fs::write(&file, &lines).expect("a file");
        replay(&store, &[Input { source: "payments".to_owned(), path: file.clone() }], &mut |_| ()).expect("a replay");
        versions.push(store.version());
    }

    let span = |at: usize| arrived[at].at;
    let asked: Vec<(i64, i64)> = (0..ROWS)
        .map(|_| (chance.below(CARDS) as i64, span(chance.below(arrived.len() as u64) as usize) + chance.below(DAY as u64) as i64))
        .collect();
    let cards = Arc::new(asked.iter().map(|(card, _)| *card).collect::<Int64Array>());
    let times = Arc::new(asked.iter().map(|(_, at)| Some(*at)).collect::<TimestampMicrosecondArray>());
    let spine = RecordBatch::try_from_iter([("card", cards as _), ("at", times as Arc<dyn Array>)]).expect("a spine");

    let kinds: Vec<Kind> = (1..=PIECES).flat_map(|pieces| [false, true].map(|corrected| Kind { pieces, corrected })).collect();
    let made = kinds.iter().map(|kind| {
        let mode = if kind.corrected { Mode::AsCorrected } else { Mode::AsServed };
        training_set(&store, &lookup, &spine, mode, versions[kind.pieces - 1])
    });
    let made: Vec<_> = made.collect();
    for (kind, rows) in kinds.iter().zip(&made) {
        for ((card, at), row) in asked.iter().zip(rows) {
            let wanted = recount(&events[*card as usize], *kind, *at);
            assert!(row.iter().zip(wanted).all(|(a, b)| same(*a, b)), "card {card} as of {at}, {kind:?}: {row:?} and not {wanted:?}");
        }
    }

    let of = |pieces, corrected| kinds.iter().position(|kind| (kind.pieces, kind.corrected) == (pieces, corrected)).expect("a kind");
    let (mut by_mode, mut by_version) = (0, 0);
    for (row, (card, at)) in asked.iter().enumerate() {
        for (kind, feature) in kinds.iter().flat_map(|kind| [0, 1, 4].map(|feature| (*kind, feature))) {
            let value = |kind: Kind| made[of(kind.pieces, kind.corrected)][row][feature];
            if !kind.corrected {
                let corrected = Kind { corrected: true, ..kind };
                let late = inside(&events[*card as usize], corrected, *at, feature).iter().any(|(p, _)| p.behind && p.visible > *at);
                assert_eq!(value(kind) != value(corrected), late, "card {card} as of {at}, {kind:?}");
                by_mode += usize::from(late);
            }
            if kind.pieces < PIECES {
                let later = Kind { pieces: kind.pieces + 1, ..kind };
                let newer = inside(&events[*card as usize], later, *at, feature).iter().any(|(_, piece)| *piece == kind.pieces);
                assert_eq!(value(kind) != value(later), newer, "card {card} as of {at}, {kind:?}");
                by_version += usize::from(newer && !kind.corrected);
            }
        }
    }
    eprintln!("counts that differ by a late event: {by_mode}; by an event of a later version, as served: {by_version}");
    assert!(by_mode > 1_000 && by_version > 1_000);
}
