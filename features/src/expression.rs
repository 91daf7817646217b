//! Expressions of `where` and `derived`: SQL's, parsed by `sqlparser`, checked against a scope, compiled to a small tree.
use crate::value::ValueRef;

/// A checked expression.
#[derive(Debug, PartialEq)]
pub struct Expression {}
impl Expression {
    /// stub
    pub fn evaluate(&self, _inputs: &impl Inputs) -> crate::value::Value {
        crate::value::Value::Null
    }
    /// stub
    pub fn inputs(&self) -> Vec<usize> {
        Vec::new()
    }
    /// stub
    pub fn accepts(&self, _inputs: &impl Inputs) -> bool {
        true
    }
}
/// Inputs
pub trait Inputs {
    /// by position
    fn input(&self, position: usize) -> ValueRef<'_>;
}
