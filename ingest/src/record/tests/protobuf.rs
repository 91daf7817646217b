//! Protobuf, by the descriptor of a file.

use floodmark_features::value::Type;
use floodmark_intake::testing::source;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde::de::DeserializeSeed;

use super::*;

pub(super) const PAYMENT: &str = r#"
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "kind.proto";
message Payment {
  uint64 id = 1;
  google.protobuf.Timestamp at = 2;
  google.protobuf.Int64Value customer = 3;
  optional double amount = 4;
  bool fraud = 5;
  string note = 6;
  repeated int32 more = 7;
  map<string, string> tags = 8;
  Kind kind = 9;
  bytes raw = 10;
  Line line = 11;
  float ratio = 12;
  sint32 small = 13;
  fixed32 big = 14;
  google.protobuf.StringValue text = 15;
  google.protobuf.BoolValue flag = 16;
  google.protobuf.DoubleValue wide = 17;
  oneof way { int64 card = 18; string cash = 19; }
  message Line { int64 price = 1; Line next = 2; }
}
"#;
pub(super) const KIND: &str = r#"syntax = "proto3"; package shop; enum Kind { NONE = 0; GROCER = 1; FUEL = 2; }"#;

fn payment() -> (tempfile::TempDir, Decoder) {
    let folder = tempfile::tempdir().expect("a folder");
    written(&folder, "kind.proto", KIND);
    let decoder = Decoder::protobuf_file(&written(&folder, "payment.proto", PAYMENT), "shop.Payment").expect("compiles");
    (folder, decoder)
}

/// The bytes of a message that protobuf's JSON describes.
fn encoded(decoder: &Decoder, json: &str) -> Vec<u8> {
    let Format::Protobuf(kind) = &decoder.format else { panic!("protobuf") };
    kind.clone().deserialize(&mut serde_json::Deserializer::from_str(json)).expect("a message").encode_to_vec()
}

