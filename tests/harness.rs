//! What the tests share: a driver of the engine, and an oracle made from the rules alone.

pub(crate) mod engine;
pub(crate) mod oracle;
