//! Rows become batches, whole or not at all.

use floodmark_features::schema::Column;
use floodmark_features::time::Time;
use floodmark_features::value::ValueRef::{self, Bool, Float, Int, Null, Str};

use super::*;
use crate::batch::SourceBatch;
use crate::offsets::Offsets;
use crate::payload::payload_of;
use crate::testing::{payments, show};

fn at(seconds: i64) -> ValueRef<'static> {
    ValueRef::Time(Time::from_micros(seconds * 1_000_000))
}

fn built(fill: impl FnOnce(&mut RowBuilder) -> bool) -> SourceBatch {
    let mut builder = RowBuilder::new(&payments(), &[2]);
    fill(&mut builder);
    let end = builder.len() as u64;
    builder.finish(end)
}

#[test]
fn a_row_is_taken_whole_or_rejected_whole() {
    let batch = built(|rows| {
        assert!(rows.push(0, &[Int(1), at(60), Int(596), Float(57.16), Bool(false), Str("grocer")]));
        assert!(!rows.push(1, &[Int(2), at(61), Int(596), Float(f64::NAN), Bool(false), Null]));
        assert!(!rows.push(2, &[Int(2), Null, Int(596), Float(1.0), Bool(false), Null]));
        assert!(!rows.push(3, &[Null, at(61), Int(596), Float(1.0), Bool(false), Null]));
        assert!(!rows.push(4, &[Int(2), at(61), Null, Float(1.0), Bool(false), Null]));
        assert!(!rows.push(5, &[Int(2), ValueRef::Time(Time::NONE), Int(1), Float(1.0), Bool(false), Null]));
        assert!(!rows.push(6, &[Int(2), at(61), Int(1), Str("1.0"), Bool(false), Null]));
        assert!(!rows.push(7, &[Int(2)]));
        assert!(rows.push(8, &[Int(3), at(62), Int(597), Int(5), Null, Null]));
        true
    });
    assert_eq!(
        show(&batch),
        r#"0 {"id":1,"at":"1970-01-01T00:01:00.000000Z","customer":596,"amount":57.16,"fraud":false,"note":"grocer"}
8 {"id":3,"at":"1970-01-01T00:01:02.000000Z","customer":597,"amount":5.0,"fraud":null,"note":null}
1 not_finite {"id":2,"at":"1970-01-01T00:01:01.000000Z","customer":596,"amount":"NaN","fraud":false,"note":null}
2 null_event_time {"id":2,"at":null,"customer":596,"amount":1.0,"fraud":false,"note":null}
3 null_event_id {"id":null,"at":"1970-01-01T00:01:01.000000Z","customer":596,"amount":1.0,"fraud":false,"note":null}
4 null_key {"id":2,"at":"1970-01-01T00:01:01.000000Z","customer":null,"amount":1.0,"fraud":false,"note":null}
5 out_of_range {"id":2,"at":"0000-01-01T00:00:00.000000Z","customer":1,"amount":1.0,"fraud":false,"note":null}
6 wrong_type {"id":2,"at":"1970-01-01T00:01:01.000000Z","customer":1,"amount":"1.0","fraud":false,"note":null}
7 field_count {"id":2}
end 9"#
    );
}

#[test]
fn a_builder_starts_anew_after_a_batch() {
    let mut rows = RowBuilder::new(&payments(), &[]);
    assert!(rows.is_empty());
    let row = [Int(1), at(60), Null, Null, Null, Null];
    assert!(rows.push(4, &row) && rows.push(5, &row));
    let first = rows.finish(6);
    assert_eq!((first.columns.num_rows(), first.offsets), (2, Offsets::Range(4..6)));
    assert!(rows.is_empty() && rows.push(6, &row));
    let second = rows.finish(7);
    assert_eq!((second.columns.num_rows(), second.offsets), (1, Offsets::Range(6..7)));
}

#[test]
fn a_parsed_object_and_its_text_give_the_same_row() {
    let texts = [
        r#"{"id": 1, "at": "2018-04-01 00:00:31", "customer": 596, "amount": 57, "fraud": 1, "note": "a\nb", "more": [1, {"x": 2}]}"#,
        r#"{"note": "turned", "amount": 1e2, "at": 1522540831000000, "customer": 5.0, "id": 2}"#,
        r#"{"id": 18446744073709551615, "at": 0, "customer": 1}"#,
        r#"{"id": 1.5, "at": 0, "customer": 1}"#,
        r#"{"id": 1, "at": "yesterday", "customer": 1}"#,
        r#"{"id": 1, "at": 0, "customer": {"id": 1}}"#,
        r#"{"id": 1, "at": 0, "customer": 1, "fraud": 2}"#,
        r#"{"id": 1, "at": 0, "customer": 1, "note": 7}"#,
        r#"[1, 2]"#,
    ];
    for text in texts {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let from_text = built(|rows| rows.push_json_text(0, text));
        let from_value = built(|rows| rows.push_json(0, &value));
        assert_eq!(from_text.columns, from_value.columns, "{text}");
        let reasons = |batch: &SourceBatch| batch.rejects.iter().map(|r| r.reason.clone()).collect::<Vec<_>>();
        assert_eq!(reasons(&from_text), reasons(&from_value), "{text}");
    }
}

#[test]
fn a_schema_maps_to_nullable_arrow_columns() {
    let columns = Type::ALL.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect();
    let schema = arrow_schema(&Schema { columns });
    let expected =
        [DataType::Boolean, DataType::Int64, DataType::Float64, DataType::Utf8, DataType::Timestamp(TimeUnit::Microsecond, None)];
    assert!(schema.fields().iter().zip(expected).all(|(f, e)| *f.data_type() == e && f.is_nullable()));
    let batch = built(|rows| rows.push(0, &[Int(1), at(0), Int(1), Null, Null, Null]));
    assert_eq!(payload_of(&batch.columns, 0).matches("null").count(), 3);
}
