//! What the demo says at its end.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use floodmark_features::engine::ViewCounts;
use floodmark_ingest::replay::Summary;
use floodmark_store::Tally;
use serde::Serialize;

use super::recount::Recount;
use super::score::Scored;
use super::serve::Served;
use super::training::Trained;
use super::world::World;
use crate::output::{Counts, Pairs};

/// The whole story in numbers.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    transactions: usize,
    read: u64,
    accepted: u64,
    partially_late: u64,
    late: u64,
    rejected: u64,
    duplicates: u64,
    seconds: f64,
    events_per_second: f64,
    views: Pairs<Counts>,
    look_ups: usize,
    p50_us: f64,
    p99_us: f64,
    training_rows: u64,
    training_seconds: f64,
    #[serde(flatten)]
    scores: Scored,
    values_compared: u64,
    mismatches: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
}

impl Report {
    /// Adds everything up. Counts that differ from the recount's are mismatches too.
    pub(super) fn new(
        world: &World,
        replayed: Vec<Summary>,
        recount: &Recount<'_>,
        served: Served,
        training: Trained,
        scores: Scored,
    ) -> Report {
        let mut tally = Tally::default();
        let mut views: Vec<(String, ViewCounts)> = Vec::new();
        for summary in &replayed {
            tally.add(&summary.tally);
            match views.is_empty() {
                true => views = summary.views.clone(),
                false => views.iter_mut().zip(&summary.views).for_each(|((_, sum), (_, counts))| sum.add(counts)),
            }
        }
        let seconds: f64 = replayed.iter().map(|summary| summary.seconds).sum();
        let mut report = Report {
            transactions: world.transactions().len(),
            read: tally.read,
            accepted: tally.accepted,
            partially_late: tally.partially_late,
            late: tally.late,
            rejected: tally.rejected,
            duplicates: tally.duplicates,
            seconds,
            events_per_second: if seconds > 0.0 { tally.read as f64 / seconds } else { 0.0 },
            views: Pairs(views.iter().map(|(name, counts)| (name.clone(), Counts::from(*counts))).collect()),
            look_ups: served.latencies.len(),
            p50_us: quantile(&served.latencies, 0.5),
            p99_us: quantile(&served.latencies, 0.99),
            training_rows: training.rows,
            training_seconds: training.seconds,
            values_compared: 0,
            mismatches: scores.mismatches(),
            scores,
            differences: Vec::new(),
        };
        report.compare("the source", tally, recount.tally);
        for ((name, found), expected) in views.iter().zip(&recount.counts) {
            report.compare(&format!("view {name}"), *found, *expected);
        }
        report.compare("the training set's rows", training.rows, world.transactions().len() as u64);
        for compared in [served.compared, training.compared] {
            report.values_compared += compared.values;
            report.mismatches += compared.mismatches;
            report.differences.extend(compared.told);
        }
        report
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, whose: &str, found: T, expected: T) {
        if found != expected {
            self.mismatches += 1;
            self.differences.push(format!("counts of {whose}: {found:?}, recount {expected:?}"));
        }
    }

    pub(super) fn mismatches(&self) -> u64 {
        self.mismatches
    }

    /// For people.
    pub(super) fn print(&self, out: &mut impl Write, store: Option<&Path>) -> io::Result<()> {
        writeln!(out, "Events: {} transactions, out of order, some late, some twice, some broken", self.transactions)?;
        writeln!(out, "  read {:>31}   in {:.2} s, {:.0} a second", self.read, self.seconds, self.events_per_second)?;
        writeln!(out, "  accepted {:>27}   by at least one view", self.accepted)?;
        writeln!(out, "    partially late {:>19}   they had missed values that were final", self.partially_late)?;
        writeln!(out, "  late {:>31}   too late for every view, kept aside", self.late)?;
        writeln!(out, "  rejected {:>27}   broken records, kept aside", self.rejected)?;
        writeln!(out, "  duplicates {:>25}   sent twice, counted once", self.duplicates)?;
        writeln!(out, "\nLook-ups over gRPC as of random times: {}, one after the other, two calls each", self.look_ups)?;
        writeln!(out, "  p50 {:>32.0} us", self.p50_us)?;
        writeln!(out, "  p99 {:>32.0} us", self.p99_us)?;
        writeln!(out, "\nTraining set: {} rows in {:.2} s", self.training_rows, self.training_seconds)?;
        self.scores.print(out)?;
        writeln!(out, "\nCompared with a recount in plain loops: {} values and all counts", self.values_compared)?;
        writeln!(out, "  mismatches {:>25}", self.mismatches)?;
        for difference in &self.differences {
            writeln!(out, "  {difference}")?;
        }
        if let Some(store) = store.map(Path::display) {
            writeln!(out, "\nLook around: floodmark late --store {store}; floodmark rejects --store {store}")?;
        }
        Ok(())
    }
}

/// Of ascending durations, in microseconds.
pub(super) fn quantile(sorted: &[Duration], q: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * q).round() as usize;
    sorted.get(at).map_or(0.0, |duration| duration.as_secs_f64() * 1e6)
}
