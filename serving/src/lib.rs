//! Serving: features by entity key over gRPC, and the server that carries them and whatever else is routed to it.
//!
//! A request walks `deadline` → `service` (what is asked: `plan`; names to places: `places`; values: `wire`) → `Store::read`.

pub mod client;
mod deadline;
mod places;
mod plan;
mod refusal;
pub mod server;
pub mod service;
#[cfg(test)]
mod testing;
mod wire;
