//! Avro, by the schema of a file.

use floodmark_features::value::Type;
use floodmark_intake::testing::source;

use super::*;

/// A schema with each kind of type, in a namespace, and with one that holds itself.
const PAYMENT: &str = r#"{"type":"record","name":"Payment","namespace":"shop","fields":[
  {"name":"id","type":"long"},
  {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
  {"name":"customer","type":"int"},
  {"name":"amount","type":["null","double"]},
  {"name":"fraud","type":["null","boolean"]},
  {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
    {"name":"sku","type":"string"},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"gift","type":["null","Line"]}]}}},
  {"name":"tags","type":{"type":"map","values":"float"}},
  {"name":"hash","type":{"type":"fixed","name":"Hash","size":4}},
  {"name":"note","type":{"type":"enum","name":"Kind","symbols":["GROCER","FUEL"]}}]}"#;

/// A payment as the crate apache-avro 0.22 writes it.
const GOLDEN: &str = "ffef99c58904a6868be8cf58a8090214ae47e17a944c40000402610404d20202620404d20004c3a90404d200000202780000003f00deadbeef02";

fn golden() -> Vec<u8> {
    let digits = |place: usize| u8::from_str_radix(&GOLDEN[place..place + 2], 16).expect("two digits");
    (0..GOLDEN.len()).step_by(2).map(digits).collect()
}

fn of_schema(text: &str) -> Decoder {
    Decoder { format: Format::Avro(crate::record::avro::Schema::compile(text, &[]).expect("a schema")) }
}

/// A record of one field beside the id, the event time and the key, each of them 1.
fn of_field(kind: &str) -> Decoder {
    of_schema(&format!(
        r#"{{"type":"record","name":"R","fields":[{{"name":"id","type":"long"}},{{"name":"at","type":"long"}},
            {{"name":"customer","type":"int"}},{{"name":"value","type":{kind}}}]}}"#
    ))
}

/// What a field of an Avro type is in a column of that type: its value, or why it is none.
fn field(kind: &str, bytes: &[u8], column: Type) -> String {
    let source = source(&[("id", Type::Int64), ("at", Type::Timestamp), ("customer", Type::Int64), ("value", column)]);
    let record = [&[2, 2, 2], bytes].concat();
    let batch = batch(&mut of_field(kind), &source, &[&record]);
    match batch.rejects.first() {
        Some(reject) => reject.reason.to_string(),
        None => {
            let text = show(&batch);
            let (_, value) = text.split_once("\"value\":").expect("a value");
            value.trim_end_matches("}\nend 1").to_owned()
        }
    }
}

pub(super) fn long(value: i64) -> Vec<u8> {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while bits >= 0x80 {
        bytes.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    bytes.push(bits as u8);
    bytes
}

pub(super) fn text(value: &str) -> Vec<u8> {
    [&long(value.len() as i64), value.as_bytes()].concat()
}

#[test]
fn a_record_of_another_writer_is_a_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut decoder = Decoder::avro_schema_file(&written(&folder, "payment.avsc", PAYMENT)).expect("a schema");
    assert_eq!(
        shown(&mut decoder, &golden()),
        r#"0 {"id":-70000000000,"at":"2018-04-01T00:00:31.123000Z","customer":596,"amount":57.16,"fraud":null,"note":"FUEL"}"#
    );
}

#[test]
fn a_reject_shows_the_record_as_json() {
    let source = source(&[("id", Type::Int64), ("at", Type::Timestamp), ("customer", Type::Int64), ("lines", Type::String)]);
    let batch = batch(&mut of_schema(PAYMENT), &source, &[&golden()]);
    assert_eq!(batch.rejects[0].reason.to_string(), "field is not of its column's type. column=lines expected=string found=a list");
    let expected = concat!(
        r#"{"id":-70000000000,"at":"2018-04-01T00:00:31.123000Z","customer":596,"amount":57.16,"fraud":null,"#,
        r#""lines":[{"sku":"a","price":"0x04d2","gift":{"sku":"b","price":"0x04d2","gift":null}},"#,
        r#"{"sku":"é","price":"0x04d2","gift":null}],"tags":{"x":0.5},"hash":"0xdeadbeef","note":"FUEL"}"#,
    );
    assert_eq!(batch.rejects[0].payload, expected);
}

