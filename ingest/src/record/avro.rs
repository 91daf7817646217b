//! A record in Avro's binary form, read with the schema that it was written with; columns are taken by name.
//!
//! Read by hand, not by a library: one that was tried runs out of stack on damaged bytes, which ends the process, and takes a
//! record that ends early. Here text is not copied and other fields are not built.

mod bytes;
mod schema;

use std::borrow::Cow;

use floodmark_features::schema::Column;
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef;
use floodmark_intake::columns::{RowBuilder, position_of};
use floodmark_intake::field::Raw;
use floodmark_intake::payload::{MAX_PAYLOAD_BYTES, text_or_hex, write_text, write_value};
use floodmark_intake::reject::RejectReason;

pub(crate) use self::schema::Schema;

use self::bytes::{Bytes, Items, Malformed};
use self::schema::{Id, Node};

/// Takes the record in `body`, or rejects it with its reason. `whole` is the record with all that stood around it.
pub(super) fn take(schema: &Schema, offset: u64, body: &[u8], whole: &[u8], rows: &mut RowBuilder) {
    let parse = |columns: &[Column]| schema.row(body, columns).map_err(|detail| RejectReason::MalformedAvro { detail });
    rows.push_raws(offset, whole.len(), parse, || schema.text(body).unwrap_or_else(|_| text_or_hex(whole)));
}

impl Schema {
    /// One field for each column.
    fn row<'a>(&'a self, record: &'a [u8], columns: &[Column]) -> Result<Vec<Raw<'a>>, Malformed> {
        let mut row: Vec<Raw<'a>> = Vec::new();
        row.resize_with(columns.len(), Raw::default);
        let mut bytes = Bytes::new(record);
        let mut guess = 0;
        for field in self.fields() {
            match position_of(columns, &field.name, guess) {
                Some(position) => {
                    row[position] = self.field(field.kind, &mut bytes)?;
                    guess = position + 1;
                }
                None => self.skip(field.kind, &mut bytes)?,
            }
        }
        bytes.end().map(|()| row)
    }

