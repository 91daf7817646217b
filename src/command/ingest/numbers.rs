//! What workers of a pipeline tell operators, each number with its entry in the catalog of metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use floodmark_features::definition::Definitions;
use floodmark_features::engine::ViewCounts;
use floodmark_features::time::Time;
use floodmark_ingest::kafka::pipeline::{Done, States};
use floodmark_serving::metrics::{Kept, catalog};
use floodmark_store::redis::PartitionState;

/// Of a worker; `source` for route.
pub(super) fn of_worker(role: &'static str, source: &str, done: &Arc<Done>) -> Vec<Kept> {
    let counter = |metric, labels: &[&str], of: fn(&Done) -> &AtomicU64| {
        let done = done.clone();
        Kept::new(metric, labels, move || of(&done).load(Ordering::Relaxed))
    };
    let (troubles, clients) = (done.clone(), done.clone());
    let gauges = done.clone();
    let (labels, lag) = ([role.to_owned(), source.to_owned()], done.clone());
    vec![
        counter(&catalog::PIPELINE_READ, &[role, source], |done| &done.read),
        counter(&catalog::PIPELINE_REJECTED, &[role, source], |done| &done.rejected),
        counter(&catalog::PIPELINE_SKIPPED, &[role, source], |done| &done.skipped),
        counter(&catalog::PIPELINE_PUBLISHED, &[role, source], |done| &done.published),
        counter(&catalog::PIPELINE_TRANSACTIONS, &[role, source, "committed"], |done| &done.commits),
        counter(&catalog::PIPELINE_TRANSACTIONS, &[role, source, "aborted"], |done| &done.aborts),
        counter(&catalog::PIPELINE_PRODUCERS, &[role, source], |done| &done.rebuilds),
        counter(&catalog::PIPELINE_REBALANCES, &[role, source], |done| &done.rebalances),
        Kept::new(&catalog::PIPELINE_TROUBLES, &[role, source], move || troubles.status.troubles()),
        Kept::new(&catalog::PIPELINE_CLIENTS, &[role, source], move || clients.status.replaced()),
        Kept::gauges(&catalog::PIPELINE_PARTITIONS, move || vec![(labels.to_vec(), gauges.partitions.load(Ordering::Relaxed) as f64)]),
        Kept::gauges(&catalog::PIPELINE_LAG, {
            let labels = [role.to_owned(), source.to_owned()];
            move || {
                let partitions = lag.status.partitions();
                let known = partitions.iter().filter_map(|(number, at)| Some((number, at.lag?)));
                known.map(|(number, lag)| ([&labels[..], &[number.to_string()]].concat(), lag as f64)).collect()
            }
        }),
    ]
}

/// Of a worker that applies.
pub(super) fn of_apply(definitions: &Arc<Definitions>, done: &Arc<Done>, states: &Arc<States>) -> Vec<Kept> {
    let (writes, micros, reclaims) = (done.clone(), done.clone(), done.clone());
    let mut kept = vec![
        Kept::new(&catalog::ONLINE_WRITES, &[], move || writes.writes.load(Ordering::Relaxed)),
        Kept::gauges(&catalog::ONLINE_WRITE_SECONDS, move || vec![(Vec::new(), micros.write_micros.load(Ordering::Relaxed) as f64 / 1e6)]),
        Kept::new(&catalog::ONLINE_TAKEN_OVER, &[], move || reclaims.reclaims.load(Ordering::Relaxed)),
    ];
    let (of, at) = (definitions.clone(), states.clone());
    kept.push(Kept::gauges(&catalog::PIPELINE_WATERMARK, move || {
        let states = at.all();
        let each = |(partition, state): (&usize, &PartitionState)| {
            let known = of.sources.iter().zip(&state.watermarks).filter(|(_, watermark)| **watermark > Time::NONE);
            let gauge = |(source, watermark): (&floodmark_features::definition::Source, &Time)| {
                (vec![source.name.clone(), partition.to_string()], watermark.micros() as f64 / 1e6)
            };
            known.map(gauge).collect::<Vec<_>>()
        };
        states.iter().flat_map(each).collect()
    }));
    let (of, at) = (definitions.clone(), states.clone());
    kept.push(Kept::gauges(&catalog::PIPELINE_VIEW_EVENTS, move || {
        let mut totals = vec![ViewCounts::default(); of.views.len()];
        at.all().values().for_each(|state| totals.iter_mut().zip(&state.counts).for_each(|(total, counts)| total.add(counts)));
        let each = |(view, counts): (&floodmark_features::definition::View, &ViewCounts)| {
            let outcomes = [
                ("accepted", counts.accepted),
                ("partially_late", counts.partially_late),
                ("late", counts.late),
                ("duplicate", counts.duplicates),
                ("unassigned", counts.unassigned),
            ];
            outcomes.map(|(outcome, count)| (vec![view.name.clone(), outcome.to_owned()], count as f64))
        };
        of.views.iter().zip(&totals).flat_map(each).collect()
    }));
    kept
}
