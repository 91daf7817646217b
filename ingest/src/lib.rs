//! The way in: sources, decoding, and what could not be read.
//!
//! Reading order: [`source`] (a file's events in arrival order), [`record`] (one record's bytes become a row), [`columns`] (rows
//! become a batch), [`reject`] (why a record was not taken), [`payload`] (a record as text), [`router`] (a batch becomes routed
//! events), [`replay`] and [`writer`] (files and producers through the pipeline), [`scoring`] (accepted events to whoever scores
//! them), [`push`] (producers over gRPC).

pub mod clock;
pub mod kafka;
pub mod push;
pub mod record;
pub mod replay;
pub mod scoring;
pub mod source;
mod stages;
pub mod writer;
