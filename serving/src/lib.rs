//! Serving: features by entity key over gRPC, and the server that carries them and whatever else is routed to it.
//!
//! A call walks `deadline` → `service` → `asked` (what is looked up: `plan`; which name stands where: `places`;
//! values: `wire`) → `online_store` → `wire`, or ends as a `refusal`.

mod asked;
pub mod client;
mod deadline;
pub mod flight;
pub mod http;
pub mod inference;
pub mod metrics;
mod online_store;
mod places;
mod plan;
pub mod predictions;
mod refusal;
pub mod score;
pub mod server;
pub mod service;
#[cfg(test)]
mod testing;
pub mod verify;
mod wire;
