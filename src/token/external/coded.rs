//! What serialisers of other languages make of a token: PHP's, Java's, Redisson's codecs, JSON's. Only the token is read.
//!
//! Each form says how long its text is, and is taken only if that is exactly what follows: the length byte of one
//! serialiser may be a letter, and would otherwise be taken for the token's first.

mod php;

use serde_json::Value;

/// What is taken for a token at the end of a value that an unknown codec has written: WeChat's are above 100 characters.
const SHORTEST_IN_BINARY: usize = 64;
/// WeChat wants room for 512 characters. What is much longer is something else, and no URL could carry it: calls that
/// cannot be sent would look as if WeChat were away, and stop the logins of all apps.
const LONGEST: usize = 4096;
/// A serialised text may be the text of another serialiser's.
const LAYERS_MOST: usize = 4;
/// Java's serialisation: magic number and version, then a string with a length of 2 or of 8 bytes.
const JAVA: [u8; 4] = [0xac, 0xed, 0x00, 0x05];
const THINKPHP: &[u8] = b"think_serialize:";
const FIELDS: [&str; 2] = ["access_token", "accessToken"];

/// Whether a text can be a token at all: visible ASCII of a bounded length, and nothing that a serialiser or an error
/// page would have written around one.
pub(super) fn is_like_a_token(text: &str) -> bool {
    let is_sign_of_code = |byte: &u8| b"\"\\{}[]<>;".contains(byte);
    let is_visible = |byte: &u8| byte.is_ascii_graphic() && !is_sign_of_code(byte);
    let is_nothing = ["null", "nil", "none", "undefined", "nan", "true", "false"];
    (1..=LONGEST).contains(&text.len())
        && text.as_bytes().iter().all(is_visible)
        && !is_nothing.contains(&text.to_ascii_lowercase().as_str())
}

/// The token that stands alone in a value, whatever has serialised it.
pub(super) fn alone(value: &[u8]) -> Option<String> {
    alone_below(value, LAYERS_MOST).filter(|token| is_like_a_token(token))
}

/// The token in the field `access_token` of an object.
pub(super) fn in_field(value: &[u8]) -> Option<String> {
    in_field_below(value, LAYERS_MOST).filter(|token| is_like_a_token(token))
}

fn alone_below(value: &[u8], layers: usize) -> Option<String> {
    let (value, layers) = (trimmed(value), layers.checked_sub(1)?);
    if let Some(text) = php::field(value, &FIELDS).or_else(|| unwrapped(value)) {
        return alone_below(&text, layers);
    }
    match serde_json::from_slice(value) {
        Ok(Value::String(text)) => return alone_below(text.as_bytes(), layers),
        Ok(Value::Array(typed)) => return alone_below(with_its_class(&typed)?.as_str()?.as_bytes(), layers),
        // A token may be digits alone.
        Ok(Value::Number(_)) | Err(_) => {}
        Ok(_) => return None,
    }
    match std::str::from_utf8(value) {
        Ok(text) if is_like_a_token(text) => Some(text.to_owned()),
        _ => at_the_end(value),
    }
}

fn in_field_below(value: &[u8], layers: usize) -> Option<String> {
    let (value, layers) = (trimmed(value), layers.checked_sub(1)?);
    if let Some(token) = php::field(value, &FIELDS) {
        return String::from_utf8(token).ok();
    }
    if let Some(text) = unwrapped(value) {
        return in_field_below(&text, layers);
    }
    let json: Value = serde_json::from_slice(value).ok()?;
    let object = match &json {
        Value::String(text) => return in_field_below(text.as_bytes(), layers),
        Value::Array(typed) => with_its_class(typed)?,
        object => object,
    };
    FIELDS.iter().find_map(|field| object.get(field)?.as_str().map(str::to_owned))
}

/// Jackson and Fastjson write `["java.lang.String", …]` if they are to keep the type.
fn with_its_class(typed: &[Value]) -> Option<&Value> {
    match typed {
        [Value::String(class), value] if class.contains('.') => Some(value),
        _ => None,
    }
}

fn trimmed(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\xef\xbb\xbf").unwrap_or(value).trim_ascii()
}

/// The text within one layer of a serialiser that says how long the text is.
fn unwrapped(value: &[u8]) -> Option<Vec<u8>> {
    if let Some(inner) = value.strip_prefix(THINKPHP) {
        return Some(inner.to_vec());
    }
    php::text(value).or_else(|| binary(value).map(<[u8]>::to_vec))
}

