//! One field on its way in: from what JSON or CSV says to a value of its column's type.

use std::borrow::Cow;
use std::fmt;

use floodmark_features::schema::Column;
use floodmark_features::time::Time;
use floodmark_features::value::{Type, ValueRef};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::reject::RejectReason;

/// A field as JSON says it, not typed yet.
#[derive(Debug, Default)]
pub enum Raw<'a> {
    /// `null`, or not there.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number in range.
    Int(i64),
    /// An integer above the range of `i64`.
    Huge(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(Cow<'a, str>),
    /// An instant, where the format has such; `None` is one beyond what a [`Time`] can say.
    Time(Option<Time>),
    /// A list or an object: no column holds one.
    Nested(&'static str),
}

impl<'a> Raw<'a> {
    /// What a parsed JSON value says.
    pub fn of_json(value: &'a serde_json::Value) -> Raw<'a> {
        match value {
            serde_json::Value::Null => Raw::Null,
            serde_json::Value::Bool(b) => Raw::Bool(*b),
            serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(i), _, _) => Raw::Int(i),
                (_, Some(u), _) => Raw::Huge(u),
                (_, _, x) => Raw::Float(x.unwrap_or(f64::INFINITY)),
            },
            serde_json::Value::String(s) => Raw::Str(Cow::Borrowed(s)),
            serde_json::Value::Array(_) => Raw::Nested("a list"),
            serde_json::Value::Object(_) => Raw::Nested("an object"),
        }
    }

    /// The value of the column's type that it stands for.
    pub fn typed(&self, column: &Column) -> Result<ValueRef<'_>, RejectReason> {
        Ok(match (self, column.kind) {
            (Raw::Null, _) => ValueRef::Null,
            (Raw::Bool(b), Type::Bool) => ValueRef::Bool(*b),
            (Raw::Int(i @ (0 | 1)), Type::Bool) => ValueRef::Bool(*i == 1),
            (Raw::Int(i), Type::Int64) => ValueRef::Int(*i),
            (Raw::Int(i), Type::Float64) => ValueRef::Float(*i as f64),
            (Raw::Int(i), Type::Timestamp) => ValueRef::Time(Time::from_micros(*i)),
            (Raw::Huge(u), Type::Float64) => ValueRef::Float(*u as f64),
            (Raw::Huge(_), Type::Int64 | Type::Timestamp) => return Err(out_of_range(column)),
            (Raw::Float(x), Type::Float64) => ValueRef::Float(*x),
            // Some writers know floats only: 5.0 is 5 as long as no digit can have been lost.
            (Raw::Float(x), Type::Int64) if x.fract() == 0.0 && x.abs() < EXACT => ValueRef::Int(*x as i64),
            (Raw::Float(x), Type::Int64) if x.abs() >= EXACT => return Err(out_of_range(column)),
            (Raw::Str(s), Type::String) => ValueRef::Str(s),
            (Raw::Str(s), Type::Timestamp) => ValueRef::Time(Time::parse(s).ok_or_else(|| wrong_type(column, s))?),
            (Raw::Time(at), Type::Timestamp) => ValueRef::Time(at.ok_or_else(|| out_of_range(column))?),
            (raw, _) => return Err(wrong_type(column, &raw.to_string())),
        })
    }
}

/// The value of the column's type that a CSV field stands for; an empty field is null.
pub fn typed_text<'a>(text: &'a str, column: &Column) -> Result<ValueRef<'a>, RejectReason> {
    if column.kind == Type::String {
        return Ok(if text.is_empty() { ValueRef::Null } else { ValueRef::Str(text) });
    }
    let text = text.trim();
    if text.is_empty() {
        return Ok(ValueRef::Null);
    }
    let wrong = || wrong_type(column, text);
    Ok(match column.kind {
        Type::Bool if text == "1" || text.eq_ignore_ascii_case("true") => ValueRef::Bool(true),
        Type::Bool if text == "0" || text.eq_ignore_ascii_case("false") => ValueRef::Bool(false),
        Type::Bool => return Err(wrong()),
        Type::Int64 => ValueRef::Int(integer(text, column)?.ok_or_else(wrong)?),
        Type::Float64 => ValueRef::Float(text.parse().map_err(|_| wrong())?),
        Type::Timestamp => match integer(text, column)? {
            Some(micros) => ValueRef::Time(Time::from_micros(micros)),
            None => ValueRef::Time(Time::parse(text).ok_or_else(wrong)?),
        },
        Type::String => ValueRef::Str(text),
    })
}

/// `None` if it is not an integer at all.
fn integer(text: &str, column: &Column) -> Result<Option<i64>, RejectReason> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match text.parse::<i64>() {
        Ok(i) => Ok(Some(i)),
        Err(e) if matches!(e.kind(), PosOverflow | NegOverflow) => Err(out_of_range(column)),
        Err(_) => Ok(None),
    }
}

/// A value that its column's type cannot hold.
pub fn out_of_range(column: &Column) -> RejectReason {
    RejectReason::OutOfRange { column: column.name.clone(), expected: column.kind }
}

/// A value of another type than its column's.
pub fn wrong_type(column: &Column, found: &str) -> RejectReason {
    let shown: String = found.chars().take(SHOWN).collect();
    RejectReason::WrongType { column: column.name.clone(), expected: column.kind, found: shown }
}

/// Every integer below this is a float of its own.
const EXACT: f64 = (1_u64 << 53) as f64;
/// How many characters of a wrong field a reason repeats.
const SHOWN: usize = 40;

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Null => f.write_str("null"),
            Raw::Bool(b) => write!(f, "{b}"),
            Raw::Int(i) => write!(f, "{i}"),
            Raw::Huge(u) => write!(f, "{u}"),
            Raw::Float(x) => write!(f, "{x}"),
            Raw::Str(s) => write!(f, "{s:?}"),
            Raw::Time(Some(at)) => write!(f, "{at}"),
            Raw::Time(None) => f.write_str("an instant beyond the calendar"),
            Raw::Nested(what) => f.write_str(what),
        }
    }
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw<'de>, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }
    fn visit_unit<E>(self) -> Result<Raw<'de>, E> {
        Ok(Raw::Null)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Raw<'de>, E> {
        Ok(Raw::Bool(b))
    }
    fn visit_i64<E>(self, i: i64) -> Result<Raw<'de>, E> {
        Ok(Raw::Int(i))
    }
    fn visit_u64<E>(self, u: u64) -> Result<Raw<'de>, E> {
        Ok(i64::try_from(u).map_or(Raw::Huge(u), Raw::Int))
    }
    fn visit_f64<E>(self, x: f64) -> Result<Raw<'de>, E> {
        Ok(Raw::Float(x))
    }
    fn visit_borrowed_str<E>(self, s: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw::Str(Cow::Borrowed(s)))
    }
    fn visit_str<E>(self, s: &str) -> Result<Raw<'de>, E> {
        Ok(Raw::Str(Cow::Owned(s.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Raw::Nested("a list"))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Raw<'de>, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Raw::Nested("an object"))
    }
}
