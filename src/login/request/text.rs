//! The JSON text of a body, without what editors, files and C strings put around it.

use std::borrow::Cow;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The text of a body, which begins like a JSON object; or why it is none.
///
/// A byte order mark and white space around it, and NULs behind it, are skipped. Bytes that are not UTF-8 become U+FFFD:
/// in a field that is ignored they do no harm, and in any other they break the field's own rule.
pub(super) fn json_text(body: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    let inner = trimmed(body);
    if inner.is_empty() {
        return Err("the body is empty, not a JSON object");
    }
    if let Some(format) = other_format(body) {
        return Err(format);
    }
    match inner[0] {
        b'{' => Ok(String::from_utf8_lossy(inner)),
        _ if std::str::from_utf8(inner).is_err() => Err("the body is not UTF-8"),
        b'[' => Err("the body is a JSON array, not a JSON object: send the object without an array around it"),
        b'"' => Err("the body is a JSON string, not a JSON object: it was encoded twice"),
        _ => Err("the body is not a JSON object"),
    }
}

fn trimmed(body: &[u8]) -> &[u8] {
    let mut inner = body;
    loop {
        let shorter = inner.trim_ascii();
        let shorter = shorter.strip_prefix(BOM).unwrap_or(shorter);
        let shorter = shorter.strip_suffix(b"\0").unwrap_or(shorter);
        let shorter = shorter.strip_suffix(BOM).unwrap_or(shorter);
        if shorter.len() == inner.len() {
            return inner;
        }
        inner = shorter;
    }
}

/// What the first bytes say of a body that is no UTF-8 text.
fn other_format(body: &[u8]) -> Option<&'static str> {
    const COMPRESSED: &str = "the body is compressed: send it uncompressed";
    match body {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("the body is UTF-32: send UTF-8"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("the body is UTF-16: send UTF-8"),
        // Gzip, zstd, zlib.
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(COMPRESSED),
        [0xac, 0xed, 0, 5, ..] => Some("the body is a serialized Java object: send JSON"),
        // JSON begins with two ASCII characters.
        [0, 0, 0, 1..=0x7f, ..] | [1..=0x7f, 0, 0, 0, ..] => Some("the body is UTF-32: send UTF-8"),
        [0, 1..=0x7f, 0, ..] | [1..=0x7f, 0, 1..=0x7f, 0, ..] => Some("the body is UTF-16: send UTF-8"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surrounds_the_object_is_skipped() {
        let object = r#"{"a":" \u0000"}"#;
        for (before, behind) in [
            ("", ""),
            ("\u{feff}", ""),
            ("\u{feff} \r\n\t", "\n"),
            (" \u{feff}\u{feff}\n", "\0"),
            ("", "\r\n\0\0 \0\n\u{feff}"),
        ] {
            let body = format!("{before}{object}{behind}");
            assert_eq!(json_text(body.as_bytes()).as_deref(), Ok(object), "{body:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        assert_eq!(json_text(b"{\"a\":\"\xff\xb0\"}").as_deref(), Ok("{\"a\":\"\u{fffd}\u{fffd}\"}"));
    }

    #[test]
    fn another_format_is_named() {
        let object = r#" {"request_id":"r","code":"c"}"#;
        let utf16 = |order: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
            format!("{mark}{object}").encode_utf16().flat_map(order).collect()
        };
        let utf32 = |order: fn(u32) -> [u8; 4], mark: &str| -> Vec<u8> {
            format!("{mark}{object}").chars().flat_map(|c| order(c.into())).collect()
        };
        let mut rows: Vec<(Vec<u8>, &str)> = vec![
            (b"\x1f\x8b\x08\0\0\0".to_vec(), "compressed"),
            (b"\x28\xb5\x2f\xfd\0\0".to_vec(), "compressed"),
            (b"\x78\x9c\xab\x56".to_vec(), "compressed"),
            (b"\xac\xed\0\x05sr".to_vec(), "Java"),
            (b"\xff{}".to_vec(), "not UTF-8"),
            (b"".to_vec(), "empty"),
            ("\u{feff} \n".into(), "empty"),
            (b"\0\0\0\0".to_vec(), "empty"),
            (b"[{}]".to_vec(), "array"),
            (br#""{}""#.to_vec(), "string"),
            (b"code=c".to_vec(), "not a JSON object"),
            (b"x".to_vec(), "not a JSON object"),
        ];
        for mark in ["", "\u{feff}"] {
            rows.push((utf16(u16::to_le_bytes, mark), "UTF-16"));
            rows.push((utf16(u16::to_be_bytes, mark), "UTF-16"));
            rows.push((utf32(u32::to_le_bytes, mark), "UTF-32"));
            rows.push((utf32(u32::to_be_bytes, mark), "UTF-32"));
        }
        for (body, expected) in rows {
            let problem = json_text(&body).expect_err("no JSON object");
            assert!(problem.contains(expected), "{body:x?}: {problem}");
        }
    }
}
