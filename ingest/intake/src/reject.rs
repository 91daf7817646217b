//! Rejected records: what a source gave that is not an event, why, and the record itself for whoever repairs it.

use std::fmt;

use floodmark_features::time::Span;
use floodmark_features::value::Type;

use crate::payload::bounded;

/// A record that could not be taken (the dead-letter output).
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// Where it stood in its source.
    pub offset: u64,
    /// Why it was not taken.
    pub reason: RejectReason,
    /// The record as JSON or raw text, cut at [`crate::payload::MAX_PAYLOAD_BYTES`].
    pub payload: String,
}

impl Reject {
    /// A reject whose payload is cut where it is too long.
    pub fn new(offset: u64, reason: RejectReason, payload: String) -> Reject {
        Reject { offset, reason, payload: bounded(payload) }
    }
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum RejectReason {
    /// The line is not JSON.
    MalformedJson {
        /// What the parser said.
        detail: String,
    },
    /// The line is JSON, but not one object.
    NotAnObject,
    /// The bytes are not Avro of the schema that they were written with.
    MalformedAvro {
        /// Where the reading ended.
        detail: &'static str,
    },
    /// The bytes are not a message of protobuf.
    MalformedProtobuf {
        /// What the decoder said.
        detail: String,
    },
    /// The record should begin with the id of its schema, and does not.
    NotFramed,
    /// The schema that the record was written with is not known, or is none that can be read.
    UnknownSchema {
        /// Its id in the registry.
        id: u32,
        /// What is the matter with it.
        detail: String,
    },
    /// The bytes are not UTF-8.
    InvalidUtf8,
    /// The record is longer than a reader will hold in memory.
    TooLong {
        /// The bound, in bytes.
        limit: usize,
    },
    /// The record has no value: Kafka's mark that a key is to be forgotten, and no event.
    Tombstone,
    /// A CSV record has more or fewer fields than the header, or a pushed row than the schema.
    FieldCount {
        /// Fields of the header.
        expected: usize,
        /// Fields of the record.
        found: usize,
    },
    /// A field is not of its column's type.
    WrongType {
        /// The column.
        column: String,
        /// Its type in the definition.
        expected: Type,
        /// What stood there.
        found: String,
    },
    /// A number or time is beyond what its column can hold.
    OutOfRange {
        /// The column.
        column: String,
        /// Its type in the definition.
        expected: Type,
    },
    /// A float is NaN or infinite (T18).
    NotFinite {
        /// The column.
        column: String,
    },
    /// A field that an event cannot do without is null or missing.
    Missing {
        /// What the field is for.
        role: Role,
        /// The column.
        column: String,
    },
    /// The event time is too far ahead of the time at which the record was received (T7).
    InTheFuture {
        /// How far ahead it is.
        ahead: Span,
        /// How far ahead the source lets it be.
        max_future_skew: Span,
    },
}

/// What a field that must not be null is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The source's event time.
    EventTime,
    /// The source's event id.
    EventId,
    /// A key column of an entity.
    Key,
}

impl RejectReason {
    /// The stable name of the reason, for counters and for filters.
    pub fn code(&self) -> &'static str {
        match self {
            RejectReason::MalformedJson { .. } => "malformed_json",
            RejectReason::NotAnObject => "not_an_object",
            RejectReason::MalformedAvro { .. } => "malformed_avro",
            RejectReason::MalformedProtobuf { .. } => "malformed_protobuf",
            RejectReason::NotFramed => "not_framed",
            RejectReason::UnknownSchema { .. } => "unknown_schema",
            RejectReason::InvalidUtf8 => "invalid_utf8",
            RejectReason::TooLong { .. } => "too_long",
            RejectReason::Tombstone => "tombstone",
            RejectReason::FieldCount { .. } => "field_count",
            RejectReason::WrongType { .. } => "wrong_type",
            RejectReason::OutOfRange { .. } => "out_of_range",
            RejectReason::NotFinite { .. } => "not_finite",
            RejectReason::Missing { role: Role::EventTime, .. } => "null_event_time",
            RejectReason::Missing { role: Role::EventId, .. } => "null_event_id",
            RejectReason::Missing { role: Role::Key, .. } => "null_key",
            RejectReason::InTheFuture { .. } => "in_the_future",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RejectReason::MalformedJson { detail } => write!(f, "record is not valid JSON. detail={detail}"),
            RejectReason::NotAnObject => f.write_str("record is not one JSON object"),
            RejectReason::MalformedAvro { detail } => write!(f, "record is not Avro of its schema. detail={detail}"),
            RejectReason::MalformedProtobuf { detail } => write!(f, "record is not a protobuf message. detail={detail}"),
            RejectReason::NotFramed => f.write_str("record does not begin with the id of its schema"),
            RejectReason::UnknownSchema { id, detail } => write!(f, "schema of the record is not known. id={id} detail={detail}"),
            RejectReason::InvalidUtf8 => f.write_str("record is not UTF-8"),
            RejectReason::TooLong { limit } => write!(f, "record is too long. limit_bytes={limit}"),
            RejectReason::Tombstone => f.write_str("record has no value, so it is no event"),
            RejectReason::FieldCount { expected, found } => {
                write!(f, "record has another number of fields than its columns. expected={expected} found={found}")
            }
            RejectReason::WrongType { column, expected, found } => {
                write!(f, "field is not of its column's type. column={column} expected={expected} found={found}")
            }
            RejectReason::OutOfRange { column, expected } => {
                write!(f, "value is out of the range of its column. column={column} expected={expected}")
            }
            RejectReason::NotFinite { column } => write!(f, "float is not finite. column={column}"),
            RejectReason::Missing { role, column } => write!(f, "{role} is null or missing. column={column}"),
            RejectReason::InTheFuture { ahead, max_future_skew } => {
                write!(f, "event time is too far in the future. ahead={ahead} max_future_skew={max_future_skew}")
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::EventTime => "event time",
            Role::EventId => "event id",
            Role::Key => "key",
        })
    }
}
