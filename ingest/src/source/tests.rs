//! Files of every kind: good lines, bad lines, real data.

mod parquet;
mod text;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use floodmark_features::definition::{self, WhenAllIdle};
use floodmark_features::schema::{Column, Schema};
use floodmark_features::time::Span;
use floodmark_features::value::Type;

use super::*;
use crate::payload::payload_of;

/// A source of payments: `customer` (position 2) is the key.
pub(crate) fn payments() -> definition::Source {
    source(&[
        ("id", Type::Int64),
        ("at", Type::Timestamp),
        ("customer", Type::Int64),
        ("amount", Type::Float64),
        ("fraud", Type::Bool),
        ("note", Type::String),
    ])
}

/// A source whose first column is the event id and whose second is the event time.
pub(crate) fn source(columns: &[(&str, Type)]) -> definition::Source {
    definition::Source {
        name: "payments".to_owned(),
        schema: Schema { columns: columns.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect() },
        event_time: 1,
        event_id: Some(0),
        max_out_of_orderness: Span::ZERO,
        allowed_lateness: Span::ZERO,
        max_future_skew: Span::from_secs(600),
        idle_timeout: Span::from_secs(60),
        when_all_idle: WhenAllIdle::Hold,
        retention: None,
    }
}

/// A batch as text: rows with their offsets, then rejects, then the end.
pub(crate) fn show(batch: &SourceBatch) -> String {
    assert_eq!(batch.offsets.len(), batch.columns.num_rows());
    let mut out = String::new();
    for (row, offset) in batch.offsets.iter().enumerate() {
        let _ = writeln!(out, "{offset} {}", payload_of(&batch.columns, row));
    }
    for reject in &batch.rejects {
        let _ = writeln!(out, "{} {} {}", reject.offset, reject.reason.code(), reject.payload);
    }
    let _ = write!(out, "end {}", batch.end);
    out
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    path
}

fn all(path: &Path, source: &definition::Source, from: u64) -> Vec<SourceBatch> {
    let mut opened = open(path, source, from, &[2]).expect("opens");
    std::iter::from_fn(|| opened.next_batch().expect("reads")).collect()
}

fn error_of(path: &Path) -> String {
    open(path, &payments(), 0, &[2]).err().expect("an error").to_string()
}

#[test]
fn an_error_names_the_file_and_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let f = folder.path();
    let cases = [
        (f.join("none.csv"), "file cannot be opened: check the path and its permissions. path="),
        (f.join("events"), "file has no known extension: convert or rename it. path="),
        (write(f, "events.xlsx", ""), "known=.parquet .csv .jsonl .ndjson .json"),
        (write(f, "cut.parquet", "PAR1 and no more"), "file is not readable Parquet (was it written to its end?)"),
        (write(f, "empty.parquet", ""), "file is not readable Parquet"),
        (write(f, "empty.csv", ""), "CSV file has no header"),
        (write(f, "few.csv", "id,at,customer,amount,fraud\n"), "column=note expected=string columns=[id, at, customer, amount, fraud]"),
        (write(f, "twice.csv", "id,at,id,customer,amount,fraud,note\n"), "source's schema twice. path="),
    ];
    for (path, expected) in cases {
        let error = error_of(&path);
        assert!(error.contains(expected) && error.contains(&path.display().to_string()), "{error}");
    }
    let directory = f.join("folder.csv");
    std::fs::create_dir(&directory).expect("made");
    assert!(error_of(&directory).starts_with("path is a directory: name the file in it. path="));
}

#[test]
fn a_file_that_grows_stays_the_same_and_another_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    for size in [0, 10, 65_534, 65_535, 65_536, 200_000] {
        let mut text = "x".repeat(size);
        let path = write(folder.path(), "events.jsonl", &text);
        let before = fingerprint(&path).expect("read");
        assert!(same_file(&path, before).expect("read"), "{size}");
        text.push_str("more");
        write(folder.path(), "events.jsonl", &text);
        assert!(same_file(&path, before).expect("read"), "{size}");
        if size > 0 {
            write(folder.path(), "events.jsonl", "y".repeat(size + 4));
            assert!(!same_file(&path, before).expect("read"), "{size}");
            write(folder.path(), "events.jsonl", "");
            assert!(!same_file(&path, before).expect("read"), "{size}");
        }
    }
    // Of Parquet the footer counts as well.
    let head = "h".repeat(70_000);
    let path = write(folder.path(), "a.parquet", format!("{head}footer-a\x08\0\0\0PAR1"));
    let before = fingerprint(&path).expect("read");
    assert!(same_file(&path, before).expect("read"));
    write(folder.path(), "a.parquet", format!("{head}footer-b\x08\0\0\0PAR1"));
    assert!(!same_file(&path, before).expect("read"));
}
