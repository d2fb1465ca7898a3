//! Answers as WeChat sends them, from `tests/data`, and as only a proxy or a mishap could.

mod odd;

use super::*;
use crate::mutated;

fn heard(status: u16, text: &str) -> Heard {
    Heard::whole(status, text.to_owned().into())
}

fn phone(text: &str) -> Result<Reply, Fault> {
    read_phone(&heard(200, text), &["TOKEN", "CODE"])
}

fn number(reply: Result<Reply, Fault>) -> PhoneInfo {
    match reply {
        Ok(Reply::Phone(phone)) => phone,
        other => panic!("no phone number: {other:?}"),
    }
}

fn refused(reply: Result<Reply, Fault>) -> WechatAnswer {
    match reply {
        Ok(Reply::Refused(answer)) => answer,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn both_shapes_of_country_code_become_a_string() {
    for (fixture, country) in [
        (include_str!("../../../tests/data/phone.json"), Some("86")),
        (include_str!("../../../tests/data/phone-country-number.json"), Some("86")),
        (include_str!("../../../tests/data/phone-foreign.json"), Some("852")),
        (include_str!("../../../tests/data/phone-no-country.json"), None),
    ] {
        assert_eq!(number(phone(fixture)).country_code.as_deref(), country, "{fixture}");
    }
}

#[test]
fn a_foreign_number_keeps_its_country_code() {
    let phone = number(phone(include_str!("../../../tests/data/phone-foreign.json")));
    assert_eq!((phone.phone_number.as_str(), phone.pure_phone_number.as_deref()), ("+85251234567", Some("51234567")));
}

#[test]
fn a_watermark_may_be_missing_in_part_or_whole() {
    let phone_without = number(phone(include_str!("../../../tests/data/phone-no-watermark.json")));
    assert_eq!(phone_without.watermark, None);
    let partly = number(phone(include_str!("../../../tests/data/phone-watermark-no-timestamp.json")));
    assert_eq!(partly.watermark.expect("a watermark").timestamp, None);
}

#[test]
fn an_odd_part_does_not_cost_the_phone_number() {
    let odd = r#"{"errcode":0,"phone_info":{"phoneNumber":"13800000000","countryCode":[86],"watermark":{"appid":7}}}"#;
    let phone = number(phone(odd));
    assert_eq!((phone.phone_number.as_str(), phone.country_code, phone.watermark), ("13800000000", None, None));
}

#[test]
fn every_documented_error_keeps_its_code_text_and_rid() {
    let fixtures: Vec<Box<serde_json::value::RawValue>> =
        serde_json::from_str(include_str!("../../../tests/data/errors.json")).expect("a list");
    assert!(fixtures.len() >= 20);
    for fixture in fixtures {
        let answer = refused(phone(fixture.get()));
        assert!(answer.errcode != 0 && !answer.errmsg.is_empty(), "{fixture}");
        assert_eq!(answer.rid.is_some(), fixture.get().contains("rid: "), "{fixture}");
    }
}

#[test]
fn an_errcode_may_be_text_and_may_be_unknown() {
    assert_eq!(refused(phone(r#"{"errcode":"40029","errmsg":"x"}"#)).errcode, 40029);
    assert_eq!(refused(phone(r#"{"errcode":987654321012,"errmsg":{"odd":1}}"#)).errcode, 987_654_321_012);
}

#[test]
fn an_errmsg_that_echoes_secrets_is_cleared() {
    let answer = refused(phone(r#"{"errcode":40001,"errmsg":"TOKEN with CODE\u0000 is invalid"}"#));
    assert_eq!(answer.errmsg, "*** with *** is invalid");
}

#[test]
fn an_answer_without_a_phone_is_unreadable() {
    for text in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"errcode":0,"errmsg":"ok"}"#,
        r#"{"errcode":0,"phone_info":null}"#,
        r#"{"errcode":0,"phone_info":{}}"#,
        r#"{"errcode":0,"phone_info":{"phoneNumber":""}}"#,
        r#"{"errcode":"none"}"#,
    ] {
        assert!(matches!(phone(text), Err(Fault::Unreadable(_))), "{text}");
    }
}

#[test]
fn the_errcode_counts_for_more_than_the_http_status() {
    let reply = read_phone(&heard(500, r#"{"errcode":40029,"errmsg":"x"}"#), &[]);
    assert_eq!(refused(reply).errcode, 40029);
    assert_eq!(read_phone(&heard(502, "<html>bad gateway"), &[]), Err(Fault::Busy(502)));
    assert!(matches!(read_phone(&heard(504, ""), &[]), Err(Fault::Unheard(_))), "perhaps WeChat had the code");
    assert_eq!(read_phone(&heard(429, ""), &[]), Err(Fault::Throttled));
    assert!(matches!(read_phone(&heard(404, "not here"), &[]), Err(Fault::Unreadable(_))));
}

#[test]
fn a_token_has_a_life() {
    let granted = read_token(&heard(200, r#"{"access_token":"92_x","expires_in":345}"#), &[]).expect("a reply");
    let grant = TokenGrant { access_token: "92_x".to_owned().into(), expires_in_s: 345 };
    assert_eq!(granted, TokenReply::Granted(grant));
    for text in [r#"{"access_token":"92_x"}"#, r#"{"access_token":"","expires_in":7200}"#, r#"{"expires_in":7200}"#] {
        assert!(matches!(read_token(&heard(200, text), &[]), Err(Fault::Unreadable(_))), "{text}");
    }
}

/// What is put into answers to make others of them.
const ODD: &str = r#"null 0 00 -0 1.0 1e999 18446744073709551615 86 "" "86" "\ud800" "\u0038" [] {} [1] , : " }
    "errcode":0, "list":1, "phone_info":{}, "countryCode":1, "#;

#[test]
fn what_is_read_in_one_pass_is_what_the_pieces_say() {
    let seeds = [
        include_str!("../../../tests/data/phone.json"),
        include_str!("../../../tests/data/phone-country-number.json"),
        include_str!("../../../tests/data/phone-foreign.json"),
        include_str!("../../../tests/data/phone-no-country.json"),
        include_str!("../../../tests/data/phone-no-watermark.json"),
        include_str!("../../../tests/data/phone-watermark-no-timestamp.json"),
        r#"{"errcode":0,"phone_info":{"phoneNumber":"13800000000","countryCode":[86],"watermark":{"appid":7}}}"#,
        r#"{"phone_info":["1",null,"86",[1,"wx"]],"errmsg":{"a":[1]},"errcode":0}"#,
        r#"{"errcode":0,"list":1,"list":2,"phone_info":{"phoneNumber":"13800000000"}}"#,
        r#"[0,"ok",{"phoneNumber":"13800000000"}]"#,
        r#"[0,"ok",{"phoneNumber":"13800000000"},null,null,null,null]"#,
        r#"{"errcode":"40029","errmsg":"x"}"#,
        r#"{"errcode":0,"phone_info":{"phoneNumber":""}}"#,
    ];
    let mut read_at_once = 0;
    for text in mutated::texts(&seeds, ODD) {
        let Some(phone) = documented::read_phone(&text) else { continue };
        read_at_once += 1;
        let heard = Heard::whole(200, text.into());
        let text = String::from_utf8_lossy(&heard.text);
        assert_eq!(read_phone_leniently(&heard, &[]), Ok(Reply::Phone(phone)), "{text}");
    }
    assert!(read_at_once > 5_000, "only {read_at_once} were of the documented shape");
}
