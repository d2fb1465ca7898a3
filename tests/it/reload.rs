//! Apps come, change and go without a restart: the settings are read again at SIGHUP.

use std::time::Duration;

use serde_json::json;

use crate::support::fleet::{APP, SECRET, SISTER, eventually};
use crate::support::process::Process;
use crate::support::program::{Ended, Servers, Site, app, get, post};

const SOON: Duration = Duration::from_secs(60);

/// A fleet of processes and a simulator that knows both apps.
struct Running {
    servers: Servers,
    site: Site,
    gateway: Process,
    worker: Process,
    _simulator: (Site, Process),
}

impl Running {
    fn with(apps: &str) -> Self {
        let servers = Servers::start();
        let everything = Site::with(&servers.settings(&format!("{}{}", app(APP, SECRET), app(SISTER, SECRET))));
        let simulator = everything.simulator();
        let site = Site::with(&servers.settings(apps));
        let gateway = site.gateway();
        let worker = site.worker();
        Self { servers, site, gateway, worker, _simulator: (everything, simulator) }
    }

    fn reload(&mut self, apps: &str) {
        self.site.change(&self.servers.settings(apps));
        self.gateway.hang_up();
        self.worker.hang_up();
    }

    /// Through the gateway: the reason, or `succeeded`; the status code where it is not taken.
    async fn login(&self, appid: &str) -> String {
        let minted = post(&format!("{}/sim/codes", self.servers.simulator_url()), &json!({"appid": appid})).await;
        let logins = format!("{}/v1/logins", self.servers.gateway_url());
        let pending = post(&logins, &json!({"appid": appid, "code": minted["code"]})).await;
        let Some(id) = pending["request_id"].as_str() else { return pending["status"].to_string() };
        let result = get(&format!("{logins}/{id}?wait=20")).await;
        let reason = result["error"]["reason"].as_str().or(result["status"].as_str());
        reason.expect("a result").to_owned()
    }
}

#[tokio::test]
async fn an_app_that_is_added_is_served_and_one_that_is_taken_away_is_not() {
    let mut fleet = Running::with(&app(APP, SECRET));
    assert_eq!((fleet.login(APP).await, fleet.login(SISTER).await), ("succeeded".into(), "422".into()));
    fleet.reload(&format!("{}{}", app(APP, SECRET), app(SISTER, SECRET)));
    eventually("the new one is served", async || fleet.login(SISTER).await == "succeeded").await;
    assert_eq!(fleet.login(APP).await, "succeeded");
    fleet.reload(&app(SISTER, SECRET));
    eventually("the old one is unknown", async || fleet.login(APP).await == "422").await;
    assert_eq!(fleet.login(SISTER).await, "succeeded");
    for process in [&mut fleet.gateway, &mut fleet.worker] {
        process.terminate();
        assert_eq!(process.end_within(SOON).and_then(|status| status.code()), Some(0), "{}", process.said());
    }
}

#[tokio::test]
async fn a_mistake_in_the_settings_changes_nothing_and_is_told() {
    let mut fleet = Running::with(&app(APP, SECRET));
    assert_eq!(fleet.login(APP).await, "succeeded");
    let told = |process: &Process| process.said().matches("all stays as it was").count();
    for mistake in ["colour = 1\n", "not toml", ""] {
        let before = (told(&fleet.gateway), told(&fleet.worker));
        fleet.reload(mistake);
        eventually("both tell", async || told(&fleet.gateway) > before.0 && told(&fleet.worker) > before.1).await;
        assert_eq!(fleet.login(APP).await, "succeeded", "{mistake}");
    }
    // A gateway needs no secrets, so these are mistakes of a worker's alone.
    for mistake in ["[[apps]]\nappid = \"wx\"\n", "[[apps]]\nappid = \"wx1\"\nsecret_file = \"none\""] {
        let before = told(&fleet.worker);
        fleet.site.change(&fleet.servers.settings(mistake));
        fleet.worker.hang_up();
        eventually("the worker tells", async || told(&fleet.worker) > before).await;
        assert_eq!(fleet.login(APP).await, "succeeded", "{mistake}");
    }
}

#[tokio::test]
async fn a_secret_that_is_corrected_in_the_settings_is_used_at_once() {
    let mut fleet = Running::with(&app(APP, "wrong"));
    for _ in 0..3 {
        assert_eq!(fleet.login(APP).await, "token_unavailable");
    }
    fleet.reload(&app(APP, SECRET));
    eventually("it is read", async || fleet.worker.said().contains("the apps are read again")).await;
    assert_eq!(fleet.login(APP).await, "succeeded");
}

#[tokio::test]
async fn a_token_that_came_from_elsewhere_is_not_used_when_the_source_has_changed() {
    let mut fleet = Running::with(&app(APP, SECRET));
    assert_eq!(fleet.login(APP).await, "succeeded");
    let classic = format!("{}token = \"classic\"\n", app(APP, SECRET));
    fleet.reload(&classic);
    eventually("it is read", async || fleet.worker.said().contains("the apps are read again")).await;
    assert_eq!(fleet.login(APP).await, "succeeded");
    let asked = get(&format!("{}/sim/asked?codes=false", fleet.servers.simulator_url())).await;
    assert_eq!((&asked["stable_token"]["calls"], &asked["classic_token"]["calls"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_platform_that_is_added_is_said_to_want_a_restart_of_the_gateway() {
    let mut fleet = Running::with(&app(APP, SECRET));
    fleet.reload(&format!("{}[[platforms]]\nappid = \"wx00000000000000c0\"\n", app(APP, SECRET)));
    eventually("it is said", async || fleet.gateway.said().contains("the platforms have changed")).await;
    assert_eq!(fleet.login(APP).await, "succeeded");
}

#[tokio::test]
async fn an_app_that_was_not_served_is_asked_for_again_at_once() {
    let mut fleet = Running::with(&app(APP, SECRET));
    let mood = json!({"endpoint": "phone", "step": {"errcode": 48001}});
    post(&format!("{}/sim/moods", fleet.servers.simulator_url()), &mood).await;
    for _ in 0..6 {
        assert_eq!(fleet.login(APP).await, "not_allowed");
    }
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    client.delete(format!("{}/sim/moods", fleet.servers.simulator_url())).send().await.expect("an answer");
    fleet.reload(&app(APP, SECRET));
    eventually("it is read", async || fleet.worker.said().contains("the apps are read again")).await;
    assert_eq!(fleet.login(APP).await, "succeeded");
}

#[tokio::test]
async fn a_thousand_apps_are_read_and_served() {
    let appids: Vec<String> = (0..1000).map(|n| format!("wx{n:016x}")).collect();
    let settings: String = appids.iter().map(|appid| app(appid, SECRET)).collect();
    let mut fleet = Running::with(&settings);
    let known = json!({"appid": appids[999], "secret": SECRET});
    post(&format!("{}/sim/apps", fleet.servers.simulator_url()), &known).await;
    assert_eq!(fleet.login(&appids[999]).await, "succeeded");
    fleet.reload(&format!("{settings}{}", app(APP, SECRET)));
    eventually("one more is served", async || fleet.login(APP).await == "succeeded").await;
    let Ended { code, stdout, .. } = fleet.site.run(&["config", "check"]);
    assert_eq!((code, stdout.contains("1001 apps")), (Some(0), true), "{stdout}");
}
