//! An app that hangs, is throttled or slow takes its own share of a worker, and none of what the others need.

use std::time::Duration;

use futures_util::future::join_all;
use quicklogin::clock;
use quicklogin::login::{LoginRequest, LoginResult, Outcome, Reason};
use quicklogin::queue::Queue;
use quicklogin::simulator::{Endpoint, Mint, Mood, Step, Then};
use quicklogin::traceparent::Traceparent;
use quicklogin::worker::Limits;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, sleep_until};

use crate::overload::publish_all;
use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, SOON, app_id, eventually, request};

/// The app that the others must not harm.
const WELL: &str = APP;
const ILL: &str = "wx1111111111111111";
const ILL_TOO: &str = "wx2222222222222222";

const SLOTS: usize = 64;
/// What hangs is given up after so long.
const CALL: Duration = Duration::from_millis(1500);
/// What the machine that runs the tests may add to any time.
const NOISE: Duration = Duration::from_millis(50);
/// How often results are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Logins of one app at fixed times.
#[derive(Clone, Copy)]
struct Load {
    app: &'static str,
    every: Duration,
    logins: u32,
}

/// 50 logins a second for three seconds.
const STEADY: Load = Load { app: WELL, every: Duration::from_millis(20), logins: 150 };
/// In the same time, as many as would fill all slots and everything that is fetched ahead several times.
const FLOOD: Load = Load { app: ILL, every: Duration::from_millis(6), logins: 500 };

/// Times are measured by one test at a time.
async fn measuring() -> MutexGuard<'static, ()> {
    static MEASURING: Mutex<()> = Mutex::const_new(());
    MEASURING.lock().await
}

async fn fleet(ground: Ground) -> Fleet {
    let fleet = Plan { slots: SLOTS, apps: several(), call_timeout: CALL, ..Plan::on(ground) }.start().await;
    for app in [WELL, ILL, ILL_TOO] {
        let warm = login(&fleet, app, &[]);
        fleet.publish(&warm).await;
        assert_eq!(fleet.result(&warm.request_id).await.outcome.as_str(), "succeeded");
    }
    fleet
}

fn several() -> Vec<(&'static str, &'static str)> {
    [WELL, ILL, ILL_TOO].map(|app| (app, SECRET)).to_vec()
}

/// A request of this app, with a code whose script is these steps.
fn login(fleet: &Fleet, app: &str, script: &[Step]) -> LoginRequest {
    let tap = fleet.tap_with(&Mint::of(app).script(script.to_vec()));
    LoginRequest { appid: Some(app_id(app)), ..request(&tap.code) }
}

fn mood(endpoint: Endpoint, app: &str, step: impl Into<Step>) -> Mood {
    Mood { endpoint, appid: Some(app.into()), calls: None, step: step.into() }
}

/// Publishes a load, each login at its time; answers the logins, each with the time when it was due.
async fn send(queue: Queue, requests: Vec<LoginRequest>, every: Duration) -> Vec<(LoginRequest, Instant)> {
    let began = Instant::now();
    let send = async |(n, request): (usize, LoginRequest)| {
        let due = began + every * n as u32;
        sleep_until(due).await;
        queue.publish(&request, &Traceparent::generate()).await.expect("the queue takes it");
        (request, due)
    };
    join_all(requests.into_iter().enumerate().map(send)).await
}

