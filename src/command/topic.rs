//! Kafka topics as commands are given them, and side outputs as topics carry them: written as the commands `late`, `windows`, `rejects`
//! and `scores` print them.

use std::path::Path;
use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_ingest::kafka::outbox::Encoder;
use floodmark_ingest::kafka::{Topic, TopicError, read_properties};
use floodmark_ingest::replay::Input;
use floodmark_store::Output;
use serde::Serialize;

use super::{late, rejects, scores, windows};
use crate::failure::Failure;

/// A topic by its URL, with what its clients are told.
pub(super) fn topic(url: &str, properties: Option<&Path>) -> Result<Topic, Failure> {
    let usage = |error: TopicError| Failure::usage(error.to_string());
    let properties = properties.map(read_properties).transpose().map_err(usage)?.unwrap_or_default();
    Ok(Topic { properties, ..url.parse().map_err(usage)? })
}

/// The topics among the inputs, by the names of their sources.
pub(super) fn named(inputs: &[Input], properties: Option<&Path>) -> Result<Vec<(String, Topic)>, Failure> {
    let urls = inputs.iter().map(|input| (input, input.path.to_string_lossy())).filter(|(_, url)| Topic::is_url(url));
    urls.map(|(input, url)| Ok((input.source.clone(), topic(&url, properties)?))).collect()
}

/// Writes side outputs of these definitions.
pub(super) fn encoder(definitions: Arc<Definitions>) -> Encoder {
    Box::new(move |output| encode(&definitions, output))
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
