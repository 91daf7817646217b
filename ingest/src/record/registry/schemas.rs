//! The schemas of a registry that were asked for, compiled. An id has one schema for ever, so it is asked for once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use floodmark_intake::reject::RejectReason;

use super::{Client, Found, Missing};
use crate::record::RegistryError;

/// When an id without a usable schema is asked for again. Until then its records are rejected without asking.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How many schemas are held; damaged records may have any id. At this many, all are let go and asked for anew.
const MAX_SCHEMAS: usize = 10_000;

/// Compiled schemas by id.
#[derive(Debug)]
pub(in crate::record) struct Schemas<S> {
    client: Client,
    known: HashMap<u32, Known<S>>,
    pub(in crate::record) ask_again_after: Duration,
}

#[derive(Debug)]
enum Known<S> {
    Usable(S),
    Unusable { detail: String, asked: Instant },
}

impl<S> Schemas<S> {
    pub(in crate::record) fn new(client: Client) -> Schemas<S> {
        Schemas { client, known: HashMap::new(), ask_again_after: ASK_AGAIN_AFTER }
    }

    /// The schema of an id, or why a record with it is rejected. An error if the registry is to be asked again.
    pub(in crate::record) fn of(
        &mut self,
        id: u32,
        compile: impl FnOnce(Found) -> Result<S, String>,
    ) -> Result<Result<&S, RejectReason>, RegistryError> {
        let fresh = match self.known.get(&id) {
            Some(Known::Usable(_)) => true,
            Some(Known::Unusable { asked, .. }) => asked.elapsed() < self.ask_again_after,
            None => false,
        };
        if !fresh {
            let compiled = match self.client.schema(id) {
                Ok(found) => compile(found),
                Err(Missing::Unusable(detail)) => Err(detail),
                Err(Missing::Registry(error)) => return Err(error),
            };
            if self.known.len() >= MAX_SCHEMAS {
                self.known.clear();
            }
            let known = compiled.map_or_else(|detail| Known::Unusable { detail, asked: Instant::now() }, Known::Usable);
            self.known.insert(id, known);
        }
        Ok(match self.known.get(&id) {
            Some(Known::Usable(schema)) => Ok(schema),
            Some(Known::Unusable { detail, .. }) => Err(RejectReason::UnknownSchema { id, detail: detail.clone() }),
            None => Err(RejectReason::UnknownSchema { id, detail: "it was let go".to_owned() }),
        })
    }
}
