//! A feature log applied to Redis: what Redis loses is seen at the next write, whoever was replaced writes nothing, and a round that was cut
//! off leaves nothing behind.

use std::path::Path;
use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::engine::EnginePlan;
use floodmark_features::feature_log::{Activity, BatchHead, RoutedBatch, decode_batch, encode_batch};
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode};
use floodmark_features::time::{Span, Time};
use floodmark_features::value::ValueRef;
use floodmark_features::watermark::SourceProgress;
use floodmark_ingest::source;
use floodmark_intake::router::Router;
use floodmark_store::redis::{Applier, LogRecord, Reader};

use crate::chaos::verifier::for_each_ask;
use crate::crash::{Chance, DEFINITIONS};
use crate::harness::redis::Redis;

/// The records of a log of one partition.
fn log(plan: &Arc<EnginePlan>) -> Vec<RoutedBatch> {
    let home = tempfile::tempdir().expect("a directory");
    let definition = &plan.definitions.sources[0];
    let router = Router::new(plan.clone(), 0, 1, SourceProgress::new(definition.max_out_of_orderness));
    let (required, mut router) = (router.required(), router.alone(0));
    router.progress_mut().open("in-0");
    let lines = crate::chaos::payments(&mut Chance(7), 1);
    let (mut batches, mut from) = (Vec::new(), 0);
    for (at, part) in lines.chunks(lines.len() / 9).enumerate() {
        let batch = read(home.path(), &part.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), from, definition, &required);
        let before = router.progress().watermark_of(0);
        let commit = router.route(&batch, 0, Time::from_micros(1_800_000_000_000_000));
        let head = BatchHead {
            definitions: 1,
            source: 0,
            topic: "in".to_owned(),
            partition: 0,
            partitions: 1,
            offsets: from..batch.end,
            stamp: 1_000 + at as u64,
            before,
            watermark: router.progress().watermark_of(0),
            activity: Activity::Active,
        };
        let mut bytes = Vec::new();
        encode_batch(plan, &head, &commit.trail, &commit.partitions[0], &mut bytes);
        batches.push(decode_batch(plan, &bytes).expect("a batch"));
        from = batch.end;
    }
    batches
}

/// Lines as records of a topic, from an offset on.
fn read(
    home: &Path,
    lines: &[&str],
    from: u64,
    definition: &floodmark_features::definition::Source,
    required: &[usize],
) -> floodmark_intake::batch::SourceBatch {
    let path = home.join("lines.jsonl");
    std::fs::write(&path, lines.join("\n") + "\n").expect("a file");
    let mut batch = source::open(&path, definition, 0, required).expect("a file").next_batch().expect("lines").expect("some");
    batch.offsets = floodmark_intake::offsets::Offsets::List(batch.offsets.iter().map(|offset| from + offset).collect());
    batch.rejects.iter_mut().for_each(|reject| reject.offset += from);
    batch.end += from;
    batch
}

/// Applies some records, and writes; the partitions that were lost.
fn apply(applier: &mut Applier, log: &[RoutedBatch], which: std::ops::Range<usize>) -> Vec<usize> {
    let record = |offset: usize| LogRecord { partition: 0, offset: offset as u64, batch: log[offset].clone() };
    let mut records: Vec<LogRecord> = which.map(record).collect();
    applier.apply(&mut records).expect("applied");
    applier.write().expect("an answer")
}

fn answers(redis: &Redis, name: &str, definitions: &Arc<Definitions>) -> Vec<Answer> {
    let reader = Reader::open(redis.settings(name), definitions.clone()).expect("a reader");
    let (lookup, mut all) = (Lookup::of_service(definitions.clone(), 0), Vec::new());
    for_each_ask(&mut |ask| all.push(reader.read(&lookup, &[*ask]).pop().expect("one").expect("an answer")));
    all
}

#[test]
fn what_redis_loses_and_who_is_replaced_is_seen_at_the_next_write() {
    let Some(redis) = Redis::start(None) else { return };
    let definitions = Arc::new(Definitions::parse("definitions.yaml", DEFINITIONS).expect("definitions"));
    let plan = Arc::new(EnginePlan::new(definitions.clone()));
    let log = log(&plan);
    // Timelines do not fit into memory, so they are read back all the time.
    for (name, memory) in [("roomy", usize::MAX), ("narrow", 100_000)] {
        let open = || Applier::open(&redis.settings(name), plan.clone(), 1, 42, memory).expect("an applier");
        let node = redis.nodes().remove(0);
        let mut first = open();
        assert_eq!(first.take_over(0).expect("taken"), 0);
        assert!(apply(&mut first, &log, 0..2).is_empty() && apply(&mut first, &log, 2..3).is_empty());
        redis.ask(&node, &["SAVE"]).expect("an answer");
        assert!(apply(&mut first, &log, 3..5).is_empty());
        redis.ask(&node, &["DEBUG", "RELOAD", "NOSAVE"]).expect("an answer");
        // With little memory the loss may be seen while reading.
        let lost = first.apply(&mut [LogRecord { partition: 0, offset: 5, batch: log[5].clone() }]);
        assert!(lost.is_err() || first.write().expect("an answer") == [0], "what is built upon is gone");
        assert_eq!(first.take_over(0).expect("taken"), 3, "Redis is where it was saved");
        assert!(apply(&mut first, &log, 3..6).is_empty());
        // Another one takes over: the first writes nothing any more, and what it has in memory counts for nothing.
        first.apply(&mut [LogRecord { partition: 0, offset: 6, batch: log[6].clone() }]).expect("applied");
        let mut second = open();
        assert_eq!(second.take_over(0).expect("taken"), 6);
        assert_eq!(first.write().expect("an answer"), [0], "it was replaced");
        // What was written already is passed over.
        assert!(apply(&mut second, &log, 4..8).is_empty());
        assert!(second.lost().expect("an answer").is_empty());
        redis.ask(&node, &["FLUSHALL"]).expect("an answer");
        assert_eq!(second.lost().expect("an answer"), [0], "nothing is left, and nothing came");
        assert_eq!(second.take_over(0).expect("taken"), 0);
        assert!(apply(&mut second, &log, 0..log.len()).is_empty());
        let quiet = format!("{name}-quiet");
        let mut undisturbed = Applier::open(&redis.settings(&quiet), plan.clone(), 1, 42, usize::MAX).expect("an applier");
        undisturbed.take_over(0).expect("taken");
        (0..log.len()).for_each(|at| assert!(apply(&mut undisturbed, &log, at..at + 1).is_empty()));
        assert!(answers(&redis, name, &definitions) == answers(&redis, &quiet, &definitions), "{name}");
        assert_eq!(second.states()[&0].counts, undisturbed.states()[&0].counts);
    }
}

