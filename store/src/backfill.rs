//! Backfill: views that were added to a store, computed from the history of its offline store while the others go on.
//!
//! Such a view takes no part until it has all of history: events that come are routed for it, but go to the other views only, and reads of it
//! are refused. Whoever has history brings the events in their order, those that came in the meantime too; then, while nothing
//! else is applied, the last of them, and the view is one like any other. What a backfill has done is not in the log: one
//! that was interrupted begins anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use floodmark_features::codec::snapshot;
use floodmark_features::engine::{EnginePlan, ViewCounts};
use floodmark_features::section::SectionPlan;
use parking_lot::{Mutex, MutexGuard};
use redb::Database;

use crate::commit::ROWS_AT_ONCE;
use crate::error::{ReadError, StoreError, engine};
use crate::growth::stored;
use crate::layout::{META, META_BACKFILLING, forget_views};
use crate::{Commit, Store};

/// Views that are not there yet.
#[derive(Debug)]
pub(crate) struct Backfill {
    /// Whether there are any: all that is looked at where there are none.
    any: AtomicBool,
    /// Positions in the definitions' views.
    views: Mutex<Vec<usize>>,
    /// Rows go to these only.
    plan: Arc<EnginePlan>,
}

/// The right to change timelines, and to say for which version they stand. Whoever applies a batch has it until the batch is published.
#[derive(Debug)]
pub struct Turn<'s>(#[expect(dead_code, reason = "held")] MutexGuard<'s, ()>);

impl Backfill {
    /// Of a store with these views missing.
    pub(crate) fn of(views: Vec<usize>, whole: &EnginePlan) -> Backfill {
        let plan = Arc::new(whole.restricted(|view| views.contains(&view)));
        Backfill { any: AtomicBool::new(!views.is_empty()), views: Mutex::new(views), plan }
    }

    /// What the rows of commits go to meanwhile.
    pub(crate) fn live_plan(&self, whole: &Arc<EnginePlan>) -> Arc<EnginePlan> {
        let views = self.views.lock();
        if views.is_empty() { whole.clone() } else { Arc::new(whole.restricted(|view| !views.contains(&view))) }
    }

    /// Whether a view is still to be computed.
    pub(crate) fn lacks(&self, view: usize) -> bool {
        self.any.load(Ordering::Acquire) && self.views.lock().contains(&view)
    }

    /// Whether anybody takes the rows of a section.
    pub(crate) fn is_live(&self, section: &SectionPlan) -> bool {
        !self.any.load(Ordering::Acquire) || section.views.iter().any(|view| !self.lacks(view.view))
    }

    /// What was counted of these views before they were there is nothing.
    pub(crate) fn forget_counts(&self, counts: &mut [ViewCounts]) {
        for view in &*self.views.lock() {
            counts[*view] = ViewCounts::default();
        }
    }
}

/// The views of a store that are to be computed, without what an interrupted backfill has left of them.
pub(crate) fn begin(database: &Database) -> Result<Vec<usize>, StoreError> {
    let views: Vec<u32> = stored(database, META_BACKFILLING)?;
    if !views.is_empty() {
        let transaction = database.begin_write().map_err(engine)?;
        for view in &views {
            forget_views(&transaction, *view as usize..*view as usize + 1)?;
        }
        transaction.commit().map_err(engine)?;
    }
    Ok(views.into_iter().map(|view| view as usize).collect())
}

impl Store {
    /// Waits until nobody else changes timelines.
    pub fn turn(&self) -> Turn<'_> {
        Turn(self.turn.lock())
    }

    /// Views that are to be computed from history, by their positions.
    pub fn backfilling(&self) -> Vec<usize> {
        self.backfill.views.lock().clone()
    }

    /// For each of the sources, the columns that these views need of its events; sources of none are left out.
    pub fn backfilled_sources(&self) -> Vec<(usize, Vec<usize>)> {
        let mut sources: Vec<(usize, Vec<usize>)> = Vec::new();
        for section in self.backfill.plan.sections.iter().filter(|section| !section.views.is_empty()) {
            let columns = section.columns.iter().chain(&section.key_columns).copied();
            match sources.iter_mut().find(|(source, _)| *source == section.source) {
                Some((_, needed)) => needed.extend(columns),
                None => sources.push((section.source, columns.collect())),
            }
        }
        sources
    }

    /// Brings events of the past to the views that are to be computed, in the order in which they came.
    pub fn backfill(&self, _turn: &Turn<'_>, version: u64, past: &Commit) -> Result<(), StoreError> {
        // What these rows went to is warmer than what others did.
        let tick = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        let takes = |at: usize| !self.backfill.plan.sections[at].views.is_empty();
        for (partition, sections) in past.partitions.iter().enumerate() {
            for (at, section) in sections.iter().enumerate().filter(|(at, section)| takes(*at) && !section.is_empty()) {
                let mut from = 0;
                while from < section.len() {
                    let to = (from + ROWS_AT_ONCE).min(section.len());
                    self.warm_up(partition, at, section, from..to)?;
                    self.shards[partition].write().backfill(&self.backfill.plan, at, section, from..to, version, tick);
                    from = to;
                }
            }
        }
        Ok(())
    }

    /// From now on these views are like any other: they have all events up to the newest version.
    pub fn end_backfill(&self, _turn: &Turn<'_>) -> Result<(), StoreError> {
        self.checkpoint()?;
        let transaction = self.database.begin_write().map_err(engine)?;
        let none: Vec<u32> = Vec::new();
        transaction.open_table(META).map_err(engine)?.insert(META_BACKFILLING, snapshot(&none).as_slice()).map_err(engine)?;
        transaction.commit().map_err(engine)?;
        self.shards.iter().for_each(|shard| shard.write().set_plan(self.plan.clone()));
        self.backfill.views.lock().clear();
        self.backfill.any.store(false, Ordering::Release);
        Ok(())
    }

    /// Refuses a read of a view that is not there yet.
    pub(crate) fn must_be_filled(&self, view: usize) -> Result<(), ReadError> {
        if self.backfill.lacks(view) {
            return Err(ReadError::Backfilling { view: self.definitions().views[view].name.clone() });
        }
        Ok(())
    }
}
