//! The columns of a source: names and types, in the order of the definition.

use crate::value::Type;

/// One named, typed column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As the definition and the input call it.
    pub name: String,
    /// What it holds.
    pub kind: Type,
}

/// The columns of a source or the fields of a request.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Schema {
    /// In the order of the definition.
    pub columns: Vec<Column>,
}

impl Schema {
    /// Where the column of that name stands.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}