/// Runs all loads at once; answers how long the logins of the first took from their time to their result, shortest
/// first, and the requests of the others; or which of the first did not succeed.
async fn run(fleet: &Fleet, loads: &[Load]) -> Result<(Vec<Duration>, Vec<LoginRequest>), String> {
    let mut requests = loads.iter().map(|load| (0..load.logins).map(|_| login(fleet, load.app, &[])).collect());
    let measured: Vec<LoginRequest> = requests.next().expect("a load to measure");
    let ids: Vec<_> = measured.iter().map(|request| request.request_id.clone()).collect();
    let others: Vec<_> = requests
        .zip(&loads[1..])
        .map(|(requests, load)| tokio::spawn(send(fleet.queue.clone(), requests, load.every)))
        .collect();
    let sent = tokio::spawn(send(fleet.queue.clone(), measured, loads[0].every));
    let mut seen: Vec<Option<Instant>> = vec![None; ids.len()];
    let until = Instant::now() + loads[0].every * loads[0].logins + SOON;
    while seen.iter().any(Option::is_none) {
        assert!(Instant::now() < until, "every login has a result within {SOON:?}");
        sleep(LOOK_EVERY).await;
        let missing: Vec<_> = (0..ids.len()).filter(|n| seen[*n].is_none()).collect();
        let asked: Vec<_> = missing.iter().map(|n| ids[*n].clone()).collect();
        let Ok(found) = fleet.store.results(&asked).await else { continue };
        for (n, json) in missing.into_iter().zip(found) {
            let Some(json) = json else { continue };
            seen[n] = Some(Instant::now());
            let result = LoginResult::from_json(&json, None).expect("as the contract says");
            if result.outcome.as_str() != "succeeded" {
                return Err(format!("{result:?}"));
            }
        }
    }
    let sent = sent.await.expect("the queue takes all");
    let mut took: Vec<_> = sent.iter().zip(seen).map(|((_, due), seen)| seen.expect("all are seen") - *due).collect();
    took.sort_unstable();
    let others = join_all(others).await.into_iter().flat_map(|sent| sent.expect("the queue takes all"));
    Ok((took, others.map(|(request, _)| request).collect()))
}

fn p99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// While this befalls the ill apps, the well one's logins all succeed and take no longer than twice what they take
/// otherwise; and each of the ill ones' has a result in the end. Answers those. A machine that others use has bad
/// moments, so it is measured up to three times.
async fn is_not_slowed_beside(ground: Ground, ill: &[Load], moods: &[Mood]) -> Vec<LoginResult> {
    let mut slow = String::new();
    for _ in 0..3 {
        match measured_beside(ground, ill, moods).await {
            Ok(results) => return results,
            Err(so_slow) => slow = format!("{slow}\n{so_slow}"),
        }
    }
    panic!("three times:{slow}");
}

async fn measured_beside(ground: Ground, ill: &[Load], moods: &[Mood]) -> Result<Vec<LoginResult>, String> {
    let measuring = measuring().await;
    let fleet = fleet(ground).await;
    let (idle, _) = run(&fleet, &[STEADY]).await?;
    for mood in moods {
        fleet.simulator.set_mood(mood.clone()).expect("a good mood");
    }
    let (beside, others) = run(&fleet, &[&[STEADY], ill].concat()).await?;
    if p99(&beside) > p99(&idle) * 2 + NOISE {
        return Err(format!("p99 {:?}, and {:?} idle; the longest {:?}", p99(&beside), p99(&idle), beside.last()));
    }
    drop(measuring);
    let mut results = vec![];
    for request in &others {
        results.push(fleet.result(&request.request_id).await);
    }
    Ok(results)
}

/// Logins that were told without asking that their app has its share.
fn declined(results: &[LoginResult]) -> usize {
    let of_share = |result: &&LoginResult| match &result.outcome {
        Outcome::Failed(failure) => {
            let told =
                failure.detail.as_deref().is_some_and(|detail| detail.contains("the app's share of this worker"));
            assert!(!told || (failure.reason, result.attempts) == (Reason::Unavailable, 0), "{result:?}");
            told
        }
        Outcome::Succeeded(_) => false,
    };
    results.iter().filter(of_share).count()
}

async fn an_app_that_hangs(ground: Ground) {
    let hang = mood(Endpoint::Phone, ILL, Then::HangBefore);
    let results = is_not_slowed_beside(ground, &[FLOOD], &[hang]).await;
    let declined = declined(&results);
    assert!((200..=500 - 48).contains(&declined), "{declined} of 500 declined");
    let in_doubt = results.iter().filter(|result| result.outcome.as_str() == "in_doubt").count();
    assert_eq!(in_doubt + declined, 500, "who was asked does not know, who was not asked was declined");
}

#[tokio::test]
async fn an_app_that_hangs_does_not_slow_the_others() {
    an_app_that_hangs(Ground::RabbitAndRedis).await;
}

#[tokio::test]
async fn an_app_that_hangs_does_not_slow_the_others_in_one_process() {
    an_app_that_hangs(Ground::Embedded).await;
}

#[tokio::test]
async fn two_apps_that_hang_do_not_slow_a_third() {
    let flood = Load { every: Duration::from_millis(10), logins: 300, ..FLOOD };
    let ill = [flood, Load { app: ILL_TOO, ..flood }];
    let moods = [ILL, ILL_TOO].map(|app| mood(Endpoint::Phone, app, Then::HangBefore));
    let results = is_not_slowed_beside(Ground::RabbitAndRedis, &ill, &moods).await;
    assert!(declined(&results) >= 200, "{} of 600 declined", declined(&results));
}

