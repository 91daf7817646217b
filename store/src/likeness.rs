//! Whether definitions are those that something stored was made with, and where they differ.

use floodmark_features::definition::Definitions;

/// The sources, which are stored by their place.
pub(crate) fn source_names(definitions: &Definitions) -> Vec<String> {
    definitions.sources.iter().map(|source| source.name.clone()).collect()
}

/// A value does not depend on whether closed windows are emitted, but what is stored does.
pub(crate) fn fingerprints(definitions: &Definitions) -> Vec<(String, u64)> {
    definitions.views.iter().map(|v| (v.name.clone(), v.fingerprint.wrapping_add(v.closed_windows as u64))).collect()
}

/// What is wrong with the sources: further ones may follow, and that is all.
pub(crate) fn source_difference(stored: &[String], given: &[String]) -> Option<String> {
    (!given.starts_with(stored)).then(|| format!("the sources were {}, in this order", stored.join(", ")))
}

/// What is wrong with the entities of the first of the stored views, which are stored by their place.
pub(crate) fn entity_difference(stored: &Definitions, given: &Definitions, views: usize) -> Option<String> {
    let moved = stored.views.iter().zip(&given.views).take(views).any(|(was, is)| was.entity != is.entity);
    let names = || stored.entities.iter().map(|entity| entity.name.as_str()).collect::<Vec<_>>();
    moved.then(|| format!("the entities were {}, in this order", names().join(", ")))
}

/// In words, how views differ that are not the same.
pub(crate) fn view_difference(stored: &[(String, u64)], given: &[(String, u64)]) -> String {
    let changed = given
        .iter()
        .filter(|(name, print)| stored.iter().any(|(n, p)| n == name && p != print))
        .map(|(n, _)| format!("view `{n}` has changed"));
    let added = given.iter().filter(|(name, _)| !stored.iter().any(|(n, _)| n == name)).map(|(n, _)| format!("view `{n}` is new"));
    let missing = stored.iter().filter(|(name, _)| !given.iter().any(|(n, _)| n == name)).map(|(n, _)| format!("view `{n}` is missing"));
    let all: Vec<String> = changed.chain(added).chain(missing).collect();
    if all.is_empty() { "the views are in another order".to_owned() } else { all.join(", ") }
}
