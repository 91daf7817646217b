//! What a store was made with, and what may be added to it: sources and views, behind those that there are.
//!
//! Sources, entities and views are stored by their place and read by their definition, so the ones that there are stay as they were.
//! A view that is added is computed from the history of the offline store ([`crate::backfill`]); until then it answers nothing, and may be
//! changed and taken back. The log is written by the definitions of then, so it is brought to its place before others are used.

use std::path::Path;

use floodmark_features::codec::{restore, snapshot};
use floodmark_features::definition::{ClosedWindows, Definitions, View};
use redb::{Database, ReadableDatabase, ReadableTableMetadata};

use crate::checkpoint::CheckpointNote;
use crate::error::{OpenError, StoreError, engine};
use crate::layout::{
    LOG, META, META_BACKFILLING, META_CHECKPOINT, META_DEFINITIONS, META_FINGERPRINTS, META_OFFLINE, META_SOURCES, forget_views,
};
use crate::likeness::{entity_difference, fingerprints, source_difference, source_names, view_difference};
use crate::recovery::meta;
use crate::{Settings, Store};

/// Definitions that a store is to be opened with, and where it lies.
pub(crate) struct Given<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) definitions: &'a Definitions,
    pub(crate) text: &'a str,
    pub(crate) settings: &'a Settings,
}

/// Whether the log was written by other definitions than these: it is to be [settled](settle) first.
pub(crate) fn log_is_of_others(database: &Database, text: &str) -> Result<bool, StoreError> {
    let known = meta(database, META_DEFINITIONS)?.unwrap_or_default();
    if known.is_empty() || known == text.as_bytes() {
        return Ok(false);
    }
    let transaction = database.begin_read().map_err(engine)?;
    Ok(transaction.open_table(LOG).map_err(engine)?.len().map_err(engine)? > 0)
}

/// Opens a store as it was left, and brings its log to its place.
pub(crate) fn settle(database: Database, given: &Given<'_>) -> Result<(), OpenError> {
    let Given { directory, definitions, settings, .. } = given;
    let text = String::from_utf8_lossy(&meta(&database, META_DEFINITIONS)?.unwrap_or_default()).into_owned();
    drop(database);
    let Ok(mut known) = Definitions::parse("the store's", &text) else {
        let difference = "its log was written by definitions that this program does not understand".to_owned();
        return Err(OpenError::Definitions { difference, directory: directory.to_path_buf() });
    };
    // How long values are kept is as it is wanted now; and a store may have got sources since the text was written down.
    for (known, given) in known.sources.iter_mut().zip(&definitions.sources) {
        known.retention = given.retention;
    }
    known.sources.extend(definitions.sources.iter().skip(known.sources.len()).cloned());
    let store = Store::open(directory, known.into(), &text, Settings { grows: false, ..**settings })?;
    Ok(store.checkpoint()?)
}

/// Checks definitions against those that a store was made with, and takes note of what is added.
pub(crate) fn check(database: &Database, given: &Given<'_>) -> Result<(), OpenError> {
    let Given { directory, definitions, text, settings } = given;
    let refused = |difference: String| Err(OpenError::Definitions { difference, directory: directory.to_path_buf() });
    let (stored, views): (Vec<(String, u64)>, _) = (self::stored(database, META_FINGERPRINTS)?, fingerprints(definitions));
    // From the first view on that is not there yet, nothing depends on them.
    let unsettled: Vec<u32> = self::stored(database, META_BACKFILLING)?;
    let settled = unsettled.first().map_or(stored.len(), |first| *first as usize);
    if !views.starts_with(&stored[..settled]) {
        return refused(view_difference(&stored[..settled], &views));
    }
    let sources: Vec<String> = self::stored(database, META_SOURCES)?;
    if let Some(difference) = source_difference(&sources, &source_names(definitions)) {
        return refused(difference);
    }
    let known = meta(database, META_DEFINITIONS)?.unwrap_or_default();
    let of_then = Definitions::parse("the store's", &String::from_utf8_lossy(&known)).ok();
    if let Some(difference) = of_then.and_then(|of_then| entity_difference(&of_then, definitions, settled)) {
        return refused(difference);
    }
    let changes = views != stored;
    let computed = if changes { computed(database, given, settled)? } else { Vec::new() };
    if changes || sources.len() < definitions.sources.len() || (settings.writes && known != text.as_bytes()) {
        note(database, given, changes.then_some((settled, stored.len(), computed)))?;
    }
    Ok(())
}

/// Which of the views behind the settled ones are to be computed from history, if they may be added at all.
fn computed(database: &Database, given: &Given<'_>, settled: usize) -> Result<Vec<u32>, OpenError> {
    let Given { directory, definitions, settings, .. } = given;
    let directory = || directory.to_path_buf();
    let named = |views: &[&View]| views.iter().map(|view| format!("`{}`", view.name)).collect::<Vec<_>>().join(", ");
    let added: Vec<&View> = definitions.views[settled..].iter().collect();
    if !settings.grows && !added.is_empty() {
        return Err(OpenError::NewViews { views: named(&added), directory: directory() });
    }
    let note: CheckpointNote =
        meta(database, META_CHECKPOINT)?.map_or(Ok(CheckpointNote::default()), |bytes| restore(&bytes)).map_err(StoreError::from)?;
    let has_events = |view: &View| note.tallies.get(view.source).is_some_and(|tally| tally.read > 0);
    let past: Vec<&View> = added.into_iter().filter(|view| has_events(view)).collect();
    if let Some(view) = past.iter().find(|view| view.closed_windows != ClosedWindows::Silent) {
        return Err(OpenError::EmitsFromHistory { view: view.name.clone(), directory: directory() });
    }
    if !past.is_empty() && meta(database, META_OFFLINE)?.is_none() {
        return Err(OpenError::NoHistory { views: named(&past), directory: directory() });
    }
    Ok((settled..definitions.views.len()).filter(|view| has_events(&definitions.views[*view])).map(|view| view as u32).collect())
}

/// Writes down what the store consists of from now on. `views`, where they change: how many stay, how many there were, and which are to be
/// computed from history.
fn note(database: &Database, given: &Given<'_>, views: Option<(usize, usize, Vec<u32>)>) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(engine)?;
    let write = || -> Result<(), redb::Error> {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_DEFINITIONS, given.text.as_bytes())?;
        meta.insert(META_SOURCES, snapshot(&source_names(given.definitions)).as_slice())?;
        if let Some((settled, stored, computed)) = views {
            meta.insert(META_FINGERPRINTS, snapshot(&fingerprints(given.definitions)).as_slice())?;
            meta.insert(META_BACKFILLING, snapshot(&computed).as_slice())?;
            forget_views(&transaction, settled..stored)?;
        }
        Ok(())
    };
    write()?;
    transaction.commit().map_err(engine)
}

/// A list among what the store says of itself; empty if it says nothing.
pub(crate) fn stored<T: serde::de::DeserializeOwned>(database: &Database, name: &str) -> Result<Vec<T>, StoreError> {
    Ok(meta(database, name)?.map_or(Ok(Vec::new()), |bytes| restore(&bytes))?)
}
