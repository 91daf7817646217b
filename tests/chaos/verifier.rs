//! An independent look at what a pipeline has left in its topics and in Redis: invariants that hold whatever was killed, cut or stopped.
//! It is told nothing by the workers. Numbers I1 to I13 are those of the usual list for exactly-once stream processing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use floodmark_features::definition::Definitions;
use floodmark_features::engine::{ClosedWindow, EnginePlan, LateEvent, Outcome, Outputs, Shard};
use floodmark_features::feature_log::{LogProgress, RoutedBatch, Taken, decode_batch};
use floodmark_features::key::{decode_key, hash_key, partition_of};
use floodmark_features::lookup::{Answer, Ask, Cell, Known, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::{Value, ValueRef};
use floodmark_store::redis::Reader;
use serde_json::Value as Json;

use super::{COLD, START};
use crate::harness::kafka::{Found, Kafka};
use crate::harness::redis::Redis;

/// What a record of the input says; `None` where it is broken.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) card: i64,
    pub(crate) shop: String,
    pub(crate) amount: f64,
}

impl Payment {
    fn of(bytes: &[u8]) -> Option<Payment> {
        let json: Json = serde_json::from_slice(bytes).ok()?;
        let shop = json["shop"].as_str()?.to_owned();
        let int = |name: &str| json[name].as_i64();
        Some(Payment { id: int("id")?, at: int("at")?, card: int("card")?, shop, amount: json["amount"].as_f64()? })
    }
}

/// What a record says and from when on it counts (T9), behind a watermark that it moves (T6).
pub(crate) fn seen(found: &Found, watermark: &mut i64) -> Option<(Payment, i64)> {
    let payment = Payment::of(&found.value)?;
    let visible = if *watermark == i64::MIN { payment.at } else { payment.at.max(*watermark - LATENESS + 1) };
    *watermark = (*watermark).max(payment.at - OUT_OF_ORDERNESS - 1);
    Some((payment, visible))
}

/// What was found, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<String>,
    pub(crate) events: usize,
    pub(crate) rejects: usize,
    pub(crate) late: usize,
    pub(crate) windows: usize,
    pub(crate) batches: usize,
}

impl Findings {
    fn expect(&mut self, so: bool, what: impl FnOnce() -> String) {
        if !so {
            self.problems.push(what());
        }
    }
}

/// The log, applied in one go with nothing in between.
pub(crate) struct Fold {
    plan: Arc<EnginePlan>,
    shards: Vec<Shard>,
    progress: Vec<LogProgress>,
    late: Vec<LateEvent>,
    closed: Vec<ClosedWindow>,
}

const OUT_OF_ORDERNESS: i64 = 60_000_000;
const LATENESS: i64 = 600_000_000;

/// Looks at all that the pipeline `prefix` has made of `input`.
pub(crate) fn verify(kafka: &Kafka, redis: &Redis, prefix: &str, input: &str, definitions: &Arc<Definitions>) -> (Findings, Fold) {
    let mut findings = Findings::default();
    let plan = Arc::new(EnginePlan::new(definitions.clone()));
    let log = batches(kafka, &plan, &format!("{prefix}.log"));
    let input: Vec<Found> = kafka.records(input, "read_uncommitted");
    let rejects = kafka.committed(&format!("{prefix}.rejects"));
    one_outcome_each(&mut findings, &plan, &input, &log, &rejects);
    whole_and_rising(&mut findings, &plan, &log);
    let fold = Fold::of(&mut findings, plan, &log);
    side_outputs(&mut findings, kafka, prefix, &fold);
    answers(&mut findings, redis, prefix, &fold);
    nothing_open(&mut findings, kafka, prefix);
    (findings, fold)
}

/// Each partition's batches in order, with their offsets.
fn batches(kafka: &Kafka, plan: &EnginePlan, topic: &str) -> BTreeMap<i32, Vec<(u64, RoutedBatch)>> {
    let partitions = kafka.ends(topic, "read_committed").map_or(0, |ends| ends.len());
    let mut log: BTreeMap<i32, Vec<(u64, RoutedBatch)>> = (0..partitions as i32).map(|partition| (partition, Vec::new())).collect();
    for found in kafka.records(topic, "read_committed") {
        let batch = decode_batch(plan, &found.value).expect("a batch");
        log.entry(found.partition).or_default().push((found.offset as u64, batch));
    }
    log
}

