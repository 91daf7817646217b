//! Records as text.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};

use super::*;

#[test]
fn a_row_is_an_object_in_the_order_of_its_columns() {
    let columns: [(&str, ArrayRef); 6] = [
        ("z", Arc::new(Int64Array::from(vec![1, -2]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_522_540_831_000_001), None]))),
        ("amount", Arc::new(Float64Array::from(vec![57.16, f64::NAN]))),
        ("fraud", Arc::new(BooleanArray::from(vec![true, false]))),
        ("note", Arc::new(StringArray::from(vec!["say \"hé\"\n", ""]))),
        ("small", Arc::new(Int32Array::from(vec![7, 8]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let first = r#"{"z":1,"at":"2018-04-01T00:00:31.000001Z","amount":57.16,"fraud":true,"note":"say \"hé\"\n","small":7}"#;
    assert_eq!(payload_of(&batch, 0), first);
    let second = r#"{"z":-2,"at":null,"amount":"NaN","fraud":false,"note":"","small":8}"#;
    assert_eq!(payload_of(&batch, 1), second);
}

#[test]
fn a_long_payload_is_cut_between_characters() {
    let cut = bounded("é".repeat(MAX_PAYLOAD_BYTES));
    assert!(cut.len() <= MAX_PAYLOAD_BYTES && cut.ends_with("é…"), "{}", cut.len());
    assert_eq!(bounded("short".to_owned()), "short");
}
