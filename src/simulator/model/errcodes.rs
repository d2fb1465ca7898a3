//! WeChat's error answers: its numbers, its words, its `hint` and its `rid`.

use std::fmt::Write as _;

use crate::simulator::random::Random;

pub(super) const INVALID_CREDENTIAL: i64 = 40001;
pub(super) const INVALID_GRANT_TYPE: i64 = 40002;
/// The errcode for an openid that is not the code's is documented nowhere; this one is our choice.
pub(super) const INVALID_OPENID: i64 = 40003;
pub(super) const INVALID_APPID: i64 = 40013;
pub(super) const MALFORMED_TOKEN: i64 = 40014;
pub(super) const INVALID_CODE: i64 = 40029;
pub(super) const INVALID_ARGS: i64 = 40097;
pub(super) const INVALID_SECRET: i64 = 40125;
pub(super) const INVALID_IP: i64 = 40164;
pub(super) const SECRET_FROZEN: i64 = 40243;
pub(super) const TOKEN_MISSING: i64 = 41001;
pub(super) const APPID_MISSING: i64 = 41002;
pub(super) const SECRET_MISSING: i64 = 41004;
pub(super) const TOKEN_EXPIRED: i64 = 42001;
pub(super) const REQUIRE_GET: i64 = 43001;
pub(super) const REQUIRE_POST: i64 = 43002;
pub(super) const EMPTY_BODY: i64 = 44002;
pub(super) const DAILY_LIMIT: i64 = 45009;
pub(super) const MINUTE_LIMIT: i64 = 45011;
pub(super) const DATA_FORMAT: i64 = 47001;
pub(super) const TOKENS_FORBIDDEN: i64 = 50004;
pub(super) const NOT_AUTHORIZED: i64 = 61003;
pub(super) const PLATFORM_IP: i64 = 61004;
pub(super) const TICKET_EXPIRED: i64 = 61005;
pub(super) const TICKET_INVALID: i64 = 61006;
pub(super) const PERMISSION_MISSING: i64 = 61007;
pub(super) const UNKNOWN_COMPONENT: i64 = 61011;
pub(super) const REFRESH_TOKEN_INVALID: i64 = 61023;

/// The body of an error answer. The phone handler adds a `hint`; what the API gateway before it
/// refuses has none. The first part of the `rid` is the time in Unix seconds, as it is with WeChat.
pub(super) fn error_body(errcode: i64, now_ms: u64, random: &mut Random) -> Vec<u8> {
    if errcode == 0 {
        // Only a script asks for this: the answer that says "ok" and brings nothing.
        return br#"{"errcode":0,"errmsg":"ok"}"#.to_vec();
    }
    let mut body = String::with_capacity(160);
    write!(body, r#"{{"errcode":{errcode},"errmsg":"{}"#, errmsg(errcode)).expect("a String takes every write");
    if matches!(errcode, INVALID_CODE | INVALID_APPID | DATA_FORMAT | INVALID_OPENID) {
        body.push_str(" hint: [");
        random.push_url_safe(&mut body, 16);
        body.push(']');
    }
    write!(body, " rid: {:08x}-", now_ms / 1000).expect("a String takes every write");
    random.push_hex(&mut body, 8);
    body.push('-');
    random.push_hex(&mut body, 8);
    body.push_str("\"}");
    body.into_bytes()
}

/// WeChat's words, where they are known; all of them free of what JSON would have to escape.
fn errmsg(errcode: i64) -> &'static str {
    match errcode {
        -1 => "system error",
        INVALID_CREDENTIAL => {
            "invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r"
        }
        INVALID_GRANT_TYPE => "invalid grant_type",
        INVALID_OPENID => "invalid openid",
        INVALID_APPID => "invalid appid",
        MALFORMED_TOKEN => "invalid access_token",
        INVALID_CODE => "invalid code",
        INVALID_ARGS => "invalid args",
        INVALID_SECRET => "invalid appsecret",
        INVALID_IP => "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist",
        40234 => "invalid signature",
        40235 => "invalid encrypt",
        SECRET_FROZEN => "AppSecret is frozen",
        TOKEN_MISSING => "access_token missing",
        APPID_MISSING => "appid missing",
        SECRET_MISSING => "appsecret missing",
        TOKEN_EXPIRED => "access_token expired",
        REQUIRE_GET => "require GET method",
        REQUIRE_POST => "require POST method",
        EMPTY_BODY => "empty post data",
        DAILY_LIMIT => "reach max api daily quota limit",
        MINUTE_LIMIT => "api minute-quota reach limit, must slower, retry next minute",
        DATA_FORMAT => "data format error",
        48001 => "api unauthorized",
        48004 => "api forbidden",
        50002 => "user limited",
        TOKENS_FORBIDDEN => "user not allow to use accesstoken, maybe for punishment",
        NOT_AUTHORIZED => "component is not authorized by this account",
        PLATFORM_IP => "access clientip is not registered",
        TICKET_EXPIRED => "component ticket is expired",
        TICKET_INVALID => "component ticket is invalid",
        PERMISSION_MISSING => "api is unauthorized to component",
        UNKNOWN_COMPONENT => "invalid component",
        REFRESH_TOKEN_INVALID => "refresh_token is invalid",
        _ => "simulated error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_wechat_writes_it() {
        let mut random = Random::new();
        let body = error_body(INVALID_CODE, 0x65f3_e9f7 * 1000, &mut random);
        let said: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(said["errcode"], 40029);
        let errmsg = said["errmsg"].as_str().expect("text");
        let (words, rid) = errmsg.split_once(" rid: ").expect("a rid");
        assert!(words.starts_with("invalid code hint: [") && words.ends_with(']'), "{errmsg}");
        let parts: Vec<_> = rid.split('-').collect();
        assert_eq!(parts[0], "65f3e9f7");
        assert!(parts.len() == 3 && parts.iter().all(|part| part.len() == 8), "{rid}");
    }

    #[test]
    fn what_the_gateway_refuses_has_no_hint() {
        let body = error_body(MINUTE_LIMIT, 0, &mut Random::new());
        assert!(!String::from_utf8_lossy(&body).contains("hint"));
    }
}
