//! Files of every kind: good lines, bad lines, real data.

mod parquet;
mod text;

use std::path::{Path, PathBuf};

use floodmark_features::definition;
use floodmark_features::value::Type;
use floodmark_intake::batch::BATCH_ROWS;
use floodmark_intake::testing::{payments, show, source};

use super::*;

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
