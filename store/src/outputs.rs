//! Side outputs in order of place, for whoever passes them on: all of one place, or none of it.
//!
//! A place is where an output stands in its source: the sequence number of the event that it came of, or the version of its commit.
//! The keys of all four tables begin with source and place, and places are published in rising order, so a follower that knows the
//! next one has missed nothing and repeats nothing.

use floodmark_features::codec::{Damaged, restore};
use floodmark_features::engine::{ClosedWindow, LateEvent};
use redb::{ReadableDatabase, TableDefinition};

use crate::Store;
use crate::error::{StoreError, engine};
use crate::layout::{Bytes, CLOSED, LATE, REJECTS, SCORES, score_of};
use crate::scores::ScoreRecord;
use crate::side::RejectedRecord;

/// Which side output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputKind {
    /// Events that missed final values (T10).
    Late,
    /// Closed windows (T11).
    Closed,
    /// Refused records.
    Rejected,
    /// Scores of a stream that are durable.
    Score,
}

/// One side output.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// An event that missed final values.
    Late(LateEvent),
    /// A closed window.
    Closed(ClosedWindow),
    /// A refused record.
    Rejected(RejectedRecord),
    /// A score.
    Score(ScoreRecord),
}

impl OutputKind {
    /// All of them.
    pub const ALL: [OutputKind; 4] = [OutputKind::Late, OutputKind::Closed, OutputKind::Rejected, OutputKind::Score];

    fn table(self) -> TableDefinition<'static, Bytes, Bytes> {
        match self {
            OutputKind::Late => LATE,
            OutputKind::Closed => CLOSED,
            OutputKind::Rejected => REJECTS,
            OutputKind::Score => SCORES,
        }
    }

    fn read(self, key: &[u8], value: &[u8]) -> Result<Output, StoreError> {
        Ok(match self {
            OutputKind::Late => Output::Late(restore(value)?),
            OutputKind::Closed => Output::Closed(restore(value)?),
            OutputKind::Rejected => Output::Rejected(restore(value)?),
            OutputKind::Score => {
                let (source, version, sequence) = score_of(key).ok_or(Damaged { what: "the key of a score is too short" })?;
                Output::Score(ScoreRecord { source, version, sequence, record: value.to_vec() })
            }
        })
    }
}

impl Store {
    /// The outputs of a source from a place on, with their places, rising: whole places, about `most` outputs, at least one if there
    /// is any.
    pub fn outputs_from(&self, kind: OutputKind, source: usize, place: u64, most: usize) -> Result<Vec<(u64, Output)>, StoreError> {
        let start = start_of(source, place);
        let mut found = self.pending_from(kind, &start, source);
        let transaction = self.database.begin_read().map_err(engine)?;
        let table = transaction.open_table(kind.table()).map_err(engine)?;
        let mut stored = Vec::new();
        for entry in table.range(start.as_slice()..).map_err(engine)? {
            let (key, value) = entry.map_err(engine)?;
            let Some(place) = place_of(key.value(), source) else { break };
            if stored.len() >= most && stored.last().is_some_and(|(last, _, _)| *last != place) {
                break;
            }
            stored.push((place, key.value().to_vec(), kind.read(key.value(), value.value())?));
        }
        // A checkpoint may have stored what waited a moment ago.
        let full = stored.len() >= most;
        let upto = stored.last().map(|(_, key, _)| key.clone());
        found.retain(|(_, key, _)| stored.binary_search_by(|(_, k, _)| k.cmp(key)).is_err() && (!full || Some(key) <= upto.as_ref()));
        stored.extend(found);
        stored.sort_by(|a, b| a.1.cmp(&b.1));
        let end = stored.get(most).map_or(stored.len(), |(beyond, _, _)| {
            let whole = stored.partition_point(|(place, _, _)| place < beyond);
            if whole > 0 { whole } else { stored.partition_point(|(place, _, _)| place <= beyond) }
        });
        stored.truncate(end);
        Ok(stored.into_iter().map(|(place, _, output)| (place, output)).collect())
    }

    /// What is published and not stored yet.
    fn pending_from(&self, kind: OutputKind, start: &[u8], source: usize) -> Vec<(u64, Vec<u8>, Output)> {
        let pending = self.pending.lock();
        let wanted = |key: Vec<u8>, output: Output| {
            let place = place_of(&key, source).filter(|_| key.as_slice() >= start)?;
            Some((place, key, output))
        };
        match kind {
            OutputKind::Late => pending.late.iter().filter_map(|late| wanted(self.late_key(late), Output::Late(late.clone()))).collect(),
            OutputKind::Closed => {
                let keys = self.closed_keys(&pending.closed).into_iter().zip(&pending.closed);
                keys.filter_map(|(key, closed)| wanted(key, Output::Closed(closed.clone()))).collect()
            }
            // Refused records are durable with their commit; scores are passed on once they are.
            OutputKind::Rejected | OutputKind::Score => Vec::new(),
        }
    }
}

/// Where the outputs of a source from a place on begin.
fn start_of(source: usize, place: u64) -> Vec<u8> {
    [&(source as u16).to_be_bytes()[..], &place.to_be_bytes()].concat()
}

/// The place in a key; `None` if it is another source's.
fn place_of(key: &[u8], source: usize) -> Option<u64> {
    let (of, rest) = key.split_first_chunk::<2>()?;
    let place = rest.first_chunk::<8>()?;
    (usize::from(u16::from_be_bytes(*of)) == source).then(|| u64::from_be_bytes(*place))
}
