//! Reading what was heard: JSON into replies, failures of the network into faults.

mod documented;

use std::error::Error;

use hyper_util::client::legacy;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::connect_fault;
use crate::login::{PhoneInfo, WechatAnswer};
use crate::secret::Secret;
use crate::wechat::{AccessToken, AuthorizerReply, Heard, MerchantsReply};

/// The longest `errmsg` that is kept, in characters.
const MAX_ERRMSG_CHARS: usize = 300;

/// WeChat's answer to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The phone number; the code is spent.
    Phone(PhoneInfo),
    /// An errcode other than 0.
    Refused(WechatAnswer),
}

/// WeChat's answer to a request for an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenReply {
    /// A token.
    Granted(TokenGrant),
    /// An errcode other than 0.
    Refused(WechatAnswer),
}

/// A token and how long it is still valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrant {
    /// The token.
    pub access_token: AccessToken,
    /// What is left of its life, in seconds.
    pub expires_in_s: u64,
}

/// No answer that WeChat's documents know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection: the request was surely not sent.
    #[error("WeChat cannot be reached: {0}")]
    Unreachable(String),
    /// No connection, for want of something on this machine: the request was surely not sent, and WeChat may be well.
    #[error("this machine cannot connect to WeChat: {0}")]
    Local(&'static str),
    /// HTTP 5xx other than 504 without an errcode: heard, and not served.
    #[error("WeChat answered HTTP {0}")]
    Busy(u16),
    /// HTTP 429 without an errcode: heard, and not served.
    #[error("WeChat answered HTTP 429")]
    Throttled,
    /// Sent, perhaps taken, and the answer was never heard.
    #[error("WeChat's answer was not heard: {0}")]
    Unheard(String),
    /// An answer that cannot be read, or without what was asked for.
    #[error("WeChat's answer cannot be read: {0}")]
    Unreadable(String),
}

impl Fault {
    /// Whether the code is surely still unspent, as far as this call goes.
    pub fn surely_not_taken(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Local(_) | Self::Busy(_) | Self::Throttled => true,
            Self::Unheard(_) | Self::Unreadable(_) => false,
        }
    }
}

impl Heard {
    pub(crate) fn fault(&self, problem: &str) -> Fault {
        fault(self.status, problem)
    }
}

/// The fault of an answer that is not the JSON we know; HTTP's status may still tell something.
pub(super) fn fault(status: u16, problem: &str) -> Fault {
    match status {
        429 => Fault::Throttled,
        504 => Fault::Unheard("a gateway on the way waited for WeChat in vain (HTTP 504)".into()),
        500..=599 => Fault::Busy(status),
        200 => Fault::Unreadable(problem.to_owned()),
        _ => Fault::Unreadable(format!("HTTP {status}, {problem}")),
    }
}

/// The fields that every answer may have; the rest is read once it is known to be wanted.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default, deserialize_with = "number_or_text")]
    errcode: Option<i64>,
    #[serde(borrow)]
    errmsg: Option<&'a RawValue>,
    #[serde(borrow)]
    phone_info: Option<&'a RawValue>,
    #[serde(borrow, alias = "component_access_token", alias = "authorizer_access_token")]
    access_token: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_in: Option<&'a RawValue>,
    #[serde(borrow)]
    authorizer_refresh_token: Option<&'a RawValue>,
    #[serde(borrow)]
    list: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn read(heard: &'a Heard) -> Result<Self, Fault> {
        serde_json::from_slice(&heard.text).map_err(|_| heard.fault("not a JSON object with a known errcode"))
    }

    /// An errcode other than 0, with its text cleared of what was sent.
    fn refusal(&self, sent: &[&str]) -> Option<WechatAnswer> {
        let errcode = self.errcode.filter(|errcode| *errcode != 0)?;
        let errmsg = self.errmsg.map(text_of).unwrap_or_default();
        let rid = rid(&errmsg);
        Some(WechatAnswer { errcode, errmsg: cleared(&errmsg, sent), rid })
    }

    /// A token and its life.
    fn grant(&self, heard: &Heard) -> Result<TokenGrant, Fault> {
        let token = self.access_token.map(text_of).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| heard.fault("there is no access_token"))?;
        let life = self.expires_in.and_then(|raw| text_of(raw).parse().ok()).filter(|life| *life > 0);
        let expires_in_s = life.ok_or_else(|| heard.fault("there is no expires_in"))?;
        Ok(TokenGrant { access_token: token.into(), expires_in_s })
    }
}

/// Reads the answer to an exchange. `sent` are the secrets that must not come back in its `errmsg`.
pub(super) fn read_phone(heard: &Heard, sent: &[&str]) -> Result<Reply, Fault> {
    match documented::read_phone(&heard.text) {
        Some(phone) => Ok(Reply::Phone(phone)),
        None => read_phone_in_pieces(heard, sent),
    }
}

