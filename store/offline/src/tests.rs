//! A table takes each position once, whoever appends; it is kept small and clean, and readers see the same rows.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ipc::writer::StreamWriter;
use floodmark_features::definition::Definitions;
use floodmark_features::time::Time;
use floodmark_store::Kept;

use crate::lake::Lake;
use crate::table::{Appended, Table};

fn schema(columns: &[&str]) -> Schema {
    Schema::new(columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>())
}

fn rows(values: std::ops::Range<i64>) -> RecordBatch {
    RecordBatch::try_new(Arc::new(schema(&["n"])), vec![Arc::new(Int64Array::from_iter_values(values))]).expect("rows")
}

fn all(table: &Table) -> Vec<i64> {
    let batches = table.rows().expect("rows");
    let mut found: Vec<i64> = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    found.sort_unstable();
    found
}

fn lake(home: &tempfile::TempDir) -> Arc<Lake> {
    Arc::new(Lake::open(home.path().to_str().expect("text")).expect("a lake"))
}

#[test]
fn a_position_is_appended_once_by_whoever_is_first() {
    let home = tempfile::tempdir().expect("a directory");
    let open = || Table::open(&lake(&home), "numbers", &schema(&["n"])).expect("a table");
    let (first, second) = (open(), open());
    assert_eq!(first.position("a").expect("none"), None);
    assert_eq!(first.append("a", 7, &[rows(0..3)]).expect("appended"), Appended::Now);
    assert_eq!(second.append("a", 7, &[rows(0..3)]).expect("not again"), Appended::Before);
    assert_eq!(second.append("a", 6, &[rows(0..3)]).expect("older"), Appended::Before);
    assert_eq!(second.append("b", 6, &[rows(3..5), rows(5..6)]).expect("another's"), Appended::Now);
    assert_eq!((first.position("a").expect("it"), first.position("b").expect("it")), (Some(7), Some(6)));
    assert_eq!(all(&first), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn writers_that_race_lose_nothing_and_repeat_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    // Two for each name, so that each append is tried twice.
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let lake = lake(&home);
            scope.spawn(move || {
                let table = Table::open(&lake, "numbers", &schema(&["n"])).expect("a table");
                let name = writer / 2;
                for position in 0..20 {
                    let start = name * 1_000 + position * 10;
                    table.append(&format!("writer-{name}"), position as u64, &[rows(start..start + 10)]).expect("an append");
                }
            });
        }
    });
    let table = Table::open(&lake(&home), "numbers", &schema(&["n"])).expect("a table");
    assert_eq!(all(&table), (0..200).chain(1_000..1_200).collect::<Vec<_>>());
}

#[test]
fn a_table_gets_the_columns_that_it_lacks_and_keeps_the_types_that_it_has() {
    let home = tempfile::tempdir().expect("a directory");
    let lake = lake(&home);
    Table::open(&lake, "numbers", &schema(&["n"])).expect("a table").append("a", 1, &[rows(0..2)]).expect("rows");
    let wider = Table::open(&lake, "numbers", &schema(&["n", "m"])).expect("a wider table");
    let both =
        RecordBatch::try_new(Arc::new(schema(&["n", "m"])), vec![Arc::new(Int64Array::from(vec![2])), Arc::new(Int64Array::from(vec![5]))]);
    assert_eq!(wider.append("a", 2, &[both.expect("rows")]).expect("wider rows"), Appended::Now);
    assert_eq!(all(&wider), [0, 1, 2]);
    let text = Schema::new(vec![Field::new("n", DataType::Utf8, true)]);
    let refused = Table::open(&lake, "numbers", &text).expect_err("another type").to_string();
    assert!(refused.contains("n is long and should be string"), "{refused}");
}

