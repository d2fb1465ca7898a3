//! The table of answers and what each means for a login, early and late.

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
    for errcode in [48001, 48004, 50002, 61003, 61004, 61007, 40097, 40234, 40235] {
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
        (TokenFault::NoSecret("/run/wx: Too many open files (os error 24)".into()), EARLY, None),
        (TokenFault::NoSecret("/run/secrets/wx: not found".into()), EARLY, Some((TokenUnavailable, Advice::FixSetup))),
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
    let up = |history: &History, too_old| {
        reason(&Verdict::Conclude(Outcome::Failed(time_up(history, too_old)))).map(|(why, _)| why)
    };
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
        assert_eq!(time_up_at(&request, timestamp, now, life), expected, "{issued_at:?} {timestamp:?} {deadline:?}");
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

fn detail(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Conclude(Outcome::Failed(failure)) => failure.detail.clone().expect("words"),
        other => panic!("no failure: {other:?}"),
    }
}

#[test]
fn a_failure_says_what_happened_and_how_often() {
    let silent = || Err(Fault::no_response_within(Duration::from_secs(5)));
    let mut history = History::default();
    for attempt in 1..=5 {
        history.asked = attempt;
        judge(&silent(), &app(), &mut history, if attempt < 5 { EARLY } else { LATE });
    }
    // The last answer is judged once more at a login's end.
    let told = detail(&judge(&silent(), &app(), &mut history, LATE));
    assert_eq!(
        told,
        "WeChat did not respond within 5 s; 5 responses of 5 attempts were lost, the first of attempt 1: the code may be spent"
    );
    let mut history = heard();
    judge(&silent(), &app(), &mut history, EARLY);
    history.asked = 2;
    let told = detail(&judge(&refused(40029), &app(), &mut history, EARLY));
    assert_eq!(told, "WeChat did not respond within 5 s, at attempt 1 of 2: the code may be spent");
    let mut history = History::default();
    history.learn(2, true);
    let told = detail(&judge(&refused(40029), &app(), &mut history, EARLY));
    assert!(
        told.starts_with("an earlier worker crashed or stopped while it may have been asking WeChat, at attempt 2")
    );
    let mut history = History::default();
    for attempt in 1..=3 {
        history.asked = attempt;
        judge(&Err(Fault::Busy(502)), &app(), &mut history, EARLY);
    }
    assert_eq!(detail(&judge(&Err(Fault::Busy(502)), &app(), &mut history, LATE)), "WeChat answered HTTP 502, 3 times");
    let told = detail(&verdict(&refused(45011), heard(), LATE));
    assert_eq!(told, "WeChat limits the calls of this app (errcode 45011), once");
    let unreadable = Err(Fault::Unreadable("there is no phone_info".into()));
    assert_eq!(
        detail(&verdict(&unreadable, heard(), EARLY)),
        "WeChat's response could not be read: there is no phone_info"
    );
    let told = detail(&verdict(&Ok(Reply::Phone(phone(Some("wxOTHER")))), heard(), EARLY));
    assert!(told.ends_with("names wxOTHER"), "{told}");
    let failure = time_up_since(&History::default(), 1000, 13_340);
    let told = failure.detail.as_deref();
    assert_eq!(
        (failure.reason, told),
        (Reason::Expired, Some("its time was up 12.3 s before a worker could ask WeChat"))
    );
    for fault in [TokenFault::Awaited, TokenFault::Store, TokenFault::Wechat(Fault::Busy(502))] {
        assert!(detail(&judge_token(&fault, &mut heard(), LATE)).contains(&fault.to_string()));
    }
}

#[test]
fn a_token_that_is_given_again_is_asked_with_again_a_few_times() {
    let mut history = heard();
    let mut pauses = vec![];
    while may_ask_with_same_token(&history) {
        match judge_same_token(&refusal(40001), &mut history, EARLY) {
            Verdict::AskAgain { after_ms } => pauses.push(after_ms),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pauses, [150, 300, 600, 1200]);
    let at_the_end = |again| {
        let mut history = History { same_token: again, ..heard() };
        reason(&judge_same_token(&refusal(40001), &mut history, LATE))
    };
    assert_eq!(at_the_end(0), Some((TokenUnavailable, Advice::TryLater)), "one refusal may be a flicker");
    assert_eq!(at_the_end(2), Some((TokenUnavailable, Advice::FixSetup)));
    let in_doubt = judge_same_token(&refusal(40001), &mut unheard(), LATE);
    assert_eq!(reason(&in_doubt), Some((InDoubt, Advice::NewCode)));
}

#[test]
fn one_refused_token_after_the_other_is_exchanged_after_pauses() {
    let second = History { other_tokens: 1, ..heard() };
    assert_eq!(verdict(&refused(40001), second.clone(), EARLY), Verdict::AskAgain { after_ms: 300 });
    assert_eq!(verdict(&refused(40001), second, LATE), Verdict::OtherToken);
}
