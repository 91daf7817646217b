//! Backfill: the views that were added to a store get the events that its offline store has kept, while it goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::RecordBatch;
use floodmark_intake::history;
use floodmark_offline::{OfflineError, OfflineStore, Walk};
use floodmark_store::Store;

use crate::HistoryError;

/// Events that are taken in one turn: whoever applies what is new waits no longer than these take.
const EVENTS_A_TURN: usize = 2048;
/// So many events that came meanwhile may be taken while nobody else applies any.
const LAST_EVENTS: u64 = 8192;

/// How far a backfill has come, for whoever shows it, and whether it is to end.
#[derive(Debug, Default)]
pub struct Backfill {
    /// Events taken.
    pub events: AtomicU64,
    /// Events that there are, as of the last look.
    pub total: AtomicU64,
    /// Set by whoever wants it to end before it is done: it begins anew another time.
    pub stop: AtomicBool,
}

/// Computes the views of a store that are to be ([`Store::backfilling`]) from what is kept at its place; false if it was stopped before.
/// `flush` brings everything that is published into the tables; false if nobody does that any more.
pub fn backfill(
    store: &Store,
    place: &str,
    flush: &dyn Fn() -> Result<bool, OfflineError>,
    standing: &Backfill,
) -> Result<bool, HistoryError> {
    standing.events.store(0, Ordering::Relaxed);
    let mut walk = Walk::new(OfflineStore::existing(place, store.definitions())?, store.backfilled_sources());
    loop {
        let until = store.version();
        if !flush()? {
            return Ok(false);
        }
        standing.total.store(walk.events()?, Ordering::Relaxed);
        let before = standing.events.load(Ordering::Relaxed);
        while let Some((source, events)) = walk.next(until)? {
            for some in slices(&events) {
                if standing.stop.load(Ordering::Acquire) {
                    return Ok(false);
                }
                history::backfill(store, &store.turn(), source, &some)?;
                standing.events.fetch_add(some.num_rows() as u64, Ordering::Relaxed);
            }
        }
        if standing.events.load(Ordering::Relaxed) - before <= LAST_EVENTS {
            break;
        }
    }
    last(store, &mut walk, flush, standing)
}

/// What came during the last round, while nothing else is applied: then the views have what all others have.
fn last(store: &Store, walk: &mut Walk, flush: &dyn Fn() -> Result<bool, OfflineError>, standing: &Backfill) -> Result<bool, HistoryError> {
    let turn = store.turn();
    if !flush()? {
        return Ok(false);
    }
    while let Some((source, events)) = walk.next(store.version())? {
        history::backfill(store, &turn, source, &events)?;
        standing.events.fetch_add(events.num_rows() as u64, Ordering::Relaxed);
    }
    store.end_backfill(&turn)?;
    Ok(true)
}

fn slices(events: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = events.num_rows();
    (0..rows).step_by(EVENTS_A_TURN).map(move |from| events.slice(from, EVENTS_A_TURN.min(rows - from)))
}
