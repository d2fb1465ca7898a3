//! A third-party platform logs people in for its merchants: from WeChat's encrypted push to the phone number.

use std::time::{Duration, Instant};

use quicklogin::login::{Advice, AppId, Failure, LoginRequest, Outcome, Reason};
use quicklogin::secret::Secret;
use quicklogin::simulator::{AuthorizerChange, Mint, PlatformChange, Push};
use quicklogin::token::{KeptSecret, Platform, Source};
use quicklogin::wechat::push::{MessageKey, MessageKeys};
use serde_json::{Value, json};

use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, SISTER, app_id, eventually, request};

const PLATFORM: &str = "wx00000000000000c0";
const PLATFORM_SECRET: &str = "c0ffeec0ffeec0ffeec0ffeec0ffee00";
const MESSAGE_TOKEN: &str = "aMessageToken";
const MESSAGE_KEY: &str = "aMessageKey00000000000000000000000000000000";

fn authorizer(_: &AppId, _: KeptSecret) -> Source {
    let secret = KeptSecret::Text(PLATFORM_SECRET.into());
    Source::Authorizer(Platform { appid: app_id(PLATFORM), secret })
}

fn plan() -> Plan {
    let key = MessageKey::try_from(&Secret::from(MESSAGE_KEY)).expect("a good key");
    let keys = MessageKeys { platform: app_id(PLATFORM), token: MESSAGE_TOKEN.into(), key };
    let apps = vec![(APP, SECRET), (SISTER, SECRET)];
    Plan { apps, source: authorizer, platforms: vec![keys], ..Plan::on(Ground::RabbitAndRedis) }
}

/// A fleet whose platform both merchants have authorised. WeChat has pushed no ticket yet.
async fn without_ticket(plan: Plan) -> Fleet {
    let fleet = plan.start().await;
    let platform = PlatformChange {
        push_url: Some(format!("{}/wechat/events", fleet.url)),
        ..PlatformChange::new(PLATFORM, PLATFORM_SECRET, MESSAGE_TOKEN, MESSAGE_KEY)
    };
    fleet.simulator.put_platform(platform).expect("a good platform");
    for merchant in [APP, SISTER] {
        merchant_changes(&fleet, &AuthorizerChange::new(PLATFORM, merchant));
    }
    fleet
}

async fn with_ticket(plan: Plan) -> Fleet {
    let fleet = without_ticket(plan).await;
    push_ticket(&fleet).await;
    fleet
}

async fn push_ticket(fleet: &Fleet) {
    let answered = fleet.simulator.send_push(&Push::ticket(PLATFORM)).await.expect("it is sent");
    assert_eq!((answered.status, answered.answer.as_str()), (200, "success"));
}

fn merchant_changes(fleet: &Fleet, change: &AuthorizerChange) {
    fleet.simulator.put_authorizer(change).expect("a good change");
}

async fn login_to(fleet: &Fleet, appid: &str) -> Outcome {
    let tap = fleet.tap_with(&Mint::of(appid));
    let request = LoginRequest { appid: Some(app_id(appid)), ..request(&tap.code) };
    fleet.publish(&request).await;
    fleet.result(&request.request_id).await.outcome
}

async fn failure(fleet: &Fleet, appid: &str) -> Failure {
    match login_to(fleet, appid).await {
        Outcome::Failed(failure) => failure,
        Outcome::Succeeded(_) => panic!("it has a phone number"),
    }
}

async fn succeeds(fleet: &Fleet, appid: &str) {
    let outcome = login_to(fleet, appid).await;
    assert_eq!(outcome.as_str(), "succeeded", "{outcome:?}");
}

/// Calls of the component endpoints: tokens of the platform, tokens of merchants, lists.
fn calls(fleet: &Fleet) -> (u64, u64, u64) {
    let asked = fleet.simulator.asked_without_codes();
    (asked.component_token.calls, asked.authorizer_token.calls, asked.authorizer_list.calls)
}

fn kept_refresh_token(fleet: &Fleet, appid: &str) -> String {
    fleet.redis().cli(&["HGET", &format!("quicklogin:authorizer:{{{appid}}}"), "refresh_token"])
}

fn good_refresh_token(fleet: &Fleet, appid: &str) -> String {
    let state = fleet.simulator.platform(Some(PLATFORM)).expect("it knows the platform");
    state.refresh_token(appid).expect("it knows the merchant").to_owned()
}

#[tokio::test]
async fn from_an_encrypted_push_to_a_phone_number() {
    let fleet = with_ticket(Plan { workers: 3, ..plan() }).await;
    let tap = fleet.tap_with(&Mint::of(APP));
    let request = LoginRequest { appid: Some(app_id(APP)), ..request(&tap.code) };
    fleet.publish(&request).await;
    let Outcome::Succeeded(phone) = fleet.result(&request.request_id).await.outcome else { panic!("it succeeds") };
    assert_eq!(phone.phone_number, tap.phone_number);
    succeeds(&fleet, SISTER).await;
    assert_eq!(calls(&fleet), (1, 2, 2), "one token of the platform for both; each refresh token is looked up once");
    for merchant in [APP, SISTER] {
        assert_eq!(kept_refresh_token(&fleet, merchant), good_refresh_token(&fleet, merchant));
        assert_eq!(fleet.redis().ttl_ms(&format!("quicklogin:authorizer:{{{merchant}}}")), None, "kept without end");
    }
    let asked = fleet.simulator.asked_without_codes();
    assert_eq!(asked.stable_token.calls + asked.classic_token.calls, 0, "nobody's own secret was used");
}

