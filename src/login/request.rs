//! A login request as it travels through RabbitMQ, decoded once at the edge.

mod fields;
mod salvage;
mod text;

use serde::{Deserialize, Serialize};

use crate::login::{AppId, Code, OpenId, RequestId, UnixMs};
use fields::Fields;
use text::json_text;

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
    /// It has a usable id, so its sender gets a result, also if the body is not valid JSON elsewhere.
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

impl LoginRequest {
    /// Reads a message body. Unknown fields are ignored; optional ones that are `null`, empty or zero count as absent.
    pub fn decode(body: &[u8]) -> Result<Self, Undecodable> {
        match Plain::read(body).and_then(Plain::request) {
            Some(request) => Ok(request),
            None => Self::decode_in_pieces(body),
        }
    }

    /// Reads what [`Plain`] does not, and says what is wrong, and whose it is.
    fn decode_in_pieces(body: &[u8]) -> Result<Self, Undecodable> {
        let unkeyed = |problem| Undecodable::Unkeyed { problem };
        let text = json_text(body).map_err(unkeyed)?;
        let fields = match Fields::read(&text) {
            Ok(fields) => fields,
            Err(problem) => {
                let request_id = salvage::request_id(&text).ok_or(Undecodable::Unkeyed { problem })?;
                return Err(Undecodable::Invalid { request_id, problem: problem.into() });
            }
        };
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
        let text = json_text(body)?;
        let fields = Fields::read(&text)?;
        let chosen = fields.chosen_request_id()?;
        let is_chosen = chosen.is_some();
        Ok((fields.with_id(chosen.unwrap_or_else(RequestId::generate))?, is_chosen))
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

#[cfg(test)]
mod tests;
