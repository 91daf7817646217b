//! A topic whose retention has taken records before route had read them: route stops and says so, or goes on without them if it is told
//! to, and what becomes of the rest is what the embedded store makes of it.

use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::engine::EnginePlan;
use floodmark_features::feature_log::decode_batch;

use super::world::World;
use super::{embed, embedded, kept, online, sent};
use crate::crash::{DEFINITIONS, write_payments};
use crate::harness::kafka::{Kafka, Record, until};
use crate::harness::redis::Redis;

/// Records that are read, then those that are lost, then those that are read again.
const READ: usize = 20_000;
const LOST: usize = 5_000;
const AFTER: usize = 20_000;
/// In the end all that was not read is lost, and nothing comes after it.
const LOST_AT_THE_END: usize = 1_000;

#[test]
fn records_that_are_gone_before_they_are_read_stop_route_or_are_passed_over() {
    let (Some(kafka), Some(redis)) = (Kafka::shared(), Redis::start(None)) else { return };
    let mut world = World::new(&kafka, &redis, "lost", DEFINITIONS, "payments");
    let file = world.home().join("payments.jsonl");
    write_payments(&file);
    let payments = std::fs::read_to_string(&file).expect("payments");
    let lines: Vec<&str> = payments.lines().collect();
    let produce = |from: usize, many: usize| {
        let records = lines[from..from + many].iter();
        kafka.produce("lost-in", records.map(|line| Record { partition: 0, payload: Some(line.as_bytes()), timestamp: None }));
    };
    kafka.make_topic("lost-in", 1);
    produce(0, READ);
    let store = world.home().join("store");
    let input = format!("payments=kafka://{}/lost-in?lost=skip", kafka.bootstrap);
    embed(&world, &store, &input, READ as u64);
    world.route("a", &["lost-in"]);
    world.apply("a");
    world.until_taken("spend", READ as u64);
    let refused = world.sum("floodmark_pipeline_rejected_total");
    world.workers[0].signal("TERM");
    world.workers[0].wait();
    world.workers.remove(0);

    produce(READ, LOST + AFTER);
    kafka.cut("lost-in", 0, (READ + LOST) as i64);
    world.route("a", &["lost-in"]);
    until("route to stop", || world.workers[1].ended().is_some());
    let said = world.log_of(1);
    let why = format!("partition=lost-in-0 next={READ} oldest={}; for a source topic, add ?lost=skip to go on without them", READ + LOST);
    assert!(!world.workers[1].ended().expect("an end").success() && said.contains(&why), "{said}");
    world.workers.remove(1);

    world.route("a", &["lost-in?lost=skip"]);
    let skipped = "floodmark_pipeline_skipped_total";
    world.until_taken("spend", READ as u64 + AFTER as u64 - refused);
    assert_eq!(world.sum(skipped), LOST as u64);
    until("a word of it", || world.log_of(1).contains(&format!("\"skipped\":{LOST}")));
    embed(&world, &store, &input, (READ + AFTER) as u64);
    world.workers[1].signal("TERM");
    world.workers[1].wait();
    world.workers.remove(1);

    produce(READ + LOST + AFTER, LOST_AT_THE_END);
    let end = READ + LOST + AFTER + LOST_AT_THE_END;
    kafka.cut("lost-in", 0, end as i64);
    world.route("a", &["lost-in?lost=skip"]);
    until("the end of the partition", || world.sum(skipped) == LOST_AT_THE_END as u64);
    until("its position", || kafka.positions("lost.route.payments", "lost-in") == Some(vec![end as i64]));
    world.stop_all();
    assert_eq!(hole_free(&kafka), end);
    assert!(online(&redis, "lost") == embedded(&store), "answers");
    for (command, topic, least) in [("late", "lost.late", 300), ("windows", "lost.windows", 5_000), ("rejects", "lost.rejects", 5)] {
        let (kept, sent) = (kept(&store, command), sent(&kafka, topic));
        eprintln!("{topic}: {} kept, {} sent", kept.len(), sent.len());
        assert!(kept.len() > least && kept == sent, "{topic}");
    }
}

/// Where the batches of the source partition end in the log: in each of its partitions each begins where the one before has ended.
fn hole_free(kafka: &Kafka) -> usize {
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let plan = EnginePlan::new(definitions);
    let mut ends = [0; 4];
    for found in kafka.records("lost.log", "read_committed") {
        let offsets = decode_batch(&plan, &found.value).expect("a batch").head.offsets;
        let end = &mut ends[found.partition as usize];
        assert_eq!(std::mem::replace(end, offsets.end), offsets.start, "log partition {}", found.partition);
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    ends[0] as usize
}
