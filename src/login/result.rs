//! The one terminal result of a login, and its JSON in the store.

use serde::{Deserialize, Serialize};

use crate::login::{Advice, AppId, PhoneInfo, Reason, RequestId, SealError, SealingKey, UnixMs};

/// Most results are shorter, and then their buffer need not grow.
const USUAL_BYTES: usize = 512;

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

/// A result as it stands in the store and as the gateway answers it, for those who read it.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct ResultBody {
    /// Whose result it is.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// Whether there is a phone number.
    pub status: Status,
    /// The mini program.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub appid: Option<AppId>,
    /// The phone number, of a login that succeeded.
    #[serde(default)]
    pub phone_info: Option<PhoneInfo>,
    /// The phone number as a compact JWE (`dir`, `A256GCM`), where results are encrypted.
    #[serde(default)]
    pub phone_info_jwe: Option<String>,
    /// Why there is none, of a login that failed.
    #[serde(default)]
    pub error: Option<ErrorBody>,
    /// How often WeChat was asked.
    pub attempts: u32,
    /// When it was concluded, in Unix ms.
    pub finished_at: UnixMs,
    /// True when a simulator stood in for WeChat.
    #[serde(default)]
    pub simulated: bool,
}

/// The same, as it is written: each login is, and so nothing is copied for it.
#[derive(Serialize)]
struct Written<'a> {
    request_id: &'a RequestId,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    appid: Option<&'a AppId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_info: Option<&'a PhoneInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_info_jwe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
    attempts: u32,
    finished_at: UnixMs,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
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
        let (status, phone_info, phone_info_jwe, error) = match (&self.outcome, sealing) {
            (Outcome::Failed(failure), _) => (Status::Failed, None, None, Some(failure.into())),
            (Outcome::Succeeded(phone), None) => (Status::Succeeded, Some(phone), None, None),
            (Outcome::Succeeded(phone), Some(key)) => (Status::Succeeded, None, Some(key.seal(&json(phone))), None),
        };
        json(&Written {
            request_id: &self.request_id,
            status,
            appid: self.appid.as_ref(),
            phone_info,
            phone_info_jwe,
            error,
            attempts: self.attempts,
            finished_at: self.finished_at,
            simulated: self.simulated,
        })
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
    let mut text = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut text, value).expect("text and numbers always serialise");
    text
}

#[cfg(test)]
mod tests;