#[tokio::test]
async fn an_app_that_is_throttled_does_not_slow_the_others() {
    let throttled = mood(Endpoint::Phone, ILL, Step::errcode(45011));
    let results = is_not_slowed_beside(Ground::Embedded, &[FLOOD], &[throttled]).await;
    assert!(results.iter().any(|result| result.outcome.as_str() == "throttled"));
    assert!(declined(&results) >= 200, "{} of 500 declined", declined(&results));
}

#[tokio::test]
async fn an_app_that_is_slow_but_works_does_not_slow_the_others() {
    let slow = mood(Endpoint::Phone, ILL, Step::normal().late_ms(1000));
    let results = is_not_slowed_beside(Ground::Embedded, &[FLOOD], &[slow]).await;
    let succeeded = results.iter().filter(|result| result.outcome.as_str() == "succeeded").count();
    assert!(succeeded >= 100, "its own share goes on: {succeeded}");
    assert_eq!(succeeded + declined(&results), 500);
}

#[tokio::test]
async fn an_app_that_gets_no_token_does_not_slow_the_others() {
    let (revoked, hangs) =
        (mood(Endpoint::Phone, ILL, Step::errcode(40001)), mood(Endpoint::Token, ILL, Then::HangBefore));
    let results = is_not_slowed_beside(Ground::Embedded, &[FLOOD], &[revoked, hangs]).await;
    assert!(results.iter().any(|result| result.outcome.as_str() == "token_unavailable"));
    assert!(declined(&results) >= 200, "{} of 500 declined", declined(&results));
}

async fn a_backlog(ground: Ground) {
    let fleet = Plan { workers: 0, slots: SLOTS, apps: several(), ..Plan::on(ground) };
    let mut fleet = fleet.start().await;
    let apps = (0..3000).map(|n| if n % 15 == 14 { WELL } else { ILL });
    let requests: Vec<_> = apps.map(|app| login(&fleet, app, &[])).collect();
    for batch in requests.chunks(100) {
        join_all(batch.iter().map(|request| fleet.publish(request))).await;
    }
    fleet.add_worker();
    for request in &requests {
        let result = fleet.result(&request.request_id).await;
        assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 1), "{result:?}");
    }
    assert!(fleet.meters.render().contains("quicklogin_logins_declined_total 0\n"));
}

#[tokio::test]
async fn a_backlog_of_a_healthy_app_is_worked_off_without_a_failure() {
    a_backlog(Ground::RabbitAndRedis).await;
}

#[tokio::test]
async fn a_backlog_of_a_healthy_app_is_worked_off_without_a_failure_in_one_process() {
    a_backlog(Ground::Embedded).await;
}

#[tokio::test]
async fn a_login_that_is_declined_after_somebody_asked_for_it_is_in_doubt() {
    let fleet = Plan { slots: 4, apps: several(), call_timeout: CALL, ..Plan::on(Ground::Embedded) }.start().await;
    let hangs = [Then::HangBefore.into()];
    for _ in 0..10 {
        fleet.publish(&login(&fleet, ILL, &[&hangs[..]; 4].concat())).await;
    }
    eventually("its share is taken", async || declined_so_far(&fleet)).await;
    let request = login(&fleet, ILL, &[]);
    let (lease, keep) = (Duration::from_millis(1), Duration::from_secs(60));
    fleet.store.claim(&request.request_id, "a worker that died", lease, keep).await.expect("the store answers");
    sleep(lease * 10).await;
    fleet.publish(&request).await;
    let result = fleet.result(&request.request_id).await;
    let Outcome::Failed(failure) = &result.outcome else { panic!("{result:?}") };
    assert_eq!((failure.reason, fleet.simulator.asked_of(request.code.expose()).asked), (Reason::InDoubt, 0));
    assert!(failure.detail.as_deref().is_some_and(|detail| detail.contains("share")), "{failure:?}");
}

fn declined_so_far(fleet: &Fleet) -> bool {
    !fleet.meters.render().contains("quicklogin_logins_declined_total 0\n")
}

