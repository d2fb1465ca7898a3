//! What a failed result says in words: what happened, how often, and what that means for the code.

use crate::login::{Reason, UnixMs, WechatAnswer};
use crate::verdict::{History, StopCause};
use crate::wechat::Fault;
use crate::wechat::explained::explain;

/// The responses of a login that were lost, so that its code may be spent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostResponses {
    count: u32,
    /// The first one: which attempt, and what happened.
    first: Option<(u32, String)>,
    /// An earlier worker ended during this attempt.
    earlier: Option<u32>,
}

/// The attempts of a login that WeChat did not serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotServed {
    count: u32,
    last: Option<String>,
    /// The attempt that was noted last: at a login's end its last answer is judged once more.
    attempt: u32,
}

impl LostResponses {
    /// None yet.
    pub(super) const NONE: Self = Self { count: 0, first: None, earlier: None };
}

impl NotServed {
    /// None yet.
    pub(super) const NONE: Self = Self { count: 0, last: None, attempt: 0 };
}

impl History {
    /// Notes what went wrong with the last attempt.
    pub(super) fn note(&mut self, fault: &Fault) {
        if self.not_served.attempt == self.asked && self.asked > 0 {
            return;
        }
        if !fault.surely_not_taken() {
            self.lost.count += 1;
            self.lost.first.get_or_insert_with(|| (self.asked, fault.in_words()));
        }
        self.note_not_served(fault.in_words());
    }

    /// Notes that WeChat answered the last attempt with an errcode that passes.
    pub(super) fn note_refusal(&mut self, refusal: &WechatAnswer) {
        if self.not_served.attempt == self.asked && self.asked > 0 {
            return;
        }
        self.note_not_served(format!("WeChat answered errcode {}", refusal.errcode));
    }

    /// Notes that another worker, or an earlier claim, has lost a response.
    pub(super) fn note_earlier(&mut self) {
        self.lost.earlier.get_or_insert(self.asked);
    }

    fn note_not_served(&mut self, what: String) {
        let is_the_same = self.not_served.last.as_ref() == Some(&what);
        self.not_served.count = if is_the_same { self.not_served.count + 1 } else { 1 };
        self.not_served.last = Some(what);
        self.not_served.attempt = self.asked;
    }
}

/// The words for a failure that comes of asking WeChat, where its answer does not say it all.
pub(super) fn of(reason: Reason, answer: Option<&WechatAnswer>, history: &History) -> Option<String> {
    match reason {
        Reason::InDoubt => Some(in_doubt(history)),
        Reason::Unavailable => Some(unavailable(history)),
        Reason::Throttled => Some(throttled(answer, history)),
        Reason::BadAnswer => history.not_served.last.clone(),
        Reason::NotAllowed | Reason::TokenUnavailable | Reason::Refused | Reason::AppMismatch => {
            answer.and_then(explanation)
        }
        _ => None,
    }
}

/// What an operator needs to know of an errcode, where it is known.
pub(super) fn explanation(answer: &WechatAnswer) -> Option<String> {
    explain(answer.errcode).map(|explanation| explanation.english.to_owned())
}

/// The words for a login that was too late to be asked.
pub(super) fn expired(time_up_ms: UnixMs, now_ms: UnixMs) -> String {
    let late_s = now_ms.saturating_sub(time_up_ms) as f64 / 1000.0;
    format!("its time was up {late_s:.1} s before a worker could ask WeChat")
}

/// The words for a login that this worker does not ask for, since WeChat does not serve the app, or is away.
pub(super) fn stopped(cause: StopCause, answer: Option<&WechatAnswer>, history: &History) -> Option<String> {
    let errcode = answer.map_or_else(|| "HTTP 429".to_owned(), |answer| format!("errcode {}", answer.errcode));
    let why = match cause {
        StopCause::Quota => format!("WeChat limits the calls of this app ({errcode}): this worker pauses it"),
        StopCause::Away => "WeChat serves no app at the moment: this worker asks for one login at a time".to_owned(),
        StopCause::NotServed => return answer.and_then(explanation),
    };
    Some(match history.unheard {
        true => format!("{}; {why}", in_doubt(history)),
        false => format!("{why}, and the time of this login ended before the pause did{}", so_far(history)),
    })
}

fn in_doubt(history: &History) -> String {
    let LostResponses { count, first, earlier } = &history.lost;
    let what = match (first, earlier) {
        (Some((attempt, what)), _) if *count > 1 => {
            format!("{what}; {count} responses of {} attempts were lost, the first of attempt {attempt}", history.asked)
        }
        (Some((attempt, what)), _) => format!("{what}, at attempt {attempt} of {}", history.asked),
        (None, Some(attempt)) => {
            format!("an earlier worker crashed or stopped while it may have been asking WeChat, at attempt {attempt}")
        }
        (None, None) => "an earlier response was lost".to_owned(),
    };
    format!("{what}: the code may be spent")
}

fn unavailable(history: &History) -> String {
    match &history.not_served.last {
        Some(last) => format!("{last}, {}", times(history.not_served.count)),
        None => "the time of this login ended before WeChat could be asked".to_owned(),
    }
}

fn throttled(answer: Option<&WechatAnswer>, history: &History) -> String {
    let what = answer.map_or_else(|| "HTTP 429".to_owned(), |answer| format!("errcode {}", answer.errcode));
    format!("WeChat limits the calls of this app ({what}), {}", times(history.not_served.count.max(1)))
}

fn so_far(history: &History) -> String {
    history.not_served.last.as_ref().map_or_else(String::new, |last| format!(" ({last})"))
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
