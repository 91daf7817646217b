//! Side outputs: late events, closed windows and rejected records, kept beside the timelines and readable.

use floodmark_features::codec::{restore, snapshot};
use floodmark_features::engine::{ClosedWindow, LateEvent, Outputs};
use floodmark_features::section::Position;
use floodmark_features::time::Time;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::{StoreError, engine};
use crate::layout::{Bytes, CLOSED, LATE, REJECTS, ordered};

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRecord {
    /// Position in the definitions' sources.
    pub source: u32,
    /// Where it stands.
    pub position: Position,
    /// A stable code, such as `not_json`.
    pub code: String,
    /// What was wrong, in words.
    pub message: String,
    /// The record, cut where it is too long.
    pub payload: String,
}

/// Late events and closed windows that are not stored yet, under the keys that they will have.
#[derive(Debug, Default)]
pub struct SideOutputs {
    pub(crate) late: Vec<LateEvent>,
    pub(crate) closed: Vec<ClosedWindow>,
}

impl SideOutputs {
    pub(crate) fn take(&mut self, outputs: Vec<Outputs>) {
        for output in outputs {
            self.late.extend(output.late);
            self.closed.extend(output.closed);
        }
    }

    /// How many wait to be stored.
    pub fn len(&self) -> usize {
        self.late.len() + self.closed.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Store {
    /// All late events, in the order in which they came; `each` may stop by returning false.
    pub fn late_events(&self, each: impl FnMut(LateEvent) -> bool) -> Result<(), StoreError> {
        let pending = self.pending.lock().late.iter().map(|l| (self.late_key(l), l.clone())).collect();
        self.merged(LATE, pending, |_, bytes| Ok(restore(bytes)?), each)
    }

    /// All closed windows, in the order of emission; `each` may stop by returning false.
    pub fn closed_windows(&self, each: impl FnMut(ClosedWindow) -> bool) -> Result<(), StoreError> {
        let pending = {
            let pending = self.pending.lock();
            self.closed_keys(&pending.closed).into_iter().zip(pending.closed.iter().cloned()).collect()
        };
        self.merged(CLOSED, pending, |_, bytes| Ok(restore(bytes)?), each)
    }

    /// All rejected records, in the order in which they came; `each` may stop by returning false.
    pub fn rejected_records(&self, each: impl FnMut(RejectedRecord) -> bool) -> Result<(), StoreError> {
        self.merged(REJECTS, Vec::new(), |_, bytes| Ok(restore(bytes)?), each)
    }

    /// What is stored and what waits to be, by key.
    pub(crate) fn merged<T>(
        &self,
        table: TableDefinition<'static, Bytes, Bytes>,
        mut pending: Vec<(Vec<u8>, T)>,
        decode: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
        mut each: impl FnMut(T) -> bool,
    ) -> Result<(), StoreError> {
        pending.sort_by(|a, b| a.0.cmp(&b.0));
        let mut pending = pending.into_iter().peekable();
        let transaction = self.database.begin_read().map_err(engine)?;
        let table = transaction.open_table(table).map_err(engine)?;
        for entry in table.iter().map_err(engine)? {
            let (key, value) = entry.map_err(engine)?;
            while let Some((_, waiting)) = pending.next_if(|(k, _)| k.as_slice() < key.value()) {
                if !each(waiting) {
                    return Ok(());
                }
            }
            // The same key on both sides: a checkpoint has stored it in between.
            pending.next_if(|(k, _)| k.as_slice() == key.value());
            if !each(decode(key.value(), value.value())?) {
                return Ok(());
            }
        }
        for (_, waiting) in pending {
            if !each(waiting) {
                break;
            }
        }
        Ok(())
    }

    fn source_of(&self, view: usize) -> u16 {
        self.definitions().views[view].source as u16
    }

    pub(crate) fn late_key(&self, late: &LateEvent) -> Vec<u8> {
        [&self.source_of(late.view).to_be_bytes()[..], &late.sequence.to_be_bytes(), &(late.view as u16).to_be_bytes()].concat()
    }

    /// The keys of closed windows that were emitted one after the other: deletes sort with the merged session that follows them.
    pub(crate) fn closed_keys(&self, closed: &[ClosedWindow]) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = Vec::with_capacity(closed.len());
        let mut firing = (Time::NONE, Time::NONE);
        for (at, window) in closed.iter().enumerate().rev() {
            if !window.deleted {
                firing = (window.end, window.start);
            }
            let mut key = self.source_of(window.view).to_be_bytes().to_vec();
            key.extend(window.sequence.to_be_bytes());
            key.push(u8::from(window.by_watermark));
            key.extend(ordered(firing.0));
            key.extend(ordered(firing.1));
            key.extend_from_slice(&window.key);
            key.extend((window.view as u16).to_be_bytes());
            key.extend(snapshot(&window.window));
            // Of the emissions of one event the order is that in which they were decided.
            key.extend((at as u32).to_be_bytes());
            keys.push(key);
        }
        keys.reverse();
        keys
    }
}
