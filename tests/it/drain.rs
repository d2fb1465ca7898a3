//! A worker that is told to stop: it takes nothing more, finishes what it asked, gives the rest back, and says how it went.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quicklogin::login::LoginRequest;
use quicklogin::simulator::{Mint, Step, Then};
use quicklogin::store::Claim;
use tokio::task::block_in_place;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::support::fleet::{APP, Fleet, Ground, Plan, eventually, request};
use crate::support::line::{Line, Tap};
use crate::support::process::Process;
use crate::support::rabbit::Broker;
use crate::support::redis::Redis;

const LOGINS: &str = "quicklogin.logins";
/// As many as are in hand at once; the rest is the backlog.
const SLOTS: usize = 8;
const ALL: usize = 30;
/// What a stop may take beyond its drain: last words, last acks, the background; on a busy machine.
const BEYOND: Duration = Duration::from_secs(10);

/// A line with so many settings, whose worker holds all that it may, and the backlog waits.
struct Busy {
    line: Line,
    worker: Process,
    /// Those in hand come first.
    taps: Vec<Tap>,
}

impl Busy {
    async fn with(settings: &str, script: &[Step]) -> Self {
        Self::on(Line::on(Redis::start_durable(), &format!("worker.slots = {SLOTS}\n{settings}")).await, &[], script)
            .await
    }

    async fn on(line: Line, variables: &[(&str, &str)], script: &[Step]) -> Self {
        let worker = line.worker_with(variables);
        let mut taps = line.taps(SLOTS, script);
        line.publish_all(&taps).await;
        eventually("all slots are taken", async || line.calls() == SLOTS as u64).await;
        let backlog = line.taps(ALL - SLOTS, &[]);
        line.publish_all(&backlog).await;
        taps.extend(backlog);
        Self { line, worker, taps }
    }

    /// Ends with this code within this time and what a stop may take beyond it.
    fn ends_with(&mut self, code: i32, within: Duration) {
        let (began, limit) = (Instant::now(), within + BEYOND);
        let ended = self.worker.end_within(limit);
        let said = self.worker.said();
        assert_eq!(ended.and_then(|status| status.code()), Some(code), "after {:?}: {said}", began.elapsed());
    }

    /// Nothing but what was in hand was asked, and all the rest is there for others.
    async fn has_given_back_the_backlog(&self) {
        let all_back = async || self.line.depth(LOGINS).ready == (ALL - SLOTS) as u64;
        eventually("the backlog is back", all_back).await;
        assert_eq!(self.line.calls(), SLOTS as u64);
    }

    fn in_hand(&self) -> &[Tap] {
        &self.taps[..SLOTS]
    }

    fn backlog(&self) -> &[Tap] {
        &self.taps[SLOTS..]
    }
}

#[tokio::test]
async fn calls_in_flight_are_finished_and_the_backlog_goes_back() {
    let mut busy = Busy::with("", &[Step::normal().late_ms(2500)]).await;
    busy.worker.terminate();
    busy.ends_with(0, Duration::from_millis(2500));
    busy.has_given_back_the_backlog().await;
    assert!(busy.in_hand().iter().all(|tap| busy.line.result_now(tap).is_some()), "before it ended");
    let _another = busy.line.worker();
    busy.line.all_succeed_asked_once(&busy.taps).await;
}

#[tokio::test]
async fn with_rabbitmq_away_calls_are_finished_and_written_and_their_redeliveries_only_acked() {
    let line = Line::on_its_own(Broker::start(), &format!("worker.slots = {SLOTS}\nworker.drain_s = 8")).await;
    let mut busy = Busy::on(line, &[], &[Step::normal().late_ms(4500)]).await;
    busy.line.broker().kill();
    busy.worker.terminate();
    busy.ends_with(3, Duration::from_secs(8));
    assert_eq!(busy.line.calls(), SLOTS as u64);
    assert!(busy.in_hand().iter().all(|tap| busy.line.result_now(tap).is_some()), "before it ended");
    busy.line.broker().restart();
    let _another = busy.line.worker();
    busy.line.all_succeed_asked_once(&busy.taps).await;
}

#[tokio::test]
async fn with_redis_away_answers_are_handed_over_and_the_backlog_goes_back() {
    let mut busy = Busy::with("worker.drain_s = 5", &[Step::normal().late_ms(2500)]).await;
    busy.line.servers.redis.kill();
    busy.worker.terminate();
    busy.ends_with(3, Duration::from_secs(5));
    busy.has_given_back_the_backlog().await;
    assert_eq!(busy.line.depth("quicklogin.results").ready, SLOTS as u64);
    busy.line.servers.redis.restart();
    let _another = busy.line.worker();
    busy.line.all_succeed_asked_once(&busy.taps).await;
}

