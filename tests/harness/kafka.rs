//! A real Apache Kafka for tests, brought by the project's own script; without it a test skips, and says so.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

/// A broker of one node; it is stopped when the last test that has it ends.
pub(crate) struct Kafka {
    folder: tempfile::TempDir,
    /// The data of the first node is on a small filesystem of its own.
    mounted: bool,
    pub(crate) bootstrap: String,
    /// Where clients are let in that come by a proxy.
    pub(crate) proxied: String,
    said: Value,
    more: Vec<String>,
    pids: Mutex<Vec<u32>>,
}

/// A record to produce.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) partition: i32,
    pub(crate) payload: Option<&'a [u8]>,
    /// Milliseconds since the epoch; `None` for now.
    pub(crate) timestamp: Option<i64>,
}

/// A record that was found.
pub(crate) struct Found {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());

impl Kafka {
    /// The broker that tests share.
    pub(crate) fn shared() -> Option<Arc<Kafka>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kafka) = shared.upgrade() {
            return Some(kafka);
        }
        let kafka = Arc::new(Kafka::own()?);
        *shared = Arc::downgrade(&kafka);
        Some(kafka)
    }

    /// One of the test's own, to be killed and stopped.
    pub(crate) fn own() -> Option<Kafka> {
        Kafka::own_with(&[])
    }

    /// The same, started with more arguments.
    pub(crate) fn own_with(more: &[&str]) -> Option<Kafka> {
        if !script(&["fetch"]).is_some_and(|fetched| fetched.status.success()) {
            assert!(std::env::var_os("REQUIRE_SERVICES").is_none(), "Kafka is required and not there: make services");
            eprintln!("SKIPPED: Kafka is not there; `.ci/services fetch` says why");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
        let mounted = more.iter().any(|argument| argument == "--nodes") && mount(&folder.path().join("kafka/data-1"));
        let mut kafka =
            Kafka { folder, mounted, bootstrap: String::new(), proxied: String::new(), said: Value::Null, more, pids: Mutex::default() };
        let said = kafka.start();
        kafka.bootstrap = said["bootstrap"].as_str().expect("an address").to_owned();
        kafka.proxied = said["proxied"].as_str().unwrap_or_default().to_owned();
        kafka.said = said;
        Some(kafka)
    }

    /// What a start with `--secure` has told: listeners, a user, and files of certificates.
    pub(crate) fn told(&self, what: &str) -> &str {
        self.said[what].as_str().unwrap_or_else(|| panic!("no {what} in {}", self.said))
    }

    /// Starts it, again on the same ports with the same data if it was there before.
    pub(crate) fn start(&self) -> Value {
        let data = self.data();
        let arguments: Vec<&str> =
            ["kafka", data.to_str().expect("text")].into_iter().chain(self.more.iter().map(String::as_str)).collect();
        let started = script(&arguments).expect("the script");
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let said: Value = serde_json::from_slice(&started.stdout).expect("a line of JSON");
        let pids = said["pids"].as_array().expect("pids").iter().map(|pid| pid.as_u64().expect("a pid") as u32).collect();
        *self.pids.lock().unwrap_or_else(PoisonError::into_inner) = pids;
        said
    }

    /// Sends a signal to the broker: KILL, STOP, CONT.
    pub(crate) fn signal(&self, signal: &str) {
        for pid in self.pids.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let told = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().expect("kill");
            assert!(told.success(), "kill -{signal} {pid}");
        }
    }

    /// How many nodes it has.
    pub(crate) fn nodes(&self) -> usize {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sends a signal to one of its nodes, if it is still there.
    pub(crate) fn signal_one(&self, node: usize, signal: &str) {
        let pid = self.pids.lock().unwrap_or_else(PoisonError::into_inner)[node];
        let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(std::process::Stdio::null()).status();
    }

    /// Takes all room that is left for the data of the first node; returns what to remove to give it back, if it can be taken.
    pub(crate) fn fill(&self) -> Option<PathBuf> {
        use std::io::Write;
        let path = self.data().join("data-1/ballast");
        let mut file = self.mounted.then(|| std::fs::File::create(&path).expect("a file"))?;
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Some(path)
    }

    /// Ends the broker in order.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
        let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // One that has ended may wait for its parent to look.
        let runs = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        until("the broker's end", || !pids.iter().any(runs));
    }

    /// Where a group stands in each partition of a topic; -1 where nothing was committed.
    pub(crate) fn positions(&self, group: &str, topic: &str) -> Option<Vec<i64>> {
        let consumer: BaseConsumer = self.config().set("group.id", group).set("isolation.level", "read_committed").create().ok()?;
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
        let mut list = TopicPartitionList::new();
        metadata.topics()[0].partitions().iter().for_each(|partition| {
            list.add_partition(topic, partition.id());
        });
        let found = consumer.committed_offsets(list, Duration::from_secs(5)).ok()?;
        Some(found.elements().iter().map(|element| element.offset().to_raw().filter(|at| *at >= 0).unwrap_or(-1)).collect())
    }

    /// The end of each partition of a topic for readers of an isolation level.
    pub(crate) fn ends(&self, topic: &str, isolation: &str) -> Option<Vec<i64>> {
        let consumer: BaseConsumer = self.config().set("isolation.level", isolation).create().ok()?;
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
        let partitions = metadata.topics()[0].partitions();
        let end = |partition: i32| consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).ok().map(|(_, end)| end);
        partitions.iter().map(|partition| end(partition.id())).collect()
    }

    /// Whether each transaction on a topic has ended, with its mark written: until then a broker that is killed may leave it hanging.
    pub(crate) fn is_settled(&self, topic: &str) -> bool {
        let stable = self.ends(topic, "read_committed");
        stable.is_some() && stable == self.ends(topic, "read_uncommitted")
    }

    /// Where its nodes have logged that they wrote no mark for a transaction of that prefix, as nobody led its partitions at that moment.
    pub(crate) fn lost_marks(&self, prefix: &str) -> Vec<String> {
        let lost = |line: &&str| line.contains("Couldn't find leader endpoint") && line.contains(prefix);
        self.logs().iter().flat_map(|(_, log)| log.lines().filter(lost).map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn logs(&self) -> Vec<(PathBuf, String)> {
        let Ok(files) = std::fs::read_dir(self.data()) else { return Vec::new() };
        let paths = files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|ending| ending == "log"));
        paths.map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap_or_default())).collect()
    }

    /// The last that its nodes have logged, for who looks into a test that has failed.
    fn tell(&self) {
        for (path, log) in self.logs() {
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}:\n{}", path.display(), lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("kafka")
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("reconnect.backoff.max.ms", "500").set("message.max.bytes", "20000000");
        config
    }

    /// Makes a topic.
    pub(crate) fn make_topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(if self.nodes() > 1 { 3 } else { 1 }))
            .set("max.message.bytes", "20000000");
        // A clock that is wrong is for floodmark to judge, not for the broker.
        let topic = topic.set("message.timestamp.after.max.ms", "9223372036854775807");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("an answer");
        made.into_iter().for_each(|result| assert!(result.is_ok(), "{result:?}"));
    }

    /// Deletes what a partition has before an offset, as retention does.
    pub(crate) fn cut(&self, topic: &str, partition: i32, before: i64) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("a partition");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let cut = runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).expect("an answer");
        assert!(cut.elements().iter().all(|element| element.error().is_ok()), "{cut:?}");
    }

    /// Keys and values of all records of a topic that committed transactions left, partition by partition.
    pub(crate) fn committed(&self, topic: &str) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        self.records(topic, "read_committed").into_iter().map(|found| (text(found.key), text(found.value))).collect()
    }

    /// All records of a topic as readers of an isolation level see them, partition by partition.
    pub(crate) fn records(&self, topic: &str, isolation: &str) -> Vec<Found> {
        let mut config = self.config();
        config.set("group.id", "verifier").set("isolation.level", isolation).set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.set("auto.offset.reset", "error").create().expect("a client");
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).expect("an answer");
        let mut list = TopicPartitionList::new();
        let mut left: Vec<i32> = metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect();
        for partition in &left {
            list.add_partition_offset(topic, *partition, Offset::Beginning).expect("a partition");
        }
        consumer.assign(&list).expect("an assignment");
        let (began, mut all) = (Instant::now(), Vec::new());
        while !left.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(60), "{topic} is read to its end");
            let Some(polled) = consumer.poll(Duration::from_secs(1)) else { continue };
            match polled {
                Ok(record) => {
                    let bytes = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
                    let (key, value) = (bytes(record.key()), bytes(record.payload()));
                    all.push(Found { partition: record.partition(), offset: record.offset(), key, value });
                }
                Err(KafkaError::PartitionEOF(partition)) => left.retain(|of| *of != partition),
                Err(error) => eprintln!("{error}"),
            }
        }
        all.sort_by_key(|found| (found.partition, found.offset));
        all
    }

    /// Begins a transaction under an id, with a record on a topic that somebody else uses.
    pub(crate) fn begin(&self, id: &str, topic: &str) -> BaseProducer {
        let producer: BaseProducer = self.config().set("transactional.id", id).create().expect("a producer");
        producer.init_transactions(Duration::from_secs(20)).expect("an answer");
        producer.begin_transaction().expect("a transaction");
        let sent = producer.send(BaseRecord::to(topic).partition(0).key("other").payload("0"));
        assert!(sent.is_ok(), "{:?}", sent.err());
        producer.flush(Duration::from_secs(20)).expect("it is there");
        producer
    }

    /// Appends records, in this order in each partition, and waits until the broker has them. Nobody else may write to the topic meanwhile.
    pub(crate) fn produce<'a>(&self, topic: &str, records: impl IntoIterator<Item = Record<'a>>) {
        let records: Vec<Record<'a>> = records.into_iter().collect();
        let ends = || {
            let mut ends = Vec::new();
            until("the topic's ends", || {
                ends = self.ends(topic, "read_uncommitted").unwrap_or_default();
                !ends.is_empty()
            });
            ends
        };
        let before = ends();
        let Err(stuck) = self.try_produce(topic, records.iter().copied()) else { return };
        // A client of ours may forget its only broker where that is killed (librdkafka issue 5301): another goes on behind what has come.
        eprintln!("records are not taken, and another client sends the rest: {stuck}");
        let mut there: Vec<i64> = ends().iter().zip(&before).map(|(end, before)| end - before).collect();
        let mut is_there = |record: &Record<'a>| {
            let left = &mut there[record.partition as usize];
            *left -= 1;
            *left >= 0
        };
        let rest: Vec<Record<'a>> = records.into_iter().filter(|record| !is_there(record)).collect();
        self.try_produce(topic, rest).expect("every record is there");
    }

    fn try_produce<'a>(&self, topic: &str, records: impl IntoIterator<Item = Record<'a>>) -> KafkaResult<()> {
        let mut config = self.config();
        config.set("enable.idempotence", "true").set("linger.ms", "5").set("queue.buffering.max.messages", "1000000");
        let producer: BaseProducer = config.create().expect("a producer");
        for Record { partition, payload, timestamp } in records {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition);
            record.payload = payload;
            record.timestamp = timestamp;
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                producer.poll(Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(Duration::from_secs(60))
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let _ = script(&["stop", self.data().to_str().unwrap_or_default()]);
        if self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(self.data().join("data-1")).status();
        }
    }
}

/// A small filesystem in memory, which can be filled. Only root may.
fn mount(at: &std::path::Path) -> bool {
    std::fs::create_dir_all(at).expect("a folder");
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=600m", "none"]).arg(at).stderr(std::process::Stdio::null()).status();
    mount.is_ok_and(|status| status.success())
}

fn script(arguments: &[&str]) -> Option<std::process::Output> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".ci/services");
    Command::new(path).args(arguments).output().ok()
}

/// Waits until something is so; fails with what was wanted after two minutes.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(120), "waited for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
