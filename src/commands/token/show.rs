//! `token show`: a table for people, or one JSON object a line. What the workers know of each app comes from their
//! heartbeats.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::clock;
use crate::commands::CommandError;
use crate::commands::output::{print, print_json};
use crate::commands::token::{find, store_away};
use crate::fleet::{self, Answer, AppState, Fault, Heartbeat, Paused, RefusedToken};
use crate::login::{AppId, UnixMs};
use crate::printable::printable;
use crate::store::Store;
use crate::token::{Seen, SeenToken, Tokens};
use crate::wechat::explained::explain;

/// An app's token, and what the workers say of it.
struct Shown<'a> {
    seen: Seen,
    /// The workers that something is wrong with this app at.
    said: Vec<(&'a Heartbeat, &'a AppState)>,
    /// WeChat refused the token that is there.
    refused: Option<(&'a Heartbeat, &'a RefusedToken)>,
}

pub(super) async fn run(
    tokens: &Tokens,
    store: &Store,
    appid: Option<&str>,
    as_json: bool,
) -> Result<(), CommandError> {
    let apps = match appid {
        Some(appid) => vec![find(tokens, appid)?],
        None => tokens.apps(),
    };
    let workers = fleet::workers(store).await.map_err(|away| store_away(&away))?;
    if !as_json {
        print_line(["APP", "SOURCE", "AGE", "LEFT", "FETCHED BY"])?;
    }
    for app in &apps {
        let seen = tokens.see(app).await.map_err(|away| store_away(&away))?;
        let platform = app.source().platform().map(|platform| &platform.appid);
        let shown = Shown::of(seen, platform, &workers);
        if as_json { print_object(&shown, &workers) } else { print_rows(&shown) }?;
    }
    if !as_json {
        print_workers(&workers)?;
    }
    Ok(())
}

impl<'a> Shown<'a> {
    /// A merchant's token is had with its platform's: what is wrong with that one is shown too.
    fn of(seen: Seen, platform: Option<&AppId>, workers: &'a [Heartbeat]) -> Self {
        let ids = [Some(&seen.appid), platform];
        let of = |worker: &'a Heartbeat| {
            let states = ids.into_iter().flatten().filter_map(move |appid| worker.app(appid));
            states.map(move |state| (worker, state)).collect::<Vec<_>>()
        };
        let said: Vec<_> = workers.iter().flat_map(of).collect();
        let digest = seen.token.as_ref().map(|token| token.digest.as_str());
        let refused = said.iter().find_map(|(worker, state)| {
            let refused = state.refused.as_ref().filter(|refused| Some(refused.token.as_str()) == digest)?;
            Some((*worker, refused))
        });
        Self { seen, said, refused }
    }
}

fn print_line([appid, source, age, left, by]: [&str; 5]) -> Result<(), CommandError> {
    print(format_args!("{appid:<20} {source:<10} {age:>8} {left:>8}  {by}"))
}

fn print_workers(workers: &[Heartbeat]) -> Result<(), CommandError> {
    match workers.len() {
        0 => print("no worker runs, or none reaches Redis: only what Redis holds is shown"),
        1 => print("1 worker runs"),
        many => print(format_args!("{many} workers run")),
    }?;
    for Heartbeat { worker, wechat_away, more_apps, .. } in workers {
        let worker = printable(worker);
        if let Some(Paused { until, .. }) = wechat_away {
            print(format_args!("  {worker}: WeChat does not answer; the next call is {}", in_seconds(*until)))?;
        }
        if *more_apps > 0 {
            print(format_args!("  {worker}: faults of {more_apps} more apps are not shown; see its log"))?;
        }
    }
    Ok(())
}

fn print_rows(Shown { seen, said, refused }: &Shown<'_>) -> Result<(), CommandError> {
    let now = clock::now_ms();
    let seconds = |ms: UnixMs| format!("{} s", ms / 1000);
    let token = seen.token.as_ref();
    let age = token.and_then(|token| token.fetched_at).map(|at| seconds(now.saturating_sub(at)));
    let left = token.and_then(|token| token.expires_at).map(|at| seconds(at.saturating_sub(now)));
    let by = match (token, &seen.by_way_of) {
        (Some(_), _) if refused.is_some() => "WeChat refuses this token",
        (Some(SeenToken { fetched_by: Some(worker), .. }), _) => worker,
        (Some(_), Some(place)) => place,
        (Some(_), None) => "-",
        (None, _) => "no valid token",
    };
    let dash = || "-".to_owned();
    let (age, left) = (age.unwrap_or_else(dash), left.unwrap_or_else(dash));
    print_line([seen.appid.as_str(), seen.source, &age, &left, &printable(by)])?;
    if let Some((worker, RefusedToken { answer, at, .. })) = refused {
        let worker = printable(&worker.worker);
        print(format_args!("  WeChat refused it with {} {}, as {worker} heard", answer.errcode, ago(*at)))?;
        print(format_args!("  WeChat's words: {}", printable(&answer.errmsg)))?;
    }
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
    for (worker, AppState { appid, fault, paused, .. }) in said {
        let of = if *appid == seen.appid { String::new() } else { format!(" (platform {appid})") };
        let by = format!("{}{of}", printable(&worker.worker));
        if let Some(fault) = fault {
            print_fault(&by, fault)?;
        }
        if let Some(Paused { cause, answer, until }) = paused {
            let errcode = answer.as_ref().map_or_else(|| "HTTP 429".into(), |answer| answer.errcode.to_string());
            let (cause, next) = (printable(cause), in_seconds(*until));
            print(format_args!("  {by}: paused ({cause}) since WeChat answered {errcode}; the next call is {next}"))?;
            print_explained(answer.as_ref())?;
        }
    }
    Ok(())
}

