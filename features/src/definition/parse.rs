//! A definition file as a whole: each part is read with those before it, and everything that is wrong is reported at once.
//!
//! A part that is wrong is known by its name but has no value, so that what refers to it is not reported as well.

use super::error::{DefinitionErrors, Problems};
use super::grammar::{ENTITY, FILE};
use super::reader::Item;
use super::{Definitions, Entity, Source, View, service, source, view, yaml};
use crate::schema::{Column, Schema};

/// What has a name; `None` if it is wrong.
pub(super) type Named<T> = (String, Option<T>);

/// An entity before the views say of what type its keys are.
pub(super) struct EntityKeys<'a> {
    pub(super) keys: Vec<String>,
    at: Item<'a>,
}

impl Definitions {
    /// Reads a definition file; `file_name` is for the errors. Either everything is proven, or every error is told.
    pub fn parse(file_name: &str, yaml: &str) -> Result<Definitions, DefinitionErrors> {
        let mut problems = Problems::new(file_name);
        let parsed = parse_file(yaml, &mut problems);
        match parsed {
            Some(definitions) if problems.is_empty() => Ok(definitions),
            _ => Err(problems.into_errors()),
        }
    }
}

fn parse_file(text: &str, problems: &mut Problems) -> Option<Definitions> {
    let root = match yaml::read(text) {
        Ok(Some(root)) => root,
        Ok(None) => {
            problems.add(1, "", "the file is empty, expected sources, entities, views and services");
            return None;
        }
        Err(unreadable) => {
            problems.add(unreadable.line, "", unreadable.message);
            return None;
        }
    };
    let fields = Item::root(&root).fields(&FILE, problems)?;
    let named = |key: &str, what: &str, problems: &mut Problems| match fields.get(key) {
        Some(item) => item.named(what, problems).unwrap_or_default(),
        None => Vec::new(),
    };
    let sources = named("sources", "sources", problems);
    let entities = named("entities", "entities", problems);
    let views = named("views", "views", problems);
    let services = match fields.get("services") {
        Some(item) if !item.is_null() => named("services", "services", problems),
        _ => Vec::new(),
    };

    let sources: Vec<Named<Source>> = each(sources, |name, item| source::parse(name, item, problems));
    let entities: Vec<Named<EntityKeys<'_>>> = each(entities, |_, item| entity_keys(item, problems));
    let views: Vec<Named<(View, Schema)>> = each(views, |name, item| view::parse(name, item, &sources, &entities, problems));
    let entities: Vec<Named<Entity>> =
        entities.into_iter().enumerate().map(|(i, (name, keys))| with_types(i, name, keys, &views, problems)).collect();
    let views: Vec<Named<View>> = views.into_iter().map(|(name, view)| (name, view.map(|(view, _)| view))).collect();
    let services = each(services, |name, item| service::parse(name, item, &views, &entities, problems));
    Some(Definitions { sources: whole(sources)?, entities: whole(entities)?, views: whole(views)?, services: whole(services)? })
}

fn each<'a, T>(entries: Vec<(&'a str, Item<'a>)>, mut parse: impl FnMut(&str, &Item<'a>) -> Option<T>) -> Vec<Named<T>> {
    entries.into_iter().map(|(name, item)| (name.to_owned(), parse(name, &item))).collect()
}

/// All values, if none is missing.
fn whole<T>(parts: Vec<Named<T>>) -> Option<Vec<T>> {
    parts.into_iter().map(|(_, part)| part).collect()
}

fn entity_keys<'a>(item: &Item<'a>, problems: &mut Problems) -> Option<EntityKeys<'a>> {
    let fields = item.fields(&ENTITY, problems)?;
    let mut keys: Vec<String> = Vec::new();
    for key in fields.get("keys")?.list("a list of key columns", problems)? {
        let name = key.text("the name of a key column", problems)?;
        if keys.iter().any(|known| known == name) {
            key.wrong(format!("repeats \"{name}\", expected each key once"), problems);
            return None;
        }
        keys.push(name.to_owned());
    }
    Some(EntityKeys { keys, at: item.clone() })
}

/// The types of an entity's keys are those of its views, which must agree; a view that does not has been told.
fn with_types(
    position: usize,
    name: String,
    found: Option<EntityKeys<'_>>,
    views: &[Named<(View, Schema)>],
    problems: &mut Problems,
) -> Named<Entity> {
    let Some(found) = found else { return (name, None) };
    let mut of_entity = views.iter().filter_map(|(_, view)| view.as_ref()).filter(|(view, _)| view.entity == position);
    match of_entity.next() {
        Some((view, keys)) => {
            for (other, differing) in of_entity.filter(|(_, other)| other != keys) {
                let types = |schema: &Schema| schema.columns.iter().map(describe).collect::<Vec<_>>().join(", ");
                let (here, there) = (types(keys), types(differing));
                let message = format!("views disagree on its keys: {here} in \"{}\", {there} in \"{}\"", view.name, other.name);
                found.at.wrong(message, problems);
            }
            let keys = keys.clone();
            (name.clone(), Some(Entity { name, keys }))
        }
        None => {
            // A view that is wrong may have been the one to use it.
            if !views.is_empty() && views.iter().all(|(_, view)| view.is_some()) {
                found.at.wrong("no view uses it, so the types of its keys are unknown; expected a view of it", problems);
            }
            (name, None)
        }
    }
}

fn describe(column: &Column) -> String {
    format!("{} {}", column.name, column.kind)
}