/// I1, I2: each record is in the log once for each entity, as it should be, or refused once; nothing else is there.
fn one_outcome_each(
    findings: &mut Findings,
    plan: &EnginePlan,
    input: &[Found],
    log: &BTreeMap<i32, Vec<(u64, RoutedBatch)>>,
    rejects: &[(String, String)],
) {
    let mut rows: HashMap<(usize, usize, u64), usize> = HashMap::new();
    let (mut expected, mut marks) = (HashMap::new(), HashMap::new());
    let mut watermarks: BTreeMap<i32, i64> = BTreeMap::new();
    for found in input {
        let watermark = watermarks.entry(found.partition).or_insert(i64::MIN);
        let payment = seen(found, watermark);
        let place = (found.partition as usize, found.offset as u64);
        marks.insert(place, *watermark);
        expected.insert(place, payment);
    }
    for (log_partition, (_, batch)) in log.iter().flat_map(|(at, batches)| batches.iter().map(move |batch| (at, batch))) {
        let partition = batch.head.partition;
        if let Some(last) = batch.head.offsets.end.checked_sub(1).filter(|last| batch.head.offsets.contains(last)) {
            let mark = marks.get(&(partition, last)).copied();
            findings.expect(mark == Some(batch.head.watermark.micros()), || format!("watermark of {:?} is not {mark:?}", batch.head));
        }
        for (at, section) in &batch.sections {
            let layout = &plan.sections[*at].layout;
            let all = section.rows.rows(layout);
            for row in 0..section.len() {
                let place = (partition, section.sequence[row]);
                *rows.entry((*at, place.0, place.1)).or_default() += 1;
                let Some(Some((payment, visible))) = expected.get(&place) else {
                    findings.problems.push(format!("a row of no record: {place:?}"));
                    continue;
                };
                let found = all.row(row);
                let key = match decode_key(section.key(row)).as_deref() {
                    Some([Value::Int(card)]) => *card == payment.card,
                    Some([Value::Str(shop)]) => **shop == *payment.shop,
                    _ => false,
                };
                let same = key
                    && (found.time().micros(), found.visible_from().micros()) == (payment.at, *visible)
                    && found.id().to_string() == payment.id.to_string();
                findings.expect(same, || format!("a row is not its record: {payment:?} at {place:?}"));
                let home = partition_of(hash_key(section.key(row)), log.len());
                findings.expect(home == *log_partition as usize, || format!("a row is in the partition of others: {place:?}"));
            }
        }
    }
    let mut refused: HashMap<(usize, u64), usize> = HashMap::new();
    for (_, line) in rejects {
        let json: Json = serde_json::from_str(line).expect("JSON");
        let partition = json["position"]["partition"].as_str().and_then(|name| name.rsplit('-').next()?.parse().ok());
        *refused.entry((partition.expect("a number"), json["position"]["offset"].as_u64().expect("an offset"))).or_default() += 1;
    }
    for (place, payment) in &expected {
        let sections = (0..plan.sections.len()).map(|at| rows.get(&(at, place.0, place.1)).copied().unwrap_or(0));
        let wanted = if payment.is_some() { 1 } else { 0 };
        let found: Vec<usize> = sections.collect();
        findings.expect(found.iter().all(|times| *times == wanted), || format!("{place:?} is in the log {found:?} times, not {wanted}"));
        let times = refused.get(place).copied().unwrap_or(0);
        findings.expect(times == 1 - wanted, || format!("{place:?} is refused {times} times"));
    }
    findings.expect(refused.keys().all(|place| expected.contains_key(place)), || "something is refused that never came".to_owned());
    (findings.events, findings.rejects) = (expected.len(), refused.len());
}

/// I4, I5: the batches of a source partition follow each other in every log partition, and watermarks do not go back.
fn whole_and_rising(findings: &mut Findings, plan: &EnginePlan, log: &BTreeMap<i32, Vec<(u64, RoutedBatch)>>) {
    let mut ends: Vec<BTreeMap<usize, u64>> = Vec::new();
    for (log_partition, batches) in log {
        let (mut next, mut watermarks): (BTreeMap<usize, u64>, BTreeMap<usize, Time>) = Default::default();
        let (mut progress, mut version) = (LogProgress::new(&plan.definitions), 0);
        for (offset, batch) in batches {
            let head = &batch.head;
            let expected = next.insert(head.partition, head.offsets.end).unwrap_or(0);
            findings
                .expect(head.offsets.start == expected, || format!("log {log_partition} at {offset}: {expected} is followed by {head:?}"));
            let before = watermarks.insert(head.partition, head.watermark).unwrap_or(Time::NONE);
            findings.expect(head.before == before && head.watermark >= before, || {
                format!("log {log_partition} at {offset}: {before:?} then {head:?}")
            });
            match progress.take(plan, *offset, &mut batch.clone()) {
                Ok(Taken::New { version: newer, .. }) => {
                    findings
                        .expect(newer > version, || format!("log {log_partition} at {offset}: version {version} is followed by {newer}"));
                    version = newer;
                }
                other => findings.problems.push(format!("log {log_partition} at {offset}: {other:?}")),
            }
        }
        findings.batches += batches.len();
        ends.push(next);
    }
    findings.expect(ends.windows(2).all(|pair| pair[0] == pair[1]), || format!("log partitions end apart: {ends:?}"));
}

