//! No token, secret, code, phone number, key or password in any log, error or dead letter's header, at any log level.

use std::collections::BTreeSet;

use lapin::BasicProperties;
use lapin::types::FieldTable;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::amqp::Publisher;
use crate::support::fleet::{APP, eventually};
use crate::support::program::{Servers, Site};

const APP_SECRET: &str = "canary5ecret5ecret5ecret5ecret00";
const KEY: &str = "canary-gateway-key";
const PASSWORD: &str = "canary-password";
const OPENID: &str = "oCanaryOpenId";

async fn send(method: &str, url: &str, body: &Value) -> Value {
    let client = Client::builder().no_proxy().build().expect("a client");
    let request = match method {
        "GET" => client.get(url),
        _ => client.post(url).header("content-type", "application/json").body(body.to_string()),
    };
    let request = request.header("authorization", format!("Bearer {KEY}"));
    let text = request.send().await.expect("an answer").bytes().await.expect("a body");
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

#[tokio::test]
async fn nothing_secret_reaches_a_log_whatever_happens() {
    let servers = Servers::start();
    let more = format!(
        "log.filter = \"trace\"\ngateway.keys = [\"{KEY}\"]\nlogin.patience_s = 2\nwechat.timeout_ms = 1500\n\
         [[apps]]\nappid = \"{APP}\"\nsecret = \"{APP_SECRET}\""
    );
    let site = Site::with(&servers.settings(&more));
    let _simulator = site.simulator();
    let mut gateway = site.gateway();
    let mut worker = site.worker();
    let (logins, sim) = (format!("{}/v1/logins", servers.gateway_url()), servers.simulator_url());
    let mut secrets: BTreeSet<String> = [APP_SECRET, KEY, OPENID].map(str::to_owned).into();
    let scripts = json!([
        [], [{"errcode": -1}], [{"errcode": 40001}], [{"errcode": 47001}], [{"errcode": 48001}], ["cut_before"], ["cut_after"],
        ["cut_in_body"], ["hang_after"], [{"status": 502, "body": "bad"}], [{"body": "<html>"}], [{"huge_body": 100_000}],
    ]);
    for (n, script) in scripts.as_array().expect("a list").iter().enumerate() {
        let mint = json!({"appid": APP, "script": script, "openid": OPENID});
        let tap = send("POST", &format!("{sim}/sim/codes"), &mint).await;
        secrets.extend([tap["code"].as_str(), tap["phoneNumber"].as_str()].into_iter().flatten().map(str::to_owned));
        let submission = json!({"code": tap["code"], "openid": OPENID});
        let pending = send("POST", &logins, &submission).await;
        let again = send("POST", &logins, &submission).await;
        assert_eq!(pending["request_id"], again["request_id"]);
        let id = pending["request_id"].as_str().expect("an id");
        let result = send("GET", &format!("{logins}/{id}?wait=20"), &Value::Null).await;
        assert!(result["status"].is_string(), "{result}");
        let key = format!("quicklogin:token:{{{APP}}}");
        let token: Value = serde_json::from_str(&servers.redis.get(&key).expect("a token")).expect("JSON");
        secrets.insert(token["access_token"].as_str().expect("a token").to_owned());
        if n % 3 == 2 {
            send("POST", &format!("{sim}/sim/tokens/invalidate"), &json!({})).await;
        }
    }
    // Dead letters, garbage, and a publish that comes back: lapin itself would print the whole message.
    let publisher = Publisher::connect(servers.vhost.url()).await;
    let canary_code = "canarycode0000";
    secrets.insert(canary_code.into());
    for body in [
        format!(r#"{{"code":"{canary_code}"}}"#),
        format!(r#"{{"request_id":"r-1","code":"{canary_code}","openid":"{canary_code} x"}}"#),
        format!(r#"{{"request_id":"r-2","code":"{canary_code}","issued_at":"{canary_code}"}}"#),
        format!("{canary_code} is no JSON"),
    ] {
        publisher.publish("quicklogin", "login", body.as_bytes(), BasicProperties::default()).await.expect("connected");
    }
    send("POST", &logins, &json!({"code": canary_code, "appid": 7})).await;
    // A session that begins only now binds the queue again.
    let mut tries = 0;
    let comes_back = async || {
        let (queue, exchange) = ("quicklogin.logins".into(), "quicklogin".into());
        let unbind = publisher.channel().queue_unbind(queue, exchange, "login".into(), FieldTable::default());
        unbind.await.expect("both are there");
        tries += 1;
        send("POST", &logins, &json!({"code": format!("{canary_code}{tries}")})).await;
        gateway.said().contains("no queue got a publish")
    };
    eventually("a publish comes back", comes_back).await;
    let mut letter = None;
    let is_dead = async || {
        letter = publisher.get("quicklogin.dead").await;
        letter.is_some()
    };
    eventually("there is a dead letter", is_dead).await;
    let (_, headers) = letter.expect("it was awaited");
    assert!(!format!("{headers:?}").contains(canary_code), "{headers:?}");
    servers.redis.kill();
    eventually("the worker has noticed", async || worker.said().contains("Redis is lost")).await;
    gateway.terminate();
    worker.terminate();
    worker.end_within(std::time::Duration::from_secs(5));
    let logs = site.logs();
    assert!(logs.contains("login concluded") && logs.contains("DEBUG quicklogin"), "the logs are there to be searched");
    for secret in secrets {
        let at = logs.lines().find(|line| line.contains(&secret));
        assert!(at.is_none(), "a secret is in a log: {at:?}");
    }
}

#[test]
fn no_error_repeats_a_password_or_a_secret() {
    let wrong = [
        format!("rabbitmq.url = \"amqp//u:{PASSWORD}@h\"\nredis.url = \"redis://u:{PASSWORD}@127.0.0.1\""),
        format!("rabbitmq.url = \"amqp://u:{PASSWORD}@127.0.0.1:1\"\nredis.url = \"redis//u:{PASSWORD}@h\""),
        format!("rabbitmq.url = \"amqp://u:{PASSWORD}@127.0.0.1:x\"\nredis.url = \"redis://u:{PASSWORD}@127.0.0.1:x\""),
        format!("result.encryption = true\nresult.key = \"{PASSWORD}\""),
        format!("worker.slots = \"{PASSWORD}\""),
        format!("gateway.listen = \"{PASSWORD}\""),
        format!("wechat.base_url = \"https://u:{PASSWORD}@[::bad\""),
        format!("wechat.hosts = [\"https://u:{PASSWORD}@[::bad\"]"),
        format!("wechat.hosts = [\"{PASSWORD}\"]"),
        format!("wechat.hosts = \"{PASSWORD}\""),
        format!("gateway.keys = {{ \"{PASSWORD}\" = 1 }}"),
        format!("[[apps]]\nappid = \"{APP}\"\ntoken = \"{PASSWORD}\""),
        format!("log.format = \"{PASSWORD}\""),
        format!("redis.prefix = \"{PASSWORD}"),
        format!("{PASSWORD} = 1\nredis = \"{PASSWORD}\""),
    ];
    for settings in wrong {
        let settings = format!("{settings}\n[[apps]]\nappid = \"{APP}\"\nsecret = \"{APP_SECRET}\"");
        let ended = Site::with(&settings).run(&["worker"]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let said = ended.stderr.replace(&format!("unknown field `{PASSWORD}`"), "");
        assert!(!said.contains(PASSWORD) && !said.contains(APP_SECRET), "{said}");
    }
}
