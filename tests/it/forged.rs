//! Results in the outbox that no worker has put there, or that are not what this fleet writes: none reaches a caller.

use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use quicklogin::clock;
use quicklogin::login::{RequestId, SealingKey};
use quicklogin::secret::Secret;
use quicklogin::worker::{Limits, OutboxKey};
use serde_json::{Value, json};

use crate::support::amqp::{Outcome, Publisher};
use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, SISTER, app_id, eventually, id};
use crate::support::program::{Servers, Site, app, post, status};
use crate::support::rabbit::Broker;

const RESULTS: &str = "quicklogin.results";
const DEAD: &str = "quicklogin.dead";
const NUMBER: &str = "13812345678";
const OWNER: &str = "a worker";

/// What is published, and why it is refused.
type Row = (&'static str, Vec<u8>, FieldTable);

/// A publisher that may write to every queue.
struct Stranger<'a> {
    fleet: &'a Fleet,
    amqp: Publisher,
}

impl<'a> Stranger<'a> {
    async fn of(fleet: &'a Fleet) -> Self {
        Self { fleet, amqp: Publisher::connect(fleet.vhost().url()).await }
    }

    async fn publish(&self, body: &[u8], headers: FieldTable) {
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        let published = self.amqp.publish("", RESULTS, body, properties).await;
        assert_eq!(published.expect("it is connected"), Outcome::Taken);
    }

    /// Publishes it, and takes its dead letter: the reason, and what is left of the body.
    async fn refused(&self, body: &[u8], headers: FieldTable) -> (String, String) {
        self.publish(body, headers).await;
        let mut dead = None;
        eventually("it is a dead letter", async || {
            dead = self.amqp.get(DEAD).await;
            dead.is_some()
        })
        .await;
        let (body, headers) = dead.expect("it is there");
        let header = |name: &str| headers.inner().get(name).and_then(AMQPValue::as_long_string);
        assert!(header("x-quicklogin-mac").is_none() && header("x-quicklogin-owner").is_none(), "{headers:?}");
        assert_eq!(header("x-quicklogin-queue").map(ToString::to_string).as_deref(), Some(RESULTS));
        let reason = header("x-quicklogin-reason").expect("a reason").to_string();
        (reason, String::from_utf8(body).expect("text"))
    }

    /// Each is refused for its reason, no number is left in its dead letter, and its login has no result.
    async fn all_refused(&self, rows: Vec<Row>) {
        for (reason, body, headers) in rows {
            let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            let (said, left) = self.refused(&body, headers).await;
            assert_eq!(said, reason, "{shown}");
            assert!(!left.contains(NUMBER) && left.len() < 1000, "{left}");
        }
        assert_eq!(self.fleet.redis().keys("quicklogin:result:*"), Vec::<String>::new());
        let poll = format!("{}/v1/logins/forged-1", self.fleet.url);
        assert_eq!(status(&poll).await, 404);
    }

    /// What is refused holds nothing up.
    async fn a_good_one_is_written(&self, key: &OutboxKey, body: &Value) {
        let good = json!({"request_id": "good", "appid": APP});
        let body = with(body, &good);
        self.publish(body.to_string().as_bytes(), signed(key, &body)).await;
        assert_eq!(self.fleet.result_json(&id("good")).await, body.to_string().as_bytes());
    }
}

fn of_secret(appid: &str) -> OutboxKey {
    OutboxKey::of_app_secret(&app_id(appid), &SECRET.into())
}

fn success() -> Value {
    json!({
        "request_id": "forged-1", "status": "succeeded", "appid": APP, "attempts": 1, "finished_at": clock::now_ms(),
        "phone_info": {"phoneNumber": NUMBER, "purePhoneNumber": NUMBER, "countryCode": "86"},
    })
}

fn failure() -> Value {
    let mut failure = with(&success(), &json!({"status": "failed"}));
    failure.as_object_mut().expect("an object").remove("phone_info");
    with(&failure, &json!({"error": {"reason": "invalid_code", "advice": "new_code"}}))
}

