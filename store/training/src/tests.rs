//! A training set equals the look-ups of its rows, one by one; and what is wrong with a spine is told by name.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use floodmark_features::definition::Definitions;
use floodmark_features::key::{EventId, encode_key, hash_key, partition_of};
use floodmark_features::lookup::{Answer, Ask, Lookup, Mode, OwnEvent, Status};
use floodmark_features::row::{push_text, word_of_value};
use floodmark_features::time::Time;
use floodmark_features::value::{Value, ValueRef};
use floodmark_features::watermark::SourceProgress;
use floodmark_store::{Commit, Settings, Store};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::{TrainingError, TrainingRequest, TrainingSpec, TrainingStream, write_training_set};

const TEXT: &str = r#"
sources:
  payments:
    schema: { id: ID, at: timestamp, card: int64, shop: string, amount: float64, n: int64, fraud: bool }
    event_time: at
    event_id: id
    allowed_lateness: 10s
entities:
  card: { keys: [card] }
  card_at_shop: { keys: [card, shop] }
views:
  sums:
    entity: card
    source: payments
    features:
      n:      { count: "*", windows: [10s, 1m, lifetime, { tumbling: 20s }, { sliding: 30s, every: 10s }] }
      big:    { count: "*", where: amount > 5, windows: [1m] }
      amount: { mean: amount, windows: [10s, 1m] }
      total:  { sum: n, windows: [1m, lifetime] }
      risk:   { mean: fraud, windows: [30s], delay: 20s, default: 0 }
  mixed:
    entity: card
    source: payments
    bounds: "[)"
    features:
      n:        { count: "*", windows: [20s, { session: 8s }] }
      most:     { max: amount, windows: [20s] }
      last:     { last_k: n, k: 2, windows: [1m] }
      name:     { last: shop, windows: [1m] }
      distinct: { distinct: n, windows: [1m] }
  pairs:
    entity: card_at_shop
    source: payments
    ttl: 40s
    features:
      n: { count: "*", windows: [1m] }
services:
  all:
    features: [sums.*, pairs.*, mixed.*]
    request: { amount: float64, elsewhere: int64 }
    derived:
      ratio: amount / sums.amount_1m
      gone: elsewhere + sums.n_1m
"#;

/// Random enough, and the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[derive(Clone)]
struct Event {
    id: i64,
    at: i64,
    card: i64,
    shop: String,
    amount: f64,
    n: i64,
    fraud: bool,
    /// How long after its time it begins to count.
    late: i64,
}

fn any_event(chance: &mut Chance, id: i64) -> Event {
    let late = if chance.below(4) == 0 { chance.below(60) as i64 * 1_000_000 } else { 0 };
    Event {
        id,
        at: chance.below(120) as i64 * 1_000_000,
        card: chance.below(4) as i64,
        shop: format!("shop {}", chance.below(3)),
        // Now and then what does not fit in the machine integer of a sum.
        amount: if chance.below(60) == 0 { 1e30 } else { chance.below(100) as f64 / 8.0 },
        n: chance.below(9) as i64 - 4,
        fraud: chance.below(3) == 0,
        late,
    }
}

fn values(event: &Event, text_ids: bool) -> Vec<Value> {
    let id = if text_ids { Value::Str(event.id.to_string().into()) } else { Value::Int(event.id) };
    let at = Value::Time(Time::from_micros(event.at));
    vec![
        id,
        at,
        Value::Int(event.card),
        Value::Str(event.shop.clone().into()),
        Value::Float(event.amount),
        Value::Int(event.n),
        Value::Bool(event.fraud),
    ]
}

