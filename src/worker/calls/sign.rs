//! What an answer says of its app, or of WeChat itself, beyond the login that it was given to. Pure.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::login::WechatAnswer;
use crate::verdict::{StopCause, Stopped};
use crate::wechat::errcode;
use crate::wechat::{Fault, Reply};

/// Only an operator ends it; a probe now and then finds out.
const NOT_SERVED: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
/// 45011, HTTP 429: the quota of a minute. Short enough that a waiting login may still make it.
const MINUTE_QUOTA: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
/// 45009: the quota of a day.
const DAY_QUOTA: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(60) };

/// What it says.
pub(super) enum Sign {
    /// WeChat serves the app.
    Served,
    /// It does not, and may be asked again after pauses like these.
    Stopped(Stopped, Backoff),
    /// WeChat did not answer, or was too busy to, and perhaps said so.
    Away(Option<WechatAnswer>),
    /// It was not asked, for want of something on this machine.
    Local(&'static str),
    /// It may be about this one code.
    Nothing,
}

impl Sign {
    pub(super) fn of(answer: &Result<Reply, Fault>) -> Self {
        let refusal = match answer {
            Ok(Reply::Phone(_)) => return Self::Served,
            Ok(Reply::Refused(refusal)) => refusal,
            Err(Fault::Throttled) => {
                return Self::Stopped(Stopped { answer: None, cause: StopCause::Quota }, MINUTE_QUOTA);
            }
            Err(Fault::Unreachable(_) | Fault::Busy(_) | Fault::Unheard(_)) => return Self::Away(None),
            Err(Fault::Local(lack)) => return Self::Local(lack),
            Err(Fault::Unreadable(_)) => return Self::Nothing,
        };
        let stopped = |cause| Stopped { answer: Some(refusal.clone()), cause };
        match refusal.errcode {
            -1 => Self::Away(Some(refusal.clone())),
            45009 => Self::Stopped(stopped(StopCause::Quota), DAY_QUOTA),
            45011 => Self::Stopped(stopped(StopCause::Quota), MINUTE_QUOTA),
            errcode if errcode::stops_the_app(errcode) => Self::Stopped(stopped(StopCause::NotServed), NOT_SERVED),
            // WeChat's gateway has let the call through to where codes are looked at.
            40029 | 40013 => Self::Served,
            _ => Self::Nothing,
        }
    }
}
