//! Parquet.

use std::sync::Arc;

use ::arrow::array::*;
use ::arrow::datatypes::Int32Type;
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use floodmark_intake::offsets::Offsets;

use super::*;

fn written(folder: &Path, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true))).expect("a batch");
    let path = folder.join("events.parquet");
    let settings = WriterProperties::builder().set_max_row_group_row_count(Some(40_000)).build();
    let mut writer = ArrowWriter::try_new(File::create(&path).expect("made"), batch.schema(), Some(settings)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    path
}

/// Payments by columns that need no widening, with another column and in another order.
fn plain(
    ids: Vec<Option<i64>>,
    times: Vec<Option<i64>>,
    customers: Vec<Option<i64>>,
    amounts: Vec<Option<f64>>,
) -> Vec<(&'static str, ArrayRef)> {
    let rows = ids.len();
    vec![
        ("more", Arc::new(Int64Array::from(vec![0; rows]))),
        ("note", Arc::new(StringArray::from(vec![None::<&str>; rows]))),
        ("customer", Arc::new(Int64Array::from(customers))),
        ("amount", Arc::new(Float64Array::from(amounts))),
        ("at", Arc::new(TimestampMicrosecondArray::from(times))),
        ("fraud", Arc::new(BooleanArray::from(vec![None; rows]))),
        ("id", Arc::new(Int64Array::from(ids))),
    ]
}

#[test]
fn rows_that_are_bad_by_value_are_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(
        folder.path(),
        plain(
            vec![Some(0), Some(1), None, Some(3), Some(4), Some(5), Some(6)],
            vec![Some(0), None, Some(2), Some(3), Some(4), Some(i64::MIN), Some(6)],
            vec![Some(0), Some(1), Some(2), None, Some(4), Some(5), Some(6)],
            vec![None, Some(1.0), Some(2.0), Some(3.0), Some(f64::NEG_INFINITY), Some(5.0), Some(6.0)],
        ),
    );
    let batches = all(&path, &payments(), 0);
    assert_eq!(batches.len(), 1);
    assert_eq!(
        show(&batches[0]),
        r#"0 {"id":0,"at":"1970-01-01T00:00:00.000000Z","customer":0,"amount":null,"fraud":null,"note":null}
6 {"id":6,"at":"1970-01-01T00:00:00.000006Z","customer":6,"amount":6.0,"fraud":null,"note":null}
1 null_event_time {"note":null,"customer":1,"amount":1.0,"at":null,"fraud":null,"id":1}
2 null_event_id {"note":null,"customer":2,"amount":2.0,"at":"1970-01-01T00:00:00.000002Z","fraud":null,"id":null}
3 null_key {"note":null,"customer":null,"amount":3.0,"at":"1970-01-01T00:00:00.000003Z","fraud":null,"id":3}
4 not_finite {"note":null,"customer":4,"amount":"-inf","at":"1970-01-01T00:00:00.000004Z","fraud":null,"id":4}
5 out_of_range {"note":null,"customer":5,"amount":5.0,"at":"0000-01-01T00:00:00.000000Z","fraud":null,"id":5}
end 7"#
    );
}

#[test]
fn other_types_widen() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("a"), Some("b")].into_iter().collect();
    let path = written(
        folder.path(),
        vec![
            ("id", Arc::new(Int32Array::from(vec![1, 2, 3, -4]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![1, 2, i64::MAX, 4]).with_timezone("+02:00"))),
            ("customer", Arc::new(UInt64Array::from(vec![1, u64::MAX, 3, 4]))),
            ("amount", Arc::new(Float32Array::from(vec![0.5, 1.5, 2.5, 3.5]))),
            ("fraud", Arc::new(UInt8Array::from(vec![Some(0), Some(1), Some(1), None]))),
            ("note", Arc::new(notes)),
        ],
    );
    assert_eq!(
        show(&all(&path, &payments(), 0)[0]),
        r#"0 {"id":1,"at":"1970-01-01T00:00:00.001000Z","customer":1,"amount":0.5,"fraud":false,"note":"a"}
3 {"id":-4,"at":"1970-01-01T00:00:00.004000Z","customer":4,"amount":3.5,"fraud":null,"note":"b"}
1 out_of_range {"id":2,"at":"1970-01-01T02:00:00.002+02:00","customer":18446744073709551615,"amount":"1.5","fraud":1,"note":null}
2 out_of_range {"id":3,"at":9223372036854775807,"customer":3,"amount":"2.5","fraud":1,"note":"a"}
end 4"#
    );
}