/// The same with these fields.
fn with(body: &Value, fields: &Value) -> Value {
    let mut body = body.clone();
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

fn without(body: &Value, field: &str) -> Value {
    let mut body = body.clone();
    body.as_object_mut().expect("an object").remove(field);
    body
}

fn headers(owner: &str, mac: &str) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in [("x-quicklogin-owner", owner), ("x-quicklogin-mac", mac)] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    headers
}

fn signed(key: &OutboxKey, body: &Value) -> FieldTable {
    signed_bytes(key, &id(body["request_id"].as_str().expect("an id")), body.to_string().as_bytes())
}

fn signed_bytes(key: &OutboxKey, id: &RequestId, body: &[u8]) -> FieldTable {
    headers(OWNER, &key.sign(id, OWNER, body))
}

fn only(headers: &FieldTable, name: &str) -> FieldTable {
    let mut one = FieldTable::default();
    one.insert(name.into(), headers.inner()[name].clone());
    one
}

#[tokio::test]
async fn a_result_that_no_worker_has_authenticated_is_never_served() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let stranger = Stranger::of(&fleet).await;
    let (key, body) = (of_secret(APP), success());
    let (text, mac) = (body.to_string().into_bytes(), key.sign(&id("forged-1"), OWNER, body.to_string().as_bytes()));
    let proof = headers(OWNER, &mac);
    let (nothing, changed) =
        ("the result is not authenticated", "the result was changed, or authenticated with another key");
    let no_app = "there is no key for a result without an app";
    let mut number = proof.clone();
    number.insert("x-quicklogin-mac".into(), AMQPValue::LongLongInt(7));
    let other_number = with(&body, &json!({"phone_info": {"phoneNumber": "13800000000"}}));
    let other_id = with(&body, &json!({"request_id": "forged-2"}));
    let no_owner = headers("", &key.sign(&id("forged-1"), "", &text));
    stranger
        .all_refused(vec![
            (nothing, text.clone(), FieldTable::default()),
            (nothing, text.clone(), only(&proof, "x-quicklogin-owner")),
            (nothing, text.clone(), only(&proof, "x-quicklogin-mac")),
            (nothing, text.clone(), number),
            (nothing, failure().to_string().into(), FieldTable::default()),
            (changed, text.clone(), headers(OWNER, "")),
            (changed, text.clone(), headers(OWNER, &"A".repeat(43))),
            (changed, text.clone(), headers("another", &mac)),
            (changed, text.clone(), headers(OWNER, &mac.to_lowercase())),
            (changed, text.clone(), no_owner),
            (changed, text.clone(), signed(&of_secret(SISTER), &body)),
            (changed, text.clone(), signed(&OutboxKey::of_app_secret(&app_id(APP), &"a guess".into()), &body)),
            (changed, other_number.to_string().into(), proof.clone()),
            (changed, other_id.to_string().into(), proof.clone()),
            (changed, format!("{body} ").into(), proof.clone()),
            (no_app, without(&body, "appid").to_string().into(), signed(&key, &without(&body, "appid"))),
        ])
        .await;
    stranger.a_good_one_is_written(&key, &body).await;
}

#[tokio::test]
async fn an_authenticated_result_is_refused_if_it_is_none_that_this_fleet_writes() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let stranger = Stranger::of(&fleet).await;
    let key = of_secret(APP);
    let row = |reason, body: &Value| (reason, body.to_string().into_bytes(), signed(&key, body));
    let raw =
        |reason, text: &str| (reason, text.as_bytes().to_vec(), signed_bytes(&key, &id("forged-1"), text.as_bytes()));
    let (none, body) = ("not a result", success());
    let finished = |at: u64| with(&body, &json!({"finished_at": at}));
    let now = clock::now_ms();
    let huge = with(&body, &json!({"x": "y".repeat(15 << 20)}));
    let long = with(&body, &json!({"x": "y".repeat(8 << 10)}));
    let sealed = with(&without(&body, "phone_info"), &json!({"phone_info_jwe": "a..b.c.d"}));
    let both = with(&body, &json!({"error": failure()["error"].clone()}));
    let twice = body.to_string().replacen('{', "{\"request_id\":\"forged-1\",", 1);
    stranger
        .all_refused(vec![
            row("the result is longer than 8 KiB", &huge),
            row("the result is longer than 8 KiB", &long),
            row("the result is older than result.ttl_s", &finished(1)),
            row("the result is older than result.ttl_s", &finished(now - 601_000)),
            row("the result is from the future", &finished(now + 300_000)),
            row("the result is from the future", &finished(u64::MAX)),
            row("the phone number is encrypted, and result.encryption is off", &sealed),
            row(none, &with(&body, &json!({"phone_info_jwe": "a..b.c.d"}))),
            row(none, &without(&body, "phone_info")),
            row(none, &both),
            row(none, &without(&failure(), "error")),
            row(none, &with(&failure(), &json!({"phone_info": body["phone_info"].clone()}))),
            row(none, &with(&body, &json!({"status": "pending"}))),
            row(none, &json!({"request_id": "forged-1", "code": "c", "appid": APP})),
            raw(none, &twice),
            raw(none, ""),
            raw(none, NUMBER),
        ])
        .await;
    stranger.a_good_one_is_written(&key, &body).await;
}

