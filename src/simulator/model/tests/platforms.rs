//! Third-party platforms: what they are given, and why they are refused.

mod merchants;
mod phones;
mod pushes;
mod tokens;

use super::*;
use crate::simulator::model::platforms::changes::{AuthorizerChange, PlatformChange, PlatformState};
use crate::simulator::model::platforms::push::{Push, PushKind};
use crate::simulator::record::TokenSource;
use serde_json::json;

const PLATFORM: &str = "wxplatform00000001";
/// Its last character holds bits beyond the 32 bytes, as keys of WeChat's may.
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

/// A platform that the app with a secret of its own has authorised, as has one without.
struct Component {
    wechat: WeChat,
}

const MERCHANT: &str = "wxmerchant00000001";

impl Component {
    fn new() -> Self {
        let mut component = Self { wechat: WeChat::new() };
        component.put(PlatformChange::new(PLATFORM, "component secret", "message token", KEY));
        component.put_merchant(&AuthorizerChange::new(PLATFORM, APPID));
        component.put_merchant(&AuthorizerChange::new(PLATFORM, MERCHANT));
        component
    }

    fn put(&mut self, change: PlatformChange) {
        self.wechat.model.platforms.put(change).expect("a right change");
    }

    fn put_merchant(&mut self, change: &AuthorizerChange) {
        self.wechat.model.put_authorizer(change, self.wechat.now_ms).expect("a right change");
    }

    fn state(&self) -> PlatformState {
        self.wechat.model.platforms.state(Some(PLATFORM), &self.wechat.model.apps).expect("a known platform")
    }

    fn refresh_token(&self, appid: &str) -> String {
        self.state().refresh_token(appid).expect("a merchant").to_owned()
    }

    fn push_ticket(&mut self) -> String {
        self.wechat.model.push(&Push::ticket(PLATFORM), self.wechat.now_ms).expect("a push");
        self.state().ticket.expect("a ticket")
    }

    fn call(&mut self, call: ComponentCall, token: Option<&str>, body: &Value) -> Outcome {
        let body = body.to_string();
        let request = ComponentRequest { is_post: true, token: token.map(Into::into), body: body.as_bytes() };
        self.wechat.model.component(call, &request, self.wechat.now_ms).0
    }

    fn fetch(&mut self, ticket: &str) -> Value {
        let body = json!({
            "component_appid": PLATFORM,
            "component_appsecret": "component secret",
            "component_verify_ticket": ticket,
        });
        answer(self.call(ComponentCall::ComponentToken, None, &body))
    }

    /// A new component token, by a new ticket.
    fn token(&mut self) -> String {
        let ticket = self.push_ticket();
        text(&self.fetch(&ticket), "component_access_token")
    }

    /// Asks for an authorizer token with a new component token.
    fn authorizer(&mut self, appid: &str, refresh_token: &str) -> Value {
        let token = self.token();
        let body = json!({
            "component_appid": PLATFORM,
            "authorizer_appid": appid,
            "authorizer_refresh_token": refresh_token,
        });
        answer(self.call(ComponentCall::AuthorizerToken, Some(&token), &body))
    }

    /// What a call in the merchant's name needs.
    fn authorizer_token(&mut self, appid: &str) -> String {
        let refresh_token = self.refresh_token(appid);
        text(&self.authorizer(appid, &refresh_token), "authorizer_access_token")
    }

    fn list(&mut self, token: &str, offset: usize, count: usize) -> Value {
        let body = json!({"component_appid": PLATFORM, "offset": offset, "count": count});
        answer(self.call(ComponentCall::AuthorizerList, Some(token), &body))
    }
}

fn text(said: &Value, name: &str) -> String {
    said[name].as_str().unwrap_or_else(|| panic!("{name} in {said}")).to_owned()
}

#[test]
fn a_mood_about_components_may_mean_a_platform_or_a_merchant() {
    let mut component = Component::new();
    let token = component.token();
    let mood = |appid: Option<&str>, step| Mood {
        endpoint: Endpoint::Component,
        appid: appid.map(str::to_owned),
        calls: Some(1),
        step,
    };
    let set = |component: &mut Component, mood| component.wechat.model.moods.set(mood).expect("few moods");
    set(&mut component, mood(Some(OTHER), Step::errcode(1)));
    set(&mut component, mood(Some(MERCHANT), Step::errcode(2)));
    assert_eq!(component.list(&token, 0, 1)["total_count"], 2);
    let refresh_token = component.refresh_token(APPID);
    assert!(component.authorizer(APPID, &refresh_token)["authorizer_access_token"].is_string());
    let refresh_token = component.refresh_token(MERCHANT);
    assert_eq!(errcode(&component.authorizer(MERCHANT, &refresh_token)), 2);
    set(&mut component, mood(Some(PLATFORM), Then::HangAfter.into()));
    let body = json!({"component_appid": PLATFORM, "component_secret": "component secret"});
    assert!(matches!(component.call(ComponentCall::StartPush, None, &body).act, Act::Hang));
    assert_eq!(component.wechat.asked().start_push.hung, 1);
}

#[test]
fn a_new_platform_needs_all_its_keys_and_a_change_keeps_the_rest() {
    let mut component = Component::new();
    let mut put = |change| component.wechat.model.platforms.put(change).map_err(|refused| refused.to_string());
    let other = || PlatformChange::new("wxplatform00000002", "s", "t", KEY);
    let refused = "a new platform needs a secret, a message_token and a message_key";
    assert_eq!(put(PlatformChange { secret: None, ..other() }), Err(refused.into()));
    assert_eq!(put(PlatformChange { message_token: None, ..other() }), Err(refused.into()));
    assert_eq!(put(PlatformChange { message_key: None, ..other() }), Err(refused.into()));
    let bad_key = PlatformChange { message_key: Some("short".into()), ..other() };
    assert_eq!(put(bad_key), Err("that is no message_key".into()));
    assert_eq!(put(PlatformChange { appid: PLATFORM.into(), ip_refused: Some(false), ..Default::default() }), Ok(()));
    assert!(!component.token().is_empty(), "its secret is still the same");
    let shown = format!("{:?} {:?}", other(), component.state());
    assert!(!shown.contains(KEY) && !shown.contains("ticket@@@") && !shown.contains("refreshtoken@@@"), "{shown}");
}
