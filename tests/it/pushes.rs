//! WeChat's pushes to third-party platforms, as the gateway takes them.

use quicklogin::secret::Secret;
use quicklogin::wechat::push::{MessageKey, MessageKeys};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::fleet::{APP, Fleet, Ground, Plan, app_id, eventually};
use crate::support::program::{Servers, Site};
use crate::support::push::{Platform, Push};

const OURS: Platform = Platform {
    appid: "wx00000000000000c0",
    token: "canaryMessageToken",
    key: "canaryMessageKey00000000000000000000000000A",
};
const SECOND: Platform =
    Platform { appid: "wx00000000000000c1", token: "anotherToken", key: "anotherMessageKey0000000000000000000000000A" };
const UNKNOWN: Platform = Platform { appid: "wx00000000000000c2", ..OURS };
const TICKET: &str = "ticket@@@canary-Ticket_1";
const CREATED_S: u64 = 1_413_192_605;
const GROUNDS: [Ground; 2] = [Ground::Embedded, Ground::RabbitAndRedis];

fn keys(of: Platform) -> MessageKeys {
    let key = MessageKey::try_from(&Secret::from(of.key)).expect("a good key");
    MessageKeys { platform: app_id(of.appid), token: of.token.into(), key }
}

fn plan(ground: Ground) -> Plan {
    Plan { workers: 0, platforms: vec![keys(OURS), keys(SECOND)], ..Plan::on(ground) }
}

async fn taken(fleet: &Fleet, push: &Push) {
    let response = push.send_to(&fleet.url).await;
    let (status, kind) = (response.status(), response.headers()["content-type"].to_str().expect("text").to_owned());
    let said = response.text().await.expect("text");
    assert_eq!((status, said.as_str()), (StatusCode::OK, "success"));
    assert!(kind.starts_with("text/plain"), "{kind}");
}

async fn problem(response: Response, status: StatusCode) -> Value {
    let (said, kind) = (response.status(), response.headers().get("content-type").cloned());
    let body: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default();
    assert_eq!(said, status, "{body}");
    assert_eq!(kind.as_ref().map(|kind| kind.as_bytes()), Some(&b"application/problem+json"[..]));
    assert_eq!(body["status"], status.as_u16());
    body
}

async fn ticket(fleet: &Fleet, platform: Platform) -> Option<Secret> {
    fleet.store.ticket(&app_id(platform.appid)).await.expect("the store answers")
}

fn assert_counted(fleet: &Fleet, kind: &str, outcome: &str, times: u32) {
    let text = fleet.meters.render();
    let line = format!("quicklogin_pushes_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} {times}\n");
    assert!(text.contains(&line), "{line} in\n{text}");
}

#[tokio::test]
async fn a_ticket_push_is_kept_and_answered_success() {
    for ground in GROUNDS {
        let fleet = plan(ground).start().await;
        taken(&fleet, &OURS.ticket(TICKET, CREATED_S)).await;
        assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()));
        assert_eq!(ticket(&fleet, SECOND).await, None);
        taken(&fleet, &SECOND.ticket("ticket@@@second", 1)).await;
        assert_eq!(ticket(&fleet, SECOND).await, Some("ticket@@@second".into()));
        assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()), "each platform has its own");
        assert_counted(&fleet, "ticket", "kept", 2);
    }
}

#[tokio::test]
async fn a_ticket_lives_for_twelve_hours_under_a_key_of_its_own() {
    let fleet = plan(Ground::RabbitAndRedis).start().await;
    let key = format!("quicklogin:ticket:{{{}}}", OURS.appid);
    for by_hand in ["no JSON", "7", "null", "[]", "{\"created_s\":null}", "{\"ticket\":\"by hand\"}"] {
        fleet.redis().cli(&["SET", &key, by_hand]);
        let expected = by_hand.contains("by hand").then(|| "by hand".into());
        assert_eq!(ticket(&fleet, OURS).await, expected, "{by_hand}");
        taken(&fleet, &OURS.ticket(TICKET, CREATED_S)).await;
        let stored: Value = serde_json::from_str(&fleet.redis().get(&key).expect("a ticket")).expect("JSON");
        assert_eq!(stored, json!({"ticket": TICKET, "created_s": CREATED_S}), "instead of {by_hand}");
    }
    let (twelve_hours, ttl) = (12 * 60 * 60 * 1000, fleet.redis().ttl_ms(&key).expect("it ends"));
    assert!((twelve_hours - 60_000..=twelve_hours).contains(&ttl), "{ttl}");
    assert_eq!(fleet.redis().keys("*ticket*"), [key]);
}

