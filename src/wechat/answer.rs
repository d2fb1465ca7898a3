//! Reading what was heard: JSON into replies, failures of the network into faults.

mod body;
mod cleaned;
mod documented;
mod json;
mod phone;

use std::error::Error;
use std::time::Duration;

use hyper_util::client::legacy;

use crate::connect_fault;
use crate::login::{PhoneInfo, WechatAnswer};
use crate::secret::Secret;
use crate::wechat::{AccessToken, AuthorizerReply, Heard, MerchantsReply, wire};
use body::Plain;
use json::{Json, Object};

/// The longest `rid` that is believed, in characters. WeChat's have 26.
const RID_MOST: usize = 64;

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

    /// A call whose time was up before WeChat responded.
    pub(crate) fn no_response_within(limit: Duration) -> Self {
        Self::Unheard(format!("{NO_RESPONSE} {}", seconds(limit)))
    }

    /// What happened, as a sentence for results and logs.
    pub fn in_words(&self) -> String {
        match self {
            Self::Unreachable(why) => format!("WeChat could not be reached ({why})"),
            Self::Local(lack) => format!("this machine cannot connect to WeChat: {lack}"),
            Self::Busy(status) => format!("WeChat answered HTTP {status}"),
            Self::Throttled => "WeChat answered HTTP 429".to_owned(),
            Self::Unheard(why) => match why.strip_prefix(NO_RESPONSE) {
                Some(limit) => format!("WeChat did not respond within{limit}"),
                None => format!("WeChat's response was lost ({why})"),
            },
            Self::Unreadable(why) => format!("WeChat's response could not be read: {why}"),
        }
    }
}

/// How the fault of a call without a response begins.
const NO_RESPONSE: &str = "there was no answer within";

/// `5 s`, `1.5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 10.0).round() / 10.0)
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

/// What a response of WeChat's has at least one of.
const FIELDS: [&str; 6] = [ERRCODE, "phone_info", ACCESS_TOKENS[0], ACCESS_TOKENS[1], ACCESS_TOKENS[2], "list"];
const ERRCODE: &str = "errcode";
const ACCESS_TOKENS: [&str; 3] = ["access_token", "component_access_token", "authorizer_access_token"];

/// A response, read as leniently as it takes. Every response is read by this, but for a success in WeChat's own shape.
struct Response<'a> {
    heard: &'a Heard,
    object: Object,
    /// More of the body was dropped than kept.
    too_long: bool,
}

impl<'a> Response<'a> {
    fn read(heard: &'a Heard) -> Result<Self, Fault> {
        let plain = Plain::of(&heard.text);
        let found = Object::find(&plain.bytes, &FIELDS).map(|object| (object, plain.too_long));
        let found = found.or_else(|| {
            let deflated = Plain::deflated(&plain.bytes)?;
            Some((Object::find(&deflated.bytes, &FIELDS)?, deflated.too_long))
        });
        let Some((object, too_long)) = found else {
            return Err(lost_or(heard, "it is no JSON object with a known field"));
        };
        let too_long = too_long || matches!(heard.cut, Some(Fault::Unreadable(_)));
        let response = Self { heard, object, too_long };
        // What was dropped may be a field that counts for more.
        if too_long && !response.object.whole {
            return Err(wire::too_long(heard.status));
        }
        Ok(response)
    }

    /// What is missing may have been in the part that was lost.
    fn fault(&self, problem: &str) -> Fault {
        match self.too_long {
            true => wire::too_long(self.heard.status),
            false => lost_or(self.heard, problem),
        }
    }

    /// Every errcode that can be read, the last one first.
    fn errcodes(&self) -> impl Iterator<Item = i64> {
        self.object.all(ERRCODE).filter_map(|json| json.number().filter(|number| number.is_whole)?.to_i64())
    }

    /// Whether it says of itself that it is a success.
    fn succeeded(&self) -> bool {
        self.errcodes().any(|errcode| errcode == 0)
    }

    /// An errcode other than 0, with its text cleared of what was sent.
    fn refusal(&self, sent: &[&str]) -> Option<WechatAnswer> {
        let errcode = self.errcodes().find(|errcode| *errcode != 0)?;
        let errmsg = self.object.all("errmsg").find_map(Json::text).unwrap_or_default();
        let errmsg = cleaned::redacted(&errmsg, sent);
        Some(WechatAnswer { errcode, rid: rid(&errmsg), errmsg: cleaned::shortened(&errmsg) })
    }

    /// A token and its life.
    fn grant(&self) -> Result<TokenGrant, Fault> {
        let token = ACCESS_TOKENS.iter().find_map(|name| self.secret(name));
        let token = token.ok_or_else(|| self.fault("there is no access_token"))?;
        let life = self.object.all("expires_in").find_map(|json| json.number()?.to_i64());
        let life = life.and_then(|life| u64::try_from(life).ok()).filter(|life| *life > 0);
        let expires_in_s = life.ok_or_else(|| self.fault("there is no expires_in"))?;
        Ok(TokenGrant { access_token: token.into(), expires_in_s })
    }

