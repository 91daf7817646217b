//! Workers of a pipeline as processes of their own, and what they tell.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::kafka::{Kafka, until};
use crate::harness::real::text;
use crate::harness::redis::Redis;

/// A pipeline: its definitions, its topics' prefix, and its workers.
pub(crate) struct World {
    home: TempDir,
    /// Where the workers find Kafka.
    pub(crate) bootstrap: String,
    pub(crate) redis_url: String,
    pub(crate) prefix: String,
    source: String,
    pub(crate) workers: Vec<Worker>,
    /// More arguments for every worker.
    pub(crate) more: Vec<String>,
}

/// A worker.
pub(crate) struct Worker {
    pub(crate) role: &'static str,
    pub(crate) name: String,
    pub(crate) child: Child,
    http: String,
}

impl World {
    pub(crate) fn new(kafka: &Kafka, redis: &Redis, prefix: &str, definitions: &str, source: &str) -> World {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("definitions.yaml"), definitions).expect("definitions");
        World {
            home,
            bootstrap: kafka.bootstrap.clone(),
            redis_url: redis.url(),
            prefix: prefix.to_owned(),
            source: source.to_owned(),
            workers: Vec::new(),
            more: Vec::new(),
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn definitions(&self) -> PathBuf {
        self.home().join("definitions.yaml")
    }

    /// Starts a worker that routes topics of the source.
    pub(crate) fn route(&mut self, name: &str, topics: &[&str]) {
        let inputs: Vec<String> = topics.iter().map(|topic| format!("{}=kafka://{}/{topic}", self.source, self.bootstrap)).collect();
        self.start("route", name, &inputs);
    }

    /// Starts a worker that applies.
    pub(crate) fn apply(&mut self, name: &str) {
        let online = ["--online", &self.redis_url, "--online-name", &self.prefix].map(str::to_owned);
        self.start("apply", name, &online);
    }

    fn start(&mut self, role: &'static str, name: &str, more: &[String]) {
        let pipeline = format!("kafka://{}/{}", self.bootstrap, self.prefix);
        let definitions = text(&self.definitions());
        let arguments = ["ingest", "--json", "--role", role, "--worker", name, "--definitions", &definitions, "--pipeline", &pipeline];
        let mut child = Command::new(env!("CARGO_BIN_EXE_floodmark"))
            .args(arguments)
            .args(["--http", "127.0.0.1:0", "--log-partitions", "4"])
            .args(&self.more)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floodmark command");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let http = told["http"].as_str().expect("an address").to_owned();
        self.workers.push(Worker { role, name: name.to_owned(), child, http });
    }

    /// A view's events over all partitions, whatever became of them.
    pub(crate) fn taken(&self, view: &str) -> u64 {
        let of = |worker: &Worker| {
            let metrics = worker.metrics().unwrap_or_default();
            let of_view = metrics.iter().filter(|(name, _)| name.starts_with(&format!("floodmark_pipeline_view_events{{view=\"{view}\"")));
            of_view.filter(|(name, _)| !name.contains("partially_late")).map(|(_, count)| *count as u64).sum::<u64>()
        };
        self.workers.iter().filter(|worker| worker.role == "apply").map(of).sum()
    }

    /// Records that route has refused, of workers that are still there.
    pub(crate) fn sum(&self, metric: &str) -> u64 {
        let of = |worker: &Worker| {
            let metrics = worker.metrics().unwrap_or_default();
            metrics.iter().filter(|(name, _)| name.starts_with(metric)).map(|(_, count)| *count as u64).sum::<u64>()
        };
        self.workers.iter().map(of).sum()
    }

    /// Waits until the online store has had all of `events` records; the refused ones are counted by their topic.
    pub(crate) fn until_taken(&self, view: &str, events: u64) {
        until(&format!("{events} events"), || self.taken(view) + self.sum("floodmark_pipeline_rejected_total") >= events);
    }

    /// Ends all workers in order.
    pub(crate) fn stop_all(&mut self) {
        for worker in &self.workers {
            worker.signal("TERM");
        }
        for mut worker in self.workers.drain(..) {
            assert!(worker.child.wait().expect("an end").success(), "{} {} ends in order", worker.role, worker.name);
        }
    }
}

impl Worker {
    pub(crate) fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().expect("kill");
        assert!(told.success());
    }

    pub(crate) fn metrics(&self) -> Option<BTreeMap<String, f64>> {
        metrics(&self.http)
    }
}

/// Every metric of a page, by name and labels; `None` if nobody answers.
pub(crate) fn metrics(address: &str) -> Option<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    let values = page.lines().filter(|line| line.starts_with("floodmark_")).filter_map(|line| line.rsplit_once(' '));
    Some(values.map(|(name, value)| (name.to_owned(), value.parse().unwrap_or(0.0))).collect())
}

impl Drop for World {
    /// A test that fails must not leave them behind.
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}
