//! The bytes of rows at rest: chunks in the store and sections in the feature log.
//!
//! ```text
//!   rows     format u8 | count varint | column * stride | heap length varint | heap
//!   column   mode u8 | 0: one varint, the same in every row
//!                    | 1: zigzag varint of the difference to the row before, count times
//!                    | 2: 8 bytes little-endian, count times
//!   section  rows | first sequence varint | difference varint * (count - 1) | key length varint * count | key bytes | notes (postcard)
//! ```
//!
//! A row's `visible_from` is written as its distance from the event time. Snapshots of small state (open windows, folded
//! partials, side outputs) are postcard's encoding of their types.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::row::{Block, HEADER, Layout, Rows};
use crate::section::Section;
use crate::value::Type;

/// Written first; a reader of another format refuses.
const FORMAT: u8 = 1;

const CONSTANT: u8 = 0;
const DELTA: u8 = 1;
const RAW: u8 = 2;

const TIME: usize = 0;
const VISIBLE: usize = 2;

/// Stored bytes that are not what they should be: damage, or a newer format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes cannot be read: {what}")]
pub struct Damaged {
    /// What was wrong.
    pub what: &'static str,
}

const CUT_SHORT: Damaged = Damaged { what: "they end too early" };

/// Writes rows.
pub fn encode_rows(rows: Rows<'_>, out: &mut Vec<u8>) {
    out.push(FORMAT);
    put_varint(rows.len() as u64, out);
    let layout = rows.layout();
    let mut column = Vec::with_capacity(rows.len());
    for at in 0..layout.stride() {
        column.clear();
        if at == VISIBLE {
            column.extend(rows.iter().map(|row| row.word(VISIBLE).wrapping_sub(row.word(TIME))));
        } else {
            column.extend(rows.iter().map(|row| row.word(at)));
        }
        let raw = at.checked_sub(HEADER).is_some_and(|c| layout.types[c] == Type::Float64);
        encode_column(&column, raw, out);
    }
    put_varint(rows.heap().len() as u64, out);
    out.extend_from_slice(rows.heap());
}

/// Reads what [`encode_rows`] wrote, and moves `bytes` behind it.
pub fn decode_rows(bytes: &mut &[u8], layout: &Layout) -> Result<Block, Damaged> {
    if take_byte(bytes)? != FORMAT {
        return Err(Damaged { what: "they have a format that this program does not know" });
    }
    let count = take_count(bytes)?;
    let stride = layout.stride();
    let mut words = vec![0; count.checked_mul(stride).ok_or(CUT_SHORT)?];
    for at in 0..stride {
        decode_column(bytes, words[at * count..(at + 1) * count].iter_mut())?;
    }
    for row in 0..count {
        words[VISIBLE * count + row] = words[VISIBLE * count + row].wrapping_add(words[TIME * count + row]);
    }
    let heap = take(bytes)?.to_vec();
    Ok(Block::of_columns(words, heap, layout))
}

/// Writes a section.
pub fn encode_section(section: &Section, layout: &Layout, out: &mut Vec<u8>) {
    encode_rows(section.rows.rows(layout), out);
    let mut before = 0;
    for sequence in &section.sequence {
        put_varint(sequence - before, out);
        before = *sequence;
    }
    let mut start = 0;
    for end in &section.key_ends {
        put_varint(u64::from(end - start), out);
        start = *end;
    }
    out.extend_from_slice(&section.keys);
    let notes: Vec<_> = section.late.iter().map(|n| (n.row, n.watermark, &n.position, &n.payload)).collect();
    let notes = snapshot(&notes);
    put_varint(notes.len() as u64, out);
    out.extend_from_slice(&notes);
}

/// Reads what [`encode_section`] wrote, and moves `bytes` behind it.
pub fn decode_section(bytes: &mut &[u8], layout: &Layout) -> Result<Section, Damaged> {
    let rows = decode_rows(bytes, layout)?;
    let count = rows.len();
    let mut section = Section { rows: rows.into(), ..Section::default() };
    let mut sequence = 0_u64;
    for _ in 0..count {
        sequence = sequence.wrapping_add(take_varint(bytes)?);
        section.sequence.push(sequence);
    }
    let mut end = 0_u32;
    for _ in 0..count {
        end = end.checked_add(u32::try_from(take_varint(bytes)?).map_err(|_| CUT_SHORT)?).ok_or(CUT_SHORT)?;
        section.key_ends.push(end);
    }
    section.keys = bytes.split_off(..end as usize).ok_or(CUT_SHORT)?.to_vec();
    section.late = restore(take(bytes)?)?;
    section.rehash();
    Ok(section)
}

/// The bytes of a small piece of state.
pub fn snapshot(state: &impl Serialize) -> Vec<u8> {
    // Fails only for types that postcard cannot say (sequences of unknown length), of which there are none here.
    postcard::to_stdvec(state).unwrap_or_default()
}

/// Reads what [`snapshot`] wrote.
pub fn restore<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    postcard::from_bytes(bytes).map_err(|_| Damaged { what: "a snapshot does not have the expected fields" })
}

