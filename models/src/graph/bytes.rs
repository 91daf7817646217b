//! The fields of a protobuf message as they lie in its bytes, so that what is not understood can be copied.

/// One field.
pub(super) struct Field<'a> {
    /// Its number.
    pub(super) tag: usize,
    /// Number, length and content.
    pub(super) whole: &'a [u8],
    /// The content, of a field that has a length; else empty.
    pub(super) content: &'a [u8],
}

/// The fields of a message, in order; `None` where the bytes are no message.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let mut rest = message;
        let key = varint(&mut rest)?;
        let content = match key & 7 {
            0 => {
                varint(&mut rest)?;
                &[][..]
            }
            1 => take(&mut rest, 8).map(|_| &[][..])?,
            2 => {
                let length = varint(&mut rest)?;
                take(&mut rest, length)?
            }
            5 => take(&mut rest, 4).map(|_| &[][..])?,
            _ => return None,
        };
        let (whole, after) = message.split_at(message.len() - rest.len());
        found.push(Field { tag: key >> 3, whole, content });
        message = after;
    }
    Some(found)
}

/// Appends a field that has a length.
pub(super) fn put(out: &mut Vec<u8>, tag: usize, content: &[u8]) {
    put_varint(out, tag << 3 | 2);
    put_varint(out, content.len());
    out.extend_from_slice(content);
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value as usize);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