impl Fold {
    fn of(findings: &mut Findings, plan: Arc<EnginePlan>, log: &BTreeMap<i32, Vec<(u64, RoutedBatch)>>) -> Fold {
        let mut fold = Fold { plan: plan.clone(), shards: Vec::new(), progress: Vec::new(), late: Vec::new(), closed: Vec::new() };
        for batches in log.values() {
            let (mut shard, mut progress) = (Shard::new(plan.clone()), LogProgress::new(&plan.definitions));
            for (offset, batch) in batches {
                let mut batch = batch.clone();
                let Ok(Taken::New { version, trail }) = progress.take(&plan, *offset, &mut batch) else { continue };
                let mut outputs = Outputs::default();
                for (at, section) in &batch.sections {
                    shard.apply(*at, section, 0..section.len(), version, &trail, 1, &mut outputs);
                }
                (0..plan.sections.len()).for_each(|at| shard.follow(at, &trail, None, &mut outputs));
                fold.late.extend(outputs.late);
                fold.closed.extend(outputs.closed);
            }
            fold.shards.push(shard);
            fold.progress.push(progress);
        }
        findings.expect(fold.shards.len() == log.len(), || "a log partition is empty".to_owned());
        (findings.late, findings.windows) = (fold.late.len(), fold.closed.len());
        fold
    }

    /// What the log says that an ask is to be answered.
    pub(crate) fn answer(&self, lookup: &Lookup, ask: &Ask<'_>) -> Vec<Cell> {
        let mut cells = vec![Cell::default(); lookup.columns.len()];
        for read in &lookup.reads {
            let mut key = Vec::new();
            read.encode_key(ask, &mut key);
            let definitions = &self.plan.definitions;
            let view = &definitions.views[read.view];
            let partition = partition_of(hash_key(&key), self.shards.len());
            let state = self.shards[partition].entity(view.entity, hash_key(&key), &key);
            let place = definitions.views[..read.view].iter().filter(|other| other.entity == view.entity).count();
            let timeline = state.map(|state| &state.timelines[place]).filter(|timeline| !timeline.is_empty());
            let final_until = self.progress[partition].watermarks()[view.source] - definitions.sources[view.source].allowed_lateness;
            let known = Known { version: u64::MAX, final_until };
            read.evaluate(view, &view.layout(&definitions.sources), timeline, ask, known, &mut cells);
        }
        lookup.derive(ask, &mut cells);
        cells
    }
}

fn entity(plan: &EnginePlan, view: usize, key: &[u8]) -> Json {
    let keys = &plan.definitions.entities[plan.definitions.views[view].entity].keys.columns;
    let values = decode_key(key).unwrap_or_default().into_iter().map(|value| match value {
        Value::Int(value) => Json::from(value),
        Value::Str(value) => Json::from(&*value),
        _ => Json::Null,
    });
    keys.iter().map(|column| column.name.clone()).zip(values).collect::<serde_json::Map<_, _>>().into()
}

/// I1, I6, I12: what was published is what the log says, each late event and each revision of a window once.
fn side_outputs(findings: &mut Findings, kafka: &Kafka, prefix: &str, fold: &Fold) {
    let name = |view: usize| fold.plan.definitions.views[view].name.clone();
    let late = |event: &LateEvent| {
        let outcome = if event.outcome == Outcome::Late { "late" } else { "partially_late" };
        let position = format!("{}#{}", event.position.partition, event.position.offset);
        format!("{} {} {} {outcome} {position}", name(event.view), entity(&fold.plan, event.view, &event.key), event.event_id)
    };
    let sent_late = |json: &Json| {
        let position = format!("{}#{}", json["position"]["partition"].as_str().unwrap_or_default(), json["position"]["offset"]);
        let word = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {} {} {position}", word("view"), json["entity"], word("event_id"), word("outcome"))
    };
    let closed = |window: &ClosedWindow| {
        let values: Vec<String> = window.values.iter().map(|(_, value)| format!("{value}")).collect();
        let (start, end) = (window.start.to_string(), window.end.to_string());
        format!(
            "{} {} {start} {end} {} {} {values:?}",
            name(window.view),
            entity(&fold.plan, window.view, &window.key),
            window.revision,
            window.deleted
        )
    };
    let sent_closed = |json: &Json| {
        let values: Vec<String> = json["values"].as_object().into_iter().flatten().map(|(_, value)| value.to_string()).collect();
        let word = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {} {} {} {} {values:?}", word("view"), json["entity"], word("start"), word("end"), json["revision"], json["deleted"])
    };
    compare(findings, kafka, &format!("{prefix}.late"), fold.late.iter().map(late).collect(), &sent_late);
    compare(findings, kafka, &format!("{prefix}.windows"), fold.closed.iter().map(closed).collect(), &sent_closed);
}

