//! Limits that a test sets: what comes beyond them is refused and spends nothing.

use super::*;

fn limited(change: AppChange) -> WeChat {
    let mut wechat = WeChat::new();
    wechat.now_ms -= wechat.now_ms % DAY_MS;
    wechat.change(AppChange { appid: APPID.into(), ..change });
    wechat
}

#[test]
fn phone_calls_beyond_a_minutes_quota_are_refused_until_the_next_minute() {
    let mut wechat = limited(AppChange { phone_per_minute: Some(2), ..AppChange::default() });
    let code = wechat.mint(&Mint::default().script([Step::errcode(48001)])).code;
    let token = wechat.token();
    assert_eq!((wechat.thinks_of(&token), wechat.thinks_of(&token)), (40029, 40029));
    wechat.now_ms += MINUTE_MS - 1;
    assert_eq!(errcode(&wechat.ask(&code)), 45011);
    wechat.now_ms += 1;
    assert_eq!(errcode(&wechat.ask(&code)), 48001, "its step waited behind the gateway");
    assert_eq!(errcode(&wechat.ask(&code)), 0, "nor was the code spent");
    assert_eq!(wechat.thinks_of(&token), 45011);
}

#[test]
fn phone_calls_beyond_a_days_quota_are_refused_until_midnight_in_china() {
    let mut wechat = limited(AppChange { phone_per_day: Some(1), ..AppChange::default() });
    let token = wechat.token();
    assert_eq!((wechat.thinks_of(&token), wechat.thinks_of(&token)), (40029, 45009));
    wechat.now_ms += 16 * HOUR_MS - 1;
    let token = wechat.token();
    let code = wechat.mint(&Mint::default()).code;
    assert_eq!(errcode(&wechat.ask(&code)), 45009);
    wechat.now_ms += 1;
    assert_eq!(errcode(&wechat.ask(&code)), 0);
    assert_eq!(wechat.thinks_of(&token), 45009);
    wechat.change(AppChange { appid: APPID.into(), phone_per_day: Some(u32::MAX), ..AppChange::default() });
    assert_eq!(wechat.thinks_of(&token), 40029);
}

#[test]
fn a_quota_is_one_apps_own_and_counts_only_what_reaches_the_gateway() {
    let mut wechat = limited(AppChange { phone_per_minute: Some(1), ..AppChange::default() });
    let token = wechat.token();
    assert_eq!(wechat.thinks_of("nonsense"), 40014);
    let away = Mood { endpoint: Endpoint::Phone, appid: None, calls: Some(1), step: Then::CutBefore.into() };
    wechat.model.moods.set(away).expect("few moods");
    assert!(matches!(wechat.phone(&token, "{}").act, Act::Cut));
    assert_eq!((wechat.thinks_of(&token), wechat.thinks_of(&token)), (40029, 45011));

    let other = wechat.model.apps.index(OTHER).expect("a known app");
    let token = wechat.model.token_of(other, wechat.now_ms).expect("a token");
    assert_eq!((wechat.thinks_of(&token), wechat.thinks_of(&token)), (40029, 40029));
}

#[test]
fn a_days_token_calls_can_be_few() {
    let mut wechat = limited(AppChange { token_calls_per_day: Some(1), ..AppChange::default() });
    let token = token_in(&wechat.stable(false));
    assert_eq!(errcode(&wechat.stable(false)), 45009);
    assert!(wechat.classic()["access_token"].is_string(), "each endpoint counts its own");
    assert_eq!(errcode(&wechat.classic()), 45009);
    assert_eq!(wechat.thinks_of(&token), 40029, "what was fetched goes on working");
    wechat.now_ms += 16 * HOUR_MS;
    assert!(wechat.stable(false)["access_token"].is_string());
}
