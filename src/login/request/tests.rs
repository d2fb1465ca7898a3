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