#[test]
fn small_files_become_one_and_what_is_left_over_goes_when_it_is_old() {
    let home = tempfile::tempdir().expect("a directory");
    let table = Table::open(&lake(&home), "numbers", &schema(&["n"])).expect("a table");
    for position in 0..20 {
        table.append("a", position, &[rows(position as i64 * 10..position as i64 * 10 + 10)]).expect("an append");
    }
    let files = || {
        std::fs::read_dir(home.path().join("numbers"))
            .expect("a folder")
            .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some()))
            .count()
    };
    assert_eq!(files(), 20);
    assert_eq!(table.compact().expect("compacted"), 20);
    assert_eq!(table.compact().expect("nothing to do"), 0);
    assert_eq!((all(&table), files()), ((0..200).collect(), 21));
    assert_eq!(table.append("a", 3, &[rows(0..1)]).expect("old"), Appended::Before);
    assert_eq!(table.append("a", 20, &[rows(200..210)]).expect("new"), Appended::Now);
    // A day later, versions of the last week need them; two days later, those of the last day do not.
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let later =
        |after: Duration| (std::time::SystemTime::now() + after).duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis() as i64;
    assert_eq!(table.vacuum(days(7), later(days(1)), false).expect("nothing"), [""; 0]);
    assert_eq!(table.vacuum(days(1), later(days(2)), true).expect("a list").len(), 20);
    assert_eq!(files(), 22);
    assert_eq!(table.vacuum(days(1), later(days(2)), false).expect("a list").len(), 20);
    assert_eq!((all(&table), files()), ((0..210).collect(), 2));
}

#[test]
fn files_from_before_a_column_was_added_become_one_with_those_from_after() {
    let home = tempfile::tempdir().expect("a directory");
    let lake = lake(&home);
    let table = Table::open(&lake, "numbers", &schema(&["n"])).expect("a table");
    for at in 0..10 {
        table.append("a", at, &[rows(at as i64..at as i64 + 1)]).expect("rows");
    }
    let wider = Table::open(&lake, "numbers", &schema(&["n", "m"])).expect("a wider table");
    for at in 10..20 {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![at as i64])), Arc::new(Int64Array::from(vec![-(at as i64)]))];
        let both = RecordBatch::try_new(Arc::new(schema(&["n", "m"])), columns).expect("rows");
        wider.append("a", at, &[both]).expect("wider rows");
    }
    assert_eq!(wider.compact().expect("compacted"), 20);
    assert_eq!(all(&wider), (0..20).collect::<Vec<_>>());
    let of_m = wider.rows().expect("rows").iter().map(|batch| batch.column(1).null_count()).sum::<usize>();
    assert_eq!(of_m, 10);
}

#[test]
fn events_that_wait_from_before_a_column_was_added_are_rows_with_null_there() {
    let text = |columns: &str| {
        format!(
            "sources:\n  s:\n    schema: {{ id: int64, at: timestamp, card: int64{columns} }}\n    event_time: at\n    event_id: id\n\
             entities:\n  card: {{ keys: [card] }}\nviews:\n  v: {{ entity: card, source: s, features: {{ n: {{ count: '*', windows: [1h] }} }} }}\n"
        )
    };
    let newer = Definitions::parse("test.yaml", &text(", amount: float64")).expect("definitions");
    let fields: Vec<Field> = ["id", "card", "_offset"].iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, [("_partition", "p")]));
    let numbers = |first: i64| Arc::new(Int64Array::from_iter_values(first..first + 4)) as ArrayRef;
    let batch = RecordBatch::try_new(schema.clone(), vec![numbers(0), numbers(10), numbers(20)]).expect("a batch");
    let mut stream = StreamWriter::try_new(Vec::new(), &schema).expect("a stream");
    stream.write(&batch).expect("rows");
    let kept = Kept { version: 7, first: 100, refused: vec![101, 103], late: vec![103], bytes: stream.into_inner().expect("bytes") };
    let wanted = crate::events::schema_of(&newer.sources[0]);
    let found = crate::events::rows_of(&kept, &wanted).expect("rows").remove(0);
    let column = |name: &str| found.column_by_name(name).expect("a column").clone();
    let ints = |name: &str| column(name).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!((ints("id"), ints("card"), ints("_offset")), (vec![0, 2], vec![10, 12], vec![20, 22]));
    assert_eq!((ints("_version"), ints("_sequence")), (vec![7, 7], vec![100, 102]));
    assert_eq!(column("_partition").as_string::<i32>().value(1), "p");
    assert_eq!((column("amount").null_count(), column("at").null_count()), (2, 2));
}

