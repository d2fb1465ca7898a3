//! What an answer means for a login: conclude, ask again, or get another token first.
//!
//! Pure: no clock, no I/O, no async, no randomness of its own, so that the whole table can be tested as a table.

mod detail;

use std::time::Duration;

use crate::backoff::Backoff;
use crate::login::{Advice, AppId, Failure, LoginRequest, Outcome, PhoneInfo, Reason, UnixMs, WechatAnswer};
use crate::token::TokenFault;
use crate::wechat::errcode::{self, PhoneErrcode};
use crate::wechat::{Fault, Reply};
use detail::expired;
pub use detail::{LostResponses, NotServed};

/// How often a login may be asked again with another token; each must differ from the one that failed.
const MAX_OTHER_TOKENS: u32 = 3;
/// How often a login is asked again with the token that WeChat has just refused and then given again.
const MAX_SAME_TOKEN: u32 = 4;
/// A login that WeChat has refused with the same token this often, and that has no more time, is told that an operator
/// must act. After fewer refusals they may be a flicker of WeChat's.
const SAME_TOKEN_TOLD: u32 = 2;

/// WeChat is away or busy: soon, since it is mostly over at once.
const BUSY: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(3) };
/// A quota of a minute is not over in a moment, and every call counts against it.
const THROTTLED: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(5) };

/// WeChat refuses a token that is good: it takes it again a moment later.
const REFUSED_TOKEN: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_millis(1600) };

/// Those who wait for the end of a stop do not come back all at once.
const AFTER_A_STOP: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_millis(500) };

/// What to do next with a login.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is over.
    Conclude(Outcome),
    /// Wait this long, then ask again.
    AskAgain {
        /// The pause, in ms.
        after_ms: u64,
    },
    /// The token was refused: compare, get another, ask again at once.
    OtherToken,
}

/// What has happened to a login so far. The line counts what it does; judging notes what was heard and how often it
/// told to wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// How often WeChat was asked with this code, by any worker.
    pub asked: u32,
    /// Whether one of those answers was never heard, so that the code may be spent.
    pub unheard: bool,
    /// How often another token was fetched for it.
    pub other_tokens: u32,
    /// How often it was told to wait, here: what the pause grows with.
    pub pauses: u32,
    /// How often it was asked again with the token that WeChat had refused.
    pub same_token: u32,
    /// The responses that were lost, for people.
    pub lost: LostResponses,
    /// The attempts that were not served, for people.
    pub not_served: NotServed,
}

impl History {
    /// Nothing has happened yet.
    pub const NEW: Self = Self {
        asked: 0,
        unheard: false,
        other_tokens: 0,
        pauses: 0,
        same_token: 0,
        lost: LostResponses::NONE,
        not_served: NotServed::NONE,
    };

    /// Takes in what another worker, or an earlier claim, has left behind.
    pub fn learn(&mut self, asked: u32, unheard: bool) {
        self.asked = self.asked.max(asked);
        if unheard && !self.unheard {
            self.note_earlier();
        }
        self.unheard |= unheard;
    }
}

/// The time a login has left, and the dice for its pauses.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Now, in Unix ms.
    pub now_ms: UnixMs,
    /// When the patience or the code's life ends, whichever is first, in Unix ms.
    pub until_ms: UnixMs,
    /// A random number in 0..1, which spreads the pauses of a fleet.
    pub dice: f64,
}

/// Judges WeChat's answer to an exchange for `appid`.
pub fn judge(answer: &Result<Reply, Fault>, appid: &AppId, history: &mut History, moment: Moment) -> Verdict {
    if let Err(fault) = answer {
        history.unheard |= !fault.surely_not_taken();
        history.note(fault);
    }
    match answer {
        Ok(Reply::Phone(phone)) => Verdict::Conclude(judge_phone(phone.clone(), appid)),
        Ok(Reply::Refused(refusal)) => judge_refusal(refusal, history, moment),
        Err(Fault::Unreachable(_) | Fault::Local(_) | Fault::Busy(_)) => {
            wait(Reason::Unavailable, None, BUSY, history, moment)
        }
        Err(Fault::Throttled) => wait(Reason::Throttled, None, THROTTLED, history, moment),
        Err(Fault::Unheard(_)) => wait(Reason::InDoubt, None, BUSY, history, moment),
        Err(Fault::Unreadable(_)) => conclude(Reason::BadAnswer, None, history),
    }
}

/// Judges the phone number that was heard for `appid`: one that WeChat gave for another app is not this login's.
pub fn judge_phone(phone: PhoneInfo, appid: &AppId) -> Outcome {
    match phone.watermark.as_ref().and_then(|watermark| watermark.appid.as_deref()) {
        Some(other) if other != appid.as_str() => {
            let detail = Some(format!("the code was made for another app: the watermark names {other}"));
            Outcome::Failed(Failure { detail, ..Failure::new(Reason::AppMismatch) })
        }
        _ => Outcome::Succeeded(phone),
    }
}

