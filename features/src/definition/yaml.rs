//! YAML text to a tree of nodes that know their lines. Keys stay as written, repeats included, so that the reader can name
//! both lines; anchors, aliases, tags and second documents are refused.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Deeper files are refused; definitions need seven levels.
const MAX_DEPTH: usize = 32;

/// A value with the line that it starts on.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Text as written; `plain` if it had no quotes, so that it may mean a number, a truth or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Where and why a text is not YAML that we read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) message: String,
}

enum Open {
    List(usize, Vec<Node>),
    Map(usize, Vec<(Node, Node)>, Option<Node>),
}

/// The only document of the text; `None` if there is none.
pub(super) fn read(text: &str) -> Result<Option<Node>, Unreadable> {
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (event, span) = match event {
            Ok(found) => found,
            Err(e) => {
                let hint = if e.info().contains("alias") { "; did you mean \"*\" in quotes?" } else { "" };
                return refuse(e.marker().line(), format!("not YAML: {}{hint}", e.info()));
            }
        };
        let line = span.start.line();
        let finished = match event {
            Event::Scalar(_, _, 1.., _) | Event::SequenceStart(1.., _) | Event::MappingStart(1.., _) | Event::Alias(_) => {
                return refuse(line, "anchors (&) and aliases (*) are not offered, expected the value itself");
            }
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return refuse(line, "tags (!) are not offered, expected the value itself");
            }
            Event::DocumentStart(_) if root.is_some() => return refuse(line, "a second document, expected one in a file"),
            Event::Scalar(text, style, ..) => {
                Some(Node { line, content: Content::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain } })
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(line, Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(line, Vec::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(Open::close),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => None,
        };
        if open.len() > MAX_DEPTH {
            return refuse(line, format!("nested too deeply, expected at most {MAX_DEPTH} levels"));
        }
        if let Some(node) = finished {
            match open.last_mut() {
                None => root = Some(node),
                Some(Open::List(_, items)) => items.push(node),
                Some(Open::Map(_, entries, key)) => match key.take() {
                    None => *key = Some(node),
                    Some(key) => entries.push((key, node)),
                },
            }
        }
    }
    Ok(root.filter(|node| !node.is_null()))
}

fn refuse<T>(line: usize, message: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable { line, message: message.into() })
}

impl Open {
    fn close(self) -> Node {
        match self {
            Open::List(line, items) => Node { line, content: Content::List(items) },
            Open::Map(line, entries, _) => Node { line, content: Content::Map(entries) },
        }
    }
}

impl Node {
    /// Nothing, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        match &self.content {
            Content::Scalar { text, plain } => *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            Content::List(_) | Content::Map(_) => false,
        }
    }

    /// For "found ...".
    pub(super) fn describe(&self) -> String {
        match &self.content {
            _ if self.is_null() => "nothing".to_owned(),
            Content::Scalar { text, .. } => format!("\"{text}\""),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }
}
