//! `GetFeaturesResponse` as bytes, written while rows are read: no message is made in between.
//!
//! The tags are those of `floodmark/v1/features.proto` and `value.proto`; the tests read the bytes with the generated types.

use floodmark_features::codec::put_varint;
use floodmark_features::lookup::{Answer, Cell};
use floodmark_features::time::Time;
use floodmark_features::value::Value;

use super::from_status;
use crate::plan::Plan;
use crate::server::Framed;

/// Field number and wire type of each field, as a byte in front of it.
mod tag {
    pub(super) const NAMES: u8 = 1 << 3 | 2;
    pub(super) const COLUMNS_ID: u8 = 2 << 3 | 1;
    pub(super) const ROWS: u8 = 3 << 3 | 2;

    pub(super) const VALUES: u8 = 1 << 3 | 2;
    pub(super) const STATUSES: u8 = 2 << 3 | 2;
    pub(super) const PROVISIONAL: u8 = 3 << 3;
    pub(super) const PROVISIONAL_VALUES: u8 = 4 << 3 | 2;
    pub(super) const APPROXIMATE_VALUES: u8 = 5 << 3 | 2;
    pub(super) const AS_OF: u8 = 6 << 3 | 1;
    pub(super) const WATERMARK: u8 = 7 << 3 | 1;
    pub(super) const VERSION: u8 = 8 << 3 | 1;

    pub(super) const BOOL: u8 = 1 << 3;
    pub(super) const INT64: u8 = 2 << 3;
    pub(super) const DOUBLE: u8 = 3 << 3 | 1;
    pub(super) const STRING: u8 = 4 << 3 | 2;
    pub(super) const TIMESTAMP: u8 = 5 << 3 | 1;
    pub(super) const LIST: u8 = 6 << 3 | 2;
}

/// Bytes that a row takes beside its values, and a value, as a rule.
const ROW_BYTES: usize = 48;
const VALUE_BYTES: usize = 13;

/// A response in the making.
pub(crate) struct Response {
    framed: Framed,
    row: Vec<u8>,
}

impl Response {
    /// Begins with what all rows have in common.
    pub(crate) fn new(plan: &Plan, omit_names: bool, rows: usize) -> Response {
        let row_bytes = ROW_BYTES + plan.names.len() * VALUE_BYTES;
        let mut framed = Framed::with_capacity(16 + rows * row_bytes);
        let out = framed.message();
        if !omit_names {
            plan.names.iter().for_each(|name| put_bytes(tag::NAMES, name.as_bytes(), out));
        }
        put_fixed(tag::COLUMNS_ID, plan.columns_id, out);
        Response { framed, row: Vec::with_capacity(row_bytes) }
    }

    /// Appends a row.
    pub(crate) fn push(&mut self, answer: &Answer, as_of: Time) {
        self.row.clear();
        put_row(answer, as_of, &mut self.row);
        put_bytes(tag::ROWS, &self.row, self.framed.message());
    }

    /// The response as it goes over the wire.
    pub(crate) fn finish(self) -> Framed {
        self.framed
    }
}

fn put_row(answer: &Answer, as_of: Time, out: &mut Vec<u8>) {
    let cells = &answer.cells;
    let (mut provisional, mut approximate) = (0, 0);
    for cell in cells {
        put_value(&cell.value, out);
        provisional += usize::from(cell.provisional);
        approximate += usize::from(cell.approximate);
    }
    put_each(tag::STATUSES, cells, |cell| from_status(cell.status) as u8, out);
    if provisional > 0 {
        out.extend([tag::PROVISIONAL, 1]);
        if provisional < cells.len() {
            put_each(tag::PROVISIONAL_VALUES, cells, |cell| u8::from(cell.provisional), out);
        }
    }
    if approximate > 0 {
        put_each(tag::APPROXIMATE_VALUES, cells, |cell| u8::from(cell.approximate), out);
    }
    put_fixed(tag::AS_OF, as_of.micros() as u64, out);
    if answer.watermark != Time::NONE {
        put_fixed(tag::WATERMARK, answer.watermark.micros() as u64, out);
    }
    put_fixed(tag::VERSION, answer.version, out);
}

/// A byte for each cell, packed.
fn put_each(tag: u8, cells: &[Cell], byte: impl Fn(&Cell) -> u8, out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(cells.len() as u64, out);
    out.extend(cells.iter().map(byte));
}

fn put_fixed(tag: u8, word: u64, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&word.to_le_bytes());
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A `Value` as an element of a repeated field: a row's values, or a list's.
fn put_value(value: &Value, out: &mut Vec<u8>) {
    let fixed = |tag: u8, word: u64, out: &mut Vec<u8>| {
        out.push(9);
        put_fixed(tag, word, out);
    };
    out.push(tag::VALUES);
    match value {
        Value::Null => out.push(0),
        Value::Bool(b) => out.extend([2, tag::BOOL, u8::from(*b)]),
        Value::Int(i) => {
            let zigzag = (i << 1 ^ i >> 63) as u64;
            out.extend([1 + varint_len(zigzag), tag::INT64]);
            put_varint(zigzag, out);
        }
        Value::Float(x) => fixed(tag::DOUBLE, x.to_bits(), out),
        Value::Time(t) => fixed(tag::TIMESTAMP, t.micros() as u64, out),
        Value::Str(text) => {
            put_varint(1 + u64::from(varint_len(text.len() as u64)) + text.len() as u64, out);
            put_bytes(tag::STRING, text.as_bytes(), out);
        }
        Value::List(items) => {
            let mut list = Vec::new();
            items.iter().for_each(|item| put_value(item, &mut list));
            put_varint(1 + u64::from(varint_len(list.len() as u64)) + list.len() as u64, out);
            put_bytes(tag::LIST, &list, out);
        }
    }
}

fn varint_len(word: u64) -> u8 {
    // Seven bits a byte, one byte at least.
    ((64 - (word | 1).leading_zeros()).div_ceil(7)) as u8
}
