//! Phone calls in a merchant's name.

use super::*;

fn ask_as(component: &mut Component, token: &str, appid: &str) -> Value {
    let code = component.wechat.mint(&Mint::of(appid)).code;
    answer(component.wechat.phone(token, &format!(r#"{{"code":"{code}"}}"#)))
}

#[test]
fn an_authorizer_token_exchanges_codes_of_its_merchant_and_no_other() {
    let mut component = Component::new();
    let token = component.authorizer_token(MERCHANT);
    let said = ask_as(&mut component, &token, MERCHANT);
    assert_eq!(said["phone_info"]["watermark"]["appid"], MERCHANT);
    assert_eq!(errcode(&ask_as(&mut component, &token, APPID)), 40013);
}

#[test]
fn a_component_token_exchanges_nothing() {
    let mut component = Component::new();
    let token = component.token();
    assert_eq!(errcode(&ask_as(&mut component, &token, MERCHANT)), 40001);
}

#[test]
fn a_call_in_a_merchants_name_is_refused_without_spending_the_code() {
    let mut component = Component::new();
    let token = component.authorizer_token(MERCHANT);
    let code = component.wechat.mint(&Mint::of(MERCHANT)).code;
    let body = format!(r#"{{"code":"{code}"}}"#);
    let ask = |component: &mut Component| errcode(&answer(component.wechat.phone(&token, &body)));
    let merchant = || AuthorizerChange::new(PLATFORM, MERCHANT);
    let ip = |refused| PlatformChange { appid: PLATFORM.into(), ip_refused: Some(refused), ..Default::default() };

    component.put_merchant(&AuthorizerChange { permission_18: Some(false), ..merchant() });
    assert_eq!(ask(&mut component), 61007);
    component.put_merchant(&AuthorizerChange { withdrawn: Some(true), ..merchant() });
    assert_eq!(ask(&mut component), 61003);
    component.put(ip(true));
    assert_eq!(ask(&mut component), 61004);

    component.put(ip(false));
    let back = AuthorizerChange { withdrawn: Some(false), permission_18: Some(true), ..merchant() };
    component.put_merchant(&back);
    let token = component.authorizer_token(MERCHANT);
    assert_eq!(errcode(&answer(component.wechat.phone(&token, &body))), 0);
}

#[test]
fn a_merchants_frozen_secret_leaves_its_platforms_alone() {
    let mut component = Component::new();
    assert!(component.wechat.stable(false)["access_token"].is_string(), "a merchant may have a secret of its own");
    component.wechat.change(AppChange { appid: APPID.into(), frozen: Some(true), ..AppChange::default() });
    assert_eq!(errcode(&component.wechat.stable(false)), 40243);
    let token = component.authorizer_token(APPID);
    assert_eq!(errcode(&ask_as(&mut component, &token, APPID)), 0);
}

#[test]
fn a_merchant_without_a_secret_gets_no_token_of_its_own() {
    let mut component = Component::new();
    for secret in ["", "guess"] {
        let body = json!({"grant_type": "client_credential", "appid": MERCHANT, "secret": secret}).to_string();
        let said = answer(component.wechat.model.stable_token(true, body.as_bytes(), START_MS));
        assert_eq!(errcode(&said), if secret.is_empty() { 41004 } else { 40125 });
    }
}

#[test]
fn calls_in_a_merchants_name_use_up_the_merchants_quota() {
    let mut component = Component::new();
    component.wechat.change(AppChange { appid: APPID.into(), phone_per_minute: Some(2), ..AppChange::default() });
    let (own, platforms) = (component.wechat.token(), component.authorizer_token(APPID));
    assert_eq!(component.wechat.thinks_of(&own), 40029);
    assert_eq!(component.wechat.thinks_of(&platforms), 40029);
    assert_eq!(component.wechat.thinks_of(&platforms), 45011);
    assert_eq!(component.wechat.thinks_of(&own), 45011);
}
