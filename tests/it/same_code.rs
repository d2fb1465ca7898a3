//! The same code submitted more than once: for the same openid it is one login, for another one it is refused.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::gateway::{Caller, problem};
use crate::support::fleet::{APP, Ground, Plan, settings_at};
use crate::support::rabbit::Broker;

#[tokio::test]
async fn the_same_code_with_another_openid_is_refused_whoever_is_first() {
    for ground in [Ground::Embedded, Ground::RabbitAndRedis] {
        let fleet = Plan::on(ground).start().await;
        let caller = Caller::of(&fleet);
        let openids = [json!("oVictim"), json!("oAttacker"), Value::Null];
        for (first, second) in [(0, 1), (1, 0), (0, 2), (2, 0)].map(|(a, b)| (&openids[a], &openids[b])) {
            let tap = fleet.tap();
            // The app may be named or not: it is the same one.
            let id = caller.accepted(&json!({"code": tap.code, "openid": first, "appid": APP})).await;
            for own in [json!(null), json!(id), json!(format!("own-{id}"))] {
                let body = json!({"code": tap.code, "openid": second, "request_id": own}).to_string();
                let refused = caller.post(body).send().await.expect("an answer");
                let refused = problem(refused, StatusCode::CONFLICT).await;
                assert!(refused.get("request_id").is_none(), "an id is the key to the result: {refused}");
                let text = refused.to_string();
                assert!(!text.contains(&id) && !text.contains("oVictim") && !text.contains(&tap.code), "{refused}");
            }
            let (status, again) = caller.submit(&json!({"code": tap.code, "openid": first})).await;
            assert_eq!((status, &again["request_id"]), (StatusCode::ACCEPTED, &json!(id)), "{again}");
            assert_eq!(again["repeated"], true, "{again}");
        }
        assert!(fleet.meters.render().contains("quicklogin_submitted_total{status=\"409\"} 12\n"));
    }
}

#[tokio::test]
async fn neither_code_nor_openid_stands_in_the_store_of_a_gateway() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let caller = Caller::of(&fleet);
    let tap = fleet.tap();
    caller.accepted(&json!({"code": tap.code, "openid": "oVictim", "request_id": "mine"})).await;
    let keys = fleet.redis().keys("*");
    let bindings: Vec<_> = keys.iter().filter(|key| key.contains(":code:") || key.contains(":request:")).collect();
    assert_eq!(bindings.len(), 2, "{keys:?}");
    for key in &keys {
        let text = format!("{key} {}", fleet.redis().get(key).expect("it is there"));
        assert!(!text.contains("oVictim") && !text.contains(&tap.code), "{text}");
        assert!(fleet.redis().ttl_ms(key).is_some(), "{key} ends");
    }
}

#[tokio::test]
async fn two_gateways_that_get_one_code_for_two_openids_at_once_accept_one_of_them() {
    let one = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let store = Some(settings_at(&one.redis().url()));
    let other = Plan { workers: 0, vhost: Some(one.vhost().clone()), store, ..Plan::on(Ground::RabbitAndRedis) };
    let other = other.start().await;
    let (here, there) = (Caller::of(&one), Caller::of(&other));
    for round in 0..10 {
        let code = one.tap().code;
        let body = |openid| json!({"code": code, "openid": openid});
        let (victim, attacker) = (body("oVictim"), body("oAttacker"));
        let (here, there) = tokio::join!(here.submit(&victim), there.submit(&attacker));
        let mut statuses = [here.0.as_u16(), there.0.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 409], "{round}: {here:?} {there:?}");
    }
    assert_eq!(Broker::shared().queue_depths(one.vhost())["quicklogin.logins"].ready, 10);
}
