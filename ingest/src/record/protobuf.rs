//! A record that is a protobuf message, read by its descriptor; columns are taken by the names of fields.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use floodmark_features::schema::Column;
use floodmark_features::time::Time;
use floodmark_features::value::Type;
use floodmark_intake::columns::RowBuilder;
use floodmark_intake::field::Raw;
use floodmark_intake::payload::text_or_hex;
use floodmark_intake::reject::{Reject, RejectReason};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::FormatError;

/// Takes the message in `body`, or rejects it with its reason. `whole` is the record with all that stood around it.
pub(super) fn take(kind: &MessageDescriptor, offset: u64, body: &[u8], whole: &[u8], rows: &mut RowBuilder) {
    match DynamicMessage::decode(kind.clone(), body) {
        Ok(message) => {
            let payload = || serde_json::to_string(&message).unwrap_or_else(|_| text_or_hex(whole));
            rows.push_raws(offset, whole.len(), |columns| Ok(row(kind, &message, columns)), payload);
        }
        Err(error) => {
            let reason = RejectReason::MalformedProtobuf { detail: error.to_string() };
            rows.reject(Reject::new(offset, reason, text_or_hex(whole)));
        }
    }
}

/// One field for each column.
fn row<'a>(kind: &MessageDescriptor, message: &'a DynamicMessage, columns: &[Column]) -> Vec<Raw<'a>> {
    let field = |column: &Column| match kind.get_field_by_name(&column.name) {
        // What is absent is null where the schema tells it from a default.
        Some(field) if field.supports_presence() && !message.has_field(&field) => Raw::Null,
        Some(field) => match message.get_field(&field) {
            Cow::Borrowed(value) => raw(&field, value, column.kind),
            Cow::Owned(value) => owned(raw(&field, &value, column.kind)),
        },
        None => Raw::Null,
    };
    columns.iter().map(field).collect()
}

fn raw<'a>(field: &FieldDescriptor, value: &'a Value, wanted: Type) -> Raw<'a> {
    match value {
        Value::Bool(b) => Raw::Bool(*b),
        Value::I32(i) => Raw::Int((*i).into()),
        Value::I64(i) => Raw::Int(*i),
        Value::U32(u) => Raw::Int((*u).into()),
        Value::U64(u) => i64::try_from(*u).map_or(Raw::Huge(*u), Raw::Int),
        Value::F32(x) => Raw::Float((*x).into()),
        Value::F64(x) => Raw::Float(*x),
        Value::String(s) => Raw::Str(Cow::Borrowed(s)),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Raw::Str(Cow::Borrowed(text)),
            Err(_) => Raw::Nested("bytes that are not UTF-8"),
        },
        Value::EnumNumber(number) => symbol(field, *number, wanted),
        Value::Message(message) => nested(message, wanted),
        Value::List(_) => Raw::Nested("a list"),
        Value::Map(_) => Raw::Nested("a map"),
    }
}

/// A number where the column is one, else the name. A number without a name stays one, which a column of text does not take: it
/// would have another text as soon as the schema is brought up to date.
fn symbol<'a>(field: &FieldDescriptor, number: i32, wanted: Type) -> Raw<'a> {
    match field.kind() {
        Kind::Enum(symbols) if wanted != Type::Int64 => match symbols.get_value(number) {
            Some(value) => Raw::Str(Cow::Owned(value.name().to_owned())),
            None => Raw::Int(number.into()),
        },
        _ => Raw::Int(number.into()),
    }
}

/// A message that stands for one value, or that it is a message.
fn nested(message: &DynamicMessage, wanted: Type) -> Raw<'_> {
    let kind = message.descriptor();
    match kind.full_name() {
        "google.protobuf.Timestamp" => Raw::Time(instant(message)),
        "google.protobuf.DoubleValue"
        | "google.protobuf.FloatValue"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.Int32Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.BoolValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => match kind.get_field(1) {
            Some(field) => match message.get_field(&field) {
                Cow::Borrowed(value) => raw(&field, value, wanted),
                Cow::Owned(value) => owned(raw(&field, &value, wanted)),
            },
            None => Raw::Null,
        },
        _ => Raw::Nested("a message"),
    }
}

/// The instant, rounded down to its microsecond; `None` if it is too far or its fraction is none.
fn instant(message: &DynamicMessage) -> Option<Time> {
    let seconds = message.get_field_by_number(1)?.as_i64()?;
    let nanos = message.get_field_by_number(2)?.as_i32().filter(|nanos| (0..1_000_000_000).contains(nanos))?;
    seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos) / 1_000).map(Time::from_micros)
}

/// A default is no part of the message.
fn owned<'a>(raw: Raw<'_>) -> Raw<'a> {
    match raw {
        Raw::Null => Raw::Null,
        Raw::Bool(b) => Raw::Bool(b),
        Raw::Int(i) => Raw::Int(i),
        Raw::Huge(u) => Raw::Huge(u),
        Raw::Float(x) => Raw::Float(x),
        Raw::Str(s) => Raw::Str(Cow::Owned(s.into_owned())),
        Raw::Time(at) => Raw::Time(at),
        Raw::Nested(what) => Raw::Nested(what),
    }
}

/// The message of that name, from a `.proto` file (its imports beside it) or from a descriptor set in binary form.
pub(super) fn from_file(path: &Path, message: &str) -> Result<MessageDescriptor, FormatError> {
    let unreadable = |detail: String| FormatError::Schema { path: path.to_owned(), detail };
    let pool = if path.extension().is_some_and(|extension| extension == "proto") {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Opened first for its own error: the compiler would only say that there is no such file.
        std::fs::File::open(path).map_err(|error| FormatError::Open { path: path.to_owned(), error })?;
        let set = protox::compile([path], [folder]).map_err(|error| unreadable(error.to_string()))?;
        DescriptorPool::from_file_descriptor_set(set).map_err(|error| unreadable(error.to_string()))?
    } else {
        let bytes = std::fs::read(path).map_err(|error| FormatError::Open { path: path.to_owned(), error })?;
        DescriptorPool::decode(bytes.as_slice()).map_err(|error| unreadable(error.to_string()))?
    };
    pool.get_message_by_name(message).ok_or_else(|| {
        let ours = pool.all_messages().filter(|m| !m.full_name().starts_with("google.protobuf.") && !m.is_map_entry());
        let known = ours.map(|m| m.full_name().to_owned()).collect::<Vec<_>>().join(", ");
        FormatError::NoMessage { path: path.to_owned(), message: message.to_owned(), known }
    })
}

/// Compiles the text of a schema; `imports` are the names and texts of files that it may import.
pub(super) fn compile(text: &str, imports: &[(String, String)]) -> Result<FileDescriptor, String> {
    let files = imports.iter().cloned().chain([(TOP.to_owned(), text.to_owned())]);
    let mut resolver = ChainFileResolver::new();
    resolver.add(InMemory(files.collect()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(TOP).map_err(|error| error.to_string())?;
    compiler.descriptor_pool().get_file_by_name(TOP).ok_or_else(|| "schema was not compiled".to_owned())
}

/// What the schema itself is called: a name that no file has that it could import.
const TOP: &str = "floodmark-schema-of-record.proto";

/// Files by name.
struct InMemory(HashMap<String, String>);

impl FileResolver for InMemory {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}
