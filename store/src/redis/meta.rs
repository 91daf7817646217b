//! What an online store says of itself: which format, definitions and store it was written from.

use ::redis::Value;
use floodmark_features::codec::{restore, snapshot};
use floodmark_features::definition::Definitions;

use super::error::OnlineError;
use super::layout::{FORMAT, meta_key};
use super::scripts::DESCRIBE;
use crate::likeness::{fingerprints, source_difference, source_names, view_difference};

/// As it was found.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) partitions: usize,
    /// Which embedded store it mirrors.
    pub(super) store: u64,
}

/// The command that writes it, if there is none, and reads it.
pub(super) fn describe(name: &str, definitions: &Definitions, partitions: usize, store: u64) -> ::redis::Cmd {
    let mut command = DESCRIBE.on(&[&meta_key(name)]);
    command.arg("format").arg(snapshot(&FORMAT)).arg("partitions").arg(snapshot(&(partitions as u64)));
    command.arg("store").arg(snapshot(&store)).arg("fingerprints").arg(snapshot(&fingerprints(definitions)));
    command.arg("sources").arg(snapshot(&source_names(definitions)));
    command
}

/// The command that reads it.
pub(super) fn ask(name: &str) -> ::redis::Cmd {
    let mut command = ::redis::cmd("HGETALL");
    command.arg(meta_key(name));
    command
}

/// Checks that what was found can be read with these definitions.
pub(super) fn check(found: &Value, name: &str, definitions: &Definitions) -> Result<Meta, OnlineError> {
    let fields = super::link::fields(found);
    let field = |wanted: &str| fields.iter().find(|(field, _)| *field == wanted.as_bytes()).map(|(_, value)| *value);
    let other = |difference: String| OnlineError::Other { difference, name: name.to_owned() };
    let missing = || OnlineError::Missing { name: name.to_owned() };
    let format: u32 = restore(field("format").ok_or_else(missing)?)?;
    if format != FORMAT {
        return Err(other(format!("it has format {format}, this program reads format {FORMAT}")));
    }
    let stored: Vec<(String, u64)> = restore(field("fingerprints").ok_or_else(missing)?)?;
    let given = fingerprints(definitions);
    if stored != given {
        return Err(other(view_difference(&stored, &given)));
    }
    let sources: Vec<String> = restore(field("sources").ok_or_else(missing)?)?;
    if let Some(difference) = source_difference(&sources, &source_names(definitions)) {
        return Err(other(difference));
    }
    let partitions: u64 = restore(field("partitions").ok_or_else(missing)?)?;
    let store = restore(field("store").ok_or_else(missing)?)?;
    Ok(Meta { partitions: partitions as usize, store })
}
