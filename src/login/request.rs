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

/// A request with nothing wrong or odd in it, as nearly all are: read in one pass.
#[derive(Deserialize)]
struct Plain<'a> {
    request_id: &'a str,
    #[serde(borrow)]
    appid: Option<&'a str>,
    code: &'a str,
    #[serde(borrow)]
    openid: Option<&'a str>,
    issued_at: Option<UnixMs>,
    deadline: Option<UnixMs>,
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
        match Plain::read(body).and_then(Plain::request) {
            Some(request) => Ok(request),
            None => Self::decode_in_pieces(body),
        }
    }

    /// Says what is wrong, and whose it is.
    fn decode_in_pieces(body: &[u8]) -> Result<Self, Undecodable> {
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

impl<'a> Plain<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        // An array of the same values would be read too.
        let is_plain = body.len() <= MAX_BODY_BYTES && body.first() == Some(&b'{');
        let text = std::str::from_utf8(body).ok().filter(|_| is_plain)?;
        serde_json::from_str(text).ok()
    }

    fn request(self) -> Option<LoginRequest> {
        let in_ms = |at: Option<UnixMs>| at.is_none_or(|at| at >= EARLIEST_MS);
        if !in_ms(self.issued_at) || !in_ms(self.deadline) {
            return None;
        }
        Some(LoginRequest {
            request_id: self.request_id.try_into().ok()?,
            appid: self.appid.map(AppId::try_from).transpose().ok()?,
            code: self.code.try_into().ok()?,
            openid: self.openid.map(OpenId::try_from).transpose().ok()?,
            issued_at: self.issued_at,
            deadline: self.deadline,
        })
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
mod tests;
