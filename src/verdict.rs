//! What an answer means for a login: conclude, ask again, or get another token first.
//!
//! Pure: no clock, no I/O, no async, no randomness of its own, so that the whole table can be tested as a table.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::login::{Advice, AppId, Failure, LoginRequest, Outcome, PhoneInfo, Reason, UnixMs, WechatAnswer};
use crate::token::TokenFault;
use crate::wechat::errcode::{self, PhoneErrcode};
use crate::wechat::explained::explain;
use crate::wechat::{Fault, Reply};

/// How often a login may be asked again with another token; each must differ from the one that failed.
const MAX_OTHER_TOKENS: u32 = 3;

/// WeChat is away or busy: soon, since it is mostly over at once.
const BUSY: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(3) };
/// A quota of a minute is not over in a moment, and every call counts against it.
const THROTTLED: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(5) };

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
}

impl History {
    /// Takes in what another worker, or an earlier claim, has left behind.
    pub fn learn(&mut self, asked: u32, unheard: bool) {
        self.asked = self.asked.max(asked);
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
    history.unheard |= answer.as_ref().is_err_and(|fault| !fault.surely_not_taken());
    match answer {
        Ok(Reply::Phone(phone)) => Verdict::Conclude(check_watermark(phone, appid)),
        Ok(Reply::Refused(refusal)) => judge_refusal(refusal, history, moment),
        Err(Fault::Unreachable(_) | Fault::Busy(_)) => wait(Reason::Unavailable, None, BUSY, history, moment),
        Err(Fault::Throttled) => wait(Reason::Throttled, None, THROTTLED, history, moment),
        Err(Fault::Unheard(_)) => wait(Reason::InDoubt, None, BUSY, history, moment),
        Err(Fault::Unreadable(_)) => conclude(Reason::BadAnswer, None),
    }
}

/// Why an app is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// WeChat's last answer; none where a host on the way said HTTP 429.
    pub answer: Option<WechatAnswer>,
    /// Whether it is a quota, which is free again some time, or something that only an operator ends.
    pub by_quota: bool,
}

impl Stopped {
    /// WeChat's errcode; 429 where it is HTTP's.
    pub fn errcode(&self) -> i64 {
        self.answer.as_ref().map_or(429, |answer| answer.errcode)
    }
}

/// Judges that an app is not asked for, since WeChat does not serve it: a login waits for what is `left` of a pause, if
/// that is in time, and is told at once what only an operator can end.
pub fn judge_stopped(stopped: &Stopped, left: Duration, history: &mut History, moment: Moment) -> Verdict {
    let answer = stopped.answer.as_ref();
    let after_ms = (left + AFTER_A_STOP.pause(0, moment.dice)).as_millis() as u64;
    match stopped.by_quota {
        true if moment.now_ms + after_ms < moment.until_ms => Verdict::AskAgain { after_ms },
        true if history.unheard => conclude(Reason::InDoubt, answer),
        true => conclude(Reason::Throttled, answer),
        false if errcode::of_phone(stopped.errcode()) == PhoneErrcode::NotAllowed => {
            conclude(Reason::NotAllowed, answer)
        }
        false => conclude(Reason::Refused, answer),
    }
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
        None if history.unheard => conclude(Reason::InDoubt, answer),
        None => no_token(answer, Advice::TryLater),
    }
}

/// WeChat says of an app that it may not call this at whichever endpoint it is asked.
fn reason_without_token(fault: &TokenFault) -> Reason {
    match fault {
        TokenFault::NotAuthorized(_) => Reason::NotAllowed,
        TokenFault::Refused(refusal) if errcode::forbids_the_app(refusal.errcode) => Reason::NotAllowed,
        _ => Reason::TokenUnavailable,
    }
}

/// The outcome of a login whose time is up, with nothing heard last that would say more: its code is `too_old`, or the
/// patience is over.
pub fn time_up(history: &History, too_old: bool) -> Outcome {
    let reason = match history {
        History { unheard: true, .. } => Reason::InDoubt,
        History { asked: 0, .. } if too_old => Reason::Expired,
        _ => Reason::Unavailable,
    };
    Outcome::Failed(Failure::new(reason))
}

