//! Merchants: their authorizer tokens, their refresh tokens, the list of them.

use super::*;

#[test]
fn a_refresh_token_brings_an_authorizer_token_and_each_call_a_new_one() {
    let mut component = Component::new();
    let refresh_token = component.refresh_token(MERCHANT);
    let first = component.authorizer(MERCHANT, &refresh_token);
    assert_eq!(first["expires_in"], 7200);
    assert_eq!(first["authorizer_refresh_token"], refresh_token);
    let first = text(&first, "authorizer_access_token");
    let second = text(&component.authorizer(MERCHANT, &refresh_token), "authorizer_access_token");
    assert_ne!(first, second);
    component.wechat.now_ms += 299_999;
    assert_eq!(component.wechat.thinks_of(&first), 40029);
    component.wechat.now_ms += 1;
    assert_eq!(component.wechat.thinks_of(&first), 40001);
    assert_eq!(component.wechat.thinks_of(&second), 40029);

    let asked = component.wechat.asked();
    assert_eq!(asked.authorizer_token.by_errcode, [(0, 2)].into());
    let of_merchant = asked.token_lives.iter().filter(|life| life.source == TokenSource::Authorizer);
    let lives: Vec<_> = of_merchant.map(|life| (&*life.appid, life.handed_out, life.asked_with)).collect();
    assert_eq!(lives, [(MERCHANT, 1, 1), (MERCHANT, 1, 1)]);
}

#[test]
fn an_authorizer_token_is_refused_for_each_reason() {
    let mut component = Component::new();
    let refresh_token = component.refresh_token(MERCHANT);
    assert_eq!(errcode(&component.authorizer("", &refresh_token)), 41002);
    assert_eq!(errcode(&component.authorizer("wxnobody", &refresh_token)), 61003);
    assert_eq!(errcode(&component.authorizer(OTHER, &refresh_token)), 61003, "known, but no merchant of this platform");
    assert_eq!(errcode(&component.authorizer(MERCHANT, "")), 61023);
    let others = component.refresh_token(APPID);
    assert_eq!(errcode(&component.authorizer(MERCHANT, &others)), 61023);
    let token = component.token();
    let body = json!({"authorizer_appid": MERCHANT, "authorizer_refresh_token": refresh_token});
    let said = answer(component.call(ComponentCall::AuthorizerToken, Some(&token), &body));
    assert_eq!(errcode(&said), 41002);
    component.put(PlatformChange { appid: PLATFORM.into(), ip_refused: Some(true), ..Default::default() });
    let body = json!({"component_appid": PLATFORM});
    let said = answer(component.call(ComponentCall::AuthorizerToken, Some(&token), &body));
    assert_eq!(errcode(&said), 61004);
}

#[test]
fn a_rotated_refresh_token_that_a_client_drops_is_lost_but_for_the_list() {
    let mut component = Component::new();
    let rotates = Some(true);
    component.put_merchant(&AuthorizerChange {
        rotates_refresh_token: rotates,
        ..AuthorizerChange::new(PLATFORM, MERCHANT)
    });
    let first = component.refresh_token(MERCHANT);
    let second = text(&component.authorizer(MERCHANT, &first), "authorizer_refresh_token");
    assert_ne!(first, second);
    assert_eq!(errcode(&component.authorizer(MERCHANT, &first)), 61023);
    let third = text(&component.authorizer(MERCHANT, &second), "authorizer_refresh_token");
    let token = component.token();
    let list = component.list(&token, 0, 500);
    let listed = list["list"].as_array().expect("a list").iter().find(|one| one["authorizer_appid"] == MERCHANT);
    assert_eq!(listed.expect("the merchant")["refresh_token"], third);
}

#[test]
fn a_refresh_token_changed_elsewhere_leaves_the_tokens_that_it_brought() {
    let mut component = Component::new();
    let token = component.authorizer_token(MERCHANT);
    let old = component.refresh_token(MERCHANT);
    component.put_merchant(&AuthorizerChange { new_refresh_token: true, ..AuthorizerChange::new(PLATFORM, MERCHANT) });
    assert_eq!(errcode(&component.authorizer(MERCHANT, &old)), 61023);
    assert_eq!(component.wechat.thinks_of(&token), 40029);
    let new = component.refresh_token(MERCHANT);
    assert!(component.authorizer(MERCHANT, &new)["authorizer_access_token"].is_string());
}

#[test]
fn a_merchant_who_withdraws_is_gone_and_comes_back_with_another_refresh_token() {
    let mut component = Component::new();
    let withdrawn =
        |withdrawn| AuthorizerChange { withdrawn: Some(withdrawn), ..AuthorizerChange::new(PLATFORM, MERCHANT) };
    let old = component.refresh_token(MERCHANT);
    let tokens = [component.authorizer_token(MERCHANT), component.authorizer_token(MERCHANT)];
    component.put_merchant(&withdrawn(true));
    assert_eq!(errcode(&component.authorizer(MERCHANT, &old)), 61003);
    let component_token = component.token();
    assert_eq!(component.list(&component_token, 0, 500)["total_count"], 1);

    component.wechat.now_ms += 5_000;
    component.put_merchant(&withdrawn(false));
    assert_eq!(errcode(&component.authorizer(MERCHANT, &old)), 61023);
    for token in tokens {
        assert_eq!(component.wechat.thinks_of(&token), 40001, "what the old authorisation brought is dead");
    }
    assert!(!component.authorizer_token(MERCHANT).is_empty());
    let list = component.list(&component_token, 1, 1);
    assert_eq!(list["list"][0]["auth_time"], START_MS / 1000 + 5);
}

#[test]
fn the_list_comes_in_pages() {
    let mut component = Component::new();
    for n in 0..5 {
        component.put_merchant(&AuthorizerChange::new(PLATFORM, format!("wxlisted{n}")));
    }
    let token = component.token();
    let appids = |page: &Value| -> Vec<String> {
        page["list"].as_array().expect("a list").iter().map(|one| text(one, "authorizer_appid")).collect()
    };
    let first = component.list(&token, 0, 3);
    let second = component.list(&token, 3, 3);
    let third = component.list(&token, 6, 500);
    assert_eq!((&first["total_count"], &third["total_count"]), (&json!(7), &json!(7)));
    assert_eq!([appids(&first), appids(&second)].concat().len(), 6);
    assert_eq!(appids(&first), [APPID, MERCHANT, "wxlisted0"]);
    assert_eq!(appids(&third), ["wxlisted4"]);
    assert_eq!(first["list"][1]["refresh_token"], component.refresh_token(MERCHANT));
    assert_eq!(first["list"][1]["auth_time"], START_MS / 1000);
    assert_eq!(component.list(&token, 7, 500)["list"], json!([]));

    assert_eq!(errcode(&component.list(&token, 0, 501)), 40097);
    let no_count = json!({"component_appid": PLATFORM, "offset": 0});
    assert_eq!(errcode(&answer(component.call(ComponentCall::AuthorizerList, Some(&token), &no_count))), 40097);
}

#[test]
fn a_merchant_is_put_only_to_a_known_platform_and_by_a_name() {
    let mut component = Component::new();
    let mut put = |platform: &str, appid: &str| {
        let change = AuthorizerChange::new(platform, appid);
        component.wechat.model.put_authorizer(&change, START_MS).map_err(|refused| refused.to_string())
    };
    assert_eq!(put("wxnobody", MERCHANT), Err("no such platform here".into()));
    assert_eq!(put(PLATFORM, ""), Err("which merchant?".into()));
}
