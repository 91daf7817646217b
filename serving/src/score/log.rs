//! The log of predictions: a share of the rows that are scored, kept so that they can be scored again.
//!
//! A call that names the store's version repeats a read and is none of what serves: it is not logged, so looking at the log does not
//! feed it. On the way of a call there is a branch for each row, and for a row of the share a copy into a bounded queue. Nobody waits for the
//! log: where the queue is full, a row is dropped and counted. A thread of its own encodes and writes (`writer`).

mod writer;

use std::cell::RefCell;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use floodmark_features::key::{encode_key, hash_key};
use floodmark_features::lookup::{Answer, Cell};
use floodmark_features::time::Time;
use floodmark_features::value::{Value, ValueRef};
use floodmark_proto::v1;
use prost::Message;

pub use self::writer::LogWriter;
use self::writer::Order;
use crate::wire::from_value;

/// Rows that wait for the writer.
const MOST_ROWS: usize = 32_768;
/// And the bytes that they take.
const MOST_BYTES: usize = 32 << 20;

thread_local! {
    /// Used again from row to row.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is logged, and how much of it is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSettings {
    /// Which rows.
    pub share: Share,
    /// The newest records are kept, up to so many bytes.
    pub keep_bytes: u64,
}

/// A share of all rows: the same rows on every server, chosen by a hash of entity key and as-of time. A smaller share is a part of a
/// greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Hashes below this; two to the power of 64 is all.
    below: u128,
}

impl Share {
    /// Every row.
    pub const ALL: Share = Share { below: 1 << 64 };

    /// A share from 0 to 1.
    pub fn of(share: f64) -> Option<Share> {
        (0.0..=1.0).contains(&share).then(|| Share { below: (share * 2_f64.powi(64)) as u128 })
    }

    /// Whether it holds no row.
    pub fn is_none(self) -> bool {
        self.below == 0
    }

    /// Whether it holds the row of an entity as of a time.
    pub fn holds(self, keys: &[ValueRef<'_>], as_of: Time) -> bool {
        if self == Share::ALL {
            return true;
        }
        BYTES.with_borrow_mut(|bytes| {
            bytes.clear();
            encode_key(keys, bytes);
            bytes.extend(as_of.micros().to_be_bytes());
            u128::from(hash_key(bytes)) < self.below
        })
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Share, &'static str> {
        match text {
            "all" => Ok(Share::ALL),
            number => number.parse().ok().and_then(Share::of).ok_or("expected `all`, or a share from 0 to 1 such as 0.01"),
        }
    }
}

/// What became of the rows of the share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// In the store.
    pub written: u64,
    /// Not logged: the queue was full.
    pub dropped: u64,
    /// Not logged: the model had no score for them.
    pub failed: u64,
    /// Not logged: the store refused them.
    pub lost: u64,
    /// Removed since, to make room for newer ones.
    pub removed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    removed: Arc<AtomicU64>,
    /// Bytes in the queue.
    queued: AtomicUsize,
}

/// The way into the log, shared by all that score.
#[derive(Debug)]
pub struct Log {
    share: Share,
    queue: SyncSender<Order>,
    counters: Arc<Counters>,
}

/// A row as it is scored, before its score is known.
pub(super) struct Seen<'a> {
    pub(super) request: &'a v1::ScoreRequest,
    /// Position of the row in the request.
    pub(super) at: usize,
    /// And in the response: of a long request, that is the response to a part of it.
    pub(super) place: usize,
    pub(super) keys: &'a [ValueRef<'a>],
    pub(super) as_of: Time,
    pub(super) now: Time,
    pub(super) columns_id: u64,
    pub(super) answer: &'a Answer,
}

/// The rows of a request that are to be logged once they have their scores.
#[derive(Default)]
pub(super) struct Logged(Option<Taken>);

struct Taken {
    log: Arc<Log>,
    /// All of the request but its rows.
    request: Arc<v1::ScoreRequest>,
    now: Time,
    columns_id: u64,
    rows: Vec<TakenRow>,
}

struct TakenRow {
    /// Position in the response.
    place: usize,
    row: v1::EntityRow,
    features: Vec<Value>,
    /// One for each feature, if some are provisional and some are not.
    provisional: Vec<bool>,
}

/// A row with its score, on its way to the writer.
#[derive(Debug)]
struct Entry {
    request: Arc<v1::ScoreRequest>,
    row: v1::EntityRow,
    score: v1::ScoreRow,
    features: Vec<Value>,
    provisional: Vec<bool>,
    columns_id: u64,
    at: Time,
    bytes: usize,
}

impl Log {
    fn new(share: Share) -> (Log, std::sync::mpsc::Receiver<Order>) {
        let (queue, orders) = sync_channel(MOST_ROWS);
        (Log { share, queue, counters: Arc::default() }, orders)
    }

