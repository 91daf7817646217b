//! What Kafka clients complain of, for the log: each complaint once, and after a minute again if it is still heard.

use std::time::{Duration, Instant};

use floodmark_ingest::kafka::status::Status;

/// So long a complaint is not repeated.
const AGAIN: Duration = Duration::from_secs(60);

/// What was said of one status.
#[derive(Default)]
pub(super) struct Complaints {
    heard: u64,
    said: Vec<(String, Instant)>,
}

impl Complaints {
    /// What is to be said now, if anything.
    pub(super) fn news(&mut self, status: &Status, now: Instant) -> Option<String> {
        let heard = status.troubles();
        if std::mem::replace(&mut self.heard, heard) == heard {
            return None;
        }
        // None if all is well again.
        let complaint = status.last_trouble()?;
        self.said.retain(|(_, at)| now.duration_since(*at) < AGAIN);
        if self.said.iter().any(|(said, _)| *said == complaint) {
            return None;
        }
        self.said.push((complaint.clone(), now));
        Some(complaint)
    }
}
