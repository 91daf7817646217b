//! One worker of each role, and a serving node.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::broker::Kafka;
use super::redis::Redis;

/// A pipeline from a topic to answers.
pub(super) struct Pipe {
    children: Vec<Child>,
    pub(super) grpc: String,
    apply: String,
}

impl Pipe {
    /// `options` are for route.
    pub(super) fn start(kafka: &Kafka, redis: &Redis, prefix: &str, topic: &str, options: &[&str]) -> Pipe {
        let (pipeline, url) = (format!("kafka://{}/{prefix}", kafka.bootstrap), redis.url());
        let ingest = ["ingest", "--worker", "a", "--http", "127.0.0.1:0", "--pipeline", &pipeline];
        let input = format!("transactions=kafka://{}/{topic}", kafka.bootstrap);
        let online = ["--online", &url, "--online-name", prefix];
        let (route, _) = spawn(&[&ingest[..], &["--role", "route", &input], options].concat()).unwrap();
        let (apply, said) = spawn(&[&ingest[..], &["--role", "apply"], &online[..]].concat()).unwrap();
        let http = said["http"].as_str().unwrap().to_owned();
        // There is nothing to serve before apply has begun.
        let serving = ["serve", "--listen", "127.0.0.1:0", "--threads", "1", "--online-patience", "1000"];
        let (serve, said) = loop {
            if let Some(started) = spawn(&[&serving[..], &online[..]].concat()) {
                break started;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Pipe { children: vec![route, apply, serve], grpc: format!("http://{}", said["grpc"].as_str().unwrap()), apply: http }
    }

    /// Until so many events are applied; what tells of it is up to a second old.
    pub(super) fn until_read(&self, events: u64) {
        let name = "floodmark_pipeline_view_events{view=\"customer_spend\",outcome=\"accepted\"} ";
        loop {
            let mut stream = TcpStream::connect(&self.apply).unwrap();
            write!(stream, "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).unwrap();
            let read = page.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok()).unwrap_or(0.0);
            if read as u64 >= events {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(super) fn kill(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A process and the first line that it prints; `None` if it ends before.
fn spawn(arguments: &[&str]) -> Option<(Child, serde_json::Value)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_floodmark"))
        .args(arguments)
        .arg("--json")
        .arg("--definitions")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fraud/floodmark.yaml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    match serde_json::from_str(&line) {
        Ok(said) => Some((child, said)),
        Err(_) => {
            child.wait().unwrap();
            None
        }
    }
}
