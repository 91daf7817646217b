//! Fingerprints. That of a view is xxh3 of a canonical text of all that decides what is stored and what a value is worth.
//!
//! In it: the source's name, event time, event id, the columns that are kept, out-of-orderness, lateness and future skew
//! (they decide `visible_from` and what is rejected); the entity's key columns; bounds, ttl, features with function,
//! filter, windows, delay and default. Not in it: order and presence of columns that the view does not use, retention,
//! idle settings, closed windows, services, names of view and entity. The text is versioned: when its form changes, so must its first line.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::{Definitions, OutputType, Source, View};
use crate::lookup::Lookup;
use crate::schema::Schema;
use crate::value::Value;

impl Definitions {
    /// Tells whether two programs mean the same by what they hand each other: sources and views, in order, and what is emitted.
    pub fn fingerprint(&self) -> u64 {
        let mut text = String::from("floodmark definitions 1\n");
        let sources = self.sources.iter().map(|source| source.name.clone());
        let views = self.views.iter().map(|view| format!("{:?} {:016x} {}", view.name, view.fingerprint, view.closed_windows as u64));
        sources.chain(views).for_each(|line| {
            text.push_str(&line);
            text.push('\n');
        });
        xxh3_64(text.as_bytes())
    }
}

pub(super) fn of_view(view: &View, source: &Source, keys: &Schema) -> u64 {
    xxh3_64(canonical(view, source, keys).as_bytes())
}

fn canonical(view: &View, source: &Source, keys: &Schema) -> String {
    let column = |at: usize| format!("{:?} {}", source.schema.columns[at].name, source.schema.columns[at].kind);
    let mut text = String::from("floodmark view 1\n");
    let mut line = |what: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{what} {value}");
    };
    line("source", format!("{:?}", source.name));
    line("event_time", column(source.event_time));
    line("event_id", source.event_id.map_or_else(|| "-".to_owned(), column));
    line("max_out_of_orderness", source.max_out_of_orderness.to_string());
    line("allowed_lateness", source.allowed_lateness.to_string());
    line("max_future_skew", source.max_future_skew.to_string());
    for (key, at) in keys.columns.iter().zip(&view.key_columns) {
        line("key", format!("{:?} = {}", key.name, column(*at)));
    }
    line("bounds", format!("{:?}", view.bounds));
    line("ttl", view.ttl.map_or_else(|| "-".to_owned(), |ttl| ttl.to_string()));
    for feature in &view.features {
        let slot = &view.slots[feature.slot];
        line("feature", format!("{:?} {:?}", feature.name, feature.function));
        line("  of", slot.column.map_or_else(|| "*".to_owned(), |at| column(view.columns[at])));
        line("  where", slot.filter.as_ref().map_or_else(|| "-".to_owned(), |filter| filter.to_string()));
        line("  windows", feature.windows.iter().map(|window| window.label()).collect::<Vec<_>>().join(" "));
        line("  delay", feature.delay.to_string());
        line("  default", value_text(&feature.default));
    }
    // Types of columns that only a filter reads.
    for at in &view.columns {
        line("column", column(*at));
    }
    text
}

/// The fingerprint of the columns of an answer, in order: name, type and what decides the value of each. Models and training sets keep it:
/// a model is served only the columns that it was trained on.
pub(crate) fn of_columns(lookup: &Lookup) -> u64 {
    let definitions = &lookup.definitions;
    let mut text = String::from("floodmark columns 1\n");
    for (feature, name) in lookup.features.iter().zip(&lookup.columns) {
        let (kind, list) = match definitions.output_at(*feature).kind {
            OutputType::Scalar(kind) => (kind, ""),
            OutputType::List(kind) => (kind, "list of "),
        };
        let _ = writeln!(text, "feature {name:?} {list}{kind} {:016x}", definitions.views[feature.view].fingerprint);
    }
    for derived in lookup.service.iter().flat_map(|service| &definitions.services[*service].derived) {
        let _ = writeln!(text, "derived {:?} {}", derived.name, derived.expression);
    }
    for field in &lookup.request.columns {
        let _ = writeln!(text, "request {:?} {}", field.name, field.kind);
    }
    xxh3_64(text.as_bytes())
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Str(text) => format!("{text:?}"),
        Value::Float(x) => format!("{x:?}"),
        other => other.to_string(),
    }
}
