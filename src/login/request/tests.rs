//! Bodies as publishers send them, good ones and all that can be wrong with one.

use super::*;
use crate::mutated;

const FULL: &str = r#"{"request_id":"r-1","appid":"wx0123456789abcdef","code":"e31968a7","openid":"oABC",
    "issued_at":1637744274123,"deadline":1637744304123,"colour":"ignored"}"#;

fn problem(body: &str) -> String {
    match LoginRequest::decode(body.as_bytes()) {
        Err(Undecodable::Invalid { request_id, problem }) => format!("{request_id}: {problem}"),
        Err(Undecodable::Unkeyed { problem }) => problem.to_owned(),
        Ok(request) => format!("decoded: {request:?}"),
    }
}

#[test]
fn a_request_survives_the_wire() {
    let request = LoginRequest::decode(FULL.as_bytes()).expect("a good body");
    assert_eq!(request.issued_at, Some(1_637_744_274_123));
    assert_eq!(LoginRequest::decode(&request.encode()), Ok(request));
}

#[test]
fn id_and_code_are_enough_and_null_is_absent() {
    let body = r#" {"code":"\u0065","request_id":"r-1","openid":null,"deadline":null}"#;
    let request = LoginRequest::decode(body.as_bytes()).expect("a good body");
    assert_eq!((request.code.expose(), request.openid, request.deadline), ("e", None, None));
}

