//! The event-time core of floodmark: what a feature is worth, for an entity, as of an event time, at a version.
//!
//! Pure: it waits for nothing, reads no clock, draws no chance, names no outside system. Reading order: [`time`],
//! [`value`], [`schema`], [`definition`], [`expression`], [`window`], [`aggregate`].

pub mod aggregate;
pub mod definition;
pub mod expression;
pub mod key;
pub mod lookup;
pub mod schema;
mod suggest;
pub mod time;
pub mod value;
pub mod window;
