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

/// Its numbers, each with its entry in the catalog of metrics.
pub(super) fn kept(outbox: &Arc<Shared>) -> Vec<Kept> {
    let (sent, commits, aborts, rebuilds) = (outbox.clone(), outbox.clone(), outbox.clone(), outbox.clone());
    vec![
        Kept::new(&catalog::PUBLISHED, &[], move || sent.sent()),
        Kept::new(&catalog::PUBLISH_TRANSACTIONS, &["committed"], move || commits.commits()),
        Kept::new(&catalog::PUBLISH_TRANSACTIONS, &["aborted"], move || aborts.aborts()),
        Kept::new(&catalog::PUBLISH_PRODUCERS, &[], move || rebuilds.rebuilds()),
    ]
}
