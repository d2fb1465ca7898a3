//! Bounds: a queue that is full says so, and a worker holds no more than it may, whatever waits.

use futures_util::future::join_all;
use quicklogin::login::LoginRequest;
use quicklogin::simulator::Mint;
use quicklogin::worker::Worker;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::overload::{dead, publish_all};
use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, app_id, eventually, id, request};

/// What a gauge shows.
fn gauge(fleet: &Fleet, name: &str) -> u64 {
    let text = fleet.meters.render();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("the gauge is there").parse().expect("a number")
}

#[tokio::test]
async fn whatever_waits_a_worker_holds_no_more_than_it_may_have_in_hand() {
    const SLOTS: usize = 8;
    const OTHER: &str = "wx1111111111111111";
    let apps = vec![(APP, SECRET), (OTHER, SECRET)];
    let mut fleet = Plan { workers: 0, slots: SLOTS, apps, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    fleet.simulator.set_latency(100, 0);
    let live = |n: usize| {
        let app = if n.is_multiple_of(2) { APP } else { OTHER };
        LoginRequest { appid: Some(app_id(app)), ..request(&fleet.tap_with(&Mint::of(app)).code) }
    };
    // Dead ones among the living, so that acks go past those that are asked.
    let requests: Vec<_> = (0..1500).map(|n| if n % 10 == 0 { live(n / 10) } else { dead() }).collect();
    publish_all(&fleet, &requests).await;
    fleet.add_worker();
    let (mut unacked, mut in_hand, mut waiting) = (0, 0, 0);
    eventually("all are settled", async || {
        let depth = fleet.broker().queue_depths(fleet.vhost())["quicklogin.logins"];
        unacked = unacked.max(depth.unacked);
        in_hand = in_hand.max(gauge(&fleet, "quicklogin_logins_in_hand"));
        waiting = waiting.max(gauge(&fleet, "quicklogin_logins_waiting_for_share"));
        (depth.ready, depth.unacked) == (0, 0)
    })
    .await;
    let prefetch = u64::from(Worker::prefetch(SLOTS as u16));
    assert!(unacked > SLOTS as u64 && unacked <= prefetch, "{unacked} of {prefetch}");
    assert!(in_hand > 0 && in_hand <= prefetch, "{in_hand}");
    assert!(waiting <= SLOTS as u64, "{waiting}");
    for request in &requests {
        fleet.result(&request.request_id).await;
    }
}

#[tokio::test]
async fn a_queue_that_is_full_is_told_with_503_and_whatever_was_accepted_has_its_result() {
    let plan = Plan { slots: 4, max_length: 40, ..Plan::on(Ground::RabbitAndRedis) };
    let fleet = plan.start().await;
    // Hardly anything is worked off while they come.
    fleet.simulator.set_latency(2000, 0);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let submit = async |code: String| {
        let post = client.post(format!("{}/v1/logins", fleet.url)).header("content-type", "application/json");
        let answer = post.body(json!({"code": code}).to_string()).send().await.expect("an answer");
        match answer.status() {
            StatusCode::ACCEPTED => Ok(answer.text().await.expect("a body")),
            StatusCode::SERVICE_UNAVAILABLE => Err((code, answer.headers().contains_key("retry-after"))),
            status => panic!("{status}"),
        }
    };
    let (mut accepted, mut refused) = (vec![], vec![]);
    for answer in join_all((0..400).map(|_| submit(fleet.tap().code))).await {
        match answer {
            Ok(body) => accepted.push(body),
            Err((code, told_when)) => {
                assert!(told_when, "a caller is told when to come back");
                refused.push(code);
            }
        }
    }
    fleet.simulator.set_latency(5, 0);
    assert!(accepted.len() >= 40 && refused.len() >= 100, "{} and {}", accepted.len(), refused.len());
    // RabbitMQ takes more when a fifth of its bound is free again.
    let again = refused.pop().expect("some were refused");
    eventually("there is room again", async || match submit(again.clone()).await {
        Ok(body) => {
            accepted.push(body);
            true
        }
        Err(_) => false,
    })
    .await;
    for body in &accepted {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let id = id(body["request_id"].as_str().expect("an id"));
        assert_eq!(fleet.result(&id).await.outcome.as_str(), "succeeded");
    }
}
