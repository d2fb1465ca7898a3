//! What a token server answers. Unlike WeChat's answers it is made by others' programs: numbers may be floats or texts, and
//! fields that belong to another kind of token may be there and empty.

use serde_json::{Map, Value};

use crate::token::external::coded;
use crate::wechat::TokenGrant;

/// WeChat's names, in the order in which they are looked for.
const TOKEN_FIELDS: [&str; 3] = ["access_token", "component_access_token", "authorizer_access_token"];

/// What a body says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted(TokenGrant),
    /// An errcode other than 0.
    Refused(i64),
    /// Neither. What is wrong with it, without what is in it.
    Unreadable(&'static str),
}

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Answer {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return Answer::Unreadable("not a JSON object");
    };
    if let Some(errcode) = fields.get("errcode").and_then(number).filter(|errcode| *errcode != 0.0) {
        return Answer::Refused(errcode as i64);
    }
    let texts = TOKEN_FIELDS.iter().filter_map(|field| fields.get(*field)?.as_str());
    let Some(token) = texts.map(str::trim).find(|token| !token.is_empty()) else {
        return Answer::Unreadable("there is no access_token");
    };
    if !coded::is_like_a_token(token) {
        return Answer::Unreadable("its access_token cannot be a token");
    }
    let life_s = fields.get("expires_in").and_then(number).filter(|life_s| *life_s >= 1.0);
    match life_s {
        Some(life_s) => {
            Answer::Granted(TokenGrant { access_token: token.to_owned().into(), expires_in_s: life_s as u64 })
        }
        None => Answer::Unreadable("there is no expires_in"),
    }
}

/// A number, or the text of one.
fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wechat::AccessToken;

    #[test]
    fn a_token_and_its_life_are_read_in_every_form_that_programs_write() {
        let granted = |token: &str, expires_in_s| {
            Answer::Granted(TokenGrant { access_token: AccessToken::from(token.to_owned()), expires_in_s })
        };
        for (body, answer) in [
            (r#"{"access_token":"92_a","expires_in":7200}"#, granted("92_a", 7200)),
            (r#"{"access_token":"92_a","expires_in":7200.0}"#, granted("92_a", 7200)),
            (r#"{"access_token":"92_a","expires_in":7.2e3}"#, granted("92_a", 7200)),
            (r#"{"access_token":"92_a","expires_in":"7200"}"#, granted("92_a", 7200)),
            (r#"{"access_token":"92_a","expires_in":" 7199.9 "}"#, granted("92_a", 7199)),
            (r#"{"access_token":"92_a","expires_in":1e300}"#, granted("92_a", u64::MAX)),
            (r#"{"component_access_token":"","access_token":"92_a","expires_in":1}"#, granted("92_a", 1)),
            (r#"{"access_token":"92_a","component_access_token":null,"expires_in":1}"#, granted("92_a", 1)),
            (r#"{"access_token":"","authorizer_access_token":"92_b","expires_in":1}"#, granted("92_b", 1)),
            (r#"{"errcode":0,"errmsg":"ok","access_token":"92_a\n","expires_in":1}"#, granted("92_a", 1)),
            ("\u{feff}{\"errcode\":\"0\",\"access_token\":\"92_a\",\"expires_in\":1}", granted("92_a", 1)),
            (r#"{"errcode":40013,"errmsg":"x"}"#, Answer::Refused(40013)),
            (r#"{"errcode":"40013","access_token":"92_a","expires_in":1}"#, Answer::Refused(40013)),
        ] {
            assert_eq!(read(body.as_bytes()), answer, "{body}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_sent_to_wechat() {
        for body in [
            "",
            "[]",
            "\"92_a\"",
            r#"{"access_token":""}"#,
            r#"{"access_token":null,"expires_in":7200}"#,
            r#"{"access_token":"null","expires_in":7200}"#,
            r#"{"access_token":"a b","expires_in":7200}"#,
            r#"{"access_token":"\u4e2d","expires_in":7200}"#,
            r#"{"access_token":{"value":"92_a"},"expires_in":7200}"#,
            r#"{"access_token":"92_a"}"#,
            r#"{"access_token":"92_a","expires_in":0}"#,
            r#"{"access_token":"92_a","expires_in":-1}"#,
            r#"{"access_token":"92_a","expires_in":"soon"}"#,
            r#"{"access_token":"92_a","expires_in":"NaN"}"#,
            &format!(r#"{{"access_token":"{}","expires_in":7200}}"#, "x".repeat(4097)),
        ] {
            assert!(matches!(read(body.as_bytes()), Answer::Unreadable(_)), "{body}");
        }
    }
}
