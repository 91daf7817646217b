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
    /// More arguments for every worker that applies.
    pub(crate) of_redis: Vec<String>,
    pub(crate) prefix: String,
    source: String,
    pub(crate) workers: Vec<Worker>,
    /// More arguments for every worker.
    pub(crate) more: Vec<String>,
    started: usize,
    /// By role and name, how a worker was started.
    known: Vec<(&'static str, String, Vec<String>)>,
}

/// A worker.
pub(crate) struct Worker {
    pub(crate) role: &'static str,
    pub(crate) name: String,
    pub(crate) child: Child,
    pub(crate) http: String,
    /// Where it writes what it complains of.
    log: PathBuf,
    arguments: Vec<String>,
    /// Whether it was made to end.
    pub(crate) expected: bool,
}

impl World {
    pub(crate) fn new(kafka: &Kafka, redis: &Redis, prefix: &str, definitions: &str, source: &str) -> World {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("definitions.yaml"), definitions).expect("definitions");
        World {
            home,
            bootstrap: kafka.bootstrap.clone(),
            redis_url: redis.url(),
            of_redis: Vec::new(),
            prefix: prefix.to_owned(),
            source: source.to_owned(),
            workers: Vec::new(),
            more: Vec::new(),
            started: 0,
            known: Vec::new(),
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
        self.start("apply", name, &[&online[..], &self.of_redis].concat());
    }

    fn start(&mut self, role: &'static str, name: &str, more: &[String]) {
        let pipeline = format!("kafka://{}/{}", self.bootstrap, self.prefix);
        let definitions = text(&self.definitions());
        let arguments = ["ingest", "--json", "--role", role, "--worker", name, "--definitions", &definitions, "--pipeline", &pipeline];
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).chain(self.more.iter().chain(more).cloned()).collect();
        self.known.retain(|(of, known, _)| (*of, known.as_str()) != (role, name));
        self.known.push((role, name.to_owned(), arguments.clone()));
        self.spawn(role, name, arguments);
    }

    fn spawn(&mut self, role: &'static str, name: &str, arguments: Vec<String>) {
        self.started += 1;
        let log = self.home().join(format!("{}-{role}-{name}.log", self.started));
        let mut child = Command::new(env!("CARGO_BIN_EXE_floodmark"))
            .args(&arguments)
            .args(["--http", "127.0.0.1:0", "--log-partitions", "4"])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("the floodmark command");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let http = told["http"].as_str().expect("an address").to_owned();
        self.workers.push(Worker { role, name: name.to_owned(), child, http, log, arguments, expected: false });
    }

    /// Starts a worker as it was started before.
    pub(crate) fn start_again(&mut self, role: &'static str, name: &str) {
        let known = self.known.iter().find(|(of, known, _)| (*of, known.as_str()) == (role, name));
        let arguments = known.expect("a worker").2.clone();
        self.spawn(role, name, arguments);
    }

    /// Starts another worker with the name of one.
    pub(crate) fn twin(&mut self, worker: usize) {
        let Worker { role, name, arguments, .. } = &self.workers[worker];
        let (role, name, arguments) = (*role, name.clone(), arguments.clone());
        self.spawn(role, &name, arguments);
    }

    /// Whether two workers of a role have one name.
    pub(crate) fn has_twins(&self) -> bool {
        let name = |worker: &Worker| (worker.role, worker.name.clone());
        let names: std::collections::BTreeSet<_> = self.workers.iter().map(name).collect();
        names.len() < self.workers.len()
    }

    /// Kills all but the last of each name.
    pub(crate) fn end_a_twin(&mut self) {
        for at in 0..self.workers.len() {
            let (role, name) = (self.workers[at].role, self.workers[at].name.clone());
            if self.workers[at + 1..].iter().any(|worker| (worker.role, &worker.name) == (role, &name)) {
                self.workers[at].kill();
            }
        }
        self.workers.retain_mut(|worker| worker.ended().is_none());
    }

    /// What a worker complained of.
    pub(crate) fn log_of(&self, worker: usize) -> String {
        std::fs::read_to_string(&self.workers[worker].log).unwrap_or_default()
    }

    /// Prints what all workers complained of.
    pub(crate) fn show_logs(&self) {
        let mut logs: Vec<PathBuf> = std::fs::read_dir(self.home()).expect("a folder").flatten().map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        for log in logs {
            eprintln!("{}: {}", log.display(), std::fs::read_to_string(&log).unwrap_or_default());
        }
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
        self.stop_role("route");
        self.stop_role("apply");
    }

    /// Ends all workers of a role in order.
    pub(crate) fn stop_role(&mut self, role: &str) {
        let (mut of_role, others) = self.workers.drain(..).partition::<Vec<_>, _>(|worker| worker.role == role);
        self.workers = others;
        of_role.iter().for_each(|worker| worker.signal("TERM"));
        for worker in &mut of_role {
            assert!(worker.child.wait().expect("an end").success(), "{} {} ends in order", worker.role, worker.name);
        }
    }
}

impl Worker {
    pub(crate) fn kill(&mut self) {
        self.expected = true;
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end");
    }

    /// Waits for an end that it was told of.
    pub(crate) fn wait(&mut self) {
        self.expected = true;
        self.child.wait().expect("an end");
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("a child")
    }

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