fn print_fault(by: &str, Fault { said, answer, times, at }: &Fault) -> Result<(), CommandError> {
    let (ago, said) = (ago(*at), printable(said));
    print(format_args!("  {by}: no token {ago}, {times} times in a row: {said}"))?;
    match answer.as_ref().and_then(refused_address) {
        Some(address) => {
            print(format_args!("    put {address} on the app's IP list (mp.weixin.qq.com, Development settings)"))
        }
        None => print_explained(answer.as_ref()),
    }
}

fn print_explained(answer: Option<&Answer>) -> Result<(), CommandError> {
    match answer.and_then(|answer| explain(answer.errcode)) {
        Some(explanation) => print(format_args!("    {}", explanation.english)),
        None => Ok(()),
    }
}

fn ago(at: UnixMs) -> String {
    format!("{} s ago", clock::now_ms().saturating_sub(at) / 1000)
}

fn in_seconds(until: UnixMs) -> String {
    match until.saturating_sub(clock::now_ms()).div_ceil(1000) {
        0 => "due now".into(),
        seconds => format!("in {seconds} s"),
    }
}

/// The address that WeChat does not know, as it says: `invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist`.
fn refused_address(answer: &Answer) -> Option<IpAddr> {
    if !matches!(answer.errcode, 40164 | 61004 | 89501..=89507) {
        return None;
    }
    let words = answer.errmsg.split(|char: char| !(char.is_ascii_hexdigit() || ".:".contains(char)));
    let mut addresses = words.filter_map(|word| word.trim_end_matches(['.', ':']).parse::<IpAddr>().ok());
    addresses.next().map(|address| address.to_canonical())
}

fn print_object(Shown { seen, said, refused }: &Shown<'_>, workers: &[Heartbeat]) -> Result<(), CommandError> {
    let Seen { appid, source, by_way_of, token, refusal, problem } = seen;
    let mut object = json!({"appid": appid, "source": source, "valid": token.is_some() && refused.is_none()});
    let mut put = |key: &str, value: Value| object[key] = value;
    if let Some(token) = token {
        put("fetched_at", json!(token.fetched_at));
        put("expires_at", json!(token.expires_at));
        put("fetched_by", json!(token.fetched_by));
    }
    if let Some((worker, RefusedToken { answer, at, .. })) = refused {
        put("refused", json!({"by": worker.worker, "at": at, "answer": answer}));
    }
    if let Some((answer, times)) = refusal {
        put("refusal", json!({"errcode": answer.errcode, "errmsg": answer.errmsg, "rid": answer.rid, "times": times}));
    }
    put("by_way_of", json!(by_way_of));
    put("problem", json!(problem));
    let state = |(worker, state): &(&Heartbeat, &AppState)| {
        let address = state.fault.as_ref().and_then(|fault| refused_address(fault.answer.as_ref()?));
        json!({
            "worker": worker.worker, "at": worker.at, "appid": state.appid, "fault": state.fault, "address": address,
            "refused": state.refused, "paused": state.paused,
        })
    };
    put("workers", said.iter().map(state).collect());
    put("workers_running", json!(workers.len()));
    let away: Vec<_> =
        workers.iter().filter(|worker| worker.wechat_away.is_some()).map(|worker| &worker.worker).collect();
    put("wechat_away_for", json!(away));
    print_json(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_wechat_does_not_know_is_read_from_its_words() {
        let rows = [
            (40164, "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: 65f3e9f7-77cf1a1c", Some("1.2.3.4")),
            (40164, "invalid ip 203.0.113.7, not in whitelist hint: [abc]", Some("203.0.113.7")),
            (40164, "invalid ip ::ffff:1.2.3.4, not in whitelist", Some("1.2.3.4")),
            (61004, "access clientip is not registered requestIP: 10.0.0.9", Some("10.0.0.9")),
            (40164, "invalid ip 2001:db8::1, not in whitelist", Some("2001:db8::1")),
            (40164, "not in whitelist", None),
            (40013, "invalid appid 1.2.3.4", None),
        ];
        for (errcode, errmsg, expected) in rows {
            let answer = Answer { errcode, errmsg: errmsg.into(), rid: None };
            assert_eq!(refused_address(&answer).map(|address| address.to_string()).as_deref(), expected, "{errmsg}");
        }
    }
}
