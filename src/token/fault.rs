//! Why no access token could be had, and for how long nobody asks again.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::connect_fault;
use crate::login::{AppId, WechatAnswer};
use crate::store::StoreAway;
use crate::wechat::Fault;
use crate::wechat::errcode::{self, TokenErrcode};

/// For so long a fault answers those who come next, so that a thousand waiting logins ask once.
const ANSWERS_FOR: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

/// Why no access token could be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// WeChat refused to give one.
    #[error("WeChat refused with errcode {}: {}", .0.errcode, .0.errmsg)]
    Refused(WechatAnswer),
    /// WeChat refused a token and, asked for another, gave the same again. This is its refusal of the token.
    #[error("WeChat refuses the access token with errcode {}, and gave the same one again: some other system ends it by force, or replaces it without need", .0.errcode)]
    StillRefused(WechatAnswer),
    /// WeChat refuses one token after the other. This is its last refusal.
    #[error("WeChat refuses one access token after the other with errcode {}, eighty of them in an hour: does some other system fetch it too?", .0.errcode)]
    RefusedAgain(WechatAnswer),
    /// WeChat refused the token of another system, which has not replaced it. This is its refusal, and where the token is.
    #[error("WeChat refuses the token of {at} with errcode {}, and its owner has not replaced it", .answer.errcode)]
    NotReplaced {
        /// WeChat's refusal of the token.
        answer: WechatAnswer,
        /// Where it is.
        at: String,
    },
    /// The other system that owns the token shows none.
    #[error("{0}")]
    NotShown(String),
    /// The other system that owns the token cannot be asked for now.
    #[error("{0}")]
    OwnerAway(String),
    /// The AppSecret cannot be read.
    #[error("the AppSecret cannot be read: {0}")]
    NoSecret(String),
    /// WeChat has pushed no ticket to this third-party platform.
    #[error(
        "no component_verify_ticket of platform {0} is there: WeChat pushes one every ten minutes to the gateway's /wechat/events, and `quicklogin token ticket` puts one in by hand"
    )]
    NoTicket(AppId),
    /// The merchant is not in the list of those who have authorised this third-party platform.
    #[error(
        "the mini program is not among those that have authorised platform {0}: ask the merchant for authorisation, with permission set 18"
    )]
    NotAuthorized(AppId),
    /// The merchant is in the list of those who have authorised this third-party platform, without a refresh token.
    #[error(
        "WeChat lists the mini program among those that have authorised platform {0}, but gives no refresh token for it: ask the merchant to authorise the platform once more"
    )]
    NoRefreshToken(AppId),
    /// WeChat did not answer.
    #[error(transparent)]
    Wechat(Fault),
    /// The store that the fleet shares it in is away.
    #[error("the store is away")]
    Store,
    /// A forced refresh was wanted, and the fleet's budget of them is spent, or the last was just now.
    #[error("no forced refresh is left: 20 in 24 hours, 30 s apart, for the whole fleet")]
    NoForce,
    /// Somebody, here or in another worker, is fetching it, and time was up before it was there.
    #[error("it took too long to fetch")]
    Awaited,
}

impl TokenFault {
    /// What WeChat said, where it said anything.
    pub fn answer(&self) -> Option<&WechatAnswer> {
        match self {
            Self::Refused(answer) | Self::StillRefused(answer) | Self::RefusedAgain(answer) => Some(answer),
            Self::NotReplaced { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// Whether only a person can end it.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Refused(refusal) => errcode::of_token(refusal.errcode) != TokenErrcode::Passing,
            Self::StillRefused(_) | Self::RefusedAgain(_) | Self::NotReplaced { .. } | Self::NotShown(_) => true,
            Self::NoSecret(why) => !connect_fault::is_local_text(why),
            Self::NoTicket(_) | Self::NotAuthorized(_) | Self::NoRefreshToken(_) => true,
            Self::Wechat(_) | Self::OwnerAway(_) | Self::Store | Self::NoForce | Self::Awaited => false,
        }
    }

    /// Whether it is about a token that WeChat refuses: over once WeChat takes it.
    pub(super) fn is_of_token(&self) -> bool {
        matches!(self, Self::StillRefused(_) | Self::NotReplaced { .. } | Self::RefusedAgain(_))
    }

    /// Whether it is worth remembering; else whoever comes next tries for themselves.
    pub(super) fn is_remembered(&self) -> bool {
        !matches!(self, Self::Awaited | Self::NoForce)
    }

    /// For how long nobody asks again after the `times`-th in a row. It grows where only a person can end it, and looking
    /// costs a call of WeChat's.
    pub(super) fn pause(&self, times: u32, dice: f64) -> Duration {
        let grows = match self {
            Self::NotReplaced { .. } | Self::NotShown(_) | Self::NoTicket(_) => false,
            other => other.needs_a_person(),
        };
        ANSWERS_FOR.pause(if grows { times.saturating_sub(1) } else { 0 }, dice)
    }
}

impl From<StoreAway> for TokenFault {
    fn from(_: StoreAway) -> Self {
        Self::Store
    }
}
