//! What a worker writes to its log, standard error: what its clients complain of, once a minute, and when its partitions change.
//!
//! With `--json` each line is an object with `time`, `level`, `role`, `worker`, `message` and what the message is about; without, words.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use floodmark_ingest::clock;
use floodmark_ingest::kafka::pipeline::Done;
use serde_json::json;

use super::{Args, Role};
use crate::command::complaints::Complaints;

/// How often a worker is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The log of a worker.
pub(super) struct Journal {
    role: &'static str,
    worker: String,
    json: bool,
}

impl Journal {
    pub(super) fn new(args: &Args, json: bool) -> Journal {
        let role = if args.role == Role::Route { "route" } else { "apply" };
        Journal { role, worker: args.worker.clone(), json }
    }

    /// Looks for news, for ever.
    pub(super) async fn keep(&mut self, all: &[Arc<Done>]) {
        let mut seen: Vec<(Complaints, u64, u64, u64, u64)> = all.iter().map(|_| Default::default()).collect();
        loop {
            for (done, (complaints, rebalances, replaced, skipped, clients)) in all.iter().zip(&mut seen) {
                if let Some(message) = complaints.news(&done.status, Instant::now()) {
                    self.say("warn", &message, json!({}));
                }
                let now = done.rebalances.load(Ordering::Relaxed);
                if std::mem::replace(rebalances, now) != now {
                    self.say("info", "partitions have changed", json!({ "partitions": done.partitions.load(Ordering::Relaxed) }));
                }
                let now = done.skipped.load(Ordering::Relaxed);
                if std::mem::replace(skipped, now) != now {
                    self.say("warn", "the topic no longer has records that were not read: passed over", json!({ "skipped": now }));
                }
                let now = done.status.replaced();
                if std::mem::replace(clients, now) != now {
                    self.say("warn", "Kafka clients were replaced: they had no broker, or did not come back", json!({ "replaced": now }));
                }
                let now = done.rebuilds.load(Ordering::Relaxed);
                if std::mem::replace(replaced, now) != now {
                    self.say(
                        "warn",
                        "a producer was replaced: what became of its last transaction is looked up",
                        json!({ "replaced": now }),
                    );
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn say(&self, level: &str, message: &str, about: serde_json::Value) {
        let time = clock::now().to_string();
        if !self.json {
            let about = about.as_object().into_iter().flatten().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
            return eprintln!("{time} {level} {} {}: {message}{about}", self.role, self.worker);
        }
        let mut line = json!({ "time": time, "level": level, "role": self.role, "worker": self.worker, "message": message });
        if let (Some(line), Some(about)) = (line.as_object_mut(), about.as_object()) {
            line.extend(about.clone());
        }
        eprintln!("{line}");
    }
}
