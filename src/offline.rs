//! The offline store: kept up while a command runs, and read back for history.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use floodmark_features::definition::Definitions;
use floodmark_history::{Remembered, remember};
use floodmark_offline::{Flusher, OfflineError};
use floodmark_store::Store;

use crate::failure::Failure;
use crate::progress::Bar;

/// A place as it stays right wherever a command is started.
pub(crate) fn absolute(place: &str) -> Result<String, Failure> {
    if place.contains("://") {
        return Ok(place.to_owned());
    }
    Ok(std::path::absolute(Path::new(place))?.display().to_string())
}

/// Starts to keep what the store takes in, if it has an offline store.
pub(crate) fn start(store: &Arc<Store>, interval: Duration) -> Result<Option<Flusher>, Failure> {
    let Some(place) = store.offline() else { return Ok(None) };
    let complain = |error: &OfflineError| eprintln!("floodmark: events wait for the offline store: {error}");
    Flusher::start(store.clone(), place, interval, complain).map(Some).map_err(|error| Failure::failed(error.to_string()))
}

/// Keeps what still waits.
pub(crate) fn finish(flusher: Option<Flusher>) -> Result<(), Failure> {
    flusher.map_or(Ok(()), |flusher| flusher.finish().map_err(|error| failed(&error)))
}

/// A store in memory that holds what has been kept at a place, as views of these definitions see it, whichever it was taken in with.
pub(crate) fn history(place: &str, definitions: &Arc<Definitions>) -> Result<Arc<Store>, Failure> {
    Ok(remembered(place, definitions)?.store)
}

/// The same, with the events and how to go on.
pub(crate) fn remembered(place: &str, definitions: &Arc<Definitions>) -> Result<Remembered, Failure> {
    let bar = Bar::new("history");
    Ok(remember(&absolute(place)?, definitions, &|events, total| bar.at(events, total))?)
}

fn failed(error: &OfflineError) -> Failure {
    Failure::failed(format!("{error}. Events wait in the store until it can be written"))
}
