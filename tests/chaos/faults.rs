//! What fails: workers, serving, the broker, Redis and its room, the network. Everything is healed before a round is judged.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::proxy::Proxy;
use crate::crash::Chance;
use crate::harness::kafka::Kafka;
use crate::harness::redis::Redis;
use crate::pipeline::world::World;

/// Longer than the session and the transaction of a worker may last.
const BEYOND: Duration = Duration::from_millis(5_500);

/// The faults of a round.
pub(super) struct Faults<'a> {
    kafka: &'a Kafka,
    proxy: &'a Proxy,
    redis: &'a Redis,
    shape: Option<&'static str>,
    chance: Chance,
    serving: Option<Child>,
    /// A master that is gone stays so: one of a round.
    failed_over: bool,
    /// What was done.
    pub(super) log: Vec<String>,
    /// Workers that ended by themselves without a reason.
    pub(super) unexpected: Vec<String>,
    twins: usize,
    pub(super) broker_may_fail: bool,
    /// One kind of fault and no other, to look at it.
    only: Option<u64>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(kafka: &'a Kafka, proxy: &'a Proxy, redis: &'a Redis, shape: Option<&'static str>, seed: u64) -> Faults<'a> {
        let chance = Chance(seed ^ 0x1111);
        let (log, unexpected) = (Vec::new(), Vec::new());
        Faults {
            kafka,
            proxy,
            redis,
            shape,
            chance,
            serving: None,
            failed_over: false,
            log,
            unexpected,
            twins: 0,
            broker_may_fail: true,
            only: super::setting("FLOODMARK_CHAOS_ONLY"),
        }
    }

    /// One fault; most are over when this returns.
    pub(super) fn strike(&mut self, world: &mut World) {
        self.revive(world);
        let worker = self.chance.below(world.workers.len() as u64) as usize;
        let (role, name) = (world.workers[worker].role, world.workers[worker].name.clone());
        let mut kind = self.only.unwrap_or_else(|| self.chance.below(16));
        if !self.broker_may_fail && matches!(kind, 7 | 8 | 11) {
            kind = 9;
        }
        let done = match kind {
            7..12 if self.kafka.nodes() > 1 => self.fail_a_node(kind),
            0..3 => {
                world.workers[worker].kill();
                format!("killed {role} {name}")
            }
            3 => {
                // Another takes over, and the dead one comes back much later.
                world.workers[worker].signal("STOP");
                std::thread::sleep(BEYOND);
                world.workers[worker].signal("CONT");
                format!("stopped {role} {name} beyond all times, then let it go on")
            }
            4 => {
                world.workers[worker].signal("STOP");
                std::thread::sleep(Duration::from_millis(self.chance.below(2_000)));
                world.workers[worker].signal("CONT");
                format!("stopped {role} {name} for a moment")
            }
            5 => {
                world.twin(worker);
                self.twins += 1;
                format!("started another {role} {name}")
            }
            6 => {
                world.workers[worker].signal("TERM");
                world.workers[worker].wait();
                format!("ended {role} {name}")
            }
            7 => {
                self.kafka.signal("KILL");
                std::thread::sleep(Duration::from_millis(self.chance.below(1_500)));
                self.kafka.start();
                "killed the broker".to_owned()
            }
            8 => {
                let still = Duration::from_millis(self.chance.below(6_000));
                self.kafka.signal("STOP");
                std::thread::sleep(still);
                self.kafka.signal("CONT");
                format!("stopped the broker for {still:.1?}")
            }
            9 => {
                let long = self.chance.below(2) == 0;
                let length = if long { BEYOND } else { Duration::from_millis(self.chance.below(1_500)) };
                self.proxy.cut();
                std::thread::sleep(length);
                self.proxy.go_on();
                format!("cut the network for {length:.1?}")
            }
            10 => {
                let length = if self.chance.below(2) == 0 { BEYOND } else { Duration::from_millis(self.chance.below(1_500)) };
                self.proxy.stand_still();
                std::thread::sleep(length);
                self.proxy.go_on();
                format!("let the network stand still for {length:.1?}")
            }
            11 => {
                self.kafka.terminate();
                self.kafka.start();
                "restarted the broker".to_owned()
            }
            12 => self.serve_and_kill(world),
            13 => self.fill_redis(),
            _ => self.lose_redis(),
        };
        self.log.push(done);
    }

    /// Starts again who was killed. A twin ends by itself, or its other does: one of a name is left.
    fn revive(&mut self, world: &mut World) {
        for at in 0..world.workers.len() {
            if let Some(status) = world.workers[at].ended() {
                let worker = &world.workers[at];
                if !worker.expected && self.twins == 0 {
                    self.unexpected.push(format!("{} {} ended by itself: {status}\n{}", worker.role, worker.name, world.log_of(at)));
                }
            }
        }
        world.workers.retain_mut(|worker| worker.ended().is_none());
        for (role, name) in [("route", "a"), ("route", "b"), ("apply", "a"), ("apply", "b")] {
            if !world.workers.iter().any(|worker| (worker.role, worker.name.as_str()) == (role, name)) {
                world.start_again(role, name);
            }
        }
    }

    pub(super) fn heal(&mut self, world: &mut World) {
        self.proxy.go_on();
        // Two of a name fight while there is something to commit, until one gives up and says so. By now there may be nothing left.
        let began = Instant::now();
        while world.has_twins() && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(200));
            world.workers.retain_mut(|worker| worker.ended().is_none());
        }
        world.end_a_twin();
        self.revive(world);
        if let Some(mut serving) = self.serving.take() {
            let _ = serving.kill();
            let _ = serving.wait();
        }
    }

    /// One of several nodes of Kafka is killed, stands still, or has no room left; the others go on.
    fn fail_a_node(&mut self, kind: u64) -> String {
        let node = self.chance.below(self.kafka.nodes() as u64) as usize;
        let length = Duration::from_millis(self.chance.below(5_000));
        match kind {
            7 | 8 => {
                self.kafka.signal_one(node, "KILL");
                std::thread::sleep(length);
                self.kafka.start();
                format!("killed node {node} of Kafka")
            }
            9 => {
                self.kafka.signal_one(node, "STOP");
                std::thread::sleep(length);
                self.kafka.signal_one(node, "CONT");
                format!("stopped node {node} of Kafka for {length:.1?}")
            }
            _ => {
                let Some(ballast) = self.kafka.fill() else { return "SKIPPED: only root can fill a disk".to_owned() };
                std::thread::sleep(Duration::from_millis(3_000) + length);
                self.kafka.signal_one(0, "KILL");
                std::thread::sleep(Duration::from_millis(300));
                std::fs::remove_file(ballast).expect("room");
                self.kafka.start();
                "filled the disk of a node of Kafka until it was gone".to_owned()
            }
        }
    }

    /// A serving node has no state: another one answers at once.
    fn serve_and_kill(&mut self, world: &World) -> String {
        if let Some(mut serving) = self.serving.take() {
            let _ = serving.kill();
            let _ = serving.wait();
        }
        let child = Command::new(env!("CARGO_BIN_EXE_floodmark"))
            .args(["serve", "--listen", "127.0.0.1:0", "--threads", "1", "--online", &world.redis_url, "--online-name", &world.prefix])
            .arg("--definitions")
            .arg(world.definitions())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.serving = child.ok();
        "killed and started serving".to_owned()
    }

    fn masters(&self) -> Vec<String> {
        let nodes = self.redis.nodes();
        match self.shape {
            Some("--sentinel") => vec![master_of(self.redis, &nodes[0])],
            _ => nodes.into_iter().filter(|node| self.redis.info(node, "role").as_deref() == Some("master")).collect(),
        }
    }

    /// Redis refuses writes for want of memory.
    fn fill_redis(&mut self) -> String {
        let masters = self.masters();
        masters.iter().for_each(|node| drop(self.redis.ask(node, &["CONFIG", "SET", "maxmemory", "1mb"])));
        std::thread::sleep(Duration::from_millis(self.chance.below(2_000)));
        masters.iter().for_each(|node| drop(self.redis.ask(node, &["CONFIG", "SET", "maxmemory", "0"])));
        "took the memory of redis".to_owned()
    }

    /// Redis forgets what it had acknowledged: some of it, or all.
    fn lose_redis(&mut self) -> String {
        match self.shape {
            Some("--sentinel") if !self.failed_over => self.fail_over(),
            Some("--cluster") if !self.failed_over => {
                let masters = self.masters();
                let at = self.chance.below(masters.len() as u64) as usize;
                if let Some(process) = self.redis.info(&masters[at], "process_id") {
                    self.redis.signal(&process, "-KILL");
                    self.failed_over = true;
                }
                "killed a node of the cluster".to_owned()
            }
            Some(_) => "left redis alone".to_owned(),
            None => {
                let node = self.redis.nodes().remove(0);
                if self.chance.below(3) == 0 {
                    self.redis.ask(&node, &["FLUSHALL"]);
                    return "redis lost everything".to_owned();
                }
                self.redis.ask(&node, &["SAVE"]);
                std::thread::sleep(Duration::from_millis(self.chance.below(1_500)));
                self.redis.ask(&node, &["DEBUG", "RELOAD", "NOSAVE"]);
                "redis went back to what it had been".to_owned()
            }
        }
    }

    /// The replica stands still for a while, its master dies, and it takes over without the last of what was acknowledged.
    fn fail_over(&mut self) -> String {
        let sentinel = self.redis.nodes().remove(0);
        let master = master_of(self.redis, &sentinel);
        let port = self.redis.info(&master, "slave0").and_then(|told| Some(told.split("port=").nth(1)?.split(',').next()?.to_owned()));
        let Some(port) = port else { return "found no replica".to_owned() };
        let processes = [master.clone(), format!("127.0.0.1:{port}")].map(|node| self.redis.info(&node, "process_id"));
        let [Some(old), Some(new)] = processes else { return "found no replica".to_owned() };
        self.redis.signal(&new, "-STOP");
        self.redis.ask(&master, &["CLIENT", "KILL", "TYPE", "replica"]);
        std::thread::sleep(Duration::from_millis(300 + self.chance.below(700)));
        self.redis.signal(&old, "-KILL");
        self.redis.signal(&new, "-CONT");
        self.failed_over = true;
        "redis failed over and lost the last".to_owned()
    }
}

fn master_of(redis: &Redis, sentinel: &str) -> String {
    let answer = redis.ask(sentinel, &["SENTINEL", "get-master-addr-by-name", "floodmark"]).expect("the sentinel");
    let lines: Vec<&str> = answer.lines().collect();
    format!("{}:{}", lines[2], lines[4])
}
