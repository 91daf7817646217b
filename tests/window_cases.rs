//! Small stories about windows, watermarks and late events from the suites of Flink, Kafka Streams, Beam and Scotty, as data:
//! events and watermarks in, windows, late events and reads out. Each is told twice, the second time with a restart after every step.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use floodmark_features::engine::{LateEvent, Outcome};
use floodmark_features::key::decode_key;
use floodmark_features::lookup::{Ask, Lookup, Mode};
use floodmark_features::time::{Span, Time};
use floodmark_features::value::{Value, ValueRef};
use floodmark_features::watermark::{BoundedOutOfOrderness, Combined, visible_from};
use serde_json::{Map, Value as Json, json};

use crate::harness::engine::{Engine, Event, Routed, Step, definitions};

/// What can be asked of a window; features stand in this order.
const FUNCTIONS: [&str; 5] = ["sum", "count", "min", "max", "distinct"];

#[test]
fn window_cases() {
    let path = std::env::var_os("FLOODMARK_WINDOW_CASES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/window-cases.json"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return say(&format!("SKIPPED: no window cases at {}", path.display()));
    };
    let cases: Vec<Json> = serde_json::from_str(&text).expect("cases are a JSON list");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in &cases {
        if case["session_gap_rule"] == "touch_merges" {
            skipped += 1;
            continue;
        }
        let problems: Vec<String> = [false, true].into_iter().flat_map(|restarts| run(case, restarts)).collect();
        if problems.is_empty() {
            passed += 1;
        } else {
            failed += 1;
            say(&format!("{}:\n  {}", case["name"], problems.join("\n  ")));
        }
    }
    if skipped > 0 {
        say(&format!("{skipped} skipped: our sessions that touch stay apart"));
    }
    say(&format!("{passed} passed, {failed} failed"));
    assert_eq!(failed, 0);
}

/// Written past the capture of the test runner.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "\n{text}");
}

fn run(case: &Json, restarts: bool) -> Vec<String> {
    let found = match case["kind"].as_str() {
        Some("window" | "asof") => tell(case, restarts),
        Some("watermark_generator") => generate(case),
        Some("watermark_combine") => combine(case),
        kind => panic!("unknown kind {kind:?}"),
    };
    let expected = case["expect"].as_object().expect("expectations");
    let mut problems = Vec::new();
    for (field, wanted) in expected {
        let found = found.get(field).unwrap_or_else(|| panic!("nothing to compare {field} with"));
        let (wanted, found) = (multiset(wanted), multiset_like(found, wanted));
        for (entry, n) in &wanted {
            let m = found.get(entry).copied().unwrap_or(0);
            if *n != m {
                problems.push(format!("{field} (restarts: {restarts}): {entry} expected {n} times, found {m}"));
            }
        }
        problems.extend(
            found
                .keys()
                .filter(|entry| !wanted.contains_key(*entry))
                .map(|entry| format!("{field} (restarts: {restarts}): {entry} not expected")),
        );
    }
    for field in ["late", "partial_drops", "unassigned", "windows", "reads"] {
        let extra = found.get(field).and_then(Json::as_array).is_some_and(|list| !list.is_empty());
        if extra && !expected.contains_key(field) {
            problems.push(format!("{field} (restarts: {restarts}): {} not expected", found[field]));
        }
    }
    let deleted = found.get("deleted").and_then(Json::as_array).map_or(0, Vec::len);
    if case["name"] == "session_bridge_after_both_fired" && deleted != 2 {
        problems.push(format!("{deleted} deletes of replaced sessions, expected 2"));
    }
    problems
}

fn multiset(list: &Json) -> BTreeMap<String, usize> {
    let mut set = BTreeMap::new();
    list.as_array().into_iter().flatten().for_each(|entry| *set.entry(entry.to_string()).or_default() += 1);
    set
}