fn commit(store: &Store, events: &[Event], text_ids: bool) {
    let mut progress = SourceProgress::new(store.definitions().sources[0].max_out_of_orderness);
    progress.open("test");
    let mut batch = Commit { read: events.len() as u64, progress: Some(progress), ..Commit::default() };
    batch.partitions = (0..store.partitions()).map(|_| store.empty_sections()).collect();
    for (sequence, event) in events.iter().enumerate() {
        let values = values(event, text_ids);
        for (at, plan) in store.plan().sections.iter().enumerate() {
            let mut key = Vec::new();
            plan.key_columns.iter().for_each(|c| encode_key(&[values[*c].as_ref()], &mut key));
            let hash = hash_key(&key);
            let section = &mut batch.partitions[partition_of(hash, store.partitions())][at];
            section.sequence.push(sequence as u64);
            section.keys.extend_from_slice(&key);
            section.key_ends.push(section.keys.len() as u32);
            section.hashes.push(hash);
            let heap = &mut section.rows.heap;
            let id = if text_ids { push_text(heap, event.id.to_string().as_bytes()) } else { event.id as u64 };
            let mut words = vec![event.at as u64, id, (event.at + event.late) as u64, 0, 0];
            words.extend(plan.columns.iter().map(|c| word_of_value(values[*c].as_ref(), heap)));
            section.rows.words.extend(words);
            // Whoever is late has a note.
            if event.late > 0 {
                let position = floodmark_features::section::Position { partition: "test".to_owned(), offset: sequence as u64 };
                let row = section.sequence.len() as u32 - 1;
                let watermark = Time::from_micros(event.at + event.late);
                section.late.push(floodmark_features::section::LateNote { row, watermark, position, payload: String::new() });
            }
        }
    }
    let mut batches = [batch];
    let version = store.commit(&mut batches, Time::from_micros(0)).expect("committed")[0];
    let outputs = store.apply_on_all_cores(version, &batches[0]).expect("applied");
    store.publish(version, &batches[0], outputs);
}

/// Cards as `int32`, times in nanoseconds; a null key in every 17th row, a null time in every 19th.
fn spine_of(rows: &[Event], text_ids: bool) -> RecordBatch {
    let ids: ArrayRef = if text_ids {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|e| e.id.to_string())))
    } else {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|e| e.id)))
    };
    let time = |(row, e): (usize, &Event)| (row % 19 != 18).then_some(e.at * 1000);
    let card = |(row, e): (usize, &Event)| (row % 17 != 16).then_some(e.card as i32);
    RecordBatch::try_from_iter_with_nullable([
        ("label", Arc::new(StringArray::from_iter_values(rows.iter().map(|e| format!("label of {}", e.id)))) as ArrayRef, true),
        ("at", Arc::new(TimestampNanosecondArray::from_iter(rows.iter().enumerate().map(time)).with_timezone("+02:00")), true),
        ("card", Arc::new(Int32Array::from_iter(rows.iter().enumerate().map(card))), true),
        ("shop", Arc::new(StringArray::from_iter_values(rows.iter().map(|e| &e.shop))), true),
        ("id", ids, true),
        ("amount", Arc::new(Float64Array::from_iter_values(rows.iter().map(|e| e.amount))), true),
        ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|e| e.n))), true),
        ("fraud", Arc::new(BooleanArray::from_iter(rows.iter().map(|e| Some(e.fraud)))), true),
    ])
    .expect("a batch")
}

fn write(path: &Path, batch: &RecordBatch, rows_in_group: usize) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows_in_group)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).expect("created"), batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
}

fn read(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("opened")).expect("Parquet");
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().expect("built").map(|b| b.expect("read")).collect();
    concat_batches(&schema, &batches).expect("one batch")
}

fn value_at(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Timestamp(..) => Value::Time(Time::from_micros(array.as_primitive::<TimestampMicrosecondType>().value(row))),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::List((0..items.len()).map(|at| value_at(&items, at)).collect())
        }
        _ => Value::Str(array.as_string::<i32>().value(row).into()),
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Present => "PRESENT",
        Status::Null => "NULL",
        Status::NotFound => "NOT_FOUND",
        Status::Expired => "EXPIRED",
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    text_ids: bool,
    mode: Mode,
    own: bool,
    /// The spine has the columns of the events.
    whole: bool,
    /// The newest but one.
    older: bool,
    cold: bool,
}

