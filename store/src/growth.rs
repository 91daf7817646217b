//! What a store was made with, and what may be added to it: sources and views, behind those that there are.
//!
//! Sources, entities and views are stored by their place and read by their definition, so the ones that there are stay as they were.
//! A view that is added is computed from the history of the offline store ([`crate::backfill`]); until then it answers nothing, and may be
//! changed and taken back. The log is written by the definitions of then, so it is brought to its place before others are used.

use std::path::Path;

use floodmark_features::codec::{restore, snapshot};
use floodmark_features::definition::{ClosedWindows, Definitions, View};
use floodmark_features::section::section_plans;
use floodmark_features::watermark::SourceProgress;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};

use crate::checkpoint::PartitionState;
use crate::error::{OpenError, StoreError, engine};
use crate::layout::{
    LOG, META, META_BACKFILLING, META_DEFINITIONS, META_FINGERPRINTS, META_OFFLINE, META_SOURCES, META_TEXT_IS_OF_LOG, PROGRESS, STATE,
    forget_views,
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
pub(crate) fn log_is_of_others(database: &Database, given: &Given<'_>, change: &Change) -> Result<bool, OpenError> {
    let known = meta(database, META_DEFINITIONS)?.unwrap_or_default();
    if known.is_empty() || known == given.text.as_bytes() || !has_log(database)? {
        return Ok(false);
    }
    if is_marked(database)? {
        return Ok(true);
    }
    if change.views.is_none() {
        // It is read as that program would have read it.
        return Ok(false);
    }
    let difference =
        "its log was written by an older program: start it once with the definitions that it had last, and end it with SIGTERM";
    Err(OpenError::Definitions { difference: difference.to_owned(), directory: given.directory.to_owned() })
}

fn has_log(database: &Database) -> Result<bool, StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    Ok(transaction.open_table(LOG).map_err(engine)?.len().map_err(engine)? > 0)
}

/// Whether the stored text is what the log was written by. Older programs wrote the text down only when they made a store.
fn is_marked(database: &Database) -> Result<bool, StoreError> {
    Ok(meta(database, META_TEXT_IS_OF_LOG)?.is_some())
}

/// Opens a store as it was left, and brings its log to its place.
pub(crate) fn settle(database: Database, given: &Given<'_>) -> Result<(), OpenError> {
    let Given { directory, definitions, settings, .. } = given;
    let text = String::from_utf8_lossy(&meta(&database, META_DEFINITIONS)?.unwrap_or_default()).into_owned();
    let sources = stored::<String>(&database, META_SOURCES)?.len();
    drop(database);
    let Ok(mut known) = Definitions::parse("the store's", &text) else {
        let difference = "its log was written by definitions that this program does not understand".to_owned();
        return Err(OpenError::Definitions { difference, directory: directory.to_path_buf() });
    };
    // What is too old is for the definitions that come to say.
    known.sources.iter_mut().for_each(|source| source.retention = None);
    // A store may have got sources since the text was written down.
    known.sources.extend(definitions.sources[..sources].iter().skip(known.sources.len()).cloned());
    let store = Store::open(directory, known.into(), &text, Settings { grows: false, writes: false, ..**settings })?;
    Ok(store.checkpoint()?)
}

/// What is to be written down of definitions that a store may be opened with.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Where the views change: how many stay, how many there were, and which are to be computed from history.
    views: Option<(usize, usize, Vec<u32>)>,
    /// Whether anything is.
    any: bool,
}

/// Checks definitions against those that a store was made with; changes nothing.
pub(crate) fn check(database: &Database, given: &Given<'_>) -> Result<Change, OpenError> {
    let Given { directory, definitions, text, settings } = given;
    let refused = |difference: String| Err(OpenError::Definitions { difference, directory: directory.to_path_buf() });
    let (stored, views): (Vec<(String, u64)>, _) = (self::stored(database, META_FINGERPRINTS)?, fingerprints(definitions));
    let sources: Vec<String> = self::stored(database, META_SOURCES)?;
    if let Some(difference) = source_difference(&sources, &source_names(definitions)) {
        return refused(difference);
    }
    let known = meta(database, META_DEFINITIONS)?.unwrap_or_default();
    let of_then = Definitions::parse("the store's", &String::from_utf8_lossy(&known)).ok();
    let backfilling: Vec<u32> = self::stored(database, META_BACKFILLING)?;
    let settled = settled(database, &stored, of_then.as_ref(), &backfilling)?;
    let changes = views != stored;
    // Whoever only reads changes nothing, and asks by the views that there are.
    if !views.starts_with(&stored[..settled]) || (!settings.writes && !views.starts_with(&stored)) {
        return refused(view_difference(&stored, &views));
    }
    if let Some(difference) = of_then.and_then(|of_then| entity_difference(&of_then, definitions, settled)) {
        return refused(difference);
    }
    let is_as_before = |view: usize| backfilling.contains(&(view as u32)) && views.get(view) == stored.get(view);
    let computed = || computed(database, given, settled, &backfilling, &is_as_before);
    let computed = if changes { Some((settled, stored.len(), computed()?)) } else { None };
    let is_news = changes || sources.len() < definitions.sources.len() || known != text.as_bytes() || !is_marked(database)?;
    let any = settings.writes && is_news;
    Ok(Change { views: computed, any })
}

