//! Tokens that another system owns: used as they are, read again when WeChat refuses them, never written.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use quicklogin::login::{Advice, AppId, Failure, Outcome, Reason};
use quicklogin::simulator::Mint;
use quicklogin::store::KeyKind;
use quicklogin::token::{External, ExternalKey, KeptSecret, KeyName, Preset, Source, ValueFormat};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, app_id, eventually, request};
use crate::support::program::{Servers, Site, app, post};

/// One app for each way in which a token can be kept.
const APPS: [(&str, &str); 12] = [
    ("wx-wxjava", SECRET),
    ("wx-redisson", SECRET),
    ("wx-hash", SECRET),
    ("wx-silenceper", SECRET),
    ("wx-silenceper-stable", SECRET),
    ("wx-powerwechat", SECRET),
    ("wx-wechatpy", SECRET),
    ("wx-easywechat", SECRET),
    ("wx-easywechat-stable", SECRET),
    ("wx-easywechat5", SECRET),
    ("wx-json", SECRET),
    ("wx-field", SECRET),
];

fn external(appid: &AppId, secret: KeptSecret) -> Source {
    let own =
        |name: &str, kind, format| Ok(ExternalKey { redis: None, name: KeyName::Template(name.into()), kind, format });
    let preset = |preset: Preset| {
        let prefix = (preset == Preset::EasywechatStable).then_some("shop:");
        preset.key(prefix, Some(secret), None)
    };
    let key = match appid.as_str() {
        "wx-redisson" => preset(Preset::WxjavaRedisson),
        "wx-hash" => preset(Preset::WxjavaHash),
        "wx-silenceper" => preset(Preset::Silenceper),
        "wx-silenceper-stable" => preset(Preset::SilenceperStable),
        "wx-powerwechat" => preset(Preset::Powerwechat),
        "wx-wechatpy" => preset(Preset::Wechatpy),
        "wx-easywechat" => preset(Preset::Easywechat),
        "wx-easywechat-stable" => preset(Preset::EasywechatStable),
        "wx-easywechat5" => preset(Preset::Easywechat5),
        "wx-json" => own("tokens:{{appid}}", KeyKind::Text, ValueFormat::Json),
        "wx-field" => own("all-tokens", KeyKind::Hash { field: "{appid}".into(), ends: None }, ValueFormat::Plain),
        _ => preset(Preset::Wxjava),
    };
    Source::External(External::Key(key.expect("a good preset")))
}

fn on_external_tokens() -> Plan {
    Plan { source: external, ..Plan::on(Ground::RabbitAndRedis) }
}

/// Writes the app's token where its owner keeps it, as its owner does. Answers the key.
fn owner_writes(fleet: &Fleet, appid: &str) -> String {
    let token = fleet.simulator.token_of(appid).expect("the simulator knows the app");
    let quoted = format!("\"{token}\"");
    let object = json!({"access_token": token, "expires_in": 7200}).to_string();
    let php = format!("s:{}:\"{token}\";", token.len());
    let (key, value) = match appid {
        "wx-easywechat" => ("mini_app.access_token.wx-easywechat.SECRET.0", php),
        "wx-easywechat-stable" => ("shop:mini_app.access_token.wx-easywechat-stable.SECRET.1", php),
        // printf '{"grant_type":"client_credential","appid":"wx-easywechat5","secret":"0123456789abcdef0123456789abcdef"}' | md5sum
        "wx-easywechat5" => (
            "easywechat.kernel.access_token.EASY5",
            format!("a:2:{{s:12:\"access_token\";{php}s:10:\"expires_in\";i:7200;}}"),
        ),
        "wx-redisson" => ("wa:wechat_ma_access_token_key:wx-redisson", format!("\u{3}{token}")),
        "wx-silenceper" => ("gowechat_miniprogram__access_token_wx-silenceper", token),
        "wx-silenceper-stable" => ("gowechat_miniprogram__stable_access_token_wx-silenceper-stable", quoted),
        // printf 'wx-powerwechat0123456789abcdef0123456789abcdef' | md5sum
        "wx-powerwechat" => ("powerwechat.access_token.POWER", object),
        "wx-wechatpy" => ("wechatpy:wx-wechatpy_access_token", quoted),
        "wx-json" => ("tokens:{wx-json}", object),
        "wx-hash" | "wx-field" => return owner_writes_into_hash(fleet, appid, &token),
        _ => ("wa:access_token:APP", token),
    };
    let key = key.replace("SECRET", SECRET).replace("EASY5", "9be3425e0e59e7b2cec78790c6cbd0be");
    let key = key.replace("APP", appid).replace("POWER", "ca68d47988386a9ebf0b56530a41b053");
    fleet.redis().cli(&["SET", &key, &value, "PX", "7000000"]);
    key
}

