//! Expressions of `where` and `derived`: SQL's, parsed by `sqlparser`, checked against a scope, compiled to a small tree.

/// A checked expression.
#[derive(Debug, PartialEq)]
pub struct Expression {}