    /// The phone number of an object inside, as in the envelope of a proxy: `{"errcode":0,"data":{"phone_info":…}}`.
    fn phone_inside(&self) -> Option<PhoneInfo> {
        let inside = Object::find(&Plain::of(&self.heard.text).bytes, &["phone_info"])?;
        phone::read(&inside).ok().filter(|_| inside.whole)
    }

    fn secret(&self, name: &str) -> Option<String> {
        let texts = self.object.all(name).filter_map(Json::text);
        texts.map(|text| text.trim().to_owned()).find(|text| !text.is_empty())
    }
}

/// What was lost, where a part of the response was; else the fault of one that is not what we know.
fn lost_or(heard: &Heard, problem: &str) -> Fault {
    heard.cut.clone().unwrap_or_else(|| fault(heard.status, problem))
}

/// Reads the answer to an exchange. `sent` are the secrets that must not come back in its `errmsg`.
pub(super) fn read_phone(heard: &Heard, sent: &[&str]) -> Result<Reply, Fault> {
    match documented::read_phone(&heard.text).filter(|_| heard.cut.is_none()) {
        Some(phone) => Ok(Reply::Phone(phone)),
        None => read_phone_leniently(heard, sent),
    }
}

/// A phone number is not lost because of an errcode that cannot be read, or that is there twice and once 0.
fn read_phone_leniently(heard: &Heard, sent: &[&str]) -> Result<Reply, Fault> {
    let response = Response::read(heard)?;
    let refusal = response.refusal(sent);
    if let Some(refusal) = refusal.as_ref().filter(|_| !response.succeeded()) {
        return Ok(Reply::Refused(refusal.clone()));
    }
    match (phone::read(&response.object), refusal) {
        (Ok(phone), _) => Ok(Reply::Phone(phone)),
        (Err(_), Some(refusal)) => Ok(Reply::Refused(refusal)),
        (Err(problem), None) => response.phone_inside().map(Reply::Phone).ok_or_else(|| response.fault(&problem)),
    }
}

/// Reads the answer to a request for a token.
pub(super) fn read_token(heard: &Heard, sent: &[&str]) -> Result<TokenReply, Fault> {
    let response = Response::read(heard)?;
    Ok(match granted(&response, sent)? {
        Ok(grant) => TokenReply::Granted(grant),
        Err(refusal) => TokenReply::Refused(refusal),
    })
}

/// Reads the answer to a request for a merchant's token.
pub(super) fn read_authorizer_token(heard: &Heard, sent: &[&str]) -> Result<AuthorizerReply, Fault> {
    let response = Response::read(heard)?;
    Ok(match granted(&response, sent)? {
        Ok(grant) => {
            let refresh_token = response.secret("authorizer_refresh_token").map(Secret::from);
            AuthorizerReply::Granted { grant, refresh_token }
        }
        Err(refusal) => AuthorizerReply::Refused(refusal),
    })
}

fn granted(response: &Response<'_>, sent: &[&str]) -> Result<Result<TokenGrant, WechatAnswer>, Fault> {
    match (response.refusal(sent), response.succeeded()) {
        (Some(refusal), false) => Ok(Err(refusal)),
        (Some(refusal), true) => Ok(response.grant().map_err(|_| refusal)),
        (None, _) => response.grant().map(Ok),
    }
}

/// Reads a part of a platform's merchants, each by itself: the appid of an entry that cannot be read is empty, and so is
/// a refresh token that WeChat does not give.
pub(super) fn read_merchants(heard: &Heard, sent: &[&str]) -> Result<MerchantsReply, Fault> {
    let response = Response::read(heard)?;
    if let Some(refusal) = response.refusal(sent) {
        return Ok(MerchantsReply::Refused(refusal));
    }
    let Some(list) = response.object.all("list").find_map(Json::array) else {
        return Err(response.fault("there is no list"));
    };
    let text = |entry: &Json, name| {
        let text = entry.object().and_then(|entry| entry.all(name).find_map(Json::text));
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let merchant = |entry: &Json| (text(entry, "authorizer_appid"), Secret::from(text(entry, "refresh_token")));
    Ok(MerchantsReply::Listed(list.iter().map(merchant).collect()))
}

/// Reads the answer to a call that gives nothing.
pub(super) fn read_done(heard: &Heard, sent: &[&str]) -> Result<Option<WechatAnswer>, Fault> {
    let response = Response::read(heard)?;
    match (response.refusal(sent), response.succeeded()) {
        (Some(refusal), _) => Ok(Some(refusal)),
        (None, true) => Ok(None),
        (None, false) => Err(response.fault("there is no errcode")),
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

/// WeChat's id of the call, which stands at the end of its error texts: `… rid: 8hex-8hex-8hex`.
fn rid(errmsg: &str) -> Option<String> {
    let (_, rest) = errmsg.rsplit_once("rid: ")?;
    let rid: String = rest.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect();
    (8..=RID_MOST).contains(&rid.len()).then_some(rid)
}

#[cfg(test)]
mod tests;
