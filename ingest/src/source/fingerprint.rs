//! The identity of a file, so that a resumed read notices another file under the same name.
//!
//! ```text
//! bits 63..16  upper 48 bits of the xxh3 of the head, for Parquet of head and footer
//! bits 15..0   length of the head: the first 65,535 bytes, or the whole of a shorter file
//! ```
//!
//! Text files grow at their end; as the length of the head is part of the fingerprint, [`same_file`] holds for them still.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

const HEAD_BYTES: u64 = u16::MAX as u64;
const HASH_MASK: u64 = !HEAD_BYTES;
/// A Parquet file ends with the length of its footer (4 bytes) and `PAR1`.
const TAIL_BYTES: u64 = 8;

/// The fingerprint of a file as it is now. Compare with [`same_file`]: a short text file that has grown has another one.
pub fn fingerprint(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    let head = file.metadata()?.len().min(HEAD_BYTES);
    Ok(hash(path, file, head)? | head)
}

/// Whether the file is the one of that fingerprint, or what it has grown to.
pub fn same_file(path: &Path, fingerprint: u64) -> io::Result<bool> {
    let file = File::open(path)?;
    let head = fingerprint & HEAD_BYTES;
    Ok(file.metadata()?.len() >= head && hash(path, file, head)? == fingerprint & HASH_MASK)
}

fn hash(path: &Path, mut file: File, head: u64) -> io::Result<u64> {
    let mut bytes = Vec::with_capacity(head as usize);
    file.by_ref().take(head).read_to_end(&mut bytes)?;
    let mut hash = Xxh3::new();
    hash.update(&bytes);
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) {
        hash.update(&footer(&mut file)?);
    }
    Ok(hash.digest() & HASH_MASK)
}

/// The footer of a Parquet file, which knows the place and statistics of everything before it; of a broken file, its last bytes.
fn footer(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut tail = [0; TAIL_BYTES as usize];
    if length < TAIL_BYTES {
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(length - TAIL_BYTES))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, ..] = tail;
    let footer = u64::from(u32::from_le_bytes([a, b, c, d])).min(length - TAIL_BYTES);
    file.seek(SeekFrom::Start(length - TAIL_BYTES - footer))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
