//! Apache Kafka as a source: a topic's partitions, read into a store that keeps the positions itself.
//!
//! The store's commit is the only one: records, their outcomes and the position after them become durable as one, so nothing is
//! read twice or passed over, whatever is killed in between. Consumer groups and their offsets have no part in it. Reading order:
//! [`Topic`] (what is read, from where), [`consume`] (the loop), [`status`] (how far it has come), [`outbox`] (the other way: side outputs to topics), [`append`] (pushed
//! events to the topic that they are read from), [`pipeline`] (the same work shared by several processes).

pub mod append;
mod client;
pub mod consume;
mod group;
mod intake;
pub mod outbox;
pub mod pipeline;
pub mod status;
mod topic;
mod transactions;

pub use topic::{Beside, Format, Lost, Schema, Topic, TopicError, read_properties};
