//! What the tests share: a driver of the engine, an oracle made from the rules alone, and the real transactions.

pub(crate) mod engine;
pub(crate) mod kafka;
pub(crate) mod oracle;
pub(crate) mod real;
pub(crate) mod redis;
pub(crate) mod registry;
