//! What goes over the wire comes back.

use prost::Message;

use super::*;

fn wire(kind: Kind) -> v1::Value {
    v1::Value { kind: Some(kind) }
}

#[test]
fn values_come_back() {
    let text = Value::Str("a".into());
    for value in [
        Value::Null,
        Value::Bool(true),
        Value::Int(i64::MIN),
        Value::Float(-0.5),
        text.clone(),
        Value::Time(Time::from_micros(-1)),
        Value::List([text, Value::Null].into()),
    ] {
        assert_eq!(to_value(from_value(value.clone())), value);
    }
}

#[test]
fn a_value_is_read_as_the_type_that_is_expected() {
    let seven = wire(Kind::Int64Value(7));
    assert_eq!(read_value(&seven, Type::Int64), Ok(ValueRef::Int(7)));
    assert_eq!(read_value(&seven, Type::Float64), Ok(ValueRef::Float(7.0)));
    assert_eq!(read_value(&seven, Type::String), Err(Misfit::Type("int64")));
    assert_eq!(read_value(&seven, Type::Timestamp), Err(Misfit::Type("int64")), "of which unit?");
    assert_eq!(read_value(&wire(Kind::DoubleValue(7.0)), Type::Int64), Err(Misfit::Type("float64")));
    assert_eq!(read_value(&wire(Kind::DoubleValue(f64::NAN)), Type::Float64), Err(Misfit::NotFinite));
    let date = wire(Kind::StringValue("1970-01-01T00:00:01Z".to_owned()));
    assert_eq!(read_value(&date, Type::Timestamp), Ok(ValueRef::Time(Time::from_micros(1_000_000))));
    assert_eq!(read_value(&wire(Kind::StringValue("soon".to_owned())), Type::Timestamp), Err(Misfit::NotATimestamp));
    assert_eq!(read_value(&v1::Value::default(), Type::Bool), Ok(ValueRef::Null));
}

fn cell(value: i64, provisional: bool, approximate: bool) -> Cell {
    Cell { value: Value::Int(value), status: Status::Present, provisional, approximate }
}

/// What a client that knows the generated types reads in a response of this one row.
fn written(answer: &Answer, as_of: Time) -> v1::FeatureRow {
    let lookup = crate::testing::definitions();
    let plans = crate::plan::Plans::new(lookup);
    let mut response = Response::new(&plans.services()[0], false, 1);
    response.push(answer, as_of);
    let mut read = v1::GetFeaturesResponse::decode(response.finish().as_message()).expect("a response");
    assert_eq!((&read.names, read.columns_id), (&plans.services()[0].names, plans.services()[0].columns_id));
    assert_eq!(read.rows.len(), 1);
    read.rows.remove(0)
}

#[test]
fn values_of_every_kind_come_back() {
    let text = |length: usize| Value::Str("x".repeat(length).into());
    let mut values = vec![Value::Null, Value::Bool(false), Value::Bool(true), Value::Float(-0.0), Value::Time(Time::from_micros(-5))];
    values.extend((0..64).flat_map(|bit| [1_i64 << bit, (1_i64 << bit).wrapping_neg(), (1_i64 << bit).wrapping_sub(1)]).map(Value::Int));
    values.extend([0, 1, 125, 126, 127, 128, 16_383, 16_384].map(text));
    values.push(Value::List(values.clone().into()));
    values.push(Value::List(Vec::new().into()));
    let cells = values.into_iter().map(|value| Cell { value, ..Cell::default() }).collect();
    let answer = Answer { cells, watermark: Time::from_micros(-7), version: u64::MAX };
    assert_eq!(to_answer(written(&answer, Time::from_micros(i64::MIN))), (Time::from_micros(i64::MIN), answer));
}

/// The flags of a row made of these cells; the row must come back as it was.
fn flags(cells: Vec<Cell>) -> (bool, Vec<bool>, Vec<bool>) {
    let answer = Answer { cells, watermark: Time::from_micros(5), version: 9 };
    let row = written(&answer, Time::from_micros(6));
    assert_eq!(to_answer(row.clone()), (Time::from_micros(6), answer));
    (row.provisional, row.provisional_values, row.approximate_values)
}

#[test]
fn flags_are_spelt_out_only_where_values_differ() {
    assert_eq!(flags(vec![cell(1, false, false), cell(2, false, false)]), (false, vec![], vec![]));
    assert_eq!(flags(vec![cell(1, true, false), cell(2, true, false)]), (true, vec![], vec![]));
    assert_eq!(flags(vec![cell(1, true, false), cell(2, false, true)]), (true, vec![true, false], vec![false, true]));
    assert_eq!(flags(vec![]), (false, vec![], vec![]));
}

#[test]
fn there_is_no_watermark_before_the_first_event() {
    let answer = Answer { cells: vec![Cell::default()], watermark: Time::NONE, version: 0 };
    let row = written(&answer, Time::from_micros(6));
    assert_eq!((row.watermark_micros, row.statuses), (None, vec![v1::Status::Null.into()]));
}
