//! The offline store of a store, kept up while a command runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use floodmark_offline::{Keeper, OfflineError, OfflineStore};
use floodmark_store::Store;

use crate::failure::Failure;

/// A place as it stays right wherever a command is started.
pub(crate) fn absolute(place: &str) -> Result<String, Failure> {
    if place.contains("://") {
        return Ok(place.to_owned());
    }
    Ok(std::path::absolute(Path::new(place))?.display().to_string())
}

/// Starts to keep what the store takes in, if it has an offline store.
pub(crate) fn start(store: &Arc<Store>, interval: Duration) -> Result<Option<Keeper>, Failure> {
    let Some(place) = store.offline() else { return Ok(None) };
    let offline = OfflineStore::open(place, store.definitions()).map_err(|error| failed(&error))?;
    let complain = |error: &OfflineError| eprintln!("floodmark: events wait for the offline store: {error}");
    Ok(Some(Keeper::start(store.clone(), offline, interval, complain)?))
}

/// Keeps what still waits.
pub(crate) fn finish(keeper: Option<Keeper>) -> Result<(), Failure> {
    keeper.map_or(Ok(()), |keeper| keeper.finish().map_err(|error| failed(&error)))
}

fn failed(error: &OfflineError) -> Failure {
    Failure::failed(format!("{error}. Events wait in the store until it can be written"))
}
