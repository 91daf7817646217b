//! Side outputs of a store on their way to Kafka topics.

use std::sync::Arc;

use floodmark_ingest::kafka::Topic;
use floodmark_ingest::kafka::outbox::{Outbox, OutboxError, Shared};
use floodmark_serving::metrics::{Kept, catalog};
use floodmark_store::Store;

use crate::command::topic::encoder;
use crate::failure::Failure;

pub(super) fn start(prefix: Topic, store: &Arc<Store>) -> Result<Outbox, Failure> {
    Outbox::start(prefix, store.clone(), encoder(store.definitions().clone())).map_err(|error| match error {
        OutboxError::Client(_) => Failure::usage(format!("{error}: see --kafka-config")),
        _ => Failure::from(error),
    })
}

/// Sends what is left, and says what has to wait for the next start.
pub(super) fn end(outbox: Outbox) -> Result<(), Failure> {
    let shared = outbox.shared();
    let outputs = match outbox.end()? {
        Some(0) => return Ok(()),
        Some(left) => left.to_string(),
        None => "unknown, as no broker has said how far they had been sent".to_owned(),
    };
    let trouble = shared.status().last_trouble().unwrap_or_else(|| "none; there was too little time".to_owned());
    eprintln!("not all outputs could be sent to Kafka: the next start on this store sends the rest. outputs={outputs} trouble={trouble}");
    Ok(())
}

/// Its numbers, each with its entry in the catalog of metrics.
pub(super) fn kept(outbox: &Arc<Shared>) -> Vec<Kept> {
    let (sent, commits, aborts, rebuilds, troubles) = (outbox.clone(), outbox.clone(), outbox.clone(), outbox.clone(), outbox.clone());
    vec![
        Kept::new(&catalog::PUBLISHED, &[], move || sent.sent()),
        Kept::new(&catalog::PUBLISH_TRANSACTIONS, &["committed"], move || commits.commits()),
        Kept::new(&catalog::PUBLISH_TRANSACTIONS, &["aborted"], move || aborts.aborts()),
        Kept::new(&catalog::PUBLISH_PRODUCERS, &[], move || rebuilds.rebuilds()),
        Kept::new(&catalog::PUBLISH_TROUBLES, &[], move || troubles.status().troubles()),
    ]
}
