//! Bytes to text: UTF-8, UTF-16, and what is neither.

/// The texts that a body may be, the likeliest first. What is good UTF-8 may be GBK all the same.
pub(super) fn readings(body: &[u8]) -> impl Iterator<Item = String> {
    let utf16 = utf16(body);
    let may_be_double_byte = utf16.is_none() && !body.is_ascii();
    let first = utf16.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let second = may_be_double_byte.then_some(()).into_iter().map(|()| double_byte(body));
    std::iter::once(first).chain(second)
}

/// With a byte order mark, or if the first two characters are ASCII ones in UTF-16.
fn utf16(body: &[u8]) -> Option<String> {
    let (from_bytes, text): (fn([u8; 2]) -> u16, _) = match body {
        [0xff, 0xfe, text @ ..] => (u16::from_le_bytes, text),
        [0xfe, 0xff, text @ ..] => (u16::from_be_bytes, text),
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => (u16::from_le_bytes, body),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => (u16::from_be_bytes, body),
        _ => return None,
    };
    let units: Vec<u16> = text.chunks_exact(2).map(|pair| from_bytes([pair[0], pair[1]])).collect();
    Some(String::from_utf16_lossy(&units))
}

/// As GBK, Big5 or Shift JIS has it: a byte above ASCII begins a pair whose second byte may be a backslash or a brace,
/// and never a quote. ASCII is kept, and each pair is one replacement character: names and numbers are ASCII.
fn double_byte(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if first.is_ascii() {
            text.push(char::from(*first));
            continue;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        if let [0x40..=0x7e | 0x80..=0xff, tail @ ..] = tail {
            rest = tail;
        }
    }
    text
}
