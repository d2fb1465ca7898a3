//! The one terminal result of a login, and its JSON in the store.

use serde::{Deserialize, Serialize};

use crate::login::{Advice, AppId, PhoneInfo, Reason, RequestId, SealError, SealingKey, UnixMs};

/// How a login ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginResult {
    /// Whose result it is.
    pub request_id: RequestId,
    /// The app it was for, where that is known.
    pub appid: Option<AppId>,
    /// A phone number, or why there is none.
    pub outcome: Outcome,
    /// How often WeChat was asked for the phone number, as far as is known.
    pub attempts: u32,
    /// When it was concluded, in Unix ms.
    pub finished_at: UnixMs,
    /// True when the simulator stood in for WeChat.
    pub simulated: bool,
}

/// A phone number, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// WeChat gave the phone number.
    Succeeded(PhoneInfo),
    /// It is certain that this code gives none.
    Failed(Failure),
}

impl Outcome {
    /// `succeeded`, or the reason: the word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "succeeded",
            Self::Failed(failure) => failure.reason.as_str(),
        }
    }
}

/// Why a login failed and what its caller should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// What the caller should do.
    pub advice: Advice,
    /// What WeChat said, when it answered.
    pub answer: Option<WechatAnswer>,
    /// What is wrong, in words, where the errcode alone does not say what is to be done.
    pub detail: Option<String>,
}

impl Failure {
    /// A failure with its usual advice, before or without an answer of WeChat's.
    pub fn new(reason: Reason) -> Self {
        Self { reason, advice: reason.advice(), answer: None, detail: None }
    }
}

/// What WeChat said instead of a phone number. The text was cleared of codes and tokens where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WechatAnswer {
    /// WeChat's error code.
    pub errcode: i64,
    /// WeChat's text.
    pub errmsg: String,
    /// WeChat's id of the call, which its staff ask for.
    pub rid: Option<String>,
}

/// Whether there is a phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is.
    Succeeded,
    /// There is none, and `error` says why.
    Failed,
}

/// A result as it stands in the store and as the gateway answers it.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct ResultBody {
    /// Whose result it is.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// Whether there is a phone number.
    pub status: Status,
    /// The mini program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub appid: Option<AppId>,
    /// The phone number, of a login that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_info: Option<PhoneInfo>,
    /// The phone number as a compact JWE (`dir`, `A256GCM`), where results are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_info_jwe: Option<String>,
    /// Why there is none, of a login that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// How often WeChat was asked.
    pub attempts: u32,
    /// When it was concluded, in Unix ms.
    pub finished_at: UnixMs,
    /// True when a simulator stood in for WeChat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// Why a login failed, as it stands in the store.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// Why.
    pub reason: Reason,
    /// What the caller should do.
    pub advice: Advice,
    /// WeChat's error code, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errcode: Option<i64>,
    /// WeChat's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errmsg: Option<String>,
    /// WeChat's id of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl LoginResult {
    /// The JSON for the store; the phone number is sealed where there is a key.
    pub fn to_json(&self, sealing: Option<&SealingKey>) -> Vec<u8> {
        let mut body = ResultBody {
            request_id: self.request_id.clone(),
            status: Status::Failed,
            appid: self.appid.clone(),
            phone_info: None,
            phone_info_jwe: None,
            error: None,
            attempts: self.attempts,
            finished_at: self.finished_at,
            simulated: self.simulated,
        };
        match (&self.outcome, sealing) {
            (Outcome::Failed(failure), _) => body.error = Some(failure.into()),
            (Outcome::Succeeded(phone), None) => body.phone_info = Some(phone.clone()),
            (Outcome::Succeeded(phone), Some(key)) => body.phone_info_jwe = Some(key.seal(&json(phone))),
        }
        if matches!(self.outcome, Outcome::Succeeded(_)) {
            body.status = Status::Succeeded;
        }
        json(&body)
    }

    /// Reads a result from the store, opening it where it is sealed and the key is at hand.
    pub fn from_json(text: &[u8], sealing: Option<&SealingKey>) -> Result<Self, UnreadableResult> {
        let body: ResultBody = serde_json::from_slice(text).map_err(|_| UnreadableResult::NotAResult)?;
        let outcome = match (body.error, body.phone_info, body.phone_info_jwe) {
            (Some(error), _, _) => Outcome::Failed(error.into()),
            (None, Some(phone), _) => Outcome::Succeeded(phone),
            (None, None, Some(jwe)) => {
                let plain = sealing.ok_or(UnreadableResult::NoKey)?.open(&jwe)?;
                Outcome::Succeeded(serde_json::from_slice(&plain).map_err(|_| UnreadableResult::NotAResult)?)
            }
            (None, None, None) => return Err(UnreadableResult::NotAResult),
        };
        Ok(Self {
            request_id: body.request_id,
            appid: body.appid,
            outcome,
            attempts: body.attempts,
            finished_at: body.finished_at,
            simulated: body.simulated,
        })
    }
}