fn check(case: Case) {
    let Case { seed, text_ids, mode, own, whole, older, cold } = case;
    let text = TEXT.replace("ID", if text_ids { "string" } else { "int64" });
    let definitions = Arc::new(Definitions::parse("test.yaml", &text).expect("proven"));
    let directory = tempfile::tempdir().expect("a directory");
    let mut chance = Chance(seed * 7_919 + 1);
    let settings = Settings { partitions: 3, ..Settings::default() };
    let place = directory.path().join("store");
    let mut store = Store::open(&place, definitions.clone(), &text, settings).expect("opened");
    let events: Vec<Event> = (0..150).map(|id| any_event(&mut chance, id)).collect();
    commit(&store, &events[..90], text_ids);
    let version = store.version();
    commit(&store, &events[90..], text_ids);
    if cold {
        store.checkpoint().expect("checkpoint");
        drop(store);
        store = Store::open(&place, definitions.clone(), &text, settings).expect("opened again");
    }
    let store = Arc::new(store);
    // Half of the rows are stored events, the others nobody has seen; some cards neither.
    let mut rows: Vec<Event> = (0..120)
        .map(|n| {
            let mut row = if n % 2 == 0 { events[chance.below(150) as usize].clone() } else { any_event(&mut chance, 1_000 + n) };
            row.card += if n % 13 == 0 { 100 } else { 0 };
            row
        })
        .collect();
    if chance.below(2) == 0 {
        rows.sort_by_key(|row| row.at);
    }
    let mut spine = spine_of(&rows, text_ids);
    if !whole {
        spine = spine.project(&[0, 1, 2, 3, 4, 5]).expect("projected");
    }
    let (input, out) = (directory.path().join("spine.parquet"), directory.path().join("out.parquet"));
    write(&input, &spine, 50);
    let lookup = Arc::new(Lookup::of_service(definitions.clone(), 0));
    let request = TrainingRequest {
        spec: TrainingSpec {
            lookup: lookup.clone(),
            time: "at".to_owned(),
            event_id: own.then(|| "id".to_owned()),
            mode,
            version: older.then_some(version),
            threads: 2,
            statuses: true,
        },
        spine: input.clone(),
        out: out.clone(),
    };
    let summary = write_training_set(&store, &request, &|_| {}).expect("a training set");
    assert_eq!(summary.missing_request_fields, ["elsewhere"]);
    let made = read(&out);
    assert_eq!(made.num_rows(), rows.len());
    assert_eq!(made.project(&(0..spine.num_columns()).collect::<Vec<_>>()).expect("projected").columns(), read(&input).columns());
    let streamed = TrainingStream::new(store.clone(), request.spec.clone(), &spine.schema()).expect("a stream");
    let pieces: Vec<RecordBatch> = (0..rows.len()).step_by(37).map(|from| spine.slice(from, 37.min(rows.len() - from))).collect();
    let streamed = concat_batches(streamed.schema(), &streamed.add(&pieces).expect("rows")).expect("one batch");
    assert!(streamed.columns() == made.columns(), "{case:?} by stream");
    for (n, row) in rows.iter().enumerate() {
        let keyless = n % 17 == 16 || n % 19 == 18;
        let keys = [ValueRef::Int(row.card), ValueRef::Str(&row.shop)];
        let id = if text_ids { EventId::Str(row.id.to_string().into()) } else { EventId::Int(row.id) };
        let bare = OwnEvent { source: 0, id, time: Time::from_micros(row.at), fields: None, exclude: false };
        let full = OwnEvent { fields: Some(values(row, text_ids)), ..bare.clone() };
        let ask = Ask {
            keys: &keys,
            request: &[ValueRef::Float(row.amount), ValueRef::Null],
            as_of: Time::from_micros(row.at),
            version: older.then_some(version),
            own_event: own.then_some(if whole { &full } else { &bare }),
            mode,
        };
        let mut answer = Answer::default();
        store.read(&lookup, &ask, &mut answer).expect("read");
        // The view `pairs` keeps no column, so a row has all of its event.
        let mut pairs = Answer::default();
        store.read(&lookup, &Ask { own_event: own.then_some(&full), ..ask }, &mut pairs).expect("read");
        for (at, (name, cell)) in lookup.columns.iter().zip(&answer.cells).enumerate() {
            let cell = if name.starts_with("pairs.") { &pairs.cells[at] } else { cell };
            let found = value_at(made.column_by_name(name).expect("a column"), n);
            let expected = if keyless { &Value::Null } else { &cell.value };
            assert_eq!(&found, expected, "{case:?} row {n} {name}");
            if at < lookup.features.len() {
                let statuses = made.column_by_name(&format!("{name}.status")).expect("a status");
                let statuses = arrow::compute::cast(statuses, &DataType::Utf8).expect("text");
                let expected = if keyless { "NOT_FOUND" } else { status_name(cell.status) };
                assert_eq!(statuses.as_string::<i32>().value(n), expected, "{case:?} row {n} {name}");
            }
        }
    }
}

