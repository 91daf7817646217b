//! A real Redis for a test, started by `.ci/services` and stopped when it is dropped.

use std::path::Path;
use std::process::{Command, Stdio};

use floodmark_store::redis::{Address, RedisSettings};
use serde_json::Value;
use tempfile::TempDir;

/// A Redis of some shape.
pub(crate) struct Redis {
    home: TempDir,
    started: Value,
}

impl Redis {
    /// Starts one; `--cluster`, `--sentinel` or `--tls` if so wanted. `None`, and said, where it is not to be had.
    pub(crate) fn start(shape: Option<&str>) -> Option<Redis> {
        let why = match Redis::run(shape) {
            Ok(redis) => return Some(redis),
            Err(why) => why,
        };
        assert!(std::env::var_os("REQUIRE_SERVICES").is_none(), "a real Redis is required: {why}");
        eprintln!("SKIPPED: no real Redis (`.ci/services fetch` brings one): {why}");
        None
    }

    /// A Valkey in its place. Not every machine can have one, so it is not required.
    pub(crate) fn valkey() -> Option<Redis> {
        Redis::run(Some("--valkey")).inspect_err(|why| eprintln!("SKIPPED: no real Valkey: {why}")).ok()
    }

    fn run(more: Option<&str>) -> Result<Redis, String> {
        let home = tempfile::tempdir().expect("a directory");
        let run = services().arg("redis").arg(home.path()).args(more).stderr(Stdio::piped()).output();
        let run = run.map_err(|error| format!(".ci/services: {error}"))?;
        match run.status.success() {
            true => Ok(Redis { home, started: serde_json::from_slice(&run.stdout).expect("JSON") }),
            false => Err(String::from_utf8_lossy(&run.stderr).trim().to_owned()),
        }
    }

    /// What a start with `--tls` has told: "tls", where it answers, and the files "ca", "cert" and "key".
    pub(crate) fn told(&self, what: &str) -> &str {
        self.started[what].as_str().unwrap_or_else(|| panic!("no {what} in {}", self.started))
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        let list = |name: &str| {
            let all: Vec<&str> = self.started[name].as_array()?.iter().filter_map(Value::as_str).collect();
            Some(all.join(","))
        };
        match (&self.started["url"], list("nodes"), list("sentinels")) {
            (Value::String(url), ..) => url.clone(),
            (_, Some(nodes), _) => format!("redis://{nodes}"),
            (_, _, Some(sentinels)) => format!("redis+sentinel://{sentinels}/{}", self.started["master"].as_str().expect("a name")),
            _ => panic!("no address in {}", self.started),
        }
    }

    /// The store of that name in it.
    pub(crate) fn settings(&self, name: &str) -> RedisSettings {
        let address: Address = self.url().parse().expect("an address");
        // A busy machine is no reason to give up.
        let read_patience = std::time::Duration::from_secs(20);
        RedisSettings { name: name.to_owned(), read_patience, ..RedisSettings::new(address) }
    }

    /// The ports of its nodes: HOST:PORT.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let url = self.url();
        let hosts = url.split("://").nth(1).expect("hosts");
        hosts.split('/').next().expect("hosts").split(',').map(str::to_owned).collect()
    }

    /// Sends a signal to one of its nodes.
    pub(crate) fn signal(&self, process: &str, signal: &str) {
        assert!(Command::new("kill").args([signal, process]).status().expect("kill").success());
    }

    /// What a node says of itself.
    pub(crate) fn info(&self, node: &str, name: &str) -> Option<String> {
        let info = self.ask(node, &["INFO", "everything"])?;
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))
    }

    /// Runs a command on one of its nodes.
    pub(crate) fn ask(&self, node: &str, words: &[&str]) -> Option<String> {
        ask(node, words)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = services().arg("stop").arg(self.home.path()).output();
    }
}

fn services() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/services"))
}

/// A command and its answer, as plain text: enough of the protocol for a test.
fn ask(node: &str, words: &[&str]) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(node).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
    let mut command = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| command.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    stream.write_all(command.as_bytes()).ok()?;
    let mut answer = vec![0; 1 << 16];
    let len = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..len]).into_owned())
}
