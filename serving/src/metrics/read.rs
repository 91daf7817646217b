//! Numbers that somebody keeps anyway, read when they are asked for.

use std::time::{SystemTime, UNIX_EPOCH};

use floodmark_features::time::Time;
use floodmark_models::compare::DIFFERENCES;
use floodmark_models::registry::{Registry, Selection, State};
use floodmark_models::stats::{BATCH_ROWS, SCORES};
use floodmark_store::Store;

use super::catalog::{
    COMMIT_SECONDS, COMMITS, COMPARED, COMPARED_DROPPED, COMPARED_ERRORS, CPU, EVENTS, EVENTS_PARTIALLY_LATE, EVENTS_READ, LOG_BYTES,
    MEMORY, MODEL_BATCH, MODEL_ERRORS, MODEL_LOAD_FAILURES, MODEL_LOADS, MODEL_MISSING, MODEL_ROWS, MODEL_RUNS, MODEL_SCORE, MODEL_STATE,
    STORE_VERSION, TIMELINE_BYTES, VIEW_EVENTS, VIEW_EVENTS_PARTIALLY_LATE, WATERMARK, WATERMARK_LAG,
};
use super::page::{Histogram, Page};

/// Events, views, watermarks and the log.
pub(super) fn store(store: &Store, page: &mut Page) {
    let definitions = store.definitions();
    for (at, source) in definitions.sources.iter().enumerate() {
        let (name, tally) = (source.name.as_str(), store.tally(at));
        page.one(&EVENTS_READ, &[name], tally.read as f64);
        let outcomes = [("accepted", tally.accepted), ("late", tally.late), ("rejected", tally.rejected), ("duplicate", tally.duplicates)];
        outcomes.iter().for_each(|(outcome, count)| page.one(&EVENTS, &[name, outcome], *count as f64));
        page.one(&EVENTS_PARTIALLY_LATE, &[name], tally.partially_late as f64);
        watermark(page, name, store.source_watermark(at));
    }
    for (view, counts) in definitions.views.iter().zip(store.view_counts()) {
        let name = view.name.as_str();
        let outcomes =
            [("accepted", counts.accepted), ("late", counts.late), ("duplicate", counts.duplicates), ("unassigned", counts.unassigned)];
        outcomes.iter().for_each(|(outcome, count)| page.one(&VIEW_EVENTS, &[name, outcome], *count as f64));
        page.one(&VIEW_EVENTS_PARTIALLY_LATE, &[name], counts.partially_late as f64);
    }
    let (commits, took) = store.commits();
    page.one(&STORE_VERSION, &[], store.version() as f64 / 1e6);
    page.one(&COMMITS, &[], commits as f64);
    page.one(&COMMIT_SECONDS, &[], took.as_secs_f64());
    page.one(&LOG_BYTES, &[], store.log_bytes() as f64);
    page.one(&TIMELINE_BYTES, &[], store.memory() as f64);
}

fn watermark(page: &mut Page, source: &str, watermark: Time) {
    if watermark == Time::NONE {
        return;
    }
    if watermark == Time::MAX {
        return page.one(&WATERMARK, &[source], f64::INFINITY);
    }
    let seconds = watermark.micros() as f64 / 1e6;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    page.one(&WATERMARK, &[source], seconds);
    page.one(&WATERMARK_LAG, &[source], now - seconds);
}

/// States, runs, scores and comparisons.
pub(super) fn models(models: &Registry, page: &mut Page) {
    for status in models.list() {
        let version = status.version.to_string();
        let labels = [status.model.as_str(), version.as_str()];
        for state in [State::Ready, State::Loading, State::Unavailable, State::Retired] {
            let here = if state == status.state { 1.0 } else { 0.0 };
            page.one(&MODEL_STATE, &[labels[0], labels[1], &state.to_string().to_lowercase()], here);
        }
        let Ok(model) = models.pick(&status.model, Selection::Version(status.version)) else { continue };
        let scored = model.scored();
        page.one(&MODEL_RUNS, &labels, model.runs() as f64);
        page.one(&MODEL_ERRORS, &labels, model.errors() as f64);
        page.one(&MODEL_ROWS, &labels, scored.rows as f64);
        page.one(&MODEL_MISSING, &labels, scored.missing as f64);
        page.histogram(&MODEL_BATCH, &labels, &Histogram { bounds: &BATCH_ROWS, counts: &scored.batches, sum: scored.rows as f64 });
        page.histogram(&MODEL_SCORE, &labels, &Histogram { bounds: &SCORES, counts: &scored.scores, sum: scored.sum });
    }
    let loads = models.loads();
    page.one(&MODEL_LOADS, &[], loads.loaded as f64);
    loads.failed.iter().for_each(|(step, count)| page.one(&MODEL_LOAD_FAILURES, &[step], *count as f64));
    for ((model, answered, beside), difference) in models.differences() {
        let (answered, beside) = (answered.to_string(), beside.to_string());
        let labels = [model.as_str(), answered.as_str(), beside.as_str()];
        // It counts those up to each bound; a histogram wants those between two.
        let mut counts: Vec<u64> = difference.at_most.to_vec();
        counts.push(difference.rows);
        for at in (1..counts.len()).rev() {
            counts[at] = counts[at].saturating_sub(counts[at - 1]);
        }
        page.histogram(&COMPARED, &labels, &Histogram { bounds: &DIFFERENCES, counts: &counts, sum: difference.sum_abs });
        page.one(&COMPARED_DROPPED, &labels, difference.dropped as f64);
        page.one(&COMPARED_ERRORS, &labels, difference.errors as f64);
    }
}

/// Memory and time on cores, where the system tells (Linux).
pub(super) fn process(page: &mut Page) {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    if let Some(kilobytes) = resident(&read("/proc/self/status")) {
        page.one(&MEMORY, &[], kilobytes * 1024.0);
    }
    if let Some(hundredths) = on_cores(&read("/proc/self/stat")) {
        page.one(&CPU, &[], hundredths / 100.0);
    }
}

fn resident(status: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// User and system time; what stands before is the name, which may hold anything.
fn on_cores(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12 kB\n"), Some(12.0));
        assert_eq!(resident(""), None);
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0";
        assert_eq!(on_cores(stat), Some(175.0));
        assert_eq!(on_cores("42 (a"), None);
    }
}
