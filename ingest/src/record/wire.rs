//! The wire format of schema registries, before the body of a record:
//!
//! ```text
//! 0 | id of the schema: 4 bytes, the highest first | protobuf only: which message of the schema | body
//! ```
//!
//! Which message: a number of indices, then one index for each level, from the messages of the file down to those that stand in
//! others. All are varints with the sign in the lowest bit; the first message of a file is the single byte 0.

use prost_reflect::{FileDescriptor, MessageDescriptor};

/// The schema's id and what follows; `None` if the record does not begin with one.
pub(super) fn schema_id(record: &[u8]) -> Option<(u32, &[u8])> {
    let (head, body) = record.split_first_chunk::<5>()?;
    let [0, id @ ..] = *head else { return None };
    Some((u32::from_be_bytes(id), body))
}

/// The message that is meant, and the body; `None` if the schema has no such message.
pub(super) fn message<'a>(file: &FileDescriptor, mut rest: &'a [u8]) -> Option<(MessageDescriptor, &'a [u8])> {
    let depth = index(&mut rest)?;
    let first = if depth == 0 { 0 } else { index(&mut rest)? };
    let mut message = file.messages().nth(first)?;
    for _ in 1..depth {
        let child = message.child_messages().nth(index(&mut rest)?)?;
        message = child;
    }
    Some((message, rest))
}

fn index(rest: &mut &[u8]) -> Option<usize> {
    let bits = prost::encoding::decode_varint(rest).ok()?;
    // An odd number is a negative one.
    if bits & 1 == 0 { usize::try_from(bits >> 1).ok() } else { None }
}
