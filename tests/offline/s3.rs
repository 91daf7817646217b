//! The offline store in a bucket is the one in a folder: written, killed and read again, over a server that speaks S3.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::python;
use crate::crash::{DEFINITIONS, write_payments};
use crate::flight::write_spine;
use crate::follow::new_definitions;
use crate::harness::real::{batches, text};

/// A server of S3 that keeps its buckets in memory.
struct S3 {
    child: Child,
    address: String,
}

impl S3 {
    fn start(python: &str) -> S3 {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let child = Command::new(python)
            .args(["-m", "moto.server", "--host", "127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python");
        let s3 = S3 { child, address: format!("127.0.0.1:{port}") };
        let began = Instant::now();
        while !s3.makes_bucket() {
            assert!(began.elapsed() < Duration::from_secs(60), "no S3 at {}", s3.address);
            std::thread::sleep(Duration::from_millis(50));
        }
        s3
    }

    fn makes_bucket(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.address) else { return false };
        let asked = write!(stream, "PUT /bucket HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", self.address);
        let mut answer = String::new();
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    }

    /// The floodmark command, as a user of a bucket would call it.
    fn floodmark(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_floodmark"));
        command.args(arguments).env("AWS_ENDPOINT", format!("http://{}", self.address)).env("AWS_ALLOW_HTTP", "true");
        command.env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", "nobody").env("AWS_SECRET_ACCESS_KEY", "none");
        command
    }

    fn run(&self, arguments: &[&str]) {
        let run = self.floodmark(arguments).output().expect("the floodmark command");
        assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_bucket_is_as_good_as_a_folder() {
    let Some(python) = python("s3", "tests/offline/s3.txt") else { return };
    let s3 = S3::start(&python);
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| text(&home.path().join(name));
    write_payments(&home.path().join("all.jsonl"));
    let all = std::fs::read_to_string(at("all.jsonl")).expect("lines");
    let lines: Vec<&str> = all.lines().take(60_000).collect();
    std::fs::write(at("payments.jsonl"), lines.join("\n") + "\n").expect("lines");
    std::fs::write(at("old.yaml"), DEFINITIONS).expect("definitions");
    std::fs::write(at("new.yaml"), new_definitions()).expect("definitions");
    write_spine(&home.path().join("spine.parquet"));
    let input = format!("payments={}", at("payments.jsonl"));
    let replay = |definitions: &str, store: &str, place: &str| {
        ["replay", "--json", "--offline-interval", "1", "--definitions", definitions, "--store", store, "--offline", place, &input]
            .map(str::to_owned)
    };
    let (folder, bucket) = (at("folder"), "s3://bucket/payments".to_owned());
    s3.run(&replay(&at("old.yaml"), &at("quiet"), &folder).each_ref().map(String::as_str));

    let began = Instant::now();
    s3.run(&replay(&at("old.yaml"), &at("first"), "s3://bucket/first").each_ref().map(String::as_str));
    let whole = began.elapsed().as_millis() as u64;
    let killed = replay(&at("old.yaml"), &at("killed"), &bucket);
    for part in [8, 4, 3, 2] {
        let mut command = s3.floodmark(&killed.each_ref().map(String::as_str));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the floodmark command");
        std::thread::sleep(Duration::from_millis(whole / part));
        child.kill().expect("a kill");
        let ended = child.wait().expect("an end").success();
        eprintln!("after {} of {whole} ms: {}", whole / part, if ended { "it had ended" } else { "killed" });
    }
    s3.run(&killed.each_ref().map(String::as_str));
    // Old views and a new one, from either place; and the new one taken into the store, from the bucket.
    let made = |from: &[&str], service: &str, name: &str| {
        let (spine, out) = (at("spine.parquet"), at(name));
        let of = ["training-set", "--service", service, "--time", "at", "--spine", &spine, "--out", &out, "--definitions"];
        s3.run(&[&of[..], &[&at("new.yaml")], from].concat());
        batches(&home.path().join(name))
    };
    for service in ["all", "new"] {
        let (here, there) = (made(&["--offline", &folder], service, "here"), made(&["--offline", &bucket], service, "there"));
        assert_eq!(here, there, "{service}");
    }
    let mut grown = replay(&at("new.yaml"), &at("killed"), &bucket).to_vec();
    grown.push("--backfill".to_owned());
    s3.run(&grown.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(made(&["--store", &at("killed")], "new", "grown"), made(&["--offline", &folder], "new", "here"), "a view that was added");
    s3.run(&["vacuum", "--definitions", &at("new.yaml"), "--offline", &bucket, "--keep-days", "7"]);
}
