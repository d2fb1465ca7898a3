//! `explain WORD`: what an errcode of WeChat's, or a reason or advice of a result, means here, and who must act.

mod words;

use std::borrow::Cow;

use crate::commands::CommandError;
use crate::commands::output::{print, print_json, wrapped};
use crate::printable::printable;
use crate::wechat::errcode::{self, PhoneErrcode};
use crate::wechat::explained::explain;
use words::Word;

/// Clearing quotas, and the codes of a merchant's first authorisation: explained, since operators meet them elsewhere.
const NEVER_MET: [i64; 3] = [48006, 61009, 61010];

#[derive(clap::Args)]
pub(super) struct Args {
    /// WeChat's errcode, such as 40029, or a reason or advice of a result, such as in_doubt
    #[arg(value_name = "ERRCODE|REASON|ADVICE", allow_negative_numbers = true)]
    word: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    if let Ok(errcode) = args.word.trim().parse() {
        return explain_errcode(errcode, args.json);
    }
    match Word::read(&args.word) {
        Some(word) => explain_word(word, args.json),
        None => Err(unknown(&args.word)),
    }
}

fn unknown(text: &str) -> CommandError {
    let what = format!("{} is no errcode, reason or advice", printable(text));
    let near = Word::near(text);
    let hint = if near.is_empty() {
        let all: Vec<_> = Word::all().map(Word::as_str).collect();
        format!("an errcode such as 40029, or one of {}", all.join(", "))
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    CommandError::settings(what, hint)
}

fn explain_word(word: Word, json: bool) -> Result<(), CommandError> {
    let (name, explanation) = (word.as_str(), word.explanation());
    let words::Explanation { meaning, when, caller, operator } = explanation;
    let related = match word {
        Word::Reason(_) => ("advice", word.advices()),
        Word::Advice(_) => ("reasons", word.reasons()),
    };
    if json {
        let mut object = serde_json::json!({
            "word": name, "kind": word.kind(),
            "meaning": meaning.english, "meaning_zh": meaning.chinese,
            "when": when.english, "when_zh": when.chinese,
            "caller": caller.english, "caller_zh": caller.chinese,
            "operator": operator.english, "operator_zh": operator.chinese,
        });
        object[related.0] = related.1.into();
        return print_json(object);
    }
    let related_names = related.1.join(", ");
    let (related_english, related_chinese) = match word {
        Word::Reason(_) => ("  advice: ", "  建议（advice）："),
        Word::Advice(_) => ("  reasons: ", "  原因（reason）："),
    };
    let paragraphs = [
        (format!("{name}: "), meaning.english),
        ("  when: ".into(), when.english),
        (related_english.into(), related_names.as_str()),
        ("  the caller: ".into(), caller.english),
        ("  the operator: ".into(), operator.english),
        (format!("{name}："), meaning.chinese),
        ("  何时出现：".into(), when.chinese),
        (related_chinese.into(), related_names.as_str()),
        ("  调用方：".into(), caller.chinese),
        ("  运维：".into(), operator.chinese),
    ];
    print_paragraphs(paragraphs.into_iter().map(|(first, text)| (Cow::Owned(first), text)))
}

fn explain_errcode(errcode: i64, json: bool) -> Result<(), CommandError> {
    let told_as = told_as(errcode);
    let Some(explanation) = explain(errcode) else {
        let what = format!("errcode {errcode} is not known here; a login that meets it is told {told_as}");
        return Err(CommandError::at_run_time(what).with_hint("WeChat's list of global return codes may have it"));
    };
    let (who, who_chinese) = explanation.who.in_words();
    if json {
        return print_json(serde_json::json!({
            "errcode": errcode, "told_as": told_as, "meaning": explanation.english, "meaning_zh": explanation.chinese,
            "who": who, "who_zh": who_chinese,
        }));
    }
    print_paragraphs([
        (format!("{errcode}: ").into(), explanation.english),
        ("  who must act: ".into(), who),
        ("  a login is told: ".into(), told_as),
        (format!("{errcode}：").into(), explanation.chinese),
        ("  由谁处理：".into(), who_chinese),
    ])
}

/// Each begins with its name and is wrapped.
fn print_paragraphs<'a>(
    paragraphs: impl IntoIterator<Item = (Cow<'static, str>, &'a str)>,
) -> Result<(), CommandError> {
    paragraphs.into_iter().try_for_each(|(first, text)| print(wrapped(text, &first, "    ")))
}