#[test]
fn late_events_are_brought_once_however_an_interrupted_flush_is_cut_the_next_time() {
    let text = "sources:\n  s:\n    schema: { id: int64, at: timestamp, card: int64 }\n    event_time: at\n    event_id: id\n\
                entities:\n  card: { keys: [card] }\nviews:\n  v: { entity: card, source: s, features: { n: { count: '*', windows: [1h] } } }\n";
    let definitions = Definitions::parse("test.yaml", text).expect("definitions");
    let (home, wanted) = (tempfile::tempdir().expect("a directory"), crate::events::schema_of(&definitions.sources[0]));
    let schema = Arc::new(Schema::new_with_metadata(vec![Field::new("id", DataType::Int64, true)], [("_partition", "p")]));
    // Four events a commit, of which the first is late.
    let kept = |version: u64| {
        let (first, mut stream) = (version * 10, StreamWriter::try_new(Vec::new(), &schema).expect("a stream"));
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first as i64..first as i64 + 4));
        stream.write(&RecordBatch::try_new(schema.clone(), vec![ids]).expect("a batch")).expect("rows");
        Kept { version, first, refused: vec![first, first + 2], late: vec![first], bytes: stream.into_inner().expect("bytes") }
    };
    let table = Table::open(&lake(&home), "late_events/s", &wanted).expect("a table");
    let flush =
        |versions: std::ops::Range<u64>| crate::flush_late(&table, "a", &versions.map(kept).collect::<Vec<_>>(), &wanted).expect("a flush");
    assert_eq!((flush(1..3), flush(1..3), flush(2..6), flush(1..6)), (2, 0, 3, 0));
    assert_eq!(all(&table), [10, 20, 30, 40, 50]);
}

#[test]
fn what_others_have_written_in_another_form_is_the_same_and_what_does_not_fit_is_an_error() {
    let wanted = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8, true)]));
    let of = |n: ArrayRef| {
        RecordBatch::try_from_iter([("t", Arc::new(StringViewArray::from(vec!["a"])) as ArrayRef), ("n", n)]).expect("a batch")
    };
    let filled = crate::events::filled(&of(Arc::new(Int32Array::from(vec![7]))), &wanted).expect("the same");
    assert_eq!((filled.column(0).as_primitive::<Int64Type>().value(0), filled.column(1).as_string::<i32>().value(0)), (7, "a"));
    assert!(crate::events::filled(&of(Arc::new(StringViewArray::from(vec!["x"]))), &wanted).is_err());
}

/// Statistics may know instants to the millisecond only; what they say of a file must never leave out one of its rows.
#[test]
fn files_are_chosen_by_their_statistics_and_none_with_a_row_in_it_is_left_out() {
    let home = tempfile::tempdir().expect("a directory");
    let schema = Arc::new(Schema::new(vec![Field::new("at", crate::events::instant(), true)]));
    let table = Table::open(&lake(&home), "instants", &schema).expect("a table");
    // Each file spans half a millisecond or so, with ends that are no whole ones, after a gap.
    let spans: Vec<(i64, i64)> = (0..12).map(|file| (file * 7_919 + 333, file * 7_919 + 333 + 100 * (file + 1))).collect();
    for (position, (first, last)) in spans.iter().enumerate() {
        let at = TimestampMicrosecondArray::from(vec![*first, *last]).with_timezone("UTC");
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(at)]).expect("rows");
        table.append("a", position as u64 + 1, &[batch]).expect("appended");
    }
    let within = |from: i64, to: i64| {
        let found = table.files_within("at", (Time::from_micros(from), Time::from_micros(to))).expect("files");
        assert!(found.iter().all(|(_, rows)| *rows == 2));
        found.len()
    };
    assert_eq!(within(i64::MIN, i64::MAX), 12);
    assert_eq!((within(1_000_000, 2_000_000), within(-5_000, -1_000)), (0, 0));
    for (at, (first, last)) in spans.iter().enumerate() {
        for (from, to) in [(*first, *first), (*last, *last), (first - 1, first + 1), (*last, last + 1), (first + 1, last - 1)] {
            let found = within(from, to);
            assert!(found == 1, "file {at}: {found} files hold something within {from}..={to}");
        }
    }
}