/// What was found, each entry with only those fields that the expected entry of the same place has.
fn multiset_like(found: &Json, wanted: &Json) -> BTreeMap<String, usize> {
    let wanted = wanted.as_array().expect("a list");
    let fields: Option<&Map<String, Json>> = wanted.first().and_then(Json::as_object);
    let trimmed: Vec<Json> = found
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let entry = entry.as_object().expect("an object");
            let kept = entry.iter().filter(|(name, _)| fields.is_none_or(|f| f.contains_key(*name) || !FUNCTIONS.contains(&name.as_str())));
            Json::Object(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
        })
        .collect();
    multiset(&Json::Array(trimmed))
}

fn int(json: &Json) -> i64 {
    json.as_i64().unwrap_or(0)
}

fn yaml(case: &Json) -> String {
    let window = &case["window"];
    let (size, every, gap) = (int(&window["size_ms"]), int(&window["slide_ms"]), int(&window["gap_ms"]));
    let offset = int(&window["offset_ms"]);
    let shape = match window["type"].as_str() {
        Some("tumbling") => format!("{{ tumbling: {size}us, offset: {offset}us }}"),
        Some("sliding") => format!("{{ sliding: {size}us, every: {every}us, offset: {offset}us }}"),
        Some("session") => format!("{{ session: {gap}us }}"),
        _ => format!("{size}us"),
    };
    let bounds = window["bounds"].as_str().map_or("(]".to_owned(), |b| format!("{}{}", &b[..1], &b[b.len() - 1..]));
    let emit = if case["trigger"] == "discarding" { "discarding" } else { "true" };
    let features: String = FUNCTIONS.iter().map(|f| format!("      {f}: {{ {f}: v, windows: [{shape}] }}\n")).collect();
    format!(
        "sources:\n  s:\n    schema: {{ id: int64, at: timestamp, k: string, v: int64 }}\n    event_time: at\n    event_id: id\n    \
         allowed_lateness: {}us\nentities: {{ e: {{ keys: [k] }} }}\nviews:\n  w:\n    entity: e\n    source: s\n    bounds: \"{bounds}\"\n    \
         emit_closed_windows: {emit}\n    features:\n{features}",
        int(&case["allowed_lateness_ms"])
    )
}

/// Windows and as-of reads; one tick of the case is one microsecond.
fn tell(case: &Json, restarts: bool) -> Map<String, Json> {
    let definitions = definitions(&yaml(case));
    let frame = definitions.views[0].outputs[0].frame;
    let lateness = definitions.sources[0].allowed_lateness;
    let features = (0..FUNCTIONS.len()).map(|output| floodmark_features::definition::FeatureRef { view: 0, output }).collect();
    let lookup = Lookup::of_features(definitions.clone(), features);
    let mut engine = Engine::new(definitions);
    let mut watermark = Time::NONE;
    let mut found: BTreeMap<&str, Vec<Json>> =
        ["windows", "late", "partial_drops", "unassigned", "reads", "deleted"].map(|f| (f, Vec::new())).into();
    for (at, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
        let unassigned = engine.shard.counts[0].unassigned;
        let event = &step["event"];
        let mut routed = Step { sequence: at as u64, event: None, moved: None };
        if event.is_object() {
            let time = Time::from_micros(int(&event["ts"]));
            let values = vec![
                Value::Int(at as i64),
                Value::Time(time),
                Value::Str(event["key"].as_str().expect("a key").into()),
                Value::Int(int(&event["value"])),
            ];
            let visible = visible_from(time, watermark, lateness);
            let event = Event { time, id: at as i64, values };
            routed.event = Some(Routed { event, visible, watermark, payload: step["event"]["value"].to_string() });
        } else if let Some(to) = step["watermark"].as_i64() {
            watermark = watermark.max(Time::from_micros(to));
            routed.moved = Some(Time::from_micros(to));
        } else {
            let read = &step["read"];
            let t = int(&read["t"]);
            let key = read["key"].as_str().expect("a key");
            let ask = Ask {
                keys: &[ValueRef::Str(key)],
                request: &[],
                as_of: Time::from_micros(t),
                version: None,
                own_event: None,
                mode: Mode::AsServed,
            };
            let cells = engine.read(&lookup, &ask).cells;
            let entry = with_values(json!({ "step": at, "key": key, "t": t }), cells.into_iter().map(|c| c.value).enumerate());
            found.entry("reads").or_default().push(entry);
            continue;
        }
        engine.apply(&[routed.clone()], at as u64 + 1);
        let outputs = std::mem::take(&mut engine.outputs);
        for closed in outputs.closed {
            let entry = json!({ "key": text_key(&closed.key), "start": closed.start.micros(), "end": closed.end.micros(), "step": at });
            let into = if closed.deleted { "deleted" } else { "windows" };
            found.entry(into).or_default().push(with_values(entry, closed.values.into_iter()));
        }
        for late in outputs.late {
            let value: i64 = late.payload.parse().expect("the value");
            assert_eq!(late.watermark, watermark, "the watermark of a late event");
            if late.outcome == Outcome::Late {
                let entry = json!({ "key": text_key(&late.key), "ts": late.event_time.micros(), "value": value, "step": at });
                found.entry("late").or_default().push(entry);
            } else {
                found.entry("partial_drops").or_default().extend(drops(&frame, &late, watermark, lateness, at));
            }
        }
        if engine.shard.counts[0].unassigned > unassigned {
            found
                .entry("unassigned")
                .or_default()
                .push(json!({ "key": event["key"], "ts": event["ts"], "value": event["value"], "step": at }));
        }
        if restarts {
            engine.restart();
        }
    }
    found.into_iter().map(|(field, list)| (field.to_owned(), Json::Array(list))).collect()
}