#[tokio::test]
async fn an_older_push_does_not_replace_a_newer_ticket() {
    for ground in GROUNDS {
        let fleet = plan(ground).start().await;
        for _ in 0..2 {
            taken(&fleet, &OURS.ticket("ticket@@@older", CREATED_S - 600)).await;
            taken(&fleet, &OURS.ticket(TICKET, CREATED_S)).await;
        }
        assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()));
        assert_counted(&fleet, "ticket", "kept", 3);
        assert_counted(&fleet, "ticket", "outdated", 1);
    }
}

#[tokio::test]
async fn a_push_with_a_wrong_signature_or_for_an_unknown_platform_changes_nothing() {
    for ground in GROUNDS {
        let fleet = plan(ground).start().await;
        taken(&fleet, &OURS.ticket(TICKET, CREATED_S)).await;
        let good = OURS.ticket("ticket@@@forged", CREATED_S + 1);
        let other_token = Platform { token: "guessed", ..OURS };
        let same_keys = Platform { appid: UNKNOWN.appid, ..OURS };
        let forged = [
            Push { signature: String::new(), ..good.clone() },
            Push { signature: "0".repeat(40), ..good.clone() },
            Push { nonce: "-1".into(), ..good.clone() },
            Push { nonce: format!("{0}&nonce={0}", good.nonce), ..good.clone() },
            Push { timestamp: String::new(), ..good.clone() },
            Push { body: OURS.ticket("ticket@@@other", CREATED_S + 2).body, ..good.clone() },
            Push { body: good.body.replace(OURS.appid, SECOND.appid), ..good.clone() },
            other_token.ticket("ticket@@@forged", CREATED_S + 1),
            UNKNOWN.ticket("ticket@@@forged", CREATED_S + 1),
            OURS.ticket("ticket@@@recorded", CREATED_S + 1).signed_at(OURS, 0),
            OURS.ticket("ticket@@@recorded", CREATED_S + 1)
                .signed_at(OURS, quicklogin::clock::now_ms() / 1000 - 86_400),
            OURS.ticket("ticket@@@recorded", CREATED_S + 1)
                .signed_at(OURS, quicklogin::clock::now_ms() / 1000 + 86_400),
            {
                let theirs = same_keys.ticket("ticket@@@forged", CREATED_S + 1);
                Push { body: theirs.body.replace(UNKNOWN.appid, OURS.appid), ..theirs }
            },
        ];
        let mut answers = Vec::new();
        for push in &forged {
            answers.push(problem(push.send_to(&fleet.url).await, StatusCode::FORBIDDEN).await);
        }
        assert!(answers[0]["detail"].as_str().is_some_and(|detail| detail.contains("[[platforms]]")), "{}", answers[0]);
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "no stranger learns more than another: {answers:?}"
        );
        assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()));
        assert_eq!((ticket(&fleet, SECOND).await, ticket(&fleet, UNKNOWN).await), (None, None));
        assert_counted(&fleet, "unread", "refused", forged.len() as u32);
        taken(&fleet, &good).await;
        assert_eq!(ticket(&fleet, OURS).await, Some("ticket@@@forged".into()), "nothing but the signature was wrong");
    }
}

