//! CSV with a header: columns by name, quoted fields may hold line feeds, an empty field is null.
//!
//! The position of a record is its number after the header; empty lines are no records. Records are read in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use csv_core::ReadRecordResult;
use floodmark_features::definition;
use floodmark_features::value::ValueRef;
use floodmark_intake::batch::{BATCH_BYTES, SourceBatch};
use floodmark_intake::columns::RowBuilder;
use floodmark_intake::field::typed_text;
use floodmark_intake::payload::{MAX_PAYLOAD_BYTES, lossy, payload_of_values};
use floodmark_intake::reject::{Reject, RejectReason};

use super::error::positions;
use super::{MAX_RECORD_BYTES, Source, SourceError};

/// A record with more fields is rejected.
const MAX_FIELDS: usize = 64 * 1024;

/// The events of a CSV file.
pub(super) struct CsvSource {
    path: PathBuf,
    records: Records,
    total_bytes: u64,
    header: Vec<String>,
    /// For each column of the schema, its position in the header.
    positions: Vec<usize>,
    rows: RowBuilder,
    /// Records read so far.
    position: u64,
}

impl CsvSource {
    pub(super) fn open(
        path: &Path,
        file: File,
        source: &definition::Source,
        from: u64,
        required: &[usize],
    ) -> Result<CsvSource, SourceError> {
        let path = path.to_owned();
        let total_bytes = file.metadata().map_or(0, |m| m.len());
        let mut records = Records::new(file);
        let header = match records.next_record() {
            Ok(Some(Record::Whole(fields))) => {
                (0..fields.len()).map(|n| String::from_utf8_lossy(fields.get(n)).trim().to_owned()).collect::<Vec<_>>()
            }
            Ok(_) => return Err(SourceError::NoHeader { path }),
            Err(error) => return Err(SourceError::Open { path, error }),
        };
        let positions = positions(&path, &source.schema.columns, header.iter().map(String::as_str))?;
        let rows = RowBuilder::new(source, required);
        let mut opened = CsvSource { path, records, total_bytes, header, positions, rows, position: 0 };
        while opened.position < from {
            match opened.records.next_record() {
                Ok(Some(_)) => opened.position += 1,
                Ok(None) => return Err(SourceError::Shorter { path: opened.path, records: opened.position, from }),
                Err(error) => return Err(opened.read_error(error)),
            }
        }
        Ok(opened)
    }

    fn read_error(&self, error: io::Error) -> SourceError {
        SourceError::Read { path: self.path.clone(), position: self.position, detail: error.to_string() }
    }
}

impl Source for CsvSource {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, SourceError> {
        let until = self.records.bytes_read + BATCH_BYTES as u64;
        while !self.rows.is_full() && self.records.bytes_read < until {
            match self.records.next_record() {
                Ok(Some(Record::Whole(fields))) => take(&mut self.rows, self.position, fields, &self.header, &self.positions),
                Ok(Some(Record::TooLong(head))) => {
                    let reason = RejectReason::TooLong { limit: MAX_RECORD_BYTES };
                    self.rows.reject(Reject::new(self.position, reason, lossy(head)));
                }
                Ok(None) => break,
                Err(error) => return Err(self.read_error(error)),
            }
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
        self.records.bytes_read
    }
}

fn take(rows: &mut RowBuilder, offset: u64, fields: Fields<'_>, header: &[String], positions: &[usize]) {
    let whole = || serde_json::Value::from_iter((0..fields.len()).map(|n| lossy(fields.get(n)))).to_string();
    // Two halves of a character in neighbouring fields are text together, but not apart.
    let apart = |text: &&str| fields.ends.iter().all(|end| text.is_char_boundary(*end));
    let Some(text) = std::str::from_utf8(fields.bytes).ok().filter(apart) else {
        return rows.reject(Reject::new(offset, RejectReason::InvalidUtf8, whole()));
    };
    if fields.len() != header.len() {
        let reason = RejectReason::FieldCount { expected: header.len(), found: fields.len() };
        return rows.reject(Reject::new(offset, reason, whole()));
    }
    let field = |n: usize| &text[fields.range(n)];
    let named = || payload_of_values(header.iter().enumerate().map(|(n, name)| (name.as_str(), ValueRef::Str(field(n)))));
    rows.push_with(offset, |position, column| typed_text(field(positions[position]), column), named);
}

/// Reads record after record into one buffer.
struct Records {
    reader: BufReader<File>,
    core: csv_core::Reader,
    /// The fields of the record one after the other, unquoted.
    bytes: Vec<u8>,
    /// Where each field ends.
    ends: Vec<usize>,
    bytes_read: u64,
}

enum Record<'a> {
    Whole(Fields<'a>),
    /// The beginning of a record of more than [`MAX_RECORD_BYTES`] or [`MAX_FIELDS`]; the rest was skipped.
    TooLong(&'a [u8]),
}

#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Fields<'a> {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn range(&self, n: usize) -> std::ops::Range<usize> {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        start..self.ends[n]
    }

    fn get(&self, n: usize) -> &'a [u8] {
        &self.bytes[self.range(n)]
    }
}

impl Records {
    fn new(file: File) -> Records {
        let reader = BufReader::with_capacity(256 * 1024, file);
        Records { reader, core: csv_core::Reader::new(), bytes: vec![0; 4096], ends: vec![0; 64], bytes_read: 0 }
    }

    /// The next record; `None` at the end of the file.
    fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        let (mut filled, mut fields, mut too_long) = (0, 0, false);
        loop {
            let input = self.reader.fill_buf()?;
            let (result, read, written, ended) = self.core.read_record(input, &mut self.bytes[filled..], &mut self.ends[fields..]);
            self.reader.consume(read);
            self.bytes_read += read as u64;
            filled += written;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.bytes.len() < MAX_RECORD_BYTES => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() < MAX_FIELDS => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    // From here on the record is only followed to its end; its beginning stays for the payload.
                    too_long = true;
                    filled = filled.min(MAX_PAYLOAD_BYTES + 1);
                    fields = 0;
                }
                ReadRecordResult::Record if too_long => return Ok(Some(Record::TooLong(&self.bytes[..filled]))),
                ReadRecordResult::Record => {
                    return Ok(Some(Record::Whole(Fields { bytes: &self.bytes[..filled], ends: &self.ends[..fields] })));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }
}
