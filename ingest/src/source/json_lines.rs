//! JSON lines: one object a line. A line that is not one is rejected and the next line goes on; empty lines count as positions.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use floodmark_features::definition;
use floodmark_intake::batch::{BATCH_BYTES, SourceBatch};
use floodmark_intake::columns::RowBuilder;

use super::lines::{Line, Lines};
use super::{Source, SourceError};
use crate::record::{json, too_long};

/// The events of a JSON-lines file.
#[derive(Debug)]
pub(super) struct JsonLinesSource {
    path: PathBuf,
    lines: Lines,
    total_bytes: u64,
    rows: RowBuilder,
    /// Lines read so far.
    position: u64,
}

impl JsonLinesSource {
    pub(super) fn open(
        path: &Path,
        file: File,
        source: &definition::Source,
        from: u64,
        required: &[usize],
    ) -> Result<JsonLinesSource, SourceError> {
        let total_bytes = file.metadata().map_or(0, |m| m.len());
        let rows = RowBuilder::new(source, required);
        let mut opened = JsonLinesSource { path: path.to_owned(), lines: Lines::new(file), total_bytes, rows, position: 0 };
        while opened.position < from {
            if !opened.lines.skip().map_err(|error| opened.read_error(error))? {
                return Err(SourceError::Shorter { path: opened.path, records: opened.position, from });
            }
            opened.position += 1;
        }
        Ok(opened)
    }

    fn read_error(&self, error: io::Error) -> SourceError {
        SourceError::Read { path: self.path.clone(), position: self.position, detail: error.to_string() }
    }
}

impl Source for JsonLinesSource {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        let until = self.lines.bytes_read + BATCH_BYTES as u64;
        while !self.rows.is_full() && self.lines.bytes_read < until {
            let line = match self.lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return Err(self.read_error(error)),
            };
            take(&mut self.rows, self.position, line);
            self.position += 1;
        }
        Ok(if self.rows.is_empty() { None } else { Some(self.rows.finish(self.position)) })
    }

    fn total_rows(&self) -> Option<u64> {
        None
    }

    fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    fn bytes_read(&self) -> u64 {
        self.lines.bytes_read
    }
}

fn take(rows: &mut RowBuilder, offset: u64, line: Line<'_>) {
    match line {
        Line::TooLong(head) => too_long(offset, head, rows),
        Line::Whole(bytes) if bytes.trim_ascii().is_empty() => {}
        Line::Whole(bytes) => json::take(offset, bytes, rows),
    }
}
