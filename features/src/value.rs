//! Values: what a column of an event holds and what a feature is worth.
//!
//! Inside a timeline a value is one 64-bit word ([`Type::word`]); text lives in the heap of its chunk and the word says
//! where. [`Value`] is the owned form at the edges, [`ValueRef`] the borrowed one inside.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::time::Time;

/// The type of a column of a source or of a request field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A signed 64-bit integer.
    Int64,
    /// A finite 64-bit float.
    Float64,
    /// UTF-8 text.
    String,
    /// An instant, microseconds since the epoch.
    Timestamp,
}

impl Type {
    /// Every type with the name it has in a definition.
    pub const ALL: [(&'static str, Type); 5] = [
        ("bool", Type::Bool),
        ("int64", Type::Int64),
        ("float64", Type::Float64),
        ("string", Type::String),
        ("timestamp", Type::Timestamp),
    ];

    /// As a definition writes it.
    pub fn name(self) -> &'static str {
        match self {
            Type::Bool => "bool",
            Type::Int64 => "int64",
            Type::Float64 => "float64",
            Type::String => "string",
            Type::Timestamp => "timestamp",
        }
    }

    /// The type of that name in a definition.
    pub fn from_name(name: &str) -> Option<Type> {
        Type::ALL.iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
    }

    /// Whether sums and means are defined: integers, floats, and booleans as 0 and 1.
    pub fn is_numeric(self) -> bool {
        matches!(self, Type::Bool | Type::Int64 | Type::Float64)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An owned value. Cheap to clone.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Value {
    /// No value.
    Null,
    /// `bool`
    Bool(bool),
    /// `int64`
    Int(i64),
    /// `float64`
    Float(f64),
    /// `string`
    Str(Arc<str>),
    /// `timestamp`
    Time(Time),
    /// Several values: `first_k`, `last_k`, `top_k`.
    List(Arc<[Value]>),
}

/// A borrowed value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// `bool`
    Bool(bool),
    /// `int64`
    Int(i64),
    /// `float64`
    Float(f64),
    /// `string`
    Str(&'a str),
    /// `timestamp`
    Time(Time),
}

impl ValueRef<'_> {
    /// The owned form.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(b) => Value::Bool(b),
            ValueRef::Int(i) => Value::Int(i),
            ValueRef::Float(x) => Value::Float(x),
            ValueRef::Str(s) => Value::Str(s.into()),
            ValueRef::Time(t) => Value::Time(t),
        }
    }
}

impl Value {
    /// The borrowed form; a list has none and is `Null` there.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null | Value::List(_) => ValueRef::Null,
            Value::Bool(b) => ValueRef::Bool(*b),
            Value::Int(i) => ValueRef::Int(*i),
            Value::Float(x) => ValueRef::Float(*x),
            Value::Str(s) => ValueRef::Str(s),
            Value::Time(t) => ValueRef::Time(*t),
        }
    }

    /// A total order within one type (floats by IEEE total order), by which `min`, `max` and `top_k` decide.
    /// Values of different types compare by type.
    pub fn total_cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Str(a), Value::Str(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Int(_) => 2,
            Value::Float(_) => 3,
            Value::Str(_) => 4,
            Value::Time(_) => 5,
            Value::List(_) => 6,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(i) => write!(f, "{i}"),
            Value::Float(x) => write!(f, "{x}"),
            Value::Str(s) => f.write_str(s),
            Value::Time(t) => write!(f, "{t}"),
            Value::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}