#[tokio::test]
async fn with_wechat_hanging_the_time_to_drain_is_kept() {
    let mut busy = Busy::with("worker.drain_s = 1\nwechat.timeout_ms = 5000", &[Then::HangBefore.into()]).await;
    let began = Instant::now();
    busy.worker.terminate();
    busy.ends_with(0, Duration::from_secs(1));
    assert!(began.elapsed() >= Duration::from_secs(1), "it has waited for WeChat");
    eventually("all is back", async || busy.line.depth(LOGINS).ready == ALL as u64).await;
    assert_eq!(busy.line.calls(), SLOTS as u64);
    let _another = busy.line.worker();
    busy.line.all_succeed_asked_once(busy.backlog()).await;
    for tap in busy.in_hand() {
        assert_eq!(busy.line.outcome(tap).await, ("succeeded".to_owned(), 2));
    }
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let mut busy = Busy::with("wechat.timeout_ms = 30000", &[Step::normal().late_ms(20_000)]).await;
    let began = Instant::now();
    busy.worker.terminate();
    busy.has_given_back_the_backlog().await;
    busy.worker.terminate();
    busy.ends_with(0, Duration::ZERO);
    assert!(began.elapsed() < Duration::from_secs(18), "no answer was waited for: {:?}", began.elapsed());
    eventually("all is back", async || busy.line.depth(LOGINS).ready == ALL as u64).await;
    assert!(busy.worker.said().contains("stopping at once signal=\"SIGTERM\""));
}

#[tokio::test]
async fn heartbeats_go_on_while_a_worker_drains() {
    let line = Line::start(&format!("worker.slots = {SLOTS}\nwechat.timeout_ms = 20000")).await;
    let url = format!("{}?heartbeat=1", line.servers.vhost.url());
    let mut busy = Busy::on(line, &[("QUICKLOGIN__RABBITMQ__URL", &url)], &[Step::normal().late_ms(10_000)]).await;
    busy.worker.terminate();
    busy.has_given_back_the_backlog().await;
    // RabbitMQ gives up who is silent for two or three of them.
    sleep(Duration::from_secs(4)).await;
    let depth = busy.line.depth(LOGINS);
    assert_eq!((depth.ready, depth.unacked), ((ALL - SLOTS) as u64, SLOTS as u64), "it still has all that it asked");
    busy.ends_with(0, Duration::from_secs(10));
    busy.has_given_back_the_backlog().await;
    let _another = busy.line.worker();
    busy.line.all_succeed_asked_once(&busy.taps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_rolling_restart_under_load_costs_nothing() {
    let line = Arc::new(Line::start("").await);
    let mut workers: VecDeque<_> = (0..4).map(|_| line.worker()).collect();
    let stop = CancellationToken::new();
    let load = {
        let (line, stop) = (Arc::clone(&line), stop.clone());
        tokio::spawn(async move { line.load_while(stop.cancelled(), &[Step::normal().late_ms(300)]).await })
    };
    block_in_place(|| {
        for _ in 0..8 {
            workers.push_back(line.worker());
            let mut old = workers.pop_front().expect("there are four and more");
            old.terminate();
            let ended = old.end_within(BEYOND).expect("it has little in hand");
            assert_eq!(ended.code(), Some(0), "{}", old.said());
            assert!(old.said().contains("login concluded"), "it was under load");
        }
    });
    stop.cancel();
    let taps = load.await.expect("a load does not panic");
    assert!(taps.len() > 50, "{}", taps.len());
    line.all_succeed_asked_once(&taps).await;
}

/// A login that somebody else has claimed, in the hand of the only worker, becomes free just after the hard stop.
async fn freed_after_the_hard_stop(fleet: &mut Fleet, login: &LoginRequest) {
    let (store, id, minute) = (fleet.store.clone(), &login.request_id, Duration::from_secs(60));
    let claim = store.claim(id, "another", minute, minute).await.expect("the store answers");
    let Claim::Mine(claimed) = claim else { panic!("nobody else knows it: {claim:?}") };
    fleet.publish(login).await;
    let in_hand = async || fleet.meters.render().contains("quicklogin_logins_in_hand 1\n");
    eventually("it waits for the other one", in_hand).await;
    // In this order: the stop is told before the claim is free.
    let freed = async { store.release(id, &claimed, 0, false).await.expect("the store answers") };
    tokio::join!(biased; fleet.stop_worker_hard(), freed);
}

#[tokio::test]
async fn after_the_hard_stop_no_code_is_asked_any_more() {
    for ground in [Ground::Embedded, Ground::RabbitAndRedis] {
        let mut fleet = Plan::on(ground).start().await;
        let first = fleet.login(&fleet.tap().code).await;
        assert_eq!(first.outcome.as_str(), "succeeded", "and the worker has a token at hand");
        let login = request(&fleet.tap_with(&Mint::of(APP).script([Step::normal().late_ms(1200)])).code);
        freed_after_the_hard_stop(&mut fleet, &login).await;
        assert_eq!(fleet.asked_for_phones(), 1, "{ground:?}: its answer would come too late");
        fleet.add_worker();
        let result = fleet.result(&login.request_id).await;
        assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 1), "{ground:?}");
    }
}