/// Why what stands in the store cannot be read as a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableResult {
    /// Something else stands there.
    #[error("what is stored is not a login result")]
    NotAResult,
    /// It is sealed, and no key is configured.
    #[error("the phone number is sealed, and no result.encryption key is configured here")]
    NoKey,
    /// It is sealed with another key.
    #[error(transparent)]
    Sealed(#[from] SealError),
}

impl From<&Failure> for ErrorBody {
    fn from(failure: &Failure) -> Self {
        let answer = failure.answer.clone();
        Self {
            reason: failure.reason,
            advice: failure.advice,
            errcode: answer.as_ref().map(|answer| answer.errcode),
            rid: answer.as_ref().and_then(|answer| answer.rid.clone()),
            errmsg: answer.map(|answer| answer.errmsg),
            detail: failure.detail.clone(),
        }
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        let answer = body.errcode.map(|errcode| WechatAnswer {
            errcode,
            errmsg: body.errmsg.unwrap_or_default(),
            rid: body.rid,
        });
        Self { reason: body.reason, advice: body.advice, answer, detail: body.detail }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("text and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::Watermark;

    fn succeeded() -> LoginResult {
        LoginResult {
            request_id: RequestId::try_from("r-1").expect("a good id"),
            appid: AppId::try_from("wx0123456789abcdef").ok(),
            outcome: Outcome::Succeeded(PhoneInfo {
                phone_number: "13800000000".into(),
                pure_phone_number: Some("13800000000".into()),
                country_code: Some("86".into()),
                watermark: Some(Watermark { timestamp: Some(1_637_744_274), appid: Some("wx0123456789abcdef".into()) }),
            }),
            attempts: 1,
            finished_at: 1_637_744_275_123,
            simulated: false,
        }
    }

    #[test]
    fn a_success_is_written_as_the_contract_says() {
        assert_eq!(
            String::from_utf8(succeeded().to_json(None)).expect("UTF-8"),
            r#"{"request_id":"r-1","status":"succeeded","appid":"wx0123456789abcdef","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{"timestamp":1637744274,"appid":"wx0123456789abcdef"}},"attempts":1,"finished_at":1637744275123}"#
        );
    }

    #[test]
    fn a_failure_is_written_as_the_contract_says() {
        let answer = WechatAnswer {
            errcode: 40029,
            errmsg: "invalid code".into(),
            rid: Some("65f3e9f7-77cf1a1c-0dd74a0e".into()),
        };
        let failure = Failure { answer: Some(answer), ..Failure::new(Reason::InvalidCode) };
        let result = LoginResult { outcome: Outcome::Failed(failure), ..succeeded() };
        let text = result.to_json(None);
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"request_id":"r-1","status":"failed","appid":"wx0123456789abcdef","error":{"reason":"invalid_code","advice":"new_code","errcode":40029,"errmsg":"invalid code","rid":"65f3e9f7-77cf1a1c-0dd74a0e"},"attempts":1,"finished_at":1637744275123}"#
        );
        assert_eq!(LoginResult::from_json(&text, None), Ok(result));
    }

    #[test]
    fn a_sealed_success_shows_no_number_and_opens_again() {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode([7; 32]);
        let key = SealingKey::new("k1", &text.into()).expect("32 bytes");
        let stored = succeeded().to_json(Some(&key));
        assert!(!String::from_utf8_lossy(&stored).contains("13800000000"));
        assert_eq!(LoginResult::from_json(&stored, Some(&key)), Ok(succeeded()));
        assert_eq!(LoginResult::from_json(&stored, None), Err(UnreadableResult::NoKey));
    }

    #[test]
    fn a_phone_number_prints_as_stars() {
        assert!(!format!("{:?}", succeeded()).contains("138"));
    }
}
