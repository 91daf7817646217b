//! Training sets that are larger than the memory that they are given: made part by part, they are the same to the bit as those that are made
//! at once, whatever the spine is like.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::crash::{Chance, write_payments};
use crate::harness::real::{batches, floodmark, text};
use crate::parity::definitions;

const EVENTS: usize = 60_000;
const ROWS: usize = 10_000;
const START: i64 = 1_700_000_000_000_000;
const HOUR: u64 = 3_600_000_000;

/// Unsorted, with events and what is none, nulls in keys and times, entities that nobody knows, rows twice, in several row groups.
fn write_spine(path: &Path, hours: u64, chance: &mut Chance) {
    let mut some = |most: u64, of: u64| (chance.below(of) > 0).then(|| chance.below(most) as i64);
    let rows: Vec<[Option<i64>; 4]> = (0..ROWS).map(|_| [some(900, 50), some(50, 50), some(hours, 60), some(100_000, 3)]).collect();
    let ids: Int64Array = rows.iter().map(|row| row[3]).collect();
    let cards: Int64Array = rows.iter().map(|row| row[0]).collect();
    let shops: StringArray = rows.iter().map(|row| row[1].map(|shop| format!("s{shop}"))).collect();
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row[2].map(|at| START + at)).collect();
    let amounts: Float64Array = rows.iter().map(|row| row[3].map(|at| at as f64 / 7.0)).collect();
    let columns: [(&str, ArrayRef); 6] = [
        ("label", Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("row {row}"))))),
        ("id", Arc::new(ids)),
        ("card", Arc::new(cards)),
        ("shop", Arc::new(shops)),
        ("at", Arc::new(times)),
        ("amount", Arc::new(amounts)),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a spine");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(3_000)).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).expect("a file"), batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a file");
}

#[test]
fn part_by_part_is_the_same_as_at_once() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| text(&home.path().join(name));
    let short = "  short: { entity: card, source: payments, features: { n: { count: \"*\", windows: [2h] } } }\nservices:\n  short: { features: [short.*] }\n";
    std::fs::write(at("all.yaml"), definitions().replacen("services:\n", short, 1)).expect("definitions");
    let file = home.path().join("payments.jsonl");
    write_payments(&file);
    let all = std::fs::read_to_string(&file).expect("lines");
    std::fs::write(&file, all.lines().take(EVENTS).map(|line| format!("{line}\n")).collect::<String>()).expect("lines");
    let input = format!("payments={}", at("payments.jsonl"));
    // In files of about a second's events, so that there are some to choose from.
    let place = ["--store", &at("store"), "--offline", &at("offline"), "--offline-interval", "300"];
    floodmark(&[&["replay", "--json", "--definitions", &at("all.yaml")], &place[..], &[&input]].concat());
    write_spine(&home.path().join("spine.parquet"), 80 * HOUR, &mut Chance(0x9a27));
    write_spine(&home.path().join("early.parquet"), 5 * HOUR, &mut Chance(0xea71));

    // The last of them needs little of the history, but has all of its newest version.
    let ways: [(&str, &[&str]); 5] = [
        ("all", &["--event-id", "id"]),
        ("more", &["--statuses"]),
        ("more", &["--mode", "as-corrected", "--statuses", "--event-id", "id"]),
        ("all", &["--threads", "1"]),
        ("short", &["--event-id", "id"]),
    ];
    for (service, way) in ways {
        let made = |memory: &str, out: &str| {
            let of = ["--offline", &at("offline"), "--definitions", &at("all.yaml"), "--service", service, "--memory", memory];
            let spine =
                ["--spine", &at(if service == "short" { "early.parquet" } else { "spine.parquet" }), "--time", "at", "--out", &at(out)];
            let report = floodmark(&[&["training-set", "--json"], &of[..], &spine, way].concat());
            (report["rows"].clone(), report["rows_without_key"].clone(), report["version"].clone(), batches(&home.path().join(out)))
        };
        let (at_once, in_parts) = (made("2048", "at once.parquet"), made("3", "in parts.parquet"));
        assert_eq!(at_once, in_parts, "{service} {way:?}");
        assert_eq!(at_once.0, ROWS);
    }
    for memory in ["2048", "3"] {
        let of = ["training-set", "--offline", &at("offline"), "--definitions", &at("all.yaml"), "--service", "all", "--memory", memory];
        let spine = ["--spine", &at("spine.parquet"), "--time", "at", "--version", "9000000000000000000", "--out", &at("none.parquet")];
        let run = Command::new(env!("CARGO_BIN_EXE_floodmark")).args([&of[..], &spine].concat()).output().expect("the command");
        let why = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && why.contains("no commit has this version yet"), "{why}");
    }
    let left: Vec<_> = std::fs::read_dir(home.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("parts.parquet.")), "scratch files are gone: {left:?}");
}
