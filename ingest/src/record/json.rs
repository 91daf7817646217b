//! A record that is the text of one JSON object.

use floodmark_intake::columns::RowBuilder;
use floodmark_intake::payload::lossy;
use floodmark_intake::reject::{Reject, RejectReason};

/// Takes the record, or rejects it with its reason.
pub(crate) fn take(offset: u64, bytes: &[u8], rows: &mut RowBuilder) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            rows.push_json_text(offset, text);
        }
        Err(_) => rows.reject(Reject::new(offset, RejectReason::InvalidUtf8, lossy(bytes))),
    }
}
