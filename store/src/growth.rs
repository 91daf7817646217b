//! What a store was made with, and what may be added to it: sources and views, behind those that there are.
//!
//! Sources, entities and views are stored by their place and read by their definition, so the ones that there are stay as they were.
//! A view that is added is computed from the history of the offline store ([`crate::backfill`]); until then it answers nothing.

use std::path::Path;

use floodmark_features::codec::{restore, snapshot};
use floodmark_features::definition::Definitions;
use redb::{Database, ReadableDatabase, ReadableTableMetadata};

use crate::error::{OpenError, StoreError, engine};
use crate::layout::{
    LOG, META, META_BACKFILLING, META_CHECKPOINT, META_DEFINITIONS, META_FINGERPRINTS, META_OFFLINE, META_SOURCES, WHOLE_COMMIT,
};
use crate::likeness::{entity_difference, fingerprints, source_difference, source_names, view_difference};
use crate::recovery::meta;
use crate::{Settings, Store};

/// Checks definitions against those that a store was made with, and takes note of what is added.
pub(crate) fn check(database: &Database, directory: &Path, definitions: &Definitions, text: &str, grows: bool) -> Result<(), OpenError> {
    let refused = |difference: String| Err(OpenError::Definitions { difference, directory: directory.to_owned() });
    let stored: Vec<(String, u64)> = stored(database, META_FINGERPRINTS)?;
    let given = fingerprints(definitions);
    if !given.starts_with(&stored) {
        return refused(view_difference(&stored, &given));
    }
    let sources: Vec<String> = self::stored(database, META_SOURCES)?;
    if let Some(difference) = source_difference(&sources, &source_names(definitions)) {
        return refused(difference);
    }
    if let Some(difference) = known_definitions(database)?.and_then(|known| entity_difference(&known, definitions)) {
        return refused(difference);
    }
    let added = stored.len()..given.len();
    if !added.is_empty() {
        may_be_added(database, directory, definitions, added.clone(), grows)?;
    }
    if !added.is_empty() || definitions.sources.len() > sources.len() {
        note(database, definitions, text, added)?;
    }
    Ok(())
}

/// Whether what is in the log of a store was routed for fewer views than these definitions have: it is to be brought to its place first.
pub(crate) fn log_is_in_the_way(database: &Database, definitions: &Definitions, settings: &Settings) -> Result<bool, StoreError> {
    let views: Vec<(String, u64)> = stored(database, META_FINGERPRINTS)?;
    let adds = !views.is_empty() && settings.grows && definitions.views.len() > views.len();
    if !adds {
        return Ok(false);
    }
    let transaction = database.begin_read().map_err(engine)?;
    Ok(transaction.open_table(LOG).map_err(engine)?.len().map_err(engine)? > 0)
}

impl Store {
    /// Opens a store as it was left, and brings its log to its place.
    pub(crate) fn settle_log(database: Database, directory: &Path, settings: Settings) -> Result<(), OpenError> {
        let text = meta(&database, META_DEFINITIONS)?.unwrap_or_default();
        let known = known_definitions(&database)?;
        drop(database);
        let Some(known) = known else { return Ok(()) };
        let store = Store::open(directory, known.into(), &String::from_utf8_lossy(&text), Settings { grows: false, ..settings })?;
        Ok(store.checkpoint()?)
    }
}

fn may_be_added(
    database: &Database,
    directory: &Path,
    definitions: &Definitions,
    added: std::ops::Range<usize>,
    grows: bool,
) -> Result<(), OpenError> {
    let views = &definitions.views[added];
    let named = || views.iter().map(|view| format!("`{}`", view.name)).collect::<Vec<_>>().join(", ");
    if !grows {
        return Err(OpenError::NewViews { views: named(), directory: directory.to_owned() });
    }
    if has_events(database)? {
        if let Some(view) = views.iter().find(|view| view.closed_windows != floodmark_features::definition::ClosedWindows::Silent) {
            return Err(OpenError::EmitsFromHistory { view: view.name.clone(), directory: directory.to_owned() });
        }
        if meta(database, META_OFFLINE)?.is_none() {
            return Err(OpenError::NoHistory { views: named(), directory: directory.to_owned() });
        }
    }
    Ok(())
}

fn has_events(database: &Database) -> Result<bool, StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    let log = transaction.open_table(LOG).map_err(engine)?;
    let committed = log.range((0, 0)..=(u64::MAX, WHOLE_COMMIT)).map_err(engine)?.next().is_some();
    Ok(committed || meta(database, META_CHECKPOINT)?.is_some())
}

/// Writes down what the store consists of from now on, and which views are to be computed from history.
fn note(database: &Database, definitions: &Definitions, text: &str, added: std::ops::Range<usize>) -> Result<(), StoreError> {
    let mut backfilling: Vec<u32> = stored(database, META_BACKFILLING)?;
    if has_events(database)? {
        backfilling.extend(added.map(|view| view as u32));
    }
    let transaction = database.begin_write().map_err(engine)?;
    let write = || -> Result<(), redb::Error> {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_DEFINITIONS, text.as_bytes())?;
        meta.insert(META_FINGERPRINTS, snapshot(&fingerprints(definitions)).as_slice())?;
        meta.insert(META_SOURCES, snapshot(&source_names(definitions)).as_slice())?;
        meta.insert(META_BACKFILLING, snapshot(&backfilling).as_slice())?;
        Ok(())
    };
    write()?;
    transaction.commit().map_err(engine)
}

/// The definitions that the store was made with; `None` if it does not say, or says what this program does not understand.
fn known_definitions(database: &Database) -> Result<Option<Definitions>, StoreError> {
    let text = meta(database, META_DEFINITIONS)?.unwrap_or_default();
    Ok(Definitions::parse("the store's", &String::from_utf8_lossy(&text)).ok())
}

/// A list among what the store says of itself; empty if it says nothing.
pub(crate) fn stored<T: serde::de::DeserializeOwned>(database: &Database, name: &str) -> Result<Vec<T>, StoreError> {
    Ok(meta(database, name)?.map_or(Ok(Vec::new()), |bytes| restore(&bytes))?)
}
