//! `token show`: a table for people, or one JSON object a line.

use serde_json::{Value, json};

use crate::clock;
use crate::commands::CommandError;
use crate::commands::output::{print, print_json};
use crate::commands::token::{find, store_away};
use crate::login::UnixMs;
use crate::printable::printable;
use crate::token::{Seen, SeenToken, Tokens};
use crate::wechat::explained::explain;

pub(super) async fn run(tokens: &Tokens, appid: Option<&str>, as_json: bool) -> Result<(), CommandError> {
    let apps = match appid {
        Some(appid) => vec![find(tokens, appid)?],
        None => tokens.apps(),
    };
    if !as_json {
        print_line(["APP", "SOURCE", "AGE", "LEFT", "FETCHED BY"])?;
    }
    for app in &apps {
        let seen = tokens.see(app).await.map_err(|away| store_away(&away))?;
        if as_json { print_object(&seen) } else { print_rows(&seen) }?;
    }
    Ok(())
}

fn print_line([appid, source, age, left, by]: [&str; 5]) -> Result<(), CommandError> {
    print(format_args!("{appid:<20} {source:<10} {age:>8} {left:>8}  {by}"))
}

fn print_rows(seen: &Seen) -> Result<(), CommandError> {
    let now = clock::now_ms();
    let seconds = |ms: UnixMs| format!("{} s", ms / 1000);
    let token = seen.token.as_ref();
    let age = token.and_then(|token| token.fetched_at).map(|at| seconds(now.saturating_sub(at)));
    let left = token.and_then(|token| token.expires_at).map(|at| seconds(at.saturating_sub(now)));
    let by = match (token, &seen.by_way_of) {
        (Some(SeenToken { fetched_by: Some(worker), .. }), _) => worker,
        (Some(_), Some(place)) => place,
        (Some(_), None) => "-",
        (None, _) => "no valid token",
    };
    let dash = || "-".to_owned();
    let (age, left) = (age.unwrap_or_else(dash), left.unwrap_or_else(dash));
    print_line([seen.appid.as_str(), seen.source, &age, &left, &printable(by)])?;
    if let Some((answer, times)) = &seen.refusal {
        let words = explain(answer.errcode).map_or(answer.errmsg.as_str(), |explanation| explanation.english);
        let words = printable(words);
        print(format_args!("  refused {times} times in a row, last with {}: {words}", answer.errcode))?;
        print(format_args!("  WeChat's words: {}", printable(&answer.errmsg)))?;
        print(format_args!("  once that is mended: quicklogin token refresh --app {}", seen.appid))?;
    }
    if let Some(problem) = &seen.problem {
        print(format_args!("  {}", printable(problem)))?;
    }
    Ok(())
}

fn print_object(seen: &Seen) -> Result<(), CommandError> {
    let Seen { appid, source, by_way_of, token, refusal, problem } = seen;
    let mut object = json!({"appid": appid, "source": source, "valid": token.is_some()});
    let mut put = |key: &str, value: Value| object[key] = value;
    if let Some(token) = token {
        put("fetched_at", json!(token.fetched_at));
        put("expires_at", json!(token.expires_at));
        put("fetched_by", json!(token.fetched_by));
    }
    if let Some((answer, times)) = refusal {
        put("refusal", json!({"errcode": answer.errcode, "errmsg": answer.errmsg, "rid": answer.rid, "times": times}));
    }
    put("by_way_of", json!(by_way_of));
    put("problem", json!(problem));
    print_json(object)
}
