//! What a flight's command may say, and what is said of one that may not.

use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::lookup::Mode;
use tonic::Code;

use super::ask::spec_of;
use crate::testing::TEXT;

#[test]
fn a_command_is_read_whole_or_refused_with_an_example() {
    let definitions = Arc::new(Definitions::parse("test.yaml", TEXT).expect("definitions"));
    let service = &definitions.services[0].name;
    let all = format!(
        r#"{{"training_set": {{"service": "{service}", "time": "at", "event_id": "id", "mode": "as_corrected", "version": 7, "statuses": true, "carry": false}}}}"#
    );
    let (spec, carry) = spec_of(&definitions, all.as_bytes()).expect("a spec");
    assert_eq!((spec.time.as_str(), spec.event_id.as_deref(), spec.version, spec.statuses), ("at", Some("id"), Some(7), true));
    assert_eq!((spec.mode, carry), (Mode::AsCorrected, false));
    let little = format!(r#"{{"training_set": {{"service": "{service}", "time": "at"}}}}"#);
    let (spec, carry) = spec_of(&definitions, little.as_bytes()).expect("a spec");
    assert_eq!((spec.mode, carry), (Mode::AsServed, true));

    let refused = |command: &str| spec_of(&definitions, command.as_bytes()).expect_err("refused");
    let unknown = refused(r#"{"training_set": {"service": "frau", "time": "at"}}"#);
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("no service has this name"), "{unknown}");
    for command in ["", "{}", r#"{"training_set": {"service": "fraud", "tiem": "at"}}"#] {
        let refused = refused(command);
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(r#"{"training_set": {"service": "fraud""#), "{refused}");
    }
}