/// The reason that a login ends with, if it ends with this errcode.
fn told_as(errcode: i64) -> &'static str {
    match errcode::of_phone(errcode) {
        _ if errcode == 0 => "succeeded",
        _ if NEVER_MET.contains(&errcode) => "nothing: quicklogin makes no call that is answered so",
        _ if errcode::is_of_token(errcode) => "token_unavailable",
        PhoneErrcode::Busy => {
            "unavailable, at the end of the patience; token_unavailable when a token endpoint goes on saying it"
        }
        PhoneErrcode::DeadCode => "invalid_code, or in_doubt after an answer that was never heard",
        PhoneErrcode::OtherApp => "app_mismatch, or token_unavailable when a token endpoint says it",
        PhoneErrcode::BadToken => "token_unavailable, if WeChat goes on refusing its own tokens",
        PhoneErrcode::Throttled => {
            "throttled, at the end of the patience, or token_unavailable when it is a token endpoint that says it"
        }
        PhoneErrcode::NotAllowed => "not_allowed",
        PhoneErrcode::Other => "refused, or token_unavailable when a token endpoint says it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::{AppId, Outcome, WechatAnswer};
    use crate::token::TokenFault;
    use crate::verdict::{History, Moment, Verdict, judge, judge_token};
    use crate::wechat::Reply;

    /// No time is left, and no other token either.
    const AT_THE_END: Moment = Moment { now_ms: 1, until_ms: 1, dice: 0.5 };
    const TIRED: History = History { asked: 1, unheard: false, other_tokens: u32::MAX, pauses: 0, ..History::NEW };

    fn answer(errcode: i64) -> WechatAnswer {
        WechatAnswer { errcode, errmsg: String::new(), rid: None }
    }

    fn reason(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Conclude(Outcome::Failed(failure)) => failure.reason.as_str(),
            other => panic!("no failure: {other:?}"),
        }
    }

    fn by_exchange(errcode: i64) -> &'static str {
        let app = AppId::try_from("wx1").expect("a good appid");
        reason(judge(&Ok(Reply::Refused(answer(errcode))), &app, &mut TIRED.clone(), AT_THE_END))
    }

    fn by_token_endpoint(errcode: i64) -> &'static str {
        reason(judge_token(&TokenFault::Refused(answer(errcode)), &mut TIRED.clone(), AT_THE_END))
    }

    #[test]
    fn what_a_login_is_told_is_what_the_verdict_says() {
        for errcode in (-1..100_000).filter(|errcode| *errcode != 0 && !NEVER_MET.contains(errcode)) {
            let told = told_as(errcode);
            let reason = match errcode::is_of_token(errcode) {
                true => by_token_endpoint(errcode),
                false => by_exchange(errcode),
            };
            assert!(told.starts_with(reason), "{errcode}: {reason}, not {told}");
        }
    }

    #[test]
    fn what_token_endpoints_say_is_told_too() {
        for errcode in [40125, 40164, 40243, 50004, 61005, 61006, 61011, 61023, 89503] {
            assert_eq!((told_as(errcode), by_token_endpoint(errcode)), ("token_unavailable", "token_unavailable"));
        }
        for errcode in [61003, 61004, 61007] {
            assert_eq!((told_as(errcode), by_token_endpoint(errcode)), ("not_allowed", "not_allowed"));
        }
        for errcode in [-1, 40001, 40013, 45009, 45011, 123_456] {
            assert_eq!(by_token_endpoint(errcode), "token_unavailable");
            assert!(told_as(errcode).contains("token_unavailable"), "{errcode}");
        }
    }
}
