//! Flink's own answers on real card transactions in disorder, window by window and late event by late event.
//!
//! Flink's watermark after an event is `max seen - 60 s - 1 ms` in milliseconds: nothing up to the end of that millisecond is to
//! come. In microseconds that end is `max seen - 60 s - 1 us`, which is ours with `max_out_of_orderness: 60s`. Its sessions merge when
//! they touch, so its gap was 1 ms less than ours and its sessions end 1 ms earlier; events fall on whole seconds, so both close at the same event.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use arrow::array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use floodmark_features::engine::{ClosedWindow, Outcome};
use floodmark_features::key::decode_key;
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::harness::engine::{Engine, Event, Router, Step, definitions};

const KINDS: [(&str, &str); 3] = [("tumbling", "tumbling: 1h"), ("sliding", "sliding: 6h, every: 1h"), ("session", "session: 6h")];

#[test]
fn windows_and_late_events_are_those_of_flink() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/flink");
    if !folder.exists() {
        return say(&format!("SKIPPED: no answers of Flink at {}", folder.display()));
    }
    let events = input(&folder);
    for lateness in ["0s", "2h"] {
        let mut engine = run(&events, lateness);
        let outputs = std::mem::take(&mut engine.outputs);
        let mut late: BTreeMap<(usize, String), usize> = BTreeMap::new();
        for event in outputs.late.iter().filter(|e| e.outcome == Outcome::Late) {
            *late.entry((event.view, event.event_id.clone())).or_default() += 1;
        }
        let theirs = their_late(&folder, lateness);
        assert_eq!(late, theirs, "late events with lateness {lateness}");
        for (view, (kind, _)) in KINDS.iter().enumerate() {
            let closed: Vec<&ClosedWindow> = outputs.closed.iter().filter(|w| w.view == view).collect();
            compare(kind, lateness, ours(&closed), theirs_last(&folder, kind, lateness));
        }
        say(&format!("lateness {lateness}: {} late events agree with Flink", theirs.len()));
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "\n{text}");
}

/// `(n, cents, least, greatest)` as text that is equal only if the bits are.
type Values = (i64, i64, u64, u64);
/// By customer, start and end in milliseconds.
type Windows = BTreeMap<(i64, i64, i64), Values>;

fn compare(kind: &str, lateness: &str, ours: Windows, theirs: Windows) {
    let differing: Vec<String> = ours
        .keys()
        .chain(theirs.keys())
        .filter(|w| ours.get(*w) != theirs.get(*w))
        .map(|w| format!("{w:?}: ours {:?}, theirs {:?}", ours.get(w), theirs.get(w)))
        .collect();
    assert!(differing.is_empty(), "{kind} {lateness}: {} differ:\n{}", differing.len(), differing[..differing.len().min(20)].join("\n"));
    assert!(!theirs.is_empty(), "{kind} {lateness}: nothing to compare");
    say(&format!("{kind}, lateness {lateness}: {} windows agree with Flink", theirs.len()));
}

fn run(events: &[Event], lateness: &str) -> Engine {
    let features = |window: &str| -> String {
        [("n", "count: \"*\""), ("sum", "sum: amount"), ("lo", "min: amount"), ("hi", "max: amount")]
            .map(|(name, function)| format!("      {name}: {{ {function}, windows: [{{ {window} }}] }}\n"))
            .concat()
    };
    let views: String = KINDS
        .map(|(kind, window)| {
            format!("  {kind}:\n    entity: customer\n    source: tx\n    emit_closed_windows: true\n    features:\n{}", features(window))
        })
        .concat();
    let definitions = definitions(&format!(
        "sources:\n  tx:\n    schema: {{ id: int64, at: timestamp, customer_id: int64, amount: float64 }}\n    event_time: at\n    event_id: id\n    \
         max_out_of_orderness: 60s\n    allowed_lateness: {lateness}\nentities: {{ customer: {{ keys: [customer_id] }} }}\nviews:\n{views}"
    ));
    let mut router = Router::new(&definitions);
    router.open(1);
    let mut steps: Vec<Step> = events.iter().map(|event| router.route(0, event.clone())).collect();
    steps.push(router.end());
    let mut engine = Engine::new(definitions);
    for (version, batch) in steps.chunks(1000).enumerate() {
        engine.apply(batch, version as u64 + 1);
    }
    engine
}

/// The last revision of each window that was not replaced.
fn ours(closed: &[&ClosedWindow]) -> Windows {
    let mut windows = Windows::new();
    for window in closed {
        let id = (customer(&window.key), window.start.micros() / 1000, window.end.micros() / 1000);
        if window.deleted {
            assert!(windows.remove(&id).is_some(), "a delete of what was not emitted: {id:?}");
            continue;
        }
        let [(_, Value::Int(n)), (_, Value::Float(sum)), (_, Value::Float(lo)), (_, Value::Float(hi))] = window.values[..] else {
            panic!("values {:?}", window.values)
        };
        windows.insert(id, (n, (sum * 100.0).round() as i64, lo.to_bits(), hi.to_bits()));
    }
    windows
}

