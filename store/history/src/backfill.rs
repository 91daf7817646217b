//! Backfill: the views that were added to a store get the events that its offline store has kept, while it goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::RecordBatch;
use floodmark_intake::history;
use floodmark_offline::{OfflineError, OfflineStore, Walk};
use floodmark_store::{Store, Turn};

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
    /// How often it has failed.
    pub failures: AtomicU64,
    /// Set by whoever wants it to end before it is done: it begins anew another time.
    pub stop: AtomicBool,
}

/// The views of a store that are to be computed ([`Store::backfilling`]), from what is kept at its place.
pub struct Backfiller<'a> {
    store: &'a Store,
    place: &'a str,
    /// Brings everything that is published into the tables; false if nobody does that any more.
    flush: &'a dyn Fn() -> Result<bool, OfflineError>,
    standing: &'a Backfill,
    /// How far it is; none before the tables could be opened.
    walk: Option<Walk>,
}

impl<'a> Backfiller<'a> {
    /// From the first event.
    pub fn new(
        store: &'a Store,
        place: &'a str,
        flush: &'a dyn Fn() -> Result<bool, OfflineError>,
        standing: &'a Backfill,
    ) -> Backfiller<'a> {
        Backfiller { store, place, flush, standing, walk: None }
    }

    /// Goes on to the end; false if it was stopped before. After a failure that [may pass](HistoryError::may_pass) it may be tried again, and
    /// goes on from there. After others it has to begin with a store that was opened anew.
    pub fn run(&mut self) -> Result<bool, HistoryError> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => Walk::new(OfflineStore::existing(self.place, self.store.definitions())?, self.store.backfilled_sources()),
        };
        let ended = self.go(&mut walk);
        self.walk = Some(walk);
        ended
    }

    fn go(&self, walk: &mut Walk) -> Result<bool, HistoryError> {
        let mut before = u64::MAX;
        loop {
            let until = self.store.version();
            // In a turn: a batch is counted a moment before it is published.
            let accepted = self.accepted(&self.store.turn());
            if !self.flush(walk, &accepted)? {
                return Ok(false);
            }
            let mut taken = 0;
            while let Some((source, events)) = walk.next(until)? {
                for some in slices(&events) {
                    if self.standing.stop.load(Ordering::Acquire) {
                        return Ok(false);
                    }
                    history::backfill(self.store, &self.store.turn(), source, &some)?;
                    self.standing.events.fetch_add(some.num_rows() as u64, Ordering::Relaxed);
                    taken += some.num_rows() as u64;
                }
            }
            // Where as many come as are taken, it would be so for ever.
            if taken <= LAST_EVENTS || taken > before / 2 {
                return self.last(walk);
            }
            before = taken;
        }
    }

    /// How many events of each source the store has accepted.
    fn accepted(&self, _turn: &Turn<'_>) -> Vec<u64> {
        (0..self.store.definitions().sources.len()).map(|source| self.store.tally(source).accepted).collect()
    }

    /// Brings what is published into the tables, and sees to it that they have all.
    fn flush(&self, walk: &Walk, accepted: &[u64]) -> Result<bool, HistoryError> {
        let sources = &self.store.definitions().sources;
        if !(self.flush)()? {
            return Ok(false);
        }
        let all = walk.events()?;
        self.standing.total.store(all.iter().map(|(_, kept)| *kept).fold(0, u64::saturating_add), Ordering::Relaxed);
        match all.into_iter().find(|(source, kept)| *kept < accepted[*source]) {
            Some((source, kept)) => {
                Err(HistoryError::Incomplete { kept, accepted: accepted[source], source_name: sources[source].name.clone() })
            }
            None => Ok(true),
        }
    }

    /// What came during the last round, while nothing else is applied: then the views have what all others have.
    fn last(&self, walk: &mut Walk) -> Result<bool, HistoryError> {
        let turn = self.store.turn();
        if !self.flush(walk, &self.accepted(&turn))? {
            return Ok(false);
        }
        while let Some((source, events)) = walk.next(self.store.version())? {
            history::backfill(self.store, &turn, source, &events)?;
            self.standing.events.fetch_add(events.num_rows() as u64, Ordering::Relaxed);
        }
        self.store.end_backfill(&turn)?;
        Ok(true)
    }
}

fn slices(events: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = events.num_rows();
    (0..rows).step_by(EVENTS_A_TURN).map(move |from| events.slice(from, EVENTS_A_TURN.min(rows - from)))
}
