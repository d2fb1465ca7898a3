//! Results that cannot be written before a worker has to stop: another writes them.

use std::time::Duration;

use quicklogin::clock;
use quicklogin::login::{LoginResult, Outcome, Reason, RequestId, SealingKey};
use quicklogin::queue::HeldResult;
use quicklogin::secret::Secret;
use quicklogin::simulator::{Mint, Step};
use quicklogin::store::{Claim, KeyKind};
use quicklogin::token::{External, ExternalKey, KeyName, Source, ValueFormat};
use quicklogin::worker::OutboxKey;
use serde_json::{Value, json};

use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, app_id, eventually, request};
use crate::support::program::{Servers, Site};
use crate::support::rabbit::Broker;

fn waiting_results(fleet: &Fleet) -> usize {
    let depths = Broker::shared().queue_depths(fleet.vhost());
    (depths["quicklogin.results"].ready + depths["quicklogin.results"].unacked) as usize
}

/// A result as some worker would have written it.
fn result(id: &RequestId, status: &str) -> Value {
    let mut body =
        json!({"request_id": id, "status": status, "appid": APP, "attempts": 1, "finished_at": clock::now_ms()});
    match status {
        "succeeded" => body["phone_info"] = json!({"phoneNumber": "13800000000"}),
        _ => body["error"] = json!({"reason": "invalid_code", "advice": "new_code"}),
    }
    body
}

async fn hand_over(fleet: &Fleet, id: &RequestId, body: &Value) {
    hand_over_of(fleet, id, "a worker that stopped", body).await;
}

async fn hand_over_of(fleet: &Fleet, id: &RequestId, owner: &str, body: &Value) {
    hand_over_with(fleet, &OutboxKey::of_app_secret(&app_id(APP), &SECRET.into()), id, owner, body).await;
}

async fn hand_over_with(fleet: &Fleet, key: &OutboxKey, id: &RequestId, owner: &str, body: &Value) {
    let json = body.to_string().into_bytes();
    let mac = key.sign(id, owner, &json);
    let held = HeldResult { request_id: id.clone(), owner: owner.to_owned(), mac, json: json.into() };
    fleet.queue.hand_over(&held).await.expect("the queue takes it");
}

fn setting(byte: u8) -> OutboxKey {
    OutboxKey::new(&Secret::from(base64_of([byte; 32]))).expect("32 bytes")
}

