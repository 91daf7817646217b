//! The tests of the whole: one binary, one module for each question.
#![allow(clippy::unwrap_used)]

mod flink;
mod harness;
mod kernel;
mod window_cases;
