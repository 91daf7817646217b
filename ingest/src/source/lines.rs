//! Lines of a file in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use super::MAX_RECORD_BYTES;

const BUFFER_BYTES: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads line after line into one buffer.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    pub(super) bytes_read: u64,
}

/// What stands between two line feeds.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// The line without its end.
    Whole(&'a [u8]),
    /// The beginning of a line of more than [`MAX_RECORD_BYTES`]; the rest was skipped.
    TooLong(&'a [u8]),
}

impl Lines {
    pub(super) fn new(file: File) -> Lines {
        Lines { reader: BufReader::with_capacity(BUFFER_BYTES, file), line: Vec::new(), bytes_read: 0 }
    }

    /// Leaves a line out; `false` at the end of the file.
    pub(super) fn skip(&mut self) -> io::Result<bool> {
        let bytes = self.reader.skip_until(b'\n')?;
        self.bytes_read += bytes as u64;
        Ok(bytes > 0)
    }

    /// The next line; `None` at the end of the file.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let first = self.bytes_read == 0;
        let bound = MAX_RECORD_BYTES as u64 + 1;
        let bytes = self.reader.by_ref().take(bound).read_until(b'\n', &mut self.line)?;
        if bytes == 0 {
            return Ok(None);
        }
        self.bytes_read += bytes as u64;
        if bytes > MAX_RECORD_BYTES && self.line.last() != Some(&b'\n') {
            self.skip()?;
            return Ok(Some(Line::TooLong(&self.line)));
        }
        let line = if first { self.line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.line) } else { &self.line };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Ok(Some(Line::Whole(line.strip_suffix(b"\r").unwrap_or(line))))
    }
}
