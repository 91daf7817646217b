//! What `floodmark verify` prints: counts, the worst differences row by row, and how far each feature has moved since.

use std::collections::BTreeMap;
use std::io::{self, Write};

use floodmark_serving::predictions::Entry;
use floodmark_serving::verify::{Difference, FeatureSkew, Found, Moved, Report, What};
use serde::Serialize;

use crate::command::predictions::pairs;
use crate::output::{Json, Pairs, json_line, text_of};

#[derive(Serialize)]
struct Whole<'a> {
    records: u64,
    compared: u64,
    equal: u64,
    features_differ: u64,
    scores_differ: u64,
    not_comparable: &'a BTreeMap<String, u64>,
    worst: Vec<Wrong<'a>>,
    since: Since,
}

#[derive(Serialize)]
struct Wrong<'a> {
    found: &'static str,
    what: &'a str,
    served: Json,
    recomputed: Json,
    at: String,
    model: &'a str,
    model_version: &'a str,
    as_of: String,
    version: Option<u64>,
    entity: Pairs<Json>,
}

#[derive(Serialize)]
struct Since {
    compared: u64,
    not_comparable: u64,
    changed: u64,
    final_changed: u64,
    features: Pairs<Feature>,
}

#[derive(Serialize)]
struct Feature {
    compared: u64,
    changed: u64,
    mean_difference: Option<f64>,
    corrected: u64,
    mean_correction: Option<f64>,
    by_own_event: u64,
    final_changed: u64,
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
    let features = report.skew.features.iter().map(|(name, skew)| (name.clone(), feature(skew))).collect();
    Whole {
        records: report.records,
        compared: report.compared,
        equal: report.equal,
        features_differ: report.features_differ,
        scores_differ: report.scores_differ,
        not_comparable: &report.not_comparable,
        worst: report.worst.iter().map(wrong).collect(),
        since: Since {
            compared: report.skew.compared,
            not_comparable: report.skew.not_comparable,
            changed: report.skew.changed,
            final_changed: report.skew.final_changed(),
            features: Pairs(features),
        },
    }
}

fn feature(skew: &FeatureSkew) -> Feature {
    Feature {
        compared: skew.compared,
        changed: skew.now.changed,
        mean_difference: skew.now.mean_distance(),
        corrected: skew.corrected.changed,
        mean_correction: skew.corrected.mean_distance(),
        by_own_event: skew.by_own_event,
        final_changed: skew.final_changed,
    }
}

fn wrong(difference: &Difference) -> Wrong<'_> {
    let row: &Entry = &difference.row;
    Wrong {
        found: match difference.found {
            Found::Again => "same_version",
            Found::Final => "final_value",
        },
        what: name(&difference.what),
        served: Json(difference.served.clone()),
        recomputed: Json(difference.again.clone()),
        at: row.at.to_string(),
        model: &row.model,
        model_version: &row.model_version,
        as_of: row.as_of.to_string(),
        version: row.version,
        entity: pairs(row.entity.clone()),
    }
}

fn name(what: &What) -> &str {
    match what {
        What::Feature(name) => name,
        What::Score => "score",
        What::Missing => "missing inputs",
        What::Outcome => "outcome",
    }
}

fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let count = |out: &mut dyn Write, what: &str, count: u64| writeln!(out, "{what:<24} {count:>12}");
    count(out, "predictions", report.records)?;
    count(out, "scored again", report.compared)?;
    count(out, "  equal, bit for bit", report.equal)?;
    count(out, "  features that differ", report.features_differ)?;
    count(out, "  scores that differ", report.scores_differ)?;
    for (why, rows) in &report.not_comparable {
        writeln!(out, "not comparable           {rows:>12}  {why}")?;
    }
    if !report.worst.is_empty() {
        writeln!(out, "the worst:")?;
    }
    for difference in &report.worst {
        let wrong = wrong(difference);
        let now = if difference.found == Found::Final { "final, and now" } else { "again" };
        write!(out, "  {} served {}, {now} {}: ", wrong.what, wrong.served.0, wrong.recomputed.0)?;
        writeln!(
            out,
            "{} as of {}, by {} version {}, scored at {}",
            text_of(&wrong.entity),
            wrong.as_of,
            wrong.model,
            wrong.model_version,
            wrong.at
        )?;
    }
    print_skew(out, report)
}

fn print_skew(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let skew = &report.skew;
    writeln!(out, "Since they were served, features of {} of {} rows have changed.", skew.changed, skew.compared)?;
    if skew.not_comparable > 0 {
        writeln!(out, "{} rows are before what is retained now.", skew.not_comparable)?;
    }
    let moved = skew.features.iter().filter(|(_, feature)| feature.now.changed + feature.corrected.changed > 0);
    let distance = |moved: &Moved| moved.mean_distance().map_or_else(String::new, |mean| format!(" by {mean:.6}"));
    for (name, feature) in moved {
        let (now, corrected) = (&feature.now, &feature.corrected);
        write!(out, "  {name:<40} {} changed{}", now.changed, distance(now))?;
        writeln!(out, ", {} with all events that are known{}", corrected.changed, distance(corrected))?;
    }
    Ok(())
}
