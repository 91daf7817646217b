//! Over TLS, with a name and a password: what floodmark keeps and sends is the same, and whoever is not let in is told why.

mod kafka;
mod redis;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::crash::write_payments;

/// An authority that nobody asked for.
fn stranger(home: &Path) -> PathBuf {
    let ca = home.join("stranger.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=stranger", "-keyout"])
        .args([&home.join("stranger-key.pem"), Path::new("-out"), &ca])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    ca
}

/// Payments enough that some are late, some are rejected, and some windows close.
fn payments(home: &Path) -> String {
    let file = home.join("payments.jsonl");
    write_payments(&file);
    let all = std::fs::read_to_string(&file).expect("payments");
    std::fs::remove_file(&file).expect("a file");
    all.lines().take(20_000).flat_map(|line| [line, "\n"]).collect()
}

/// Runs a command that is to fail by itself, soon.
fn failed(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_floodmark")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the floodmark command");
    let said = String::from_utf8(stderr).expect("text");
    assert!(matches!(status.code(), Some(1 | 2)), "it fails in order: {status} {said}");
    without_panic(&said);
    eprint!("{said}");
    said
}

/// Runs a command that goes on, until it has said all that is wanted, and ends it.
fn heard(arguments: &[&str], log: &Path, wanted: &[&str]) {
    let file = std::fs::File::create(log).expect("a file");
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_floodmark")).args(arguments).stdout(Stdio::null()).stderr(file).spawn().expect("floodmark");
    let said = || std::fs::read_to_string(log).unwrap_or_default();
    let began = std::time::Instant::now();
    while !wanted.iter().all(|words| said().contains(words)) && began.elapsed() < Duration::from_secs(40) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let runs = child.try_wait().expect("a child").is_none();
    child.kill().expect("a kill");
    child.wait().expect("an end");
    let said = said();
    without_panic(&said);
    eprint!("{said}");
    for words in wanted {
        assert!(said.contains(words), "nothing of {words:?} in: {said}");
    }
    assert!(runs, "it waits for what may be put right: {said}");
}

fn without_panic(said: &str) {
    assert!(!said.contains("panicked"), "{said}");
}