/// What a field is in a column of that type: its value, or why it is none.
fn field(json: &str, name: &str, column: Type) -> String {
    let (_folder, mut decoder) = payment();
    let source = source(&[("id", Type::Int64), ("at", Type::Timestamp), ("customer", Type::Int64), (name, column)]);
    let comma = if json.is_empty() { "" } else { "," };
    let record = encoded(&decoder, &format!(r#"{{"id":1,"at":"1970-01-01T00:00:01Z","customer":"7"{comma}{json}}}"#));
    let batch = batch(&mut decoder, &source, &[&record]);
    match batch.rejects.first() {
        Some(reject) => reject.reason.to_string(),
        None => {
            let text = show(&batch);
            let (_, value) = text.split_once(&format!("\"{name}\":")).expect("a value");
            value.trim_end_matches("}\nend 1").to_owned()
        }
    }
}

/// Written by hand: id 150 (the example of protobuf's own page), a time, a wrapped 596, a double and a text.
pub(super) const GOLDEN: &[u8] = &[
    0x08, 0x96, 0x01, // 1: 150
    0x12, 0x0c, 0x08, 0x9f, 0xc2, 0x80, 0xd6, 0x05, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01, // 2: seconds and nanos
    0x1a, 0x03, 0x08, 0xd4, 0x04, // 3: 596
    0x21, 0, 0, 0, 0, 0, 0, 0x16, 0x40, // 4: 5.5
    0x32, 0x02, b'h', b'i', // 6
    0xd8, 0x3e, 0x01, // 1003, which the schema does not know
];

pub(super) const GOLDEN_ROW: &str =
    r#"0 {"id":150,"at":"2018-04-01T00:00:31.500000Z","customer":596,"amount":5.5,"fraud":false,"note":"hi"}"#;

#[test]
fn bytes_written_by_hand_are_a_row() {
    let (_folder, mut decoder) = payment();
    assert_eq!(shown(&mut decoder, GOLDEN), GOLDEN_ROW);
}

#[test]
fn what_is_absent_is_null_only_where_the_schema_tells() {
    let (_folder, mut decoder) = payment();
    let record = encoded(&decoder, r#"{"at":"1970-01-01T00:00:01Z","customer":"0"}"#);
    let expected = r#"0 {"id":0,"at":"1970-01-01T00:00:01.000000Z","customer":0,"amount":null,"fraud":false,"note":""}"#;
    assert_eq!(shown(&mut decoder, &record), expected);
    assert!(shown(&mut decoder, b"").starts_with("0 null_event_time"), "{}", shown(&mut decoder, b""));
    let no_key = encoded(&decoder, r#"{"id":3,"at":"1970-01-01T00:00:01Z"}"#);
    assert_eq!(shown(&mut decoder, &no_key), r#"0 null_key {"id":"3","at":"1970-01-01T00:00:01Z"}"#);
}

#[test]
fn each_type_goes_to_the_columns_that_hold_it() {
    use Type::{Bool, Float64, Int64, String, Timestamp};
    let wrong =
        |name: &str, column: &str, found: &str| format!("field is not of its column's type. column={name} expected={column} found={found}");
    let cases: [(&str, &str, Type, &str); 31] = [
        (r#""fraud":true"#, "fraud", Bool, "true"),
        (r#""small":-5"#, "small", Int64, "-5"),
        (r#""small":-5"#, "small", Float64, "-5.0"),
        (r#""big":4294967295"#, "big", Int64, "4294967295"),
        (r#""ratio":0.5"#, "ratio", Float64, "0.5"),
        (r#""ratio":"NaN""#, "ratio", Float64, "float is not finite. column=ratio"),
        (r#""amount":0"#, "amount", Float64, "0.0"),
        ("", "amount", Float64, "null"),
        (r#""note":"é""#, "note", String, r#""é""#),
        (r#""note":"2018-04-01T00:00:31Z""#, "note", Timestamp, r#""2018-04-01T00:00:31.000000Z""#),
        (r#""raw":"YQ==""#, "raw", String, r#""a""#),
        (r#""raw":"/w==""#, "raw", String, &wrong("raw", "string", "bytes that are not UTF-8")),
        (r#""kind":"FUEL""#, "kind", String, r#""FUEL""#),
        (r#""kind":"FUEL""#, "kind", Int64, "2"),
        (r#""kind":9"#, "kind", Int64, "9"),
        (r#""kind":9"#, "kind", String, &wrong("kind", "string", "9")),
        ("", "kind", String, r#""NONE""#),
        (r#""text":"a""#, "text", String, r#""a""#),
        (r#""text":"""#, "text", String, r#""""#),
        ("", "text", String, "null"),
        (r#""flag":false"#, "flag", Bool, "false"),
        ("", "flag", Bool, "null"),
        (r#""wide":1.5"#, "wide", Float64, "1.5"),
        (r#""card":"0""#, "card", Int64, "0"),
        (r#""cash":"a""#, "card", Int64, "null"),
        (r#""cash":"a""#, "cash", String, r#""a""#),
        ("", "nowhere", String, "null"),
        (r#""more":[1]"#, "more", Int64, &wrong("more", "int64", "a list")),
        (r#""tags":{"a":"b"}"#, "tags", String, &wrong("tags", "string", "a map")),
        (r#""line":{}"#, "line", String, &wrong("line", "string", "a message")),
        (r#""note":"5""#, "note", Int64, &wrong("note", "int64", "\"5\"")),
    ];
    for (json, name, column, expected) in cases {
        assert_eq!(field(json, name, column), expected, "{json} {name} {column}");
    }
}

#[test]
fn what_no_column_can_say_is_out_of_range() {
    let (_folder, mut decoder) = payment();
    let code = |decoder: &mut Decoder, record: &[u8]| shown(decoder, record).split(' ').nth(1).expect("a code").to_owned();
    // An id of 2^64 - 1, then one that is the largest that fits.
    let id = |bytes: &[u8]| [&[0x08], bytes, &GOLDEN[3..]].concat();
    let greatest = id(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert_eq!(code(&mut decoder, &greatest), "out_of_range");
    let fits = id(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert!(shown(&mut decoder, &fits).contains("\"id\":9223372036854775807"));
    // Seconds that are too many, nanoseconds that are a second, and below none.
    let at = |bytes: &[u8]| [&[0x12, bytes.len() as u8], bytes, &[0x1a, 0]].concat();
    let too_many = at(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(code(&mut decoder, &too_many), "out_of_range");
    assert_eq!(code(&mut decoder, &at(&[0x10, 0x80, 0x94, 0xeb, 0xdc, 0x03])), "out_of_range");
    assert_eq!(code(&mut decoder, &at(&[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])), "out_of_range");
    // Before the epoch, the fraction still goes forward.
    let before = at(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x10, 0xe7, 0x07]);
    assert!(shown(&mut decoder, &before).contains("1969-12-31T23:59:59.000000Z"));
}

#[test]
fn damaged_bytes_have_one_outcome() {
    let (_folder, mut decoder) = payment();
    whatever_its_bytes_are(&mut decoder, GOLDEN);
    let full = r#"{"id":1,"at":"1970-01-01T00:00:01Z","customer":"7","more":[1,2],"tags":{"a":"b"},"line":{"next":{"price":5}},
        "raw":"/w==","kind":2,"text":"a","wide":1.5}"#;
    let record = encoded(&decoder, full);
    whatever_its_bytes_are(&mut decoder, &record);
    assert_eq!(shown(&mut decoder, &GOLDEN[..5]), "0 malformed_protobuf 0x089601120c");
    assert_eq!(shown(&mut decoder, b"{}"), "0 malformed_protobuf {}");
    // Messages in messages, for as long as the bytes say so.
    let mut deep = Vec::new();
    for _ in 0..5_000 {
        let mut length = Vec::new();
        prost::encoding::encode_varint(deep.len() as u64, &mut length);
        deep = [&[0x12], &length[..], &deep].concat();
    }
    let mut length = Vec::new();
    prost::encoding::encode_varint(deep.len() as u64, &mut length);
    assert!(shown(&mut decoder, &[&[0x5a], &length[..], &deep].concat()).starts_with("0 malformed_protobuf"));
}

#[test]
fn a_descriptor_set_does_as_its_text() {
    let (folder, _) = payment();
    let set = protox::compile([folder.path().join("payment.proto")], [folder.path()]).expect("compiles");
    let path = written(&folder, "payment.binpb", set.encode_to_vec());
    let mut decoder = Decoder::protobuf_file(&path, "shop.Payment").expect("a set");
    assert_eq!(shown(&mut decoder, GOLDEN), GOLDEN_ROW);
}

#[test]
fn what_is_no_schema_says_why() {
    let (folder, _) = payment();
    let error = |path: PathBuf, message: &str| Decoder::protobuf_file(&path, message).expect_err("no schema").to_string();
    let no_message = error(folder.path().join("payment.proto"), "Payment");
    assert!(no_message.contains("message=Payment known=[") && no_message.contains("shop.Payment, shop.Payment.Line]"), "{no_message}");
    for (name, bytes) in [("bad.proto", "message {"), ("lacks.proto", "import \"nowhere.proto\";"), ("bad.binpb", "x")] {
        let error = error(written(&folder, name, bytes), "M");
        assert!(error.starts_with("file is not a schema of records: correct it. path="), "{error}");
    }
    for name in ["none.proto", "none.binpb"] {
        assert!(error(folder.path().join(name), "M").starts_with("schema cannot be opened"));
    }
}

#[test]
fn a_message_survives_its_way_through_json() {
    // The test's own encoder: else what it writes could be wrong in the same way as what is read.
    let (_folder, decoder) = payment();
    let Format::Protobuf(kind) = &decoder.format else { panic!("protobuf") };
    let message = DynamicMessage::decode(kind.clone(), GOLDEN).expect("a message");
    let mut json = Vec::new();
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &SerializeOptions::new()).expect("JSON");
    let again = encoded(&decoder, std::str::from_utf8(&json).expect("text"));
    assert_eq!(again, GOLDEN[..GOLDEN.len() - 3], "all but the field that the schema does not know");
}
