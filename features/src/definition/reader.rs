//! Reading one place of the file: a node with its path, and every way to take a value out of it that may go wrong.

use super::error::Problems;
use super::grammar::{Key, Table};
use super::yaml::{Content, Node};
use crate::schema::{Column, Schema};
use crate::suggest;
use crate::time::Span;
use crate::value::Type;

/// A node, where it stands, and how one gets there.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    node: &'a Node,
    line: usize,
    path: String,
}

/// The keys of a mapping that were in its table.
pub(super) struct Fields<'a> {
    at: Item<'a>,
    entries: Vec<(&'static str, Item<'a>)>,
    /// A key was unknown, and this has been told: what seems to be missing may be just that.
    misspelt: bool,
}

impl<'a> Item<'a> {
    pub(super) fn root(node: &'a Node) -> Item<'a> {
        Item { node, line: node.line, path: String::new() }
    }

    /// Something is wrong here.
    pub(super) fn wrong(&self, message: impl Into<String>, problems: &mut Problems) {
        problems.add(self.line, &self.path, message);
    }

    /// Something else was expected here.
    pub(super) fn expected<T>(&self, what: &str, problems: &mut Problems) -> Option<T> {
        self.wrong(format!("expected {what}, found {}", self.node.describe()), problems);
        None
    }

    pub(super) fn is_null(&self) -> bool {
        self.node.is_null()
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.content, Content::Map(_))
    }

    /// A scalar as written, whatever YAML makes of it.
    pub(super) fn scalar(&self) -> Option<&'a str> {
        match &self.node.content {
            Content::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    pub(super) fn text(&self, what: &str, problems: &mut Problems) -> Option<&'a str> {
        match self.scalar() {
            Some(text) if !text.is_empty() => Some(text),
            _ => self.expected(what, problems),
        }
    }

    /// A duration of zero or more.
    pub(super) fn span(&self, problems: &mut Problems) -> Option<Span> {
        match self.scalar().and_then(Span::parse) {
            Some(span) => Some(span),
            None => self.expected("a duration such as 30s, 5m, 1h or 7d", problems),
        }
    }

    /// A duration above zero.
    pub(super) fn positive_span(&self, problems: &mut Problems) -> Option<Span> {
        let span = self.span(problems)?;
        if span > Span::ZERO { Some(span) } else { self.expected("a duration above zero", problems) }
    }

    /// A duration with or without a minus before it.
    pub(super) fn offset(&self, problems: &mut Problems) -> Option<Span> {
        match self.scalar().map(|text| (text.strip_prefix('-'), text)) {
            Some((Some(text), _)) => Span::parse(text).map(|span| Span::from_micros(-span.micros())),
            Some((None, text)) => Span::parse(text),
            None => None,
        }
        .or_else(|| self.expected("a duration such as 8h or -8h", problems))
    }

    pub(super) fn whole(&self, (least, most): (u32, u32), problems: &mut Problems) -> Option<u32> {
        match self.scalar().and_then(|text| text.parse::<u32>().ok()) {
            Some(found) if (least..=most).contains(&found) => Some(found),
            _ => self.expected(&format!("a whole number in {least}..={most}"), problems),
        }
    }

