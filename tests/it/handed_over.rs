//! Results that cannot be written before a worker has to stop: another writes them.

use std::time::Duration;

use quicklogin::login::{Outcome, Reason, RequestId};
use quicklogin::queue::HeldResult;
use quicklogin::simulator::{Mint, Step};
use quicklogin::store::Claim;
use serde_json::{Value, json};

use crate::support::fleet::{APP, Fleet, Ground, Plan, eventually, request};
use crate::support::rabbit::Broker;

fn waiting_results(fleet: &Fleet) -> usize {
    let depths = Broker::shared().queue_depths(fleet.vhost());
    (depths["quicklogin.results"].ready + depths["quicklogin.results"].unacked) as usize
}

/// A result as some worker would have written it.
fn result(id: &RequestId, status: &str) -> Value {
    let mut body = json!({"request_id": id, "status": status, "appid": APP, "attempts": 1, "finished_at": 1});
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
    let json = body.to_string().into_bytes().into();
    let held = HeldResult { request_id: id.clone(), owner: owner.to_owned(), json };
    fleet.queue.hand_over(&held).await.expect("the queue takes it");
}

#[tokio::test]
async fn answers_held_at_a_hard_stop_while_redis_is_away_are_written_by_another_worker() {
    let mut fleet = Plan { durable_store: true, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
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
        let result = fleet.result(&request.request_id).await;
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
async fn what_is_no_result_becomes_a_dead_letter() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let id = RequestId::generate();
    hand_over(&fleet, &id, &json!({"hello": "world"})).await;
    eventually("it is dead", async || Broker::shared().queue_depths(fleet.vhost())["quicklogin.dead"].ready == 1).await;
}
