//! The keys of an online store in Redis, and the bytes under them.
//!
//! ```text
//!   fm:{NAME}:meta           hash  format, partitions, store, fingerprints, sources (postcard)
//!   fm:{NAME:P}:p            hash  epoch, version  20 decimal digits
//!                                  marks           Marks (postcard), as of version
//!                                  kept            Kept (postcard), of all that was written, further or not
//!   fm:{NAME:P}:t: view u16 BE | entity key
//!                            hash  chunk u32 BE -> rows, as in the table `chunks`
//!                                  f            -> Folded, as in the table `folded`
//! ```
//!
//! `{NAME:P}` is what Redis Cluster hashes: a log partition has one slot. Versions are text of fixed length because a script's numbers
//! are doubles, and digits because its comparison of other bytes goes by the locale.

use floodmark_features::codec::{decode_rows, restore};
use floodmark_features::row::Layout;
use floodmark_features::time::Time;
use floodmark_features::timeline::{Chunk, Timeline};
use serde::{Deserialize, Serialize};

use super::error::OnlineError;

/// The format that this program writes.
pub(super) const FORMAT: u32 = 1;
/// The field of a timeline that holds what retention has folded.
pub(super) const FOLDED: &[u8] = b"f";

/// For each source, its watermark.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    pub(super) watermarks: Vec<Time>,
}

/// For each source, what retention has left.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The oldest as-of time that can be asked.
    pub(super) oldest: Vec<Time>,
    /// The newest version of an event that was folded.
    pub(super) folded_version: Vec<u64>,
}

pub(super) fn meta_key(name: &str) -> Vec<u8> {
    format!("fm:{{{name}}}:meta").into_bytes()
}

pub(super) fn progress_key(name: &str, partition: usize) -> Vec<u8> {
    format!("fm:{{{}}}:p", tag(name, partition)).into_bytes()
}

/// `timeline` is the key in the table `folded`.
pub(super) fn timeline_key(name: &str, partition: usize, timeline: &[u8]) -> Vec<u8> {
    let mut key = format!("fm:{{{}}}:t:", tag(name, partition)).into_bytes();
    key.extend_from_slice(timeline);
    key
}

fn tag(name: &str, partition: usize) -> String {
    format!("{name}:{partition}")
}

/// The slot of a partition, among the 16384 of a cluster.
pub(super) fn slot_of(name: &str, partition: usize) -> u16 {
    crc16(tag(name, partition).as_bytes()) % 16384
}

pub(super) fn meta_slot(name: &str) -> u16 {
    crc16(name.as_bytes()) % 16384
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

/// A version or an epoch as text that compares as numbers do.
pub(super) fn digits(number: u64) -> String {
    format!("{number:020}")
}

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A timeline of the fields and values of its hash.
pub(super) fn timeline_of(fields: &[(&[u8], &[u8])], layout: &Layout) -> Result<Timeline, OnlineError> {
    let (mut chunks, mut folded) = (Vec::with_capacity(fields.len()), None);
    for (field, mut value) in fields.iter().copied() {
        match field.first_chunk::<4>() {
            Some(id) => chunks.push(Chunk::of_block(u32::from_be_bytes(*id), decode_rows(&mut value, layout)?, layout)),
            None => folded = Some(restore(value)?),
        }
    }
    Ok(Timeline::of_chunks(chunks, folded, layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_these() {
        assert_eq!(meta_key("fraud"), b"fm:{fraud}:meta");
        assert_eq!(progress_key("fraud", 7), b"fm:{fraud:7}:p");
        assert_eq!(timeline_key("fraud", 7, b"\0\x02k"), b"fm:{fraud:7}:t:\0\x02k");
    }

    #[test]
    fn slots_are_those_of_the_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of("fraud", 7), crc16(b"fraud:7") % 16384);
    }

    #[test]
    fn digits_compare_as_numbers_do() {
        let rising = [0, 9, 10, (1 << 53) + 1, (1 << 53) + 2, u64::MAX];
        assert!(rising.map(digits).is_sorted());
        assert!(rising.iter().all(|n| number(digits(*n).as_bytes()) == Some(*n)));
    }
}
