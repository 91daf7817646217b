//! The tests of the whole: one binary, one module for each question.
#![allow(clippy::unwrap_used)]

mod backfill;
mod chaos;
mod clients;
mod crash;
mod demo;
mod disorder;
mod disorder_real;
mod flight;
mod flink;
mod follow;
mod handbook;
mod harness;
mod http;
mod inference;
mod kafka;
mod keeping;
mod kernel;
mod models_command;
mod modes;
mod offline;
mod online;
mod package;
mod parity;
mod parts;
mod pipeline;
mod push;
mod real_transactions;
mod schema_registry;
mod score;
mod secure;
mod stream_scores;
mod swaps;
mod tidy;
mod verify;
mod window_cases;
