//! Entity keys and event ids: their bytes, their order, and the partition that a key belongs to.

use std::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use crate::time::Time;
use crate::value::{Type, ValueRef};

/// The id of an event within its source, the tie-breaker of the total order `(event_time, event_id)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventId {
    /// Declared `int64`, or made from partition and offset.
    Int(i64),
    /// Declared `string`.
    Str(Box<str>),
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EventId::Int(id) => write!(f, "{id}"),
            EventId::Str(id) => f.write_str(id),
        }
    }
}

/// Writes the key of an entity: the same values give the same bytes, and bytes compare as the values do, column by column.
///
/// An integer or instant is a tag and 8 bytes, big-endian with the sign flipped; text is a tag, its bytes with `00` as `00 ff`, and `00 00`.
pub fn encode_key(values: &[ValueRef<'_>], out: &mut Vec<u8>) {
    for value in values {
        match *value {
            ValueRef::Int(i) => encode_ordered(TAG_INT, i, out),
            ValueRef::Time(t) => encode_ordered(TAG_TIME, t.micros(), out),
            ValueRef::Bool(b) => out.extend([TAG_BOOL, u8::from(b)]),
            ValueRef::Float(x) => encode_ordered(TAG_FLOAT, order_of_float(x), out),
            ValueRef::Str(s) => {
                out.push(TAG_STR);
                for byte in s.bytes() {
                    out.push(byte);
                    if byte == 0 {
                        out.push(0xff);
                    }
                }
                out.extend([0, 0]);
            }
            ValueRef::Null => out.push(TAG_NULL),
        }
    }
}

/// Reads what [`encode_key`] wrote, a value for each key column; `None` if the bytes are not a key.
pub fn decode_key(mut bytes: &[u8]) -> Option<Vec<crate::value::Value>> {
    use crate::value::Value;
    let mut values = Vec::new();
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        let mut ordered = || -> Option<i64> {
            let (head, tail) = bytes.split_first_chunk::<8>()?;
            bytes = tail;
            Some((u64::from_be_bytes(*head) ^ SIGN) as i64)
        };
        values.push(match tag {
            TAG_NULL => Value::Null,
            TAG_INT => Value::Int(ordered()?),
            TAG_TIME => Value::Time(Time::from_micros(ordered()?)),
            TAG_FLOAT => Value::Float(float_of_order(ordered()?)),
            TAG_BOOL => {
                let (&b, tail) = bytes.split_first()?;
                bytes = tail;
                Value::Bool(b != 0)
            }
            TAG_STR => {
                let (text, tail) = unescape(bytes)?;
                bytes = tail;
                Value::Str(text.into())
            }
            _ => return None,
        });
    }
    Some(values)
}

/// The stable hash of a key: chooses the partition, and is the map's hash inside it.
pub fn hash_key(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The log partition of a key, of `partitions`.
pub fn partition_of(hash: u64, partitions: usize) -> usize {
    // The upper half, so that the map inside a partition still sees all of the lower bits.
    ((hash >> 32) % partitions as u64) as usize
}

/// Whether a column of this type may be an entity key.
pub fn may_be_key(kind: Type) -> bool {
    kind != Type::Float64
}

/// Compares floats as integers would: IEEE total order.
fn order_of_float(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn float_of_order(order: i64) -> f64 {
    f64::from_bits((order ^ (((order >> 63) as u64) >> 1) as i64) as u64)
}

fn encode_ordered(tag: u8, value: i64, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((value as u64 ^ SIGN).to_be_bytes());
}

fn unescape(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        if byte == 0 {
            let (&next, tail) = rest.split_first()?;
            rest = tail;
            if next == 0 {
                return Some((String::from_utf8(text).ok()?, rest));
            }
        }
        text.push(byte);
    }
}

const SIGN: u64 = 1 << 63;
const TAG_NULL: u8 = 0;
const TAG_BOOL: u8 = 1;
const TAG_INT: u8 = 2;
const TAG_FLOAT: u8 = 3;
const TAG_STR: u8 = 4;
const TAG_TIME: u8 = 5;

/// The total order of events (T13): by event time, then by event id.
pub fn event_order(a: (Time, &EventId), b: (Time, &EventId)) -> Ordering {
    a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn keys_come_back_and_keep_their_order() {
        let keys: Vec<Vec<ValueRef<'_>>> = vec![
            vec![ValueRef::Int(i64::MIN)],
            vec![ValueRef::Int(-1)],
            vec![ValueRef::Int(0)],
            vec![ValueRef::Int(596)],
            vec![ValueRef::Str("")],
            vec![ValueRef::Str("a")],
            vec![ValueRef::Str("a"), ValueRef::Int(-5)],
            vec![ValueRef::Str("a"), ValueRef::Int(5)],
            vec![ValueRef::Str("a\0b")],
            vec![ValueRef::Str("ab"), ValueRef::Bool(true)],
            vec![ValueRef::Time(Time::from_micros(7))],
        ];
        let mut last = Vec::new();
        for key in keys {
            let mut bytes = Vec::new();
            encode_key(&key, &mut bytes);
            let back = decode_key(&bytes).expect("a key");
            assert_eq!(back, key.iter().map(|v| (*v).to_owned()).collect::<Vec<Value>>());
            assert!(bytes > last, "{key:?}");
            last = bytes;
        }
    }
}
