//! Component tokens: what brings one, what each reason to refuse it says, how long it lives.

use super::*;

#[test]
fn a_ticket_brings_a_component_token_and_each_call_a_new_one() {
    let mut component = Component::new();
    let ticket = component.push_ticket();
    let first = component.fetch(&ticket);
    assert_eq!(first["expires_in"], 7200);
    let second = text(&component.fetch(&ticket), "component_access_token");
    let first = text(&first, "component_access_token");
    assert_ne!(first, second);
    component.wechat.now_ms += 299_999;
    assert_eq!(component.list(&first, 0, 500)["total_count"], 2, "the former lives on for its overlap");
    component.wechat.now_ms += 1;
    assert_eq!(errcode(&component.list(&first, 0, 500)), 40001);
    assert_eq!(component.list(&second, 0, 500)["total_count"], 2);

    let asked = component.wechat.asked();
    assert_eq!((asked.component_token.calls, asked.authorizer_list.by_errcode[&0]), (2, 2));
    let lives: Vec<_> = asked.token_lives.iter().map(|life| (&*life.appid, life.source, life.handed_out)).collect();
    assert_eq!(lives, [(PLATFORM, TokenSource::Component, 1), (PLATFORM, TokenSource::Component, 1)]);
    component.wechat.model.forget_asked();
    assert_eq!(component.wechat.asked().component_token.calls, 0);
}

#[test]
fn the_last_two_tickets_are_good_for_twelve_hours() {
    let mut component = Component::new();
    let tickets = [component.push_ticket(), component.push_ticket(), component.push_ticket()];
    assert_eq!(errcode(&component.fetch(&tickets[0])), 61006);
    assert!(component.fetch(&tickets[1])["component_access_token"].is_string());
    component.wechat.now_ms += 12 * HOUR_MS - 1;
    assert!(component.fetch(&tickets[2])["component_access_token"].is_string());
    component.wechat.now_ms += 1;
    assert_eq!(errcode(&component.fetch(&tickets[2])), 61005);
    assert!(tickets[2].starts_with("ticket@@@"));
}

#[test]
fn a_component_token_is_refused_for_each_reason() {
    let mut component = Component::new();
    let ticket = component.push_ticket();
    let right = json!({
        "component_appid": PLATFORM,
        "component_appsecret": "component secret",
        "component_verify_ticket": ticket,
    });
    let with = |name: &str, value: Value| {
        let mut body = right.clone();
        body[name] = value;
        body
    };
    let wrong = [
        (json!([right]), 47001),
        (with("component_appsecret", json!(1)), 47001),
        (with("component_appid", json!("")), 41002),
        (with("component_appid", json!(APPID)), 61011),
        (with("component_appsecret", Value::Null), 41004),
        (with("component_appsecret", json!("guess")), 40125),
        (with("component_verify_ticket", Value::Null), 61006),
        (with("component_verify_ticket", json!("ticket@@@guess")), 61006),
    ];
    for (body, expected) in wrong {
        let said = answer(component.call(ComponentCall::ComponentToken, None, &body));
        assert_eq!(errcode(&said), expected, "{body}");
    }
    component.put(PlatformChange { appid: PLATFORM.into(), ip_refused: Some(true), ..Default::default() });
    assert_eq!(errcode(&component.fetch(&ticket)), 61004);

    let model = &mut component.wechat.model;
    let mut ask = |is_post, body: &[u8]| {
        let request = ComponentRequest { is_post, token: None, body };
        errcode(&answer(model.component(ComponentCall::ComponentToken, &request, START_MS).0))
    };
    assert_eq!(ask(false, b"{}"), 43002);
    assert_eq!(ask(true, b""), 44002);
    assert_eq!(ask(true, b"component_appid=wx"), 47001);
}

#[test]
fn only_a_component_token_opens_the_calls_that_want_one() {
    let mut component = Component::new();
    let own = component.wechat.token();
    let merchants = component.authorizer_token(APPID);
    let old = component.token();
    component.wechat.now_ms += 7_200_000;
    let unknown = format!("92_{}", "a".repeat(133));
    let body = json!({"component_appid": PLATFORM, "offset": 0, "count": 1});
    let wrong = [(None, 41001), (Some("nonsense"), 40014), (Some(unknown.as_str()), 40001), (Some(&old), 42001)];
    for call in [ComponentCall::AuthorizerToken, ComponentCall::AuthorizerList] {
        for (token, expected) in wrong {
            assert_eq!(errcode(&answer(component.call(call, token, &body))), expected);
        }
    }
    component.wechat.now_ms -= 7_200_000;
    assert_eq!(errcode(&component.list(&own, 0, 1)), 40001);
    assert_eq!(errcode(&component.list(&merchants, 0, 1)), 40001);

    component.put(PlatformChange::new("wxplatform00000002", "s", "t", KEY));
    let body = json!({"component_appid": "wxplatform00000002", "offset": 0, "count": 1});
    assert_eq!(errcode(&answer(component.call(ComponentCall::AuthorizerList, Some(&old), &body))), 61011);
    component.put(PlatformChange { appid: PLATFORM.into(), ip_refused: Some(true), ..Default::default() });
    assert_eq!(errcode(&component.list(&old, 0, 1)), 61004);
}

#[test]
fn a_platform_may_have_tokens_of_a_short_life() {
    let mut component = Component::new();
    component.put(PlatformChange { appid: PLATFORM.into(), token_life_s: Some(8), ..Default::default() });
    let token = component.token();
    component.token();
    component.wechat.now_ms += 1_999;
    assert_eq!(component.list(&token, 0, 1)["total_count"], 2);
    component.wechat.now_ms += 1;
    assert_eq!(errcode(&component.list(&token, 0, 1)), 40001, "the overlap is a quarter of the life");
    let refresh_token = component.refresh_token(APPID);
    assert_eq!(component.authorizer(APPID, &refresh_token)["expires_in"], 8);
}

#[test]
fn component_tokens_end_by_the_platforms_name_and_merchants_tokens_by_the_merchants() {
    let mut component = Component::new();
    let merchants = component.authorizer_token(MERCHANT);
    let token = component.token();
    component.wechat.model.tokens.end_of_platform(0, true, START_MS);
    assert_eq!(errcode(&component.list(&token, 0, 1)), 42001);
    assert_eq!(component.wechat.thinks_of(&merchants), 40029, "they were not meant");

    let token = component.token();
    let app = component.wechat.model.apps.index(MERCHANT);
    component.wechat.model.tokens.end(app, false, START_MS);
    assert_eq!(component.wechat.thinks_of(&merchants), 40001);
    assert_eq!(component.list(&token, 0, 1)["total_count"], 2);
    component.wechat.model.tokens.end(None, false, START_MS);
    assert_eq!(errcode(&component.list(&token, 0, 1)), 40001);
}