    pub(super) fn fraction(&self, problems: &mut Problems) -> Option<f64> {
        match self.scalar().and_then(|text| text.parse::<f64>().ok()) {
            Some(found) if (0.0..=1.0).contains(&found) => Some(found),
            _ => self.expected("a number in 0..=1", problems),
        }
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        if let Some((_, meaning)) = words.iter().find(|(word, _)| self.scalar() == Some(word)) {
            return Some(*meaning);
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        match self.scalar() {
            Some(found) => {
                self.wrong(suggest::unknown("word", found, &words), problems);
                None
            }
            None => self.expected(&format!("one of {}", words.join(", ")), problems),
        }
    }

    /// The position of what is named here.
    pub(super) fn reference<S: AsRef<str>>(&self, what: &str, names: &[S], problems: &mut Problems) -> Option<usize> {
        let found = self.text(&format!("the name of a {what}"), problems)?;
        let position = names.iter().position(|name| name.as_ref() == found);
        if position.is_none() {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            self.wrong(suggest::unknown(what, found, &names), problems);
        }
        position
    }

    /// The position of the column that is named here.
    pub(super) fn column(&self, schema: &Schema, problems: &mut Problems) -> Option<usize> {
        let names: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
        self.reference("column", &names, problems)
    }

    pub(super) fn list(&self, what: &str, problems: &mut Problems) -> Option<Vec<Item<'a>>> {
        match &self.node.content {
            Content::List(items) if items.is_empty() => {
                self.wrong(format!("expected {what}, found an empty list"), problems);
                None
            }
            Content::List(items) => {
                let at = |(i, node): (usize, &'a Node)| Item { node, line: node.line, path: format!("{}[{i}]", self.path) };
                Some(items.iter().enumerate().map(at).collect())
            }
            _ => self.expected(what, problems),
        }
    }

    /// Keys as written with their values, without repeats.
    pub(super) fn entries(&self, what: &str, problems: &mut Problems) -> Option<Vec<(&'a str, Item<'a>)>> {
        let Content::Map(entries) = &self.node.content else { return self.expected(what, problems) };
        let mut found: Vec<(&'a str, Item<'a>)> = Vec::new();
        for (key, value) in entries {
            let name = match &key.content {
                Content::Scalar { text, .. } if !text.is_empty() => text.as_str(),
                _ => {
                    problems.add(key.line, &self.path, format!("expected a name as key, found {}", key.describe()));
                    continue;
                }
            };
            let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
            match found.iter().find(|(known, _)| *known == name) {
                Some((_, first)) => {
                    problems.add(key.line, &self.path, format!("key \"{name}\" is set twice, first in line {}", first.line));
                }
                None => found.push((name, Item { node: value, line: key.line, path })),
            }
        }
        Some(found)
    }

    /// The same, where each key names something that other places refer to.
    pub(super) fn named(&self, what: &str, problems: &mut Problems) -> Option<Vec<(&'a str, Item<'a>)>> {
        let entries = self.entries(&format!("a mapping of names to {what}"), problems)?;
        if entries.is_empty() {
            self.wrong(format!("expected a mapping of names to {what}, found an empty one"), problems);
        }
        for (name, item) in &entries {
            let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
            if !fits {
                item.wrong(format!("\"{name}\" is not a name, expected letters, digits and _, and no digit first"), problems);
            }
        }
        Some(entries)
    }

    /// A mapping whose keys a table lists; unknown and missing ones are reported.
    pub(super) fn fields(&self, table: &'static Table, problems: &mut Problems) -> Option<Fields<'a>> {
        let example = table.all().next().map_or("", |key| key.name);
        let entries = self.entries(&format!("a mapping with keys such as {example}"), problems)?;
        let (mut known, mut meant, mut misspelt) = (Vec::new(), Vec::new(), false);
        for (name, item) in entries {
            match table.all().find(|key| key.name == name) {
                Some(key) => known.push((key.name, item)),
                None => {
                    let names: Vec<&str> = table.all().map(|key| key.name).collect();
                    problems.add(item.line, &self.path, suggest::unknown("key", name, &names));
                    meant.extend(suggest::nearest(name, &names));
                    misspelt = true;
                }
            }
        }
        for Key { name, doc, .. } in table.keys.iter().filter(|key| key.required) {
            if known.iter().all(|(found, _)| found != name) && !meant.contains(name) {
                self.wrong(format!("key \"{name}\" is missing: {doc}"), problems);
            }
        }
        Some(Fields { at: self.clone(), entries: known, misspelt })
    }

    /// Columns or fields with their types; `None` if one of them is wrong.
    pub(super) fn schema(&self, problems: &mut Problems) -> Option<Schema> {
        let mut columns = Vec::new();
        let mut wrong = false;
        for (name, item) in self.entries("a mapping of names to types", problems)? {
            match item.one_of_types(problems) {
                Some(kind) => columns.push(Column { name: name.to_owned(), kind }),
                None => wrong = true,
            }
        }
        (!wrong).then_some(Schema { columns })
    }

    fn one_of_types(&self, problems: &mut Problems) -> Option<Type> {
        let names = Type::ALL.map(|(name, _)| name);
        let found = self.text(&format!("a type, one of {}", names.join(", ")), problems)?;
        let kind = Type::from_name(found);
        if kind.is_none() {
            self.wrong(suggest::unknown("type", found, &names), problems);
        }
        kind
    }
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&Item<'a>> {
        self.entries.iter().find(|(found, _)| *found == name).map(|(_, item)| item)
    }

    /// The place of the mapping itself.
    pub(super) fn at(&self) -> &Item<'a> {
        &self.at
    }

    /// The one key of the table's choice.
    pub(super) fn choice(&self, table: &'static Table, problems: &mut Problems) -> Option<(&'static str, Item<'a>)> {
        let (noun, keys) = table.choice?;
        let mut chosen = self.entries.iter().filter(|(name, _)| keys.iter().any(|key| key.name == *name));
        match (chosen.next(), chosen.next()) {
            (Some(only), None) => Some(only.clone()),
            (Some((first, _)), Some((second, _))) => {
                self.at.wrong(format!("both {first} and {second}, expected one {noun}"), problems);
                None
            }
            (None, _) if self.misspelt => None,
            (None, _) => {
                let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
                self.at.wrong(format!("no {noun}, expected one of {}", names.join(", ")), problems);
                None
            }
        }
    }
}
