//! What queue, store and line promise, written once and run on both backends, and once more with a cluster for store.

use std::time::Duration;

use bytes::Bytes;
use quicklogin::login::{Outcome, Reason, RequestId};
use quicklogin::queue::{Delivery, PublishFault, Queue, Settlement};
use quicklogin::simulator::{Mint, Step};
use quicklogin::store::{
    Bound, Claim, Claimed, CodeDigest, FinishedResult, Recorded, Reserved, SharedState, SharedToken, Store, Unclaimed,
};
use quicklogin::traceparent::Traceparent;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::fleet::{APP, Fleet, Ground, Plan, SISTER, SOON, app_id, eventually, id, request};

macro_rules! promises {
    ($($(#[$meta:meta])* async fn $name:ident($ground:ident: Ground) $body:block)+) => {
        mod embedded {
            use super::Ground;
            $(#[tokio::test] async fn $name() { super::$name(Ground::Embedded).await; })+
        }
        mod rabbit_and_redis {
            use super::Ground;
            $(#[tokio::test] async fn $name() { super::$name(Ground::RabbitAndRedis).await; })+
        }
        mod rabbit_and_cluster {
            use super::Ground;
            $(#[tokio::test] async fn $name() { super::$name(Ground::RabbitAndCluster).await; })+
        }
        $($(#[$meta])* async fn $name($ground: Ground) $body)+
    };
}

const LEASE: Duration = Duration::from_secs(5);
const KEEP: Duration = Duration::from_secs(60);

/// A fleet without workers: queue and store alone.
async fn ground(ground: Ground) -> Fleet {
    Plan { workers: 0, ..Plan::on(ground) }.start().await
}

async fn next(consumer: &mut quicklogin::queue::Consumer) -> Delivery {
    timeout(SOON, consumer.next()).await.expect("a delivery comes").expect("the consumer goes on")
}

async fn nothing_comes(queue: &Queue) {
    let mut consumer = queue.consume(10, CancellationToken::new());
    let mut consuming = consumer.consuming();
    timeout(SOON, consuming.wait_for(|consuming| *consuming)).await.expect("it consumes").expect("it goes on");
    assert!(timeout(Duration::from_millis(300), consumer.next()).await.is_err(), "the queue is empty");
}

async fn claim(store: &Store, name: &str, lease: Duration) -> Claim {
    store.claim(&id(name), &RequestId::generate().to_string(), lease, KEEP).await.expect("the store answers")
}

async fn mine(store: &Store, name: &str, lease: Duration) -> Claimed {
    match claim(store, name, lease).await {
        Claim::Mine(claimed) => claimed,
        other => panic!("{name} is free to claim: {other:?}"),
    }
}

/// Claims it as soon as the earlier lease has run out.
async fn mine_soon(store: &Store, name: &str, lease: Duration) -> Claimed {
    let mut claimed = None;
    eventually("the lease runs out", async || {
        if let Claim::Mine(mine) = claim(store, name, lease).await {
            claimed = Some(mine);
        }
        claimed.is_some()
    })
    .await;
    claimed.expect("it is mine")
}

fn finished(text: &str, succeeded: bool) -> FinishedResult {
    let status = if succeeded { "succeeded" } else { "failed" };
    let json = format!(r#"{{"request_id":"r","status":"{status}","note":"{text}"}}"#);
    FinishedResult { json: json.into(), succeeded, ttl: Duration::from_secs(60) }
}

async fn stored(store: &Store, name: &str) -> Option<Bytes> {
    store.results(&[id(name)]).await.expect("the store answers").remove(0)
}

fn digest(code: &str, subject: &str) -> CodeDigest {
    CodeDigest { code: code.to_owned(), subject: subject.to_owned() }
}

fn token(text: &str) -> SharedToken {
    let now = quicklogin::clock::now_ms();
    SharedToken {
        access_token: text.to_owned().into(),
        expires_at: now + 60_000,
        fetched_at: now,
        fetched_by: Some("host/1".into()),
        source: Some("stable".into()),
    }
}

promises! {
    async fn what_is_published_is_delivered_and_once_acked_never_again(on: Ground) {
        let fleet = ground(on).await;
        let trace = Traceparent::generate();
        let sent = request("code-1");
        fleet.queue.publish(&sent, &trace).await.expect("taken");
        let mut consumer = fleet.queue.consume(10, CancellationToken::new());
        let delivery = next(&mut consumer).await;
        assert_eq!((&delivery.body, delivery.redelivered), (&sent.encode(), false));
        assert_eq!(delivery.traceparent.as_ref(), Some(&trace));
        delivery.settle(Settlement::Ack).await;
        consumer.close(SOON).await;
        nothing_comes(&fleet.queue).await;
    }

    async fn a_delivery_dropped_unsettled_comes_back(on: Ground) {
        let fleet = ground(on).await;
        fleet.publish(&request("code-1")).await;
        let mut consumer = fleet.queue.consume(10, CancellationToken::new());
        drop(next(&mut consumer).await);
        let again = next(&mut consumer).await;
        assert!(again.redelivered);
        again.settle(Settlement::Requeue).await;
        let once_more = next(&mut consumer).await;
        assert!(once_more.redelivered);
        once_more.settle(Settlement::Ack).await;
        consumer.close(SOON).await;
        nothing_comes(&fleet.queue).await;
    }

    async fn a_stopped_consumer_puts_back_what_it_did_not_hand_out(on: Ground) {
        let fleet = ground(on).await;
        for n in 0..20 {
            fleet.publish(&request(&format!("code-{n}"))).await;
        }
        let stop = CancellationToken::new();
        let mut consumer = fleet.queue.consume(10, stop.clone());
        let first = next(&mut consumer).await;
        stop.cancel();
        assert!(consumer.next().await.is_none());
        first.settle(Settlement::Ack).await;
        consumer.close(SOON).await;
        let mut other = fleet.queue.consume(30, CancellationToken::new());
        for _ in 0..19 {
            next(&mut other).await.settle(Settlement::Ack).await;
        }
        other.close(SOON).await;
        nothing_comes(&fleet.queue).await;
    }

    async fn a_full_queue_refuses(on: Ground) {
        let fleet = Plan { workers: 0, max_length: 5, ..Plan::on(on) }.start().await;
        let mut taken = 0;
        // RabbitMQ may overshoot its limit by a message or two.
        let refused = loop {
            match fleet.queue.publish(&request("code-1"), &Traceparent::generate()).await {
                Ok(()) => taken += 1,
                Err(fault) => break fault,
            }
            assert!(taken < 50, "a queue for 5 does not take 50");
        };
        assert_eq!(refused, PublishFault::Full);
        assert!(taken >= 5, "{taken}");
    }

    async fn a_claim_is_one_workers_until_it_runs_out(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        let first = mine(&store, "r", Duration::from_secs(2)).await;
        assert_eq!((first.asked, first.unheard), (0, false));
        assert!(matches!(claim(&store, "r", LEASE).await, Claim::Held { left } if left <= Duration::from_secs(2)));
        let second = mine_soon(&store, "r", LEASE).await;
        assert_eq!((second.asked, second.unheard), (1, true), "the first may have asked and missed the answer");
        assert!(!store.extend(&id("r"), &first, 2, LEASE).await.expect("the store answers"));
        assert!(store.extend(&id("r"), &second, 2, LEASE).await.expect("the store answers"));
    }

    async fn a_claim_whose_answer_was_lost_is_claimed_again_as_if_for_the_first_time(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        let again = async |owner: &str| store.claim(&id("r"), owner, LEASE, KEEP).await.expect("the store answers");
        let first = again("one").await;
        assert!(matches!(&first, Claim::Mine(claimed) if (claimed.asked, claimed.unheard) == (0, false)), "{first:?}");
        assert_eq!(again("one").await, first);
        assert!(matches!(again("two").await, Claim::Held { .. }));
        let Claim::Mine(claimed) = again("one").await else { panic!("it is mine") };
        store.release(&id("r"), &claimed, 3, true).await.expect("the store answers");
        let later = again("two").await;
        assert!(matches!(&later, Claim::Mine(claimed) if (claimed.asked, claimed.unheard) == (3, true)), "{later:?}");
        assert_eq!(again("two").await, later);
    }

    async fn a_request_id_belongs_to_one_code_and_one_openid(on: Ground) {
        let fleet = ground(on).await;
        let reserve = async |code, subject| {
            fleet.store.reserve_id(&id("r"), &digest(code, subject), KEEP).await.expect("the store answers")
        };
        assert_eq!(reserve("one", "victim").await, Reserved::Ours);
        assert_eq!(reserve("one", "victim").await, Reserved::Ours);
        assert_eq!(reserve("one", "attacker").await, Reserved::OtherSubject);
        assert_eq!(reserve("two", "victim").await, Reserved::OtherCode);
        assert_eq!(reserve("two", "attacker").await, Reserved::OtherCode);
    }

    async fn a_claim_given_back_tells_what_is_known(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        for (asked, unheard) in [(0, false), (2, false), (3, true)] {
            let name = format!("r-{asked}");
            let claimed = mine(&store, &name, LEASE).await;
            store.release(&id(&name), &claimed, asked, unheard).await.expect("the store answers");
            let next = mine(&store, &name, LEASE).await;
            assert_eq!((next.asked, next.unheard), (asked, unheard));
        }
    }

    async fn a_result_ends_the_claim_and_nothing_replaces_a_success(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        let claimed = mine(&store, "r", LEASE).await;
        let record = async |result: &FinishedResult| {
            store.record(&id("r"), &claimed, result).await.expect("the store answers")
        };
        assert_eq!(record(&finished("first", false)).await, Recorded::Written);
        assert_eq!(claim(&store, "r", LEASE).await, Claim::Recorded);
        assert_eq!(record(&finished("second", false)).await, Recorded::Kept);
        assert_eq!(stored(&store, "r").await, Some(finished("first", false).json));
        assert_eq!(record(&finished("third", true)).await, Recorded::Written, "a success replaces a failure");
        assert_eq!(record(&finished("fourth", true)).await, Recorded::Kept);
        assert_eq!(record(&finished("fifth", false)).await, Recorded::Kept);
        assert_eq!(stored(&store, "r").await, Some(finished("third", true).json));
    }

    async fn a_login_that_is_not_asked_has_its_failure_in_one_step_unless_somebody_has_claimed_it(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        let record = async |name: &str, text: &str| {
            store.record_unclaimed(&id(name), &finished(text, false)).await.expect("the store answers")
        };
        assert_eq!(record("r", "first").await, Unclaimed::Written);
        assert_eq!(record("r", "second").await, Unclaimed::Recorded);
        assert_eq!(stored(&store, "r").await, Some(finished("first", false).json));
        assert_eq!(claim(&store, "r", LEASE).await, Claim::Recorded);
        // One whose lease has run out may have missed an answer, and may still bring one.
        let zombie = mine(&store, "z", Duration::from_millis(1)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!((record("z", "late").await, stored(&store, "z").await), (Unclaimed::Claimed, None));
        store.release(&id("z"), &zombie, 1, true).await.expect("the store answers");
        assert_eq!(record("z", "given back").await, Unclaimed::Claimed);
        let success = store.record(&id("z"), &zombie, &finished("success", true)).await.expect("the store answers");
        assert_eq!((success, record("z", "after").await), (Recorded::Written, Unclaimed::Recorded));
    }

    async fn a_zombie_may_bring_a_success_but_no_failure(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        let zombie = mine(&store, "r", Duration::from_millis(50)).await;
        let living = mine_soon(&store, "r", LEASE).await;
        let late = store.record(&id("r"), &zombie, &finished("late", false)).await.expect("the store answers");
        assert_eq!((late, stored(&store, "r").await), (Recorded::NotMine, None));
        let late = store.record(&id("r"), &zombie, &finished("late", true)).await.expect("the store answers");
        assert_eq!(late, Recorded::Written);
        let after = store.record(&id("r"), &living, &finished("after", false)).await.expect("the store answers");
        assert_eq!(after, Recorded::Kept);
    }

    async fn a_result_is_gone_after_its_time(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        let claimed = mine(&store, "r", LEASE).await;
        let brief = FinishedResult { ttl: Duration::from_secs(2), ..finished("brief", true) };
        store.record(&id("r"), &claimed, &brief).await.expect("the store answers");
        assert!(stored(&store, "r").await.is_some());
        eventually("the result is gone", async || stored(&store, "r").await.is_none()).await;
    }

    async fn a_code_belongs_to_the_request_that_brought_it_first(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        let bind = async |name: &str, subject| {
            store.bind_code(&digest("code", subject), &id(name), KEEP).await.expect("the store answers")
        };
        assert_eq!(bind("a", "victim").await, Bound::First);
        assert_eq!(bind("b", "victim").await, Bound::Repeated(id("a")));
        for name in ["a", "b"] {
            assert_eq!(bind(name, "attacker").await, Bound::OtherSubject);
        }
        assert_eq!(bind("b", "victim").await, Bound::Repeated(id("a")), "a refused one changes nothing");
        assert!(!store.is_accepted(&id("a")).await.expect("the store answers"));
        store.mark_accepted(&id("a"), KEEP).await.expect("the store answers");
        assert!(store.is_accepted(&id("a")).await.expect("the store answers"));
    }

    async fn of_submissions_of_one_code_at_once_one_openid_wins(on: Ground) {
        let fleet = ground(on).await;
        let store = &fleet.store;
        let bind = async |n: usize| {
            let (name, subject) = (format!("r-{n}"), ["victim", "attacker"][n % 2]);
            let bound = store.bind_code(&digest("code", subject), &id(&name), KEEP).await.expect("the store answers");
            (n, bound)
        };
        let bound = futures_util::future::join_all((0..20).map(bind)).await;
        let firsts: Vec<_> = bound.iter().filter(|(_, bound)| *bound == Bound::First).map(|(n, _)| *n).collect();
        let [first] = firsts[..] else { panic!("one is the first: {bound:?}") };
        for (n, bound) in bound.into_iter().filter(|(n, _)| *n != first) {
            let same = n % 2 == first % 2;
            let expected = if same { Bound::Repeated(id(&format!("r-{first}"))) } else { Bound::OtherSubject };
            assert_eq!(bound, expected, "{n} after {first}");
        }
    }

    async fn a_binding_ends_with_the_codes_life(on: Ground) {
        let fleet = ground(on).await;
        let bind = async |name: &str, subject, life| {
            fleet.store.bind_code(&digest("code", subject), &id(name), life).await.expect("the store answers")
        };
        assert_eq!(bind("a", "victim", Duration::from_secs(1)).await, Bound::First);
        eventually("the code is free", async || bind("b", "another", KEEP).await == Bound::First).await;
    }

    async fn one_refreshes_a_token_and_only_the_leader_shares_one(on: Ground) {
        let fleet = ground(on).await;
        let store = fleet.store.clone();
        let app = app_id(APP);
        assert_eq!(store.shared_token(&app).await, Ok(SharedState::default()));
        assert_eq!(store.lead_refresh(&app, "one", Duration::from_secs(2)).await, Ok(true));
        assert_eq!(store.lead_refresh(&app, "two", LEASE).await, Ok(false));
        assert_eq!(store.lead_refresh(&app, "one", Duration::from_secs(2)).await, Ok(true), "a leader goes on leading");
        eventually("the lead runs out", async || store.lead_refresh(&app, "two", LEASE).await == Ok(true)).await;
        assert_eq!(store.share_token(&app, "one", &token("overtaken"), None).await, Ok(false));
        assert_eq!(store.shared_token(&app).await, Ok(SharedState::default()));
        let shared = token("good");
        assert_eq!(store.share_token(&app, "two", &shared, None).await, Ok(true));
        let state = SharedState { token: Some(shared), refusal: None };
        assert_eq!(store.shared_token(&app).await, Ok(state));
        assert_eq!(store.lead_refresh(&app, "three", LEASE).await, Ok(true), "sharing ends the lead");
        store.end_refresh(&app, "three", None).await.expect("the store answers");
        assert_eq!(store.lead_refresh(&app, "four", LEASE).await, Ok(true));
    }

    async fn a_ticket_gives_way_to_a_newer_one_and_never_to_an_older(on: Ground) {
        let fleet = ground(on).await;
        let keep = async |platform, ticket: &str, created_s| {
            fleet.store.keep_ticket(&app_id(platform), &ticket.into(), created_s).await.expect("the store answers")
        };
        let ticket = async || fleet.store.ticket(&app_id(SISTER)).await.expect("the store answers");
        assert_eq!(ticket().await, None);
        assert!(keep(SISTER, "second", 900_000_005).await);
        assert!(!keep(SISTER, "first", 900_000_004).await);
        assert_eq!(ticket().await, Some("second".into()));
        assert!(keep(SISTER, "second again", 900_000_005).await, "the same push once more");
        assert!(keep(APP, "another platform's", 1).await);
        assert!(keep(SISTER, "third", 1_413_192_605).await, "by number, not by text");
        assert!(!keep(SISTER, "fourth", 999_999_999).await);
        assert_eq!(ticket().await, Some("third".into()));
    }

    async fn a_code_becomes_its_phone_number(on: Ground) {
        let fleet = Plan::on(on).start().await;
        let tap = fleet.tap();
        let result = fleet.login(&tap.code).await;
        let Outcome::Succeeded(phone) = result.outcome else { panic!("{result:?}") };
        assert_eq!((phone.phone_number, result.attempts, result.appid), (tap.phone_number, 1, Some(app_id(APP))));
    }

    async fn a_thousand_deliveries_of_two_hundred_requests_ask_two_hundred_times(on: Ground) {
        let fleet = Plan { workers: 4, slots: 32, ..Plan::on(on) }.start().await;
        let taps = fleet.simulator.mint_many(&Mint::of(APP), 200).expect("the simulator knows the app");
        let requests: Vec<_> = taps.iter().map(|tap| request(&tap.code)).collect();
        for round in 0..5 {
            for n in 0..200 {
                fleet.publish(&requests[(n * 7 + round * 31) % 200]).await;
            }
        }
        for (tap, request) in taps.iter().zip(&requests) {
            let result = fleet.result(&request.request_id).await;
            let Outcome::Succeeded(phone) = result.outcome else { panic!("{result:?}") };
            assert_eq!(phone.phone_number, tap.phone_number, "each login gets its own number");
        }
        eventually("all thousand are settled", async || {
            let text = fleet.meters.render();
            text.contains("quicklogin_login_in_hand_seconds_count 1000")
        })
        .await;
        let asked = fleet.simulator.asked();
        assert_eq!((asked.phone.calls, asked.codes_asked_more_than_once), (200, 0));
    }

    async fn a_drained_worker_finishes_what_it_asked_and_loses_nothing(on: Ground) {
        let mut fleet = Plan { workers: 1, slots: 8, ..Plan::on(on) }.start().await;
        let slow = Mint::of(APP).script([Step::normal().late_ms(700)]);
        let taps = fleet.simulator.mint_many(&slow, 24).expect("the simulator knows the app");
        let requests: Vec<_> = taps.iter().map(|tap| request(&tap.code)).collect();
        for request in &requests {
            fleet.publish(request).await;
        }
        eventually("some are being asked", async || fleet.asked_for_phones() >= 8).await;
        fleet.drain_worker().await;
        fleet.add_worker();
        for request in &requests {
            let result = fleet.result(&request.request_id).await;
            assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 1));
        }
    }

    async fn a_login_given_back_while_it_waits_to_ask_again_loses_nothing(on: Ground) {
        let mut fleet = Plan { limits: quicklogin::worker::Limits {
            patience: Duration::from_secs(15), ..Plan::on(on).limits
        }, ..Plan::on(on) }.start().await;
        let tap = fleet.tap_with(&Mint::of(APP).script(vec![Step::errcode(45011); 2]));
        let request = request(&tap.code);
        fleet.publish(&request).await;
        eventually("it was throttled once", async || {
            // Or twice already, where this looks late.
            let text = fleet.meters.render();
            [1, 2].iter().any(|times| text.contains(&format!("quicklogin_answers_total{{answer=\"refused\"}} {times}\n")))
        })
        .await;
        fleet.stop_worker_hard().await;
        assert_eq!(stored(&fleet.store, request.request_id.as_str()).await, None);
        fleet.add_worker();
        let result = fleet.result(&request.request_id).await;
        assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 3));
    }

    async fn a_login_cut_off_while_it_asks_is_in_doubt_and_never_invalid(on: Ground) {
        let mut fleet = Plan { call_timeout: Duration::from_millis(2000), ..Plan::on(on) }.start().await;
        let tap = fleet.tap_with(&Mint::of(APP).script([Step::normal().late_ms(1900)]));
        let request = request(&tap.code);
        fleet.publish(&request).await;
        eventually("it is being asked", async || fleet.asked_for_phones() >= 1).await;
        fleet.stop_worker_hard().await;
        fleet.add_worker();
        let result = fleet.result(&request.request_id).await;
        let Outcome::Failed(failure) = result.outcome else { panic!("{result:?}") };
        assert_eq!((failure.reason, result.attempts), (Reason::InDoubt, 2), "WeChat had taken the code");
    }
}
