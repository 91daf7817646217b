//! The bytes of one Avro record, from its beginning to its end. Whatever they say, reading is bounded by their number.

/// What is the matter with bytes that are not Avro.
pub(super) type Malformed = &'static str;

/// How deep types may stand in each other: more would only be the stack that a damaged record asks for.
const MAX_DEPTH: usize = 64;
/// How many items a record may have beside one for each of its bytes: there are types without bytes.
const EMPTY_ITEMS: usize = 65_536;

/// What is left to read.
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
    depth: usize,
    items: usize,
}

/// Whether items are looked at; if not, a block that says how long it is goes at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    Read,
    Skipped,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes { rest: bytes, depth: 0, items: bytes.len() + EMPTY_ITEMS }
    }

    /// Reads what stands in something else.
    pub(super) fn within<T>(&mut self, read: impl FnOnce(&mut Bytes<'a>) -> Result<T, Malformed>) -> Result<T, Malformed> {
        if self.depth == MAX_DEPTH {
            return Err("types stand too deep in each other");
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Goes through the items of a list or a map, block by block.
    pub(super) fn items(&mut self, items: Items, mut read: impl FnMut(&mut Bytes<'a>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        while let Some((count, bytes)) = self.block()? {
            if let (Items::Skipped, Some(bytes)) = (items, bytes) {
                self.take(bytes)?;
                continue;
            }
            for _ in 0..count {
                self.items = self.items.checked_sub(1).ok_or("more items than bytes")?;
                self.within(&mut read)?;
            }
        }
        Ok(())
    }

    /// How many items the next block has, and its bytes if it says so; `None` at the end.
    fn block(&mut self) -> Result<Option<(u64, Option<usize>)>, Malformed> {
        let count = self.long()?;
        let bytes = if count < 0 { Some(self.length()?) } else { None };
        Ok(if count == 0 { None } else { Some((count.unsigned_abs(), bytes)) })
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("record ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("record ends early")?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Bytes with their length before them.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn str(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "string is not UTF-8")
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err("boolean is neither 0 nor 1"),
        }
    }

    pub(super) fn int(&mut self) -> Result<i32, Malformed> {
        i32::try_from(self.long()?).map_err(|_| "int has more than 32 bits")
    }

    /// Seven bits a byte, the lowest first; the lowest bit of all is the sign.
    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            if shift == 63 && byte > 1 {
                break;
            }
            bits |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err("long has more than 64 bits")
    }

    /// The place of something in a list of its type.
    pub(super) fn index(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.long()?).map_err(|_| "index is negative")
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.long()?).map_err(|_| "length is negative")
    }

    /// The bytes are used up: else they were written with another schema.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err("bytes are left over") }
    }
}
