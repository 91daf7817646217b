//! The keys of an online store in Redis, and the bytes under them.
//!
//! ```text
//!   fm:{NAME}:meta           hash  format, partitions, store, fingerprints, sources (postcard)
//!   fm:{NAME:P}:p            hash  epoch, version  20 decimal digits
//!                                  marks           Marks (postcard), as of version
//!                                  kept            Kept (postcard), of all that was written, further or not
//!                                  state           State (postcard), as of version; where a feature log is applied
//!   fm:{NAME:P}:o            hash  entity u16 BE | entity key -> OpenWindows (postcard), as of version; where a feature log is applied
//!   fm:{NAME:P}:t: view u16 BE | entity key
//!                            hash  chunk u32 BE -> rows, as in the table `chunks`
//!                                  f            -> Folded, as in the table `folded`
//! ```
//!
//! `{NAME:P}` is what Redis Cluster hashes: a log partition has one slot. Versions are text of fixed length because a script's numbers
//! are doubles, and digits because its comparison of other bytes goes by the locale.

use floodmark_features::codec::{decode_rows, restore};
use floodmark_features::engine::ViewCounts;
use floodmark_features::feature_log::LogProgress;
use floodmark_features::row::{Block, Layout};
use floodmark_features::time::Time;
use floodmark_features::timeline::{Chunk, Timeline};
use serde::{Deserialize, Serialize};

use super::error::OnlineError;

/// The format that this program writes.
pub(super) const FORMAT: u32 = 3;
/// The field of a timeline that holds what retention has folded.
pub(super) const FOLDED: &[u8] = b"f";

/// What each source's watermark was at the last versions of a partition. A request is answered at one version, that of the partition
/// that is the furthest behind, and what is final there is what the watermarks of that version say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// The newest last.
    of_versions: Vec<(u64, Vec<Time>)>,
}

impl Marks {
    /// So many versions are kept: partitions are not further apart unless something is wrong.
    const MOST: usize = 16;

    pub(super) fn push(&mut self, version: u64, watermarks: Vec<Time>) {
        self.of_versions.retain(|(of, _)| *of < version);
        if self.of_versions.len() == Marks::MOST {
            self.of_versions.remove(0);
        }
        self.of_versions.push((version, watermarks));
    }

    /// That of a source at a version; [`Time::NONE`] if it is not known any more.
    pub(super) fn watermark(&self, source: usize, version: u64) -> Time {
        let at = self.of_versions.iter().rfind(|(of, _)| *of <= version);
        at.and_then(|(_, watermarks)| watermarks.get(source)).copied().unwrap_or(Time::NONE)
    }
}

/// What whoever applies a feature log goes on from, beside timelines and open windows.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) progress: LogProgress,
    /// For each section, how far it has followed its watermark.
    pub(super) followed: Vec<(Time, Option<u64>)>,
    pub(super) counts: Vec<ViewCounts>,
    pub(super) marks: Marks,
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

pub(super) fn open_windows_key(name: &str, partition: usize) -> Vec<u8> {
    format!("fm:{{{}}}:o", tag(name, partition)).into_bytes()
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

/// The same without rows of later versions, and whether there were any.
pub(super) fn timeline_until(version: u64, fields: &[(&[u8], &[u8])], layout: &Layout) -> Result<(Timeline, bool), OnlineError> {
    let timeline = timeline_of(fields, layout)?;
    if timeline.summary().is_none_or(|summary| summary.newest_version <= version) {
        return Ok((timeline, false));
    }
    let known = |chunk: &&Chunk| {
        let mut block = Block::default();
        let rows = chunk.rows(layout);
        rows.iter().filter(|row| row.version() <= version).for_each(|row| block.insert(block.len(), &row));
        (!block.is_empty()).then(|| Chunk::of_block(chunk.id, block, layout))
    };
    let chunks = timeline.chunks().iter().filter_map(known).collect();
    Ok((Timeline::of_chunks(chunks, timeline.folded().cloned(), layout), true))
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