#[tokio::test]
async fn a_push_that_cannot_be_read_is_400_and_one_that_is_too_long_413() {
    let fleet = plan(Ground::Embedded).start().await;
    let other_key = Platform { key: SECOND.key, ..OURS };
    let rows = [
        (Push { body: String::new(), ..OURS.ticket(TICKET, 1) }, StatusCode::BAD_REQUEST),
        (Push { body: "{}".into(), ..OURS.ticket(TICKET, 1) }, StatusCode::BAD_REQUEST),
        (Push { body: "<xml><AppId>wx</AppId>".into(), ..OURS.ticket(TICKET, 1) }, StatusCode::BAD_REQUEST),
        (other_key.ticket(TICKET, 1), StatusCode::BAD_REQUEST),
        (OURS.seal("no XML"), StatusCode::BAD_REQUEST),
        (OURS.push("component_verify_ticket", 1, ""), StatusCode::BAD_REQUEST),
        (OURS.push("authorized", 1, ""), StatusCode::BAD_REQUEST),
        (OURS.seal(&" ".repeat(13_000)), StatusCode::PAYLOAD_TOO_LARGE),
    ];
    for (push, status) in &rows {
        problem(push.send_to(&fleet.url).await, *status).await;
    }
    assert_eq!(ticket(&fleet, OURS).await, None);
    assert_counted(&fleet, "unread", "unreadable", rows.len() as u32);
}

#[tokio::test]
async fn what_merchants_change_and_what_is_unknown_is_taken_and_noted() {
    for ground in GROUNDS {
        let fleet = plan(ground).start().await;
        for kind in ["authorized", "updateauthorized", "unauthorized"] {
            taken(&fleet, &OURS.change(kind, APP)).await;
            assert_counted(&fleet, kind, "noted", 1);
        }
        taken(&fleet, &OURS.push("notify_third_fasteregister", 1, "<status>0</status>")).await;
        taken(&fleet, &OURS.push("something_new", 1, "<more><deep>1</deep></more>")).await;
        assert_counted(&fleet, "other", "noted", 2);
        assert_eq!(ticket(&fleet, OURS).await, None);
    }
}

#[tokio::test]
async fn a_push_that_comes_again_is_answered_and_nothing_is_done_about_it() {
    for ground in GROUNDS {
        let fleet = plan(ground).start().await;
        let (first, change) = (OURS.ticket("ticket@@@first", CREATED_S), OURS.change("unauthorized", APP));
        taken(&fleet, &first).await;
        taken(&fleet, &OURS.ticket(TICKET, CREATED_S)).await;
        for _ in 0..3 {
            taken(&fleet, &first).await;
            taken(&fleet, &change).await;
        }
        assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()), "a recorded push replaces nothing");
        assert_counted(&fleet, "ticket", "kept", 2);
        assert_counted(&fleet, "ticket", "repeated", 3);
        assert_counted(&fleet, "unauthorized", "noted", 1);
        assert_counted(&fleet, "unauthorized", "repeated", 2);
    }
}

#[tokio::test]
async fn a_ticket_of_the_far_future_does_not_keep_the_real_ones_out() {
    let now_s = || quicklogin::clock::now_ms() / 1000;
    for ground in GROUNDS {
        let fleet = plan(ground).start().await;
        for created_s in [now_s() + 86_400, 99_999_999_999, u64::MAX] {
            taken(&fleet, &OURS.ticket("ticket@@@future", created_s)).await;
            assert_eq!(ticket(&fleet, OURS).await, Some("ticket@@@future".into()), "it counts as one of now");
            taken(&fleet, &OURS.ticket(TICKET, now_s())).await;
            assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()), "{created_s}");
            taken(&fleet, &OURS.ticket("ticket@@@older", now_s() - 600)).await;
            assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()), "{created_s}");
        }
    }
    let fleet = plan(Ground::RabbitAndRedis).start().await;
    let key = format!("quicklogin:ticket:{{{}}}", OURS.appid);
    for stored in ["99999999999", "1e300"] {
        fleet.redis().cli(&["SET", &key, &format!("{{\"ticket\":\"ticket@@@future\",\"created_s\":{stored}}}")]);
        taken(&fleet, &OURS.ticket(TICKET, now_s())).await;
        assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()), "one that a former version has kept: {stored}");
    }
}