fn base64_of(bytes: [u8; 32]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Another system's token in the fleet's Redis.
fn external() -> Source {
    let name = KeyName::Template("tokens:{appid}".into());
    Source::External(External::Key(ExternalKey { redis: None, name, kind: KeyKind::Text, format: ValueFormat::Plain }))
}

fn show_external_token(fleet: &Fleet) {
    let token = fleet.simulator.token_of(APP).expect("the simulator knows the app");
    fleet.redis().cli(&["SET", &format!("tokens:{APP}"), &token, "EX", "7000"]);
}

#[tokio::test]
async fn answers_held_at_a_hard_stop_while_redis_is_away_are_written_by_another_worker() {
    let plan = Plan { durable_store: true, ..Plan::on(Ground::RabbitAndRedis) };
    written_by_another_worker(plan).await;
}

#[tokio::test]
async fn without_an_appsecret_results_are_handed_over_with_a_key_of_their_own_also_encrypted() {
    let sealing = SealingKey::new("k1", &Secret::from(base64_of([1; 32]))).expect("32 bytes");
    let plan = Plan {
        durable_store: true,
        source: |_, _| external(),
        outbox_key: Some(setting(7)),
        sealing: Some(sealing.into()),
        ..Plan::on(Ground::RabbitAndRedis)
    };
    written_by_another_worker(plan).await;
}

#[tokio::test]
async fn without_appsecret_and_key_nothing_is_handed_over_and_nothing_is_written() {
    let plan = Plan { durable_store: true, source: |_, _| external(), ..Plan::on(Ground::RabbitAndRedis) };
    let mut fleet = plan.start().await;
    show_external_token(&fleet);
    let id = RequestId::generate();
    // An AppSecret that this fleet does not have.
    hand_over(&fleet, &id, &result(&id, "succeeded")).await;
    eventually("it waits for a worker that has its key", async || waiting_results(&fleet) == 1).await;
    assert_eq!(fleet.store.results(std::slice::from_ref(&id)).await, Ok(vec![None]));
    let request = request(&fleet.tap_with(&Mint::of(APP).script([Step::normal().late_ms(1500)])).code);
    fleet.publish(&request).await;
    eventually("it is asked", async || fleet.asked_for_phones() == 1).await;
    fleet.redis().kill();
    let heard = || fleet.meters.render().contains("quicklogin_answers_total{answer=\"phone\"} 1\n");
    eventually("it is heard", async || heard()).await;
    fleet.stop_worker_hard().await;
    let waiting = || Broker::shared().queue_depths(fleet.vhost())["quicklogin.logins"].ready;
    eventually("the login is back", async || waiting() == 1).await;
    assert_eq!(waiting_results(&fleet), 1, "the other one alone");
}

async fn written_by_another_worker(plan: Plan) {
    let sealing = plan.sealing.clone();
    let mut fleet = plan.start().await;
    show_external_token(&fleet);
    let [good, dead] = [Step::normal(), Step::errcode(40029)].map(|step| Mint::of(APP).script([step.late_ms(2500)]));
    let taps: Vec<_> = (0..10).map(|n| fleet.tap_with(if n < 5 { &good } else { &dead })).collect();
    let requests: Vec<_> = taps.iter().map(|tap| request(&tap.code)).collect();
    for request in &requests {
        fleet.publish(request).await;
    }
    eventually("all are asked", async || fleet.asked_for_phones() == 10).await;
    fleet.redis().kill();
    let heard =
        |answer| fleet.meters.render().contains(&format!("quicklogin_answers_total{{answer=\"{answer}\"}} 5\n"));
    eventually("all are heard", async || heard("phone") && heard("refused")).await;
    fleet.stop_worker_hard().await;
    eventually("they are handed over", async || waiting_results(&fleet) == 10).await;
    fleet.redis().restart();
    fleet.add_worker();
    for (n, (request, tap)) in requests.iter().zip(&taps).enumerate() {
        let json = fleet.result_json(&request.request_id).await;
        assert_eq!(String::from_utf8_lossy(&json).contains("phone_info_jwe"), sealing.is_some() && n < 5);
        let result = LoginResult::from_json(&json, sealing.as_deref()).expect("a result as the contract says");
        match result.outcome {
            Outcome::Succeeded(phone) if n < 5 => assert_eq!(phone.phone_number, tap.phone_number),
            Outcome::Failed(failure) if n >= 5 => assert_eq!(failure.reason, Reason::InvalidCode),
            outcome => panic!("{n}: {outcome:?}"),
        }
        assert_eq!(result.attempts, 1);
    }
    assert_eq!((fleet.asked_for_phones(), waiting_results(&fleet)), (10, 0));
}

#[tokio::test]
async fn what_was_handed_over_waits_while_redis_is_away() {
    let fleet = Plan { durable_store: true, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let id = RequestId::generate();
    fleet.redis().kill();
    hand_over(&fleet, &id, &result(&id, "succeeded")).await;
    let in_hand = || Broker::shared().queue_depths(fleet.vhost())["quicklogin.results"].unacked == 1;
    eventually("a worker has it in hand", async || in_hand()).await;
    fleet.redis().restart();
    assert_eq!(fleet.result(&id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn a_failure_that_was_handed_over_replaces_nothing_and_a_success_does() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let id = RequestId::generate();
    hand_over(&fleet, &id, &result(&id, "failed")).await;
    assert_eq!(fleet.result(&id).await.outcome.as_str(), "invalid_code");
    hand_over(&fleet, &id, &result(&id, "succeeded")).await;
    eventually("the success replaces it", async || fleet.result(&id).await.outcome.as_str() == "succeeded").await;
    hand_over(&fleet, &id, &result(&id, "failed")).await;
    eventually("it is taken", async || waiting_results(&fleet) == 0).await;
    assert_eq!(fleet.result(&id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn a_failure_that_was_handed_over_is_for_the_last_who_claimed_the_login() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let (id, keep) = (RequestId::generate(), Duration::from_secs(60));
    for owner in ["first", "second"] {
        let claim = async || fleet.store.claim(&id, owner, Duration::from_millis(1), keep).await;
        eventually("it is free to claim", async || matches!(claim().await, Ok(Claim::Mine(_)))).await;
    }
    hand_over_of(&fleet, &id, "first", &result(&id, "failed")).await;
    eventually("it is taken", async || waiting_results(&fleet) == 0).await;
    assert_eq!(fleet.store.results(std::slice::from_ref(&id)).await, Ok(vec![None]), "the second concludes it");
    hand_over_of(&fleet, &id, "second", &result(&id, "failed")).await;
    assert_eq!(fleet.result(&id).await.outcome.as_str(), "invalid_code");
}

#[tokio::test]
async fn with_a_key_of_their_own_workers_take_no_appsecrets_key() {
    let fleet = Plan { outbox_key: Some(setting(7)), ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let [by_secret, by_other, good] = [(); 3].map(|()| RequestId::generate());
    hand_over(&fleet, &by_secret, &result(&by_secret, "succeeded")).await;
    hand_over_with(&fleet, &setting(8), &by_other, "owner", &result(&by_other, "succeeded")).await;
    let mut without_app = result(&good, "failed");
    without_app.as_object_mut().expect("an object").remove("appid");
    hand_over_with(&fleet, &setting(7), &good, "owner", &without_app).await;
    assert_eq!(fleet.result(&good).await.outcome.as_str(), "invalid_code");
    assert_eq!(fleet.store.results(&[by_secret, by_other]).await, Ok(vec![None, None]));
}

#[tokio::test]
async fn what_is_no_result_becomes_a_dead_letter() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let id = RequestId::generate();
    hand_over(&fleet, &id, &json!({"hello": "world"})).await;
    eventually("it is dead", async || Broker::shared().queue_depths(fleet.vhost())["quicklogin.dead"].ready == 1).await;
}

#[test]
fn a_worker_warns_of_apps_whose_results_it_cannot_hand_over() {
    let servers = Servers::start();
    let app = format!("[[apps]]\nappid = \"{APP}\"\ntoken = \"external\"\nexternal.key = \"tokens:{{appid}}\"");
    let key = base64_of([200; 32]);
    for (more, warns) in [(String::new(), true), (format!("result.outbox_key = \"{key}\"\n"), false)] {
        let site = Site::with(&servers.settings(&format!("{more}{app}")));
        let said = site.worker().said();
        assert_eq!(said.contains("result.outbox_key is not set"), warns, "{said}");
        assert!(!said.contains(&key), "{said}");
    }
}
