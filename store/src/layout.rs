//! The tables of a store, and the bytes of their keys.
//!
//! ```text
//!   meta       name                                          -> text or number
//!   log        (version, partition)                          -> for each section: length varint | section; partition MAX: the commit's own part
//!   progress   source                                        -> SourceProgress (postcard)
//!   chunks     view u16 BE | entity key | chunk u32 BE       -> rows
//!   folded     view u16 BE | entity key                      -> Folded (postcard)
//!   state      partition                                     -> PartitionState (postcard)
//!   late       source u16 BE | sequence u64 BE | view u16 BE -> LateEvent (postcard)
//!   closed     source u16 BE | sequence u64 BE | by watermark u8 | end, start (ordered i64 BE) | view, window u16 BE | key | ordinal u32 BE
//!                                                            -> ClosedWindow (postcard)
//!   rejects    source u16 BE | version u64 BE | number u32 BE -> RejectedRecord (postcard)
//!   to_score   (version, part u8)                            -> of a commit whose events wait for their scores:
//!                                                               0: the events, as whoever waits for them understands them
//!                                                               1: Note (postcard): the source, the sequence numbers of the events
//!                                                               2: the sequence numbers not accepted (postcard), once the log is cut
//!   to_keep    (version, part u8)                            -> the same of events that wait for the offline store
//!   scores     source u16 BE | version u64 BE | sequence u64 BE -> a record, as whoever made it understands it
//!   predictions  at (ordered i64 BE) | counter u32 BE         -> what was scored, as its writer wrote it; made with the first record
//! ```
//!
//! An entity key is prefix-free among those of its entity (see `features::key`), so the chunks of one key are one range.

use std::ops::Range;

use floodmark_features::time::Time;
use redb::{TableDefinition, WriteTransaction};

pub(crate) type Bytes = &'static [u8];

pub(crate) const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
pub(crate) const LOG: TableDefinition<'_, (u64, u32), Bytes> = TableDefinition::new("log");
pub(crate) const PROGRESS: TableDefinition<'_, u32, Bytes> = TableDefinition::new("progress");
pub(crate) const CHUNKS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("chunks");
pub(crate) const FOLDED: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("folded");
pub(crate) const STATE: TableDefinition<'_, u32, Bytes> = TableDefinition::new("state");
pub(crate) const LATE: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("late");
pub(crate) const CLOSED: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("closed");
pub(crate) const REJECTS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("rejects");
pub(crate) const TO_SCORE: TableDefinition<'_, (u64, u8), Bytes> = TableDefinition::new("to_score");
pub(crate) const TO_KEEP: TableDefinition<'_, (u64, u8), Bytes> = TableDefinition::new("to_keep");
pub(crate) const SCORES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("scores");

/// In the tables of what waits, the events.
pub(crate) const PART_EVENTS: u8 = 0;
/// Whose events they are, and their sequence numbers.
pub(crate) const PART_NOTE: u8 = 1;
/// Those of them that were not accepted.
pub(crate) const PART_REFUSED: u8 = 2;
/// Those of them that came too late for every view, if there are such.
pub(crate) const PART_LATE: u8 = 3;
pub(crate) const PREDICTIONS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("predictions");

/// The format that this program writes.
pub(crate) const FORMAT: u32 = 2;
/// In the log, the part of a commit that belongs to no partition.
pub(crate) const WHOLE_COMMIT: u32 = u32::MAX;

/// Names in the table `meta`.
pub(crate) const META_FORMAT: &str = "format";
pub(crate) const META_ID: &str = "id";
pub(crate) const META_PARTITIONS: &str = "partitions";
pub(crate) const META_DEFINITIONS: &str = "definitions";
pub(crate) const META_CHECKPOINT: &str = "checkpoint";
pub(crate) const META_FINGERPRINTS: &str = "fingerprints";
pub(crate) const META_SOURCES: &str = "sources";
/// There if the definitions are those that the log was written by.
pub(crate) const META_TEXT_IS_OF_LOG: &str = "text is of log";
/// Views that are to be computed from history, by their positions.
pub(crate) const META_BACKFILLING: &str = "backfilling";
pub(crate) const META_OFFLINE: &str = "offline";
pub(crate) const META_PREDICTIONS: &str = "predictions";

/// Deletes the timelines of views.
pub(crate) fn forget_views(transaction: &WriteTransaction, views: Range<usize>) -> Result<(), redb::Error> {
    if !views.is_empty() {
        let (from, to) = ((views.start as u16).to_be_bytes(), (views.end as u16).to_be_bytes());
        for table in [CHUNKS, FOLDED] {
            transaction.open_table(table)?.retain_in(&from[..]..&to[..], |_, _| false)?;
        }
    }
    Ok(())
}

/// Where the chunks of a key start.
pub(crate) fn timeline_key(view: usize, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(6 + key.len());
    bytes.extend((view as u16).to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

/// Where the score of an event is.
pub(crate) fn score_key(source: usize, version: u64, sequence: u64) -> Vec<u8> {
    [&(source as u16).to_be_bytes()[..], &version.to_be_bytes(), &sequence.to_be_bytes()].concat()
}

/// The version and sequence number that a key of the table `scores` ends with, and the source before them.
pub(crate) fn score_of(key: &[u8]) -> Option<(usize, u64, u64)> {
    let (source, rest) = key.split_first_chunk::<2>()?;
    let (version, sequence) = rest.split_first_chunk::<8>()?;
    let sequence = sequence.first_chunk::<8>()?;
    Some((usize::from(u16::from_be_bytes(*source)), u64::from_be_bytes(*version), u64::from_be_bytes(*sequence)))
}

/// Where one chunk is.
pub(crate) fn chunk_key(view: usize, key: &[u8], chunk: u32) -> Vec<u8> {
    let mut bytes = timeline_key(view, key);
    bytes.extend(chunk.to_be_bytes());
    bytes
}

/// The chunk that a key of the table `chunks` names.
pub(crate) fn chunk_of(key: &[u8]) -> u32 {
    key.last_chunk::<4>().map_or(0, |tail| u32::from_be_bytes(*tail))
}

/// A time whose bytes compare as times do.
pub(crate) fn ordered(time: Time) -> [u8; 8] {
    (time.micros() as u64 ^ 1 << 63).to_be_bytes()
}
