//! The tests of the whole: one binary, one module for each question.
#![allow(clippy::unwrap_used)]

mod crash;
mod disorder;
mod disorder_real;
mod flink;
mod harness;
mod keeping;
mod kernel;
mod push;
mod real_transactions;
mod score;
mod tidy;
mod verify;
mod window_cases;