#[test]
fn still_other_types_widen() {
    let folder = tempfile::tempdir().expect("a folder");
    let amounts = Decimal128Array::from(vec![5716, -1]).with_precision_and_scale(10, 2).expect("fits");
    let path = written(
        folder.path(),
        vec![
            ("id", Arc::new(Int8Array::from(vec![1, 2]))),
            ("at", Arc::new(Date32Array::from(vec![17_622, -1]))),
            ("customer", Arc::new(UInt16Array::from(vec![7, 8]))),
            ("amount", Arc::new(amounts)),
            ("fraud", Arc::new(Int64Array::from(vec![1, 2]))),
            ("note", Arc::new(LargeStringArray::from(vec!["x", "y"]))),
        ],
    );
    let batches = all(&path, &payments(), 0);
    assert!(show(&batches[0]).starts_with(
        r#"0 {"id":1,"at":"2018-04-01T00:00:00.000000Z","customer":7,"amount":57.16,"fraud":true,"note":"x"}
1 out_of_range {"#
    ));
    let mut narrow = payments();
    narrow.schema.columns[3].kind = Type::Int64;
    let error = open(&path, &narrow, 0, &[]).err().expect("an error").to_string();
    assert!(error.contains("column=amount expected=int64 found=Decimal128(10, 2) columns=[id: Int8, at: Date32,"), "{error}");
}

#[test]
fn a_read_goes_on_anywhere_in_any_row_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = 100_000;
    let numbers: Vec<Option<i64>> = (0..rows).map(Some).collect();
    let path = written(folder.path(), plain(numbers.clone(), numbers.clone(), numbers, vec![Some(1.0); rows as usize]));
    for from in [0, 1, 32_768, 39_999, 40_000, 40_001, 79_999, 99_999, 100_000] {
        let batches = all(&path, &payments(), from);
        let ids: Vec<i64> =
            batches.iter().flat_map(|b| b.columns["id"].as_primitive::<::arrow::datatypes::Int64Type>().values().to_vec()).collect();
        assert_eq!(ids, (from as i64..rows).collect::<Vec<_>>(), "{from}");
        assert!(batches.iter().all(|b| matches!(b.offsets, Offsets::Range(_)) && b.columns.num_rows() <= BATCH_ROWS));
        let first = batches.first().map(|b| b.offsets.get(0));
        assert_eq!(first, (from < rows as u64).then_some(Some(from)));
    }
    assert!(open(&path, &payments(), rows as u64 + 1, &[]).is_err());
}

#[test]
fn a_column_is_named_with_what_the_file_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path(), vec![("id", Arc::new(Int64Array::from(vec![1]))), ("time", Arc::new(Int64Array::from(vec![1])))]);
    let error = error_of(&path);
    assert!(error.contains("column=at expected=timestamp columns=[id, time]"), "{error}");
    let bare = source(&[("id", Type::Int64), ("time", Type::Timestamp)]);
    let error = open(&path, &bare, 0, &[]).err().expect("an error").to_string();
    assert!(error.contains("column=time expected=timestamp found=Int64 columns=[id: Int64, time: Int64]"), "{error}");
}

#[test]
fn the_published_transactions_are_read_to_the_last() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/transactions.parquet");
    if !path.exists() {
        eprintln!("SKIPPED: there is no {}", path.display());
        return;
    }
    let transactions = source(&[
        ("transaction_id", Type::Int64),
        ("tx_datetime", Type::Timestamp),
        ("customer_id", Type::Int64),
        ("terminal_id", Type::Int64),
        ("amount", Type::Float64),
        ("fraud", Type::Bool),
    ]);
    let started = std::time::Instant::now();
    let whole = all(&path, &transactions, 0);
    let seconds = started.elapsed().as_secs_f64();
    let rows: usize = whole.iter().map(|b| b.columns.num_rows()).sum();
    eprintln!("read {rows} rows in {seconds:.3} s");
    assert_eq!((rows, whole.iter().map(|b| b.rejects.len()).sum::<usize>()), (1_754_155, 0));
    let fraud: usize = whole.iter().map(|b| b.columns["fraud"].as_boolean().true_count()).sum();
    assert_eq!(fraud, 14_681);
    let last = whole.last().expect("a batch");
    let first_and_last = [
        floodmark_intake::payload::payload_of(&whole[0].columns, 0),
        floodmark_intake::payload::payload_of(&last.columns, last.columns.num_rows() - 1),
    ];
    assert_eq!(
        first_and_last,
        [
            r#"{"transaction_id":0,"tx_datetime":"2018-04-01T00:00:31.000000Z","customer_id":596,"terminal_id":3156,"amount":57.16,"fraud":false}"#,
            r#"{"transaction_id":1754154,"tx_datetime":"2018-09-30T23:59:57.000000Z","customer_id":3542,"terminal_id":9849,"amount":23.59,"fraud":false}"#,
        ]
    );

    let from = whole[20].end;
    let tail = all(&path, &transactions, from);
    assert_eq!(tail.len(), whole.len() - 21);
    assert!(tail.iter().zip(&whole[21..]).all(|(a, b)| a.columns == b.columns && a.offsets == b.offsets && a.end == b.end));
}
