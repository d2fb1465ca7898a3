//! A worker that stands still for a while (a paused machine, a laptop's lid) and goes on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::amqp::Publisher;
use crate::support::fleet::{APP, SECRET, eventually, request};
use crate::support::program::{Servers, Site, get, post};

#[tokio::test]
async fn a_worker_that_was_frozen_while_wechat_answered_hears_the_answer_all_the_same() {
    let servers = Servers::start();
    let settings = format!("wechat.timeout_ms = 1000\n[[apps]]\nappid = \"{APP}\"\nsecret = \"{SECRET}\"");
    let site = Site::with(&servers.settings(&settings));
    let _simulator = site.start(&["simulate"], "quicklogin simulator: a WeChat for");
    let mut worker = site.start(&["worker"], "quicklogin worker: consuming");
    let publisher = Publisher::connect(servers.vhost.url()).await;
    let sim = format!("{}/sim", servers.simulator_url());
    let asked = async || get(&format!("{sim}/asked?codes=false")).await["phone"]["calls"].as_u64().unwrap_or(0);
    let late = json!({"appid": APP, "count": 20, "script": [{"delay_ms": 500}]});
    let taps = post(&format!("{sim}/codes"), &late).await;
    let mut keys = Vec::new();
    for tap in taps.as_array().expect("a list") {
        let login = request(tap["code"].as_str().expect("a code"));
        keys.push(format!("quicklogin:result:{{{}}}", login.request_id));
        publisher.publish("quicklogin", "login", &login.encode(), Default::default()).await.expect("it is connected");
    }
    eventually("all are being asked", async || asked().await == 20).await;
    worker.freeze();
    sleep(Duration::from_millis(1500)).await;
    worker.thaw();
    for key in keys {
        eventually("it has a result", async || servers.redis.get(&key).is_some()).await;
        let result: Value = serde_json::from_str(&servers.redis.get(&key).expect("it is there")).expect("JSON");
        assert_eq!((&result["status"], &result["attempts"]), (&json!("succeeded"), &json!(1)), "{result}");
    }
}
