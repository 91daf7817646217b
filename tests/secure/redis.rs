//! Redis over TLS, by users who may do what the documentation says and no more.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::{failed, payments, stranger};
use crate::crash::DEFINITIONS;
use crate::harness::kafka::until;
use crate::harness::real::{floodmark, text};
use crate::harness::redis::Redis;
use crate::push::{Running, start_defined};

/// As it stands in an address: what is no letter is written as `%` and two digits.
const PASSWORD: &str = "s%40cret%2F1";

/// Makes the users of docs/redis.md.
pub(super) fn make_users(redis: &Redis) {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/redis.md")).expect("a page");
    let rules: Vec<&str> = page.lines().filter(|line| line.starts_with("ACL SETUSER ")).collect();
    assert_eq!(rules.len(), 2, "one who writes and one who reads");
    for rule in rules {
        let rule = rule.replace("PASSWORD", "s@cret/1");
        assert_eq!(redis.ask(&redis.nodes()[0], &rule.split(' ').collect::<Vec<_>>()).as_deref(), Some("+OK\r\n"), "{rule}");
    }
}

/// Where a user finds the server.
pub(super) fn address(redis: &Redis, user: &str) -> String {
    format!("rediss://{user}:{PASSWORD}@{}", redis.told("tls"))
}

/// What was denied to anybody.
pub(super) fn denied(redis: &Redis) -> String {
    redis.ask(&redis.nodes()[0], &["ACL", "LOG"]).expect("an answer")
}

fn get(running: &Running) -> Value {
    let at = ["--as-of", "2023-11-15T00:00:00Z", "card=1", "shop=s1"];
    floodmark(&[&["get", "--json", "--address", running.address.trim_start_matches("http://"), "--service", "all"][..], &at].concat())
}

/// `serve`, which answers from Redis.
fn serve(definitions: &Path, more: &[&str]) -> Running {
    crate::push::start_command("serve", definitions, &[more, &["--online-patience", "5000"]].concat(), Stdio::inherit())
}

#[test]
fn a_user_with_no_more_rights_than_documented_writes_and_another_reads() {
    let Some(redis) = Redis::start(Some("--tls")) else { return };
    make_users(&redis);
    let home = tempfile::tempdir().expect("a directory");
    let [definitions, store, file] = ["definitions.yaml", "store", "payments.jsonl"].map(|name| home.path().join(name));
    std::fs::write(&definitions, DEFINITIONS).expect("a file");
    std::fs::write(&file, payments(home.path())).expect("a file");
    let (writer, reader, input) =
        (address(&redis, "floodmark-writer"), address(&redis, "floodmark-reader"), format!("payments={}", text(&file)));
    let up = start_defined(&definitions, &store, &["--online", &writer, "--online-ca", redis.told("ca"), &input]);
    let embedded = get(&up);
    assert!(embedded["features"].is_object(), "{embedded}");
    let online = ["--online", &reader, "--online-ca", redis.told("ca")];
    let serve = serve(&definitions, &online);
    until("the same answer from redis", || get(&serve) == embedded);
    assert_eq!(denied(&redis), "*0\r\n", "nothing was asked that is not allowed");

    // Whoever may only read cannot write, and hears what is missing.
    let up = ["up", "--listen", "127.0.0.1:0", "--definitions", &text(&definitions), "--store", &text(&home.path().join("other"))];
    let said = failed(&[&up[..], &online].concat());
    assert!(
        said.contains("no permissions to run the 'eval'") && said.contains("docs/redis.md") && said.contains(redis.told("tls")),
        "{said}"
    );
}

#[test]
fn who_is_not_let_in_or_does_not_trust_says_what_to_do() {
    let Some(redis) = Redis::start(Some("--tls")) else { return };
    make_users(&redis);
    let home = tempfile::tempdir().expect("a directory");
    let definitions = home.path().join("definitions.yaml");
    std::fs::write(&definitions, DEFINITIONS).expect("a file");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--definitions", &text(&definitions), "--online"];
    let (tls, ca, stranger) = (redis.told("tls"), redis.told("ca"), text(&stranger(home.path())));
    let refused = |address: &str, more: &[&str], wanted: &[&str]| {
        let said = failed(&[&serve[..], &[address], more].concat());
        wanted.iter().for_each(|words| assert!(said.contains(words), "nothing of {words:?} in: {said}"));
        assert!(said.contains(&format!("address=rediss://{tls}")) && !said.contains("wrong"), "where, and no password: {said}");
    };
    let reader = address(&redis, "floodmark-reader");
    refused(&format!("rediss://floodmark-reader:wrong@{tls}"), &["--online-ca", ca], &["correct the name and the password"]);
    refused(&format!("rediss://nobody:{PASSWORD}@{tls}"), &["--online-ca", ca], &["correct the name and the password"]);
    refused(&reader, &["--online-ca", &stranger], &["UnknownIssuer", "--online-ca"]);
    refused(&reader, &[], &["UnknownIssuer", "--online-ca"]);
    refused(&reader, &["--online-ca", &text(&definitions)], &["the file of authorities has none"]);

    // As Redis is set up by default: clients show certificates.
    let node = redis.nodes().remove(0);
    assert_eq!(redis.ask(&node, &["CONFIG", "SET", "tls-auth-clients", "yes"]).as_deref(), Some("+OK\r\n"));
    refused(&reader, &["--online-ca", ca], &["CertificateRequired", "--online-cert"]);
    let shown = ["--online-ca", ca, "--online-cert", redis.told("cert"), "--online-key", redis.told("key")];
    let said = failed(&[&serve[..], &[&reader], &shown].concat());
    assert!(said.contains("redis has no whole store of this name"), "it is let in, and there is nothing: {said}");

    // The default user is gone: who gives no name is told so.
    assert_eq!(redis.ask(&node, &["CONFIG", "SET", "requirepass", "other"]).as_deref(), Some("+OK\r\n"));
    refused(&format!("rediss://{tls}"), &shown, &["NOAUTH", "the address needs a password"]);
}
