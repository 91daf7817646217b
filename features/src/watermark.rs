//! Watermarks: how far event time has come, for each partition of a source and for the source as a whole (T6, T8, T12).
//!
//! A watermark `W` says: no on-time event at or before `W` is to come. A partition's follows its own records; the source's is
//! the least of those partitions that are not idle, and never goes back. A partition that returns behind the source's
//! watermark is *unaligned*: it neither drags it back nor holds it until it has caught up (Flink's valve, FLINK-38454).

use serde::{Deserialize, Serialize};

use crate::definition::WhenAllIdle;
use crate::time::{Span, Time};

/// The least of several watermarks, idle ones left out. Never goes back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Combined {
    channels: Vec<Channel>,
    output: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Channel {
    watermark: Time,
    idle: bool,
    /// Takes part in the minimum: not idle, and not behind what was said already.
    aligned: bool,
}

impl Combined {
    /// Adds a channel whose watermark is there so far.
    pub fn add(&mut self, watermark: Time) -> usize {
        self.channels.push(Channel { watermark, idle: false, aligned: watermark >= self.watermark() });
        self.channels.len() - 1
    }

    /// What has been reached; [`Time::NONE`] before every channel has reported or is idle.
    pub fn watermark(&self) -> Time {
        self.output.unwrap_or(Time::NONE)
    }

    /// A channel's watermark moved; the new combined one if that moves too. Ignored if it goes back, or while the channel is idle.
    #[inline]
    pub fn advance(&mut self, channel: usize, watermark: Time) -> Option<Time> {
        let reached = self.watermark();
        let it = &mut self.channels[channel];
        if it.idle || watermark <= it.watermark {
            return None;
        }
        it.watermark = watermark;
        it.aligned |= watermark >= reached;
        self.settle()
    }

    /// A channel has nothing to say for now; the new combined watermark if that moves.
    pub fn set_idle(&mut self, channel: usize) -> Option<Time> {
        self.channels[channel].idle = true;
        self.channels[channel].aligned = false;
        self.settle()
    }

    /// A channel is back; the new combined watermark if that moves.
    pub fn set_active(&mut self, channel: usize) -> Option<Time> {
        let reached = self.watermark();
        let it = &mut self.channels[channel];
        it.idle = false;
        it.aligned = it.watermark >= reached;
        self.settle()
    }

    /// Whether a channel is idle.
    pub fn is_idle(&self, channel: usize) -> bool {
        self.channels[channel].idle
    }

    /// Whether every channel is idle, or has ended: the combined watermark holds then.
    pub fn all_idle(&self) -> bool {
        self.channels.iter().all(|c| c.idle || c.watermark == Time::MAX)
    }

    #[inline]
    fn settle(&mut self) -> Option<Time> {
        let least = self.channels.iter().filter(|c| c.aligned).map(|c| c.watermark).min()?;
        // The end of time is where all have ended (T12): one that is silent, or behind, may go on.
        let ends = || self.channels.iter().all(|c| c.watermark == Time::MAX);
        if least <= self.watermark() || (least == Time::MAX && !ends()) {
            return None;
        }
        self.output = Some(least);
        self.output
    }
}

/// The watermark of one partition by the events seen in it (T6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundedOutOfOrderness {
    lag: Span,
    watermark: Time,
}

impl BoundedOutOfOrderness {
    /// Follows `max_out_of_orderness` behind the newest event.
    pub fn new(max_out_of_orderness: Span) -> BoundedOutOfOrderness {
        BoundedOutOfOrderness { lag: max_out_of_orderness, watermark: Time::NONE }
    }

    /// Never moves back: an older event leaves it where it is.
    #[inline]
    pub fn observe(&mut self, event_time: Time) {
        self.watermark = self.watermark.max((event_time - self.lag).previous_tick());
    }

    /// No on-time event at or before this is to come.
    #[inline]
    pub fn watermark(&self) -> Time {
        self.watermark
    }
}

/// The time from which an event counts (T9): its own, unless values up to later were final when it came.
#[inline]
pub fn visible_from(event_time: Time, watermark: Time, allowed_lateness: Span) -> Time {
    if watermark == Time::NONE {
        return event_time;
    }
    event_time.max((watermark - allowed_lateness).next_tick())
}

/// The watermarks of a source and all its partitions, with the position in each. Committed as one with what was routed up to there (T12).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceProgress {
    max_out_of_orderness: Span,
    partitions: Vec<PartitionProgress>,
    combined: Combined,
    /// Sequence number of the next event.
    pub next_sequence: u64,
}

/// How far one partition of a source has been taken in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionProgress {
    /// File, Kafka partition or producer.
    pub name: String,
    /// Position of the next record.
    pub next_offset: u64,
    /// Tells whether a file of this name is still the one that was read.
    pub fingerprint: u64,
    marks: BoundedOutOfOrderness,
    /// A bounded input was read to its end.
    pub ended: bool,
}

