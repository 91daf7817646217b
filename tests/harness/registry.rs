//! A real Apicurio Registry for a test, by the interface of Confluent's; without a Java that it runs on the test skips, and says so.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// It is stopped when it is dropped.
pub(crate) struct Registry {
    home: tempfile::TempDir,
    process: String,
    /// HOST:PORT
    address: String,
}

/// Where the interface of Confluent's begins.
const API: &str = "/apis/ccompat/v7";

impl Registry {
    pub(crate) fn start() -> Option<Registry> {
        let home = tempfile::tempdir().expect("a directory");
        let run = services().arg("registry").arg(home.path()).output().expect("the script");
        let why = String::from_utf8_lossy(&run.stderr).trim().to_owned();
        if !run.status.success() {
            // 3: this machine has no Java 21.
            assert!(run.status.code() == Some(3) || std::env::var_os("REQUIRE_SERVICES").is_none(), "a real registry is required: {why}");
            eprintln!("SKIPPED: no real schema registry: {why}");
            return None;
        }
        let started: Value = serde_json::from_slice(&run.stdout).expect("JSON");
        let address = started["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("an address").to_owned();
        Some(Registry { home, process: started["pids"][0].to_string(), address })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{API}", self.address)
    }

    /// Adds a version to a subject; its id.
    pub(crate) fn register(&self, subject: &str, kind: &str, schema: &str) -> u32 {
        let body = json!({ "schemaType": kind, "schema": schema }).to_string();
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let head = format!("POST {API}/subjects/{subject}/versions HTTP/1.1\r\nhost: registry\r\nconnection: close");
        write!(stream, "{head}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let id = answer.split("\"id\":").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        id.unwrap_or_else(|| panic!("no id: {answer}"))
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.process]).status().expect("kill").success());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = services().arg("stop").arg(self.home.path()).output();
    }
}

fn services() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/services"))
}
