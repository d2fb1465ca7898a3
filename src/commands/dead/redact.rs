//! What may be seen of a stranger's text: nothing that could be a code, and nothing that a terminal obeys.

use serde_json::{Map, Value};

use crate::login::{AppId, MAX_BODY_BYTES, RequestId};

const STARS: &str = "***";
/// Codes are longer than this; words are not.
const LONGEST_WORD: usize = 15;
/// The longest excerpt of a body that is no request, in bytes.
const LONGEST_EXCERPT: usize = 200;

/// A body, as far as it is no secret: JSON without its secrets, or an excerpt of whatever else it is.
pub(super) fn body(body: &[u8]) -> Value {
    let object = (body.len() <= MAX_BODY_BYTES).then(|| serde_json::from_slice::<Map<String, Value>>(body).ok());
    match object.flatten() {
        Some(fields) => Value::Object(fields.iter().map(|(name, value)| (masked(name), field(name, value))).collect()),
        None => Value::String(excerpt(body)),
    }
}

/// A text with all in stars that could be a code: 16 or more letters and digits, and what may stand between them. A UUID is
/// none.
pub(super) fn masked(text: &str) -> String {
    mask(text, false)
}

/// The text of a stranger that names a place, such as a host: as it is, but for what a terminal would obey.
pub(super) fn tame(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Control characters, and those that are not seen: they hide text, end a line or turn its direction.
fn is_obeyed(c: char) -> bool {
    let is_unseen = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || is_unseen
}

/// A JSON value with all in stars that could be a code.
pub(super) fn masked_json(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked(text)),
        Value::Number(number) if number.to_string().len() > LONGEST_WORD => STARS.into(),
        Value::Array(values) => values.iter().map(masked_json).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| inner(name, value)).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A field of a request: its names and times are no secrets.
fn field(name: &str, value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    match name {
        "request_id" if RequestId::try_from(text).is_ok() => value.clone(),
        "appid" if AppId::try_from(text).is_ok() => value.clone(),
        _ => inner(name, value).1,
    }
}

fn inner(name: &str, value: &Value) -> (String, Value) {
    let lower = name.to_lowercase();
    let secret = lower.contains("code") || lower.contains("openid");
    (masked(name), if secret { STARS.into() } else { masked_json(value) })
}

fn excerpt(body: &[u8]) -> String {
    let cut = body.len() > LONGEST_EXCERPT;
    mask(&body[..body.len().min(LONGEST_EXCERPT)].escape_ascii().to_string(), cut)
}

/// Where the text was cut, its last word may be the beginning of a code.
fn mask(text: &str, cut: bool) -> String {
    let (mut masked, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_of_word(c) != is_of_word(first)).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        let hidden = is_of_word(first) && (may_be_code(part) || (cut && behind.is_empty()));
        masked.push_str(&if hidden { STARS.to_owned() } else { tame(part) });
        rest = behind;
    }
    masked
}

/// Also what escaped text is made of, so that nothing hides behind escapes.
fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '=' | '\\' | '%')
}

fn may_be_code(word: &str) -> bool {
    let word = word.trim_matches('\\');
    let is_uuid = word.len() == 36 && uuid::Uuid::try_parse(word).is_ok();
    word.chars().count() > LONGEST_WORD && !is_uuid
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CODE: &str = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144";
    const ID: &str = "0199c0de-7a11-7000-8000-000000000001";

    /// Whether eight characters in a row of the code are to be seen.
    fn shows_code(text: &str) -> bool {
        (0..CODE.len() - 8).any(|at| text.contains(&CODE[at..at + 8]))
    }

    #[test]
    fn a_request_shows_its_names_and_times_and_neither_code_nor_openid() {
        let request = json!({
            "request_id": ID, "appid": "wx0123456789abcdef", "code": "short", "openid": "oABC", "issued_at": 1_637_744_274_123_u64,
            "deadline": null, "colour": "green",
        });
        let mut expected = request.clone();
        (expected["code"], expected["openid"]) = (json!("***"), json!("***"));
        assert_eq!(body(request.to_string().as_bytes()), expected);
    }

    #[test]
    fn a_code_in_the_wrong_place_is_not_shown() {
        for wrong in [
            json!({"Code": CODE}),
            json!({"phoneCode": "short-one"}),
            json!({"request_id": format!("{CODE} "), "appid": format!("{CODE}{CODE}")}),
            json!({"data": {"code": "short-one", "list": [CODE, {"x": CODE}]}}),
            json!({"deadline": CODE, CODE: 1, "number": 1_234_567_890_123_456_789_u64}),
            json!({"url": format!("https://host/?c={CODE}&x=1")}),
        ] {
            let shown = body(wrong.to_string().as_bytes()).to_string();
            assert!(!shows_code(&shown) && !shown.contains("short-one") && !shown.contains("123456789"), "{shown}");
            assert!(shown.contains(STARS), "{shown}");
        }
    }

    #[test]
    fn what_is_no_object_is_an_excerpt_without_codes_wherever_they_stand() {
        for before in 0..230 {
            for text in [
                format!("{}{CODE}", " ".repeat(before)),
                format!("{} \"{CODE}\" and more", ", ".repeat(before / 2)),
                format!("[\"{}\",\"code\":\"{CODE}\"", "x".repeat(before)),
            ] {
                let Value::String(shown) = body(text.as_bytes()) else { panic!("{text} is no object") };
                assert!(!shows_code(&shown), "{shown}");
                assert!((0..20).all(|length| !shown.contains(&CODE[..8 + length])), "{shown}");
            }
        }
    }

    #[test]
    fn no_encoding_of_a_code_is_shown() {
        let utf16: Vec<u8> = CODE.bytes().flat_map(|byte| [byte, 0]).collect();
        let escapes: String = CODE.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        let percents: String = CODE.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for body_bytes in [utf16, escapes.into_bytes(), percents.into_bytes()] {
            assert_eq!(body(&body_bytes), json!("***"));
        }
    }

    #[test]
    fn an_excerpt_shows_words_and_ids() {
        assert_eq!(body(b"not json, at all"), json!("not json, at all"));
        assert_eq!(body(format!("{{\"id\": \"{ID}\"").as_bytes()), json!(format!("{{\\\"id\\\": \\\"{ID}\\\"")));
        assert_eq!(body(b""), json!(""));
        let long = "word ".repeat(100_000);
        assert_eq!(body(long.as_bytes()).as_str().map(str::len), Some(LONGEST_EXCERPT));
    }

    #[test]
    fn a_body_that_is_too_long_is_an_excerpt_even_if_it_is_json() {
        let long = json!({"x": "y ".repeat(MAX_BODY_BYTES)}).to_string();
        assert!(body(long.as_bytes()).is_string());
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        let shown = body("{\"x\":\"a\\u001b[2Jb\u{9b}c\"}".as_bytes()).to_string();
        assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{shown}");
        assert_eq!(tame("host\u{1b}[2J/1"), "host\u{fffd}[2J/1");
        assert!(!masked("\u{1b}[2J").contains('\u{1b}'));
        for unseen in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{2028}', '\u{85}', '\u{7f}'] {
            assert_eq!(tame(&format!("a{unseen}b")), "a\u{fffd}b", "{unseen:?}");
        }
    }
}
