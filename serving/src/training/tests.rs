//! Tests of training sets.