#[tokio::test]
async fn a_login_whose_time_is_up_while_it_waits_for_a_slot_expires_unasked() {
    let fleet = Plan { slots: 4, apps: several(), ..Plan::on(Ground::Embedded) }.start().await;
    for _ in 0..3 {
        fleet.publish(&login(&fleet, ILL, &[Step::normal().late_ms(1200)])).await;
    }
    eventually("the slots are taken", async || fleet.asked_for_phones() == 3).await;
    let brief = LoginRequest { deadline: Some(clock::now_ms() + 200), ..login(&fleet, ILL, &[]) };
    fleet.publish(&brief).await;
    let result = fleet.result(&brief.request_id).await;
    assert_eq!((result.outcome.as_str(), result.attempts, fleet.asked_for_phones()), ("expired", 0, 3));
}

#[tokio::test]
async fn a_store_that_is_away_in_the_midst_of_a_backlog_makes_no_app_slow() {
    // Beside the floods of the others, a machine can be too slow for any app to be quick.
    let _measuring = measuring().await;
    let fleet = fleet(Ground::RabbitAndRedis).await;
    let late = [Step::normal().late_ms(50)];
    let apps = (0..900).map(|n| if n % 10 == 9 { WELL } else { ILL });
    let requests: Vec<_> = apps.map(|app| login(&fleet, app, &late)).collect();
    let asked = fleet.asked_for_phones();
    publish_all(&fleet, &requests).await;
    eventually("some were asked", async || fleet.asked_for_phones() > asked + 100).await;
    fleet.redis().freeze();
    sleep(Duration::from_millis(2500)).await;
    fleet.redis().thaw();
    for request in &requests {
        let result = fleet.result(&request.request_id).await;
        assert_eq!(result.outcome.as_str(), "succeeded", "{result:?}");
    }
    assert!(!declined_so_far(&fleet));
}

#[tokio::test]
async fn a_login_that_waits_for_its_turn_has_patience_with_a_store_that_is_away() {
    let fleet = Plan { slots: 4, apps: several(), ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let warm = login(&fleet, ILL, &[]);
    fleet.publish(&warm).await;
    assert_eq!(fleet.result(&warm.request_id).await.outcome.as_str(), "succeeded");
    let late = [Step::normal().late_ms(1000)];
    let requests: Vec<_> = (0..6).map(|_| login(&fleet, ILL, &late)).collect();
    fleet.redis().freeze();
    join_all(requests.iter().map(|request| fleet.publish(request))).await;
    eventually("three have slots, and three wait for them", async || {
        fleet.meters.render().contains("quicklogin_logins_waiting_for_share 3\n")
    })
    .await;
    // Nearly their patience, which is over when Redis is back, and those in the slots have not been asked for long.
    sleep(Duration::from_millis(2400)).await;
    fleet.redis().thaw();
    for request in &requests {
        let result = fleet.result(&request.request_id).await;
        assert_eq!(result.outcome.as_str(), "succeeded", "{result:?}");
    }
}

async fn a_soft_stop(ground: Ground) {
    let plan = Plan::on(ground);
    let limits = Limits { patience: Duration::from_secs(20), ..plan.limits };
    let mut fleet = Plan { slots: 8, apps: several(), limits, ..plan }.start().await;
    let late = [Step::normal().late_ms(1500)];
    let requests: Vec<_> = (0..16).map(|_| login(&fleet, ILL, &late)).collect();
    join_all(requests.iter().map(|request| fleet.publish(request))).await;
    eventually("three quarters ask, and the room has as many", async || {
        fleet.asked_for_phones() == 6 && fleet.meters.render().contains("quicklogin_logins_waiting_for_share 6\n")
    })
    .await;
    fleet.drain_worker().await;
    let text = fleet.meters.render();
    assert!(text.contains("quicklogin_requeued_total 6\n") && text.contains("waiting_for_share 0\n"), "{text}");
    assert_eq!(fleet.asked_for_phones(), 6, "only those in slots are finished");
    fleet.add_worker();
    for request in &requests {
        let result = fleet.result(&request.request_id).await;
        assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 1), "{result:?}");
    }
}

#[tokio::test]
async fn at_the_soft_stop_what_waits_for_a_slot_goes_back_unclaimed() {
    a_soft_stop(Ground::RabbitAndRedis).await;
}

#[tokio::test]
async fn at_the_soft_stop_what_waits_for_a_slot_goes_back_unclaimed_in_one_process() {
    a_soft_stop(Ground::Embedded).await;
}
