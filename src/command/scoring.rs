//! `up --score SOURCE=MODEL`: between the events that ingest takes in and the models that serving has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use floodmark_ingest::replay::Input;
use floodmark_ingest::scoring::{Events, Scoring};
use floodmark_models::registry::Registry;
use floodmark_serving::score::stream::StreamScores;
use floodmark_store::Store;

use crate::failure::Failure;
use crate::stored::source_named;

/// Which model scores the events of a source.
#[derive(Clone, Debug)]
pub(super) struct ScoreArg {
    source: String,
    model: String,
}

/// `SOURCE=MODEL`
pub(super) fn score_arg(text: &str) -> Result<ScoreArg, String> {
    match text.split_once('=') {
        Some((source, model)) if !source.is_empty() && !model.is_empty() => {
            Ok(ScoreArg { source: source.to_owned(), model: model.to_owned() })
        }
        _ => Err("expected SOURCE=MODEL, such as transactions=fraud".to_owned()),
    }
}

/// A model at work.
struct Working {
    source: usize,
    model: String,
    /// Whether it was said that its events wait.
    told: AtomicBool,
}

/// Who scores the events of which sources. Files are taken in before anybody could load a model, so theirs must be there already.
pub(super) fn scoring(
    store: &Arc<Store>,
    models: Option<&Arc<Registry>>,
    wanted: &[ScoreArg],
    files: &[Input],
) -> Result<Option<(Scoring, Arc<StreamScores>)>, Failure> {
    let working = working(store, wanted)?;
    tell_of_waiting(store, &working);
    let Some(models) = models.filter(|_| !working.is_empty()) else { return Ok(None) };
    let scores = Arc::new(StreamScores::new(store.clone(), models.clone()));
    let waiting = store.waiting_for_scores();
    let waits = |arg: &ScoreArg| waiting.iter().any(|waiting| store.definitions().sources[waiting.source].name == arg.source);
    // What waits comes before any file, of whatever source.
    let comes = |arg: &ScoreArg| files.iter().any(|file| file.source == arg.source) || (!files.is_empty() && waits(arg));
    let missing = |arg: &&ScoreArg| comes(arg) && !scores.is_ready(&arg.model);
    if let Some(arg) = wanted.iter().find(missing) {
        let why = "files cannot be scored: no version of the model is ready; put it right, or take the files in without --score";
        return Err(Failure::failed(format!("{why}. source={} model={}", arg.source, arg.model)));
    }
    for ScoreArg { source, model } in wanted {
        if let Some(objection) = scores.objection(model, source) {
            let why = "events of this source do not hold what the model's service asks for";
            return Err(Failure::usage(format!("{why}: {objection} source={source} model={model}")));
        }
    }
    let sources = working.iter().map(|working| working.source).collect();
    let scorer = scores.clone();
    Ok(Some((Scoring { sources, scorer: Arc::new(move |events| score(&scorer, &working, events)) }, scores)))
}

fn working(store: &Store, wanted: &[ScoreArg]) -> Result<Vec<Working>, Failure> {
    let mut all: Vec<Working> = Vec::new();
    for ScoreArg { source, model } in wanted {
        let at = source_named(store.definitions(), source)?;
        if all.iter().any(|working| working.source == at) {
            return Err(Failure::usage(format!("one model scores a source, and this one has two. source={source}")));
        }
        all.push(Working { source: at, model: model.clone(), told: AtomicBool::new(false) });
    }
    Ok(all)
}

/// Events that wait, and for which nobody was named, are not forgotten.
fn tell_of_waiting(store: &Store, working: &[Working]) {
    let waiting = store.waiting_for_scores();
    for (source, definition) in store.definitions().sources.iter().enumerate() {
        let events: u64 = waiting.iter().filter(|waiting| waiting.source == source).map(|waiting| waiting.events).sum();
        if events > 0 && !working.iter().any(|working| working.source == source) {
            let name = &definition.name;
            eprintln!("warning: events wait for their scores; score them with `--score {name}=MODEL`. source={name} events={events}");
        }
    }
}

fn score(scores: &StreamScores, working: &[Working], events: &Events) -> Result<Option<Vec<Vec<u8>>>, floodmark_store::StoreError> {
    let Some(working) = working.iter().find(|working| working.source == events.source) else { return Ok(None) };
    let records = scores.score(&working.model, &events.request, events.version, &events.sequences)?;
    let Working { model, told, .. } = working;
    match &records {
        None if !told.swap(true, Ordering::Relaxed) => {
            let waits = scores.counts().not_ready;
            eprintln!(
                "warning: no version of the model is ready, or a view that it asks for is being computed from history: its events wait, and so does whatever comes after them. model={model} waits={waits}"
            );
        }
        Some(_) if told.swap(false, Ordering::Relaxed) => {
            let waits = scores.counts().not_ready;
            eprintln!("events are scored again. model={model} waits={waits}");
        }
        _ => {}
    }
    Ok(records)
}
