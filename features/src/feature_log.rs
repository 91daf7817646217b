//! The feature log: what route hands to apply where the two are not one process, as the records of a log partition.
//!
//! A record holds what became of some records of one source partition, as far as one log partition is concerned. Each such batch goes
//! to every log partition, also where it holds no row for it: so each learns how far every source partition has come, and sees at once
//! if a batch is missing or comes twice.
//!
//! ```text
//!   record   format u8 | definitions u64 LE | length varint | topic | source varint | partition varint | partitions varint
//!            | from varint | next varint | stamp varint | before zigzag | watermark zigzag | activity u8 | clock zigzag, if idle
//!            | count varint | (offset varint, watermark zigzag) * count: differences to the ones before
//!            | count varint | (section varint | length varint | section) * count
//! ```
//!
//! Times are microseconds. A section's sequence numbers are the offsets of its records.

mod overtaken;
mod progress;

pub use progress::{LogProgress, OutOfPlace, Taken};

use crate::codec::{Damaged, decode_section, encode_section, put_varint, take, take_varint, unzigzag, zigzag};
use crate::engine::EnginePlan;
use crate::section::Section;
use crate::time::Time;

/// Written first; a reader of another format refuses.
const FORMAT: u8 = 1;

/// Where a batch comes from, and what it does to the watermark of its source partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Fingerprint of the definitions that it was routed by ([`crate::definition::Definitions::fingerprint`]).
    pub definitions: u64,
    /// Position in the definitions' sources.
    pub source: usize,
    /// What the source's partitions are called, before `-` and their number: the topic.
    pub topic: String,
    /// The number of the source partition.
    pub partition: usize,
    /// How many partitions the source has: a watermark waits for each (T6).
    pub partitions: usize,
    /// The offset of its first record, and the one after its last.
    pub offsets: std::ops::Range<u64>,
    /// The router's clock when it was routed, in microseconds: versions are made of it (T14).
    pub stamp: u64,
    /// The partition's watermark before the batch.
    pub before: Time,
    /// And after it.
    pub watermark: Time,
    /// Whether more is to be expected (T8).
    pub activity: Activity,
}

/// Whether a source partition has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It has.
    Active,
    /// It is caught up and silent for longer than the timeout. Where all are, the watermark is to move to `clock`; [`Time::NONE`]: hold.
    Idle {
        /// How far the clock takes the watermark.
        clock: Time,
    },
}

/// A batch as one log partition gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedBatch {
    /// What all log partitions are told.
    pub head: BatchHead,
    /// What the watermark of the source partition became, after which offset; only as far as this log partition can tell the difference.
    pub trail: Vec<(u64, Time)>,
    /// Rows, by position in [`EnginePlan::sections`], ascending.
    pub sections: Vec<(usize, Section)>,
}

impl BatchHead {
    /// The name of one of the source's partitions.
    pub fn name_of(&self, partition: usize) -> String {
        format!("{}-{partition}", self.topic)
    }
}

/// Writes a batch for one log partition: its rows in `sections`, one for each section of the plan; `trail` is that of the whole batch.
pub fn encode_batch(plan: &EnginePlan, head: &BatchHead, trail: &[(u64, Time)], sections: &[Section], out: &mut Vec<u8>) {
    out.push(FORMAT);
    out.extend_from_slice(&head.definitions.to_le_bytes());
    put_varint(head.topic.len() as u64, out);
    out.extend_from_slice(head.topic.as_bytes());
    let partitions = [head.source as u64, head.partition as u64, head.partitions as u64];
    partitions.iter().chain([&head.offsets.start, &head.offsets.end, &head.stamp]).for_each(|number| put_varint(*number, out));
    put_time(head.before, out);
    put_time(head.watermark, out);
    match head.activity {
        Activity::Active => out.push(0),
        Activity::Idle { clock } => {
            out.push(1);
            put_time(clock, out);
        }
    }
    put_trail(&thinned(plan, trail, sections), out);
    let some = || sections.iter().enumerate().filter(|(_, section)| !section.is_empty());
    put_varint(some().count() as u64, out);
    let mut bytes = Vec::new();
    for (at, section) in some() {
        bytes.clear();
        encode_section(section, &plan.sections[at].layout, &mut bytes);
        put_varint(at as u64, out);
        put_varint(bytes.len() as u64, out);
        out.extend_from_slice(&bytes);
    }
}

