//! What is wrong with a definition file: everything at once, each with its place.

use std::fmt;

/// One thing that is wrong: `floodmark.yaml:12: views.customer_spend: unknown key "sorce", expected ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DefinitionError {
    /// As it was given to the parser.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The keys down to the place, joined by dots; empty for the file itself.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DefinitionError { file, line, path, message } = self;
        write!(f, "{file}:{line}: ")?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// Everything that is wrong with a file, in its order; one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DefinitionErrors {
    /// At least one.
    pub errors: Vec<DefinitionError>,
}

impl fmt::Display for DefinitionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Collects errors while the file is read.
pub(super) struct Problems {
    file: String,
    errors: Vec<DefinitionError>,
}

impl Problems {
    pub(super) fn new(file: &str) -> Problems {
        Problems { file: file.to_owned(), errors: Vec::new() }
    }

    pub(super) fn add(&mut self, line: usize, path: &str, message: impl Into<String>) {
        self.errors.push(DefinitionError { file: self.file.clone(), line, path: path.to_owned(), message: message.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// By line; what was found first on a line comes first.
    pub(super) fn into_errors(mut self) -> DefinitionErrors {
        self.errors.sort_by_key(|error| error.line);
        DefinitionErrors { errors: self.errors }
    }
}
