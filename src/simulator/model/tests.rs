//! The model by itself: what is asked, when, and what WeChat would say. Platforms, quotas and tokens have files of their
//! own.

mod platforms;
mod quotas;
mod tokens;

use super::apps::AppChange;
use super::mint::{CountryCodeAs, Mint, Minted, Watermark};
use super::moods::Mood;
use super::*;
use crate::simulator::record::Asked;
use serde_json::Value;

const START_MS: u64 = 1_637_744_274_000;
const APPID: &str = "wx0123456789abcdef";
const OTHER: &str = "wxfedcba9876543210";

/// A model with two apps and a clock that only the test turns.
struct WeChat {
    model: Model,
    now_ms: u64,
}

impl WeChat {
    fn new() -> Self {
        let mut wechat = Self { model: Model::new(), now_ms: START_MS };
        wechat.change(AppChange::new(APPID, "secret"));
        wechat.change(AppChange::new(OTHER, "other"));
        wechat
    }

    fn change(&mut self, change: AppChange) {
        self.model.apps.put(change).expect("a right change");
    }

    fn mint(&mut self, mint: &Mint) -> Minted {
        let app = self.model.apps.find(mint.appid.as_deref().or(Some(APPID))).expect("a known app");
        let model = &mut self.model;
        model.codes.mint(app, mint, self.now_ms, &mut model.random)
    }

    fn token(&mut self) -> String {
        let app = self.model.apps.index(APPID).expect("a known app");
        self.model.token_of(app, self.now_ms).expect("a token")
    }

    fn phone(&mut self, token: &str, body: &str) -> Outcome {
        self.model.phone(true, Some(token), body.as_bytes(), self.now_ms)
    }

