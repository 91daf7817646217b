//! Side outputs on their way to Kafka topics: written as the commands `late`, `windows`, `rejects` and `scores` print them.

use std::path::Path;
use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_ingest::kafka::outbox::{Encoder, Outbox, OutboxError, Shared};
use floodmark_ingest::kafka::{Topic, read_properties};
use floodmark_serving::metrics::{Kept, catalog};
use floodmark_store::{Output, Store};
use serde::Serialize;

use crate::command::{late, rejects, scores, windows};
use crate::failure::Failure;

/// Where to publish: a URL whose topic is the beginning of the topics' names.
pub(super) fn prefix(url: Option<&str>, properties: Option<&Path>) -> Result<Option<Topic>, Failure> {
    let Some(url) = url else { return Ok(None) };
    let usage = |error: floodmark_ingest::kafka::TopicError| Failure::usage(error.to_string());
    let properties = properties.map(read_properties).transpose().map_err(usage)?.unwrap_or_default();
    Ok(Some(Topic { properties, ..url.parse().map_err(usage)? }))
}

pub(super) fn start(prefix: Topic, store: &Arc<Store>) -> Result<Outbox, Failure> {
    let definitions = store.definitions().clone();
    let encode: Encoder = Box::new(move |output| encode(&definitions, output));
    Outbox::start(prefix, store.clone(), encode).map_err(|error| match error {
        OutboxError::Client(_) => Failure::usage(format!("{error}: see --kafka-config")),
        _ => Failure::from(error),
    })
}

/// Key and value: those of one entity have one key, so they keep their order.
fn encode(definitions: &Definitions, output: &Output) -> (Vec<u8>, Vec<u8>) {
    match output {
        Output::Late(event) => {
            let line = late::line(definitions, event);
            (json(&line.entity), json(&line))
        }
        Output::Closed(window) => {
            let line = windows::line(definitions, window.clone());
            (json(&line.entity), json(&line))
        }
        Output::Rejected(record) => {
            let key = format!("{}#{}", record.position.partition, record.position.offset);
            (key.into_bytes(), json(&rejects::line(definitions, record)))
        }
        Output::Score(record) => match scores::line(definitions, record) {
            Ok(line) => (json(&line.entity), json(&line)),
            // Of a record that cannot be read, that much is said.
            Err(error) => (Vec::new(), json(&serde_json::json!({ "sequence": record.sequence, "error": error.to_string() }))),
        },
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Fails for maps whose keys are no text, of which there are none here.
    serde_json::to_vec(value).unwrap_or_default()
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
