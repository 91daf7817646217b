//! Stories about definition files: what they prove, and what is wrong with them.

mod errors;
mod proven;
mod schema;

use super::*;

/// What most stories start from: one source, one entity, one view, with the features to be written.
fn with_features(features: &str) -> String {
    let mut text = String::from(
        "sources:
  tx:
    schema: { id: int64, at: timestamp, card: string, amount: float64, items: int64, fraud: bool }
    event_time: at
    event_id: id
entities:
  card: { keys: [card] }
views:
  spend:
    entity: card
    source: tx
    features:
",
    );
    for line in features.lines() {
        text.push_str(&format!("      {}\n", line.trim_start()));
    }
    text
}

fn proven(yaml: &str) -> Definitions {
    Definitions::parse("f.yaml", yaml).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"))
}

/// The whole list of errors, one a line; the file's name is left out.
fn errors(yaml: &str) -> Vec<String> {
    let found = Definitions::parse("f.yaml", yaml).map(|_| yaml).expect_err("nothing is wrong with this");
    assert!(!found.errors.is_empty());
    found.to_string().lines().map(|line| line.strip_prefix("f.yaml:").expect("the file's name").to_owned()).collect()
}

fn check(yaml: &str, expected: &[&str]) {
    assert_eq!(errors(yaml), expected, "{yaml}");
}
