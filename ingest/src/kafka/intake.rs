//! The records of one partition on their way to becoming a batch, and whether there are more (T8).

use std::str::Utf8Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_features::definition;
use floodmark_features::time::Time;
use floodmark_intake::batch::SourceBatch;
use floodmark_intake::columns::RowBuilder;
use floodmark_intake::payload::lossy;
use floodmark_intake::reject::{Reject, RejectReason};
use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::status::Status;
use super::topic::{Beside, Topic};
use crate::record::Decoder;

/// How long to wait before what did not answer is asked again.
pub(super) const RETRY: Duration = Duration::from_millis(500);
/// Longer records together are handed over, in bytes: they have to fit into one record of the feature log, with what is said of late ones.
const MOST_BYTES: usize = 8 << 20;
/// Who is silent for a moment only is not asked about.
const MOMENT: Duration = Duration::from_millis(50);

/// A partition that is being read.
pub(super) struct Intake {
    pub(super) name: String,
    /// The offset of the next record.
    pub(super) next: u64,
    pub(super) end: End,
    rows: RowBuilder,
    appended: Vec<Time>,
    bytes: usize,
    beside: Arc<[(Beside, usize)]>,
}

/// How long a partition has been at its end (T8).
pub(super) enum End {
    /// Records may be waiting.
    Ahead,
    /// It was read to its end at that moment, whose offset the broker said, once it was asked.
    Reached(Instant, Option<i64>),
    /// For longer than the timeout; whoever decides about watermarks knows.
    Idle,
}

impl Intake {
    /// Goes on at an offset. `required` are the columns that must not be null, `beside` those that may stand beside a value.
    pub(super) fn new(name: String, next: u64, source: &definition::Source, required: &[usize], beside: Arc<[(Beside, usize)]>) -> Intake {
        Intake { name, next, end: End::Ahead, rows: RowBuilder::new(source, required), appended: Vec::new(), bytes: 0, beside }
    }

    /// Decodes a record. False if it was left, because it is time to stop.
    pub(super) fn take(
        &mut self,
        message: &BorrowedMessage<'_>,
        topic: &Topic,
        decoder: &mut Decoder,
        status: &Status,
        stopping: impl Fn() -> bool,
    ) -> bool {
        let Ok(offset) = u64::try_from(message.offset()) else { return true };
        let before = self.rows.rows();
        match message.payload() {
            None => self.rows.reject(Reject::new(offset, RejectReason::Tombstone, lossy(message.key().unwrap_or_default()))),
            Some(value) if value.len() > topic.max_record_bytes => {
                self.rows.reject(Reject::new(offset, RejectReason::TooLong { limit: topic.max_record_bytes }, lossy(value)));
            }
            Some(value) if self.take_beside(message).is_err() => {
                self.rows.reject(Reject::new(offset, RejectReason::InvalidUtf8, lossy(value)));
            }
            // A registry that does not answer is waited for, as a broker is. When told to stop, the record is left for the next start.
            Some(value) => {
                while let Err(error) = decoder.take(offset, value, &mut self.rows) {
                    status.trouble(&error.to_string());
                    if stopping() {
                        return false;
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
        self.end = End::Ahead;
        self.next = offset + 1;
        self.bytes += message.payload_len();
        if self.rows.rows() > before {
            // To the end of the millisecond: Kafka's timestamps are cut there.
            let millis = message.timestamp().to_millis().unwrap_or(i64::MAX / 1000 - 1);
            self.appended.push(Time::from_micros(millis.saturating_mul(1000).saturating_add(999)));
        }
        true
    }

    /// Takes the columns that stand beside the value of a record, which is taken next.
    fn take_beside(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Utf8Error> {
        if self.beside.is_empty() {
            return Ok(());
        }
        let text = |(place, column): &(Beside, usize)| {
            let bytes = match place {
                Beside::Key => message.key(),
                Beside::Header(name) => last_header(message, name),
            };
            Ok((*column, bytes.map(std::str::from_utf8).transpose()?.map(str::to_owned)))
        };
        let columns = self.beside.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        self.rows.set_beside(columns);
        Ok(())
    }

    /// Whether nothing more should be taken before [`Intake::finish`].
    pub(super) fn is_full(&self) -> bool {
        self.rows.is_full() || self.bytes >= MOST_BYTES
    }

    /// What was taken, as one batch; `None` if that is nothing.
    pub(super) fn finish(&mut self) -> Option<SourceBatch> {
        if self.rows.is_empty() {
            return None;
        }
        self.bytes = 0;
        let mut batch = self.rows.finish(self.next);
        batch.appended = std::mem::take(&mut self.appended);
        Some(batch)
    }
}

fn last_header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a [u8]> {
    let headers = message.headers()?;
    (0..headers.count()).rev().map(|at| headers.get(at)).find(|header| header.key == name)?.value
}

impl End {
    /// The client says that all has been read.
    pub(super) fn reached(&mut self) {
        *self = End::Reached(Instant::now(), None);
    }

    /// True if the partition has just become idle: it has been at its end for longer than the timeout, and a broker, asked for its end
    /// by `ask`, says that it still is. Silence alone says nothing, for the broker may be away.
    pub(super) fn becomes_idle(&mut self, timeout: Duration, ask: impl FnOnce() -> Option<i64>) -> bool {
        let End::Reached(since, end) = *self else { return false };
        let due = if end.is_none() { MOMENT } else { timeout.max(MOMENT) };
        if since.elapsed() <= due {
            return false;
        }
        let Some(now) = ask() else { return false };
        *self = match end {
            None => End::Reached(since, Some(now)),
            Some(end) if end == now => End::Idle,
            // Something is on its way.
            Some(_) => End::Reached(Instant::now(), None),
        };
        matches!(self, End::Idle)
    }
}
