//! Responses that no strict reader takes, and what is certain in them.

use super::*;
use crate::login::Watermark;

/// A response in the shape that WeChat documents.
const GOOD: &str = r#"{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{"timestamp":1637744274,"appid":"wx1"}}}"#;

fn bytes(status: u16, body: impl Into<Vec<u8>>) -> Heard {
    Heard::whole(status, body.into().into())
}

fn with(field: &str, other: &str) -> Vec<u8> {
    let changed = GOOD.replacen(field, other, 1);
    assert_ne!(changed, GOOD, "{field}");
    changed.into_bytes()
}

fn packed(body: &[u8], how: &str) -> Vec<u8> {
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Read as _;
    let mut packed = vec![];
    let read = match how {
        "gzip" => GzEncoder::new(body, Compression::default()).read_to_end(&mut packed),
        "zlib" => ZlibEncoder::new(body, Compression::default()).read_to_end(&mut packed),
        "stored" => ZlibEncoder::new(body, Compression::none()).read_to_end(&mut packed),
        _ => DeflateEncoder::new(body, Compression::default()).read_to_end(&mut packed),
    };
    read.expect("it is in memory");
    packed
}

#[test]
fn a_phone_number_is_read_from_whatever_is_around_it() {
    let good = GOOD.as_bytes();
    let utf16: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let gbk = |message: &[u8]| {
        [
            b"{\"errcode\":0,\"errmsg\":\"".as_slice(),
            message,
            b"\",",
            &good[GOOD.find("\"phone_info").expect("it is there")..],
        ]
        .concat()
    };
    let text = GOOD.replace('"', "\\\"");
    let bodies = [
        [b"\xef\xbb\xbf", good].concat(),
        [b"\r\n\0\0 ".as_slice(), good, b" \0\0\n"].concat(),
        [b"cb(", good, b");"].concat(),
        [good, b"<!-- 10.1.2.3 -->"].concat(),
        utf16.clone(),
        [b"\xff\xfe".to_vec(), utf16].concat(),
        format!("\"{text}\"").into_bytes(),
        gbk(b"\x01\x1f\n"),
        gbk(b"\xff"),
        gbk(b"\xb3\xc9\xb9\xa6"),
        gbk(b"\xb3\x5c"),
        gbk(b"\xe4\xb8\xad\x5c"),
        gbk(b"\x81\x7b\x81\x7d\x81\x5b\x81\x5d"),
        gbk(b"say \"ok\" please"),
        with(r#""errcode":0"#, r#""errcode":"""#),
        with(r#""errcode":0"#, r#""errcode":0.0"#),
        with(r#""errcode":0"#, r#""errcode":"0""#),
        with(r#""errcode":0"#, r#""errcode":0e0"#),
        with(r#""errcode":0"#, r#""errcode":null"#),
        with(r#""errcode":0"#, r#""errcode":[0]"#),
        with(r#""errcode":0"#, r#""errcode":0,"errcode":0"#),
        with(r#""errcode":0"#, r#""errcode":40029,"errcode":0"#),
        with(r#""errcode":0"#, r#""errcode":0,"errcode":40029"#),
        with(r#""errcode":0,"#, ""),
        with(r#""errmsg":"ok""#, r#""errmsg":{"a":[1]}"#),
        with(r#""errmsg":"ok","#, ""),
        with(r#""phoneNumber":"13800000000""#, r#""phoneNumber":13800000000"#),
        with(r#""phoneNumber":"13800000000""#, r#""phoneNumber":13800000000.0"#),
        with(r#""phoneNumber":"13800000000""#, r#""phoneNumber":1.38e10"#),
        with(r#""phoneNumber":"13800000000""#, r#""phoneNumber":["13800000000"]"#),
        with(r#""phoneNumber":"13800000000""#, r#""phoneNumber":" 13800000000\u200b""#),
        with(r#""phoneNumber":"13800000000""#, r#""phoneNumber":"""#),
        with(r#""phoneNumber":"13800000000""#, r#""phoneNumber":null"#),
        with(r#""phoneNumber":"13800000000","#, ""),
        with(r#""phoneNumber":"13800000000""#, r#""phoneNumber":"13800000000","phoneNumber":"""#),
        with(r#""phone_info":{"#, r#""phone_info":null,"phone_info":{"#),
        with(r#""phoneNumber":"13800000000""#, r#""phonenumber":"13800000000""#),
        with("}}}", "}}},"),
        with("}}}", "}}"),
        with("}}}", "}},}"),
        GOOD.replace(r#""phone_info":{"#, r#""phone_info":[{"#).replace("}}}", "}}]}").into_bytes(),
        format!(
            r#"{{"errcode":0,"phone_info":"{}}}"}}"#,
            text[text.find("info").expect("it is there") + 7..].trim_end_matches('}').to_owned() + "}"
        )
        .into_bytes(),
    ];
    for body in bodies {
        for how in ["", "gzip", "zlib", "stored", "deflate"] {
            let sent = if how.is_empty() { body.clone() } else { packed(&body, how) };
            for status in [200, 201, 206, 502] {
                let phone = number(read_phone(&bytes(status, sent.clone()), &[]));
                assert_eq!(phone.phone_number, "13800000000", "{how} {}", String::from_utf8_lossy(&body));
                assert_eq!(phone.pure_phone_number.as_deref(), Some("13800000000"));
                let watermark = Watermark { timestamp: Some(1_637_744_274), appid: Some("wx1".into()) };
                assert_eq!(phone.watermark, Some(watermark), "{}", String::from_utf8_lossy(&body));
            }
        }
    }
}

#[test]
fn a_body_may_be_compressed_more_than_once_and_is_bounded() {
    let twice = packed(&packed(&packed(GOOD.as_bytes(), "gzip"), "zlib"), "gzip");
    assert_eq!(number(read_phone(&bytes(200, twice), &[])).phone_number, "13800000000");
    let cut = packed(&[GOOD.as_bytes(), " ".repeat(9000).as_bytes()].concat(), "gzip");
    let heard = Heard { cut: Some(Fault::Unheard("cut".into())), ..bytes(200, &cut[..cut.len() - 12]) };
    assert_eq!(number(read_phone(&heard, &[])).phone_number, "13800000000");
    let bomb = [b"{\"errcode\":0,\"errmsg\":\"".as_slice(), &vec![b'x'; 50_000_000]].concat();
    let Err(Fault::Unreadable(why)) = read_phone(&bytes(200, packed(&bomb, "gzip")), &[]) else { panic!("a bomb") };
    assert_eq!(why, "longer than 64 KiB");
    let padded = packed(&[GOOD.as_bytes(), " ".repeat(5_000_000).as_bytes()].concat(), "gzip");
    assert_eq!(number(read_phone(&bytes(200, padded), &[])).phone_number, "13800000000");
}

#[test]
fn of_a_response_that_breaks_off_what_is_certain_is_read() {
    let cut_at = |length: usize| {
        let heard = Heard { cut: Some(Fault::Unheard("cut".into())), ..bytes(200, &GOOD.as_bytes()[..length]) };
        read_phone(&heard, &[])
    };
    let whole_info = GOOD.len() - 1;
    for length in 0..GOOD.len() {
        match cut_at(length) {
            Ok(Reply::Phone(phone)) => assert!(length >= whole_info && phone.phone_number == "13800000000", "{length}"),
            other => assert!(length < whole_info && other == Err(Fault::Unheard("cut".into())), "{length} {other:?}"),
        }
    }
    let refusal = r#"{"errcode":40029,"errmsg":"invalid code, hint: [abc"#;
    let heard = |text: &str| Heard { cut: Some(Fault::Unheard("cut".into())), ..bytes(200, text) };
    assert_eq!(refused(read_phone(&heard(refusal), &[])).errcode, 40029);
    assert_eq!(read_phone(&heard(r#"{"errcode":400"#), &[]), Err(Fault::Unheard("cut".into())), "400 and what else?");
    let token = r#"{"access_token":"92_x","expires_in":720"#;
    assert_eq!(read_token(&heard(token), &[]), Err(Fault::Unheard("cut".into())));
}

#[test]
fn an_error_is_understood_in_whatever_encoding_its_text_is() {
    let bodies: [&[u8]; 7] = [
        b"{\"errcode\":-1,\"errmsg\":\"\xcf\xb5\xcd\xb3\xb7\xb1\xc3\xa6\"}",
        b"{\"errcode\":-1,\"errmsg\":\"\xb3\x5c\"}",
        b"{\"errmsg\":\"\xb3\x5c\",\"errcode\":-1}",
        b"\xef\xbb\xbf{\"errcode\":\"-1\",\"errmsg\":null}",
        b"{\"errcode\":-1.0,\"errmsg\":\"bad \"thing\" here\"}",
        b"{\"errcode\":-1,\"errcode\":0,\"errmsg\":\"x\"}",
        b"{\"errcode\":-1,\"errmsg\":\"cut",
    ];
    for body in bodies {
        for status in [200, 500] {
            assert_eq!(refused(read_phone(&bytes(status, body), &[])).errcode, -1, "{}", String::from_utf8_lossy(body));
            let Ok(TokenReply::Refused(refusal)) = read_token(&bytes(status, body), &[]) else { panic!("a refusal") };
            assert_eq!(refusal.errcode, -1);
        }
    }
}

#[test]
fn tokens_and_lists_are_read_as_leniently() {
    let token = r#"{"access_token":"92_x","expires_in":7200}"#;
    let bodies = [
        token.as_bytes().to_vec(),
        [b"\xef\xbb\xbf", token.as_bytes(), b"\0"].concat(),
        packed(token.as_bytes(), "gzip"),
        packed(token.as_bytes(), "deflate"),
        token.replace("7200", "7200.0").into_bytes(),
        token.replace("7200", "7.2e3").into_bytes(),
        token.replace("7200", "\"7200\"").into_bytes(),
        token.replace("{", "{\"errcode\":0,\"errcode\":\"\",").into_bytes(),
        token.replace("\"92_x\"", "[\" 92_x\"]").into_bytes(),
        token.replace("access_token", "component_access_token").into_bytes(),
        token.replace("access_token", "authorizer_access_token").into_bytes(),
    ];
    for body in bodies {
        let grant = TokenGrant { access_token: "92_x".to_owned().into(), expires_in_s: 7200 };
        let shown = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(read_token(&bytes(200, body.clone()), &[]), Ok(TokenReply::Granted(grant.clone())), "{shown}");
        let merchants = AuthorizerReply::Granted { grant, refresh_token: None };
        assert_eq!(read_authorizer_token(&bytes(200, body), &[]), Ok(merchants));
    }
    let list = "\u{feff}{\"total_count\":2,\"list\":[{\"authorizer_appid\":\"wx1\",\"refresh_token\":\"r\"},{\"odd\":1},{\"authorizer_appid\":\"wx2\",\"refresh_token\":null}]}";
    let Ok(MerchantsReply::Listed(listed)) = read_merchants(&bytes(200, list), &[]) else { panic!("a list") };
    let listed: Vec<_> = listed.iter().map(|(appid, token)| (appid.as_str(), token.expose())).collect();
    assert_eq!(listed, [("wx1", "r"), ("", ""), ("wx2", "")], "each counts as an entry");
    assert_eq!(read_done(&bytes(200, "\u{feff}{\"errcode\":\"0\"}\0"), &[]), Ok(None));
}

#[test]
fn each_field_of_the_watermark_is_read_by_itself() {
    let stamp = r#"{"timestamp":1637744274,"appid":"wx1"}"#;
    let rows = [
        (r#"{"timestamp":"1795862626","appid":"wxOTHER"}"#, Some(1_795_862_626), Some("wxOTHER")),
        (r#"{"timestamp":1795862626.5,"appid":"wxOTHER"}"#, Some(1_795_862_626), Some("wxOTHER")),
        (r#"{"timestamp":1.795862626e9,"appid":" wxOTHER "}"#, Some(1_795_862_626), Some("wxOTHER")),
        (r#"{"timestamp":99999999999999999999999,"appid":"wx\u200bOTHER\u0000"}"#, None, Some("wxOTHER")),
        (r#"{"timestamp":1e999,"appid":["wxOTHER"]}"#, None, Some("wxOTHER")),
        (r#"{"timestamp":-5,"appid":"wxOTHER"}"#, Some(-5), Some("wxOTHER")),
        (r#"{"timestamp":null,"appid":"wxOTHER"}"#, None, Some("wxOTHER")),
        (r#"{"timestamp":{"a":1},"appid":"wxOTHER"}"#, None, Some("wxOTHER")),
        (r#"{"timestamp":"soon","appid":"wxOTHER"}"#, None, Some("wxOTHER")),
        (r#"{"timestamp":[],"appId":"wxOTHER"}"#, None, Some("wxOTHER")),
        (r#"{"timestamp":1795862626,"appid":null}"#, Some(1_795_862_626), None),
        (r#"{"timestamp":1795862626,"appid":7}"#, Some(1_795_862_626), None),
        (r#"{"timestamp":1795862626,"appid":""}"#, Some(1_795_862_626), None),
        (r#"[{"timestamp":1795862626,"appid":"wxOTHER"}]"#, Some(1_795_862_626), Some("wxOTHER")),
        (r#""{\"timestamp\":1795862626,\"appid\":\"wxOTHER\"}""#, Some(1_795_862_626), Some("wxOTHER")),
    ];
    for (watermark, timestamp, appid) in rows {
        let phone = number(read_phone(&bytes(200, with(stamp, watermark)), &[]));
        assert_eq!(phone.phone_number, "13800000000");
        let read = phone.watermark.expect(watermark);
        assert_eq!((read.timestamp, read.appid.as_deref()), (timestamp, appid), "{watermark}");
    }
    for watermark in ["null", "[]", "7", "\"wxOTHER\"", "true", "[1,2]"] {
        let phone = number(read_phone(&bytes(200, with(stamp, watermark)), &[]));
        assert_eq!((phone.phone_number.as_str(), phone.watermark), ("13800000000", None), "{watermark}");
    }
    let long = number(read_phone(&bytes(200, with("\"wx1\"", &format!("\"{}\"", "w".repeat(20_000)))), &[]));
    assert_eq!(long.watermark.and_then(|watermark| watermark.appid).map(|appid| appid.len()), Some(65));
}

#[test]
fn what_is_no_phone_number_is_told_without_its_content() {
    let digits = "1".repeat(20_000);
    let number = |value: &str| {
        read_phone(&bytes(200, with(r#""phoneNumber":"13800000000""#, &format!(r#""phoneNumber":{value}"#))), &[])
    };
    for value in [format!("\"{digits}\""), digits.clone(), format!("\"{}\"", &digits[..33])] {
        let Err(Fault::Unreadable(why)) = number(&value) else { panic!("no phone number") };
        assert!(why.starts_with("phoneNumber has ") && why.ends_with(" at most 32"), "{why}");
    }
    for value in
        ["\"secret word\"", "\"<b>13800000000</b>\"", "\"138****0000\"", "\"+\"", "true1", "\"\u{661}\u{662}\""]
    {
        match number(value) {
            Err(Fault::Unreadable(why)) => assert_eq!(why, "phoneNumber is no phone number", "{value}"),
            // A word without quotes is no value at all.
            other => assert!(value == "true1" && matches!(other, Ok(Reply::Phone(_))), "{value} {other:?}"),
        }
    }
    let abroad = GOOD.replace(r#""phoneNumber":"13800000000""#, r#""phoneNumber":"""#);
    let abroad = abroad.replace(r#""countryCode":"86""#, r#""countryCode":852"#).replace("13800000000", "51234567");
    assert_eq!(self::number(read_phone(&bytes(200, abroad), &[])).phone_number, "+85251234567");
    let long = with(r#""purePhoneNumber":"13800000000""#, &format!(r#""purePhoneNumber":"{digits}""#));
    assert_eq!(self::number(read_phone(&bytes(200, long), &[])).pure_phone_number, None);
}

#[test]
fn an_errmsg_is_cleaned_before_secrets_are_looked_for_in_it() {
    let token = "92_TOKEN_0123456789abcdef";
    let said = |errmsg: &str| {
        let text = serde_json::json!({"errcode": 40001, "errmsg": errmsg}).to_string();
        refused(read_phone(&bytes(200, text), &[token, "CODE"]))
    };
    assert_eq!(said("92_TOK\u{1}EN_0123456789abcdef is bad").errmsg, "*** is bad");
    assert_eq!(said("92_TOK\u{202e}EN_0123\u{200b}456789abcdef is\u{2066} bad\u{9f}").errmsg, "*** is bad");
    assert_eq!(said("92_TOKEN_01234").errmsg, "***");
    let answer = said(&format!("{} rid: 65f3e9f7-77cf\u{200b}1a1c-0dd74a0e", "x".repeat(400)));
    assert_eq!((answer.errmsg.len(), answer.rid.as_deref()), (300, Some("65f3e9f7-77cf1a1c-0dd74a0e")));
    let code = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144";
    let text = format!(r#"{{"errcode":40029,"errmsg":"rid: {code}"}}"#);
    let answer = refused(read_phone(&bytes(200, text), &[code]));
    assert_eq!((answer.errmsg.as_str(), answer.rid), ("rid: ***", None));
    assert_eq!(said(&format!("rid: {}", "a".repeat(9999))).rid, None);
}
