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