fn owner_writes_into_hash(fleet: &Fleet, appid: &str, token: &str) -> String {
    let ends = (quicklogin::clock::now_ms() + 7_000_000).to_string();
    let (key, fields) = match appid {
        "wx-hash" => ("maConfig:accessToken", vec!["value", token, "expire", &ends]),
        _ => ("all-tokens", vec!["{appid}", token]),
    };
    fleet.redis().cli(&[&["HSET", key], fields.as_slice()].concat());
    key.to_owned()
}

async fn login_to(fleet: &Fleet, appid: &str) -> Outcome {
    let tap = fleet.tap_with(&Mint::of(appid));
    let request = quicklogin::login::LoginRequest { appid: Some(app_id(appid)), ..request(&tap.code) };
    fleet.publish(&request).await;
    fleet.result(&request.request_id).await.outcome
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        Outcome::Succeeded(_) => panic!("it has a phone number"),
    }
}

/// Every key that is not ours, with all that is in it and its life to the nearest minute.
fn keys_of_others(fleet: &Fleet) -> Vec<String> {
    let redis = fleet.redis();
    let keys = redis.keys("*").into_iter().filter(|key| !key.starts_with("quicklogin:"));
    keys.map(|key| {
        let minutes = redis.ttl_ms(&key).map(|ttl_ms| ttl_ms / 60_000);
        format!("{key} {} {minutes:?}", redis.cli(&["--no-raw", "DUMP", &key]))
    })
    .collect()
}

#[tokio::test]
async fn tokens_in_the_keys_of_other_systems_are_used_as_they_are_and_never_written() {
    let fleet = Plan { apps: APPS.to_vec(), ..on_external_tokens() }.start().await;
    for (appid, _) in APPS {
        owner_writes(&fleet, appid);
    }
    let before = keys_of_others(&fleet);
    assert_eq!(before.len(), APPS.len());
    for (appid, _) in APPS {
        assert_eq!(login_to(&fleet, appid).await.as_str(), "succeeded", "{appid}");
    }
    assert_eq!(keys_of_others(&fleet), before);
    let asked = fleet.simulator.asked_without_codes();
    assert_eq!((asked.stable_token.calls, asked.classic_token.calls), (0, 0));
    assert_eq!(fleet.redis().keys("quicklogin:token:*"), Vec::<String>::new(), "nor are they shared as ours");
}

#[tokio::test]
async fn a_token_that_wechat_refuses_is_read_again_until_its_owner_has_replaced_it() {
    let fleet = Plan { workers: 2, ..on_external_tokens() }.start().await;
    owner_writes(&fleet, APP);
    assert_eq!(login_to(&fleet, APP).await.as_str(), "succeeded");
    fleet.simulator.invalidate_tokens(None).expect("it knows its apps");
    let taps = fleet.simulator.mint_many(&Mint::of(APP), 20).expect("it knows the app");
    let requests: Vec<_> = taps.iter().map(|tap| request(&tap.code)).collect();
    for request in &requests {
        fleet.publish(request).await;
    }
    eventually("the token is refused", async || {
        fleet.simulator.asked_without_codes().phone.by_errcode.contains_key(&40001)
    })
    .await;
    let looks = fleet.redis().calls_of("get");
    eventually("they look for another again and again", async || fleet.redis().calls_of("get") > looks + 4).await;
    owner_writes(&fleet, APP);
    for request in &requests {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
    }
    assert_eq!(fleet.simulator.asked_without_codes().stable_token.calls, 0);
}