#[tokio::test]
async fn without_a_ticket_logins_are_told_what_is_missing_and_with_one_it_mends_by_itself() {
    let fleet = without_ticket(plan()).await;
    let told = failure(&fleet, APP).await;
    assert_eq!((told.reason, told.advice, told.answer), (Reason::TokenUnavailable, Advice::FixSetup, None));
    let detail = told.detail.expect("words");
    assert!(
        detail.contains(PLATFORM) && detail.contains("/wechat/events") && detail.contains("token ticket"),
        "{detail}"
    );
    assert_eq!(calls(&fleet), (0, 0, 0));
    push_ticket(&fleet).await;
    eventually("it mends by itself", async || login_to(&fleet, APP).await.as_str() == "succeeded").await;
}

#[tokio::test]
async fn a_refresh_token_that_wechat_replaces_is_kept_each_time() {
    let fleet = with_ticket(plan()).await;
    let rotating = AuthorizerChange::new(PLATFORM, APP);
    merchant_changes(&fleet, &AuthorizerChange { rotates_refresh_token: Some(true), ..rotating });
    let mut kept = Vec::new();
    for _ in 0..4 {
        succeeds(&fleet, APP).await;
        kept.push(kept_refresh_token(&fleet, APP));
        assert_eq!(kept.last(), Some(&good_refresh_token(&fleet, APP)));
        fleet.simulator.expire_tokens(Some(APP)).expect("it knows the app");
    }
    kept.dedup();
    assert_eq!((kept.len(), calls(&fleet)), (4, (1, 4, 1)), "the list is asked for the first one only");
}

#[tokio::test]
async fn a_refresh_token_changed_behind_our_back_is_looked_up_once() {
    let fleet = with_ticket(plan()).await;
    succeeds(&fleet, APP).await;
    let change = AuthorizerChange { new_refresh_token: true, ..AuthorizerChange::new(PLATFORM, APP) };
    merchant_changes(&fleet, &change);
    fleet.simulator.expire_tokens(Some(APP)).expect("it knows the app");
    succeeds(&fleet, APP).await;
    assert_eq!(calls(&fleet), (1, 3, 2), "asked with the old one, listed, asked with the new one");
    assert_eq!(kept_refresh_token(&fleet, APP), good_refresh_token(&fleet, APP));
}

#[tokio::test]
async fn what_the_merchant_has_not_granted_is_told_in_words_and_only_to_its_own_logins() {
    let fleet = with_ticket(plan()).await;
    succeeds(&fleet, SISTER).await;
    let ungranted = AuthorizerChange { permission_18: Some(false), ..AuthorizerChange::new(PLATFORM, APP) };
    merchant_changes(&fleet, &ungranted);
    let began = Instant::now();
    for _ in 0..12 {
        let told = failure(&fleet, APP).await;
        assert_eq!((told.reason, told.advice), (Reason::NotAllowed, Advice::FixSetup));
        assert_eq!(told.answer.expect("WeChat's refusal").errcode, 61007);
        assert!(told.detail.expect("words").contains("permission set 18"));
    }
    let refused = fleet.simulator.asked_without_codes().phone.by_errcode[&61007];
    let at_most = 4 + (2.0 * began.elapsed().as_secs_f64() + 1.0).log2() as u64;
    assert!((3..=at_most).contains(&refused), "three times, and a probe after 0.5, 1, 2 … seconds or more: {refused}");
    succeeds(&fleet, SISTER).await;
    merchant_changes(&fleet, &AuthorizerChange { permission_18: Some(true), ..AuthorizerChange::new(PLATFORM, APP) });
    eventually("it mends by itself", async || login_to(&fleet, APP).await.as_str() == "succeeded").await;
}

#[tokio::test]
async fn an_authorisation_that_is_withdrawn_is_told_and_one_that_is_given_again_is_found() {
    let fleet = with_ticket(plan()).await;
    succeeds(&fleet, APP).await;
    merchant_changes(&fleet, &AuthorizerChange { withdrawn: Some(true), ..AuthorizerChange::new(PLATFORM, APP) });
    fleet.simulator.expire_tokens(Some(APP)).expect("it knows the app");
    let told = failure(&fleet, APP).await;
    assert_eq!((told.reason, told.advice), (Reason::NotAllowed, Advice::FixSetup));
    let words = told.detail.expect("words");
    assert!(words.contains("withdrawn the authorisation"), "{words}");
    succeeds(&fleet, SISTER).await;
    merchant_changes(&fleet, &AuthorizerChange { withdrawn: Some(false), ..AuthorizerChange::new(PLATFORM, APP) });
    eventually("it is found", async || login_to(&fleet, APP).await.as_str() == "succeeded").await;
    assert_eq!(kept_refresh_token(&fleet, APP), good_refresh_token(&fleet, APP));
}

