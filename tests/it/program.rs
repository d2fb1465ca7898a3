//! The program as an operator runs it: commands, what they print, how they end.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::fleet::{APP, SECRET, eventually, request};
use crate::support::process::free_port;
use crate::support::program::{LISTENING, Servers, Site, app, get, post};
use crate::support::rabbit::Broker;

const SOON: Duration = Duration::from_secs(60);
/// A [[platforms]] of this appid, and what else is to stand in it.
fn platform(appid: &str, more: &str) -> String {
    format!("[[platforms]]\nappid = \"{appid}\"\n{more}\n")
}

/// How often the simulator was asked at this endpoint.
async fn asked(servers: &Servers, endpoint: &str) -> u64 {
    let record = get(&format!("{}/sim/asked?codes=false", servers.simulator_url())).await;
    record[endpoint]["calls"].as_u64().expect("a count")
}

#[test]
fn the_demo_shows_every_kind_of_login_and_ends() {
    let site = Site::with("");
    let ended = site.run(&["demo"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let rows = ended.stdout.lines().filter(|line| line.starts_with("  ok ") || line.starts_with("  -- ")).count();
    assert_eq!((rows, ended.stderr.as_str()), (17, ""));
    assert!(ended.stdout.contains("17 logins: 9 phone numbers, 8 told why not"), "{}", ended.stdout);
}

#[test]
fn the_demo_runs_on_rabbitmq_and_redis_and_leaves_no_queue_behind() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(""));
    let ended = site.run(&["demo", "--json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let rows: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 18);
    assert!(rows[..17].iter().all(|row| row["as_expected"] == true));
    assert_eq!((&rows[17]["succeeded"], &rows[17]["not_as_expected"]), (&json!(9), &json!(0)));
    assert!(Broker::shared().queue_depths(&servers.vhost).is_empty());
}

fn app_with(more: &str) -> String {
    format!("[[apps]]\nappid = \"wx1\"\n{more}\n")
}

#[test]
fn mistakes_in_the_settings_end_with_2_and_a_hint() {
    let half = "rabbitmq.url = \"amqp://127.0.0.1\"";
    let rows: Vec<(&str, &[&str], &str)> = vec![
        ("worker.slots = 0", &["config", "check"], "worker.slots is 0"),
        ("worker.slos = 1", &["config", "check"], "slos"),
        ("worker.slots = \"many\"", &["config", "check"], "worker.slots"),
        ("colour = 1", &["config", "check"], "colour"),
        ("not toml", &["config", "check"], "is not TOML"),
        (half, &["config", "check"], "redis.url is not"),
        ("redis.url = \"redis://127.0.0.1\"", &["serve"], "rabbitmq.url is not"),
        ("gateway.listen = \"0.0.0.0:0\"", &["serve"], "gateway.keys is empty"),
        ("result.encryption = true", &["config", "check"], "result.key is missing"),
        (
            "result.outbox_key = \"c2hvcnQ=\"",
            &["config", "check"],
            "result.outbox_key: an outbox key is at least 32 bytes",
        ),
        ("result.outbox_key_file = \"nowhere\"", &["config", "check"], "result.outbox_key cannot be read from nowhere"),
        (
            "[[apps]]\nappid = \"wx1\"\n[[apps]]\nappid = \"wx2\"\nsecret = \"s\"",
            &["config", "check"],
            "the secret of app wx1 is missing",
        ),
        ("[[apps]]\nappid = \"wx1\"\nsecret_file = \"nowhere\"", &["config", "check"], "nowhere"),
        ("wechat.hosts = [\"sh\", \"tokyo\"]", &["config", "check"], "wechat.hosts, entry 2, is no host of WeChat's"),
        ("wechat.hosts = [\"http://127.0.0.1\"]", &["config", "check"], "is http, and wechat.base_url is https"),
        ("login.code_life_s = 301", &["config", "check"], "more than 300"),
        ("wechat.pool_idle_s = 0", &["config", "check"], "wechat.pool_idle_s is 0"),
        ("wechat.pool_idle_s = 10", &["config", "check"], "wechat.pool_idle_s is more than 9"),
        ("result.ttl_s = 600000000", &["config", "check"], "result.ttl_s is more than 2592000"),
        ("wechat.timeout_ms = 5000000", &["config", "check"], "wechat.timeout_ms is more than 60000"),
        ("[worker", &["config", "check"], "expected `]`"),
        ("log.filter = \"quicklogin=loud\"", &["serve"], "log.filter"),
        ("", &["worker"], "needs a fleet"),
        ("", &["gateway"], "needs a fleet"),
        ("", &["login", "a b"], "CODE must be"),
        ("", &["login"], "CODE must be"),
        ("", &["login", "-"], "CODE must be"),
        ("", &["login", "e31968a7"], "no app is configured"),
        (
            "rabbitmq.url = \"amqp://127.0.0.1:1\"\nredis.url = \"redis://127.0.0.1:1\"",
            &["worker"],
            "no app is configured",
        ),
        (
            "rabbitmq.url = \"amqp://127.0.0.1:1\"\nredis.url = \"redis://127.0.0.1:1\"",
            &["serve"],
            "no app is configured",
        ),
        (
            "rabbitmq.url = \"http://127.0.0.1\"\nredis.url = \"redis://127.0.0.1\"\n[[apps]]\nappid = \"wx1\"\nsecret = \"s\"",
            &["worker"],
            "rabbitmq.url is not amqp",
        ),
        (
            "rabbitmq.url = \"amqp://127.0.0.1\"\nredis.url = \"redis+sentinel://127.0.0.1\"\n[[apps]]\nappid = \"wx1\"\nsecret = \"s\"",
            &["worker"],
            "redis.url does not say what the sentinels call the master",
        ),
    ];
    for (settings, arguments, expected) in rows {
        let ended = Site::with(settings).run(arguments);
        assert_eq!(ended.code, Some(2), "{settings}: {}", ended.stderr);
        let said = &ended.stderr;
        assert!(said.contains("error: ") && said.contains("\nhint: ") && said.contains(expected), "{settings}: {said}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn mistakes_in_a_platform_end_with_2_and_a_hint_and_repeat_no_value() {
    let (token, key) = ("message_token = \"canary-token\"", format!("message_key = \"{}\"", "canary7".repeat(6)));
    let both = |key: &str| platform("wx1", &format!("{token}\nmessage_key = \"{key}\""));
    let rows = [
        (platform("wx1", token), "platform wx1 has a message_token and no message_key"),
        (platform("wx1", "message_key_file = \"x\""), "platform wx1 has a message_key and no message_token"),
        (platform("wx1", "").repeat(2), "platform wx1 is configured twice"),
        (
            platform("wx1", "") + "[[apps]]\nappid = \"wx1\"\nsecret = \"s\"",
            "wx1 is configured as an app and as a platform",
        ),
        (platform("wx1", &format!("{token}\n{key}")), "the message_key of platform wx1 is not 43 characters"),
        (both(&"canary-".repeat(7)[..43]), "the message_key of platform wx1 is not 43 characters"),
        (platform("wx1", &format!("{token}\n{token}_2")), "is not TOML"),
        (
            platform("wx1", "message_token = \"canary-token\"\nmessage_token_file = \"x\"\nmessage_key_file = \"x\""),
            "is given twice",
        ),
        (
            platform("wx1", "message_token = \"\"\nmessage_key_file = \"x\""),
            "the message_token of platform wx1 is missing",
        ),
        (platform("wx1", "message_token_file = \"nowhere\"\nmessage_key_file = \"nowhere\""), "nowhere"),
        (platform("wx1", "message_tokens = \"canary\""), "message_tokens"),
    ];
    for (settings, expected) in rows {
        let ended = Site::with(&settings).run(&["config", "check"]);
        let said = &ended.stderr;
        assert_eq!(ended.code, Some(2), "{settings}: {said}");
        assert!(said.contains("error: ") && said.contains("\nhint: ") && said.contains(expected), "{settings}: {said}");
        assert!(!said.contains("canary"), "{settings}: {said}");
    }
}

#[test]
fn a_platforms_message_keys_are_a_gateways_affair_and_may_stand_in_files() {
    let fleet = format!(
        "rabbitmq.url = \"amqp://127.0.0.1:1\"\nredis.url = \"redis://127.0.0.1:1\"\nops.listen = \"127.0.0.1:0\"\n\
         gateway.listen = \"127.0.0.1:0\"\n{}",
        app(APP, SECRET)
    );
    let files = "message_token_file = \"token\"\nmessage_key_file = \"key\"";
    let site = Site::with(&format!("{fleet}{}{}", platform("wx1", files), platform("wx2", "secret = \"s\"")));
    let gateway = site.run(&["gateway"]);
    assert_eq!((gateway.code, gateway.stderr.contains("the message_token of platform wx1")), (Some(2), true));
    let mut worker = site.start(&["worker"], "no Redis; connecting again");
    worker.terminate();
    // It started: neither RabbitMQ nor Redis is there.
    assert_eq!(worker.end_within(SOON).and_then(|status| status.code()), Some(3), "{}", worker.said());
    std::fs::write(site.path().join("token"), "canaryToken\n").expect("the folder is ours to write");
    std::fs::write(site.path().join("key"), "k".repeat(42)).expect("the folder is ours to write");
    let short = site.run(&["config", "check"]);
    assert_eq!((short.code, short.stderr.contains("is not 43 characters")), (Some(2), true), "{}", short.stderr);
    std::fs::write(site.path().join("key"), "k".repeat(43) + "\n").expect("the folder is ours to write");
    let good = site.run(&["config", "check"]);
    assert_eq!(good.code, Some(0), "{}", good.stderr);
}

#[test]
fn mistakes_about_where_a_token_comes_from_end_with_2_and_a_hint() {
    let rows = [
        ("token = \"external\"", "does not say where it is"),
        ("token = \"external\"\nexternal.preset = \"wxjava\"", "neither redis.url"),
        ("token = \"external\"\nexternal.preset = \"other\"", "preset"),
        ("token = \"external\"\nexternal = {key = \"k\", url = \"u\"}", "more than one"),
        ("token = \"external\"\nexternal.url = \"tokens\"", "is not a URL"),
        ("token = \"external\"\nexternal.preset = \"powerwechat\"\nexternal.redis_url = \"redis://x\"", "needs secret"),
        ("secret = \"s\"\nexternal.key = \"k\"", "only for token = \"external\""),
        ("token = \"authorizer\"\nsecret = \"s\"", "the platform of app wx1"),
        ("token = \"classic\"\nsecret = \"s\"\nforce_refresh = true", "force_refresh"),
    ];
    for (settings, expected) in rows {
        let ended = Site::with(&app_with(settings)).run(&["config", "check"]);
        let said = &ended.stderr;
        assert_eq!(ended.code, Some(2), "{settings}: {said}");
        assert!(said.contains("error: ") && said.contains("\nhint: ") && said.contains(expected), "{settings}: {said}");
    }
}

#[test]
fn settings_without_secrets_are_a_gateways_unless_no_app_wants_one() {
    let rows = [
        (app_with(""), ", without secrets: for a gateway only"),
        (app_with("token = \"authorizer\""), ", without secrets: for a gateway only"),
        (app_with("secret = \"s\""), "1 app\n"),
        (app_with("token = \"external\"\nexternal.url = \"https://tokens.example/{appid}\""), "1 app\n"),
        (format!("{}[[platforms]]\nappid = \"wx2\"\nsecret = \"s\"", app_with("token = \"authorizer\"")), "1 app\n"),
    ];
    for (settings, expected) in rows {
        let ended = Site::with(&settings).run(&["config", "check"]);
        assert_eq!((ended.code, ended.stdout.contains(expected)), (Some(0), true), "{settings}{}", ended.stdout);
    }
}

#[test]
fn an_errcode_is_explained_in_english_and_chinese() {
    let site = Site::with("worker.slots = 0");
    let told = site.run(&["explain", "40029"]);
    assert_eq!(told.code, Some(0), "also where the settings are broken: {}", told.stderr);
    assert!(told.stdout.contains("invalid_code") && told.stdout.contains("重新点击"), "{}", told.stdout);
    let json: Value = serde_json::from_str(&site.run(&["explain", "-1", "--json"]).stdout).expect("JSON");
    let told_as = json["told_as"].as_str().expect("text");
    assert!(told_as.starts_with("unavailable, at the end of the patience"), "{told_as}");
    let platform = site.run(&["explain", "61005"]).stdout;
    assert!(platform.contains("a login is told: token_unavailable") && platform.contains("已过期"), "{platform}");
    let unknown = site.run(&["explain", "123456"]);
    assert_eq!((unknown.code, unknown.stderr.contains("is told refused")), (Some(1), true), "{}", unknown.stderr);
}

#[test]
fn the_environment_overrides_the_file() {
    let site = Site::with("worker.slots = 0");
    let ended = site.run_with(&["config", "check"], &[("QUICKLOGIN__WORKER__SLOTS", "8")]);
    assert_eq!((ended.code, ended.stdout.contains("0 apps")), (Some(0), true), "{}", ended.stderr);
    let apps = format!("[{{appid = \"{APP}\", secret = \"{SECRET}\"}}]");
    let ended = Site::with("").run_with(&["config", "check"], &[("QUICKLOGIN__APPS", &apps)]);
    assert_eq!((ended.code, ended.stdout.contains("1 app")), (Some(0), true), "{}", ended.stderr);
    let check_platforms =
        |list: &str| Site::with("").run_with(&["config", "check"], &[("QUICKLOGIN__PLATFORMS", list)]);
    assert_eq!(check_platforms("[{appid = \"wx1\"}, {appid = \"wx2\", secret = \"s\"}]").code, Some(0));
    let twice = check_platforms("[{appid = \"wx1\"}, {appid = \"wx1\"}]");
    assert_eq!((twice.code, twice.stderr.contains("wx1 is configured twice")), (Some(2), true), "{}", twice.stderr);
    let broken = check_platforms("[{appid = \"canary\"");
    assert!(broken.stderr.contains("QUICKLOGIN__PLATFORMS is not TOML"), "{}", broken.stderr);
    assert!(broken.code == Some(2) && !broken.stderr.contains("canary"), "{}", broken.stderr);
    let public = [("QUICKLOGIN__GATEWAY__LISTEN", "0.0.0.0:1"), ("QUICKLOGIN__GATEWAY__KEYS", "00123, 12e45")];
    assert_eq!(Site::with("").run_with(&["config", "check"], &public).code, Some(0), "keys that look like numbers");
    let empty = [("QUICKLOGIN__GATEWAY__LISTEN", "0.0.0.0:1"), ("QUICKLOGIN__GATEWAY__KEYS", "")];
    assert_eq!(Site::with("").run_with(&["config", "check"], &empty).code, Some(2), "no key is no guard");
    for (hosts, code) in [("sh, https://wechat.example.com", 0), ("", 0), ("sh,tokyo", 2)] {
        let ended = Site::with("").run_with(&["config", "check"], &[("QUICKLOGIN__WECHAT__HOSTS", hosts)]);
        assert_eq!(ended.code, Some(code), "{hosts}: {}", ended.stderr);
    }
    let ended = Site::with("").run_with(&["config", "check"], &[("QUICKLOGIN__WORKER__SLOS", "8")]);
    assert_eq!((ended.code, ended.stderr.contains("slos")), (Some(2), true), "{}", ended.stderr);
}

#[test]
fn the_reference_is_what_is_compiled_in_and_checks() {
    let shown = Site::with("").run(&["config", "show", "--default"]).stdout;
    assert_eq!(shown, quicklogin::config::DEFAULTS);
    assert_eq!(Site::with(&shown).run(&["config", "check"]).code, Some(0));
    let site = Site::with(include_str!("../../config/fleet.toml"));
    assert_eq!(site.run(&["config", "check"]).code, Some(2), "a fleet without an app does not start");
    let fleet = site.run_with(&["config", "check"], &[("QUICKLOGIN__APPS", "[{appid = \"wx1\", secret = \"s\"}]")]);
    assert_eq!((fleet.code, fleet.stdout.contains("a fleet on RabbitMQ and Redis")), (Some(0), true));
}

#[tokio::test]
async fn serve_without_apps_says_that_wechat_is_simulated_on_every_result() {
    let (gateway, simulator) = (free_port(), free_port());
    let listen = format!("gateway.listen = \"127.0.0.1:{gateway}\"\nsimulator.listen = \"127.0.0.1:{simulator}\"");
    let site = Site::with(&listen);
    let mut serve = site.start(&["serve"], LISTENING);
    let minted = post(&format!("http://127.0.0.1:{simulator}/sim/codes"), &json!({})).await;
    let logins = format!("http://127.0.0.1:{gateway}/v1/logins");
    let pending = post(&logins, &json!({"code": minted["code"]})).await;
    let url = format!("{logins}/{}?wait=20", pending["request_id"].as_str().expect("an id"));
    let result = get(&url).await;
    assert_eq!(result["phone_info"]["phoneNumber"], minted["phoneNumber"]);
    assert_eq!(result["simulated"], true);
    assert!(serve.said().contains("SIMULATED") && serve.said().contains("nothing survives a restart"));
    serve.terminate();
    assert_eq!(serve.end_within(SOON).and_then(|status| status.code()), Some(0));
    let last = "taking no more logins; finishing those in hand in_hand=0\n";
    assert!(serve.said().contains(last), "what is said last is not lost: {}", serve.said());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_caller_that_holds_half_a_request() {
    let gateway = free_port();
    let settings =
        format!("gateway.listen = \"127.0.0.1:{gateway}\"\nsimulator.listen = \"127.0.0.1:0\"\nworker.drain_s = 1");
    let mut serve = Site::with(&settings).start(&["serve"], LISTENING);
    let mut caller = TcpStream::connect(("127.0.0.1", gateway)).expect("it listens");
    caller.write_all(b"POST /v1/logins HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n").expect("it reads");
    serve.terminate();
    assert_eq!(serve.end_within(Duration::from_secs(20)).and_then(|status| status.code()), Some(0), "{}", serve.said());
}

#[tokio::test]
async fn a_worker_that_drains_gives_back_at_once_what_it_only_fetched() {
    let servers = Servers::start();
    let site =
        Site::with(&servers.settings(&format!("worker.slots = 2\nwechat.timeout_ms = 15000\n{}", app(APP, SECRET))));
    let _simulator = site.simulator();
    let mut worker = site.worker();
    let slow = json!({"count": 10, "script": [{"delay_ms": 8000}]});
    let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &slow).await;
    let publisher = crate::support::amqp::Publisher::connect(servers.vhost.url()).await;
    for tap in minted.as_array().expect("ten codes") {
        let body = request(tap["code"].as_str().expect("a code")).encode();
        publisher.publish("quicklogin", "login", &body, Default::default()).await.expect("it is connected");
    }
    eventually("two are being asked", async || asked(&servers, "phone").await == 2).await;
    worker.terminate();
    // Two are still unacked, so this is before they are answered.
    eventually("the others wait for another worker", async || {
        let depth = Broker::shared().queue_depths(&servers.vhost)["quicklogin.logins"];
        (depth.ready, depth.unacked) == (8, 2)
    })
    .await;
    assert_eq!(worker.end_within(SOON).and_then(|status| status.code()), Some(0), "{}", worker.said());
}

#[tokio::test]
async fn a_fleet_of_processes_logs_people_in_and_drains_at_sigterm() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    let _simulator = site.simulator();
    let mut gateway = site.gateway();
    let mut workers = [site.worker(), site.worker()];
    let slow = json!({"count": 40, "script": [{"delay_ms": 1200}]});
    let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &slow).await;
    let mut waiting = Vec::new();
    for tap in minted.as_array().expect("forty codes") {
        let pending = post(&format!("{}/v1/logins", servers.gateway_url()), &json!({"code": tap["code"]})).await;
        waiting.push((pending["request_id"].as_str().expect("an id").to_owned(), tap["phoneNumber"].clone()));
    }
    eventually("they are being asked", async || asked(&servers, "phone").await == 40).await;
    let began = Instant::now();
    workers.iter_mut().for_each(|worker| worker.terminate());
    for worker in &mut workers {
        assert_eq!(worker.end_within(SOON).and_then(|status| status.code()), Some(0), "{}", worker.said());
    }
    assert!(began.elapsed() < Duration::from_secs(20), "a drain takes as long as what is in hand");
    for (request_id, phone) in waiting {
        let result = get(&format!("{}/v1/logins/{request_id}", servers.gateway_url())).await;
        assert_eq!((&result["phone_info"]["phoneNumber"], &result["attempts"]), (&phone, &json!(1)), "{result}");
        assert_eq!(result["simulated"], Value::Null, "the fleet does not know who answers at wechat.base_url");
    }
    gateway.terminate();
    assert_eq!(gateway.end_within(SOON).and_then(|status| status.code()), Some(0));
    let depth = Broker::shared().queue_depths(&servers.vhost)["quicklogin.logins"];
    assert_eq!((depth.ready, depth.unacked, depth.consumers), (0, 0, 0));
}

#[tokio::test]
async fn a_worker_drains_within_its_time_and_gives_back_the_rest() {
    let servers = Servers::start();
    let site =
        Site::with(&servers.settings(&format!("worker.drain_s = 1\nwechat.timeout_ms = 30000\n{}", app(APP, SECRET))));
    let _simulator = site.simulator();
    let mut worker = site.worker();
    let hanging = json!({"script": ["hang_before"]});
    let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &hanging).await;
    let publisher = crate::support::amqp::Publisher::connect(servers.vhost.url()).await;
    let body = request(minted["code"].as_str().expect("a code")).encode();
    publisher.publish("quicklogin", "login", &body, Default::default()).await.expect("it is connected");
    eventually("it is being asked", async || asked(&servers, "phone").await == 1).await;
    worker.terminate();
    assert_eq!(
        worker.end_within(Duration::from_secs(15)).and_then(|status| status.code()),
        Some(0),
        "{}",
        worker.said()
    );
    let ready = || Broker::shared().queue_depths(&servers.vhost)["quicklogin.logins"].ready;
    eventually("it is given back", async || ready() == 1).await;
}

#[tokio::test]
async fn a_worker_that_stops_while_redis_is_away_ends_in_its_time_and_says_so() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&format!("worker.drain_s = 2\n{}", app(APP, SECRET))));
    let _simulator = site.simulator();
    let mut worker = site.worker();
    servers.redis.kill();
    let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &json!({})).await;
    let publisher = crate::support::amqp::Publisher::connect(servers.vhost.url()).await;
    let body = request(minted["code"].as_str().expect("a code")).encode();
    publisher.publish("quicklogin", "login", &body, Default::default()).await.expect("it is connected");
    eventually("it is in hand", async || {
        Broker::shared().queue_depths(&servers.vhost)["quicklogin.logins"].unacked == 1
    })
    .await;
    worker.terminate();
    let ended = worker.end_within(Duration::from_secs(20)).and_then(|status| status.code());
    assert_eq!((ended, worker.said().contains("Redis was away")), (Some(3), true), "{}", worker.said());
    eventually("it comes again", async || {
        Broker::shared().queue_depths(&servers.vhost)["quicklogin.logins"].ready == 1
    })
    .await;
    assert_eq!(asked(&servers, "phone").await, 0);
}