#[test]
fn each_type_goes_to_the_columns_that_hold_it() {
    use Type::{Bool, Float64, Int64, String, Timestamp};
    let micros = |kind: &str| format!(r#"{{"type":"long","logicalType":"{kind}"}}"#);
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":4}"#;
    let symbols = r#"{"type":"enum","name":"E","symbols":["A","B"]}"#;
    let cases: [(&str, Vec<u8>, Type, &str); 33] = [
        (r#""null""#, vec![], Int64, "null"),
        (r#""boolean""#, vec![1], Bool, "true"),
        (r#""boolean""#, vec![0], Bool, "false"),
        (r#""int""#, long(-5), Int64, "-5"),
        (r#""int""#, long(1), Bool, "true"),
        (r#""int""#, long(7), Float64, "7.0"),
        (r#""long""#, long(i64::MIN), Int64, "-9223372036854775808"),
        (r#""long""#, long(i64::MAX), Int64, "9223372036854775807"),
        (r#""long""#, long(1_000_000), Timestamp, r#""1970-01-01T00:00:01.000000Z""#),
        (r#""float""#, 0.5_f32.to_le_bytes().to_vec(), Float64, "0.5"),
        (r#""double""#, 57.16_f64.to_le_bytes().to_vec(), Float64, "57.16"),
        (r#""double""#, 5.0_f64.to_le_bytes().to_vec(), Int64, "5"),
        (r#""double""#, f64::NAN.to_le_bytes().to_vec(), Float64, "float is not finite. column=value"),
        (r#""string""#, text("é"), String, r#""é""#),
        (r#"{"type":"string","avro.java.string":"String"}"#, text("a"), String, r#""a""#),
        (r#"{"type":{"type":"string"}}"#, text("a"), String, r#""a""#),
        (r#""string""#, text("2018-04-01T00:00:31Z"), Timestamp, r#""2018-04-01T00:00:31.000000Z""#),
        (r#""bytes""#, text("a"), String, r#""a""#),
        (symbols, long(1), String, r#""B""#),
        (r#"["null","string"]"#, vec![0], String, "null"),
        (r#"["string","null"]"#, [long(0), text("a")].concat(), String, r#""a""#),
        (r#"["int","string"]"#, long(0).into_iter().chain(long(3)).collect(), Int64, "3"),
        (&micros("timestamp-micros"), long(-1), Timestamp, r#""1969-12-31T23:59:59.999999Z""#),
        (&micros("timestamp-millis"), long(-1), Timestamp, r#""1969-12-31T23:59:59.999000Z""#),
        (&micros("timestamp-nanos"), long(-1), Timestamp, r#""1969-12-31T23:59:59.999999Z""#),
        (&micros("local-timestamp-micros"), long(0), Timestamp, r#""1970-01-01T00:00:00.000000Z""#),
        (&micros("of-tomorrow"), long(5), Int64, "5"),
        (r#"{"type":"int","logicalType":"date"}"#, long(-1), Timestamp, r#""1969-12-31T00:00:00.000000Z""#),
        (
            &micros("timestamp-millis"),
            long(i64::MAX),
            Timestamp,
            "value is out of the range of its column. column=value expected=timestamp",
        ),
        (
            r#"{"type":"int","logicalType":"date"}"#,
            long(i32::MAX.into()),
            Timestamp,
            "value is out of the range of its column. column=value expected=timestamp",
        ),
        (decimal, text("a"), Float64, "field is not of its column's type. column=value expected=float64 found=a decimal"),
        (symbols, long(1), Int64, r#"field is not of its column's type. column=value expected=int64 found="B""#),
        (
            &micros("timestamp-micros"),
            long(0),
            Int64,
            "field is not of its column's type. column=value expected=int64 found=1970-01-01T00:00:00.000000Z",
        ),
    ];
    for (kind, bytes, column, expected) in cases {
        assert_eq!(field(kind, &bytes, column), expected, "{kind} {column}");
    }
    let nested = [
        (r#"{"type":"record","name":"N","fields":[{"name":"a","type":"int"}]}"#, long(1), "a record"),
        (r#"{"type":"array","items":"int"}"#, vec![2, 2, 0], "a list"),
        (r#"{"type":"array","items":"int"}"#, vec![1, 2, 2, 0], "a list"),
        (r#"{"type":"map","values":"int"}"#, vec![0], "a map"),
        (r#"{"type":"fixed","name":"F","size":2}"#, vec![1, 2], "fixed bytes"),
        (r#""bytes""#, vec![2, 0xff], "bytes that are not UTF-8"),
    ];
    for (kind, bytes, what) in nested {
        assert!(field(kind, &bytes, String).ends_with(&format!("found={what}")), "{kind}: {}", field(kind, &bytes, String));
    }
}

#[test]
fn bytes_of_another_schema_are_rejected_with_what_they_are() {
    let cases: [(&str, &[u8], &str); 14] = [
        (r#""int""#, b"", "record ends early"),
        (r#""int""#, &[0xff], "record ends early"),
        (r#""int""#, &[2, 2], "bytes are left over"),
        (r#""int""#, &[0xff, 0xff, 0xff, 0xff, 0x7f], "int has more than 32 bits"),
        (r#""long""#, &[0xff; 10], "long has more than 64 bits"),
        (r#""long""#, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "long has more than 64 bits"),
        (r#""boolean""#, &[2], "boolean is neither 0 nor 1"),
        (r#""string""#, &[4, b'a'], "record ends early"),
        (r#""string""#, &[1], "length is negative"),
        (r#""string""#, &[2, 0xff], "string is not UTF-8"),
        (r#""double""#, &[0; 7], "record ends early"),
        (r#"["null","int"]"#, &[4], "union has no such branch"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, &[2], "enum has no such symbol"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, &[1], "index is negative"),
    ];
    for (kind, bytes, detail) in cases {
        assert_eq!(field(kind, bytes, Type::String), format!("record is not Avro of its schema. detail={detail}"), "{kind}");
    }
    assert_eq!(shown(&mut of_schema(PAYMENT), b"{}"), "0 malformed_avro {}");
    assert_eq!(shown(&mut of_schema(PAYMENT), &[0xff; 3]), "0 malformed_avro 0xffffff");
}

#[test]
fn damaged_bytes_have_one_outcome_and_a_beginning_is_no_record() {
    let record = golden();
    whatever_its_bytes_are(&mut of_schema(PAYMENT), &record);
    for end in 0..record.len() {
        assert!(shown(&mut of_schema(PAYMENT), &record[..end]).starts_with("0 malformed_avro"), "{end}");
    }
}

#[test]
fn damage_does_not_cost_more_than_its_bytes() {
    // Types in types in types, for as long as the bytes say so.
    let chain = r#"{"type":"record","name":"Chain","fields":[{"name":"next","type":["null","Chain"]}]}"#;
    assert_eq!(
        field(chain, &vec![2; 1_000_000], Type::String),
        "record is not Avro of its schema. detail=types stand too deep in each other"
    );
    let without_end = r#"{"type":"record","name":"Endless","fields":[{"name":"next","type":"Endless"}]}"#;
    assert!(field(without_end, b"", Type::String).contains("too deep"));
    // Items without bytes, as many as a number can say.
    let nulls = r#"{"type":"array","items":"null"}"#;
    assert_eq!(field(nulls, &long(1 << 60), Type::String), "record is not Avro of its schema. detail=more items than bytes");
    assert!(field(nulls, &[long(50_000), long(0)].concat(), Type::String).ends_with("found=a list"));
    assert!(field(r#"{"type":"array","items":"string"}"#, &long(i64::MIN), Type::String).contains("ends early"));
    assert!(field(r#""bytes""#, &long(i64::MAX), Type::String).contains("ends early"));
}

#[test]
fn columns_are_taken_by_name_in_any_order() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"note","type":"string"},{"name":"customer","type":"int"},
        {"name":"else","type":"string"},{"name":"at","type":"long"},{"name":"id","type":"long"}]}"#;
    let record = [text("a"), long(7), text("b"), long(0), long(1)].concat();
    let expected = r#"0 {"id":1,"at":"1970-01-01T00:00:00.000000Z","customer":7,"amount":null,"fraud":null,"note":"a"}"#;
    assert_eq!(shown(&mut of_schema(schema), &record), expected);
}

#[test]
fn a_long_record_is_shown_by_its_beginning() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"},
        {"name":"lines","type":{"type":"array","items":["null","string",{"type":"map","values":"double"}]}}]}"#;
    let line = [long(1), text("line")].concat();
    let record = [long(1), long(40_000), line.repeat(40_000), long(0)].concat();
    let batch = batch(&mut of_schema(schema), &payments(), &[&record]);
    assert_eq!(batch.rejects[0].reason.code(), "null_event_time");
    let payload = &batch.rejects[0].payload;
    assert!(payload.starts_with(r#"{"id":1,"lines":["line","line","#) && payload.ends_with('…'), "{payload}");
}

#[test]
fn what_is_no_schema_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        ("{", "schema is not JSON"),
        ("7", "there is no such type. type=7"),
        (r#""string""#, "schema is not that of a record"),
        (r#"{"name":"R"}"#, "type is missing"),
        (r#"{"type":"record","fields":[]}"#, "record lacks its name"),
        (r#"{"type":"record","name":"R"}"#, "record lacks its fields"),
        (r#"{"type":"record","name":"R","fields":7}"#, "fields of record are not a list"),
        (r#"{"type":"record","name":"R","fields":[{"type":"int"}]}"#, "a field lacks its name"),
        (r#"{"type":"record","name":"R","fields":[{"name":"a"}]}"#, "field lacks its type. field=a"),
        (r#"{"type":"record","name":"a.R","fields":[{"name":"b","type":"S"}]}"#, "there is no such type. type=a.S"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"b","type":{"type":"fixed","name":"R","size":1}}]}"#,
            "type is defined twice. type=R",
        ),
    ];
    for (schema, why) in cases {
        let error = Decoder::avro_schema_file(&written(&folder, "schema.avsc", schema)).expect_err("no schema").to_string();
        assert!(error.starts_with("file is not a schema of records: correct it. path=") && error.contains(why), "{schema}: {error}");
    }
    let error = Decoder::avro_schema_file(&folder.path().join("none.avsc")).expect_err("no file").to_string();
    assert!(error.starts_with("schema cannot be opened"), "{error}");
}
