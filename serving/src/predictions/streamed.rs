//! The scores of a store's streams, as records like those of calls.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use floodmark_features::time::Time;
use floodmark_proto::v1;
use floodmark_store::{ScoreRecord, Store};
use prost::Message;

use super::{RecordError, Records};

/// Records that are read ahead.
const AHEAD: usize = 512;

/// The scores of events that were scored from one time to another, both included, in the order of the store.
pub fn streamed_records(store: Arc<Store>, from: Time, to: Time) -> Records {
    let (records, read) = sync_channel(AHEAD);
    // It ends when nobody wants more.
    thread::spawn(move || read_all(&store, from..=to, &records));
    Box::new(read.into_iter())
}

fn read_all(store: &Store, times: std::ops::RangeInclusive<Time>, to: &SyncSender<Result<v1::Prediction, RecordError>>) {
    let each = |stored: ScoreRecord| match v1::Prediction::decode(stored.record.as_slice()) {
        Ok(record) if !times.contains(&Time::from_micros(record.at_micros)) => true,
        record => to.send(record.map_err(RecordError::from)).is_ok(),
    };
    if let Err(error) = store.scores(each) {
        let _ = to.send(Err(error.into())); // nobody wants to know
    }
}