#[tokio::test]
async fn a_merchant_who_comes_back_before_we_notice_is_found_in_the_list() {
    let fleet = with_ticket(plan()).await;
    succeeds(&fleet, APP).await;
    for withdrawn in [true, false] {
        let change = AuthorizerChange { withdrawn: Some(withdrawn), ..AuthorizerChange::new(PLATFORM, APP) };
        merchant_changes(&fleet, &change);
    }
    fleet.simulator.expire_tokens(Some(APP)).expect("it knows the app");
    succeeds(&fleet, APP).await;
    assert_eq!(kept_refresh_token(&fleet, APP), good_refresh_token(&fleet, APP));
}

/// The next list of merchants is this one.
fn next_list(fleet: &Fleet, list: &Value) {
    let mood = json!({"endpoint": "component", "calls": 1, "step": {"body": json!({"list": list}).to_string()}});
    fleet.simulator.set_mood(serde_json::from_value(mood).expect("a mood")).expect("a good mood");
}

#[tokio::test]
async fn an_entry_of_the_list_that_says_nothing_does_not_hide_the_others() {
    let fleet = with_ticket(plan()).await;
    succeeds(&fleet, SISTER).await;
    let good = good_refresh_token(&fleet, APP);
    next_list(
        &fleet,
        &json!([
            {"authorizer_appid": "wxffffffffffffffff", "refresh_token": null, "auth_time": 1},
            {"authorizer_appid": null, "refresh_token": "x"}, {"refresh_token": "x"}, {"authorizer_appid": 7}, {}, null, 7, [],
            {"authorizer_appid": APP, "refresh_token": ""},
            {"authorizer_appid": APP, "refresh_token": good},
        ]),
    );
    succeeds(&fleet, APP).await;
    assert_eq!(kept_refresh_token(&fleet, APP), good);
}

#[tokio::test]
async fn a_page_of_entries_that_say_nothing_is_not_the_lists_end() {
    let fleet = with_ticket(plan()).await;
    succeeds(&fleet, SISTER).await;
    next_list(&fleet, &json!([null, {"refresh_token": null}]));
    next_list(&fleet, &json!([{"authorizer_appid": APP, "refresh_token": good_refresh_token(&fleet, APP)}]));
    succeeds(&fleet, APP).await;
}

#[tokio::test]
async fn a_merchant_that_is_listed_without_a_refresh_token_is_not_said_to_be_missing() {
    let fleet = with_ticket(plan()).await;
    succeeds(&fleet, SISTER).await;
    for nothing in [json!(""), json!(null)] {
        fleet.simulator.clear_moods();
        next_list(&fleet, &json!([{"authorizer_appid": APP, "refresh_token": nothing}]));
        next_list(&fleet, &json!([]));
        let told = failure(&fleet, APP).await;
        assert_eq!((told.reason, told.advice), (Reason::TokenUnavailable, Advice::FixSetup));
        assert!(told.detail.expect("words").contains("gives no refresh token"));
    }
    eventually("it mends by itself", async || login_to(&fleet, APP).await.as_str() == "succeeded").await;
}

#[tokio::test]
async fn a_platform_whose_address_or_secret_is_refused_is_told_by_its_errcode() {
    let fleet = with_ticket(plan()).await;
    let change = |change| PlatformChange { appid: PLATFORM.into(), ..change };
    fleet
        .simulator
        .put_platform(change(PlatformChange { ip_refused: Some(true), ..Default::default() }))
        .expect("good");
    let told = failure(&fleet, APP).await;
    assert_eq!((told.reason, told.answer.expect("an answer").errcode), (Reason::NotAllowed, 61004));
    let secret = PlatformChange { ip_refused: Some(false), secret: Some("another".into()), ..Default::default() };
    fleet.simulator.put_platform(change(secret)).expect("good");
    eventually("the secret is refused", async || {
        let told = failure(&fleet, SISTER).await;
        told.advice == Advice::FixSetup && told.answer.is_some_and(|answer| answer.errcode == 40125)
    })
    .await;
    let secret = PlatformChange { secret: Some(PLATFORM_SECRET.into()), ..Default::default() };
    fleet.simulator.put_platform(change(secret)).expect("good");
    eventually("it mends by itself", async || login_to(&fleet, APP).await.as_str() == "succeeded").await;
}

#[tokio::test]
async fn a_dead_token_of_the_platform_is_replaced_on_the_way() {
    let fleet = with_ticket(Plan { call_timeout: Duration::from_secs(3), ..plan() }).await;
    succeeds(&fleet, APP).await;
    fleet.simulator.invalidate_tokens(Some(PLATFORM)).expect("it knows the platform");
    fleet.simulator.invalidate_tokens(Some(APP)).expect("it knows the app");
    succeeds(&fleet, APP).await;
    let (component, authorizer, list) = calls(&fleet);
    assert_eq!((component, authorizer, list), (2, 3, 1), "refused with the dead one, and then had with another");
}
