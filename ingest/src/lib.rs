//! The way in: sources, decoding, and what could not be read.
//!
//! Reading order: [`source`] (a file's events in arrival order), [`columns`] (rows become a batch), [`reject`] (why a record
//! was not taken), [`payload`] (a record as text).

pub mod columns;
mod field;
pub mod offsets;
pub mod payload;
pub mod reject;
pub mod source;