fn read_phone_in_pieces(heard: &Heard, sent: &[&str]) -> Result<Reply, Fault> {
    let envelope = Envelope::read(heard)?;
    if let Some(refusal) = envelope.refusal(sent) {
        return Ok(Reply::Refused(refusal));
    }
    let raw = envelope.phone_info.ok_or_else(|| heard.fault("there is no phone_info"))?;
    match serde_json::from_str::<PhoneInfo>(raw.get()) {
        Ok(phone) if !phone.phone_number.is_empty() => Ok(Reply::Phone(phone)),
        Ok(_) => Err(heard.fault("the phone number is empty")),
        Err(_) => Err(heard.fault("phone_info is of another shape")),
    }
}

/// Reads the answer to a request for a token.
pub(super) fn read_token(heard: &Heard, sent: &[&str]) -> Result<TokenReply, Fault> {
    let envelope = Envelope::read(heard)?;
    match envelope.refusal(sent) {
        Some(refusal) => Ok(TokenReply::Refused(refusal)),
        None => envelope.grant(heard).map(TokenReply::Granted),
    }
}

/// Reads the answer to a request for a merchant's token.
pub(super) fn read_authorizer_token(heard: &Heard, sent: &[&str]) -> Result<AuthorizerReply, Fault> {
    let envelope = Envelope::read(heard)?;
    if let Some(refusal) = envelope.refusal(sent) {
        return Ok(AuthorizerReply::Refused(refusal));
    }
    let refresh_token = envelope.authorizer_refresh_token.map(text_of).filter(|token| !token.is_empty());
    Ok(AuthorizerReply::Granted { grant: envelope.grant(heard)?, refresh_token: refresh_token.map(Secret::from) })
}

/// Reads a part of a platform's merchants, each by itself: the appid of an entry that cannot be read is empty, and so is
/// a refresh token that WeChat does not give.
pub(super) fn read_merchants(heard: &Heard, sent: &[&str]) -> Result<MerchantsReply, Fault> {
    let envelope = Envelope::read(heard)?;
    if let Some(refusal) = envelope.refusal(sent) {
        return Ok(MerchantsReply::Refused(refusal));
    }
    let raw = envelope.list.ok_or_else(|| heard.fault("there is no list"))?;
    let list: Vec<Value> = serde_json::from_str(raw.get()).map_err(|_| heard.fault("list is of another shape"))?;
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let pair = |entry: &Value| (text(entry, "authorizer_appid"), text(entry, "refresh_token").into());
    Ok(MerchantsReply::Listed(list.iter().map(pair).collect()))
}

/// Reads the answer to a call that gives nothing.
pub(super) fn read_done(heard: &Heard, sent: &[&str]) -> Result<Option<WechatAnswer>, Fault> {
    let envelope = Envelope::read(heard)?;
    match (envelope.refusal(sent), envelope.errcode) {
        (Some(refusal), _) => Ok(Some(refusal)),
        (None, Some(_)) => Ok(None),
        (None, None) => Err(heard.fault("there is no errcode")),
    }
}

/// A call that got no answer at all. Only what makes connections (name look-up, TCP, TLS, and the bound on them) fails as
/// `connect`; what fails on a connection, also on one that was used before, may have been sent.
pub(super) fn unanswered(error: &legacy::Error) -> Fault {
    // Its own text says no more than which of the two it is.
    let why = error.source().map_or_else(|| error.to_string(), cause);
    match (error.is_connect(), connect_fault::local(error)) {
        (false, _) => Fault::Unheard(why),
        (true, Some(lack)) => Fault::Local(lack),
        (true, None) => Fault::Unreachable(why),
    }
}

/// A call whose answer broke off.
pub(super) fn cut_off(error: &hyper::Error) -> Fault {
    Fault::Unheard(cause(error))
}

/// The chain of causes in one line. Neither hyper's nor rustls' errors hold a URL; reqwest's would.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let deeper = std::iter::successors(error.source(), |cause| Error::source(*cause));
    deeper.fold(error.to_string(), |text, deeper| format!("{text}: {deeper}"))
}

/// WeChat's `errcode` is a number; some of its gateways are known to send text.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(deserializer)?;
    let number = |raw: &RawValue| raw.get().parse().or_else(|_| text_of(raw).trim().parse());
    raw.map(|raw| number(raw).map_err(serde::de::Error::custom)).transpose()
}

/// The text of a JSON string; of anything else its JSON.
fn text_of(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// WeChat's id of the call, which stands at the end of its error texts: `… rid: 8hex-8hex-8hex`.
fn rid(errmsg: &str) -> Option<String> {
    let (_, rest) = errmsg.rsplit_once("rid: ")?;
    let rid: String = rest.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect();
    (rid.len() >= 8).then_some(rid)
}

/// An `errmsg` fit for results and logs: without what was sent, without control characters, not endless.
fn cleared(errmsg: &str, sent: &[&str]) -> String {
    let mut text = errmsg.to_owned();
    for secret in sent.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    text.chars().filter(|c| !c.is_control()).take(MAX_ERRMSG_CHARS).collect()
}

#[cfg(test)]
mod tests;