/// Why an app is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// WeChat's last answer; none where it was heard from a host on the way, or not heard at all.
    pub answer: Option<WechatAnswer>,
    /// What ends it.
    pub cause: StopCause,
}

/// What ends a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// Time: a quota is used up.
    Quota,
    /// An operator: the app is not served.
    NotServed,
    /// WeChat: it is away, for every app.
    Away,
}

impl Stopped {
    /// WeChat's errcode; 429 where it is HTTP's.
    pub fn errcode(&self) -> i64 {
        self.answer.as_ref().map_or(429, |answer| answer.errcode)
    }
}

/// Judges that an app is not asked for, since WeChat does not serve it, or is away: a login waits for what is `left` of a
/// pause, if that is in time, and is told at once what only an operator can end.
pub fn judge_stopped(stopped: &Stopped, left: Duration, history: &mut History, moment: Moment) -> Verdict {
    let answer = stopped.answer.as_ref();
    let after_ms = (left + AFTER_A_STOP.pause(0, moment.dice)).as_millis() as u64;
    let is_in_time = moment.now_ms + after_ms < moment.until_ms;
    let reason = match stopped.cause {
        // A probe is under way, and may find that it is over.
        StopCause::NotServed if left.is_zero() && is_in_time => return Verdict::AskAgain { after_ms },
        StopCause::NotServed if errcode::of_phone(stopped.errcode()) == PhoneErrcode::NotAllowed => Reason::NotAllowed,
        StopCause::NotServed => Reason::Refused,
        _ if is_in_time => return Verdict::AskAgain { after_ms },
        _ if history.unheard => Reason::InDoubt,
        StopCause::Quota => Reason::Throttled,
        StopCause::Away => Reason::Unavailable,
    };
    let detail = detail::stopped(stopped.cause, answer, history);
    Verdict::Conclude(Outcome::Failed(Failure { answer: answer.cloned(), detail, ..Failure::new(reason) }))
}

/// Judges why no access token could be had.
pub fn judge_token(fault: &TokenFault, history: &mut History, moment: Moment) -> Verdict {
    let answer = fault.answer();
    if fault.needs_a_person() {
        return Verdict::Conclude(Outcome::Failed(Failure {
            answer: answer.cloned(),
            detail: Some(fault_in_words(fault)),
            ..Failure::new(reason_without_token(fault))
        }));
    }
    match pause(BUSY, history, moment) {
        Some(after_ms) => Verdict::AskAgain { after_ms },
        None if history.unheard => conclude(Reason::InDoubt, answer, history),
        None => {
            let detail = Some(format!("no access token could be had in time: {fault}"));
            let failure = Failure { advice: Advice::TryLater, answer: answer.cloned(), detail, ..no_token() };
            Verdict::Conclude(Outcome::Failed(failure))
        }
    }
}

/// Judges that WeChat refused the access token so and then gave the same one again, which may mean nothing: it is asked
/// with again after a pause.
pub fn judge_same_token(refusal: &WechatAnswer, history: &mut History, moment: Moment) -> Verdict {
    let after_ms = REFUSED_TOKEN.pause(history.same_token, moment.dice).as_millis() as u64;
    if moment.now_ms + after_ms < moment.until_ms {
        history.same_token += 1;
        return Verdict::AskAgain { after_ms };
    }
    if history.unheard {
        return conclude(Reason::InDoubt, Some(refusal), history);
    }
    let advice = if history.same_token < SAME_TOKEN_TOLD { Advice::TryLater } else { Advice::FixSetup };
    let detail = Some(format!(
        "WeChat refuses the access token with errcode {}, and gave the same one again; asked {} with it",
        refusal.errcode,
        match history.same_token {
            0 => "once".to_owned(),
            again => format!("{} times", again + 1),
        }
    ));
    Verdict::Conclude(Outcome::Failed(Failure { advice, answer: Some(refusal.clone()), detail, ..no_token() }))
}

/// Judges that a login's time is up when WeChat has just refused its token, and there is no time for another.
pub fn judge_no_time_for_a_token(refusal: &WechatAnswer, history: &History) -> Outcome {
    let advice = if history.unheard { Advice::NewCode } else { Advice::TryLater };
    let (reason, detail) = match history.unheard {
        true => (Reason::InDoubt, detail::of(Reason::InDoubt, None, history)),
        false => {
            let errcode = refusal.errcode;
            let what =
                format!("WeChat refused the access token with errcode {errcode}, and there was no time for another");
            (Reason::TokenUnavailable, Some(what))
        }
    };
    Outcome::Failed(Failure { advice, answer: Some(refusal.clone()), detail, ..Failure::new(reason) })
}

/// Whether a login that was asked again so often with the same token may be asked with it once more.
pub fn may_ask_with_same_token(history: &History) -> bool {
    history.same_token < MAX_SAME_TOKEN
}