fn encode_column(column: &[u64], raw: bool, out: &mut Vec<u8>) {
    let first = column.first().copied().unwrap_or(0);
    if column.iter().all(|word| *word == first) {
        out.push(CONSTANT);
        put_varint(first, out);
    } else if raw {
        out.push(RAW);
        column.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    } else {
        out.push(DELTA);
        let mut before = 0;
        for word in column {
            put_varint(zigzag(word.wrapping_sub(before)), out);
            before = *word;
        }
    }
}

fn decode_column<'a>(bytes: &mut &[u8], words: impl Iterator<Item = &'a mut u64>) -> Result<(), Damaged> {
    match take_byte(bytes)? {
        CONSTANT => {
            let word = take_varint(bytes)?;
            words.for_each(|w| *w = word);
        }
        RAW => {
            for word in words {
                let (head, rest) = bytes.split_first_chunk::<8>().ok_or(CUT_SHORT)?;
                *word = u64::from_le_bytes(*head);
                *bytes = rest;
            }
        }
        DELTA => {
            let mut before = 0_u64;
            for word in words {
                before = before.wrapping_add(unzigzag(take_varint(bytes)?));
                *word = before;
            }
        }
        _ => return Err(Damaged { what: "a column has an unknown mode" }),
    }
    Ok(())
}

pub(crate) fn zigzag(difference: u64) -> u64 {
    difference << 1 ^ ((difference as i64) >> 63) as u64
}

pub(crate) fn unzigzag(word: u64) -> u64 {
    word >> 1 ^ (word & 1).wrapping_neg()
}

/// LEB128.
pub fn put_varint(mut word: u64, out: &mut Vec<u8>) {
    while word >= 0x80 {
        out.push(word as u8 | 0x80);
        word >>= 7;
    }
    out.push(word as u8);
}

/// Reads what [`put_varint`] wrote, and moves `bytes` behind it.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, Damaged> {
    let mut word = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(bytes)?;
        word |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(word);
        }
    }
    Err(Damaged { what: "a number is too long" })
}

fn take_byte(bytes: &mut &[u8]) -> Result<u8, Damaged> {
    let (first, rest) = bytes.split_first().ok_or(CUT_SHORT)?;
    *bytes = rest;
    Ok(*first)
}

/// A count of things that follow, at least a bit each: damage must not ask for all memory.
fn take_count(bytes: &mut &[u8]) -> Result<usize, Damaged> {
    let count = take_varint(bytes)?;
    usize::try_from(count).ok().filter(|count| *count <= MOST_ROWS).ok_or(CUT_SHORT)
}

/// More rows than any chunk or section holds.
const MOST_ROWS: usize = 1 << 24;

/// Bytes after their length.
pub fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Damaged> {
    let len = take_varint(bytes)?;
    bytes.split_off(..usize::try_from(len).map_err(|_| CUT_SHORT)?).ok_or(CUT_SHORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::EventId;
    use crate::row::RowBuffer;
    use crate::time::Time;
    use crate::value::Value;

    fn layout() -> Layout {
        Layout { types: [Type::Float64, Type::Bool, Type::String, Type::Int64].into(), id_is_text: true }
    }

    fn some_rows() -> RowBuffer {
        let mut rows = RowBuffer::default();
        for i in [3_i64, 4, 9, -2] {
            let values = [Value::Float(i as f64 / 3.0), Value::Bool(i > 3), Value::Str(format!("shop {i}").into()), Value::Null];
            let at = Time::from_micros(i * 1_000_000);
            rows.push(at, &EventId::Str(format!("id-{i}").into()), at.max(Time::from_micros(0)), 77, &values);
        }
        rows
    }

    #[test]
    fn rows_come_back() {
        let (layout, rows) = (layout(), some_rows());
        let mut bytes = Vec::new();
        encode_rows(rows.rows(&layout), &mut bytes);
        let mut rest = bytes.as_slice();
        assert_eq!(decode_rows(&mut rest, &layout).map(RowBuffer::from), Ok(rows));
        assert!(rest.is_empty());
    }

    #[test]
    fn the_bytes_of_a_row_are_these() {
        let layout = Layout { types: [Type::Float64].into(), id_is_text: false };
        let mut rows = RowBuffer::default();
        rows.push(Time::from_micros(5), &EventId::Int(7), Time::from_micros(6), 9, &[Value::Float(1.0)]);
        rows.push(Time::from_micros(8), &EventId::Int(6), Time::from_micros(9), 9, &[Value::Float(2.0)]);
        let mut bytes = Vec::new();
        encode_rows(rows.rows(&layout), &mut bytes);
        let expected = [
            &[FORMAT, 2][..],
            &[DELTA, 10, 6],
            &[DELTA, 14, 1],
            &[CONSTANT, 1],
            &[CONSTANT, 9],
            &[CONSTANT, 0],
            &[RAW, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40],
            &[0],
        ];
        assert_eq!(bytes, expected.concat(), "a change here needs a new format number");
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let (layout, rows) = (layout(), some_rows());
        let mut bytes = Vec::new();
        encode_rows(rows.rows(&layout), &mut bytes);
        for cut in 0..bytes.len() {
            assert!(decode_rows(&mut &bytes[..cut], &layout).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let _ = decode_rows(&mut damaged.as_slice(), &layout);
        }
    }
}
