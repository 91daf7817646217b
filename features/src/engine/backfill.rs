//! Views that came to a partition later than its events: what they would have made of those is put in their timelines from history,
//! while the other views go on.

use std::sync::Arc;

use super::{EnginePlan, Outputs, Shard};
use crate::definition::ClosedWindows;
use crate::section::Section;

impl EnginePlan {
    /// The same sections, for those of the views for which `keep` says so. Routed rows are as they were: a section may have nobody left.
    pub fn restricted(&self, keep: impl Fn(usize) -> bool) -> EnginePlan {
        let mut plan = EnginePlan::new(self.definitions.clone());
        for section in &mut plan.sections {
            section.views.retain(|view| keep(view.view));
            section.emits = section.views.iter().any(|view| self.definitions.views[view.view].closed_windows != ClosedWindows::Silent);
        }
        plan
    }
}

impl Shard {
    /// From now on, rows go to the views of this plan, which is that of the partition or a restriction of it.
    pub fn set_plan(&mut self, plan: Arc<EnginePlan>) {
        self.plan = plan;
    }

    /// Puts rows of a section that were committed under `version` before in the timelines of a plan's views. An event counts from when it
    /// counted then; nobody is told of those that came too late, as nobody was.
    pub fn backfill(
        &mut self,
        plan: &Arc<EnginePlan>,
        at: usize,
        section: &Section,
        rows: std::ops::Range<usize>,
        version: u64,
        tick: u32,
    ) {
        let own = std::mem::replace(&mut self.plan, plan.clone());
        self.apply(at, section, rows, version, &[], tick, &mut Outputs::default());
        self.plan = own;
    }
}