#[tokio::test]
async fn a_worker_that_stops_while_rabbitmq_is_away_ends_in_its_time_and_says_so() {
    let servers = Servers::start();
    let settings =
        servers.settings(&app(APP, SECRET)).replace(servers.vhost.url(), "amqp://guest:guest@127.0.0.1:9/%2f");
    let site = Site::with(&settings);
    let mut worker = site.start(&["worker"], "no RabbitMQ");
    worker.terminate();
    assert_eq!(
        worker.end_within(Duration::from_secs(20)).and_then(|status| status.code()),
        Some(3),
        "{}",
        worker.said()
    );
}

#[tokio::test]
async fn login_prints_the_number_or_says_why_not() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    let _simulator = site.simulator();
    let _worker = site.worker();
    let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &json!({})).await;
    let code = minted["code"].as_str().expect("a code");
    let ended = site.run(&["login", code]);
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), minted["phoneNumber"].as_str().expect("a number")));
    for arguments in [&["login"][..], &["login", "-"]] {
        let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &json!({})).await;
        let printed = site.output_of(arguments, &format!("  {}\r\n", minted["code"].as_str().expect("a code")));
        assert_eq!(printed.trim(), minted["phoneNumber"], "{arguments:?}");
    }
    let again = site.run(&["login", code]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""));
    assert!(again.stderr.contains("invalid_code (WeChat said 40029") && again.stderr.contains("hint: ask the user"));
}

