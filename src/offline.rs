//! The offline store: kept up while a command runs, and read back for history.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use floodmark_features::definition::Definitions;
use floodmark_intake::history::take_history;
use floodmark_offline::{Flusher, Following, OfflineError, OfflineStore};
use floodmark_store::{Settings, Store};

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
    follow(place, definitions).map(|(store, _)| store)
}

/// The events at a place, with the columns that views of these definitions need, and a store in memory that holds them.
pub(crate) fn events_at(place: &str, definitions: &Arc<Definitions>) -> Result<(Arc<Store>, Vec<(usize, RecordBatch)>), Failure> {
    let (store, _, sources) = taken_in(place, definitions)?;
    Ok((store, sources))
}

/// A store in memory that holds what has been kept at a place, and how to go on.
pub(crate) fn follow(place: &str, definitions: &Arc<Definitions>) -> Result<(Arc<Store>, Following), Failure> {
    let (store, following, _) = taken_in(place, definitions)?;
    Ok((store, following))
}

type TakenIn = (Arc<Store>, Following, Vec<(usize, RecordBatch)>);

fn taken_in(place: &str, definitions: &Arc<Definitions>) -> Result<TakenIn, Failure> {
    let read = |error: OfflineError| Failure::failed(error.to_string());
    let offline = OfflineStore::existing(&absolute(place)?, definitions).map_err(read)?;
    let store = Store::in_memory(definitions.clone(), Settings::default()).map_err(|error| Failure::open(&error))?;
    let mut following = Following::new(offline, &store);
    let (sources, place) = following.newer().map_err(read)?;
    let total = sources.iter().map(|(_, events)| events.num_rows() as u64).sum();
    let bar = Bar::new("history");
    let taken = take_history(&store, &sources, &|events| bar.at(events, total));
    taken.map_err(|error| Failure::failed(error.to_string()))?;
    following.taken(place);
    Ok((Arc::new(store), following, sources))
}

fn failed(error: &OfflineError) -> Failure {
    Failure::failed(format!("{error}. Events wait in the store until it can be written"))
}
