//! What verifying found: counts, the worst differences, and how far features have moved since they were served.

use std::collections::BTreeMap;

use floodmark_features::value::Value;

use crate::predictions::Entry;

/// So many differences are told one by one.
const WORST: usize = 20;

/// What verifying found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Records that were looked at.
    pub records: u64,
    /// Of these, those that could be scored again.
    pub compared: u64,
    /// Of these, those that came out the same, bit for bit.
    pub equal: u64,
    /// Features that differ, over all rows.
    pub features_differ: u64,
    /// Scores that differ, or that are there on one side only.
    pub scores_differ: u64,
    /// Records that could not be scored again, by reason.
    pub not_comparable: BTreeMap<String, u64>,
    /// The worst differences, the greatest first.
    pub worst: Vec<Difference>,
    /// What was served against what is known now.
    pub skew: Skew,
}

/// What was served against what is known now.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    /// Rows that could be looked up as known now.
    pub compared: u64,
    /// Rows that could not, since retention has passed them.
    pub not_comparable: u64,
    /// Rows of which a feature would be served otherwise now.
    pub changed: u64,
    /// By name.
    pub features: BTreeMap<String, FeatureSkew>,
}

/// How far one feature has moved since it was served.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeatureSkew {
    /// Values that were compared.
    pub compared: u64,
    /// Against what would be served now, as of the same time: provisional values move when events come.
    pub now: Moved,
    /// Against all events that are known now, also those that came too late to be served.
    pub corrected: Moved,
    /// Values that were final and moved because the row's own event has come since, with other columns than the request had.
    pub by_own_event: u64,
    /// Values that were final and moved all the same, which is a fault.
    pub final_changed: u64,
}

/// Values that moved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// How many.
    pub changed: u64,
    /// Of these, those that are numbers on both sides, and the sum of their distances.
    numbers: u64,
    distance: f64,
}

/// One thing that differs.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Against what.
    pub found: Found,
    /// What of the row.
    pub what: What,
    /// As it was served.
    pub served: Value,
    /// As it is now.
    pub again: Value,
    /// How far apart; infinite where they are not both numbers.
    pub size: f64,
    /// The row.
    pub row: Box<Entry>,
}

/// Against what a difference was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The same again, at the same version.
    Again,
    /// What is known now, of a value that was final.
    Final,
}

/// What of a row differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A feature.
    Feature(String),
    /// The score.
    Score,
    /// How many inputs were missing.
    Missing,
    /// There is a score on one side only.
    Outcome,
}

impl Report {
    /// Whether everything that must be the same is, and something was compared if there was anything.
    pub fn holds(&self) -> bool {
        self.equal == self.compared && self.skew.final_changed() == 0 && (self.compared > 0 || self.records == 0)
    }

    pub(super) fn not_comparable(&mut self, why: String) {
        *self.not_comparable.entry(why).or_default() += 1;
    }

    pub(super) fn compared<'w>(&mut self, differences: impl Iterator<Item = &'w What>) {
        let mut any = false;
        for what in differences {
            any = true;
            match what {
                What::Feature(_) => self.features_differ += 1,
                What::Score | What::Outcome => self.scores_differ += 1,
                What::Missing => {}
            }
        }
        self.compared += 1;
        self.equal += u64::from(!any);
    }

    /// Keeps a difference if it is one of the worst.
    pub(super) fn keep_worst(&mut self, size: f64, difference: impl FnOnce() -> Difference) {
        let place = self.worst.partition_point(|worse| worse.size >= size);
        if place < WORST {
            self.worst.insert(place, difference());
            self.worst.truncate(WORST);
        }
    }
}

impl Skew {
    /// Values that were final and moved, which is a fault.
    pub fn final_changed(&self) -> u64 {
        self.features.values().map(|feature| feature.final_changed).sum()
    }

    pub(super) fn feature(&mut self, name: &str) -> &mut FeatureSkew {
        self.features.entry(name.to_owned()).or_default()
    }
}

impl Moved {
    pub(super) fn add(&mut self, changed: bool, distance: Option<f64>) {
        if changed {
            self.changed += 1;
            self.numbers += u64::from(distance.is_some());
            self.distance += distance.unwrap_or_default();
        }
    }

    /// The mean absolute difference of the numbers that moved.
    pub fn mean_distance(&self) -> Option<f64> {
        (self.numbers > 0).then(|| self.distance / self.numbers as f64)
    }
}
