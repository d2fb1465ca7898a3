//! Why a login failed, and what its caller should do about it. The words of the contract, final.

use serde::{Deserialize, Serialize};

/// Why there is no phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The message has an id but cannot be served: missing or bad fields.
    InvalidRequest,
    /// No such appid is configured.
    UnknownApp,
    /// Its time was up before WeChat could be asked.
    Expired,
    /// 40029, and every attempt was answered.
    InvalidCode,
    /// 40029, or time was up, after an attempt whose answer was never heard.
    InDoubt,
    /// 40013, or the watermark names another app.
    AppMismatch,
    /// This app may not call this (48001, 61003, 61004, 61007, 40097, 402xx, 50002, 48004).
    NotAllowed,
    /// 45009 or 45011 to the end of the patience.
    Throttled,
    /// -1, 5xx or unreachable to the end of the patience; every attempt was surely not taken.
    Unavailable,
    /// No access token could be had.
    TokenUnavailable,
    /// errcode 0 without a phone, or an answer that cannot be read.
    BadAnswer,
    /// Any other errcode.
    Refused,
}

impl Reason {
    /// Every reason, in the contract's order.
    pub const ALL: [Self; 12] = [
        Self::InvalidRequest,
        Self::UnknownApp,
        Self::Expired,
        Self::InvalidCode,
        Self::InDoubt,
        Self::AppMismatch,
        Self::NotAllowed,
        Self::Throttled,
        Self::Unavailable,
        Self::TokenUnavailable,
        Self::BadAnswer,
        Self::Refused,
    ];

    /// The word on the wire, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnknownApp => "unknown_app",
            Self::Expired => "expired",
            Self::InvalidCode => "invalid_code",
            Self::InDoubt => "in_doubt",
            Self::AppMismatch => "app_mismatch",
            Self::NotAllowed => "not_allowed",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TokenUnavailable => "token_unavailable",
            Self::BadAnswer => "bad_answer",
            Self::Refused => "refused",
        }
    }

    /// What the caller should do, for a reason that has only one advice; `token_unavailable` has two, and this is that of a set-up fault.
    pub fn advice(self) -> Advice {
        match self {
            Self::InvalidRequest | Self::UnknownApp | Self::AppMismatch => Advice::FixRequest,
            Self::Expired | Self::InvalidCode | Self::InDoubt | Self::BadAnswer | Self::Refused => Advice::NewCode,
            Self::NotAllowed | Self::TokenUnavailable => Advice::FixSetup,
            Self::Throttled | Self::Unavailable => Advice::TryLater,
        }
    }
}

/// What the caller of a failed login should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Ask the user to tap the button again.
    NewCode,
    /// Offer another way to log in, or tap again later.
    TryLater,
    /// A bug in the caller.
    FixRequest,
    /// An operator must act.
    FixSetup,
}

impl Advice {
    /// Every advice, in the contract's order.
    pub const ALL: [Self; 4] = [Self::NewCode, Self::TryLater, Self::FixRequest, Self::FixSetup];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewCode => "new_code",
            Self::TryLater => "try_later",
            Self::FixRequest => "fix_request",
            Self::FixSetup => "fix_setup",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_serde_writes() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::json!(reason), reason.as_str());
        }
        for advice in Advice::ALL {
            assert_eq!(serde_json::json!(advice), advice.as_str());
        }
    }
}