#[test]
fn a_training_set_is_what_reads_say_row_by_row() {
    for seed in 0..96 {
        let bit = |n: u64| seed >> n & 1 == 1;
        let mode = if bit(1) { Mode::AsCorrected } else { Mode::AsServed };
        check(Case { seed, text_ids: bit(0), mode, own: !bit(2), whole: !bit(3), older: bit(4), cold: bit(5) || seed > 63 });
    }
}

fn refused(change: impl FnOnce(&mut TrainingRequest)) -> String {
    let text = TEXT.replace("ID", "int64");
    let definitions = Arc::new(Definitions::parse("test.yaml", &text).expect("proven"));
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("store"), definitions.clone(), &text, Settings::default()).expect("opened");
    let spine = directory.path().join("spine.parquet");
    write(&spine, &spine_of(&[any_event(&mut Chance(1), 0)], false), 50);
    let mut request = TrainingRequest {
        spec: TrainingSpec {
            lookup: Arc::new(Lookup::of_service(definitions, 0)),
            time: "at".to_owned(),
            event_id: None,
            mode: Mode::AsServed,
            version: None,
            threads: 1,
            statuses: false,
        },
        spine: spine.clone(),
        out: directory.path().join("out.parquet"),
    };
    change(&mut request);
    let error: TrainingError = write_training_set(&store, &request, &|_| {}).expect_err("refused");
    let files: Vec<_> =
        std::fs::read_dir(directory.path()).expect("listed").filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    assert!(!files.iter().any(|f| f.contains("out.parquet")), "nothing is left behind: {files:?}");
    error.to_string().replace(&*directory.path().to_string_lossy(), "DIR")
}

#[test]
fn what_is_wrong_is_told_by_name() {
    assert_eq!(
        refused(|r| r.spec.time = "att".to_owned()),
        "spine lacks the time column, did you mean at? spine=DIR/spine.parquet column=att expected=timestamp columns=[label: Utf8, \
         at: Timestamp(ns, \"+02:00\"), card: Int32, shop: Utf8, id: Int64, amount: Float64, n: Int64, fraud: Boolean]"
    );
    assert_eq!(
        refused(|r| r.spec.time = "shop".to_owned()),
        "time column has a type that does not widen to the definition's: cast it in the spine. spine=DIR/spine.parquet column=shop \
         expected=timestamp found=Utf8"
    );
    assert_eq!(
        refused(|r| r.spec.event_id = Some("label".to_owned())),
        "event id column has a type that does not widen to the definition's: cast it in the spine. spine=DIR/spine.parquet column=label \
         expected=int64 found=Utf8"
    );
    assert_eq!(refused(|r| r.spec.version = Some(9)), "no commit has this version yet. version=9 newest=0");
    let same = "training set would replace its own spine: name another output. path=DIR/spine.parquet";
    assert_eq!(refused(|r| r.out = r.spine.clone()), same);
    assert!(
        refused(|r| r.spine = "/no/such".into()).starts_with("spine cannot be opened: check the path and its permissions. path=/no/such")
    );
}
