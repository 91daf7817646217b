//! Expressions of `where` and `derived`: SQL's, parsed by `sqlparser`, checked against a scope, compiled to a small tree.
//!
//! Null propagates through operators and functions; `AND`, `OR` and `NOT` have three values. `/` always gives `float64`, because
//! a ratio must not be cut off; division by zero, integer overflow and a float that is not finite give null. Where `int64`
//! and `float64` meet, the integer becomes a float. Names are case-sensitive; keywords and functions are not.

mod compile;
mod function;
mod like;
mod node;
mod text;

use std::fmt;
use std::sync::Arc;

use node::Node;

use crate::value::{Type, Value, ValueRef};

/// What the names of an expression mean.
pub trait Scope {
    /// Position and type of what has that name; compound names come joined by dots (`customer_spend.avg_amount_7d`).
    fn resolve(&self, name: &str) -> Option<(usize, Type)>;

    /// Every name that may be used.
    fn names(&self) -> Vec<String>;

    /// Why a name that exists may not be used, to say so instead of "unknown name".
    fn refuses(&self, _name: &str) -> Option<String> {
        None
    }
}

/// The values that an expression is evaluated over, by position.
pub trait Inputs {
    /// The value at that position of the scope, or of what [`Expression::remap`] made of it.
    fn input(&self, position: usize) -> ValueRef<'_>;
}

/// A slice by position; nothing beyond its end.
impl Inputs for [ValueRef<'_>] {
    fn input(&self, position: usize) -> ValueRef<'_> {
        self.get(position).copied().unwrap_or(ValueRef::Null)
    }
}

/// A checked expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    root: Node,
    kind: Type,
    /// The positions that it reads, ascending, without repeats.
    inputs: Box<[usize]>,
    /// Canonical: the same for every way to write the same tree, and by name, so that positions do not matter.
    text: Arc<str>,
}

/// Why a text is not an expression over its scope; the message says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What was found, and what was expected.
    pub message: String,
}

impl Expression {
    /// Parses and checks.
    pub fn compile(text: &str, scope: &dyn Scope) -> Result<Expression, ExpressionError> {
        compile::compile(text, scope)
    }

    /// The type of its value, where it is not null.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// The positions that it reads, ascending, without repeats.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// The same expression over other positions.
    pub fn remap(&self, position: &dyn Fn(usize) -> usize) -> Expression {
        let mut moved = self.clone();
        moved.root.remap(position);
        moved.inputs = inputs_of(&moved.root);
        moved
    }

    /// Its value.
    pub fn evaluate<I: Inputs + ?Sized>(&self, inputs: &I) -> Value {
        self.evaluate_with(inputs, |value| value.to_value())
    }

    /// Hands its value on without copying text.
    pub fn evaluate_with<I: Inputs + ?Sized, R>(&self, inputs: &I, take: impl FnOnce(ValueRef<'_>) -> R) -> R {
        take(self.root.word(inputs).as_ref())
    }

    /// Whether it is true; null and false are not.
    #[inline]
    pub fn accepts<I: Inputs + ?Sized>(&self, inputs: &I) -> bool {
        self.root.truth(inputs) == Some(true)
    }
}

fn inputs_of(root: &Node) -> Box<[usize]> {
    let mut inputs = Vec::new();
    root.inputs(&mut inputs);
    inputs.sort_unstable();
    inputs.dedup();
    inputs.into()
}

/// The canonical text, by which two expressions are known to be the same.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