#[test]
fn what_nobody_may_ask_for_goes_and_all_else_is_the_same() {
    let Some(redis) = Redis::start(None) else { return };
    let short = [("[1h, 1d, lifetime]", "[1h, lifetime]"), ("[1d]", "[1h]"), ("[12h]", "[1h, lifetime]"), ("tumbling: 6h", "tumbling: 1h")];
    let endless = short.iter().fold(DEFINITIONS.to_owned(), |text, (from, to)| text.replace(from, to));
    let ending = endless.replace("    allowed_lateness: 10m", "    allowed_lateness: 10m\n    retention: 1h");
    let node = redis.nodes().remove(0);
    let ask = |command: &[&str]| redis.ask(&node, command).expect("an answer");
    let (mut all, mut chunks, mut oldest) = (Vec::new(), Vec::new(), None);
    for (name, text) in [("endless", &endless), ("ending", &ending)] {
        let definitions = Arc::new(Definitions::parse("definitions.yaml", text).expect("definitions"));
        let plan = Arc::new(EnginePlan::new(definitions.clone()));
        let log = log(&plan);
        let [progress, windows] = ["p", "o"].map(|kind| format!("fm:{{{name}:0}}:{kind}"));
        // Each round has another applier, which reads back all that it needs, and every other one is not the first to do its round: there
        // was one before it whose timelines are there, but not the state that makes them count.
        for at in 0..log.len() {
            for again in 0..1 + at % 2 {
                if again == 0 {
                    ask(&["COPY", &progress, "was:p", "REPLACE"]);
                    ask(&["COPY", &windows, "was:o", "REPLACE"]);
                } else {
                    ask(&["COPY", "was:p", &progress, "REPLACE"]);
                    ask(&["COPY", "was:o", &windows, "REPLACE"]);
                }
                let mut applier = Applier::open(&redis.settings(name), plan.clone(), 1, 42, usize::MAX).expect("an applier");
                assert_eq!(applier.take_over(0).expect("taken"), at as u64);
                assert!(apply(&mut applier, &log, at..at + 1).is_empty());
                oldest = applier.states()[&0].watermarks.first().map(|watermark| *watermark - Span::from_secs(3_600));
            }
        }
        let reader = Reader::open(redis.settings(name), definitions.clone()).expect("a reader");
        let (lookup, oldest) = (Lookup::of_service(definitions.clone(), 0), oldest.expect("a watermark"));
        let read = |shop: u64, as_of| {
            let (card, shop) = (ValueRef::Int(shop as i64 * 5), format!("s{shop}"));
            let keys = [card, ValueRef::Str(&shop)];
            reader
                .read(&lookup, &[Ask { keys: &keys, request: &[], as_of, version: None, own_event: None, mode: Mode::AsServed }])
                .remove(0)
        };
        // Redis is told with the next round how far the last one has brought it.
        let minutes = (0..80).map(|minutes| oldest + Span::from_secs(minutes * 60));
        let asked = (0..40).flat_map(|shop| minutes.clone().map(move |as_of| (shop, as_of)));
        all.push(asked.map(|(shop, as_of)| read(shop, as_of).expect("an answer")).collect::<Vec<_>>());
        let count = "local n = 0 for _, key in ipairs(redis.call('KEYS', ARGV[1])) do n = n + redis.call('HLEN', key) end return n";
        let answer = ask(&["EVAL", count, "0", &format!("fm:{{{name}:0}}:t:*")]);
        chunks.push(answer.trim().trim_start_matches(':').parse::<usize>().expect("a number"));
        let long_ago = read(1, oldest - Span::from_secs(7_200));
        assert_eq!(long_ago.is_err(), name == "ending", "{long_ago:?}");
    }
    for (at, (kept, trimmed)) in all[0].iter().zip(&all[1]).enumerate() {
        assert_eq!(kept, trimmed, "shop {} minute {}", at / 80, at % 80);
    }
    assert!(chunks[1] < chunks[0], "{chunks:?}");
}
