//! Messages of the protocol as its JSON: fields by their names in the `.proto`, numbers as numbers.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{Response, StatusCode};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use tonic::Status;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(floodmark_proto::FILE_DESCRIPTOR_SET).unwrap_or_default());

/// A message of that name as an answer.
pub(super) fn answer(name: &str, message: &impl Message) -> Result<Response<Bytes>, Status> {
    Ok(super::said(StatusCode::OK, &value(name, message)?))
}

/// A message of that name as JSON.
pub(super) fn value(name: &str, message: &impl Message) -> Result<Value, Status> {
    let broken = |reason: String| Status::internal(format!("the message cannot be written as JSON: {reason}"));
    let kind = POOL.get_message_by_name(&format!("inference.{name}")).ok_or_else(|| broken(name.to_owned()))?;
    let message = DynamicMessage::decode(kind, message.encode_to_vec().as_slice()).map_err(|error| broken(error.to_string()))?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false).skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| broken(error.to_string()))
}
