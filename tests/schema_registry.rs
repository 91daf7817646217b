//! Records whose schemas a real registry knows: Avro and protobuf, of several versions in one topic.

use std::time::Duration;

use floodmark_features::lookup::Answer;
use floodmark_features::value::Value;
use prost::encoding::encode_varint;

use crate::harness::kafka::{Kafka, Record};
use crate::harness::registry::Registry;
use crate::kafka::{Reading, all_read, home};

const V1: &str = r#"{"type":"record","name":"Payment","fields":[
    {"name":"id","type":"long"},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"card","type":"long"},{"name":"shop","type":"string"},{"name":"amount","type":"double"}]}"#;
/// A field more, and the others in another order.
const V2: &str = r#"{"type":"record","name":"Payment","fields":[
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"id","type":"long"},
    {"name":"channel","type":"string","default":"web"},
    {"name":"card","type":"long"},{"name":"shop","type":"string"},{"name":"amount","type":"double"}]}"#;
const PROTO: &str =
    "syntax = \"proto3\"; message Payment { int64 id = 1; int64 at = 2; int64 card = 3; string shop = 4; double amount = 5; }";
const AT: i64 = 1_700_000_000_000_000;

/// Confluent's wire format: a zero, and the schema's id.
fn framed(id: u32, value: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), value].concat()
}

fn varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(number, &mut bytes);
    bytes
}

fn long(number: i64) -> Vec<u8> {
    varint((number << 1 ^ number >> 63) as u64)
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len() as i64), text.as_bytes().to_vec()].concat()
}

fn avro_v1(id: i64, amount: f64) -> Vec<u8> {
    [long(id), long(AT + id), long(1), text("s"), amount.to_le_bytes().to_vec()].concat()
}

fn avro_v2(id: i64, amount: f64) -> Vec<u8> {
    [long(AT + id), long(id), text("app"), long(1), text("s"), amount.to_le_bytes().to_vec()].concat()
}

/// The first message of its file.
fn protobuf(id: u64, amount: f64) -> Vec<u8> {
    let fields = [vec![0, 8], varint(id), vec![16], varint(AT as u64 + id), vec![24, 1, 34, 1, b's', 41], amount.to_le_bytes().to_vec()];
    fields.concat()
}

fn produce(kafka: &Kafka, topic: &str, values: &[Vec<u8>]) {
    kafka.make_topic(topic, 1);
    kafka.produce(topic, values.iter().map(|value| Record { partition: 0, payload: Some(value), timestamp: None }));
}

#[test]
fn each_record_is_read_by_the_schema_that_it_was_written_with() {
    let (Some(kafka), Some(registry)) = (Kafka::shared(), Registry::start()) else { return };
    let [v1, v2] = [V1, V2].map(|schema| registry.register("avro-value", "AVRO", schema));
    let proto = registry.register("proto-value", "PROTOBUF", PROTO);
    assert_ne!(v1, v2);
    let unknown = framed(77_777, &avro_v1(3, 1.0));
    let avro = [framed(v1, &avro_v1(1, 0.5)), framed(v2, &avro_v2(2, 2.0)), unknown, b"{}".to_vec(), framed(v1, &avro_v1(5, 4.25))];
    produce(&kafka, "of-avro", &avro);
    produce(&kafka, "of-proto", &[framed(proto, &protobuf(1, 0.5)), framed(v1, &avro_v1(2, 1.0)), framed(proto, &protobuf(3, 2.5))]);
    let expected: [(&str, u64, &[(u64, &str)], f64); 2] = [
        ("avro", 5, &[(2, "unknown_schema"), (3, "not_framed")], 6.75),
        // What is no protobuf schema cannot be read as one.
        ("proto", 3, &[(1, "unknown_schema")], 3.0),
    ];
    for (format, all, refused, sum) in expected {
        let (home, name) = (home(), if format == "avro" { "avro" } else { "protobuf" });
        let url = format!("payments=kafka://{}/of-{format}?format={name}&registry={}", kafka.bootstrap, registry.url());
        // A registry that does not answer holds records up, and loses none.
        registry.signal("-STOP");
        let reading = Reading::start_with(home.path(), "state", &[&url]);
        std::thread::sleep(Duration::from_millis(1_500));
        assert_eq!(reading.read(), 0, "nothing can be read yet");
        registry.signal("-CONT");
        all_read(&reading, all);
        let state = reading.end(home.path(), "state");
        let mut found: Vec<(u64, &str)> = state.rejected.iter().map(|reject| (reject.position.offset, reject.code.as_str())).collect();
        found.sort_unstable();
        assert_eq!(found, refused, "{format}");
        assert_eq!(state.tally.accepted, all - refused.len() as u64);
        let of_card = |answer: &&Answer| answer.cells.iter().any(|cell| cell.value == Value::Float(sum));
        assert!(state.answers.iter().any(|answer| of_card(&answer)), "{format}: {sum} is not in {:?}", state.answers[3]);
    }
}