/// How many views stay as they are. On the last ones nothing depends if they are not computed yet, or if nothing ever came to them.
fn settled(database: &Database, stored: &[(String, u64)], known: Option<&Definitions>, backfilling: &[u32]) -> Result<usize, StoreError> {
    let mut settled = stored.len();
    while settled > 0 {
        let last = settled - 1;
        let is_known = |known: &&Definitions| fingerprints(known).get(last) == stored.get(last);
        let idle = match known.filter(is_known) {
            Some(known) => !has_events(database, known.views[last].source)?,
            None => false,
        };
        if !backfilling.contains(&(last as u32)) && !idle {
            break;
        }
        settled = last;
    }
    Ok(settled)
}

/// Which views are to be computed from history: those behind the settled ones to which something has come.
/// Those that were to be computed before need not be allowed again.
fn computed(
    database: &Database,
    given: &Given<'_>,
    settled: usize,
    backfilling: &[u32],
    is_as_before: &dyn Fn(usize) -> bool,
) -> Result<Vec<u32>, OpenError> {
    let Given { directory, definitions, settings, .. } = given;
    let directory = || directory.to_path_buf();
    let mut past: Vec<(usize, &View)> = Vec::new();
    for (at, view) in definitions.views.iter().enumerate().skip(settled) {
        if has_events(database, view.source)? {
            past.push((at, view));
        }
    }
    let named = |of: &[(usize, &View)]| of.iter().map(|(_, view)| format!("`{}`", view.name)).collect::<Vec<_>>().join(", ");
    let new: Vec<(usize, &View)> = past.iter().copied().filter(|(at, _)| !is_as_before(*at)).collect();
    if !settings.grows && !new.is_empty() {
        return Err(OpenError::NewViews { views: named(&new), directory: directory() });
    }
    if let Some((_, view)) = past.iter().find(|(_, view)| view.closed_windows != ClosedWindows::Silent) {
        return Err(OpenError::EmitsFromHistory { view: view.name.clone(), directory: directory() });
    }
    if !past.is_empty() && meta(database, META_OFFLINE)?.is_none() {
        return Err(OpenError::NoHistory { views: named(&past), directory: directory() });
    }
    let before = backfilling.iter().copied().filter(|view| (*view as usize) < settled);
    Ok(before.chain(past.iter().map(|(at, _)| *at as u32)).collect())
}

/// Whether anything was ever read of a source.
fn has_events(database: &Database, source: usize) -> Result<bool, StoreError> {
    let transaction = database.begin_read().map_err(engine)?;
    let table = transaction.open_table(PROGRESS).map_err(engine)?;
    let Some(bytes) = table.get(source as u32).map_err(engine)? else { return Ok(false) };
    let progress: SourceProgress = restore(bytes.value())?;
    Ok(progress.partitions().iter().any(|partition| partition.next_offset > 0))
}

/// Writes down what the store consists of from now on.
pub(crate) fn note(database: &Database, given: &Given<'_>, change: Change) -> Result<(), StoreError> {
    if !change.any {
        return Ok(());
    }
    let transaction = database.begin_write().map_err(engine)?;
    let write = || -> Result<(), redb::Error> {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_DEFINITIONS, given.text.as_bytes())?;
        meta.insert(META_TEXT_IS_OF_LOG, [].as_slice())?;
        meta.insert(META_SOURCES, snapshot(&source_names(given.definitions)).as_slice())?;
        if let Some((settled, stored, computed)) = change.views {
            meta.insert(META_FINGERPRINTS, snapshot(&fingerprints(given.definitions)).as_slice())?;
            meta.insert(META_BACKFILLING, snapshot(&computed).as_slice())?;
            forget_views(&transaction, settled..stored)?;
            shorten_states(&transaction, given.definitions, settled)?;
        }
        Ok(())
    };
    write()?;
    transaction.commit().map_err(engine)
}

/// What partitions know of the views behind the first ones is nothing that others may inherit.
fn shorten_states(transaction: &WriteTransaction, definitions: &Definitions, views: usize) -> Result<(), redb::Error> {
    let sections = section_plans(definitions).iter().filter(|plan| plan.views.iter().any(|view| view.view < views)).count();
    let mut states = transaction.open_table(STATE)?;
    let mut shorter = Vec::new();
    for entry in states.iter()? {
        let (partition, bytes) = entry?;
        // What cannot be read is found out when the store is opened.
        let Ok(mut state) = restore::<PartitionState>(bytes.value()) else { continue };
        state.counts.truncate(views);
        state.closing.truncate(sections);
        shorter.push((partition.value(), snapshot(&state)));
    }
    for (partition, state) in shorter {
        states.insert(partition, state.as_slice())?;
    }
    Ok(())
}

/// A list among what the store says of itself; empty if it says nothing.
pub(crate) fn stored<T: serde::de::DeserializeOwned>(database: &Database, name: &str) -> Result<Vec<T>, StoreError> {
    Ok(meta(database, name)?.map_or(Ok(Vec::new()), |bytes| restore(&bytes))?)
}

#[cfg(test)]
mod tests;
