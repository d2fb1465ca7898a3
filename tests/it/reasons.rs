//! Every row of the contract's reasons, reached through the whole line on RabbitMQ and Redis.

use std::time::{Duration, Instant};

use quicklogin::clock;
use quicklogin::login::{Advice, LoginRequest, Outcome, Reason, WechatAnswer};
use quicklogin::simulator::{AppChange, Endpoint, Mint, Mood, Simulator, Step, Then, Watermark};
use quicklogin::worker::Limits;
use serde_json::{Value, json};

use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, SISTER, app_id, eventually, request};

const OTHER: &str = "wx1111111111111111";

fn real() -> Plan {
    let plan = Plan::on(Ground::RabbitAndRedis);
    Plan { limits: Limits { patience: Duration::from_millis(1200), ..plan.limits }, ..plan }
}

/// For what is to succeed, or to be told, before the patience ends.
fn patient() -> Plan {
    let plan = Plan::on(Ground::RabbitAndRedis);
    Plan { limits: Limits { patience: Duration::from_secs(10), ..plan.limits }, ..plan }
}

fn scripted(steps: impl IntoIterator<Item = Step>) -> Mint {
    Mint::of(APP).script(steps)
}

fn always(step: &Step) -> Mint {
    scripted(vec![step.clone(); 50])
}

/// Logs in with a code minted so, and says how it failed.
async fn fails(fleet: &Fleet, mint: &Mint) -> (Reason, Advice, Option<i64>, u32) {
    let tap = fleet.tap_with(mint);
    failed(fleet, request(&tap.code)).await
}

async fn failed(fleet: &Fleet, request: LoginRequest) -> (Reason, Advice, Option<i64>, u32) {
    fleet.publish(&request).await;
    let result = fleet.result(&request.request_id).await;
    let Outcome::Failed(failure) = result.outcome else { panic!("it fails: {result:?}") };
    (failure.reason, failure.advice, failure.answer.map(|answer| answer.errcode), result.attempts)
}

#[tokio::test]
async fn invalid_request_names_the_field_and_asks_nobody() {
    let fleet = real().start().await;
    let body = br#"{"request_id":"no-code","appid":"wx0123456789abcdef"}"#;
    let publisher = crate::support::amqp::Publisher::connect(fleet.vhost().url()).await;
    publisher.publish("quicklogin", "login", body, Default::default()).await.expect("it is connected");
    let json = fleet.result_json(&crate::support::fleet::id("no-code")).await;
    let mut result: Value = serde_json::from_slice(&json).expect("JSON");
    assert!(result["finished_at"].take().as_u64().is_some());
    let error = json!({"reason": "invalid_request", "advice": "fix_request", "detail": "code is missing"});
    let expected =
        json!({"request_id": "no-code", "status": "failed", "error": error, "attempts": 0, "finished_at": null});
    assert_eq!(result, expected);
    assert_eq!(fleet.asked_for_phones(), 0);
}

