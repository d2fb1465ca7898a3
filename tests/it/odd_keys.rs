//! Keys of ours that hold what we have not written: another type, nonsense, or no end. Each login has its one result all the
//! same.

use std::time::Duration;

use serde_json::json;

use crate::support::fleet::{APP, Ground, Plan, SECRET, eventually, request};
use crate::support::program::{Servers, Site, app, get, post, status};

#[tokio::test]
async fn keys_that_hold_something_else_delay_no_login_for_ever() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let rows: &[(&str, &[&str])] = &[
        ("claim", &["RPUSH", "KEY", "x"]),
        ("claim", &["SADD", "KEY", "x"]),
        ("claim", &["ZADD", "KEY", "1", "x"]),
        ("claim", &["HSET", "KEY", "x", "y"]),
        ("claim", &["HSET", "KEY", "owner", "x", "until", "never", "asked", "1", "unheard", "0"]),
        ("claim", &["SET", "KEY", "garbage"]),
        ("claim", &["SET", "KEY", ""]),
        ("claim", &["SET", "KEY", "1 0 60000 somebody"]),
        ("claim", &["SET", "KEY", "1 0 60000 somebody", "EX", "86400"]),
        ("claim", &["SET", "KEY", "99999999999999999999999999999999 0 60000 somebody"]),
        ("result", &["RPUSH", "KEY", "x"]),
        ("result", &["HSET", "KEY", "x", "y"]),
        ("result", &["SET", "KEY", "garbage"]),
        ("result", &["SET", "KEY", "{}"]),
        ("accepted", &["RPUSH", "KEY", "x"]),
        ("request", &["RPUSH", "KEY", "x"]),
    ];
    let mut requests = vec![];
    for (kind, command) in rows {
        let request = request(&fleet.tap().code);
        let key = format!("quicklogin:{kind}:{{{}}}", request.request_id);
        let command: Vec<_> = command.iter().map(|word| if *word == "KEY" { key.as_str() } else { word }).collect();
        fleet.redis().cli(&command);
        fleet.publish(&request).await;
        requests.push((request, *kind, command.join(" ")));
    }
    for (request, kind, set) in requests {
        let mut result = None;
        eventually("it has its result", async || {
            let found = fleet.redis().try_cli(&["GET", &format!("quicklogin:result:{{{}}}", request.request_id)]);
            result = found.filter(|found| found.contains("succeeded"));
            result.is_some()
        })
        .await;
        let claim = format!("quicklogin:claim:{{{}}}", request.request_id);
        assert!(fleet.redis().keys(&claim).is_empty(), "{kind}: {set}");
    }
}

#[tokio::test]
async fn what_is_no_result_is_not_served_as_one() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let request = request(&fleet.tap().code);
    let key = format!("quicklogin:result:{{{}}}", request.request_id);
    let poll = format!("{}/v1/logins/{}", fleet.url, request.request_id);
    for garbage in ["garbage", "[]", "7", "{}", r#"{"status":"done"}"#] {
        fleet.redis().cli(&["SET", &key, garbage]);
        assert_ne!(status(&poll).await, 200, "{garbage}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_holds_something_else_is_logged_once_with_its_kind() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    let _simulator = site.simulator();
    let worker = site.worker();
    let mut gateway = site.gateway();
    let logins = format!("{}/v1/logins", servers.gateway_url());
    for kind in ["claim", "result", "request"] {
        for n in 0..2 {
            let id = format!("{kind}-{n}");
            servers.redis.cli(&["RPUSH", &format!("quicklogin:{kind}:{{{id}}}"), "x"]);
            let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &json!({"appid": APP})).await;
            let submission = json!({"code": minted["code"], "request_id": id});
            assert_eq!(post(&logins, &submission).await["status"], "pending");
            assert_eq!(get(&format!("{logins}/{id}?wait=20")).await["status"], "succeeded");
        }
    }
    gateway.terminate();
    assert!(gateway.end_within(Duration::from_secs(60)).is_some());
    eventually("the worker's lines are written", async || worker.said().contains(":result:{…}")).await;
    let said = format!("{}{}", gateway.said(), worker.said());
    for kind in ["claim", "result", "request"] {
        let key = format!("quicklogin:{kind}:{{…}}");
        let lines = said.lines().filter(|line| line.contains("holds something") && line.contains(&key)).count();
        assert_eq!(lines, 1, "{kind}: {said}");
    }
}

#[tokio::test]
async fn shared_keys_of_another_type_or_without_an_end_keep_no_app_from_its_token() {
    let rows: &[(&str, &[&str])] = &[
        ("token", &["RPUSH", "KEY", "x"]),
        ("token", &["SET", "KEY", "garbage"]),
        ("refresh", &["RPUSH", "KEY", "x"]),
        ("refresh", &["SET", "KEY", "somebody"]),
        ("refusal", &["RPUSH", "KEY", "x"]),
        ("refusal", &["SET", "KEY", "garbage"]),
    ];
    for (kind, command) in rows {
        let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
        let key = format!("quicklogin:{kind}:{{{APP}}}");
        let command: Vec<_> = command.iter().map(|word| if *word == "KEY" { key.as_str() } else { word }).collect();
        fleet.redis().cli(&command);
        let mut fleet = fleet;
        fleet.add_worker();
        // The first may meet a lead that ends only a moment later.
        let succeeds = async || fleet.login(&fleet.tap().code).await.outcome.as_str() == "succeeded";
        eventually(&format!("with {command:?} a login succeeds"), succeeds).await;
    }
}

#[tokio::test]
async fn a_code_whose_key_holds_something_else_is_taken_once() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let tap = fleet.tap();
    let submit = async || post(&format!("{}/v1/logins", fleet.url), &json!({"code": tap.code})).await;
    let first = submit().await;
    let key = fleet.redis().keys("quicklogin:code:*").remove(0);
    fleet.redis().cli(&["DEL", &key]);
    fleet.redis().cli(&["RPUSH", &key, "x"]);
    let second = submit().await;
    assert_ne!(first["request_id"], second["request_id"], "it was taken anew");
    assert_eq!(submit().await["request_id"], second["request_id"], "and once");
    fleet.redis().cli(&["PERSIST", &key]);
    submit().await;
    assert!(fleet.redis().ttl_ms(&key).is_some_and(|ttl_ms| ttl_ms <= Duration::from_secs(240).as_millis() as u64));
}