/// WeChat says of an app that it may not call this at whichever endpoint it is asked.
fn reason_without_token(fault: &TokenFault) -> Reason {
    match fault {
        TokenFault::NotAuthorized(_) => Reason::NotAllowed,
        TokenFault::Refused(refusal) if errcode::forbids_the_app(refusal.errcode) => Reason::NotAllowed,
        _ => Reason::TokenUnavailable,
    }
}

/// Why a login whose time is up has no phone number, with nothing heard last that would say more: its code is `too_old`,
/// or the patience is over.
pub fn time_up(history: &History, too_old: bool) -> Failure {
    let reason = match history {
        History { unheard: true, .. } => Reason::InDoubt,
        History { asked: 0, .. } if too_old => Reason::Expired,
        _ => Reason::Unavailable,
    };
    let detail = detail::of(reason, None, history);
    Failure { detail, ..Failure::new(reason) }
}

/// The same for a login whose time is up, or will be, at a moment: it says how late it was.
pub fn time_up_since(history: &History, time_up_ms: UnixMs, now_ms: UnixMs) -> Failure {
    let failure = time_up(history, now_ms >= time_up_ms);
    match failure.reason {
        Reason::Expired => Failure { detail: Some(expired(time_up_ms, now_ms)), ..failure },
        _ => failure,
    }
}

/// When a login's time is up: `min(deadline, issued_at + code_life)`, in Unix ms. Without `issued_at` the message's own
/// `timestamp` counts, else now. A tap that lies in the future was clocked wrongly, and counts as now.
pub fn time_up_at(request: &LoginRequest, timestamp: Option<UnixMs>, now_ms: UnixMs, code_life: Duration) -> UnixMs {
    let issued_at = request.issued_at.or(timestamp).unwrap_or(now_ms).min(now_ms);
    let code_ends = issued_at + code_life.as_millis() as UnixMs;
    request.deadline.map_or(code_ends, |deadline| deadline.min(code_ends))
}

fn judge_refusal(refusal: &WechatAnswer, history: &mut History, moment: Moment) -> Verdict {
    let answer = Some(refusal);
    let reason = match errcode::of_phone(refusal.errcode) {
        PhoneErrcode::Busy => {
            history.note_refusal(refusal);
            return wait(Reason::Unavailable, answer, BUSY, history, moment);
        }
        PhoneErrcode::Throttled => {
            history.note_refusal(refusal);
            return wait(Reason::Throttled, answer, THROTTLED, history, moment);
        }
        PhoneErrcode::BadToken if history.other_tokens == 0 => return Verdict::OtherToken,
        // Several tokens in a row: rather a flicker of WeChat's than the tokens.
        PhoneErrcode::BadToken if history.other_tokens < MAX_OTHER_TOKENS => {
            let after_ms = REFUSED_TOKEN.pause(history.other_tokens, moment.dice).as_millis() as u64;
            let is_in_time = moment.now_ms + after_ms < moment.until_ms;
            return if is_in_time { Verdict::AskAgain { after_ms } } else { Verdict::OtherToken };
        }
        PhoneErrcode::BadToken => Reason::TokenUnavailable,
        PhoneErrcode::DeadCode if history.unheard => Reason::InDoubt,
        PhoneErrcode::DeadCode => Reason::InvalidCode,
        PhoneErrcode::OtherApp => Reason::AppMismatch,
        PhoneErrcode::NotAllowed => Reason::NotAllowed,
        PhoneErrcode::Other => Reason::Refused,
    };
    conclude(reason, answer, history)
}

/// Asks again while there is time; then concludes, in doubt if any answer was never heard.
fn wait(
    reason: Reason,
    answer: Option<&WechatAnswer>,
    backoff: Backoff,
    history: &mut History,
    moment: Moment,
) -> Verdict {
    match pause(backoff, history, moment) {
        Some(after_ms) => Verdict::AskAgain { after_ms },
        None if history.unheard => conclude(Reason::InDoubt, answer, history),
        None => conclude(reason, answer, history),
    }
}

fn conclude(reason: Reason, answer: Option<&WechatAnswer>, history: &History) -> Verdict {
    let detail = detail::of(reason, answer, history);
    Verdict::Conclude(Outcome::Failed(Failure { answer: answer.cloned(), detail, ..Failure::new(reason) }))
}

fn no_token() -> Failure {
    Failure::new(Reason::TokenUnavailable)
}

fn fault_in_words(fault: &TokenFault) -> String {
    match fault {
        TokenFault::Refused(refusal) => detail::explanation(refusal).unwrap_or_else(|| fault.to_string()),
        _ => fault.to_string(),
    }
}

/// The next pause in ms; none when it would not end in time.
fn pause(backoff: Backoff, history: &mut History, moment: Moment) -> Option<u64> {
    let after_ms = backoff.pause(history.pauses, moment.dice).as_millis() as u64;
    history.pauses += 1;
    (moment.now_ms + after_ms < moment.until_ms).then_some(after_ms)
}

#[cfg(test)]
mod tests;
