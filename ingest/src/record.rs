//! The bytes of one record become a row: JSON, Avro or protobuf, with a schema from a file or from a registry.
//!
//! A record that cannot be read is rejected with its reason, whatever its bytes are; only a registry that does not answer is an
//! error, and then the record was not taken.

mod avro;
pub(crate) mod json;
mod protobuf;
mod registry;
mod wire;

use std::io;
use std::path::{Path, PathBuf};

use floodmark_intake::columns::RowBuilder;
use floodmark_intake::payload::{lossy, text_or_hex};
use floodmark_intake::reject::{Reject, RejectReason};
use prost_reflect::{FileDescriptor, MessageDescriptor};

use crate::source::MAX_RECORD_BYTES;

use registry::{Client, Found, Schemas};

/// How the bytes of a record are read.
#[derive(Debug)]
pub struct Decoder {
    format: Format,
}

#[derive(Debug)]
enum Format {
    Json,
    Avro(avro::Schema),
    Protobuf(MessageDescriptor),
    AvroOf(Schemas<avro::Schema>),
    ProtobufOf(Schemas<FileDescriptor>),
}

/// What a record cannot be read with, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The path or its permissions are to be corrected.
    #[error("schema cannot be opened: check the path and its permissions. path={} error={error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is to be corrected.
    #[error("file is not a schema of records: correct it. path={} error={detail}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What the compiler said.
        detail: String,
    },
    /// One of the messages that are there is to be named.
    #[error("schema has no such message: name one that it has, with its package. path={} message={message} known=[{known}]", path.display())]
    NoMessage {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        message: String,
        /// What would do.
        known: String,
    },
    /// One of the columns that are there is to be named.
    #[error("source has no such column: name one of its schema in key=COLUMN or header=NAME:COLUMN. source={source_name} column={column}")]
    NoColumn {
        /// The source.
        source_name: String,
        /// What was asked for.
        column: String,
    },
    /// The URL is to be corrected.
    #[error("URL is not that of a schema registry: write http:// or https://, a host and the path of its API. url={url}")]
    Url {
        /// What was given, without name and password.
        url: String,
    },
}

/// Why a schema could not be asked for. Asked again, it may be answered; the record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It is down, or there is no way to it.
    #[error("schema registry did not answer. url={url} error={detail}")]
    Unreachable {
        /// The registry.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The name, the password or the rights are to be corrected.
    #[error("schema registry refuses: check the name and the password in its URL. url={url} status={status}")]
    Denied {
        /// The registry.
        url: String,
        /// Its status of HTTP.
        status: u16,
    },
    /// The URL is to be corrected: often the path is missing.
    #[error("what answers is not a schema registry: check the path of the URL. url={url} error={detail}")]
    NotARegistry {
        /// The registry.
        url: String,
        /// What came.
        detail: String,
    },
}

impl Decoder {
    /// Each record is one JSON object.
    pub fn json() -> Decoder {
        Decoder { format: Format::Json }
    }

    /// Each record is Avro of the schema in that file, with nothing before it.
    pub fn avro_schema_file(path: &Path) -> Result<Decoder, FormatError> {
        let text = std::fs::read_to_string(path).map_err(|error| FormatError::Open { path: path.to_owned(), error })?;
        let schema = avro::Schema::compile(&text, &[]).map_err(|detail| FormatError::Schema { path: path.to_owned(), detail })?;
        Ok(Decoder { format: Format::Avro(schema) })
    }

    /// Each record is a protobuf message of that full name, with nothing before it. The file is a `.proto`, its imports in the same
    /// folder or below, or of any other extension a `FileDescriptorSet` in binary form.
    pub fn protobuf_file(path: &Path, message: &str) -> Result<Decoder, FormatError> {
        Ok(Decoder { format: Format::Protobuf(protobuf::from_file(path, message)?) })
    }

    /// Each record is Avro with the id of its schema before it, which the registry at that URL knows.
    pub fn avro_registry(url: &str) -> Result<Decoder, FormatError> {
        Ok(Decoder { format: Format::AvroOf(Schemas::new(Client::new(url)?)) })
    }

    /// Each record is a protobuf message with the id of its schema before it, which the registry at that URL knows.
    pub fn protobuf_registry(url: &str) -> Result<Decoder, FormatError> {
        Ok(Decoder { format: Format::ProtobufOf(Schemas::new(Client::new(url)?)) })
    }

    /// Takes one record: a row, or a reject with its reason.
    ///
    /// An error only if the registry cannot be asked. Then nothing was taken, and the same record can be given again. It may wait for
    /// the registry, for seconds.
    pub fn take(&mut self, offset: u64, record: &[u8], rows: &mut RowBuilder) -> Result<(), RegistryError> {
        if record.len() > MAX_RECORD_BYTES {
            too_long(offset, record, rows);
            return Ok(());
        }
        match &mut self.format {
            Format::Json => json::take(offset, record, rows),
            Format::Avro(schema) => avro::take(schema, offset, record, record, rows),
            Format::Protobuf(message) => protobuf::take(message, offset, record, record, rows),
            Format::AvroOf(schemas) => match of_registry(schemas, record, compile_avro)? {
                Ok((schema, body)) => avro::take(schema, offset, body, record, rows),
                Err(reason) => rows.reject(Reject::new(offset, reason, text_or_hex(record))),
            },
            Format::ProtobufOf(schemas) => match of_registry(schemas, record, compile_protobuf)? {
                Ok((file, body)) => match wire::message(file, body) {
                    Some((message, body)) => protobuf::take(&message, offset, body, record, rows),
                    None => {
                        let reason = RejectReason::MalformedProtobuf { detail: "schema has no message of its indices".to_owned() };
                        rows.reject(Reject::new(offset, reason, text_or_hex(record)));
                    }
                },
                Err(reason) => rows.reject(Reject::new(offset, reason, text_or_hex(record))),
            },
        }
        Ok(())
    }
}

/// Rejects a record of which only the head may be held.
pub(crate) fn too_long(offset: u64, head: &[u8], rows: &mut RowBuilder) {
    rows.reject(Reject::new(offset, RejectReason::TooLong { limit: MAX_RECORD_BYTES }, lossy(head)));
}

/// The schema that stands before a record, and the rest of it; or why it is rejected.
fn of_registry<'s, 'a, S>(
    schemas: &'s mut Schemas<S>,
    record: &'a [u8],
    compile: fn(Found) -> Result<S, String>,
) -> Result<Result<(&'s S, &'a [u8]), RejectReason>, RegistryError> {
    let Some((id, body)) = wire::schema_id(record) else { return Ok(Err(RejectReason::NotFramed)) };
    Ok(schemas.of(id, compile)?.map(|schema| (schema, body)))
}

fn compile_avro(found: Found) -> Result<avro::Schema, String> {
    of_kind("AVRO", &found)?;
    let references: Vec<&str> = found.references.iter().map(|(_, text)| text.as_str()).collect();
    avro::Schema::compile(&found.text, &references)
}

fn compile_protobuf(found: Found) -> Result<FileDescriptor, String> {
    of_kind("PROTOBUF", &found)?;
    protobuf::compile(&found.text, &found.references)
}

fn of_kind(wanted: &str, found: &Found) -> Result<(), String> {
    if found.kind == wanted { Ok(()) } else { Err(format!("it is of another type. expected={wanted} found={}", found.kind)) }
}

#[cfg(test)]
mod tests;
