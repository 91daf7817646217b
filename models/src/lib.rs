//! ONNX models: what they need, how they run, which versions there are. Knows nobody else in the house.
//!
//! A [`repository`] is a directory with a folder for each version of each model. A [`model::Model`] is a version that passed every
//! step of [`model::Refused`]'s list and can score; a [`registry::Registry`] keeps those that serve and swaps them whole.
//! Reading order: [`runtime`], [`manifest`], [`signature`], [`matrix`], [`counts`], [`stats`], [`model`], [`repository`], [`registry`],
//! [`compare`].

#![cfg_attr(test, allow(clippy::unwrap_used))] // in a test, a panic is the message

pub mod compare;
pub mod counts;
mod graph;
#[cfg(test)]
mod made;
pub mod manifest;
pub mod matrix;
pub mod model;
pub mod registry;
pub mod repository;
pub mod runtime;
mod sessions;
pub mod signature;
pub mod stats;
#[cfg(test)]
mod testing;
