//! A worker's place: its transactional id, and the producer that has it now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::watchdog::Watchdog;
use super::{Done, Pipeline, PipelineError};
use crate::kafka::intake::RETRY;
use crate::kafka::transactions::{Broken, Transactions};

/// Fenced so often within [`FIGHT`], there is another worker of the name: a transaction that took too long looks the same, but not so often.
const MOST_FENCED: usize = 4;
const FIGHT: Duration = Duration::from_secs(120);

/// Who produces under a worker's name.
pub(super) struct Slot {
    role: &'static str,
    worker: String,
    id: String,
    transactions: Option<Arc<Transactions>>,
    fenced: Vec<Instant>,
}

impl Slot {
    /// `of` tells apart what a worker of the role does several of.
    pub(super) fn new(pipeline: &Pipeline, role: &'static str, of: Option<&str>) -> Slot {
        let of = of.map(|of| format!("{of}.")).unwrap_or_default();
        let id = format!("{}.{role}.{of}{}", pipeline.prefix.name, pipeline.worker);
        Slot { role, worker: pipeline.worker.clone(), id, transactions: None, fenced: Vec::new() }
    }

    /// The producer; a new one if there is none, which ends what the last one under the name has left open. `None` if told to stop first.
    pub(super) fn producer(&mut self, pipeline: &Pipeline, done: &Done, watchdog: &Watchdog) -> Option<Arc<Transactions>> {
        while self.transactions.is_none() {
            watchdog.seen();
            if done.is_stopping() {
                return None;
            }
            match Transactions::start(&pipeline.prefix, &self.id, &done.status) {
                Ok(transactions) => self.transactions = Some(Arc::new(transactions)),
                Err(error) => {
                    done.status.trouble(&error.to_string());
                    std::thread::sleep(RETRY);
                }
            }
        }
        self.transactions.clone()
    }

    /// The producer may never be heard of again; the next one ends what it has left open.
    pub(super) fn give_up(&mut self, done: &Done) {
        if self.transactions.take().is_some() {
            done.add(&done.rebuilds, 1);
        }
    }

    /// A transaction has failed: aborts it, or throws the producer away. True if the next transaction has another producer: then what
    /// became of the failed one is not known, and nothing is to be done before the committed positions are read.
    pub(super) fn recover(&mut self, broken: &Broken, done: &Done) -> Result<bool, PipelineError> {
        done.status.trouble(&broken.to_string());
        if broken.is_fenced() {
            let now = Instant::now();
            self.fenced.retain(|at| now - *at < FIGHT);
            self.fenced.push(now);
            if self.fenced.len() >= MOST_FENCED {
                return Err(PipelineError::TwoOfAName { worker: self.worker.clone(), role: self.role });
            }
        }
        let aborted = match (broken, &self.transactions) {
            (Broken::Abort(_), Some(transactions)) => transactions.abort().is_ok(),
            _ => false,
        };
        if aborted {
            done.add(&done.aborts, 1);
        } else {
            self.transactions = None;
            done.add(&done.rebuilds, 1);
        }
        Ok(!aborted)
    }
}