fn compare(findings: &mut Findings, kafka: &Kafka, topic: &str, mut expected: Vec<String>, line: &dyn Fn(&Json) -> String) {
    let parsed = |text: &str| line(&serde_json::from_str(text).expect("JSON"));
    let mut sent: Vec<String> = kafka.committed(topic).iter().map(|(_, text)| parsed(text)).collect();
    expected.sort_unstable();
    sent.sort_unstable();
    if expected != sent {
        let first = expected.iter().zip(&sent).find(|(a, b)| a != b);
        findings.problems.push(format!("{topic}: {} expected, {} sent; the first that differ: {first:?}", expected.len(), sent.len()));
    }
}

/// I8, I9, I13: what Redis answers is what the log says, to the last bit, at the watermark and version of the log.
fn answers(findings: &mut Findings, redis: &Redis, prefix: &str, fold: &Fold) {
    let definitions = fold.plan.definitions.clone();
    let reader = match Reader::open(redis.settings(prefix), definitions.clone()) {
        Ok(reader) => reader,
        Err(error) => return findings.problems.push(error.to_string()),
    };
    let lookup = Lookup::of_service(definitions, 0);
    let mut check = |ask: &Ask<'_>| {
        let expected = fold.answer(&lookup, ask);
        match reader.read(&lookup, &[*ask]).pop() {
            Some(Ok(Answer { cells, .. })) => {
                findings.expect(agree(&cells, &expected), || format!("{:?} as of {}: {cells:?} and not {expected:?}", ask.keys, ask.as_of));
            }
            other => findings.problems.push(format!("{:?} as of {}: {other:?}", ask.keys, ask.as_of)),
        }
    };
    for_each_ask(&mut check);
    for card in COLD {
        let keys = [ValueRef::Int(card), ValueRef::Str("s1")];
        let as_of = Time::from_micros(START + 9 * 3_600_000_000);
        check(&Ask { keys: &keys, request: &[], as_of, version: None, own_event: None, mode: Mode::AsServed });
    }
}

/// An answer is at one version of all partitions, the fold at the newest of each: so less may be said to be final, and not more.
fn agree(found: &[Cell], expected: &[Cell]) -> bool {
    let same = |found: &Cell, expected: &Cell| {
        let said = Cell { provisional: expected.provisional, ..found.clone() };
        said == *expected && (found.provisional || !expected.provisional)
    };
    found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| same(found, expected))
}

/// Rows to be asked about.
pub(crate) fn for_each_ask(each: &mut dyn FnMut(&Ask<'_>)) {
    for card in 0..201 {
        for hours in [1, 3, 6, 9, 20] {
            let shop = format!("s{}", card % 41);
            let keys = [ValueRef::Int(card), ValueRef::Str(&shop)];
            let as_of = Time::from_micros(1_700_000_000_000_000 + hours * 3_600_000_000);
            each(&Ask { keys: &keys, request: &[], as_of, version: None, own_event: None, mode: Mode::AsServed });
        }
    }
}

/// I11: at rest no transaction is open, so committed readers see as far as all others.
fn nothing_open(findings: &mut Findings, kafka: &Kafka, prefix: &str) {
    for suffix in ["log", "rejects", "late", "windows"] {
        let topic = format!("{prefix}.{suffix}");
        let began = std::time::Instant::now();
        loop {
            let [stable, end] = ["read_committed", "read_uncommitted"].map(|isolation| kafka.ends(&topic, isolation));
            if stable.is_some() && stable == end {
                break;
            }
            if began.elapsed() > std::time::Duration::from_secs(20) {
                findings.problems.push(format!("{topic}: a transaction is open: {stable:?} of {end:?}"));
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
