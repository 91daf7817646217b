//! The event-time core of floodmark: what a feature is worth, for an entity, as of an event time, at a version.
//!
//! Pure: it waits for nothing, reads no clock, draws no chance, names no outside system. Reading order: [`time`],
//! [`value`], [`schema`], [`definition`], [`expression`], [`window`], [`aggregate`].

pub mod aggregate;
pub mod codec;
pub mod definition;
pub mod engine;
pub mod evaluate;
pub mod expression;
pub mod feature_log;
pub mod key;
pub mod lookup;
pub mod row;
pub mod schema;
pub mod section;
pub mod suggest;
pub mod sweep;
pub mod time;
pub mod timeline;
pub mod value;
pub mod watermark;
pub mod window;