/// When a login's time is up: `min(deadline, issued_at + code_life)`, in Unix ms. Without `issued_at` the message's own
/// `timestamp` counts, else now. A tap that lies in the future was clocked wrongly, and counts as now.
pub fn time_up_at(request: &LoginRequest, timestamp: Option<UnixMs>, now_ms: UnixMs, code_life: Duration) -> UnixMs {
    let issued_at = request.issued_at.or(timestamp).unwrap_or(now_ms).min(now_ms);
    let code_ends = issued_at + code_life.as_millis() as UnixMs;
    request.deadline.map_or(code_ends, |deadline| deadline.min(code_ends))
}

/// A number that WeChat gave for another app is not this login's.
fn check_watermark(phone: &PhoneInfo, appid: &AppId) -> Outcome {
    match phone.watermark.as_ref().and_then(|watermark| watermark.appid.as_deref()) {
        Some(other) if other != appid.as_str() => Outcome::Failed(Failure::new(Reason::AppMismatch)),
        _ => Outcome::Succeeded(phone.clone()),
    }
}

fn judge_refusal(refusal: &WechatAnswer, history: &mut History, moment: Moment) -> Verdict {
    let answer = Some(refusal);
    match errcode::of_phone(refusal.errcode) {
        PhoneErrcode::Busy => wait(Reason::Unavailable, answer, BUSY, history, moment),
        PhoneErrcode::Throttled => wait(Reason::Throttled, answer, THROTTLED, history, moment),
        PhoneErrcode::BadToken if history.other_tokens < MAX_OTHER_TOKENS => Verdict::OtherToken,
        PhoneErrcode::BadToken => no_token(answer, Advice::FixSetup),
        PhoneErrcode::DeadCode if history.unheard => conclude(Reason::InDoubt, answer),
        PhoneErrcode::DeadCode => conclude(Reason::InvalidCode, answer),
        PhoneErrcode::OtherApp => conclude(Reason::AppMismatch, answer),
        PhoneErrcode::NotAllowed => conclude(Reason::NotAllowed, answer),
        PhoneErrcode::Other => conclude(Reason::Refused, answer),
    }
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
        None if history.unheard => conclude(Reason::InDoubt, answer),
        None => conclude(reason, answer),
    }
}

fn conclude(reason: Reason, answer: Option<&WechatAnswer>) -> Verdict {
    let detail = answer.filter(|_| reason.advice() == Advice::FixSetup).and_then(in_words);
    Verdict::Conclude(Outcome::Failed(Failure { answer: answer.cloned(), detail, ..Failure::new(reason) }))
}

fn no_token(answer: Option<&WechatAnswer>, advice: Advice) -> Verdict {
    let detail = answer.filter(|_| advice == Advice::FixSetup).and_then(in_words);
    let failure = Failure { advice, answer: answer.cloned(), detail, ..Failure::new(Reason::TokenUnavailable) };
    Verdict::Conclude(Outcome::Failed(failure))
}

fn fault_in_words(fault: &TokenFault) -> String {
    match fault {
        TokenFault::Refused(refusal) => in_words(refusal).unwrap_or_else(|| fault.to_string()),
        _ => fault.to_string(),
    }
}

/// What an operator needs to know of an errcode, where it is known.
fn in_words(answer: &WechatAnswer) -> Option<String> {
    explain(answer.errcode).map(|explanation| explanation.english.to_owned())
}

