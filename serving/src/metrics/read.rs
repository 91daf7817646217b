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
    OFFLINE_WAITING, STORE_VERSION, STREAM_WAITING, TIMELINE_BYTES, VIEW_BACKFILLING, VIEW_EVENTS, VIEW_EVENTS_PARTIALLY_LATE, WATERMARK,
    WATERMARK_LAG,
};

/// Events, views, watermarks and the log.
pub(super) fn store(store: &Store) {
    let definitions = store.definitions();
    for (at, source) in definitions.sources.iter().enumerate() {
        let (name, tally) = (source.name.as_str(), store.tally(at));
        EVENTS_READ.count(&[name], tally.read);
        let outcomes = [("accepted", tally.accepted), ("late", tally.late), ("rejected", tally.rejected), ("duplicate", tally.duplicates)];
        outcomes.iter().for_each(|(outcome, count)| EVENTS.count(&[name, outcome], *count));
        EVENTS_PARTIALLY_LATE.count(&[name], tally.partially_late);
        watermark(name, store.source_watermark(at));
    }
    for (view, counts) in definitions.views.iter().zip(store.view_counts()) {
        let name = view.name.as_str();
        let outcomes =
            [("accepted", counts.accepted), ("late", counts.late), ("duplicate", counts.duplicates), ("unassigned", counts.unassigned)];
        outcomes.iter().for_each(|(outcome, count)| VIEW_EVENTS.count(&[name, outcome], *count));
        VIEW_EVENTS_PARTIALLY_LATE.count(&[name], counts.partially_late);
    }
    for view in store.backfilling() {
        VIEW_BACKFILLING.set(&[definitions.views[view].name.as_str()], 1.0);
    }
    let waiting = store.waiting_for_scores();
    for (at, source) in definitions.sources.iter().enumerate() {
        let events: u64 = waiting.iter().filter(|waiting| waiting.source == at).map(|waiting| waiting.events).sum();
        STREAM_WAITING.set(&[source.name.as_str()], events as f64);
        if store.offline().is_some() {
            OFFLINE_WAITING.set(&[source.name.as_str()], store.waiting_to_be_kept(at) as f64);
        }
    }
    let (commits, took) = store.commits();
    STORE_VERSION.set(&[], store.version() as f64 / 1e6);
    COMMITS.count(&[], commits);
    COMMIT_SECONDS.set(&[], took.as_secs_f64());
    LOG_BYTES.set(&[], store.log_bytes() as f64);
    TIMELINE_BYTES.set(&[], store.memory() as f64);
}

fn watermark(source: &str, watermark: Time) {
    if watermark == Time::NONE {
        return;
    }
    if watermark == Time::MAX {
        return WATERMARK.set(&[source], f64::INFINITY);
    }
    let seconds = watermark.micros() as f64 / 1e6;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    WATERMARK.set(&[source], seconds);
    WATERMARK_LAG.set(&[source], now - seconds);
}

/// States, runs, scores and comparisons.
pub(super) fn models(models: &Registry) {
    for status in models.list() {
        let version = status.version.to_string();
        let labels = [status.model.as_str(), version.as_str()];
        for state in [State::Ready, State::Loading, State::Unavailable, State::Retired] {
            let here = if state == status.state { 1.0 } else { 0.0 };
            MODEL_STATE.set(&[labels[0], labels[1], &state.to_string().to_lowercase()], here);
        }
        let Ok(model) = models.pick(&status.model, Selection::Version(status.version)) else { continue };
        let scored = model.scored();
        MODEL_RUNS.count(&labels, model.runs());
        MODEL_ERRORS.count(&labels, model.errors());
        MODEL_ROWS.count(&labels, scored.rows);
        MODEL_MISSING.count(&labels, scored.missing);
        MODEL_BATCH.observed(&labels, &BATCH_ROWS, &scored.batches, scored.rows as f64);
        MODEL_SCORE.observed(&labels, &SCORES, &scored.scores, scored.sum);
    }
    let loads = models.loads();
    MODEL_LOADS.count(&[], loads.loaded);
    loads.failed.iter().for_each(|(step, count)| MODEL_LOAD_FAILURES.count(&[step], *count));
    for ((model, answered, beside), difference) in models.differences() {
        let (answered, beside) = (answered.to_string(), beside.to_string());
        let labels = [model.as_str(), answered.as_str(), beside.as_str()];
        // It counts those up to each bound; a histogram wants those between two.
        let mut counts: Vec<u64> = difference.at_most.to_vec();
        counts.push(difference.rows);
        for at in (1..counts.len()).rev() {
            counts[at] = counts[at].saturating_sub(counts[at - 1]);
        }
        COMPARED.observed(&labels, &DIFFERENCES, &counts, difference.sum_abs);
        COMPARED_DROPPED.count(&labels, difference.dropped);
        COMPARED_ERRORS.count(&labels, difference.errors);
    }
}

/// Memory and time on cores, where the system tells (Linux).
pub(super) fn process() {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    if let Some(kilobytes) = resident(&read("/proc/self/status")) {
        MEMORY.set(&[], kilobytes * 1024.0);
    }
    if let Some(hundredths) = on_cores(&read("/proc/self/stat")) {
        CPU.set(&[], hundredths / 100.0);
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