    /// What became of the rows so far.
    pub fn counts(&self) -> LogCounts {
        let Counters { written, dropped, failed, lost, removed, .. } = &*self.counters;
        let [written, dropped, failed, lost, removed] = [written, dropped, failed, lost, removed].map(|c| c.load(Ordering::Relaxed));
        LogCounts { written, dropped, failed, lost, removed }
    }

    /// Copies a row if it is one of the share.
    pub(super) fn take(self: &Arc<Log>, seen: &Seen<'_>, into: &mut Logged) {
        if seen.request.version.is_some() || !self.share.holds(seen.keys, seen.as_of) {
            return;
        }
        let taken = into.0.get_or_insert_with(|| Taken {
            log: self.clone(),
            request: Arc::new(without_rows(seen.request)),
            now: seen.now,
            columns_id: seen.columns_id,
            rows: Vec::new(),
        });
        let cells = &seen.answer.cells;
        let provisional = cells.iter().filter(|cell| cell.provisional).count();
        let mixed = provisional > 0 && provisional < cells.len();
        taken.rows.push(TakenRow {
            place: seen.place,
            row: seen.request.rows[seen.at].clone(),
            features: cells.iter().map(|cell| cell.value.clone()).collect(),
            provisional: if mixed { cells.iter().map(|cell: &Cell| cell.provisional).collect() } else { Vec::new() },
        });
    }

    fn offer(&self, entry: Entry) {
        let (bytes, counters) = (entry.bytes, &*self.counters);
        let queued = counters.queued.fetch_add(bytes, Ordering::Relaxed);
        if queued + bytes > MOST_BYTES || self.queue.try_send(Order::Write(Box::new(entry))).is_err() {
            counters.queued.fetch_sub(bytes, Ordering::Relaxed);
            counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Logged {
    /// Hands the rows on, with their scores.
    pub(super) fn scored(self, response: &v1::ScoreResponse) {
        let Some(Taken { log, request, now, columns_id, rows }) = self.0 else { return };
        let fixed = request.encoded_len();
        for TakenRow { place, row, features, provisional } in rows {
            let Some(scored) = response.rows.get(place) else { continue }; // each row that was taken is in the response
            let bytes = size_of::<Entry>() + fixed + row.encoded_len() + features.iter().map(weight).sum::<usize>();
            let (request, score) = (request.clone(), without_features(scored));
            log.offer(Entry { request, row, score, features, provisional, columns_id, at: now, bytes });
        }
    }

    /// There are no scores.
    pub(super) fn failed(self) {
        if let Some(Taken { log, rows, .. }) = self.0 {
            log.counters.failed.fetch_add(rows.len() as u64, Ordering::Relaxed);
        }
    }
}

impl Entry {
    /// The record: a request that asks for the same row again, and what came out.
    fn into_prediction(self) -> v1::Prediction {
        let Entry { request, row, score, features, provisional, columns_id, at, .. } = self;
        let request = v1::ScoreRequest {
            model_version: score.model_version.to_string(),
            rows: vec![v1::EntityRow { as_of_micros: None, ..row }],
            as_of_micros: Some(score.as_of_micros),
            version: Some(score.version),
            include_features: true,
            ..v1::ScoreRequest::clone(&request)
        };
        let row = v1::ScoreRow { features: features.into_iter().map(from_value).collect(), ..score };
        v1::Prediction {
            at_micros: at.micros(),
            origin: v1::PredictionOrigin::Call.into(),
            request: Some(request),
            outcome: Some(v1::prediction::Outcome::Row(row)),
            columns_id,
            sequence: None,
            provisional_features: provisional,
        }
    }
}

fn without_rows(request: &v1::ScoreRequest) -> v1::ScoreRequest {
    v1::ScoreRequest {
        model: request.model.clone(),
        model_version: String::new(),
        key_names: request.key_names.clone(),
        request_names: request.request_names.clone(),
        event_shape: request.event_shape.clone(),
        rows: Vec::new(),
        as_of_micros: None,
        version: None,
        include_features: true,
        request_id: request.request_id.clone(),
    }
}

fn without_features(row: &v1::ScoreRow) -> v1::ScoreRow {
    v1::ScoreRow {
        score: row.score,
        model_version: row.model_version,
        as_of_micros: row.as_of_micros,
        watermark_micros: row.watermark_micros,
        version: row.version,
        missing: row.missing,
        provisional: row.provisional,
        features: Vec::new(),
    }
}

/// Bytes that a value takes, about.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Str(text) => text.len(),
            Value::List(items) => items.iter().map(weight).sum(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests;