/// Reads what [`encode_batch`] wrote. Whether the definitions are the same is for the caller to ask; if not, its sections mean nothing.
pub fn decode_batch(plan: &EnginePlan, mut bytes: &[u8]) -> Result<RoutedBatch, Damaged> {
    let bytes = &mut bytes;
    let (mut head, trail) = decode_head(bytes)?;
    if head.source >= plan.definitions.sources.len() {
        return Err(Damaged { what: "a batch is of an unknown source" });
    }
    let mut sections = Vec::new();
    for _ in 0..take_varint(bytes)? {
        let at = usize::try_from(take_varint(bytes)?).unwrap_or(usize::MAX);
        let of_source = plan.sections.get(at).filter(|section| section.source == head.source);
        let layout = &of_source.ok_or(Damaged { what: "a section has an unknown number" })?.layout;
        let section = decode_section(&mut take(bytes)?, layout)?;
        let inside = |sequence: &u64| head.offsets.contains(sequence);
        if !section.sequence.first().is_none_or(inside) || !section.sequence.last().is_none_or(inside) {
            return Err(Damaged { what: "a row is of another batch" });
        }
        sections.push((at, section));
    }
    if !bytes.is_empty() {
        return Err(Damaged { what: "there is more than a batch" });
    }
    head.partitions = head.partitions.max(head.partition + 1);
    Ok(RoutedBatch { head, trail, sections })
}

/// The fingerprint of the definitions that a record was routed by, the first thing to look at.
pub fn definitions_of(bytes: &[u8]) -> Result<u64, Damaged> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => {
            let print = rest.first_chunk().ok_or(Damaged { what: "they end too early" })?;
            Ok(u64::from_le_bytes(*print))
        }
        _ => Err(Damaged { what: "they have a format that this program does not know" }),
    }
}

fn decode_head(bytes: &mut &[u8]) -> Result<(BatchHead, Vec<(u64, Time)>), Damaged> {
    let definitions = definitions_of(bytes)?;
    *bytes = &bytes[1 + size_of::<u64>()..];
    let topic = String::from_utf8_lossy(take(bytes)?).into_owned();
    let mut number = || take_varint(bytes);
    let (source, partition, partitions) = (number()?, number()?, number()?);
    let (from, next, stamp) = (number()?, number()?, number()?);
    if from > next || partition > MOST_PARTITIONS || partitions > MOST_PARTITIONS {
        return Err(Damaged { what: "a batch's head is not one" });
    }
    let (before, watermark) = (take_time(bytes)?, take_time(bytes)?);
    let (first, rest) = bytes.split_first().ok_or(Damaged { what: "they end too early" })?;
    *bytes = rest;
    let activity = match first {
        0 => Activity::Active,
        _ => Activity::Idle { clock: take_time(bytes)? },
    };
    let head = BatchHead {
        definitions,
        source: source as usize,
        topic,
        partition: partition as usize,
        partitions: partitions as usize,
        offsets: from..next,
        stamp,
        before,
        watermark,
        activity,
    };
    let trail = take_trail(bytes, &head)?;
    Ok((head, trail))
}

/// More partitions than any source has: damage must not ask for all memory.
const MOST_PARTITIONS: u64 = 1 << 20;

fn put_time(time: Time, out: &mut Vec<u8>) {
    put_varint(zigzag(time.micros() as u64), out);
}

fn take_time(bytes: &mut &[u8]) -> Result<Time, Damaged> {
    Ok(Time::from_micros(unzigzag(take_varint(bytes)?) as i64))
}

fn put_trail(trail: &[(u64, Time)], out: &mut Vec<u8>) {
    put_varint(trail.len() as u64, out);
    let (mut offset, mut time) = (0, 0);
    for (at, watermark) in trail {
        put_varint(at - offset, out);
        put_varint(zigzag((watermark.micros() as u64).wrapping_sub(time)), out);
        (offset, time) = (*at, watermark.micros() as u64);
    }
}

fn take_trail(bytes: &mut &[u8], head: &BatchHead) -> Result<Vec<(u64, Time)>, Damaged> {
    let count = take_varint(bytes)?;
    let (mut offset, mut time) = (0_u64, 0_u64);
    let mut trail = Vec::new();
    for _ in 0..count {
        offset = offset.wrapping_add(take_varint(bytes)?);
        time = time.wrapping_add(unzigzag(take_varint(bytes)?));
        if !head.offsets.contains(&offset) {
            return Err(Damaged { what: "a watermark is of another batch" });
        }
        trail.push((offset, Time::from_micros(time as i64)));
    }
    Ok(trail)
}

/// Of the watermarks, those that a row of an emitting section comes behind, and the last: between rows nothing can tell them apart.
fn thinned(plan: &EnginePlan, trail: &[(u64, Time)], sections: &[Section]) -> Vec<(u64, Time)> {
    let emitting = sections.iter().enumerate().filter(|(at, _)| plan.sections[*at].emits);
    let mut rows: Vec<u64> = emitting.flat_map(|(_, section)| section.sequence.iter().copied()).collect();
    rows.sort_unstable();
    let mut thin: Vec<(u64, Time)> = Vec::new();
    let mut rows = rows.into_iter().peekable();
    for (at, (offset, watermark)) in trail.iter().enumerate() {
        // Rows up to here, this one too, were before this watermark.
        while rows.next_if(|row| row <= offset).is_some() {}
        let next = trail.get(at + 1).map(|(next, _)| *next);
        if next.is_none_or(|next| rows.peek().is_some_and(|row| *row <= next)) {
            thin.push((*offset, *watermark));
        }
    }
    thin
}

#[cfg(test)]
mod tests;