#[tokio::test]
async fn a_refused_token_that_its_owner_does_not_replace_is_told_and_mends_by_itself() {
    let plan = on_external_tokens();
    let limits = quicklogin::worker::Limits { patience: Duration::from_secs(30), ..plan.limits };
    let fleet = Plan { limits, ..plan }.start().await;
    let key = owner_writes(&fleet, APP);
    assert_eq!(login_to(&fleet, APP).await.as_str(), "succeeded");
    fleet.simulator.invalidate_tokens(None).expect("it knows its apps");
    let began = Instant::now();
    let told = failure(login_to(&fleet, APP).await);
    assert!(began.elapsed() < Duration::from_secs(25), "before its patience ends: {:?}", began.elapsed());
    assert_eq!((told.reason, told.advice), (Reason::TokenUnavailable, Advice::FixSetup));
    assert_eq!(told.answer.expect("WeChat's refusal").errcode, 40001);
    let detail = told.detail.expect("words");
    assert!(detail.contains(&key) && detail.contains("has not replaced it"), "{detail}");
    owner_writes(&fleet, APP);
    eventually("it mends by itself", async || login_to(&fleet, APP).await.as_str() == "succeeded").await;
}

#[tokio::test]
async fn an_owner_that_shows_no_token_is_told_of_and_one_that_does_again_is_believed() {
    let fleet = on_external_tokens().start().await;
    let told = failure(login_to(&fleet, APP).await);
    assert_eq!((told.reason, told.advice, told.answer), (Reason::TokenUnavailable, Advice::FixSetup, None));
    assert_eq!(told.detail.as_deref(), Some("the Redis key wa:access_token:wx0123456789abcdef holds no token"));
    fleet.redis().cli(&["SET", "wa:access_token:wx0123456789abcdef", "{not a token}"]);
    eventually("it says what is wrong", async || {
        let detail = failure(login_to(&fleet, APP).await).detail.expect("words");
        assert!(!detail.contains("not a token"), "{detail}");
        detail.ends_with("holds no text that could be a token")
    })
    .await;
    fleet.redis().cli(&["DEL", "wa:access_token:wx0123456789abcdef"]);
    fleet.redis().cli(&["LPUSH", "wa:access_token:wx0123456789abcdef", "a list"]);
    eventually("a key of another kind is no store that is away", async || {
        failure(login_to(&fleet, APP).await).detail.expect("words").contains("cannot be read")
    })
    .await;
    fleet.redis().cli(&["DEL", "wa:access_token:wx0123456789abcdef"]);
    owner_writes(&fleet, APP);
    eventually("it is believed", async || login_to(&fleet, APP).await.as_str() == "succeeded").await;
}