#[tokio::test]
async fn under_encryption_no_plain_number_is_served() {
    let bytes = Secret::from("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    let sealing = Arc::new(SealingKey::new("k1", &bytes).expect("32 bytes"));
    let plan = Plan { sealing: Some(Arc::clone(&sealing)), ..Plan::on(Ground::RabbitAndRedis) };
    let fleet = plan.start().await;
    let stranger = Stranger::of(&fleet).await;
    let (key, body) = (of_secret(APP), success());
    let plain = "the phone number is not encrypted, and result.encryption is on";
    let sealed = sealing.seal(body["phone_info"].to_string().as_bytes());
    let sealed = with(&without(&body, "phone_info"), &json!({"phone_info_jwe": sealed}));
    let both = with(&sealed, &json!({"phone_info": body["phone_info"].clone()}));
    stranger
        .all_refused(vec![
            ("the result is not authenticated", body.to_string().into(), FieldTable::default()),
            (plain, body.to_string().into(), signed(&key, &body)),
            ("not a result", both.to_string().into(), signed(&key, &both)),
        ])
        .await;
    stranger.a_good_one_is_written(&key, &sealed).await;
}

#[tokio::test]
async fn a_result_that_is_published_again_does_not_outlive_its_time() {
    let limits = Limits { result_ttl: Duration::from_secs(4), ..Plan::on(Ground::RabbitAndRedis).limits };
    let fleet = Plan { limits, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let stranger = Stranger::of(&fleet).await;
    let key = of_secret(APP);
    let body = with(&success(), &json!({"finished_at": clock::now_ms() - 1000}));
    let stored = "quicklogin:result:{forged-1}";
    stranger.publish(body.to_string().as_bytes(), signed(&key, &body)).await;
    fleet.result_json(&id("forged-1")).await;
    assert!(fleet.redis().ttl_ms(stored).is_some_and(|ttl| ttl <= 3000), "what was left of its time");
    eventually("it is gone", async || fleet.redis().get(stored).is_none()).await;
    stranger
        .all_refused(vec![("the result is older than result.ttl_s", body.to_string().into(), signed(&key, &body))])
        .await;
}

#[tokio::test]
async fn a_result_of_a_claim_that_redis_has_lost_is_written_and_one_of_another_claim_is_not() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let stranger = Stranger::of(&fleet).await;
    let (key, minute) = (of_secret(APP), Duration::from_secs(60));
    fleet.store.claim(&id("claimed"), "another", minute, minute).await.expect("the store answers");
    let of_claimed = with(&failure(), &json!({"request_id": "claimed"}));
    stranger.publish(of_claimed.to_string().as_bytes(), signed(&key, &of_claimed)).await;
    stranger.a_good_one_is_written(&key, &failure()).await;
    assert_eq!(fleet.store.results(&[id("claimed")]).await, Ok(vec![None]), "another worker concludes it");
}

#[tokio::test]
async fn what_was_refused_as_a_result_is_not_replayed_as_a_login() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    let worker = site.worker();
    let _simulator = site.simulator();
    let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &json!({"appid": APP})).await;
    let login = json!({"request_id": "forged-1", "code": minted["code"], "appid": APP}).to_string();
    let stranger = Publisher::connect(servers.vhost.url()).await;
    let depth = |queue: &str| Broker::shared().queue_depths(&servers.vhost)[queue].ready;
    for n in 1..=2 {
        let sent = stranger.publish("", RESULTS, login.as_bytes(), Publisher::properties("forged-1")).await;
        assert_eq!(sent.expect("it is connected"), Outcome::Taken);
        eventually("it is dead", async || depth(DEAD) == n).await;
    }
    assert!(worker.said().contains("a result in the outbox is refused"), "{}", worker.said());
    assert_eq!(worker.said().matches("in the outbox is refused").count(), 1, "not each time: {}", worker.said());
    // RabbitMQ's own dead-lettering keeps the body.
    let mut moved = FieldTable::default();
    let mut death = FieldTable::default();
    death.insert("queue".into(), AMQPValue::LongString(RESULTS.into()));
    death.insert("reason".into(), AMQPValue::LongString("rejected".into()));
    moved.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
    moved.insert("x-quicklogin-mac".into(), AMQPValue::LongString(of_secret(APP).sign(&id("a"), OWNER, b"b").into()));
    let sent =
        stranger.publish("", DEAD, login.as_bytes(), Publisher::properties("forged-1").with_headers(moved)).await;
    assert_eq!(sent.expect("it is connected"), Outcome::Taken);
    let replayed = site.run(&["dead", "replay", "--all"]);
    let counted = replayed.stderr.lines().next();
    assert_eq!(counted, Some("replayed 0, refused 3 (from the result outbox 3), left 3"), "{}", replayed.stderr);
    assert_eq!((depth(DEAD), servers.redis.keys("quicklogin:result:*")), (3, vec![]));
    let shown = site.run(&["dead", "show", "--position", "3"]).stdout;
    let mac = of_secret(APP).sign(&id("a"), OWNER, b"b");
    assert!(shown.contains("from the result outbox") && !shown.contains(&mac), "{shown}");
}

