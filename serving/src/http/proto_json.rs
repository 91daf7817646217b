//! Messages as JSON, by the canonical mapping of proto3: names in lowerCamelCase (those of the `.proto` are read as well), 64-bit
//! integers as strings (numbers are read as well), enums by name. Fields without a value are written too.

use bytes::Bytes;
use floodmark_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::error::Category;
use tonic::Status;

use crate::refusal::shown;

/// The descriptors of everything in `floodmark.v1`, comments included.
pub(super) fn pool() -> Result<DescriptorPool, Status> {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|error| broken(&error))
}

/// A fault of the build.
pub(super) fn broken(error: &dyn std::fmt::Display) -> Status {
    Status::internal(format!("messages cannot be mapped to JSON: {error}"))
}

/// A message from its JSON. Values are never in a message of refusal; names are.
pub(super) fn read<M: Message + Default>(kind: &MessageDescriptor, body: &[u8]) -> Result<M, Status> {
    let mut from = serde_json::Deserializer::from_slice(body);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(kind.clone(), &mut from, &options);
    let message = message.and_then(|message| from.end().map(|()| message)).map_err(|error| misread(kind, &error))?;
    // The same bytes as a gRPC client would have sent.
    M::decode(message.encode_to_vec().as_slice())
        .map_err(|error| Status::invalid_argument(format!("the message cannot be decoded: {error}")))
}

fn misread(kind: &MessageDescriptor, error: &serde_json::Error) -> Status {
    let (line, column) = (error.line(), error.column());
    let what = match error.classify() {
        Category::Syntax => "the body is not JSON".to_owned(),
        Category::Eof | Category::Io => "the body ends in the middle of its JSON".to_owned(),
        Category::Data => match error.to_string().split('\'').nth(1).filter(|_| error.to_string().starts_with("unrecognized field name")) {
            Some(name) => format!("no such field. field={}", shown(name)),
            None => "a field has a value that is not of its type".to_owned(),
        },
    };
    Status::invalid_argument(format!("{what}; see GET /openapi.json. message={} line={line} column={column}", kind.full_name()))
}

/// The JSON of a message.
pub(super) fn write(kind: &MessageDescriptor, message: &impl Message) -> Result<Bytes, Status> {
    let mut bytes = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(false);
    serialized(kind, message, &options, &mut serde_json::Serializer::new(&mut bytes))?;
    Ok(bytes.into())
}

/// The same, without the fields that have no value: as a person would write it.
pub(super) fn value(kind: &MessageDescriptor, message: &impl Message) -> Result<serde_json::Value, Status> {
    serialized(kind, message, &SerializeOptions::new(), serde_json::value::Serializer)
}

fn serialized<S: serde::Serializer>(
    kind: &MessageDescriptor,
    message: &impl Message,
    options: &SerializeOptions,
    into: S,
) -> Result<S::Ok, Status> {
    let message = DynamicMessage::decode(kind.clone(), message.encode_to_vec().as_slice()).map_err(|error| broken(&error))?;
    message.serialize_with_options(into, options).map_err(|error| broken(&error))
}

#[cfg(test)]
mod tests {
    use floodmark_proto::v1;
    use floodmark_proto::v1::value::Kind;
    use tonic::Code;

    use super::*;

    fn kind(name: &str) -> MessageDescriptor {
        pool().expect("descriptors").get_message_by_name(name).expect("a message")
    }

    #[test]
    fn what_is_written_is_read_to_the_last_bit() {
        let kind = kind("floodmark.v1.FeatureRow");
        let floats = [0.1 + 0.2, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e23];
        let list = v1::ValueList { values: vec![v1::Value { kind: None }, v1::Value { kind: Some(Kind::BoolValue(false)) }] };
        let kinds =
            [Kind::Int64Value(i64::MIN), Kind::StringValue("\u{0}\"é".to_owned()), Kind::TimestampMicros(-1), Kind::ListValue(list)];
        let values = floats.map(Kind::DoubleValue).into_iter().chain(kinds).map(|kind| v1::Value { kind: Some(kind) });
        let row = v1::FeatureRow {
            values: values.collect(),
            statuses: vec![v1::Status::NotFound.into(), v1::Status::Present.into()],
            watermark_micros: Some(i64::MAX),
            version: u64::MAX,
            ..Default::default()
        };
        let text = write(&kind, &row).expect("JSON");
        let again: v1::FeatureRow = read(&kind, &text).expect("a row");
        // Bytes, as NaN is not equal to itself.
        assert_eq!(again.encode_to_vec(), row.encode_to_vec(), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn what_is_no_message_is_refused_without_its_values() {
        let kind = kind("floodmark.v1.EntityRow");
        for body in [
            r#"{"keys": [{"int64Value": "9223372036854775808"}]}"#,
            r#"{"keys": [{"int64Value": 1.5}]}"#,
            r#"{"keys": [{"doubleValue": "secret"}]}"#,
            r#"{"keys": [{"secret": 1}]}"#.replace("secret", &"x".repeat(10_000)).as_str(),
            r#"{"keys": [{"boolValue": true, "int64Value": 1}]}"#,
            r#"{"keys": "secret"}"#,
            "[]",
            "null",
            "\u{feff}{}",
            r#"{"keys": []} {"#,
            &"[".repeat(1000),
            &r#"{"listValue": {"values": ["#.repeat(500),
        ] {
            let status = read::<v1::EntityRow>(&kind, body.as_bytes()).expect_err(body);
            assert_eq!(status.code(), Code::InvalidArgument, "{body}");
            assert!(!status.message().contains("secret") && status.message().len() < 300, "{}", status.message());
        }
        assert!(read::<v1::EntityRow>(&kind, b"\xff").is_err(), "no text at all");
    }
}