fn text_key(key: &[u8]) -> String {
    decode_key(key).expect("a key")[0].to_string()
}

fn with_values(mut entry: Json, values: impl Iterator<Item = (usize, Value)>) -> Json {
    for (feature, value) in values {
        entry[FUNCTIONS[feature]] = match value {
            Value::Int(i) => json!(i),
            other => json!(other.to_string()),
        };
    }
    entry
}

/// The windows on the grid that an accepted event came too late for.
fn drops(frame: &floodmark_features::window::Frame, late: &LateEvent, watermark: Time, lateness: Span, at: usize) -> Vec<Json> {
    let Some(grid) = frame.window.grid() else { return Vec::new() };
    let gone = grid.starts_holding(late.event_time).filter(|start| grid.end(*start).previous_tick() + lateness <= watermark);
    gone.map(|start| {
        json!({ "key": text_key(&late.key), "ts": late.event_time.micros(), "start": start.micros(), "end": grid.end(start).micros(), "step": at })
    })
    .collect()
}

fn generate(case: &Json) -> Map<String, Json> {
    let mut marks = BoundedOutOfOrderness::new(Span::from_micros(int(&case["max_out_of_orderness_ms"])));
    let mut watermarks = Vec::new();
    for (at, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
        if step["event"].is_object() {
            marks.observe(Time::from_micros(int(&step["event"]["ts"])));
        } else {
            watermarks.push(json!({ "step": at, "watermark": marks.watermark().micros() }));
        }
    }
    [("watermarks".to_owned(), Json::Array(watermarks))].into_iter().collect()
}

fn combine(case: &Json) -> Map<String, Json> {
    let mut combined = Combined::default();
    let channels: Vec<usize> = (0..int(&case["channels"])).map(|_| combined.add(Time::NONE)).collect();
    let (mut outputs, mut idle) = (Vec::new(), false);
    for (at, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
        let channel = channels[int(&step["channel"]) as usize];
        let moved = match (step["watermark"].as_i64(), step["status"].as_str()) {
            (Some(to), _) => combined.advance(channel, Time::from_micros(to)),
            (_, Some("idle")) => combined.set_idle(channel),
            _ => combined.set_active(channel),
        };
        outputs.extend(moved.map(|to| json!({ "step": at, "watermark": to.micros() })));
        if combined.all_idle() != idle {
            idle = !idle;
            outputs.push(json!({ "step": at, "status": if idle { "idle" } else { "active" } }));
        }
    }
    [("outputs".to_owned(), Json::Array(outputs))].into_iter().collect()
}
