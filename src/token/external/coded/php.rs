//! PHP's serialisation, as far as a token needs it: texts, and arrays of simple values. No objects.

/// Arrays in arrays beyond this are not read.
const DEPTH_MOST: usize = 8;

/// A value, and what follows it.
type Parsed<'a> = Option<(Php<'a>, &'a [u8])>;

enum Php<'a> {
    Text(&'a [u8]),
    /// Keys that are texts, and their values that are texts.
    Array(Vec<(&'a [u8], &'a [u8])>),
    Other,
}

/// The text, if the whole value is one.
pub(super) fn text(value: &[u8]) -> Option<Vec<u8>> {
    match parse(value, DEPTH_MOST)? {
        (Php::Text(text), b"") => Some(text.to_vec()),
        _ => None,
    }
}

/// The first of these fields, if the whole value is an array that has one as a text.
pub(super) fn field(value: &[u8], names: &[&str]) -> Option<Vec<u8>> {
    let (Php::Array(entries), b"") = parse(value, DEPTH_MOST)? else { return None };
    let named = |name: &&str| entries.iter().find(|(key, _)| *key == name.as_bytes());
    names.iter().find_map(named).map(|(_, text)| text.to_vec())
}

fn parse(value: &[u8], depth: usize) -> Parsed<'_> {
    match value {
        [b'N', b';', rest @ ..] => Some((Php::Other, rest)),
        [b'i' | b'b' | b'd', b':', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b';')?;
            let is_number = rest[..end].iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
            (is_number && end > 0).then(|| (Php::Other, &rest[end + 1..]))
        }
        [b's', b':', rest @ ..] => {
            let (length, rest) = count(rest)?;
            let (text, rest) = rest.strip_prefix(b"\"")?.split_at_checked(length)?;
            Some((Php::Text(text), rest.strip_prefix(b"\";")?))
        }
        [b'a', b':', rest @ ..] => {
            let (length, rest) = count(rest)?;
            entries(length, rest.strip_prefix(b"{")?, depth.checked_sub(1)?)
        }
        _ => None,
    }
}

fn entries(length: usize, mut rest: &[u8], depth: usize) -> Parsed<'_> {
    let mut entries = Vec::new();
    for _ in 0..length {
        let (key, behind) = parse(rest, depth)?;
        let (value, behind) = parse(behind, depth)?;
        if let (Php::Text(key), Php::Text(value)) = (key, value) {
            entries.push((key, value));
        }
        rest = behind;
    }
    Some((Php::Array(entries), rest.strip_prefix(b"}")?))
}

/// Digits and a colon.
fn count(value: &[u8]) -> Option<(usize, &[u8])> {
    let end = value.iter().position(|byte| *byte == b':')?;
    let digits = &value[..end];
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    Some((number, &value[end + 1..]))
}