#[tokio::test]
async fn a_push_in_json_is_taken_like_one_in_xml() {
    for ground in GROUNDS {
        let fleet = plan(ground).start().await;
        let inner = json!({
            "AppId": OURS.appid, "CreateTime": CREATED_S, "InfoType": "component_verify_ticket",
            "ComponentVerifyTicket": TICKET,
        });
        for name in ["AppId", "ToUserName"] {
            taken(&fleet, &OURS.seal(&inner.to_string()).in_json(name, OURS.appid)).await;
        }
        taken(&fleet, &OURS.seal(&inner.to_string()).in_json("ToUserName", "gh_97417a04a28d")).await;
        assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()));
        assert_counted(&fleet, "ticket", "kept", 3);
        let forged = Push { signature: "0".repeat(40), ..OURS.seal(&inner.to_string()).in_json("AppId", OURS.appid) };
        problem(forged.send_to(&fleet.url).await, StatusCode::FORBIDDEN).await;
    }
}

#[tokio::test]
async fn wechats_check_of_the_url_is_answered_with_its_echostr() {
    let fleet = plan(Ground::Embedded).start().await;
    let client = Client::builder().no_proxy().build().expect("a client");
    let get = async |query: &str| {
        let url = format!("{}/wechat/events?{query}", fleet.url);
        client.get(url).send().await.expect("an answer")
    };
    let now_s = quicklogin::clock::now_ms() / 1000;
    for (of, echo) in [(OURS, "4375120948345356249"), (SECOND, "a-B_c.9")] {
        for query in [of.check(now_s, echo), of.encrypted_check(now_s, echo)] {
            let response = get(&query).await;
            assert_eq!(response.status(), StatusCode::OK, "{query}");
            assert!(response.headers()["content-type"].to_str().expect("text").starts_with("text/plain"));
            assert_eq!(response.text().await.expect("text"), echo, "{query}");
        }
    }
    for query in [
        OURS.check(0, "1"),
        OURS.check(now_s, "1").replace("signature=", "signature=0"),
        UNKNOWN.encrypted_check(now_s, "1").replace("msg_signature=", "msg_signature=0"),
        Platform { token: "guessed", ..OURS }.check(now_s, "1"),
        "echostr=1".into(),
    ] {
        problem(get(&query).await, StatusCode::FORBIDDEN).await;
    }
    problem(get("").await, StatusCode::METHOD_NOT_ALLOWED).await;
}

#[tokio::test]
async fn keys_guard_everything_else_but_not_this_route() {
    for ground in GROUNDS {
        let fleet = Plan { keys: vec!["key-one"], ..plan(ground) }.start().await;
        let client = Client::builder().no_proxy().build().expect("a client");
        let logins = format!("{}/v1/logins", fleet.url);
        problem(client.get(format!("{logins}/x")).send().await.expect("an answer"), StatusCode::UNAUTHORIZED).await;
        let submission = client.post(&logins).header("content-type", "application/json").body("{}");
        problem(submission.send().await.expect("an answer"), StatusCode::UNAUTHORIZED).await;
        taken(&fleet, &OURS.ticket(TICKET, CREATED_S)).await;
        assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()));
        let get = client.get(format!("{}/wechat/events", fleet.url)).send().await.expect("an answer");
        problem(get, StatusCode::METHOD_NOT_ALLOWED).await;
    }
}

#[tokio::test]
async fn the_route_is_there_and_described_only_where_a_platform_is_pushed_to() {
    for (platforms, status) in [(vec![], StatusCode::NOT_FOUND), (vec![keys(OURS)], StatusCode::OK)] {
        let fleet = Plan { platforms, ..plan(Ground::Embedded) }.start().await;
        assert_eq!(OURS.ticket(TICKET, CREATED_S).send_to(&fleet.url).await.status(), status);
        let client = Client::builder().no_proxy().build().expect("a client");
        let described = client.get(format!("{}/openapi.json", fleet.url)).send().await.expect("an answer");
        let api: Value = serde_json::from_slice(&described.bytes().await.expect("a body")).expect("JSON");
        assert!(api["paths"]["/v1/logins"]["post"].is_object() && api["components"]["schemas"]["Problem"].is_object());
        let events = &api["paths"]["/wechat/events"]["post"];
        assert_eq!(events["responses"]["403"].is_object(), status == StatusCode::OK, "{events}");
        assert!(events["security"].is_null(), "it takes no key: {events}");
    }
}

