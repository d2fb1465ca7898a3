//! `token`: what an operator sees of the fleet's tokens, and does about them.

use serde_json::{Value, json};

use crate::support::fleet::{APP, SECRET, SISTER};
use crate::support::process::Process;
use crate::support::program::{Ended, Servers, Site, get, post};

const PLATFORM: &str = "wx00000000000000c0";
const PLATFORM_SECRET: &str = "c0ffeec0ffeec0ffeec0ffeec0ffee00";
const MESSAGE_TOKEN: &str = "aMessageToken";
const MESSAGE_KEY: &str = "aMessageKey00000000000000000000000000000000";

/// A worker, a simulator, and one app of each kind.
struct Running {
    servers: Servers,
    site: Site,
    _processes: [Process; 2],
}

impl Running {
    async fn start() -> Self {
        let servers = Servers::start();
        let apps = format!(
            "[[apps]]\nappid = \"{APP}\"\nsecret = \"{SECRET}\"\n\
             [[apps]]\nappid = \"{SISTER}\"\ntoken = \"external\"\nexternal.preset = \"wxjava\"\n\
             [[apps]]\nappid = \"wx-merchant\"\ntoken = \"authorizer\"\n\
             [[platforms]]\nappid = \"{PLATFORM}\"\nsecret = \"{PLATFORM_SECRET}\"\n"
        );
        let site = Site::with(&servers.settings(&apps));
        let simulator = site.simulator();
        let worker = site.worker();
        let sim = servers.simulator_url();
        let platform = json!({
            "appid": PLATFORM, "secret": PLATFORM_SECRET, "message_token": MESSAGE_TOKEN, "message_key": MESSAGE_KEY,
        });
        post(&format!("{sim}/sim/platforms"), &platform).await;
        post(&format!("{sim}/sim/authorizers"), &json!({"platform": PLATFORM, "appid": "wx-merchant"})).await;
        Self { servers, site, _processes: [simulator, worker] }
    }

    async fn login(&self, appid: &str) -> Ended {
        let minted = post(&format!("{}/sim/codes", self.servers.simulator_url()), &json!({"appid": appid})).await;
        self.site.run(&["login", minted["code"].as_str().expect("a code"), "--appid", appid])
    }

