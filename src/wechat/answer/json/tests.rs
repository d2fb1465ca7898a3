//! What is JSON reads as JSON does; what is not, as far as it is certain.

use serde_json::Value;

use super::*;
use crate::mutated;

fn find(body: &[u8]) -> Option<Object> {
    Object::find(body, &["a"])
}

fn a(body: &[u8]) -> Option<Json> {
    find(body)?.all("a").next().cloned()
}

/// The same value as serde_json has it; of a repeated field the last.
fn value(json: &Json) -> Value {
    match json {
        Json::Text(text) => Value::String(text.clone()),
        Json::Bare(word) => serde_json::from_str(word).expect("a word of JSON"),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(object) => object
            .fields
            .iter()
            .map(|(name, json)| (name.clone(), value(json)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[test]
fn what_serde_reads_is_read_in_the_same_way() {
    let seeds = [
        r#"{"a":1,"b":[true,null,-1.5e3,"x\n\u00e9\ud83d\ude00\"\\\/"],"c":{"d":{},"e":[]}}"#,
        r#" { "a" : "\u0041" , "b" : [ [ ] , { } ] } "#,
    ];
    let mut read = 0;
    for text in mutated::texts(&seeds, "null 0 1.0 \"\" [] {} \"a\":2, , : \\u0041 \\n true") {
        let Ok(expected @ Value::Object(_)) = serde_json::from_slice(&text) else { continue };
        if expected.get("a").is_none() {
            continue;
        }
        read += 1;
        let object = find(&text).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&text)));
        assert!(object.whole);
        assert_eq!(value(&Json::Object(object)), expected, "{}", String::from_utf8_lossy(&text));
    }
    assert!(read > 5_000, "only {read} were JSON");
}

#[test]
fn a_value_is_found_in_whatever_is_around_it() {
    let wrapped: &[&[u8]] = &[
        b"\xef\xbb\xbf{\"a\":\"v\"}",
        b"\r\n\0 {\"a\":\"v\"}\0\0\n",
        b"callback({\"a\":\"v\"});",
        b"<!-- {x} --><p>{\"a\":\"v\"}</p>",
        b")]}',\n{\"a\":\"v\"}",
        b"[{\"a\":\"v\"}]",
        b"\"{\\\"a\\\":\\\"v\\\"}\"",
        b"{\"data\":{\"a\":\"v\"}}",
        b"{\"a\":\"v\",}",
        b"{,\"a\":\"v\" \"b\":1}",
        b"{\"x\":\"a \"quoted\" word\",\"a\":\"v\"}",
        b"{\"x\":\"\x01\n\t\",\"a\":\"v\"}",
        b"{\"x\":\"\\q\\u12\",\"a\":\"v\"}",
        b"{\"x\":\"\xff\xfe\",\"a\":\"v\"}",
        b"{\"x\":\"\xc4\xe3\x81\x5c\",\"a\":\"v\"}",
        b"{\"x\":\"\xe4\xb8\xad\x5c\",\"a\":\"v\"}",
        b"{\"x\":NaN,\"y\":undefined,\"a\":\"v\"}",
        b"{\"a\":\"v\",\"x\":\"cut of",
        b"{\"A\":\"v\"}",
        b"\xff\xfe{\0\"\0a\0\"\0:\0\"\0v\0\"\0}\0",
        b"\xfe\xff\0{\0\"\0a\0\"\0:\0\"\0v\0\"\0}",
        b"{\0\"\0a\0\"\0:\0\"\0v\0\"\0}\0",
    ];
    for body in wrapped {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(a(body), Some(Json::Text("v".into())), "{shown}");
    }
}

#[test]
fn what_is_cut_is_not_read() {
    for body in ["", "{", "{\"a", "{\"a\":", "{\"a\":\"v", "{\"a\":12", "{\"a\":[1,2", "<html>", "[1]"] {
        assert_eq!(a(body.as_bytes()), None, "{body}");
    }
    assert!(!find(b"{\"a\":1,\"b\":{\"c\":2").expect("a is there").whole);
}

#[test]
fn no_body_is_too_odd_to_be_read_soon() {
    for odd in ["[", "{\"a\":", "{\"a\":[", "{", "\"", "\\", "{\"a\":\"\\", "}", ",", "{\"a\":1}"] {
        let began = std::time::Instant::now();
        find(odd.repeat(64 * 1024 / odd.len()).as_bytes());
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{odd}: {:?}", began.elapsed());
    }
}

#[test]
fn numbers_are_exact() {
    let rows = [
        ("13800138000", Some("13800138000"), Some(13_800_138_000)),
        ("13800138000.0", Some("13800138000"), Some(13_800_138_000)),
        ("1.3800138e10", Some("13800138000"), Some(13_800_138_000)),
        ("138001380000E-1", Some("13800138000"), Some(13_800_138_000)),
        ("007", Some("007"), Some(7)),
        ("-1", Some("-1"), Some(-1)),
        ("-0.0", Some("-0"), Some(0)),
        ("1637744274.9", Some("1637744274.9"), Some(1_637_744_274)),
        ("1e999999999999", Some("1e999999999999"), None),
        ("99999999999999999999", Some("99999999999999999999"), None),
        ("true", None, None),
        ("null", None, None),
    ];
    for (word, text, number) in rows {
        let json = Json::Bare(word.into());
        assert_eq!(json.text().as_deref(), text, "{word}");
        assert_eq!(json.number().and_then(|number| number.to_i64()), number, "{word}");
    }
}
