//! Tokens of both endpoints: their lives, their overlaps, their limits.

use super::*;

#[test]
fn a_stable_token_stays_the_same_until_its_overlap() {
    let mut wechat = WeChat::new();
    let first = wechat.stable(false);
    assert_eq!(first["expires_in"], 7200);
    let token = token_in(&first);
    assert!(token.starts_with("92_") && token.len() == 136);
    wechat.now_ms += 6_899_000;
    let same = wechat.stable(false);
    assert_eq!((token_in(&same), same["expires_in"].as_u64()), (token.clone(), Some(301)));

    wechat.now_ms += 1_000;
    let second = wechat.stable(false);
    assert_ne!(token_in(&second), token);
    assert_eq!(second["expires_in"], 7200);
    assert_eq!(wechat.thinks_of(&token), 40029, "both work side by side");
    assert_eq!(wechat.thinks_of(&token_in(&second)), 40029);
    wechat.now_ms += 300_000;
    assert_eq!(wechat.thinks_of(&token), 42001);
    assert_eq!(wechat.thinks_of(&token_in(&second)), 40029);

    let lives = wechat.asked().token_lives;
    let tallies: Vec<_> = lives.iter().map(|life| (life.handed_out, life.asked_with)).collect();
    assert_eq!(tallies, [(2, 1), (1, 2)]);
}

#[test]
fn a_short_token_life_has_a_short_overlap() {
    let mut wechat = WeChat::new();
    wechat.change(AppChange { appid: APPID.into(), token_life_s: Some(8), ..AppChange::default() });
    let first = wechat.stable(false);
    assert_eq!(first["expires_in"], 8);
    wechat.now_ms += 5_999;
    assert_eq!(token_in(&wechat.stable(false)), token_in(&first));
    wechat.now_ms += 1;
    assert_ne!(token_in(&wechat.stable(false)), token_in(&first));
}

#[test]
fn force_kills_the_old_token_but_not_twice_in_thirty_seconds_or_over_twenty_times_a_day() {
    let mut wechat = WeChat::new();
    let first = token_in(&wechat.stable(false));
    let mut newest = token_in(&wechat.stable(true));
    assert_ne!(newest, first);
    assert_eq!(wechat.thinks_of(&first), 40001);
    wechat.now_ms += 29_999;
    assert_eq!(token_in(&wechat.stable(true)), newest, "too close: not refreshed");
    for _ in 0..19 {
        wechat.now_ms += 30_000;
        let next = token_in(&wechat.stable(true));
        assert_ne!(next, newest);
        newest = next;
    }
    wechat.now_ms += 30_000;
    assert_eq!(errcode(&wechat.stable(true)), 45009);
    assert_eq!(token_in(&wechat.stable(false)), newest, "the last one lives on");
    wechat.now_ms += DAY_MS;
    assert_ne!(token_in(&wechat.stable(true)), newest);
    let calls = &wechat.asked().tokens[APPID];
    assert_eq!((calls.normal, calls.forced), (2, 23));
}

#[test]
fn ten_thousand_stable_calls_a_minute_are_enough() {
    let mut wechat = WeChat::new();
    wechat.now_ms -= wechat.now_ms % MINUTE_MS;
    for _ in 0..10_000 {
        assert!(wechat.stable(false)["access_token"].is_string());
    }
    assert_eq!(errcode(&wechat.stable(false)), 45011);
    wechat.now_ms += MINUTE_MS;
    assert!(wechat.stable(false)["access_token"].is_string());
}

#[test]
fn a_classic_call_kills_the_token_before_after_an_overlap_and_no_stable_one() {
    let mut wechat = WeChat::new();
    let stable = token_in(&wechat.stable(false));
    let first = token_in(&wechat.classic());
    let second = token_in(&wechat.classic());
    assert_ne!(first, second);
    wechat.now_ms += 299_999;
    assert_eq!(wechat.thinks_of(&first), 40029);
    wechat.now_ms += 1;
    assert_eq!(wechat.thinks_of(&first), 40001);
    assert_eq!(wechat.thinks_of(&second), 40029);
    assert_eq!(wechat.thinks_of(&stable), 40029);
    wechat.stable(true);
    assert_eq!(wechat.thinks_of(&second), 40029);
}

#[test]
fn token_endpoints_say_what_is_wrong() {
    let mut wechat = WeChat::new();
    let right = format!(r#"{{"grant_type":"client_credential","appid":"{APPID}","secret":"secret"}}"#);
    let ask = |model: &mut Model, body: &str| errcode(&answer(model.stable_token(true, body.as_bytes(), START_MS)));
    let model = &mut wechat.model;
    let wrong = [
        (String::new(), 44002),
        ("grant_type=client_credential".to_owned(), 47001),
        (right.replace("client_credential", "password"), 40002),
        (right.replace("appid", "app"), 41002),
        (right.replace("\"secret\":", "\"s\":"), 41004),
        (right.replace("wx", "wy"), 40013),
        (right.replace(":\"secret\"", ":\"guess\""), 40125),
        (right.replace('}', r#","force_refresh":"yes"}"#), 47001),
    ];
    for (body, expected) in wrong {
        assert_eq!(ask(model, &body), expected, "{body}");
    }
    assert_eq!(errcode(&answer(model.stable_token(false, b"", START_MS))), 43002);

    let app = || AppChange { appid: APPID.into(), ..AppChange::default() };
    let faults = [
        (AppChange { frozen: Some(true), ..app() }, 40243),
        (AppChange { ip_refused: Some(true), ..app() }, 40164),
        (AppChange { punished: Some(true), ..app() }, 50004),
    ];
    for (change, expected) in faults {
        model.apps.put(change).expect("a right change");
        assert_eq!(ask(model, &right), expected);
    }
}

#[test]
fn ended_tokens_are_refused_and_the_next_normal_call_mints_another() {
    let mut wechat = WeChat::new();
    let first = token_in(&wechat.stable(false));
    wechat.model.tokens.end(Some(0), false, START_MS);
    assert_eq!(wechat.thinks_of(&first), 40001);
    let second = token_in(&wechat.stable(false));
    assert_ne!(second, first);
    wechat.model.tokens.end(Some(1), false, START_MS);
    assert_eq!(wechat.thinks_of(&second), 40029, "another app's tokens were meant");
    wechat.model.tokens.end(None, true, START_MS);
    assert_eq!(wechat.thinks_of(&second), 42001);
}