    fn shown(&self, appid: &str) -> Value {
        let ended = self.site.run(&["token", "show", "--app", appid, "--json"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).expect("one JSON object")
    }

    async fn calls(&self, endpoint: &str) -> u64 {
        let asked = get(&format!("{}/sim/asked?codes=false", self.servers.simulator_url())).await;
        asked[endpoint]["calls"].as_u64().expect("a count")
    }
}

#[tokio::test]
async fn show_tells_age_source_and_fetcher_of_each_token_and_never_the_token() {
    let fleet = Running::start().await;
    assert_eq!(fleet.shown(APP)["valid"], false);
    assert_eq!(fleet.login(APP).await.code, Some(0));
    let shown = fleet.shown(APP);
    assert_eq!((&shown["source"], &shown["valid"]), (&json!("stable"), &json!(true)));
    let by = shown["fetched_by"].as_str().expect("a worker");
    assert!(by.contains('/'), "host and process id: {by}");
    let life_ms = shown["expires_at"].as_u64().expect("ms") - shown["fetched_at"].as_u64().expect("ms");
    assert_eq!(life_ms, 7_200_000);

    fleet.servers.redis.cli(&["SET", &format!("wa:access_token:{SISTER}"), "92_foreign-token"]);
    let table = fleet.site.run(&["token", "show"]);
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    for expected in
        [by, "external", &format!("the Redis key wa:access_token:{SISTER}"), "authorizer", "component_verify_ticket"]
    {
        assert!(table.stdout.contains(expected), "{expected} in {}", table.stdout);
    }
    let stored = fleet.servers.redis.get(&format!("quicklogin:token:{{{APP}}}")).expect("a token");
    let stored: Value = serde_json::from_str(&stored).expect("JSON");
    let token = stored["access_token"].as_str().expect("a token");
    let all = format!("{}{shown}", table.stdout);
    assert!(!all.contains(token) && !all.contains("92_foreign-token"), "{all}");
}

#[tokio::test]
async fn show_tells_why_wechat_gives_no_token() {
    let fleet = Running::start().await;
    let frozen = json!({"appid": APP, "frozen": true});
    post(&format!("{}/sim/apps", fleet.servers.simulator_url()), &frozen).await;
    assert_eq!(fleet.login(APP).await.code, Some(1));
    assert_eq!(fleet.shown(APP)["refusal"]["errcode"], 40243);
    let table = fleet.site.run(&["token", "show", "--app", APP]);
    assert!(table.stdout.contains("40243") && table.stdout.contains("unfreeze"), "{}", table.stdout);
    let refreshed = fleet.site.run(&["token", "refresh", "--app", APP]);
    assert_eq!(refreshed.code, Some(1));
    assert!(
        refreshed.stderr.contains("WeChat said 40243") && refreshed.stderr.contains("hint: "),
        "{}",
        refreshed.stderr
    );
}

#[tokio::test]
async fn refresh_asks_once_and_by_force_only_inside_the_budget() {
    let fleet = Running::start().await;
    let refreshed = fleet.site.run(&["token", "refresh", "--app", APP]);
    assert_eq!((refreshed.code, refreshed.stdout.contains("refreshed")), (Some(0), true), "{}", refreshed.stderr);
    assert_eq!(fleet.calls("stable_token").await, 1);
    assert_eq!(fleet.login(APP).await.code, Some(0));
    assert_eq!(fleet.calls("stable_token").await, 1, "the worker uses what was shared");
    assert_eq!(fleet.site.run(&["token", "refresh", "--app", APP, "--force"]).code, Some(0));
    assert_eq!(fleet.login(APP).await.code, Some(0), "the worker finds the new one");
    let again = fleet.site.run(&["token", "refresh", "--app", APP, "--force"]);
    assert_eq!((again.code, again.stderr.contains("no forced refresh is left")), (Some(1), true), "{}", again.stderr);
    assert_eq!(fleet.site.run(&["token", "refresh", "--app", "wx-merchant", "--force"]).code, Some(2));
    assert_eq!(fleet.site.run(&["token", "refresh", "--app", "wx-unknown"]).code, Some(2));
}

#[tokio::test]
async fn a_ticket_put_in_by_hand_is_as_good_as_a_pushed_one() {
    let fleet = Running::start().await;
    let without = fleet.login("wx-merchant").await;
    assert!(without.stderr.contains("component_verify_ticket"), "{}", without.stderr);
    let sim = fleet.servers.simulator_url();
    post(&format!("{sim}/sim/platforms/push"), &json!({"platform": PLATFORM})).await;
    let state = get(&format!("{sim}/sim/platforms?appid={PLATFORM}")).await;
    let ticket = state["ticket"].as_str().expect("a ticket");
    std::fs::write(fleet.site.path().join("ticket"), format!("{ticket}\n")).expect("the folder is ours to write");
    let put = fleet.site.run(&["token", "ticket", "ticket"]);
    assert_eq!((put.code, put.stdout.contains("kept for 12 hours")), (Some(0), true), "{}", put.stderr);
    assert!(!put.stdout.contains(ticket) && !put.stderr.contains(ticket));
    crate::support::fleet::eventually("the platform logs people in", async || {
        fleet.login("wx-merchant").await.code == Some(0)
    })
    .await;
    let push = fleet.site.run(&["token", "ticket", "--push"]);
    assert_eq!((push.code, fleet.calls("start_push").await), (Some(0), 1), "{}", push.stderr);
    for (name, bad) in [("empty", "\n"), ("two", "a b\n")] {
        std::fs::write(fleet.site.path().join(name), bad).expect("the folder is ours to write");
        assert_eq!(fleet.site.run(&["token", "ticket", name]).code, Some(2), "{name}");
    }
}

#[test]
fn tokens_of_a_process_on_its_own_cannot_be_seen() {
    let ended = Site::with("").run(&["token", "show"]);
    assert_eq!((ended.code, ended.stderr.contains("shared in Redis")), (Some(2), true), "{}", ended.stderr);
}

/// What one line of `token show --json` says, once it says this.
async fn shown_soon(fleet: &Running, appid: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut shown = Value::Null;
    crate::support::fleet::eventually("the workers have said so", async || {
        shown = fleet.shown(appid);
        is_so(&shown)
    })
    .await;
    shown
}

#[tokio::test]
async fn show_tells_which_address_is_missing_from_the_list_and_at_which_worker() {
    let fleet = Running::start().await;
    let refused = json!({"appid": APP, "ip_refused": true});
    post(&format!("{}/sim/apps", fleet.servers.simulator_url()), &refused).await;
    assert_eq!(fleet.login(APP).await.code, Some(1));
    let shown = shown_soon(&fleet, APP, |shown| shown["workers"][0]["fault"].is_object()).await;
    let worker = &shown["workers"][0];
    assert_eq!((&shown["valid"], &worker["fault"]["answer"]["errcode"]), (&json!(false), &json!(40164)));
    assert_eq!(worker["address"], "127.0.0.1");
    let name = worker["worker"].as_str().expect("host and process id");
    let table = fleet.site.run(&["token", "show", "--app", APP]);
    for expected in [name, "no valid token", "40164", "put 127.0.0.1 on the app's IP list", "1 worker runs"] {
        assert!(table.stdout.contains(expected), "{expected} in {}", table.stdout);
    }
}

#[tokio::test]
async fn show_tells_that_wechat_refuses_the_token_that_is_there_and_who_heard_it() {
    let fleet = Running::start().await;
    assert_eq!(fleet.login(APP).await.code, Some(0));
    assert_eq!(fleet.shown(APP)["valid"], true);
    let sim = fleet.servers.simulator_url();
    post(&format!("{sim}/sim/tokens/invalidate"), &json!({})).await;
    // There is no other token either.
    post(&format!("{sim}/sim/apps"), &json!({"appid": APP, "ip_refused": true})).await;
    assert_eq!(fleet.login(APP).await.code, Some(1));
    let shown = shown_soon(&fleet, APP, |shown| shown["refused"].is_object()).await;
    assert_eq!(shown["valid"], false);
    let by = shown["refused"]["by"].as_str().expect("a worker");
    assert!(shown["refused"]["answer"]["errcode"].is_i64() && shown["refused"]["at"].is_u64(), "{shown}");
    let table = fleet.site.run(&["token", "show", "--app", APP]);
    for expected in [by, "WeChat refuses this token", "WeChat refused it with"] {
        assert!(table.stdout.contains(expected), "{expected} in {}", table.stdout);
    }
    post(&format!("{sim}/sim/apps"), &json!({"appid": APP, "ip_refused": false})).await;
    let again = async || fleet.login(APP).await.code == Some(0);
    crate::support::fleet::eventually("there is another token", again).await;
    let shown = shown_soon(&fleet, APP, |shown| shown["valid"] == true && shown["workers"] == json!([])).await;
    assert_eq!((&shown["refused"], &shown["workers_running"]), (&Value::Null, &json!(1)));
}

#[tokio::test]
async fn show_tells_which_apps_are_paused_and_until_when() {
    let fleet = Running::start().await;
    let sim = fleet.servers.simulator_url();
    for _ in 0..3 {
        let mint = json!({"appid": APP, "script": [{"errcode": 48001}]});
        let minted = post(&format!("{sim}/sim/codes"), &mint).await;
        fleet.site.run(&["login", minted["code"].as_str().expect("a code"), "--appid", APP]);
    }
    let shown = shown_soon(&fleet, APP, |shown| shown["workers"][0]["paused"].is_object()).await;
    let paused = &shown["workers"][0]["paused"];
    assert_eq!((&paused["cause"], &paused["answer"]["errcode"]), (&json!("not_served"), &json!(48001)));
    assert!(paused["until"].as_u64().is_some_and(|until| until > 1_600_000_000_000), "{shown}");
    let table = fleet.site.run(&["token", "show", "--app", APP]);
    assert!(table.stdout.contains("paused (not_served)") && table.stdout.contains("48001"), "{}", table.stdout);
}