#[tokio::test]
async fn a_ticket_that_cannot_be_kept_is_503_and_everything_else_is_taken() {
    let fleet = plan(Ground::RabbitAndRedis).start().await;
    fleet.redis().freeze();
    let away = OURS.ticket(TICKET, CREATED_S).send_to(&fleet.url).await;
    assert!(away.headers().contains_key("retry-after"), "{away:?}");
    problem(away, StatusCode::SERVICE_UNAVAILABLE).await;
    taken(&fleet, &OURS.change("unauthorized", APP)).await;
    assert_counted(&fleet, "ticket", "store_away", 1);
    fleet.redis().thaw();
    eventually("the store is back", async || fleet.store.check_writable().await.is_ok()).await;
    taken(&fleet, &OURS.ticket(TICKET, CREATED_S)).await;
    assert_eq!(ticket(&fleet, OURS).await, Some(TICKET.into()));
}

#[tokio::test]
async fn no_ticket_token_or_key_reaches_a_log() {
    let servers = Servers::start();
    let more = format!(
        "log.filter = \"trace\"\n[[apps]]\nappid = \"{APP}\"\n[[platforms]]\nappid = \"{}\"\n\
         message_token = \"{}\"\nmessage_key = \"{}\"",
        OURS.appid, OURS.token, OURS.key
    );
    let site = Site::with(&servers.settings(&more));
    let mut gateway = site.gateway();
    let url = servers.gateway_url();
    let good = OURS.ticket(TICKET, CREATED_S);
    let key = format!("quicklogin:ticket:{{{}}}", OURS.appid);
    eventually("a ticket is kept", async || good.send_to(&url).await.status() == StatusCode::OK).await;
    assert!(servers.redis.get(&key).is_some_and(|kept| kept.contains(TICKET)), "so that there is a secret to be told");
    let wrong = [
        OURS.ticket(TICKET, CREATED_S - 1),
        Push { signature: "0".repeat(40), ..good.clone() },
        UNKNOWN.ticket(TICKET, CREATED_S),
        Platform { key: SECOND.key, ..OURS }.ticket(TICKET, CREATED_S),
        OURS.seal(TICKET),
        OURS.seal(&format!("<xml><InfoType>{TICKET}</InfoType></xml>")),
        OURS.push(
            "component_verify_ticket",
            1,
            &format!("<ComponentVerifyTicket><x>{TICKET}</x></ComponentVerifyTicket>"),
        ),
        OURS.push("authorized", 1, &format!("<AuthorizerAppid>{TICKET}</AuthorizerAppid>")),
        OURS.push("unauthorized", 1, &format!("<AuthorizerAppid>wx-merchant</AuthorizerAppid><x>{TICKET}</x>")),
        OURS.push("new_kind", 1, &format!("<x>{TICKET}</x>")),
        Push { body: TICKET.into(), ..good.clone() },
    ];
    for push in &wrong {
        let said = push.send_to(&url).await.text().await.expect("text");
        assert!(!said.contains("canary"), "{said}");
    }
    servers.redis.kill();
    let another = OURS.ticket(TICKET, CREATED_S);
    assert_eq!(another.send_to(&url).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    eventually("the gateway has noticed", async || gateway.said().contains("Redis is lost")).await;
    gateway.terminate();
    gateway.end_within(std::time::Duration::from_secs(5));
    let logs = site.logs();
    for line in ["a ticket was pushed", "a push was refused", "wx-merchant", "new_kind", "cannot be decrypted"] {
        assert!(logs.contains(line), "the logs are there to be searched: {line} in\n{logs}");
    }
    for secret in [TICKET, OURS.token, OURS.key] {
        let at = logs.lines().find(|line| line.contains(secret));
        assert!(at.is_none(), "a secret is in a log: {at:?}");
    }
}
