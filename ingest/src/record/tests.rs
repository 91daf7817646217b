//! One record after another: what becomes of it, whatever its bytes are.

mod avro;
mod protobuf;
mod registry;

use std::path::PathBuf;

use floodmark_features::definition::Source;
use floodmark_intake::batch::SourceBatch;
use floodmark_intake::testing::{payments, show};

use super::*;

/// The records as a batch of that source; its third column is the key.
fn batch(decoder: &mut Decoder, source: &Source, records: &[&[u8]]) -> SourceBatch {
    let mut rows = RowBuilder::new(source, &[2]);
    for (offset, record) in (0..).zip(records) {
        decoder.take(offset, record, &mut rows).expect("the registry answers");
    }
    rows.finish(records.len() as u64)
}

/// The record as payments, as text without the end of the batch.
fn shown(decoder: &mut Decoder, record: &[u8]) -> String {
    let text = show(&batch(decoder, &payments(), &[record]));
    text.strip_suffix("\nend 1").expect("one record").to_owned()
}

/// Every beginning of the record, and the record with any one bit of it turned or any byte of it at an extreme: each has one outcome.
fn whatever_its_bytes_are(decoder: &mut Decoder, record: &[u8]) {
    let mut one = |record: &[u8]| {
        let batch = batch(decoder, &payments(), &[record]);
        assert_eq!(batch.offsets.len() + batch.rejects.len(), 1, "{record:02x?}");
    };
    for place in 0..record.len() {
        one(&record[..place]);
        let mut damaged = record.to_vec();
        for byte in (0..8).map(|bit| record[place] ^ (1 << bit)).chain([0x00, 0x7f, 0x80, 0xff]) {
            damaged[place] = byte;
            one(&damaged);
        }
        let mut longer = record.to_vec();
        longer.splice(place..place, [0xff; 9]);
        one(&longer);
    }
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    path
}

#[test]
fn json_is_read_as_the_lines_of_a_file_are() {
    let lines: [&[u8]; 7] = [
        br#"{"id": 1, "at": "2018-04-01 00:00:31", "customer": 596, "amount": 57, "fraud": 1, "note": "a\nb", "more": [1]}"#,
        br#"{"id": 2, "at": 1522540831000000, "customer": null}"#,
        br#"{"id": 3, "at": "yesterday", "customer": 1}"#,
        br#"{"id": 4, "#,
        br#"[1, 2]"#,
        b"\xff{}",
        b"  {\"id\": 5, \"at\": 0, \"customer\": 7}\r",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(&folder, "events.jsonl", lines.join(&b'\n'));
    let file = crate::source::open(&path, &payments(), 0, &[2]).expect("opens").next_batch().expect("reads").expect("a batch");
    let records = batch(&mut Decoder::json(), &payments(), &lines);
    assert_eq!(records.columns, file.columns);
    assert_eq!(show(&records).replace('\r', ""), show(&file));
    let codes: Vec<_> = records.rejects.iter().map(|reject| reject.reason.code()).collect();
    assert_eq!(codes, ["null_key", "wrong_type", "malformed_json", "not_an_object", "invalid_utf8"]);
}

#[test]
fn a_record_of_no_bytes_is_no_event() {
    // A blank line of a file is no record; a record without bytes is one, and has its outcome.
    for record in [&b""[..], b" \n"] {
        assert!(shown(&mut Decoder::json(), record).starts_with("0 malformed_json"));
    }
}

#[test]
fn a_record_that_is_too_long_is_rejected_by_its_head() {
    let record = vec![b'x'; MAX_RECORD_BYTES + 1];
    let batch = batch(&mut Decoder::json(), &payments(), &[&record]);
    assert_eq!(batch.rejects[0].reason, RejectReason::TooLong { limit: MAX_RECORD_BYTES });
    assert!(batch.rejects[0].payload.starts_with("xxx") && batch.rejects[0].payload.ends_with('…'));
}

#[test]
fn damaged_json_has_one_outcome() {
    whatever_its_bytes_are(&mut Decoder::json(), br#"{"id":1,"at":"2018-04-01T00:00:31Z","customer":596,"note":"\u00e9"}"#);
}

#[test]
fn bytes_are_shown_as_text_or_as_hexadecimal_digits() {
    assert_eq!(text_or_hex("né".as_bytes()), "né");
    assert_eq!(text_or_hex(&[0x00, 0xff, 0x0a]), "0x00ff0a");
    for long in ["né".repeat(20_000).as_bytes(), &[0xff; 50_000]] {
        let reject = Reject::new(0, RejectReason::NotFramed, text_or_hex(long));
        assert!(reject.payload.ends_with('…') && reject.payload.len() <= floodmark_intake::payload::MAX_PAYLOAD_BYTES);
    }
}
