//! Files that batches wait in: one for each part or block, as Arrow IPC streams.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::sync::Mutex;

use super::{ROW, Scratch};
use crate::error::TrainingError;

type Writer = StreamWriter<BufWriter<File>>;

/// Files in the making; each is made when something is to go into it.
pub(crate) struct Spill {
    files: Vec<PathBuf>,
    writers: Vec<Mutex<Option<Writer>>>,
}

/// Files that are whole.
#[derive(Debug)]
pub(crate) struct Spilled(Vec<Option<PathBuf>>);

pub(crate) fn broken(error: ArrowError) -> TrainingError {
    TrainingError::Scratch { detail: error.to_string() }
}

impl Spill {
    pub(crate) fn new(scratch: &Scratch, name: &str, many: usize) -> Spill {
        let file = |at: usize| scratch.file(&format!("{name}-{at}.arrow"));
        Spill { files: (0..many).map(file).collect(), writers: (0..many).map(|_| Mutex::new(None)).collect() }
    }

    /// Puts a batch into a file.
    pub(crate) fn put(&self, at: usize, batch: &RecordBatch) -> Result<(), TrainingError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut writer = self.writers[at].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if writer.is_none() {
            let file = File::create(&self.files[at]).map_err(|error| TrainingError::write(&self.files[at], error))?;
            *writer = Some(StreamWriter::try_new(BufWriter::with_capacity(1 << 16, file), &batch.schema()).map_err(broken)?);
        }
        writer.as_mut().map_or(Ok(()), |writer| writer.write(batch)).map_err(broken)
    }

    /// Puts the rows of a batch into the files of their parts.
    pub(crate) fn by_part(&self, batch: &RecordBatch, parts: Vec<Vec<u32>>) -> Result<(), TrainingError> {
        for (at, rows) in parts.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            self.put(at, &take_record_batch(batch, &UInt32Array::from(rows)).map_err(broken)?)?;
        }
        Ok(())
    }

    /// Puts the rows of a batch into the files of their blocks, of which `starts` tells the first rows.
    pub(crate) fn by_block(&self, batch: &RecordBatch, starts: &[u64]) -> Result<(), TrainingError> {
        let rows = batch.column_by_name(ROW).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let rows = rows.ok_or_else(|| broken(ArrowError::SchemaError(format!("no column {ROW}"))))?.values();
        let mut blocks = vec![Vec::new(); starts.len()];
        for (at, row) in rows.iter().enumerate() {
            blocks[starts.partition_point(|start| *start <= *row as u64) - 1].push(at as u32);
        }
        self.by_part(batch, blocks)
    }

    /// Ends the files.
    pub(crate) fn finish(self) -> Result<Spilled, TrainingError> {
        let end =
            |(file, writer): (PathBuf, Mutex<Option<Writer>>)| match writer.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
            {
                Some(mut writer) => writer.finish().map_err(broken).map(|()| Some(file)),
                None => Ok(None),
            };
        Ok(Spilled(self.files.into_iter().zip(self.writers).map(end).collect::<Result<_, _>>()?))
    }
}

impl Spilled {
    /// What went into a file. The file is gone then: each is read once.
    pub(crate) fn read(&self, at: usize) -> Result<Vec<RecordBatch>, TrainingError> {
        let Some(path) = &self.0[at] else { return Ok(Vec::new()) };
        let file = File::open(path).map_err(|error| broken(error.into()))?;
        let reader = StreamReader::try_new(BufReader::with_capacity(1 << 18, file), None).map_err(broken)?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(broken)?;
        std::fs::remove_file(path).map_err(|error| broken(error.into()))?;
        Ok(batches)
    }

    /// The same as one batch; nothing if nothing went into it.
    pub(crate) fn read_whole(&self, at: usize) -> Result<Option<RecordBatch>, TrainingError> {
        let batches = self.read(at)?;
        batches.first().map(|first| concat_batches(&first.schema(), &batches).map_err(broken)).transpose()
    }
}
