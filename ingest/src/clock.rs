//! The wall clock: read at this edge, handed on as data.

use std::time::{SystemTime, UNIX_EPOCH};

use floodmark_features::time::Time;

/// Now.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