#[tokio::test]
async fn a_key_that_has_gone_does_not_end_the_token_in_memory() {
    let fleet = on_external_tokens().start().await;
    let key = owner_writes(&fleet, APP);
    assert_eq!(login_to(&fleet, APP).await.as_str(), "succeeded");
    fleet.redis().cli(&["DEL", &key]);
    let until = Instant::now() + Duration::from_secs(14);
    while Instant::now() < until {
        assert_eq!(login_to(&fleet, APP).await.as_str(), "succeeded", "also when it was to be read again");
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn a_key_that_makes_no_sense_costs_the_fleet_no_connection() {
    let fleet = Plan { apps: vec![("wx-hash", SECRET)], ..on_external_tokens() }.start().await;
    let connections = || {
        let stats = fleet.redis().cli(&["INFO", "stats"]);
        let count = stats.lines().find_map(|line| line.trim().strip_prefix("total_connections_received:"));
        count.expect("Redis counts them").parse::<u64>().expect("a number")
    };
    fleet.redis().cli(&["HSET", "maConfig:accessToken", "value", "92_token", "expire", "soon"]);
    let before = connections();
    let told = failure(login_to(&fleet, "wx-hash").await);
    let made = connections() - before;
    assert!(made <= 3, "a look at the number makes one, and a worker that has just started another: {made}");
    assert_eq!(told.advice, Advice::FixSetup);
    assert!(told.detail.expect("words").ends_with("says no time in expire"));
}

#[tokio::test]
async fn an_owner_that_is_away_for_a_while_costs_no_login() {
    let plan = Plan { durable_store: true, ..on_external_tokens() };
    let limits = quicklogin::worker::Limits { patience: Duration::from_secs(15), ..plan.limits };
    let fleet = Plan { limits, ..plan }.start().await;
    let request = request(&fleet.tap().code);
    fleet.publish(&request).await;
    eventually("it is claimed", async || !fleet.redis().keys("quicklogin:claim:*").is_empty()).await;
    // The owner shows nothing yet, and is given three seconds; in the midst of them its Redis goes away.
    fleet.redis().kill();
    sleep(Duration::from_millis(4500)).await;
    fleet.redis().restart();
    eventually("Redis is back", async || fleet.store.check_writable().await.is_ok()).await;
    owner_writes(&fleet, APP);
    assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
}

// The server must answer while a command runs to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_server_is_asked_with_its_key_and_again_when_its_token_is_refused() {
    let servers = Servers::start();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}/tokens/{{appid}}", listener.local_addr().expect("it listens"));
    let token: Arc<Mutex<Option<String>>> = Arc::default();
    let shown = Arc::clone(&token);
    let answer = async move |headers: HeaderMap| {
        let key = headers.get("authorization").and_then(|value| value.to_str().ok());
        match shown.lock().expect("nobody panics").clone() {
            Some(token) if key == Some("Bearer a-key") => {
                Ok(json!({"access_token": token, "expires_in": 7200}).to_string())
            }
            _ => Err(StatusCode::FORBIDDEN),
        }
    };
    let routes = Router::new().route(&format!("/tokens/{APP}"), get(answer));
    let stop = CancellationToken::new();
    tokio::spawn(quicklogin::http::serve(listener, routes, 100, stop.clone()));
    let external = format!(
        "[[apps]]\nappid = \"{APP}\"\ntoken = \"external\"\nexternal.url = \"{url}\"\nexternal.bearer_file = \"key\"\n"
    );
    let site = Site::with(&servers.settings(&format!("login.patience_s = 4\n{external}")));
    std::fs::write(site.path().join("key"), "a-key\n").expect("the folder is ours to write");
    let wechat = Site::with(&servers.settings(&app(APP, SECRET)));
    let _simulator = wechat.simulator();
    let _worker = site.worker();
    let sim = servers.simulator_url();
    let login = async || {
        let minted = post(&format!("{sim}/sim/codes"), &json!({})).await;
        site.run(&["login", minted["code"].as_str().expect("a code")])
    };
    let mint = async || {
        let body = json!({"grant_type": "client_credential", "appid": APP, "secret": SECRET});
        let granted = post(&format!("{sim}/cgi-bin/stable_token"), &body).await;
        *token.lock().expect("nobody panics") = Some(granted["access_token"].as_str().expect("a token").to_owned());
    };
    let told = login().await;
    assert!(told.stderr.contains("the token server 127.0.0.1:") && told.stderr.contains("HTTP 403"), "{}", told.stderr);
    mint().await;
    eventually("its token is used", async || login().await.code == Some(0)).await;
    post(&format!("{sim}/sim/tokens/invalidate"), &json!({})).await;
    mint().await;
    assert_eq!(login().await.code, Some(0), "asked again at once");
    stop.cancel();
}
