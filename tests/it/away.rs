//! WeChat away, for all of its callers and for a while: no code is spent in vain, patience is kept, and nobody storms it
//! when it is back.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use quicklogin::simulator::{Endpoint, Mint, Mood, Step, Then};
use quicklogin::worker::Limits;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::fleet::{APP, Fleet, Ground, Plan, eventually, request};
use crate::support::logins::{Account, Load};

async fn fleet(slots: usize, patience: Duration, call_timeout: Duration) -> Fleet {
    let plan = Plan::on(Ground::RabbitAndRedis);
    let limits = Limits { patience, ..plan.limits };
    Plan { slots, limits, call_timeout, ..plan }.start().await
}

fn all_calls(step: impl Into<Step>) -> Mood {
    Mood { endpoint: Endpoint::Phone, appid: None, calls: None, step: step.into() }
}

/// Logins while WeChat does this to all calls for a while, and until it has befallen somebody.
async fn through(step: impl Into<Step>) -> Account {
    let fleet = fleet(64, Duration::from_secs(20), Duration::from_secs(3)).await;
    let load = Load { logins: 100, over: Duration::from_millis(1500), wechat_takes_ms: 50 };
    let trouble = async || {
        let (asked, ends_not_before) = (fleet.asked_for_phones(), Instant::now() + Duration::from_millis(1200));
        fleet.simulator.set_mood(all_calls(step)).expect("a good mood");
        eventually("it befalls somebody", async || fleet.asked_for_phones() > asked).await;
        sleep_until(ends_not_before).await;
        fleet.simulator.clear_moods();
    };
    load.through(&fleet, trouble).await
}

fn all_succeed(account: &Account, step: &Step) {
    assert_eq!(account.by_outcome, BTreeMap::from([("succeeded".to_owned(), account.logins)]), "{step:?}");
    assert!(account.asked_again > 0, "{step:?} has befallen somebody");
}

#[tokio::test]
async fn all_succeed_when_wechat_is_back_that_was_busy_or_behind_a_bad_gateway() {
    for step in [Step::errcode(-1), Step::http(500, ""), Step::http(502, "<html>"), Step::http(503, "no")] {
        all_succeed(&through(step.clone()).await, &step);
    }
}

#[tokio::test]
async fn all_succeed_when_wechat_is_back_that_did_not_answer_and_did_not_take_their_codes() {
    for step in [Step::http(504, ""), Then::CutBefore.into(), Then::HangBefore.into()] {
        all_succeed(&through(step.clone()).await, &step);
    }
}

#[tokio::test]
async fn all_succeed_when_a_quota_of_a_minute_is_over() {
    for step in [Step::errcode(45011), Step::http(429, "slower")] {
        all_succeed(&through(step.clone()).await, &step);
    }
}

#[tokio::test]
async fn of_those_whose_answer_was_cut_or_hung_each_is_in_doubt_and_no_other() {
    for then in [Then::CutAfter, Then::CutInBody, Then::HangAfter, Then::HangInBody] {
        let account = through(then.clone()).await;
        let count = |outcome: &str| account.by_outcome.get(outcome).copied().unwrap_or(0);
        let (succeeded, in_doubt) = (count("succeeded"), count("in_doubt"));
        assert_eq!((succeeded + in_doubt, in_doubt), (account.logins, account.asked_again), "{then:?}: {account:?}");
        assert!(in_doubt > 0 && succeeded > 0, "{then:?}: {account:?}");
    }
}

#[tokio::test]
async fn a_login_is_asked_for_as_long_as_its_patience_lasts_and_no_longer() {
    let patience = Duration::from_secs(3);
    for step in [Step::errcode(-1), Step::http(503, ""), Then::CutBefore.into()] {
        let fleet = fleet(64, patience, Duration::from_millis(500)).await;
        fleet.simulator.set_mood(all_calls(step.clone())).expect("a good mood");
        let requests: Vec<_> = (0..50).map(|_| request(&fleet.tap().code)).collect();
        let began = quicklogin::clock::now_ms();
        join_all(requests.iter().map(|request| fleet.publish(request))).await;
        for request in &requests {
            let result = fleet.result(&request.request_id).await;
            let reason = if step == Then::CutBefore.into() { ["in_doubt", "unavailable"] } else { ["unavailable"; 2] };
            assert!(reason.contains(&result.outcome.as_str()), "{step:?}: {result:?}");
            // The last pause that would not end in time is not waited for: up to a second and a half.
            let took = result.finished_at - began;
            assert!((1400..6000).contains(&took), "{step:?}: {took} ms");
        }
        assert!(fleet.asked_for_phones() < 100, "one asks for all: {}", fleet.asked_for_phones());
    }
}

#[tokio::test]
async fn calls_that_hang_free_their_slots_in_their_time() {
    const SLOTS: usize = 8;
    let fleet = fleet(SLOTS, Duration::from_secs(20), Duration::from_millis(2000)).await;
    let hung = Mint::of(APP).script([Then::HangAfter.into()]);
    let hung: Vec<_> = (0..SLOTS).map(|_| request(&fleet.tap_with(&hung).code)).collect();
    for request in &hung {
        fleet.publish(request).await;
    }
    eventually("all slots hang", async || fleet.asked_for_phones() == SLOTS as u64).await;
    let (began, behind) = (Instant::now(), request(&fleet.tap().code));
    fleet.publish(&behind).await;
    assert_eq!(fleet.result(&behind.request_id).await.outcome.as_str(), "succeeded");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for request in &hung {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "in_doubt");
    }
}

/// Lets WeChat come back while as many wait as there are slots. Answers how many of them at most get their number within
/// 100 ms, by the worker's own clock.
async fn at_once_after_the_return(slots: usize) -> usize {
    let fleet = fleet(slots, Duration::from_secs(20), Duration::from_secs(5)).await;
    fleet.simulator.set_latency(30, 0);
    fleet.simulator.set_mood(all_calls(Step::errcode(-1))).expect("a good mood");
    let requests: Vec<_> = (0..slots).map(|_| request(&fleet.tap().code)).collect();
    for request in &requests {
        fleet.publish(request).await;
    }
    eventually("WeChat is away", async || fleet.meters.render().contains("quicklogin_wechat_away 1\n")).await;
    sleep(Duration::from_secs(2)).await;
    let waiting = fleet.meters.render();
    fleet.simulator.clear_moods();
    let mut finished = vec![];
    for request in &requests {
        let result = fleet.result(&request.request_id).await;
        assert_eq!(result.outcome.as_str(), "succeeded", "{waiting}");
        finished.push(result.finished_at);
    }
    finished.sort_unstable();
    (0..slots).map(|first| finished.partition_point(|at| *at < finished[first] + 100) - first).max().unwrap_or(0)
}

#[tokio::test]
async fn when_wechat_is_back_those_who_waited_come_by_and_by() {
    const SLOTS: usize = 128;
    let mut seen = vec![];
    for _ in 0..3 {
        seen.push(at_once_after_the_return(SLOTS).await);
        if seen.iter().any(|at_once| *at_once <= SLOTS * 3 / 4) {
            return;
        }
    }
    panic!("three times so many in 100 ms: {seen:?}");
}