fn binary(value: &[u8]) -> Option<&[u8]> {
    let (one, two, four) = (|rest| long(rest, 1), |rest| long(rest, 2), |rest| long(rest, 4));
    if let Some(string) = value.strip_prefix(&JAVA) {
        return match string.split_first()? {
            (0x74, rest) => two(rest),
            (0x7c, rest) => long(rest, 8),
            _ => None,
        };
    }
    match value {
        // igbinary, of format 1 and 2.
        [0, 0, 0, 1 | 2, 0x11, rest @ ..] => one(rest),
        [0, 0, 0, 1 | 2, 0x12, rest @ ..] => two(rest),
        [0, 0, 0, 1 | 2, 0x13, rest @ ..] => four(rest),
        // JBoss Marshalling (River), of version 3 and 4; a length of 0 stands for 256.
        [3 | 4, 0x3e, 0, rest @ ..] => exactly(rest, 256),
        [3 | 4, 0x3e, rest @ ..] => one(rest),
        [3 | 4, 0x3f, rest @ ..] => two(rest),
        [3 | 4, 0x40, rest @ ..] => four(rest),
        // Kryo: String is class 1, which is written as 3; a reference's mark may follow.
        [3, 1, rest @ ..] => kryo(rest).or_else(|| kryo(&value[1..])),
        [3, rest @ ..] => kryo(rest),
        // FST: the length is one byte, or 0x80 and two bytes, the lower first.
        [0xfc, 0x80, low, high, rest @ ..] => exactly(rest, usize::from(u16::from_le_bytes([*low, *high]))),
        [0xfc, rest @ ..] => one(rest),
        // CBOR, MessagePack.
        [0x78 | 0xd9, rest @ ..] => one(rest),
        [0x79 | 0xda, rest @ ..] => two(rest),
        [0x7a | 0xdb, rest @ ..] => four(rest),
        // Smile, with its header: text of ASCII or of UTF-8 up to an end mark.
        [b':', b')', b'\n', _, 0xe0 | 0xe4, rest @ .., 0xfc] => Some(rest),
        _ => None,
    }
}

/// What follows a length of so many bytes, the highest first; none if it is not as long as it says.
fn long(bytes: &[u8], width: usize) -> Option<&[u8]> {
    let (length, text) = bytes.split_at_checked(width)?;
    exactly(text, length.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?)
}

fn exactly(text: &[u8], length: usize) -> Option<&[u8]> {
    (text.len() == length && length > 0).then_some(text)
}

/// Kryo's length is one more than the text's: 6 bits with a mark in the first byte, then 7 in each, the lowest first.
fn kryo(bytes: &[u8]) -> Option<&[u8]> {
    let (first, mut rest) = bytes.split_first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let mut length = usize::from(first & 0x3f);
    let (mut goes_on, mut shift) = (first & 0x40 != 0, 6);
    while goes_on {
        let (next, behind) = rest.split_first().filter(|_| shift < 32)?;
        length |= usize::from(next & 0x7f) << shift;
        (goes_on, shift, rest) = (next & 0x80 != 0, shift + 7, behind);
    }
    exactly(rest, length.checked_sub(1)?)
}