fn customer(key: &[u8]) -> i64 {
    match decode_key(key).as_deref() {
        Some([Value::Int(customer)]) => *customer,
        other => panic!("key {other:?}"),
    }
}

/// The last firing of each window; a session that a later one contains is dropped.
fn theirs_last(folder: &std::path::Path, kind: &str, lateness: &str) -> Windows {
    let table = Table::read(&folder.join(format!("{kind}.parquet")));
    let (lateness_of, fired, customers) = (table.texts("allowed_lateness"), table.ints("fired"), table.ints("customer_id"));
    let (starts, ends, n, cents) = (table.ints("start_ms"), table.ints("end_ms"), table.ints("n"), table.ints("cents"));
    let (lo, hi) = (table.floats("lo"), table.floats("hi"));
    let mut order: Vec<usize> = (0..fired.len()).filter(|row| lateness_of[*row] == lateness).collect();
    order.sort_by_key(|row| fired[*row]);
    let longer = i64::from(kind == "session");
    let mut by_customer: BTreeMap<i64, BTreeMap<(i64, i64), Values>> = BTreeMap::new();
    for row in order {
        let (start, end) = (starts[row], ends[row] + longer);
        let windows = by_customer.entry(customers[row]).or_default();
        if kind == "session" {
            windows.retain(|(s, e), _| !(start <= *s && *e <= end));
        }
        windows.insert((start, end), (n[row], cents[row], lo[row].to_bits(), hi[row].to_bits()));
    }
    let flat = by_customer.into_iter().flat_map(|(customer, windows)| windows.into_iter().map(move |((s, e), v)| ((customer, s, e), v)));
    flat.collect()
}

fn their_late(folder: &std::path::Path, lateness: &str) -> BTreeMap<(usize, String), usize> {
    let table = Table::read(&folder.join("late.parquet"));
    let (lateness_of, windows, ids) = (table.texts("allowed_lateness"), table.texts("window"), table.ints("transaction_id"));
    let mut late = BTreeMap::new();
    for row in (0..ids.len()).filter(|row| lateness_of[*row] == lateness) {
        let view = KINDS.iter().position(|(kind, _)| *kind == windows[row]).expect("a kind of window");
        *late.entry((view, ids[row].to_string())).or_default() += 1;
    }
    late
}

fn input(folder: &std::path::Path) -> Vec<Event> {
    let table = Table::read(&folder.join("input.parquet"));
    let (ids, times) = (table.ints("transaction_id"), table.ints("tx_datetime"));
    let (customers, amounts) = (table.ints("customer_id"), table.floats("amount"));
    let event = |row: usize| {
        assert_eq!(times[row] % 1_000_000, 0, "events fall on whole seconds");
        let time = Time::from_micros(times[row]);
        let values = vec![Value::Int(ids[row]), Value::Time(time), Value::Int(customers[row]), Value::Float(amounts[row])];
        Event { time, id: ids[row], values }
    };
    (0..ids.len()).map(event).collect()
}

/// A Parquet file, whole.
struct Table(Vec<arrow::array::RecordBatch>);

impl Table {
    fn read(path: &std::path::Path) -> Table {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file").build().expect("a reader");
        Table(reader.map(|batch| batch.expect("a batch")).collect())
    }

    fn column<T>(&self, name: &str, take: impl Fn(&ArrayRef, usize) -> T) -> Vec<T> {
        let mut all = Vec::new();
        for batch in &self.0 {
            let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
            all.extend((0..column.len()).map(|row| take(column, row)));
        }
        all
    }

    fn ints(&self, name: &str) -> Vec<i64> {
        self.column(name, |column, row| {
            let any = column.as_any();
            let (long, int) = (any.downcast_ref::<Int64Array>(), any.downcast_ref::<Int32Array>());
            let time = any.downcast_ref::<TimestampMicrosecondArray>();
            let found = long.map(|a| a.value(row)).or(int.map(|a| i64::from(a.value(row)))).or(time.map(|a| a.value(row)));
            found.unwrap_or_else(|| panic!("{name} is {}", column.data_type()))
        })
    }

    fn floats(&self, name: &str) -> Vec<f64> {
        self.column(name, |column, row| {
            let floats = column.as_any().downcast_ref::<Float64Array>();
            floats.unwrap_or_else(|| panic!("{name} is {}", column.data_type())).value(row)
        })
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.column(name, |column, row| {
            let texts = column.as_any().downcast_ref::<StringArray>();
            texts.unwrap_or_else(|| panic!("{name} is {}", column.data_type())).value(row).to_owned()
        })
    }
}
