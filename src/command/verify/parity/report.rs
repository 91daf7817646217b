//! What is printed: counts, and the worst differences with their events.

use std::io::{self, Write};

use floodmark_features::lookup::Mode;
use floodmark_recount::Event;
use serde::Serialize;

use super::judge::{Difference, Report};
use crate::output::{Json, Pairs, json_line, status_name, text_of};

#[derive(Serialize)]
struct Whole<'a> {
    version: u64,
    entities: usize,
    rows: usize,
    features: usize,
    compared: u64,
    near: u64,
    online_differs: u64,
    training_differs: u64,
    online_and_training_differ: u64,
    not_retained: u64,
    worst: Vec<Wrong<'a>>,
}

#[derive(Serialize)]
struct Wrong<'a> {
    feature: &'a str,
    entity: Pairs<Json>,
    as_of: String,
    mode: &'static str,
    online: Json,
    online_status: &'static str,
    training: Json,
    recount: Json,
    recount_status: &'static str,
    events_in_window: usize,
    events: Vec<Counted>,
}

#[derive(Serialize)]
struct Counted {
    event_time: String,
    event_id: String,
    visible_from: String,
    version: u64,
}

/// Prints a report.
pub(super) fn write(out: &mut impl Write, report: &Report, json: bool) -> io::Result<()> {
    match json {
        true => json_line(out, &whole(report))?,
        false => print(out, report)?,
    }
    out.flush()
}

fn whole(report: &Report) -> Whole<'_> {
    Whole {
        version: report.version,
        entities: report.entities,
        rows: report.rows,
        features: report.features,
        compared: report.compared,
        near: report.near,
        online_differs: report.online_differs,
        training_differs: report.training_differs,
        online_and_training_differ: report.online_and_training_differ,
        not_retained: report.not_retained,
        worst: report.worst.iter().map(wrong).collect(),
    }
}

fn wrong(difference: &Difference) -> Wrong<'_> {
    let counted = |event: &Event| Counted {
        event_time: event.time.to_string(),
        event_id: event.id.to_string(),
        visible_from: event.visible_from.to_string(),
        version: event.version,
    };
    Wrong {
        feature: &difference.feature,
        entity: Pairs(difference.entity.iter().map(|(name, value)| (name.clone(), Json(value.clone()))).collect()),
        as_of: difference.as_of.to_string(),
        mode: match difference.mode {
            Mode::AsServed => "as_served",
            Mode::AsCorrected => "as_corrected",
        },
        online: Json(difference.online.value.clone()),
        online_status: status_name(difference.online.status),
        training: Json(difference.training.clone()),
        recount: Json(difference.recount.clone()),
        recount_status: status_name(difference.status),
        events_in_window: difference.events_in_window,
        events: difference.events.iter().map(counted).collect(),
    }
}

fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Report { version, entities, rows, features, .. } = report;
    writeln!(
        out,
        "{features} features of {entities} entity rows, {rows} rows with their times, as served and as corrected, at version {version}"
    )?;
    let count = |out: &mut dyn Write, what: &str, count: u64| writeln!(out, "{what:<44} {count:>12}");
    count(out, "values compared", report.compared)?;
    count(out, "  of which sketches and roots: near, not equal", report.near)?;
    count(out, "online is not the recount", report.online_differs)?;
    count(out, "a training set is not the recount", report.training_differs)?;
    count(out, "online is not a training set", report.online_and_training_differ)?;
    if report.not_retained > 0 {
        count(out, "rows before what is retained, not compared", report.not_retained)?;
    }
    if !report.worst.is_empty() {
        writeln!(out, "the worst:")?;
    }
    for wrong in report.worst.iter().map(wrong) {
        let Wrong { feature, entity, as_of, mode, online, online_status, training, recount, recount_status, .. } = &wrong;
        write!(out, "  {feature} of {} as of {as_of}, {mode}: ", text_of(entity))?;
        let (online, training, recount) = (&online.0, &training.0, &recount.0);
        writeln!(out, "online {online} {online_status}, training set {training}, recount {recount} {recount_status}")?;
        for event in &wrong.events {
            let Counted { event_time, event_id, visible_from, version } = event;
            writeln!(out, "      event {event_id} at {event_time}, counts from {visible_from}, version {version}")?;
        }
        if wrong.events_in_window > wrong.events.len() {
            writeln!(out, "      and {} older ones", wrong.events_in_window - wrong.events.len())?;
        }
    }
    Ok(())
}
