//! Stream scoring: the accepted events of a source go to whoever scores them, each once.
//!
//! The score of an event is that of `f(entity, its event time, its version)` with the event as the row's own (T5): of all events up to
//! and including its own commit, those that count at its event time, of those at the same instant the ones with no greater id, and
//! itself, once. So it follows from the log, and any later call at that as-of time and version has the same one.
//!
//! The router writes the rows of a commit down as a request, which the commit makes durable; once the commit is applied, and it is
//! known who was accepted, the rows go to the scorer. What was not scored before a crash waits in the store, and comes first.

use std::sync::Arc;
use std::time::Duration;

use floodmark_features::codec::Damaged;
use floodmark_proto::v1;
use floodmark_store::{Store, StoreError, Unscored};
use prost::Message;
use tokio::sync::watch;

/// How often a scorer that has no model yet is asked again.
const NOT_READY_RETRY: Duration = Duration::from_millis(100);
/// Scores that wait for the next commit may take so many bytes; then they have an fsync of their own.
const READY_BYTES: usize = 32 << 20;

/// The accepted events of one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Events {
    /// Position in the definitions' sources.
    pub source: usize,
    /// The version under which they were committed, and as of which they are scored.
    pub version: u64,
    /// For each row of the request, the sequence number of its event.
    pub sequences: Vec<u64>,
    /// The events, each its row's own. No model and no version of the store is named yet.
    pub request: v1::ScoreRequest,
}

/// Scores events: a record for each row, in their order; `None` if it cannot score yet and is to be asked again.
pub type Scorer = Arc<dyn Fn(&Events) -> Result<Option<Vec<Vec<u8>>>, StoreError> + Send + Sync>;

/// Who scores, and what.
#[derive(Clone)]
pub struct Scoring {
    /// Positions in the definitions' sources.
    pub sources: Vec<usize>,
    /// Who does it.
    pub scorer: Scorer,
}

/// Scoring as the apply stage does it, for each commit behind its publication.
///
/// A commit's events are scored before the next commit is applied: where scoring is slower than the source, the queues in front fill
/// up, and the source waits.
pub(crate) struct Scored {
    scoring: Option<Scoring>,
    stopping: watch::Receiver<bool>,
}

impl Scored {
    /// `stopping` turns true when nobody is to be waited for any more.
    pub(crate) fn new(scoring: Option<Scoring>, stopping: watch::Receiver<bool>) -> Scored {
        Scored { scoring, stopping }
    }

    /// Scores what waits from before, in the order of the versions.
    pub(crate) fn work_off(&self, store: &Store) -> Result<(), StoreError> {
        let Some(scoring) = &self.scoring else { return Ok(()) };
        for waiting in store.waiting_for_scores() {
            if scoring.sources.contains(&waiting.source) && !self.score(store, waiting.version)? {
                break;
            }
        }
        Ok(())
    }

    /// Scores a commit, if its events are to be scored. False if there is nobody to do it and no more time to wait: then it waits in
    /// the store.
    pub(crate) fn score(&self, store: &Store, version: u64) -> Result<bool, StoreError> {
        let Some(scoring) = &self.scoring else { return Ok(true) };
        let Some(unscored) = store.unscored(version)? else { return Ok(true) };
        let events = events_of(unscored)?;
        let records = loop {
            match (scoring.scorer)(&events)? {
                Some(records) => break records,
                None if *self.stopping.borrow() => return Ok(false),
                None => std::thread::sleep(NOT_READY_RETRY),
            }
        };
        if records.len() != events.sequences.len() {
            return Err(Damaged { what: "a scorer gave not one record for each event" }.into());
        }
        store.keep_scores(version, events.sequences.into_iter().zip(records).collect());
        if store.ready_score_bytes() >= READY_BYTES {
            store.write_scores()?;
        }
        Ok(true)
    }
}

/// The rows of a commit that were accepted.
fn events_of(unscored: Unscored) -> Result<Events, StoreError> {
    let unreadable = |_| Damaged { what: "events to score are no request" };
    let mut request = v1::ScoreRequest::decode(unscored.to_score.bytes.as_slice()).map_err(unreadable)?;
    if request.rows.len() as u64 != unscored.to_score.sequences.end - unscored.to_score.sequences.start {
        return Err(Damaged { what: "events to score are not as many as they should be" }.into());
    }
    let accepted: Vec<(usize, u64)> = unscored.accepted().collect();
    request.rows = accepted.iter().map(|(row, _)| std::mem::take(&mut request.rows[*row])).collect();
    let sequences = accepted.into_iter().map(|(_, sequence)| sequence).collect();
    Ok(Events { source: unscored.source, version: unscored.version, sequences, request })
}

#[cfg(test)]
mod tests;