impl SourceProgress {
    /// A source of which nothing has been seen.
    pub fn new(max_out_of_orderness: Span) -> SourceProgress {
        SourceProgress { max_out_of_orderness, partitions: Vec::new(), combined: Combined::default(), next_sequence: 0 }
    }

    /// The partitions, in the order in which they appeared.
    pub fn partitions(&self) -> &[PartitionProgress] {
        &self.partitions
    }

    /// The newest watermark that events of any partition have brought.
    pub fn reached(&self) -> Time {
        self.partitions.iter().map(|p| p.marks.watermark()).max().unwrap_or(Time::NONE)
    }

    /// A partition, to move its position.
    pub fn partition_mut(&mut self, partition: usize) -> &mut PartitionProgress {
        &mut self.partitions[partition]
    }

    /// The partition of that name, added if it is new.
    ///
    /// A new one starts at the source's watermark, so that it changes nothing final. Where every input so far has ended, the
    /// source had come to [`Time::MAX`]; a further input takes that back to the newest watermark that events had brought.
    pub fn open(&mut self, name: &str) -> usize {
        let found = self.partitions.iter().position(|p| p.name == name);
        if self.watermark() == Time::MAX {
            self.combined.output = Some(self.reached()).filter(|at| *at > Time::NONE);
        }
        if let Some(found) = found.filter(|at| !self.partitions[*at].ended) {
            return found;
        }
        let watermark = self.watermark();
        if let Some(found) = found {
            // A file that has grown since it was read to its end.
            let it = &mut self.partitions[found];
            it.ended = false;
            it.marks.watermark = it.marks.watermark.max(watermark);
            self.combined.channels[found] = Channel { watermark: it.marks.watermark, idle: false, aligned: true };
            return found;
        }
        let marks = BoundedOutOfOrderness { lag: self.max_out_of_orderness, watermark };
        self.partitions.push(PartitionProgress { name: name.to_owned(), next_offset: 0, fingerprint: 0, marks, ended: false });
        self.combined.add(watermark)
    }

    /// Sees an event; true if the source's watermark moved.
    #[inline]
    pub fn observe(&mut self, partition: usize, event_time: Time) -> bool {
        let marks = &mut self.partitions[partition].marks;
        let before = marks.watermark;
        marks.observe(event_time);
        marks.watermark > before && self.combined.advance(partition, marks.watermark).is_some()
    }

    /// The watermark of a partition.
    #[inline]
    pub fn watermark_of(&self, partition: usize) -> Time {
        self.partitions[partition].marks.watermark
    }

    /// The watermark of the source.
    #[inline]
    pub fn watermark(&self) -> Time {
        self.combined.watermark()
    }

    /// The partition that the source's watermark waits for; none if every one is idle.
    pub fn held_back_by(&self) -> Option<&PartitionProgress> {
        let waits = |channel: &Channel| channel.aligned && channel.watermark < Time::MAX;
        let aligned = self.combined.channels.iter().zip(&self.partitions).filter(|(channel, _)| waits(channel));
        aligned.min_by_key(|(channel, _)| channel.watermark).map(|(_, partition)| partition)
    }

    /// A bounded input has ended; true if the source's watermark moved.
    pub fn end(&mut self, partition: usize) -> bool {
        self.partitions[partition].ended = true;
        self.combined.channels[partition].idle = false;
        let reached = self.watermark();
        if reached < Time::MAX {
            // What the clock had made final stays final when the end is taken back.
            let marks = &mut self.partitions[partition].marks;
            marks.watermark = marks.watermark.max(reached);
        }
        self.combined.advance(partition, Time::MAX).is_some()
    }

    /// A partition is caught up and silent (T8); true if the source's watermark moved.
    pub fn set_idle(&mut self, partition: usize) -> bool {
        !self.combined.is_idle(partition) && self.combined.set_idle(partition).is_some()
    }

    /// A partition has something again. What it brings behind the source's watermark changes nothing final; true if that moved.
    pub fn set_active(&mut self, partition: usize) -> bool {
        if !self.combined.is_idle(partition) {
            return false;
        }
        let reached = self.watermark();
        let marks = &mut self.partitions[partition].marks;
        marks.watermark = marks.watermark.max(reached);
        self.combined.channels[partition].watermark = marks.watermark;
        self.combined.set_active(partition).is_some()
    }

    /// A partition's watermark as whoever reads the partition has told it; true if the source's moved.
    pub fn tell(&mut self, partition: usize, watermark: Time) -> bool {
        let marks = &mut self.partitions[partition].marks;
        let moves = watermark > marks.watermark;
        marks.watermark = marks.watermark.max(watermark);
        moves && self.combined.advance(partition, watermark).is_some()
    }

