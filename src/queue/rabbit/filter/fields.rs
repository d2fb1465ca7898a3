//! AMQP field tables as bytes: whether lapin reads them, and a copy that it reads. Pure.
//!
//! A publisher may put any bytes into a header table, and RabbitMQ delivers them. lapin reads only header names in UTF-8,
//! and its parser is recursive: a table nested some thousand levels deep overflows the stack of its thread.

use crate::queue::rabbit::envelope::{DEAD_AT, DELIVERIES, MAC, OWNER, QUEUE, REASON, TAKEN_BACK, WORKER};
use crate::queue::rabbit::letter::DEATH;

/// The maximum nesting of tables and arrays. What lies deeper is handed on as bytes.
pub(super) const DEEPEST: usize = 32;
/// The maximum number of values in one table, nested values included. lapin needs 32 times as much memory as the frame for
/// a table of empty values.
pub(super) const VALUES_MOST: usize = 4096;
/// The headers that quicklogin reads, in the order in which they are kept if not all fit.
const NEEDED: [&str; 10] = [TAKEN_BACK, OWNER, MAC, QUEUE, REASON, DEAD_AT, DELIVERIES, WORKER, "traceparent", DEATH];

/// Reads bytes from the front; `None` means that there are too few.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Option<usize> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    }

    /// A short string: its length in one byte, then its bytes.
    pub(super) fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }

    /// A long string, table or array: its length in four bytes, then its bytes.
    pub(super) fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length)
    }

    /// A table that may claim to be longer than its message.
    pub(super) fn long_or_rest(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length.min(self.0.len()))
    }

    /// A value of this type, with its length if it has one.
    fn value(&mut self, kind: u8) -> Option<&'a [u8]> {
        let begin = self.0;
        match kind {
            b'S' | b'x' | b'F' | b'A' => self.long().map(drop)?,
            _ => self.take(fixed_length(kind)?).map(drop)?,
        }
        Some(&begin[..begin.len() - self.0.len()])
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let (name, kind) = (self.short()?, self.byte()?);
        Some(Entry { name, kind, value: self.value(kind)? })
    }
}

/// The length of a value that does not carry its length; `None` for a type that lapin does not know.
fn fixed_length(kind: u8) -> Option<usize> {
    Some(match kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'U' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'L' | b'l' | b'd' | b'T' => 8,
        _ => return None,
    })
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    name: &'a [u8],
    kind: u8,
    value: &'a [u8],
}

/// Whether lapin reads these entries of a message's header table, and reads of each count what RabbitMQ wrote.
pub(super) fn are_readable(entries: &[u8]) -> bool {
    let (mut cursor, mut left, mut counted) = (Cursor(entries), VALUES_MOST, false);
    while !cursor.0.is_empty() {
        let Some(name) = checked_entry(&mut cursor, 1, &mut left) else { return false };
        if name == TAKEN_BACK.as_bytes() && std::mem::replace(&mut counted, true) {
            // RabbitMQ writes the first of two; lapin would read the second.
            return false;
        }
    }
    true
}

fn checked_entry<'a>(cursor: &mut Cursor<'a>, depth: usize, left: &mut usize) -> Option<&'a [u8]> {
    let name = cursor.short()?;
    std::str::from_utf8(name).ok()?;
    checked_value(cursor, depth, left)?;
    Some(name)
}

fn checked_value(cursor: &mut Cursor<'_>, depth: usize, left: &mut usize) -> Option<()> {
    *left = left.checked_sub(1)?;
    let kind = cursor.byte()?;
    if !matches!(kind, b'F' | b'A') {
        return cursor.value(kind).map(drop);
    }
    let mut inner = Cursor(cursor.long().filter(|_| depth < DEEPEST)?);
    while !inner.0.is_empty() {
        match kind {
            b'F' => checked_entry(&mut inner, depth + 1, left).map(drop)?,
            _ => checked_value(&mut inner, depth + 1, left)?,
        }
    }
    Some(())
}

/// Appends these entries of a message's header table as lapin reads them, as far as they fit into `room` bytes: first those
/// that quicklogin needs. Behind a value whose type is unknown nothing can be read, and all of it is left out.
pub(super) fn copy_readable(entries: &[u8], room: usize, to: &mut Vec<u8>) {
    let (end, mut left) = (to.len() + room, VALUES_MOST);
    let is = |entry: &Entry<'_>, name: &str| entry.name == name.as_bytes();
    let needed = NEEDED.iter().filter_map(|name| each(entries).find(|entry| is(entry, name)));
    let others = each(entries).filter(|entry| !NEEDED.iter().any(|name| is(entry, name)));
    for entry in needed.chain(others) {
        if to.len() + entry.name.len() + entry.value.len() + 2 <= end {
            copy_entry(entry, 1, &mut left, to);
        }
    }
}

fn each(entries: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut cursor = Cursor(entries);
    std::iter::from_fn(move || cursor.entry())
}

fn copy_entry(entry: Entry<'_>, depth: usize, left: &mut usize, to: &mut Vec<u8>) {
    let Entry { name, kind, value } = entry;
    if *left > 0 {
        to.push(u8::try_from(name.len()).expect("its length was one byte"));
        let at = to.len();
        to.extend_from_slice(name);
        make_text(&mut to[at..]);
        copy_value(kind, value, depth, left, to);
    }
}

/// No longer than it was.
fn copy_value(kind: u8, value: &[u8], depth: usize, left: &mut usize, to: &mut Vec<u8>) {
    let Some(more) = left.checked_sub(1) else { return };
    *left = more;
    let is_nested = matches!(kind, b'F' | b'A');
    if !is_nested || depth >= DEEPEST {
        // The bytes of a table are a byte array as they stand.
        to.push(if is_nested { b'x' } else { kind });
        to.extend_from_slice(value);
        return;
    }
    to.push(kind);
    let at = to.len();
    to.extend_from_slice(&[0; 4]);
    let mut inner = Cursor(&value[4..]);
    while *left > 0 {
        match kind {
            b'F' => {
                let Some(entry) = inner.entry() else { break };
                copy_entry(entry, depth + 1, left, to);
            }
            _ => {
                let Some(kind) = inner.byte() else { break };
                let Some(value) = inner.value(kind) else { break };
                copy_value(kind, value, depth + 1, left, to);
            }
        }
    }
    let length = u32::try_from(to.len() - at - 4).expect("no longer than it was, and its length was four bytes");
    to[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Replaces each byte that is not part of UTF-8 text.
pub(super) fn make_text(bytes: &mut [u8]) {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        let begin = from + error.valid_up_to();
        from = error.error_len().map_or(bytes.len(), |length| begin + length);
        bytes[begin..from].fill(b'?');
    }
}