/// Of a codec that is not known: the characters of a token at the end, without a byte in front that says how many they
/// are. A token's first character is a digit, whose value is below the shortest length: it cannot be such a byte.
fn at_the_end(value: &[u8]) -> Option<String> {
    if !value.iter().any(|byte| byte.is_ascii_control() || !byte.is_ascii()) {
        return None;
    }
    let is_of_token = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let mut tail = &value[value.len() - value.iter().rev().take_while(is_of_token).count()..];
    if let [length, rest @ ..] = tail
        && usize::from(*length) == rest.len()
    {
        tail = rest;
    }
    let is_whole = tail.len() < value.len() && tail.len() >= SHORTEST_IN_BINARY;
    is_whole.then(|| String::from_utf8(tail.to_vec()).expect("ASCII is UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token of so many characters.
    fn token(length: usize) -> String {
        "92_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-".chars().cycle().take(length).collect()
    }

    /// As each serialiser writes a text.
    fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
        let length = text.len();
        let with = |head: &[u8]| [head, text.as_bytes()].concat();
        let (high, low) = ((length >> 8) as u8, length as u8);
        let php = format!("s:{length}:\"{text}\";");
        let kryo = [0x80 | 0x40 | ((length + 1) & 0x3f) as u8, ((length + 1) >> 6) as u8];
        let mut forms = vec![
            ("text", with(b"")),
            ("text with a mark and a line end", format!("\u{feff}{text}\r\n").into()),
            ("JSON", format!("\"{text}\"").into()),
            ("Jackson or Fastjson with the type", format!("[\"java.lang.String\",\"{text}\"]").into()),
            ("PHP", php.clone().into()),
            ("ThinkPHP", format!("think_serialize:{php}").into()),
            ("ThinkPHP, JSON", format!("think_serialize:\"{text}\"").into()),
            ("PHP in PHP", format!("s:{}:\"{php}\";", php.len()).into()),
            ("PHP, array", format!("a:2:{{s:12:\"access_token\";{php}s:10:\"expires_in\";i:7200;}}").into()),
            (
                "PHP, array the other way",
                format!("a:2:{{s:10:\"expires_in\";d:7200.5;s:12:\"access_token\";{php}}}").into(),
            ),
            ("Java", with(&[0xac, 0xed, 0, 5, 0x74, high, low])),
            ("Java, long", with(&[0xac, 0xed, 0, 5, 0x7c, 0, 0, 0, 0, 0, 0, high, low])),
            ("igbinary, two bytes", with(&[0, 0, 0, 2, 0x12, high, low])),
            ("River, two bytes", with(&[4, 0x3f, high, low])),
            ("Kryo", with(&[&[3][..], &kryo].concat())),
            ("Kryo with references", with(&[&[3, 1][..], &kryo].concat())),
            ("FST, two bytes", with(&[0xfc, 0x80, low, high])),
            ("CBOR, two bytes", with(&[0x79, high, low])),
            ("MessagePack, two bytes", with(&[0xda, high, low])),
            ("Smile", [b":)\n\x05\xe0", text.as_bytes(), b"\xfc"].concat()),
        ];
        if length < 256 {
            forms.extend([
                ("igbinary", with(&[0, 0, 0, 2, 0x11, low])),
                ("CBOR", with(&[0x78, low])),
                ("MessagePack", with(&[0xd9, low])),
                ("a codec that is not known", with(&[0xf1, 7, low])),
            ]);
        }
        if length <= 256 {
            forms.push(("River", with(&[4, 0x3e, low])));
        }
        if length < 128 {
            forms.push(("FST", with(&[0xfc, low])));
        }
        forms
    }

    #[test]
    fn a_token_is_read_whatever_has_serialised_it_and_however_long_it_is() {
        for length in (64..=300).chain([512, 1024, 3072, 3300, 4096]) {
            let token = token(length);
            for (form, value) in forms(&token) {
                assert_eq!(alone(&value).as_deref(), Some(token.as_str()), "{form}, {length} characters: {value:?}");
            }
        }
    }

    #[test]
    fn a_field_is_read_whatever_has_serialised_the_object() {
        let token = token(136);
        let json = format!("{{\"access_token\":\"{token}\",\"expires_in\":7200}}");
        let typed = format!("{{\"@class\":\"x.WxAccessToken\",\"accessToken\":\"{token}\",\"expiresIn\":7200}}");
        let nested = format!("a:2:{{s:4:\"more\";a:1:{{i:0;b:1;}}s:12:\"access_token\";s:136:\"{token}\";}}");
        for object in [json, typed.clone(), format!("[\"x.WxAccessToken\",{typed}]")] {
            for (form, value) in forms(&object) {
                let plain_array = form.starts_with("PHP, array") || form.contains("JSON") || form.contains("Jackson");
                if !plain_array && !form.contains("codec") {
                    assert_eq!(in_field(&value).as_deref(), Some(token.as_str()), "{form}: {object}");
                }
            }
            let quoted = serde_json::to_string(&object).expect("text");
            assert_eq!(in_field(quoted.as_bytes()).as_deref(), Some(token.as_str()), "{quoted}");
        }
        for value in [nested.clone(), format!("think_serialize:{nested}")] {
            assert_eq!(in_field(value.as_bytes()).as_deref(), Some(token.as_str()), "{value}");
            assert_eq!(alone(value.as_bytes()).as_deref(), Some(token.as_str()), "{value}");
        }
        for value in ["", "text", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#, r#"["a","b"]"#, "a:0:{}"] {
            assert_eq!(in_field(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_token_is_not_taken() {
        let token = token(136);
        for (form, value) in forms(&token).into_iter().filter(|(form, _)| !form.contains("text")) {
            for changed in [&value[..value.len() - 1], &[&value[..], b"x"].concat()] {
                let read = alone(changed);
                // Binary codecs end with the token: its end is all that can be seen.
                let is_binary = !value.is_ascii() || value.iter().any(|byte| byte.is_ascii_control());
                assert!(is_binary || read.is_none() || read == Some(token.clone()), "{form}: {changed:?} {read:?}");
            }
        }
        for value in [
            "",
            " ",
            "\"\"",
            "{}",
            "[]",
            "null",
            "\"null\"",
            "undefined",
            "N;",
            "b:0;",
            "i:7;",
            "a b",
            "\"a b\"",
            "s:3:\"ab\";",
            "s:99999999999999999999:\"a\";",
            "s:-1:\"\";",
            "s:0:\"\";",
            "a:1:{s:5:\"other\";s:2:\"ab\";}",
            "a:9999999:{",
            "O:1:\"A\":0:{}",
            "<html>502</html>",
            "{\"access_token\":\"x\"}",
            "[\"a\",\"b\"]",
            "think_serialize:",
            "\u{4e2d}",
            "a\u{200b}b",
        ] {
            assert_eq!(alone(value.as_bytes()), None, "{value}");
        }
        let deep = "a:1:{i:0;".repeat(10_000);
        assert_eq!(alone(deep.as_bytes()), None);
        assert_eq!(alone(&[&[0xac, 0xed, 0, 5, 0x74, 0, 4][..], b"a b\n"].concat()), None);
        assert_eq!(
            alone(&[&[0xac, 0xed, 0, 5, 0x7c, 255, 255, 255, 255, 255, 255, 255, 255][..], b"ab"].concat()),
            None
        );
    }
}
