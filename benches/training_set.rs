//! How long does a training set take: the twelve features of service `fraud` for each of 1,754,155 transactions, Parquet in and out?
//!
//! The store is made once from the same file and opened from disk before each run, so every timeline is cold. Peers do the same from
//! Parquet: `shared/peers/polars --threads 2`, `shared/peers/duckdb --threads 2`.
//!
//! ```text
//! cargo bench --bench training_set -- [transactions.parquet] [threads] [runs]
//! ```

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use floodmark_features::definition::Definitions;
use floodmark_features::key::{encode_key, hash_key, partition_of};
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::{Type, ValueRef};
use floodmark_features::watermark::SourceProgress;
use floodmark_store::{Commit, Settings, Store};
use floodmark_training::{TrainingRequest, TrainingSpec, write_training_set};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let input = PathBuf::from(args.next().unwrap_or_else(|| "../shared/data/transactions.parquet".to_owned()));
    let threads = args.next().map_or(Ok(2), |a| a.parse())?;
    let runs: usize = args.next().map_or(Ok(5), |a| a.parse())?;
    let text = std::fs::read_to_string("examples/fraud/floodmark.yaml")?;
    let definitions = Arc::new(Definitions::parse("floodmark.yaml", &text)?);
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("training.parquet");
    let place = directory.path().join("store");
    let start = Instant::now();
    fill(&place, &definitions, &text, &input)?;
    report(&format!("store made in {:.2} s", start.elapsed().as_secs_f64()));
    let (service, _) = definitions.service("fraud").ok_or("no service fraud")?;
    let lookup = Arc::new(Lookup::of_service(definitions.clone(), service));
    for event_id in [Some("transaction_id".to_owned()), None] {
        for _ in 0..runs {
            let start = Instant::now();
            let store = Store::open(&place, definitions.clone(), &text, Settings::default())?;
            let opened = start.elapsed();
            let request = TrainingRequest {
                spec: TrainingSpec {
                    lookup: lookup.clone(),
                    time: "tx_datetime".to_owned(),
                    event_id: event_id.clone(),
                    mode: Mode::AsServed,
                    version: None,
                    threads,
                    statuses: false,
                },
                spine: input.clone(),
                out: out.clone(),
            };
            let (start, busy) = (Instant::now(), processor_seconds());
            let summary = write_training_set(&store, &request, &|_| {})?;
            let seconds = start.elapsed().as_secs_f64();
            let busy = processor_seconds() - busy;
            let rate = summary.rows as f64 / seconds;
            report(&format!(
                "event_id={event_id:?} {} rows in {seconds:.3} s ({busy:.2} s of processor), {rate:.0} rows/s, {} MB, opened in {opened:?}, {:?}",
                summary.rows,
                summary.bytes / 1_000_000,
                summary.times
            ));
        }
    }
    if let Some(keep) = std::env::var_os("TRAINING_SET") {
        std::fs::copy(&out, keep)?;
    }
    Ok(())
}

/// Processor time of this process so far: a busy neighbour does not add to it. Linux only, else 0.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn report(line: &str) {
    eprintln!("{line}");
}

/// Commits the transactions in batches, writes the checkpoint and closes the store.
fn fill(place: &Path, definitions: &Arc<Definitions>, text: &str, input: &Path) -> Result<(), Box<dyn Error>> {
    let store = Store::open(place, definitions.clone(), text, Settings::default())?;
    let mut progress = SourceProgress::new(definitions.sources[0].max_out_of_orderness);
    let partition = progress.open("transactions");
    let mut sequence = 0;
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(input)?)?.with_batch_size(1 << 16).build()?;
    for batch in reader {
        let batch = batch?;
        let mut commit = Commit { read: batch.num_rows() as u64, ..Commit::default() };
        commit.partitions = (0..store.partitions()).map(|_| store.empty_sections()).collect();
        let times = arrow::compute::cast(column(&batch, "tx_datetime")?, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let times = times.as_primitive::<TimestampMicrosecondType>().clone();
        for row in 0..batch.num_rows() {
            progress.observe(partition, Time::from_micros(times.value(row)));
            route(&store, definitions, &batch, times.value(row), row, sequence, &mut commit)?;
            sequence += 1;
        }
        commit.progress = Some(progress.clone());
        publish(&store, commit)?;
    }
    progress.end(partition);
    publish(
        &store,
        Commit {
            progress: Some(progress),
            partitions: (0..store.partitions()).map(|_| store.empty_sections()).collect(),
            ..Commit::default()
        },
    )?;
    store.checkpoint()?;
    Ok(())
}

fn publish(store: &Store, commit: Commit) -> Result<(), Box<dyn Error>> {
    let mut batches = [commit];
    let version = store.commit(&mut batches, Time::from_micros(0))?[0];
    let outputs = store.apply_on_all_cores(version, &batches[0])?;
    store.publish(version, &batches[0], outputs);
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef, String> {
    batch.column_by_name(name).ok_or_else(|| format!("no column {name}"))
}

/// One transaction, on time, to each section.
fn route(
    store: &Store,
    definitions: &Definitions,
    batch: &RecordBatch,
    time: i64,
    row: usize,
    sequence: u64,
    commit: &mut Commit,
) -> Result<(), Box<dyn Error>> {
    let schema = &definitions.sources[0].schema;
    let word = |at: usize| -> Result<u64, String> {
        let wanted = &schema.columns[at];
        let array = column(batch, &wanted.name)?;
        Ok(match (wanted.kind, array.data_type()) {
            (Type::Int64, DataType::Int64) => array.as_primitive::<Int64Type>().value(row) as u64,
            (Type::Int64, DataType::Int32) => i64::from(array.as_primitive::<arrow::datatypes::Int32Type>().value(row)) as u64,
            (Type::Float64, DataType::Float64) => array.as_primitive::<Float64Type>().value(row).to_bits(),
            (Type::Bool, DataType::Boolean) => u64::from(array.as_boolean().value(row)),
            (Type::Timestamp, _) => time as u64,
            (kind, found) => return Err(format!("{} is {found}, not {kind}", wanted.name)),
        })
    };
    for (at, plan) in store.plan().sections.iter().enumerate() {
        let mut key = Vec::new();
        for column in &plan.key_columns {
            encode_key(&[ValueRef::Int(word(*column)? as i64)], &mut key);
        }
        let hash = hash_key(&key);
        let section = &mut commit.partitions[partition_of(hash, store.partitions())][at];
        section.sequence.push(sequence);
        section.keys.extend_from_slice(&key);
        section.key_ends.push(section.keys.len() as u32);
        section.hashes.push(hash);
        section.rows.words.extend([time as u64, word(0)?, time as u64, 0, 0]);
        for column in &plan.columns {
            section.rows.words.push(word(*column)?);
        }
    }
    Ok(())
}