    /// The next field; of what no column holds, only its kind.
    fn field<'a>(&'a self, id: Id, bytes: &mut Bytes<'a>) -> Result<Raw<'a>, Malformed> {
        let text = |bytes: &'a [u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Raw::Str(Cow::Borrowed(text)),
            Err(_) => Raw::Nested("bytes that are not UTF-8"),
        };
        let what = match self.node(id) {
            Node::Null => return Ok(Raw::Null),
            Node::Bool => return bytes.bool().map(Raw::Bool),
            Node::Int => return bytes.int().map(|i| Raw::Int(i.into())),
            Node::Long => return bytes.long().map(Raw::Int),
            Node::Float => return bytes.array().map(|x| Raw::Float(f32::from_le_bytes(x).into())),
            Node::Double => return bytes.array().map(|x| Raw::Float(f64::from_le_bytes(x))),
            Node::Str => return bytes.str().map(|s| Raw::Str(Cow::Borrowed(s))),
            Node::Bytes => return bytes.bytes().map(text),
            Node::Instant(unit) => return bytes.long().map(|ticks| Raw::Time(unit.time(ticks))),
            Node::Date => return bytes.int().map(|days| Raw::Time(midnight(days))),
            Node::Enum(symbols) => {
                let symbol = symbols.get(bytes.index()?).ok_or("enum has no such symbol")?;
                return Ok(Raw::Str(Cow::Borrowed(symbol)));
            }
            Node::Union(branches) => {
                let branch = *branches.get(bytes.index()?).ok_or("union has no such branch")?;
                return bytes.within(|bytes| self.field(branch, bytes));
            }
            Node::Decimal => "a decimal",
            Node::Fixed(_) => "fixed bytes",
            Node::Array(_) => "a list",
            Node::Map(_) => "a map",
            Node::Record(_) => "a record",
        };
        self.skip(id, bytes).map(|()| Raw::Nested(what))
    }

    /// Goes past a field.
    fn skip<'a>(&'a self, id: Id, bytes: &mut Bytes<'a>) -> Result<(), Malformed> {
        match self.node(id) {
            Node::Str | Node::Bytes | Node::Decimal => bytes.bytes().map(drop),
            Node::Fixed(size) => bytes.take(*size).map(drop),
            Node::Array(items) => bytes.items(Items::Skipped, |bytes| self.skip(*items, bytes)),
            Node::Map(values) => bytes.items(Items::Skipped, |bytes| {
                bytes.bytes()?;
                self.skip(*values, bytes)
            }),
            Node::Record(fields) => bytes.within(|bytes| fields.iter().try_for_each(|field| self.skip(field.kind, bytes))),
            Node::Union(branches) => {
                let branch = *branches.get(bytes.index()?).ok_or("union has no such branch")?;
                bytes.within(|bytes| self.skip(branch, bytes))
            }
            _ => self.field(id, bytes).map(drop),
        }
    }

    /// The record as JSON, as far as a payload goes.
    fn text<'a>(&'a self, record: &'a [u8]) -> Result<String, Malformed> {
        let mut bytes = Bytes::new(record);
        let mut out = String::new();
        self.write(self.root(), &mut bytes, &mut out)?;
        bytes.end().map(|()| out)
    }

    fn write<'a>(&'a self, id: Id, bytes: &mut Bytes<'a>, out: &mut String) -> Result<(), Malformed> {
        // What comes after this will be cut off.
        if out.len() > MAX_PAYLOAD_BYTES {
            return self.skip(id, bytes);
        }
        match self.node(id) {
            Node::Record(fields) => bytes.within(|bytes| {
                out.push('{');
                for (position, field) in fields.iter().enumerate() {
                    write_name(position, &field.name, out);
                    self.write(field.kind, bytes, out)?;
                }
                out.push('}');
                Ok(())
            }),
            Node::Map(values) => {
                let mut position = 0;
                out.push('{');
                bytes.items(Items::Read, |bytes| {
                    write_name(position, &String::from_utf8_lossy(bytes.bytes()?), out);
                    position += 1;
                    self.write(*values, bytes, out)
                })?;
                out.push('}');
                Ok(())
            }
            Node::Array(items) => {
                let mut position = 0;
                out.push('[');
                bytes.items(Items::Read, |bytes| {
                    if position > 0 {
                        out.push(',');
                    }
                    position += 1;
                    self.write(*items, bytes, out)
                })?;
                out.push(']');
                Ok(())
            }
            Node::Union(branches) => {
                let branch = *branches.get(bytes.index()?).ok_or("union has no such branch")?;
                bytes.within(|bytes| self.write(branch, bytes, out))
            }
            Node::Bytes | Node::Decimal => bytes.bytes().map(|bytes| write_text(&text_or_hex(bytes), out)),
            Node::Fixed(size) => bytes.take(*size).map(|bytes| write_text(&text_or_hex(bytes), out)),
            Node::Instant(unit) => bytes.long().map(|ticks| {
                write_value(unit.time(ticks).map_or(ValueRef::Int(ticks), ValueRef::Time), out);
            }),
            Node::Null | Node::Bool | Node::Int | Node::Long | Node::Float | Node::Double | Node::Str | Node::Date | Node::Enum(_) => {
                let field = self.field(id, bytes)?;
                let value = match &field {
                    Raw::Bool(b) => ValueRef::Bool(*b),
                    Raw::Int(i) => ValueRef::Int(*i),
                    Raw::Float(x) => ValueRef::Float(*x),
                    Raw::Str(s) => ValueRef::Str(s),
                    Raw::Time(Some(at)) => ValueRef::Time(*at),
                    Raw::Null | Raw::Time(None) | Raw::Huge(_) | Raw::Nested(_) => ValueRef::Null,
                };
                write_value(value, out);
                Ok(())
            }
        }
    }
}

/// Where the day begins; `None` if that is too far.
fn midnight(days: i32) -> Option<Time> {
    const DAY_MICROS: i64 = 86_400_000_000;
    i64::from(days).checked_mul(DAY_MICROS).map(Time::from_micros)
}

fn write_name(position: usize, name: &str, out: &mut String) {
    if position > 0 {
        out.push(',');
    }
    write_text(name, out);
    out.push(':');
}