    /// Every partition is idle: hold, or follow the clock that the edge read (T8). True if the source's watermark moved.
    pub fn while_all_idle(&mut self, choice: WhenAllIdle, now: Time, idle_timeout: Span) -> bool {
        self.all_idle_until(by_clock(choice, now, idle_timeout, self.max_out_of_orderness))
    }

    /// The same where somebody else has read the clock ([`by_clock`]).
    pub fn all_idle_until(&mut self, to: Time) -> bool {
        let moves = self.combined.all_idle() && to > self.watermark();
        if moves {
            self.combined.output = Some(to);
        }
        moves
    }
}

/// How far the clock takes the watermark of a source of which every partition is idle; [`Time::NONE`] where it is to hold (T8).
pub fn by_clock(choice: WhenAllIdle, now: Time, idle_timeout: Span, max_out_of_orderness: Span) -> Time {
    match choice {
        WhenAllIdle::Advance => (now - idle_timeout - max_out_of_orderness).previous_tick(),
        WhenAllIdle::Hold => Time::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn a_source_follows_its_slowest_partition() {
        let mut source = SourceProgress::new(Span::from_micros(10));
        let (a, b) = (source.open("a"), source.open("b"));
        assert!(!source.observe(a, at(100)), "b has not reported");
        assert!(source.observe(b, at(50)));
        assert_eq!(source.watermark(), at(39));
        assert!(!source.observe(a, at(200)));
        assert!(source.set_idle(b));
        assert_eq!(source.watermark(), at(189));
    }

    #[test]
    fn a_partition_that_comes_back_behind_changes_nothing_final() {
        let mut source = SourceProgress::new(Span::ZERO);
        let (a, b) = (source.open("a"), source.open("b"));
        source.observe(b, at(5));
        source.set_idle(b);
        source.observe(a, at(100));
        source.set_active(b);
        source.observe(b, at(7));
        assert_eq!(source.watermark(), at(99));
        assert_eq!(visible_from(at(7), source.watermark_of(b), Span::ZERO), at(100));
    }

    #[test]
    fn an_input_after_the_end_goes_on_where_events_had_come() {
        let mut source = SourceProgress::new(Span::from_micros(10));
        let a = source.open("a");
        source.observe(a, at(100));
        assert!(source.end(a));
        assert_eq!(source.watermark(), Time::MAX);
        let b = source.open("b");
        assert_eq!(source.watermark(), at(89));
        source.observe(b, at(150));
        assert_eq!(source.watermark(), at(139));
        assert_eq!(visible_from(at(20), source.watermark_of(b), Span::from_micros(5)), at(135));
    }

    /// A file was taken in to its end, and a producer pushes beside it.
    fn with_an_ended_one() -> (SourceProgress, usize) {
        let mut source = SourceProgress::new(Span::from_micros(10));
        let file = source.open("file");
        source.observe(file, at(100));
        source.end(file);
        let producer = source.open("producer");
        source.observe(producer, at(150));
        assert_eq!(source.watermark(), at(139));
        (source, producer)
    }

    #[test]
    fn silence_beside_an_input_that_has_ended_is_not_the_end_of_time() {
        let (mut source, producer) = with_an_ended_one();
        assert!(!source.set_idle(producer));
        assert_eq!((source.watermark(), source.held_back_by()), (at(139), None));
        assert!(!source.while_all_idle(WhenAllIdle::Hold, at(1000), Span::from_micros(60)));
        source.set_active(producer);
        assert!(source.observe(producer, at(200)));
        assert_eq!(source.watermark(), at(189));
        source.set_idle(producer);
        assert!(source.while_all_idle(WhenAllIdle::Advance, at(1000), Span::from_micros(60)), "the clock is followed");
        assert_eq!(source.watermark(), at(929));
        assert!(source.end(producer), "now all have ended");
        assert_eq!(source.watermark(), Time::MAX);
        source.open("next");
        assert_eq!(source.watermark(), at(929), "what was final by the clock is so still");
    }

    #[test]
    fn neither_is_one_that_is_behind() {
        let (mut source, producer) = with_an_ended_one();
        let other = source.open("other");
        source.set_idle(other);
        source.observe(producer, at(300));
        source.combined.set_active(other);
        assert!(!source.combined.channels[other].aligned, "it is behind");
        assert!(!source.set_idle(producer));
        assert_eq!(source.watermark(), at(289));
    }

    #[test]
    fn all_idle_holds_or_follows_the_clock() {
        let mut source = SourceProgress::new(Span::ZERO);
        let a = source.open("a");
        source.observe(a, at(100));
        source.set_idle(a);
        assert!(!source.while_all_idle(WhenAllIdle::Hold, at(1000), Span::from_micros(60)));
        assert!(source.while_all_idle(WhenAllIdle::Advance, at(1000), Span::from_micros(60)));
        assert_eq!(source.watermark(), at(939));
    }
}