#[tokio::test]
async fn invalid_request_when_several_apps_are_configured_and_none_is_named() {
    let fleet = Plan { apps: vec![(APP, SECRET), (OTHER, SECRET)], ..real() }.start().await;
    let tap = fleet.tap();
    let named = LoginRequest { appid: Some(app_id(APP)), ..request(&tap.code) };
    let unnamed = LoginRequest { appid: None, ..request(&tap.code) };
    assert_eq!(failed(&fleet, unnamed).await, (Reason::InvalidRequest, Advice::FixRequest, None, 0));
    fleet.publish(&named).await;
    assert_eq!(fleet.result(&named.request_id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn unknown_app_when_no_such_app_is_configured() {
    let fleet = real().start().await;
    let tap = fleet.tap();
    let unknown = LoginRequest { appid: Some(app_id("wx9999999999999999")), ..request(&tap.code) };
    assert_eq!(failed(&fleet, unknown).await, (Reason::UnknownApp, Advice::FixRequest, None, 0));
    assert_eq!(fleet.asked_for_phones(), 0);
}

#[tokio::test]
async fn expired_when_time_was_up_before_anybody_asked() {
    let fleet = real().start().await;
    let tap = fleet.tap();
    let now = clock::now_ms();
    let old = LoginRequest { issued_at: Some(now - 241_000), ..request(&tap.code) };
    let too_late = LoginRequest { deadline: Some(now - 1), ..request(&tap.code) };
    for request in [old, too_late] {
        assert_eq!(failed(&fleet, request).await, (Reason::Expired, Advice::NewCode, None, 0));
    }
    assert_eq!(fleet.asked_for_phones(), 0);
}

#[tokio::test]
async fn a_tap_clocked_in_the_future_counts_as_now() {
    let fleet = real().start().await;
    let ahead = LoginRequest { issued_at: Some(clock::now_ms() + 3_600_000), ..request(&fleet.tap().code) };
    fleet.publish(&ahead).await;
    assert_eq!(fleet.result(&ahead.request_id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn an_amqp_timestamp_of_0_says_nothing() {
    let fleet = real().start().await;
    let publisher = crate::support::amqp::Publisher::connect(fleet.vhost().url()).await;
    let now = clock::now_ms();
    let rows = [(0, "succeeded"), (now / 1000, "succeeded"), (now, "succeeded"), (now / 1000 - 300, "expired")];
    for (n, (timestamp, expected)) in rows.into_iter().enumerate() {
        let body = json!({"request_id": format!("t-{n}"), "code": fleet.tap().code}).to_string();
        let properties = lapin::BasicProperties::default().with_timestamp(timestamp);
        publisher.publish("quicklogin", "login", body.as_bytes(), properties).await.expect("it is connected");
        let result = fleet.result(&crate::support::fleet::id(&format!("t-{n}"))).await;
        assert_eq!(result.outcome.as_str(), expected, "{timestamp}");
    }
}

#[tokio::test]
async fn invalid_code_when_every_attempt_was_answered() {
    let fleet = patient().start().await;
    let tap = fleet.tap();
    assert_eq!(fleet.login(&tap.code).await.outcome.as_str(), "succeeded");
    let told = (Reason::InvalidCode, Advice::NewCode, Some(40029));
    let used = failed(&fleet, request(&tap.code)).await;
    assert_eq!((used.0, used.1, used.2), told);
    let after_busy = fails(&fleet, &scripted([Step::errcode(-1), Step::errcode(40029)])).await;
    assert_eq!(after_busy, (told.0, told.1, told.2, 2));
}

#[tokio::test]
async fn in_doubt_after_an_answer_that_was_never_heard() {
    let fleet = patient().start().await;
    for lost in [Then::CutAfter, Then::CutInBody] {
        let told = fails(&fleet, &scripted([lost.into()])).await;
        assert_eq!(told, (Reason::InDoubt, Advice::NewCode, Some(40029), 2));
    }
    let silent = Plan { call_timeout: Duration::from_millis(1000), ..patient() }.start().await;
    let told = fails(&silent, &scripted([Then::HangAfter.into()])).await;
    assert_eq!(told, (Reason::InDoubt, Advice::NewCode, Some(40029), 2));
    let silent = Plan { call_timeout: Duration::from_millis(300), ..real() }.start().await;
    let for_ever = fails(&silent, &always(&Then::HangBefore.into())).await;
    assert_eq!((for_ever.0, for_ever.1, for_ever.2), (Reason::InDoubt, Advice::NewCode, None));
}

#[tokio::test]
async fn a_connection_cut_before_the_code_was_taken_costs_nothing() {
    let fleet = patient().start().await;
    let tap = fleet.tap_with(&scripted([Then::CutBefore.into(), Step::http(502, "bad gateway")]));
    let result = fleet.login(&tap.code).await;
    assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 3));
}

#[tokio::test]
async fn app_mismatch_by_errcode_or_watermark() {
    let fleet = real().start().await;
    let told = fails(&fleet, &Mint::of(SISTER)).await;
    assert_eq!(told, (Reason::AppMismatch, Advice::FixRequest, Some(40013), 1));
    let watermark = Watermark::Names(SISTER.into());
    let told = fails(&fleet, &Mint { watermark, ..Mint::of(APP) }).await;
    assert_eq!(told, (Reason::AppMismatch, Advice::FixRequest, None, 1));
}

#[tokio::test]
async fn not_allowed_for_whatever_forbids_the_call() {
    let fleet = real().start().await;
    for errcode in [48001, 61003, 61004, 61007, 40097, 40234, 50002, 48004] {
        let told = fails(&fleet, &scripted([Step::errcode(errcode)])).await;
        assert_eq!(told, (Reason::NotAllowed, Advice::FixSetup, Some(errcode), 1));
    }
}

#[tokio::test]
async fn throttled_to_the_end_of_the_patience() {
    let fleet = real().start().await;
    for errcode in [45009, 45011] {
        let told = fails(&fleet, &always(&Step::errcode(errcode))).await;
        assert_eq!((told.0, told.1, told.2), (Reason::Throttled, Advice::TryLater, Some(errcode)));
        assert!(told.3 <= 3, "a quota is not asked again and again: {}", told.3);
    }
}

#[tokio::test]
async fn unavailable_to_the_end_of_the_patience() {
    let fleet = real().start().await;
    let huge = Then::Http { status: 502, body: "x".repeat(80_000), consume: false };
    for (step, errcode) in [(Step::errcode(-1), Some(-1)), (Step::http(503, "no"), None), (huge.into(), None)] {
        let told = fails(&fleet, &always(&step)).await;
        assert_eq!((told.0, told.1, told.2), (Reason::Unavailable, Advice::TryLater, errcode));
        assert!(told.3 >= 2, "{}", told.3);
    }
}

fn gzipped(body: &str) -> Vec<u8> {
    let mut packed = vec![];
    let mut encoder = flate2::read::GzEncoder::new(body.as_bytes(), flate2::Compression::default());
    std::io::Read::read_to_end(&mut encoder, &mut packed).expect("it is in memory");
    packed
}

#[tokio::test]
async fn a_phone_number_in_an_odd_response_is_not_lost() {
    let fleet = real().start().await;
    let phone = |watermark: &str| {
        format!(r#"{{"errcode":0,"errmsg":"ok","phone_info":{{"phoneNumber":"13800138000","watermark":{watermark}}}}}"#)
    };
    let (good, other) = (phone(r#"{"timestamp":1}"#), phone(r#"{"timestamp":"1795862626","appid":"wxOTHER"}"#));
    let text = [b"\xef\xbb\xbf", good.as_bytes(), b"\0\0"].concat();
    let gbk = [b"{\"errmsg\":\"\xb3\x5c\",".as_slice(), &good.as_bytes()[1..]].concat();
    let gzip = [("content-encoding", "gzip")];
    let steps = [
        (Step::raw(&gzip, gzipped(&good)), "succeeded"),
        (Step::raw(&[], gzipped(&good)), "succeeded"),
        (Step::raw(&gzip, good.clone()), "succeeded"),
        (Step::raw(&[("content-type", "text/html")], text), "succeeded"),
        (Step::raw(&[], gbk), "succeeded"),
        (Step::raw(&gzip, gzipped(&other)), "app_mismatch"),
        (Step::raw(&[], good.replace("13800138000", &"1".repeat(20_000))), "bad_answer"),
        (Step::raw(&[], good.replace("13800138000", "none")), "bad_answer"),
    ];
    for (step, expected) in steps {
        let tap = fleet.tap_with(&scripted([step.clone().consuming()]));
        let result = fleet.login(&tap.code).await;
        assert_eq!((result.outcome.as_str(), result.attempts), (expected, 1), "{step:?}");
        match result.outcome {
            Outcome::Succeeded(phone) => assert_eq!(phone.phone_number, "13800138000"),
            Outcome::Failed(failure) => {
                let detail = failure.detail.expect("words");
                assert!(detail.contains("wxOTHER") || detail.contains("phoneNumber"), "{detail}");
                assert!(!detail.contains("11111") && !detail.contains("none"), "{detail}");
            }
        }
    }
    let tokens = Mood {
        endpoint: Endpoint::Token,
        appid: None,
        calls: Some(1),
        step: Step::raw(&gzip, gzipped("\u{feff}{\"access_token\":\"92_odd\",\"expires_in\":7200.0}")),
    };
    let fleet = real().start().await;
    fleet.simulator.set_mood(tokens).expect("a good mood");
    let result = fleet.login(&fleet.tap().code).await;
    assert_eq!(result.outcome.as_str(), "succeeded", "the simulator does not know this token, and gives another");
    assert_eq!(result.attempts, 2);
}

#[tokio::test]
async fn token_unavailable_says_whose_fault_it_is() {
    let changes = [
        (AppChange { secret: Some("another".into()), ..Default::default() }, 40125),
        (AppChange { frozen: Some(true), ..Default::default() }, 40243),
        (AppChange { ip_refused: Some(true), ..Default::default() }, 40164),
        (AppChange { punished: Some(true), ..Default::default() }, 50004),
    ];
    for (change, errcode) in changes {
        let fleet = real().start().await;
        fleet.simulator.put_app(AppChange { appid: APP.into(), ..change }).expect("a good change");
        let told = fails(&fleet, &Mint::of(APP)).await;
        assert_eq!(told, (Reason::TokenUnavailable, Advice::FixSetup, Some(errcode), 0));
    }
}

#[tokio::test]
async fn token_unavailable_for_a_while_when_wechat_is_away() {
    let fleet = Plan { wechat_unreachable: true, ..real() }.start().await;
    let told = failed(&fleet, request(&fleet.tap().code)).await;
    assert_eq!(told, (Reason::TokenUnavailable, Advice::TryLater, None, 0));
    let fleet = real().start().await;
    busy_tokens(&fleet.simulator);
    let told = failed(&fleet, request(&fleet.tap().code)).await;
    assert_eq!(told, (Reason::TokenUnavailable, Advice::TryLater, Some(-1), 0));
}

fn busy_tokens(simulator: &Simulator) {
    let mood = Mood { endpoint: Endpoint::Token, appid: None, calls: None, step: Step::errcode(-1) };
    simulator.set_mood(mood).expect("a good mood");
}

#[tokio::test]
async fn bad_answer_for_what_cannot_be_read() {
    let fleet = real().start().await;
    let answers = [
        Step::http(200, "<html>"),
        Step::http(200, ""),
        Step::http(200, r#"{"errcode":0,"errmsg":"ok"}"#),
        Step::http(200, r#"{"errcode":0,"phone_info":{"phoneNumber":""}}"#),
        Step::http(404, "not here"),
        Step::http(302, ""),
        Step::huge(80_000),
    ];
    for step in answers {
        let told = fails(&fleet, &scripted([step.consuming()])).await;
        assert_eq!(told, (Reason::BadAnswer, Advice::NewCode, None, 1));
    }
}

#[tokio::test]
async fn refused_for_any_other_errcode_which_is_passed_on() {
    let fleet = real().start().await;
    for errcode in [47001, 41001, 123_456_789_012] {
        let told = fails(&fleet, &scripted([Step::errcode(errcode)])).await;
        assert_eq!(told, (Reason::Refused, Advice::NewCode, Some(errcode), 1));
    }
    let text = Step::http(200, r#"{"errcode":"47001","errmsg":"data format error rid: 65f3e9f7-77cf1a1c-0dd74a0e"}"#);
    let result = fleet.login(&fleet.tap_with(&scripted([text])).code).await;
    let Outcome::Failed(failure) = result.outcome else { panic!("it fails") };
    let said = WechatAnswer {
        errcode: 47001,
        errmsg: "data format error rid: 65f3e9f7-77cf1a1c-0dd74a0e".into(),
        rid: Some("65f3e9f7-77cf1a1c-0dd74a0e".into()),
    };
    assert_eq!((failure.reason, failure.answer), (Reason::Refused, Some(said)));
}

#[tokio::test]
async fn an_openid_is_sent_on_and_wechat_checks_it() {
    let fleet = real().start().await;
    let with = async |openid: &str| {
        let tap = fleet.tap_with(&Mint { openid: Some("oRight".into()), ..Mint::of(APP) });
        let openid = quicklogin::login::OpenId::try_from(openid).ok();
        let request = LoginRequest { openid, ..request(&tap.code) };
        fleet.publish(&request).await;
        fleet.result(&request.request_id).await.outcome.as_str()
    };
    assert_eq!((with("oRight").await, with("oWrong").await), ("succeeded", "refused"));
}

#[tokio::test]
async fn a_result_in_redis_is_as_the_contract_says_and_every_key_ends() {
    let fleet = real().start().await;
    let tap = fleet.tap();
    let request = request(&tap.code);
    fleet.publish(&request).await;
    fleet.result(&request.request_id).await;
    let key = format!("quicklogin:result:{{{}}}", request.request_id);
    let stored = fleet.redis().get(&key).expect("under the contract's key");
    let mut result: Value = serde_json::from_str(&stored).expect("JSON");
    assert!(result["finished_at"].take().as_u64().is_some_and(|at| clock::now_ms() - at < 60_000));
    let mut watermark = result["phone_info"]["watermark"].take();
    assert!(watermark["timestamp"].take().as_u64().is_some_and(|at| at < 10_000_000_000), "in seconds");
    assert_eq!(watermark, json!({"timestamp": null, "appid": APP}));
    let phone = json!({
        "phoneNumber": tap.phone_number, "purePhoneNumber": tap.phone_number, "countryCode": "86", "watermark": null,
    });
    let expected = json!({
        "request_id": request.request_id.as_str(), "status": "succeeded", "appid": APP,
        "phone_info": phone, "attempts": 1, "finished_at": null,
    });
    assert_eq!(result, expected);
    let keys = fleet.redis().keys("quicklogin:*:*");
    assert_eq!(keys, [key.clone(), format!("quicklogin:token:{{{APP}}}")], "claim and refresh keys are gone");
    assert!(fleet.redis().ttl_ms("quicklogin:ready").is_none_or(|ttl| ttl <= 10_000), "every key ends");
    let ttl_ms = |key: &str| fleet.redis().ttl_ms(key).expect("every key ends");
    assert!((590_000..=600_000).contains(&ttl_ms(&key)));
    assert!(ttl_ms(&keys[1]) <= 7_200_000);
    let token: Value = serde_json::from_str(&fleet.redis().get(&keys[1]).expect("a token")).expect("JSON");
    assert!(token["access_token"].is_string() && token["expires_at"].is_u64() && token["fetched_at"].is_u64());
}

#[tokio::test]
async fn the_claim_of_a_login_that_is_being_asked_has_an_end() {
    let fleet = real().start().await;
    let request = request(&fleet.tap_with(&scripted([Step::normal().late_ms(800)])).code);
    fleet.publish(&request).await;
    let key = format!("quicklogin:claim:{{{}}}", request.request_id);
    eventually("it is claimed", async || fleet.redis().ttl_ms(&key).is_some_and(|ttl| ttl <= 300_000)).await;
    fleet.result(&request.request_id).await;
    assert_eq!(fleet.redis().get(&key), None);
}

#[tokio::test]
async fn while_wechat_hangs_one_login_asks_for_all_and_the_codes_of_the_others_stay_unspent() {
    let plan = Plan::on(Ground::RabbitAndRedis);
    let limits = Limits { patience: Duration::from_secs(12), ..plan.limits };
    let fleet = Plan { slots: 100, call_timeout: Duration::from_millis(500), limits, ..plan }.start().await;
    let hang = Mood { endpoint: Endpoint::Phone, appid: None, calls: None, step: Then::HangAfter.into() };
    fleet.simulator.set_mood(hang).expect("a good mood");
    // These find out; what becomes of them is not known.
    let first: Vec<_> = (0..30).map(|_| request(&fleet.tap().code)).collect();
    for request in &first {
        fleet.publish(request).await;
    }
    eventually("WeChat is away", async || fleet.meters.render().contains("quicklogin_wechat_away 1\n")).await;
    let asked = fleet.asked_for_phones();
    let later: Vec<_> = (0..50).map(|_| request(&fleet.tap().code)).collect();
    let began = Instant::now();
    for request in &later {
        fleet.publish(request).await;
    }
    eventually("several have probed", async || fleet.asked_for_phones() >= asked + 4).await;
    fleet.simulator.clear_moods();
    let (probes, took) = (fleet.asked_for_phones() - asked, began.elapsed());
    let one_at_a_time = took.as_millis() as u64 / 500 + 2;
    assert!(probes <= one_at_a_time, "each half a second and a pause: {probes} in {took:?}");
    let mut succeeded = 0;
    for request in &later {
        let outcome = fleet.result(&request.request_id).await.outcome;
        succeeded += u64::from(outcome.as_str() == "succeeded");
    }
    assert!(succeeded >= 50 - probes, "only those that asked meanwhile may have lost their code: {succeeded}");
}
