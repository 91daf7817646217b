//! A view of the definition file: its features share slots, its outputs have names, and its fingerprint says what it is worth.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::Problems;
use super::feature::{self, Draft};
use super::grammar::VIEW;
use super::parse::{EntityKeys, Named};
use super::reader::{Fields, Item};
use super::{ClosedWindows, Feature, Output, Slot, Source, View, fingerprint};
use crate::aggregate::Function;
use crate::key::may_be_key;
use crate::schema::{Column, Schema};
use crate::value::Type;
use crate::window::{Bounds, Frame};

/// The view, and the names and types of its entity's keys.
pub(super) fn parse(
    name: &str,
    item: &Item<'_>,
    sources: &[Named<Source>],
    entities: &[Named<EntityKeys<'_>>],
    problems: &mut Problems,
) -> Option<(View, Schema)> {
    let fields = item.fields(&VIEW, problems)?;
    let entity = fields.get("entity").and_then(|item| item.reference("entity", &names(entities), problems));
    let source = fields.get("source").and_then(|item| item.reference("source", &names(sources), problems));
    let bounds = match fields.get("bounds") {
        Some(item) => item.one_of(&Bounds::ALL, problems),
        None => Some(Bounds::default()),
    };
    let ttl = fields.get("ttl").map(|item| item.positive_span(problems));
    let closed_windows = match fields.get("emit_closed_windows") {
        Some(item) => item.one_of(&CLOSED_WINDOWS, problems),
        None => Some(ClosedWindows::default()),
    };
    let found_source = source.and_then(|at| sources[at].1.as_ref());
    let drafts = drafts(&fields, found_source, problems);

    let (source, entity, found_source) = (source?, entity?, found_source?);
    let (entity_name, keys) = &entities[entity];
    let keys = &keys.as_ref()?.keys;
    let (key_columns, key_schema) = key_columns(&fields, entity_name, keys, found_source, problems)?;
    let ttl = match ttl {
        Some(ttl) => Some(ttl?),
        None => None,
    };
    let mut view = View {
        name: name.to_owned(),
        entity,
        source,
        key_columns,
        columns: Vec::new(),
        column_types: Vec::new(),
        slots: Vec::new(),
        features: Vec::new(),
        outputs: Vec::new(),
        bounds: bounds?,
        ttl,
        closed_windows: closed_windows?,
        fingerprint: 0,
    };
    view.settle(drafts?, &found_source.schema, problems);
    view.fingerprint = fingerprint::of_view(&view, found_source, &key_schema);
    Some((view, key_schema))
}

const CLOSED_WINDOWS: [(&str, ClosedWindows); 3] =
    [("false", ClosedWindows::Silent), ("true", ClosedWindows::Accumulating), ("discarding", ClosedWindows::Discarding)];

fn names<T>(named: &[Named<T>]) -> Vec<&str> {
    named.iter().map(|(name, _)| name.as_str()).collect()
}

fn drafts<'a>(fields: &Fields<'a>, source: Option<&Source>, problems: &mut Problems) -> Option<Vec<Draft<'a>>> {
    let features = fields.get("features")?.named("features", problems)?;
    let drafts: Vec<_> = features.iter().map(|(name, item)| feature::parse(name, item, source, problems)).collect();
    drafts.into_iter().collect()
}

/// For each key of the entity its column of the source, with name and type.
fn key_columns(
    fields: &Fields<'_>,
    entity: &str,
    keys: &[String],
    source: &Source,
    problems: &mut Problems,
) -> Option<(Vec<usize>, Schema)> {
    let renamed = match fields.get("keys") {
        Some(item) => item.entries("a mapping of the entity's keys to columns", problems)?,
        None => Vec::new(),
    };
    let mut wrong = false;
    for (key, item) in &renamed {
        if !keys.iter().any(|known| known == key) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            item.wrong(crate::suggest::unknown(&format!("key of entity \"{entity}\""), key, &keys), problems);
            wrong = true;
        }
    }
    let (mut positions, mut columns) = (Vec::new(), Vec::new());
    for key in keys {
        let named = renamed.iter().find(|(name, _)| name == key).map(|(_, item)| item);
        let position = match named {
            Some(item) => item.column(&source.schema, problems),
            None => source.schema.position(key).or_else(|| {
                let message = format!(
                    "source \"{}\" has no column \"{key}\", a key of entity \"{entity}\"; expected keys: {{ {key}: COLUMN }} to say which",
                    source.name
                );
                fields.at().wrong(message, problems);
                None
            }),
        };
        let Some(position) = position else {
            wrong = true;
            continue;
        };
        let column = &source.schema.columns[position];
        if !may_be_key(column.kind) {
            let message = format!("column \"{}\" is {}, expected a key of type bool, int64, string or timestamp", column.name, column.kind);
            named.unwrap_or(fields.at()).wrong(message, problems);
            wrong = true;
        }
        positions.push(position);
        columns.push(Column { name: key.clone(), kind: column.kind });
    }
    (!wrong).then_some((positions, Schema { columns }))
}

impl View {
    /// Puts features into slots over the columns that they need, and names their outputs.
    fn settle(&mut self, drafts: Vec<Draft<'_>>, schema: &Schema, problems: &mut Problems) {
        let needed = drafts.iter().flat_map(|d| d.column.into_iter().chain(d.filter.iter().flat_map(|f| f.inputs().iter().copied())));
        self.columns = needed.collect::<BTreeSet<usize>>().into_iter().collect();
        self.column_types = self.columns.iter().map(|at| schema.columns[*at].kind).collect();
        for draft in drafts {
            let slot = self.slot_for(&draft, schema);
            let feature = self.features.len();
            for window in &draft.windows {
                let name = format!("{}_{}", draft.name, window.label());
                if let Some(clash) = self.outputs.iter().find(|output| output.name == name) {
                    let other = &self.features[clash.feature].name;
                    draft.at.wrong(format!("gives \"{name}\", as feature \"{other}\" does; expected another name"), problems);
                }
                let full_name = format!("{}.{name}", self.name).into();
                let frame = Frame { window: *window, bounds: self.bounds, delay: draft.delay };
                self.outputs.push(Output { name, full_name, feature, frame, kind: draft.kind });
            }
            let Draft { name, function, windows, delay, default, .. } = draft;
            self.features.push(Feature { name, function, slot, windows, delay, default });
        }
    }

    /// The slot with what this feature aggregates: an equal one if there is, else a new one.
    fn slot_for(&mut self, draft: &Draft<'_>, schema: &Schema) -> usize {
        let kept = |at: usize| self.columns.binary_search(&at).unwrap_or_default();
        let slot = Slot {
            function: class(draft.function),
            column: draft.column.map(kept),
            kind: draft.column.map(|at| -> Type { schema.columns[at].kind }),
            filter: draft.filter.as_ref().map(|filter| Arc::new(filter.remap(&kept))),
        };
        self.slots.iter().position(|known| *known == slot).unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        })
    }
}

/// Functions whose partials are the same are one class, and one of them stands for it.
fn class(function: Function) -> Function {
    match function {
        Function::Count | Function::Rate => Function::Count,
        Function::Sum | Function::Mean => Function::Sum,
        Function::VarPop | Function::VarSamp | Function::StddevPop | Function::StddevSamp => Function::VarPop,
        Function::Quantile { .. } => Function::Quantile { q: 0.5 },
        other => other,
    }
}