    fn ask(&mut self, code: &str) -> Value {
        let token = self.token();
        answer(self.phone(&token, &format!(r#"{{"code":"{code}"}}"#)))
    }

    fn stable(&mut self, force_refresh: bool) -> Value {
        let body = format!(
            r#"{{"grant_type":"client_credential","appid":"{APPID}","secret":"secret","force_refresh":{force_refresh}}}"#
        );
        answer(self.model.stable_token(true, body.as_bytes(), self.now_ms))
    }

    fn classic(&mut self) -> Value {
        let ask = TokenAsk {
            grant_type: Some("client_credential".into()),
            appid: Some(APPID.into()),
            secret: Some("secret".into()),
            force_refresh: false,
        };
        answer(self.model.classic_token(true, ask, self.now_ms))
    }

    /// What the phone endpoint thinks of a token: 40029 where it is good, since the code is not.
    fn thinks_of(&mut self, token: &str) -> i64 {
        errcode(&answer(self.phone(token, r#"{"code":"nobody's"}"#)))
    }

    fn asked(&self) -> Asked {
        self.model.asked(true)
    }
}

fn answer(outcome: Outcome) -> Value {
    match outcome.act {
        Act::Answer { status: 200, body, .. } => serde_json::from_slice(&body).expect("JSON"),
        other => panic!("not an answer: {other:?}"),
    }
}

fn errcode(said: &Value) -> i64 {
    said["errcode"].as_i64().expect("an errcode")
}

fn token_in(said: &Value) -> String {
    said["access_token"].as_str().expect("a token").to_owned()
}

#[test]
fn an_answer_has_the_documented_shape() {
    let mut wechat = WeChat::new();
    let code = wechat.mint(&Mint::default()).code;
    assert!(code.len() == 64 && code.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(
        wechat.ask(&code),
        serde_json::json!({"errcode":0,"errmsg":"ok","phone_info":{
            "phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86",
            "watermark":{"timestamp":START_MS / 1000,"appid":APPID}}})
    );
}

#[test]
fn an_answer_can_have_the_shapes_that_documents_disagree_on() {
    let mut wechat = WeChat::new();
    let code = wechat.mint(&Mint {
        phone_number: Some("+44 7911123456".into()),
        country_code: Some("44".into()),
        country_code_as: CountryCodeAs::Number,
        watermark: Watermark::Names(OTHER.into()),
        ..Mint::default()
    });
    let info = wechat.ask(&code.code)["phone_info"].take();
    assert_eq!(info["phoneNumber"], "+44 7911123456");
    assert_eq!(info["purePhoneNumber"], "7911123456");
    assert_eq!(info["countryCode"], 44);
    assert_eq!(info["watermark"]["appid"], OTHER);

    let bare =
        wechat.mint(&Mint { country_code_as: CountryCodeAs::Absent, watermark: Watermark::Missing, ..Mint::default() });
    let info = wechat.ask(&bare.code)["phone_info"].take();
    assert!(info.get("countryCode").is_none() && info.get("watermark").is_none());
}

#[test]
fn every_code_brings_a_number_of_its_own_once() {
    let mut wechat = WeChat::new();
    let minted: Vec<_> = (0..50).map(|_| wechat.mint(&Mint::default())).collect();
    for (n, minted) in minted.iter().enumerate() {
        assert_eq!(minted.phone_number, (13_800_000_000 + n).to_string());
        let said = wechat.ask(&minted.code);
        assert_eq!(said["phone_info"]["phoneNumber"], minted.phone_number);
        assert_eq!(errcode(&wechat.ask(&minted.code)), 40029);
    }
    let asked = wechat.asked();
    assert_eq!((asked.distinct_codes, asked.codes_asked_more_than_once), (50, 50));
    let tally = asked.codes[&minted[7].code];
    assert_eq!((tally.asked, tally.answered, tally.used), (2, 2, true));
    assert_eq!(asked.phone.by_errcode, [(0, 50), (40029, 50)].into());
}

#[test]
fn a_code_lives_five_minutes_from_the_tap() {
    let mut wechat = WeChat::new();
    let fresh = wechat.mint(&Mint::default());
    let late = wechat.mint(&Mint::default());
    let old = wechat.mint(&Mint { age_s: 299, ..Mint::default() });
    let dead = wechat.mint(&Mint { age_s: 300, ..Mint::default() });
    assert_eq!(old.issued_at, START_MS - 299_000);
    assert_eq!(errcode(&wechat.ask(&old.code)), 0);
    assert_eq!(errcode(&wechat.ask(&dead.code)), 40029);
    wechat.now_ms += 299_999;
    assert_eq!(errcode(&wechat.ask(&fresh.code)), 0);
    wechat.now_ms += 1;
    assert_eq!(errcode(&wechat.ask(&late.code)), 40029);
}

#[test]
fn codes_are_forgotten_after_ten_minutes() {
    let mut wechat = WeChat::new();
    let codes: Vec<_> = (0..20).map(|_| wechat.mint(&Mint::default()).code).collect();
    wechat.ask(&codes[0]);
    wechat.now_ms += 10 * MINUTE_MS + 1;
    for _ in 0..10 {
        wechat.mint(&Mint::default());
    }
    assert_eq!(wechat.model.codes.asked_of(&codes[0]).asked, 0);
    assert_eq!(wechat.asked().distinct_codes, 1, "the sum outlives them");
    assert_eq!(errcode(&wechat.ask(&codes[0])), 40029);
}

#[test]
fn a_body_is_read_strictly() {
    let mut wechat = WeChat::new();
    let code = wechat.mint(&Mint::default()).code;
    let token = wechat.token();
    let wrong = [
        ("", 44002),
        ("code=abc", 47001),
        ("null", 47001),
        ("{}", 47001),
        (r#"["CODE"]"#, 47001),
        (r#"{"code":null}"#, 47001),
        (r#"{"code":1}"#, 47001),
        (r#"{"code ":"CODE"}"#, 47001),
        (r#"{"code":"CODE","openid":null}"#, 47001),
        (r#"{"code":"CODE","access_token":"x"}"#, 47001),
        (r#"{"code":"CODE","code":"CODE"}"#, 47001),
        (r#"{"code":"CODE"} x"#, 47001),
        (r#"{"code":"CODE "}"#, 40029),
    ];
    for (body, expected) in wrong {
        let said = answer(wechat.phone(&token, &body.replace("CODE", &code)));
        assert_eq!(errcode(&said), expected, "{body}");
    }
    let said = answer(wechat.phone(&token, &format!(" {{ \"openid\":\"o1\", \"code\":\"{code}\" }}\n")));
    assert_eq!(errcode(&said), 0, "none of that spent the code");
}

#[test]
fn the_gateway_refuses_without_spending_the_code() {
    let mut wechat = WeChat::new();
    let code = wechat.mint(&Mint::default()).code;
    let body = format!(r#"{{"code":"{code}"}}"#);
    let good = wechat.token();
    let unknown = format!("92_{}", "a".repeat(133));
    let refusals = [(None, 41001), (Some(""), 41001), (Some("nonsense"), 40014), (Some(unknown.as_str()), 40001)];
    for (token, expected) in refusals {
        let said = answer(wechat.model.phone(true, token, body.as_bytes(), START_MS));
        assert_eq!(errcode(&said), expected);
    }
    let got = wechat.model.phone(false, Some(&good), b"", START_MS);
    assert_eq!(errcode(&answer(got)), 43002);
    let tally = wechat.model.codes.asked_of(&code);
    assert_eq!((tally.asked, tally.used), (4, false));
    assert_eq!(errcode(&wechat.ask(&code)), 0);
}

#[test]
fn the_wrong_app_or_user_does_not_spend_a_code() {
    let mut wechat = WeChat::new();
    let foreign = wechat.mint(&Mint::of(OTHER)).code;
    assert_eq!(errcode(&wechat.ask(&foreign)), 40013);
    assert!(!wechat.model.codes.asked_of(&foreign).used);

    let own = wechat.mint(&Mint { openid: Some("o1".into()), ..Mint::default() }).code;
    let token = wechat.token();
    let mut as_user = |openid: &str| {
        let body = format!(r#"{{"code":"{own}","openid":"{openid}"}}"#);
        errcode(&answer(wechat.phone(&token, &body)))
    };
    assert_eq!(as_user("o2"), 40003);
    assert_eq!(as_user("o1"), 0);
}

#[test]
fn a_script_is_followed_in_order_and_then_all_is_normal() {
    let mut wechat = WeChat::new();
    let script = [
        Step::errcode(-1),
        Step::http(502, "gone"),
        Then::CutBefore.into(),
        Then::HangBefore.into(),
        Step::normal().late_ms(70),
    ];
    let code = wechat.mint(&Mint::default().script(script)).code;
    let body = format!(r#"{{"code":"{code}"}}"#);
    let token = wechat.token();
    assert_eq!(wechat.thinks_of("nonsense"), 40014);
    assert_eq!(errcode(&answer(wechat.phone("nonsense", &body))), 40014, "no step is taken at the gateway");
    assert_eq!(errcode(&answer(wechat.phone(&token, &body))), -1);
    assert!(matches!(wechat.phone(&token, &body).act, Act::Answer { status: 502, .. }));
    assert!(matches!(wechat.phone(&token, &body).act, Act::Cut));
    assert!(matches!(wechat.phone(&token, &body).act, Act::Hang));
    let late = wechat.phone(&token, &body);
    assert_eq!(late.delay_ms, 70);
    assert_eq!(errcode(&answer(late)), 0);
    assert_eq!(errcode(&wechat.ask(&code)), 40029);
    let tally = wechat.model.codes.asked_of(&code);
    assert_eq!((tally.asked, tally.answered), (7, 5));
    let phone = wechat.asked().phone;
    assert_eq!((phone.calls, phone.answered, phone.cut, phone.hung), (8, 6, 1, 1));
}

#[test]
fn steps_that_consume_spend_the_code() {
    let consuming = [
        Step::errcode(-1).consuming(),
        Step::http(500, "").consuming(),
        Step::huge(10).consuming(),
        Then::CutAfter.into(),
        Then::CutInBody.into(),
        Then::HangInBody.into(),
        Then::HangAfter.into(),
    ];
    for step in consuming {
        let mut wechat = WeChat::new();
        let code = wechat.mint(&Mint::default().script([step.clone()])).code;
        let token = wechat.token();
        wechat.phone(&token, &format!(r#"{{"code":"{code}"}}"#));
        assert!(wechat.model.codes.asked_of(&code).used, "{step:?}");
        assert_eq!(errcode(&wechat.ask(&code)), 40029, "{step:?}");
    }
}

#[test]
fn a_mood_happens_to_its_endpoint_and_app_for_its_calls() {
    let mut wechat = WeChat::new();
    let mood =
        |endpoint, appid: Option<&str>, calls, step| Mood { endpoint, appid: appid.map(str::to_owned), calls, step };
    let set = |wechat: &mut WeChat, mood| wechat.model.moods.set(mood).expect("few moods");
    let code = wechat.mint(&Mint::default().script([Step::errcode(48001)])).code;
    set(&mut wechat, mood(Endpoint::Phone, Some(OTHER), None, Step::errcode(1)));
    set(&mut wechat, mood(Endpoint::Phone, Some(APPID), Some(2), Step::errcode(45011)));
    assert_eq!(errcode(&wechat.ask(&code)), 45011);
    assert_eq!(errcode(&wechat.ask(&code)), 45011);
    assert_eq!(errcode(&wechat.ask(&code)), 48001, "the script waited for the mood to pass");
    assert_eq!(errcode(&wechat.ask(&code)), 0);

    set(&mut wechat, mood(Endpoint::Token, None, None, Step::errcode(-1)));
    for _ in 0..3 {
        assert_eq!(errcode(&wechat.stable(false)), -1);
        assert_eq!(errcode(&wechat.classic()), -1);
    }
    set(&mut wechat, mood(Endpoint::Phone, None, None, Step::errcode(-1)));
    assert_eq!(wechat.thinks_of("nonsense"), -1, "a WeChat that is away looks at no token");
    wechat.model.moods.clear();
    assert!(wechat.stable(false)["access_token"].is_string());
}

#[test]
fn latency_is_the_phone_endpoints_own() {
    let mut wechat = WeChat::new();
    (wechat.model.latency_ms, wechat.model.jitter_ms) = (80, 40);
    let token = wechat.token();
    let waits: Vec<_> = (0..200).map(|_| wechat.phone(&token, "{}").delay_ms).collect();
    assert!(waits.iter().all(|wait| (80..=120).contains(wait)));
    assert!(waits.iter().any(|wait| *wait != waits[0]));
    assert_eq!(wechat.model.stable_token(true, b"{}", START_MS).delay_ms, 0);
}

#[test]
fn a_reset_forgets_the_counts_but_not_what_is_spent() {
    let mut wechat = WeChat::new();
    let code = wechat.mint(&Mint::default()).code;
    wechat.ask(&code);
    wechat.stable(false);
    wechat.model.forget_asked();
    let asked = wechat.asked();
    assert_eq!((asked.phone.calls, asked.distinct_codes, asked.codes.len()), (0, 0, 0));
    assert!(asked.tokens.is_empty());
    assert_eq!(errcode(&wechat.ask(&code)), 40029);
}
