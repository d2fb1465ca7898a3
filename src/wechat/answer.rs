//! Reading what was heard: JSON into replies, failures of the network into faults.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::login::{PhoneInfo, WechatAnswer};
use crate::secret::Secret;
use crate::wechat::{AccessToken, AuthorizerReply, MerchantsReply};

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
            Self::Unreachable(_) | Self::Busy(_) | Self::Throttled => true,
            Self::Unheard(_) | Self::Unreadable(_) => false,
        }
    }
}

/// A whole answer, not yet read.
pub(super) struct Heard {
    pub(super) status: u16,
    pub(super) text: Vec<u8>,
}

impl Heard {
    fn fault(&self, problem: &str) -> Fault {
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

/// Reads a part of a platform's merchants. One without a refresh token is left out.
pub(super) fn read_merchants(heard: &Heard, sent: &[&str]) -> Result<MerchantsReply, Fault> {
    #[derive(Deserialize)]
    struct Merchant {
        authorizer_appid: String,
        #[serde(default)]
        refresh_token: String,
    }
    let envelope = Envelope::read(heard)?;
    if let Some(refusal) = envelope.refusal(sent) {
        return Ok(MerchantsReply::Refused(refusal));
    }
    let raw = envelope.list.ok_or_else(|| heard.fault("there is no list"))?;
    let list: Vec<Merchant> = serde_json::from_str(raw.get()).map_err(|_| heard.fault("list is of another shape"))?;
    let pairs = list.into_iter().filter(|merchant| !merchant.refresh_token.is_empty());
    Ok(MerchantsReply::Listed(
        pairs.map(|merchant| (merchant.authorizer_appid, merchant.refresh_token.into())).collect(),
    ))
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
#[expect(clippy::disallowed_types, reason = "the URL is taken off before anything is made of the error")]
pub(super) fn unanswered(error: reqwest::Error) -> Fault {
    match error.is_connect() || error.is_builder() {
        true => Fault::Unreachable(cause(error)),
        false => Fault::Unheard(cause(error)),
    }
}

/// A call whose answer broke off.
#[expect(clippy::disallowed_types, reason = "the URL is taken off before anything is made of the error")]
pub(super) fn cut_off(error: reqwest::Error) -> Fault {
    Fault::Unheard(cause(error))
}

/// The chain of causes in one line, without the URL.
#[expect(clippy::disallowed_types, reason = "the URL is taken off before anything is made of the error")]
pub(super) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        text = format!("{text}: {deeper}");
        source = deeper.source();
    }
    text
}

/// WeChat's `errcode` is a number; some of its gateways are known to send text.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(deserializer)?;
    raw.map(|raw| text_of(raw).trim().parse().map_err(serde::de::Error::custom)).transpose()
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
mod tests {
    use super::*;

    fn heard(status: u16, text: &str) -> Heard {
        Heard { status, text: text.as_bytes().to_vec() }
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
            (include_str!("../../tests/data/phone.json"), Some("86")),
            (include_str!("../../tests/data/phone-country-number.json"), Some("86")),
            (include_str!("../../tests/data/phone-foreign.json"), Some("852")),
            (include_str!("../../tests/data/phone-no-country.json"), None),
        ] {
            assert_eq!(number(phone(fixture)).country_code.as_deref(), country, "{fixture}");
        }
    }

    #[test]
    fn a_foreign_number_keeps_its_country_code() {
        let phone = number(phone(include_str!("../../tests/data/phone-foreign.json")));
        assert_eq!(
            (phone.phone_number.as_str(), phone.pure_phone_number.as_deref()),
            ("+85251234567", Some("51234567"))
        );
    }

    #[test]
    fn a_watermark_may_be_missing_in_part_or_whole() {
        let phone_without = number(phone(include_str!("../../tests/data/phone-no-watermark.json")));
        assert_eq!(phone_without.watermark, None);
        let partly = number(phone(include_str!("../../tests/data/phone-watermark-no-timestamp.json")));
        assert_eq!(partly.watermark.expect("a watermark").timestamp, None);
    }

    #[test]
    fn an_odd_part_does_not_cost_the_phone_number() {
        let odd =
            r#"{"errcode":0,"phone_info":{"phoneNumber":"13800000000","countryCode":[86],"watermark":{"appid":7}}}"#;
        let phone = number(phone(odd));
        assert_eq!((phone.phone_number.as_str(), phone.country_code, phone.watermark), ("13800000000", None, None));
    }

    #[test]
    fn every_documented_error_keeps_its_code_text_and_rid() {
        let fixtures: Vec<Box<RawValue>> =
            serde_json::from_str(include_str!("../../tests/data/errors.json")).expect("a list");
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
        for text in [r#"{"access_token":"92_x"}"#, r#"{"access_token":"","expires_in":7200}"#, r#"{"expires_in":7200}"#]
        {
            assert!(matches!(read_token(&heard(200, text), &[]), Err(Fault::Unreadable(_))), "{text}");
        }
    }
}