#[tokio::test]
async fn a_refresher_that_is_killed_is_succeeded_within_three_seconds() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    let _simulator = site.simulator();
    let slow = json!({"endpoint": "token", "calls": 1, "step": "hang_before"});
    post(&format!("{}/sim/moods", servers.simulator_url()), &slow).await;
    let mut first = site.worker();
    let publisher = crate::support::amqp::Publisher::connect(servers.vhost.url()).await;
    let publish = async |tap: &Value| {
        let request = request(tap["code"].as_str().expect("a code"));
        let body = request.encode();
        publisher.publish("quicklogin", "login", &body, Default::default()).await.expect("it is connected");
        format!("quicklogin:result:{{{}}}", request.request_id)
    };
    let codes = format!("{}/sim/codes", servers.simulator_url());
    publish(&post(&codes, &json!({})).await).await;
    eventually("the first asks for a token", async || asked(&servers, "stable_token").await == 1).await;
    first.kill();
    let _second = site.worker();
    let began = quicklogin::clock::now_ms();
    let key = publish(&post(&codes, &json!({})).await).await;
    eventually("the second has a token", async || servers.redis.get(&key).is_some()).await;
    let result: Value = serde_json::from_str(&servers.redis.get(&key).expect("a result")).expect("JSON");
    let took_ms = result["finished_at"].as_u64().expect("a time") - began;
    assert!(took_ms < 3000 && result["status"] == "succeeded", "{took_ms} ms: {result}");
}

#[tokio::test]
async fn a_corrected_secret_file_needs_no_restart() {
    let servers = Servers::start();
    let right = Site::with(&servers.settings(&app(APP, SECRET)));
    let _simulator = right.simulator();
    let site = Site::with(&servers.settings(&format!("[[apps]]\nappid = \"{APP}\"\nsecret_file = \"secret\"")));
    std::fs::write(site.path().join("secret"), "wrong\n").expect("the folder is ours to write");
    let _worker = site.worker();
    let login = async || {
        let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &json!({})).await;
        site.run(&["login", minted["code"].as_str().expect("a code")])
    };
    let refused = login().await;
    assert!(refused.stderr.contains("token_unavailable (WeChat said 40125"), "{}", refused.stderr);
    std::fs::write(site.path().join("secret"), format!("{SECRET}\n")).expect("the folder is ours to write");
    eventually("it recovers by itself", async || login().await.code == Some(0)).await;
}