/// The next pause in ms; none when it would not end in time.
fn pause(backoff: Backoff, history: &mut History, moment: Moment) -> Option<u64> {
    let after_ms = backoff.pause(history.pauses, moment.dice).as_millis() as u64;
    history.pauses += 1;
    (moment.now_ms + after_ms < moment.until_ms).then_some(after_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::{Code, RequestId, Watermark};
    use Reason::{
        AppMismatch, BadAnswer, InDoubt, InvalidCode, NotAllowed, Refused, Throttled, TokenUnavailable, Unavailable,
    };

    const EARLY: Moment = Moment { now_ms: 0, until_ms: 60_000, dice: 0.5 };
    const LATE: Moment = Moment { now_ms: 60_000, until_ms: 60_000, dice: 0.5 };

    fn app() -> AppId {
        AppId::try_from("wx1").expect("a good appid")
    }

    fn refusal(errcode: i64) -> WechatAnswer {
        WechatAnswer { errcode, errmsg: "text".into(), rid: None }
    }

    fn refused(errcode: i64) -> Result<Reply, Fault> {
        Ok(Reply::Refused(refusal(errcode)))
    }

    fn phone(watermark_appid: Option<&str>) -> PhoneInfo {
        PhoneInfo {
            phone_number: "13800000000".into(),
            pure_phone_number: None,
            country_code: None,
            watermark: watermark_appid.map(|appid| Watermark { timestamp: None, appid: Some(appid.into()) }),
        }
    }

    fn heard() -> History {
        History { asked: 1, ..History::default() }
    }

    fn unheard() -> History {
        History { asked: 1, unheard: true, ..History::default() }
    }

    fn verdict(answer: &Result<Reply, Fault>, mut history: History, moment: Moment) -> Verdict {
        judge(answer, &app(), &mut history, moment)
    }

    fn reason(verdict: &Verdict) -> Option<(Reason, Advice)> {
        match verdict {
            Verdict::Conclude(Outcome::Failed(failure)) => Some((failure.reason, failure.advice)),
            _ => None,
        }
    }

    /// For each answer: what it means early after attempts that were all heard, early after one that was not, and the
    /// same two when there is no time left. `None` stands for asking again.
    #[test]
    fn every_answer_at_every_moment() {
        let unreachable = || Err(Fault::Unreachable("refused".into()));
        let unheard_of = || Err(Fault::Unheard("cut".into()));
        let unreadable = || Err(Fault::Unreadable("html".into()));
        let ask = None;
        type Row = (Result<Reply, Fault>, [Option<Reason>; 4]);
        let rows: Vec<Row> = vec![
            (unreachable(), [ask, ask, Some(Unavailable), Some(InDoubt)]),
            (Err(Fault::Busy(502)), [ask, ask, Some(Unavailable), Some(InDoubt)]),
            (refused(-1), [ask, ask, Some(Unavailable), Some(InDoubt)]),
            (Err(Fault::Throttled), [ask, ask, Some(Throttled), Some(InDoubt)]),
            (refused(45009), [ask, ask, Some(Throttled), Some(InDoubt)]),
            (refused(45011), [ask, ask, Some(Throttled), Some(InDoubt)]),
            (unheard_of(), [ask, ask, Some(InDoubt), Some(InDoubt)]),
            (unreadable(), [Some(BadAnswer); 4]),
            (refused(40029), [Some(InvalidCode), Some(InDoubt), Some(InvalidCode), Some(InDoubt)]),
            (refused(40013), [Some(AppMismatch); 4]),
            (refused(47001), [Some(Refused); 4]),
            (refused(123_456), [Some(Refused); 4]),
        ];
        for (answer, expected) in &rows {
            let moments = [(heard(), EARLY), (unheard(), EARLY), (heard(), LATE), (unheard(), LATE)];
            for ((history, moment), expected) in moments.into_iter().zip(expected) {
                let verdict = verdict(answer, history.clone(), moment);
                let got = reason(&verdict).map(|(reason, _)| reason);
                assert_eq!(got, *expected, "{answer:?} {history:?} {moment:?}");
                assert!(expected.is_some() || matches!(verdict, Verdict::AskAgain { .. }), "{verdict:?}");
            }
        }
    }

    #[test]
    fn whatever_forbids_the_call_is_not_allowed() {
        for errcode in [48001, 48004, 50002, 50004, 50007, 61003, 61004, 61007, 40097, 40234, 40235] {
            let verdict = verdict(&refused(errcode), heard(), EARLY);
            assert_eq!(reason(&verdict), Some((NotAllowed, Advice::FixSetup)), "{errcode}");
        }
    }

    #[test]
    fn a_phone_number_succeeds_unless_its_watermark_names_another_app() {
        for (watermark, expected) in [(None, None), (Some("wx1"), None), (Some("wx2"), Some(AppMismatch))] {
            let verdict = verdict(&Ok(Reply::Phone(phone(watermark))), unheard(), LATE);
            assert_eq!(reason(&verdict).map(|(reason, _)| reason), expected);
            assert!(expected.is_some() || matches!(verdict, Verdict::Conclude(Outcome::Succeeded(_))));
        }
    }

    #[test]
    fn an_attempt_whose_answer_is_never_heard_leaves_its_mark() {
        let mut history = heard();
        judge(&Err(Fault::Unheard("cut".into())), &app(), &mut history, EARLY);
        assert!(history.unheard);
        assert_eq!(reason(&judge(&refused(40029), &app(), &mut history, EARLY)), Some((InDoubt, Advice::NewCode)));
    }

    #[test]
    fn a_bad_token_is_exchanged_a_few_times_and_then_told() {
        for errcode in [40001, 40014, 42001] {
            assert_eq!(verdict(&refused(errcode), heard(), LATE), Verdict::OtherToken);
            let tired = History { other_tokens: MAX_OTHER_TOKENS, ..heard() };
            let verdict = verdict(&refused(errcode), tired, EARLY);
            assert_eq!(reason(&verdict), Some((TokenUnavailable, Advice::FixSetup)));
        }
    }

    #[test]
    fn no_token_is_the_operators_or_passes() {
        let passing = || TokenFault::Refused(refusal(-1));
        let away = || TokenFault::Wechat(Fault::Unreachable("refused".into()));
        let rows = [
            (TokenFault::Refused(refusal(40125)), EARLY, Some((TokenUnavailable, Advice::FixSetup))),
            (TokenFault::Refused(refusal(40164)), EARLY, Some((TokenUnavailable, Advice::FixSetup))),
            (TokenFault::Refused(refusal(40243)), EARLY, Some((TokenUnavailable, Advice::FixSetup))),
            (
                TokenFault::NoSecret("/run/secrets/wx: not found".into()),
                EARLY,
                Some((TokenUnavailable, Advice::FixSetup)),
            ),
            (TokenFault::StillRefused(refusal(40001)), EARLY, Some((TokenUnavailable, Advice::FixSetup))),
            (passing(), EARLY, None),
            (away(), EARLY, None),
            (TokenFault::Store, EARLY, None),
            (TokenFault::Awaited, EARLY, None),
            (passing(), LATE, Some((TokenUnavailable, Advice::TryLater))),
            (away(), LATE, Some((TokenUnavailable, Advice::TryLater))),
            (TokenFault::Store, LATE, Some((TokenUnavailable, Advice::TryLater))),
        ];
        for (fault, moment, expected) in rows {
            assert_eq!(reason(&judge_token(&fault, &mut heard(), moment)), expected, "{fault:?}");
        }
        assert_eq!(
            reason(&judge_token(&away(), &mut unheard(), LATE)),
            Some((InDoubt, Advice::NewCode)),
            "the code may be spent already"
        );
    }

    #[test]
    fn time_that_is_up_is_in_doubt_only_after_an_unheard_answer() {
        let up = |history: &History, too_old| reason(&Verdict::Conclude(time_up(history, too_old))).map(|(why, _)| why);
        assert_eq!(up(&History::default(), true), Some(Reason::Expired));
        assert_eq!(up(&History::default(), false), Some(Unavailable), "a young code that nobody could ask with");
        assert_eq!(up(&heard(), true), Some(Unavailable));
        assert_eq!(up(&unheard(), true), Some(InDoubt));
    }

    #[test]
    fn time_runs_from_the_tap_to_the_deadline_or_the_end_of_the_code() {
        let life = Duration::from_secs(240);
        let now = 1_700_000_000_000;
        let rows = [
            (None, None, None, now + 240_000),
            (None, Some(now - 5_000), None, now + 235_000),
            (Some(now - 10_000), Some(now - 5_000), None, now + 230_000),
            (Some(now + 90_000), None, None, now + 240_000),
            (Some(now - 300_000), None, None, now - 60_000),
            (Some(now), None, Some(now + 1_000), now + 1_000),
            (Some(now), None, Some(now + 999_000), now + 240_000),
        ];
        for (issued_at, timestamp, deadline, expected) in rows {
            let request_id = RequestId::generate();
            let code = Code::try_from("c").expect("a good code");
            let request = LoginRequest { request_id, appid: None, code, openid: None, issued_at, deadline };
            assert_eq!(
                time_up_at(&request, timestamp, now, life),
                expected,
                "{issued_at:?} {timestamp:?} {deadline:?}"
            );
        }
    }

    #[test]
    fn each_pause_is_longer_than_the_one_before() {
        let mut history = heard();
        let mut pauses = (0..3).map(|_| match judge(&refused(-1), &app(), &mut history, EARLY) {
            Verdict::AskAgain { after_ms } => after_ms,
            other => panic!("{other:?}"),
        });
        assert_eq!([pauses.next(), pauses.next(), pauses.next()], [Some(150), Some(300), Some(600)]);
    }
}