#[tokio::test]
async fn results_of_an_app_that_this_worker_does_not_serve_wait_behind_the_others() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let stranger = Stranger::of(&fleet).await;
    let of_sister = with(&success(), &json!({"appid": SISTER, "request_id": "of-sister"}));
    for _ in 0..20 {
        stranger.publish(of_sister.to_string().as_bytes(), signed(&of_secret(SISTER), &of_sister)).await;
    }
    stranger.a_good_one_is_written(&of_secret(APP), &success()).await;
    let depths = Broker::shared().queue_depths(fleet.vhost());
    assert_eq!((depths[RESULTS].ready + depths[RESULTS].unacked, depths[DEAD].ready), (20, 0), "another may serve it");
}

#[tokio::test]
async fn a_result_waits_while_its_appsecret_cannot_be_read() {
    let servers = Servers::start();
    let app = format!("[[apps]]\nappid = \"{APP}\"\nsecret_file = \"secret\"");
    let site = Site::with(&servers.settings(&app));
    let file = site.path().join("secret");
    let write_secret = || std::fs::write(&file, SECRET).expect("the folder is ours to write");
    write_secret();
    let worker = site.worker();
    std::fs::remove_file(&file).expect("it is there");
    let (stranger, body) = (Publisher::connect(servers.vhost.url()).await, success());
    let properties = BasicProperties::default().with_headers(signed(&of_secret(APP), &body));
    let sent = stranger.publish("", RESULTS, body.to_string().as_bytes(), properties).await;
    assert_eq!(sent.expect("it is connected"), Outcome::Taken);
    eventually("it waits", async || worker.said().contains("waits for its key")).await;
    let stored = "quicklogin:result:{forged-1}";
    assert_eq!((servers.redis.get(stored), Broker::shared().queue_depths(&servers.vhost)[DEAD].ready), (None, 0));
    write_secret();
    eventually("it is written", async || servers.redis.get(stored) == Some(body.to_string())).await;
    assert!(!worker.said().contains(SECRET), "{}", worker.said());
}
