//! A login request as it travels through RabbitMQ, decoded once at the edge.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::login::{AppId, Code, OpenId, RequestId, UnixMs};

/// The longest body that is served, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Points in time before this (1973 in ms, or any date in seconds) are taken for a mistaken unit.
pub(crate) const EARLIEST_MS: u64 = 100_000_000_000;

/// One tap on the phone-number button, on its way to a phone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRequest {
    /// The result is keyed by it.
    pub request_id: RequestId,
    /// Which mini program the code came from; may be absent where only one app is configured.
    pub appid: Option<AppId>,
    /// What WeChat exchanges for the phone number, once.
    pub code: Code,
    /// Whose code it should be; sent on to WeChat when given.
    pub openid: Option<OpenId>,
    /// When the user tapped, in Unix ms.
    pub issued_at: Option<UnixMs>,
    /// After this nobody waits any more, in Unix ms.
    pub deadline: Option<UnixMs>,
}

/// A body that is no login request. The problem names a field and a rule, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undecodable {
    /// It has a usable id, so its sender gets a result.
    Invalid {
        /// Where the sender looks.
        request_id: RequestId,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody can be told, so it goes to the dead letters.
    Unkeyed {
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The fields as they stand, each still to be read, so that one bad field does not hide a good id.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    appid: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    openid: Option<&'a RawValue>,
    #[serde(borrow)]
    issued_at: Option<&'a RawValue>,
    #[serde(borrow)]
    deadline: Option<&'a RawValue>,
}

impl LoginRequest {
    /// Reads a message body. Unknown fields are ignored, `null` counts as absent.
    pub fn decode(body: &[u8]) -> Result<Self, Undecodable> {
        let unkeyed = |problem| Undecodable::Unkeyed { problem };
        let fields = Fields::read(body).map_err(unkeyed)?;
        let request_id = fields.request_id().map_err(unkeyed)?;
        if body.len() > MAX_BODY_BYTES {
            let problem = format!("the body is longer than {MAX_BODY_BYTES} bytes");
            return Err(Undecodable::Invalid { request_id, problem });
        }
        fields.with_id(request_id.clone()).map_err(|problem| Undecodable::Invalid { request_id, problem })
    }

    /// Reads what a gateway's caller submits: the same fields, but the id may be absent, and then is made here. The flag
    /// tells whether the caller chose the id.
    pub fn decode_submission(body: &[u8]) -> Result<(Self, bool), String> {
        let fields = Fields::read(body)?;
        let chosen = fields.request_id.is_some();
        let request_id = if chosen { fields.request_id()? } else { RequestId::generate() };
        Ok((fields.with_id(request_id)?, chosen))
    }

    /// The message body of this request.
    pub fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wire<'a> {
            request_id: &'a RequestId,
            #[serde(skip_serializing_if = "Option::is_none")]
            appid: Option<&'a AppId>,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            openid: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            issued_at: Option<UnixMs>,
            #[serde(skip_serializing_if = "Option::is_none")]
            deadline: Option<UnixMs>,
        }
        let wire = Wire {
            request_id: &self.request_id,
            appid: self.appid.as_ref(),
            code: self.code.expose(),
            openid: self.openid.as_ref().map(OpenId::expose),
            issued_at: self.issued_at,
            deadline: self.deadline,
        };
        serde_json::to_vec(&wire).expect("text and numbers always serialise")
    }
}

impl<'a> Fields<'a> {
    fn read(body: &'a [u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
        if !text.trim_start().starts_with('{') {
            return Err("the body is not a JSON object");
        }
        serde_json::from_str(text).map_err(|_| "the body is not a JSON object with each field once")
    }

    fn request_id(&self) -> Result<RequestId, &'static str> {
        let raw = self.request_id.ok_or("request_id is missing")?;
        let text = text(raw).ok_or("request_id is not a string")?;
        RequestId::try_from(&*text).map_err(|_| "request_id is not 1 to 128 of A-Z a-z 0-9 . _ - ~")
    }

    fn with_id(&self, request_id: RequestId) -> Result<LoginRequest, String> {
        Ok(LoginRequest {
            request_id,
            appid: name("appid", self.appid)?,
            code: name("code", self.code)?.ok_or("code is missing")?,
            openid: name("openid", self.openid)?,
            issued_at: instant("issued_at", self.issued_at)?,
            deadline: instant("deadline", self.deadline)?,
        })
    }
}

fn name<T>(field: &str, raw: Option<&RawValue>) -> Result<Option<T>, String>
where
    T: for<'t> TryFrom<&'t str, Error = crate::login::BadName>,
{
    let Some(raw) = raw else { return Ok(None) };
    let text = text(raw).ok_or_else(|| format!("{field} is not a string"))?;
    T::try_from(&text).map(Some).map_err(|rule| format!("{field} {rule}"))
}

fn instant(field: &str, raw: Option<&RawValue>) -> Result<Option<UnixMs>, String> {
    let Some(raw) = raw else { return Ok(None) };
    match serde_json::from_str::<u64>(raw.get()) {
        Ok(at) if at >= EARLIEST_MS => Ok(Some(at)),
        Ok(_) => Err(format!("{field} is not in milliseconds since 1970")),
        Err(_) => Err(format!("{field} is not a whole number of milliseconds since 1970")),
    }
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (
                r#"{"request_id":"r","code":"c","issued_at":1637744274}"#,
                "r: issued_at is not in milliseconds since 1970",
            ),
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
}