#[test]
fn a_body_with_an_id_says_which_field_is_wrong() {
    for (body, expected) in [
        (r#"{"request_id":"r"}"#, "r: code is missing"),
        (r#"{"request_id":"r","code":7}"#, "r: code is not a string"),
        (r#"{"request_id":"r","code":"a b"}"#, "r: code must be 1 to 512 visible ASCII characters"),
        (r#"{"request_id":"r","code":"c","appid":"w x"}"#, "r: appid must be 1 to 64 of A-Z a-z 0-9 _ -"),
        (r#"{"request_id":"r","code":"c","appid":["wx"]}"#, "r: appid is not a string"),
        (r#"{"request_id":"r","code":"c","issued_at":1637744274}"#, "r: issued_at is not in milliseconds since 1970"),
        (
            r#"{"request_id":"r","code":"c","deadline":"soon"}"#,
            "r: deadline is not a whole number of milliseconds since 1970",
        ),
    ] {
        assert_eq!(problem(body), expected, "{body}");
    }
}

#[test]
fn what_surrounds_a_body_and_stands_in_ignored_fields_does_no_harm() {
    let plain = r#"{"request_id":"r","code":"c"}"#;
    let expected = LoginRequest::decode(plain.as_bytes()).expect("a good body");
    for body in [
        b"\xef\xbb\xbf{\"request_id\":\"r\",\"code\":\"c\"}".as_slice(),
        b"\xef\xbb\xbf \r\n{\"request_id\":\"r\",\"code\":\"c\"}\n\0",
        b"{\"request_id\":\"r\",\"code\":\"c\"}\0\0\r\n",
        b"{\"nickname\":\"\xb0\xd7\",\"request_id\":\"r\",\"code\":\"c\"}",
    ] {
        assert_eq!(LoginRequest::decode(body).as_ref(), Ok(&expected), "{}", String::from_utf8_lossy(body));
        assert_eq!(LoginRequest::decode_submission(body), Ok((expected.clone(), true)));
    }
}

#[test]
fn optional_fields_are_read_as_other_languages_write_them() {
    let decode = |more: &str| {
        let body = format!(r#"{{"request_id":"r","code":"c",{more}}}"#);
        let submitted = LoginRequest::decode_submission(body.as_bytes());
        let published = LoginRequest::decode(body.as_bytes()).unwrap_or_else(|problem| panic!("{more}: {problem:?}"));
        assert_eq!(submitted, Ok((published.clone(), true)), "{more}");
        published
    };
    for at in ["1795862626000", "1795862626000.0", "1.795862626E12", "1.795862626e+12", "17958626260000E-1"] {
        for at in [at.to_owned(), format!("\"{at}\""), format!("\" {at}\\n\"")] {
            let request = decode(&format!(r#""issued_at":{at},"deadline":{at}"#));
            assert_eq!(
                (request.issued_at, request.deadline),
                (Some(1_795_862_626_000), Some(1_795_862_626_000)),
                "{at}"
            );
        }
    }
    for empty in ["null", "0", "0.0", "-0", "0e999999999999", r#""""#, r#"" ""#] {
        let all = format!(r#""appid":{empty},"openid":{empty},"issued_at":{empty},"deadline":{empty}"#);
        let request = decode(&all);
        assert_eq!(
            (request.appid, request.openid, request.issued_at, request.deadline),
            (None, None, None, None),
            "{all}"
        );
    }
    for zero in [r#""0""#, r#""0.0""#, r#""-0""#] {
        assert_eq!(decode(&format!(r#""issued_at":{zero},"deadline":{zero}"#)).issued_at, None);
    }
}

#[test]
fn a_time_that_is_no_time_is_still_refused() {
    for (at, expected) in [
        ("-1795862626000", "is negative, not a number of milliseconds since 1970"),
        (r#""-1.5e12""#, "is negative, not a number of milliseconds since 1970"),
        ("1795862626000.5", "is not a whole number of milliseconds since 1970"),
        (r#""1795862626000.001""#, "is not a whole number of milliseconds since 1970"),
        ("1795862626", "is not in milliseconds since 1970"),
        (r#""1.795862626e9""#, "is not in milliseconds since 1970"),
        ("1e999", "is too large for a number of milliseconds since 1970"),
        (r#""1e99999999999999999999""#, "is too large for a number of milliseconds since 1970"),
        (r#""2026-11-28T09:57:06Z""#, "is not a whole number of milliseconds since 1970"),
        (r#""null""#, "is not a whole number of milliseconds since 1970"),
        ("true", "is not a whole number of milliseconds since 1970"),
        ("[1795862626000]", "is not a whole number of milliseconds since 1970"),
        ("{}", "is not a whole number of milliseconds since 1970"),
    ] {
        for field in ["issued_at", "deadline"] {
            let body = format!(r#"{{"request_id":"r","code":"c","{field}":{at}}}"#);
            assert_eq!(problem(&body), format!("r: {field} {expected}"), "{body}");
            let submitted = LoginRequest::decode_submission(body.as_bytes());
            assert_eq!(submitted, Err(format!("{field} {expected}")), "{body}");
        }
    }
}

#[test]
fn an_empty_request_id_is_made_at_the_gateway_and_missing_in_the_queue() {
    for empty in ["null", "0", r#""""#, r#"" ""#] {
        let body = format!(r#"{{"request_id":{empty},"code":"c"}}"#);
        let (request, is_chosen) = LoginRequest::decode_submission(body.as_bytes()).expect("a good body");
        assert!(!is_chosen && request.request_id.generated_at().is_some(), "{body}");
        assert!(matches!(LoginRequest::decode(body.as_bytes()), Err(Undecodable::Unkeyed { .. })), "{body}");
    }
}

#[test]
fn a_body_that_is_broken_is_answered_by_its_id() {
    for (body, expected) in [
        (r#"{"request_id":"r","code":"c""#, "r: the body is not valid JSON"),
        (r#"{"code":c,"request_id":"r"}"#, "r: the body is not valid JSON"),
        (r#"{"request_id":"r","code":"c"}{"request_id":"s"}"#, "r: the body is not valid JSON"),
        ("{\"request_id\":\"r\",\"code\":\"c\",\"note\":\"a\nb\"}", "r: the body is not valid JSON"),
        (r#"{"request_id":"r","code":"c","code":"d"}"#, "r: code is given more than once"),
        (r#"{"request_id":"r","deadline":null,"code":"c","deadline":null}"#, "r: deadline is given more than once"),
    ] {
        assert_eq!(problem(body), expected, "{body}");
        let submitted = LoginRequest::decode_submission(body.as_bytes()).map(|_| ());
        assert_eq!(submitted, Err(expected["r: ".len()..].into()), "{body}");
    }
    let bad_field = b"{\"request_id\":\"r\",\"code\":\"\xff\"}";
    let Err(Undecodable::Invalid { problem, .. }) = LoginRequest::decode(bad_field) else { panic!("its id is good") };
    assert_eq!(problem, "code must be 1 to 512 visible ASCII characters");
}

#[test]
fn an_envelope_is_named() {
    for (body, expected) in [
        (r#"[{"request_id":"r","code":"c"}]"#, "array"),
        (r#"[[],{"request_id":"r","code":"c"},{"callbacks":null}]"#, "array"),
        (r#""{\"request_id\":\"r\",\"code\":\"c\"}""#, "encoded twice"),
        (r#"{"@class":"Login","payload":{"request_id":"r","code":"c"}}"#, "envelope"),
        (r#"{"Type":"Notification","Message":"{\"request_id\":\"r\",\"code\":\"c\"}"}"#, "envelope"),
    ] {
        assert!(problem(body).contains(expected), "{body}: {}", problem(body));
        assert!(matches!(LoginRequest::decode(body.as_bytes()), Err(Undecodable::Unkeyed { .. })), "{body}");
    }
}

#[test]
fn a_body_without_a_usable_id_is_nobodys() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_field = format!(r#"{{"code":"c","x":{deep}}}"#);
    for body in ["", "null", "[]", r#"["r","c"]"#, "{", &deep, &deep_field, r#"{"request_id":"a b","code":"c"}"#] {
        assert!(matches!(LoginRequest::decode(body.as_bytes()), Err(Undecodable::Unkeyed { .. })), "{:.40}", body);
    }
    assert!(matches!(LoginRequest::decode(b"\xff{}"), Err(Undecodable::Unkeyed { .. })));
    assert_eq!(
        problem(r#"{"request_id":"r","request_id":"r","code":"c"}"#),
        "the body is not a JSON object with each field once"
    );
}

#[test]
fn a_body_that_is_too_long_is_answered_by_its_id() {
    let body = format!(r#"{{"request_id":"r","code":"c","x":"{}"}}"#, "y".repeat(MAX_BODY_BYTES));
    assert_eq!(problem(&body), "r: the body is longer than 16384 bytes");
}

#[test]
fn no_problem_repeats_a_value() {
    let body = r#"{"request_id":"r","code":"se cret","openid":"pri vate"}"#;
    assert!(!problem(body).contains("cret") && !problem(body).contains("vate"), "{}", problem(body));
}

/// What is put into bodies to make others of them.
const ODD: &str = r#"null 0 -1 1.0 1e999 18446744073709551616 1637744274 "" "r" "a b" "\ud800" "\u0065" [] {} [1] , : " }
    "code":"c", "x":1, "request_id":"r", "issued_at":null, "\u0063ode":"#;

#[test]
fn what_is_read_in_one_pass_is_what_the_pieces_say() {
    let long = format!(r#"{{"request_id":"r","code":"c","x":"{}"}}"#, "y".repeat(MAX_BODY_BYTES));
    let seeds = [
        FULL,
        &long,
        r#"{"request_id":"r-1","code":"c"}"#,
        r#" {"code":"\u0065","request_id":"r-1","openid":null,"deadline":null}"#,
        r#"{"deadline":1637744304123,"x":{"request_id":"no"},"code":"c","request_id":"r"}"#,
        r#"["r","wx","c","o",1637744274123,1637744304123]"#,
        r#"{"request_id":"r","request_id":"r","code":"c"}"#,
        r#"{"request_id":"r","code":"c","issued_at":1637744274}"#,
    ];
    let mut read_at_once = 0;
    for body in mutated::texts(&seeds, ODD) {
        let Some(request) = Plain::read(&body).and_then(Plain::request) else { continue };
        read_at_once += 1;
        assert_eq!(LoginRequest::decode_in_pieces(&body), Ok(request), "{}", String::from_utf8_lossy(&body));
    }
    assert!(read_at_once > 5_000, "only {read_at_once} had nothing odd in them");
}
