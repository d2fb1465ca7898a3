//! One token for the whole fleet, whatever happens to it.

use std::time::Duration;

use quicklogin::clock;
use quicklogin::login::{Advice, AppId, LoginRequest, Outcome, Reason};
use quicklogin::simulator::{AppChange, Endpoint, Mint, Mood, Step};
use quicklogin::store::SharedToken;
use quicklogin::token::{KeptSecret, Source};
use quicklogin::worker::Limits;
use tokio::time::{Instant, sleep};

use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, SISTER, app_id, eventually, request};

/// Keeps `per_round` logins coming for so many rounds of 50 ms, and answers how they ended.
async fn steady_load(
    fleet: &Fleet,
    rounds: usize,
    per_round: usize,
    mut each_round: impl FnMut(usize),
) -> Vec<&'static str> {
    let mut requests = Vec::new();
    for round in 0..rounds {
        each_round(round);
        for tap in fleet.simulator.mint_many(&Mint::of(APP), per_round).expect("the simulator knows the app") {
            let request = request(&tap.code);
            fleet.publish(&request).await;
            requests.push(request.request_id);
        }
        sleep(Duration::from_millis(50)).await;
    }
    let mut outcomes = Vec::new();
    for id in requests {
        outcomes.push(fleet.result(&id).await.outcome.as_str());
    }
    outcomes
}

fn all_succeeded(outcomes: &[&str]) {
    let failed: Vec<_> = outcomes.iter().filter(|outcome| **outcome != "succeeded").collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), outcomes.len());
}

#[tokio::test]
async fn every_token_revoked_four_times_under_load_and_nothing_fails() {
    let fleet = Plan { workers: 4, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let simulator = fleet.simulator.clone();
    let (mut revoked, calls) = (0, || simulator.asked_without_codes().stable_token.calls);
    let outcomes = steady_load(&fleet, 120, 10, |round| {
        // One that nobody has met yet is not revoked again.
        if round % 12 == 11 && revoked < 4 && calls() == 1 + revoked {
            simulator.invalidate_tokens(None).expect("it knows its apps");
            revoked += 1;
        }
    })
    .await;
    all_succeeded(&outcomes);
    assert_eq!((revoked, calls()), (4, 5), "once at the start, and once after each revocation");
}

/// How many tokens of eight seconds, each refreshed after six, there can have been by now.
fn at_most_lives(began: Instant) -> u64 {
    began.elapsed().as_millis() as u64 / 6000 + 2
}

#[tokio::test]
async fn a_token_at_the_end_of_its_life_is_replaced_by_one_worker_and_nobody_waits() {
    let fleet = Plan { workers: 3, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let short = AppChange { appid: APP.into(), token_life_s: Some(8), ..Default::default() };
    fleet.simulator.put_app(short).expect("a good change");
    let began = Instant::now();
    let outcomes = steady_load(&fleet, 340, 3, |_| {}).await;
    all_succeeded(&outcomes);
    let asked = fleet.simulator.asked_without_codes();
    let lives = asked.token_lives.len() as u64;
    assert!((3..=at_most_lives(began)).contains(&lives), "eight seconds each, for some seventeen seconds: {lives}");
    assert!(asked.stable_token.calls <= lives + 2, "{} calls for {lives} lives", asked.stable_token.calls);
    assert_eq!(asked.phone.by_errcode.get(&42001), None, "no login ever met a dead token");
}

#[tokio::test]
async fn classic_tokens_are_fetched_by_one_worker_for_each_life_and_nobody_waits() {
    let fleet = Plan { workers: 3, source: |_, secret| Source::Classic { secret }, ..Plan::on(Ground::RabbitAndRedis) }
        .start()
        .await;
    let short = AppChange { appid: APP.into(), token_life_s: Some(8), ..Default::default() };
    fleet.simulator.put_app(short).expect("a good change");
    let simulator = fleet.simulator.clone();
    let began = Instant::now();
    let outcomes = steady_load(&fleet, 340, 3, |round| {
        if round == 170 {
            simulator.invalidate_tokens(None).expect("it knows its apps");
        }
    })
    .await;
    all_succeeded(&outcomes);
    let asked = fleet.simulator.asked_without_codes();
    assert_eq!(asked.classic_token.calls, asked.token_lives.len() as u64, "each call begins a life");
    let lives = asked.classic_token.calls;
    assert!((4..=at_most_lives(began) + 1).contains(&lives), "one more than by age alone: {lives}");
    assert_eq!((asked.stable_token.calls, asked.phone.by_errcode.get(&42001)), (0, None));
}

#[tokio::test]
async fn a_thousand_logins_with_a_wrong_secret_ask_for_a_token_a_handful_of_times() {
    let fleet = Plan { workers: 2, slots: 256, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let wrong = AppChange { appid: APP.into(), secret: Some("another".into()), ..Default::default() };
    fleet.simulator.put_app(wrong).expect("a good change");
    let outcomes = steady_load(&fleet, 1, 1000, |_| {}).await;
    assert!(outcomes.iter().all(|outcome| *outcome == "token_unavailable"));
    let calls = fleet.simulator.asked_without_codes().stable_token.calls;
    assert!(calls <= 12, "{calls} calls");
}

fn token_mood(fleet: &Fleet, step: Step, calls: u64) {
    let mood = Mood { endpoint: Endpoint::Token, appid: None, calls: Some(calls), step };
    fleet.simulator.set_mood(mood).expect("a good mood");
}

#[tokio::test]
async fn a_refused_token_is_not_used_again_while_another_cannot_be_had() {
    let plan = Plan::on(Ground::RabbitAndRedis);
    let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
    let fleet = Plan { limits, ..plan }.start().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    fleet.simulator.invalidate_tokens(None).expect("it knows its apps");
    token_mood(&fleet, Step::errcode(-1), 2);
    let result = fleet.login(&fleet.tap().code).await;
    assert_eq!(
        (result.outcome.as_str(), result.attempts),
        ("succeeded", 2),
        "refused once, and then with another token"
    );
}

#[tokio::test]
async fn a_login_that_has_no_more_time_does_not_end_the_fetch_that_others_wait_for() {
    let plan = Plan { call_timeout: Duration::from_secs(15), ..Plan::on(Ground::RabbitAndRedis) };
    let fleet = Plan { limits: Limits { patience: Duration::from_secs(20), ..plan.limits }, ..plan }.start().await;
    token_mood(&fleet, Step::normal().late_ms(6000), 1);
    let hasty = LoginRequest { deadline: Some(clock::now_ms() + 2500), ..request(&fleet.tap().code) };
    fleet.publish(&hasty).await;
    eventually("it fetches a token", async || fleet.simulator.asked_without_codes().stable_token.calls == 1).await;
    let patient: Vec<_> = (0..5).map(|_| request(&fleet.tap().code)).collect();
    for request in &patient {
        fleet.publish(request).await;
    }
    assert_eq!(fleet.result(&hasty.request_id).await.outcome.as_str(), "token_unavailable");
    for request in &patient {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
    }
    assert_eq!(fleet.simulator.asked_without_codes().stable_token.calls, 1);
}

#[tokio::test]
async fn a_login_given_back_while_it_waits_for_a_token_was_never_asked() {
    let mut fleet = Plan { call_timeout: Duration::from_secs(10), ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    token_mood(&fleet, Step::normal().late_ms(3000), 1);
    let tap = fleet.tap_with(&Mint::of(APP).script([Step::errcode(40029)]));
    let request = request(&tap.code);
    fleet.publish(&request).await;
    eventually("it fetches a token", async || fleet.simulator.asked_without_codes().stable_token.calls == 1).await;
    fleet.stop_worker_hard().await;
    fleet.add_worker();
    let result = fleet.result(&request.request_id).await;
    assert_eq!((result.outcome.as_str(), result.attempts), ("invalid_code", 1), "no answer was ever missed");
}

#[tokio::test]
async fn a_worker_that_failed_takes_the_token_that_another_has_shared_since() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let change = |secret: &str| AppChange { appid: APP.into(), secret: Some(secret.into()), ..Default::default() };
    fleet.simulator.put_app(change("another")).expect("a good change");
    // The second failure in a row is remembered for two seconds, and longer thereafter.
    for _ in 0..2 {
        assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "token_unavailable");
        let calls = fleet.simulator.asked_without_codes().stable_token.calls;
        eventually("WeChat is asked again", async || {
            fleet.login(&fleet.tap().code).await;
            fleet.simulator.asked_without_codes().stable_token.calls > calls
        })
        .await;
    }
    let shared = SharedToken {
        access_token: fleet.simulator.token_of(APP).expect("it knows the app").into(),
        expires_at: clock::now_ms() + 7_000_000,
        fetched_at: clock::now_ms(),
        fetched_by: None,
        source: None,
    };
    assert_eq!(fleet.store.lead_refresh(&app_id(APP), "another worker", Duration::from_secs(5)).await, Ok(true));
    assert_eq!(fleet.store.share_token(&app_id(APP), "another worker", &shared, None).await, Ok(true));
    let calls = fleet.simulator.asked_without_codes().stable_token.calls;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    assert_eq!(fleet.simulator.asked_without_codes().stable_token.calls, calls, "WeChat was not asked for it");
}

#[tokio::test]
async fn every_token_revoked_twenty_times_under_load_costs_two_calls_each_at_most() {
    let fleet = Plan { workers: 4, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let simulator = fleet.simulator.clone();
    let outcomes = steady_load(&fleet, 220, 10, |round| {
        if round % 10 == 9 && round < 200 {
            simulator.invalidate_tokens(None).expect("it knows its apps");
        }
    })
    .await;
    all_succeeded(&outcomes);
    let calls = fleet.simulator.asked_without_codes().stable_token.calls;
    assert!(calls <= 1 + 2 * 20, "{calls} calls");
}

/// WeChat refuses so many phone calls with this errcode, and thinks its token good.
fn refuse_for_a_moment(fleet: &Fleet, errcode: i64, calls: u64) {
    let mood = Mood { endpoint: Endpoint::Phone, appid: None, calls: Some(calls), step: Step::errcode(errcode) };
    fleet.simulator.set_mood(mood).expect("a good mood");
}

#[tokio::test]
async fn a_token_that_wechat_refuses_for_a_moment_is_asked_with_again() {
    for may_force in [false, true] {
        let source: fn(&AppId, KeptSecret) -> Source = match may_force {
            true => |_, secret| Source::Stable { secret, may_force: true },
            false => |_, secret| Source::Stable { secret, may_force: false },
        };
        let plan = Plan::on(Ground::RabbitAndRedis);
        let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
        let fleet = Plan { limits, source, ..plan }.start().await;
        assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
        for (errcode, calls) in [(40001, 1), (40014, 2), (42001, 3), (40001, 4)] {
            refuse_for_a_moment(&fleet, errcode, calls);
            let result = fleet.login(&fleet.tap().code).await;
            assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", calls as u32 + 1), "{errcode}");
            let others = fleet.login(&fleet.tap().code).await;
            assert_eq!((others.outcome.as_str(), others.attempts), ("succeeded", 1), "nobody was told of it");
        }
        let asked = fleet.simulator.asked_without_codes();
        assert_eq!((asked.tokens[APP].forced, asked.token_lives.len()), (0, 1), "with the same token all along");
        assert!(asked.stable_token.calls <= 1 + 8, "{}", asked.stable_token.calls);
        assert_eq!(fleet.redis().cli(&["EXISTS", &format!("quicklogin:refusal:{{{APP}}}")]), "0");
    }
}

#[tokio::test]
async fn while_one_login_is_refused_now_and_then_the_others_are_served() {
    let plan = Plan::on(Ground::RabbitAndRedis);
    let limits = Limits { patience: Duration::from_secs(20), ..plan.limits };
    let fleet = Plan { workers: 2, limits, ..plan }.start().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    let refused = Mint::of(APP).script(vec![Step::errcode(40001); 6]);
    let refused = request(&fleet.tap_with(&refused).code);
    fleet.publish(&refused).await;
    let outcomes = steady_load(&fleet, 80, 4, |_| {}).await;
    all_succeeded(&outcomes);
    let result = fleet.result(&refused.request_id).await;
    assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 7), "others were served with the same token");
}

#[tokio::test]
async fn a_login_that_waits_to_be_asked_with_the_same_token_keeps_its_claim() {
    let plan = Plan { workers: 2, call_timeout: Duration::from_millis(500), ..Plan::on(Ground::RabbitAndRedis) };
    let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
    let fleet = Plan { limits, ..plan }.start().await;
    refuse_for_a_moment(&fleet, 40001, 4);
    let request = request(&fleet.tap().code);
    // The other worker would take it over, if the lease ran out.
    fleet.publish(&request).await;
    fleet.publish(&request).await;
    let result = fleet.result(&request.request_id).await;
    assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 5));
    assert_eq!(fleet.asked_for_phones(), 5);
}

#[tokio::test]
async fn a_new_token_that_is_refused_for_a_moment_too_is_replaced_after_a_pause() {
    let plan = Plan { source: |_, secret| Source::Classic { secret }, ..Plan::on(Ground::RabbitAndRedis) };
    let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
    let fleet = Plan { limits, ..plan }.start().await;
    refuse_for_a_moment(&fleet, 40001, 3);
    let result = fleet.login(&fleet.tap().code).await;
    assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 4));
}

/// WeChat refuses every phone call for now, but thinks its token good.
fn refuse_good_tokens(fleet: &Fleet) {
    let mood = Mood { endpoint: Endpoint::Phone, appid: None, calls: None, step: Step::errcode(40001) };
    fleet.simulator.set_mood(mood).expect("a good mood");
}

#[tokio::test]
async fn a_token_that_wechat_refuses_and_gives_again_is_told_and_never_ended_by_force() {
    let fleet = Plan { workers: 2, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    refuse_good_tokens(&fleet);
    let began = Instant::now();
    let outcomes = steady_load(&fleet, 40, 10, |_| {}).await;
    assert!(outcomes.iter().all(|outcome| *outcome == "token_unavailable"), "{outcomes:?}");
    let asked = fleet.simulator.asked_without_codes();
    assert_eq!(asked.tokens[APP].forced, 0);
    let (calls, took) = (asked.tokens[APP].normal, began.elapsed());
    assert!(calls <= 4 + 2 * took.as_secs().max(2), "{calls} calls in {took:?}");
    let Outcome::Failed(told) = fleet.login(&fleet.tap().code).await.outcome else { panic!("it fails") };
    assert_eq!((told.advice, told.answer.expect("WeChat's refusal").errcode), (Advice::FixSetup, 40001));
    assert!(told.detail.expect("words").contains("gave the same one again"));
    fleet.simulator.clear_moods();
    eventually("it mends by itself", async || fleet.login(&fleet.tap().code).await.outcome.as_str() == "succeeded")
        .await;
}

#[tokio::test]
async fn where_it_is_allowed_such_a_token_is_ended_by_force_once_in_thirty_seconds() {
    let source = |_: &AppId, secret| Source::Stable { secret, may_force: true };
    let plan = Plan::on(Ground::RabbitAndRedis);
    let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
    let fleet = Plan { workers: 3, source, limits, ..plan }.start().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    // As often as a login is asked with one token, and then force is tried.
    let refused = Mint::of(APP).script(vec![Step::errcode(40001); 5]);
    let scripted = fleet.simulator.mint_many(&refused, 4).expect("it knows the app");
    for tap in &scripted[..1] {
        assert_eq!(fleet.login(&tap.code).await.outcome.as_str(), "succeeded", "with the token that force has brought");
    }
    assert_eq!(fleet.simulator.asked_without_codes().tokens[APP].forced, 1);
    for tap in &scripted[1..] {
        assert_eq!(fleet.login(&tap.code).await.outcome.as_str(), "token_unavailable", "the budget is spent for now");
    }
    assert_eq!(fleet.simulator.asked_without_codes().tokens[APP].forced, 1);
    assert_eq!(fleet.redis().cli(&["ZCARD", &format!("quicklogin:forced:{{{APP}}}")]), "1");
}

#[tokio::test]
async fn one_worker_asks_for_all_while_wechat_refuses_to_give_a_token() {
    let fleet = Plan { workers: 8, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let frozen = |frozen| AppChange { appid: APP.into(), frozen: Some(frozen), ..Default::default() };
    fleet.simulator.put_app(frozen(true)).expect("a good change");
    let began = Instant::now();
    let outcomes = steady_load(&fleet, 100, 10, |_| {}).await;
    assert!(outcomes.iter().all(|outcome| *outcome == "token_unavailable"), "{outcomes:?}");
    let calls = fleet.simulator.asked_without_codes().stable_token.calls;
    // Pauses of at least 0.5, 1, 2, 4 … seconds, for all workers together.
    let at_most = 2 + (2.0 * began.elapsed().as_secs_f64() + 1.0).log2() as u64;
    assert!(calls <= at_most, "{calls} calls, and at most {at_most} in {:?}", began.elapsed());
    fleet.simulator.put_app(frozen(false)).expect("a good change");
    eventually("it mends by itself", async || fleet.login(&fleet.tap().code).await.outcome.as_str() == "succeeded")
        .await;
}

#[tokio::test]
async fn a_refusal_that_is_over_is_not_told_to_a_worker_that_comes_later() {
    let mut fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let frozen = |frozen| AppChange { appid: APP.into(), frozen: Some(frozen), ..Default::default() };
    fleet.simulator.put_app(frozen(true)).expect("a good change");
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "token_unavailable");
    fleet.simulator.put_app(frozen(false)).expect("a good change");
    // The first refusal answers for a second at most; the fleet remembers it for longer.
    sleep(Duration::from_millis(1100)).await;
    fleet.drain_worker().await;
    fleet.add_worker();
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    assert_eq!(fleet.simulator.asked_without_codes().stable_token.calls, 2);
}

#[tokio::test]
async fn an_app_that_wechat_does_not_serve_is_told_unasked_and_the_others_feel_nothing() {
    let plan = Plan { apps: vec![(APP, SECRET), (SISTER, SECRET)], ..Plan::on(Ground::RabbitAndRedis) };
    let fleet = plan.start().await;
    let stop = |errcode| {
        let mood =
            Mood { endpoint: Endpoint::Phone, appid: Some(APP.into()), calls: None, step: Step::errcode(errcode) };
        fleet.simulator.set_mood(mood).expect("a good mood");
    };
    let login = async |appid: &str| {
        let tap = fleet.tap_with(&Mint::of(appid));
        let request = LoginRequest { appid: Some(app_id(appid)), ..request(&tap.code) };
        fleet.publish(&request).await;
        fleet.result(&request.request_id).await
    };
    stop(48001);
    let began = Instant::now();
    for _ in 0..30 {
        let Outcome::Failed(told) = login(APP).await.outcome else { panic!("it fails") };
        let errcode = told.answer.expect("WeChat's refusal").errcode;
        assert_eq!((told.reason, told.advice, errcode), (Reason::NotAllowed, Advice::FixSetup, 48001));
        assert!(told.detail.expect("words").contains("may not call this"));
        assert_eq!(login(SISTER).await.outcome.as_str(), "succeeded");
    }
    let asked = fleet.simulator.asked_without_codes().phone.by_errcode[&48001];
    let at_most = 4 + (2.0 * began.elapsed().as_secs_f64() + 1.0).log2() as u64;
    assert!((3..=at_most).contains(&asked), "three times, and a probe after 0.5, 1, 2 … seconds or more: {asked}");
    fleet.simulator.clear_moods();
    eventually("it is served again", async || login(APP).await.outcome.as_str() == "succeeded").await;

    stop(45011);
    let taps = fleet.simulator.mint_many(&Mint::of(APP), 40).expect("it knows the app");
    let throttled: Vec<_> =
        taps.iter().map(|tap| LoginRequest { appid: Some(app_id(APP)), ..request(&tap.code) }).collect();
    for request in &throttled {
        fleet.publish(request).await;
        assert_eq!(login(SISTER).await.outcome.as_str(), "succeeded");
    }
    for request in &throttled {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "throttled");
    }
    let asked = fleet.simulator.asked_without_codes().phone.by_errcode[&45011];
    assert!(asked < 40, "a login waits for the pause to end, or is told: {asked}");
}

#[tokio::test]
async fn a_token_in_memory_serves_on_while_redis_is_away_and_none_is_fetched_because_of_it() {
    let fleet = Plan { workers: 2, durable_store: true, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let outcomes = steady_load(&fleet, 4, 10, |_| {}).await;
    all_succeeded(&outcomes);
    for away in [Duration::from_millis(500), Duration::from_secs(3)] {
        fleet.redis().kill();
        let requests: Vec<_> = (0..20).map(|_| request(&fleet.tap().code)).collect();
        for request in &requests {
            fleet.publish(request).await;
        }
        sleep(away).await;
        fleet.redis().restart();
        for request in &requests {
            assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
        }
    }
    assert_eq!(fleet.simulator.asked_without_codes().stable_token.calls, 1);
}

#[tokio::test]
async fn a_wechat_that_refuses_every_new_token_is_not_asked_for_more_and_more_of_them() {
    let fleet = Plan { workers: 3, source: |_, secret| Source::Classic { secret }, ..Plan::on(Ground::RabbitAndRedis) }
        .start()
        .await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    refuse_good_tokens(&fleet);
    let outcomes = steady_load(&fleet, 60, 10, |_| {}).await;
    assert!(outcomes.iter().all(|outcome| *outcome == "token_unavailable"), "{outcomes:?}");
    assert_eq!(fleet.simulator.asked_without_codes().classic_token.calls, 1 + 80);
    let Outcome::Failed(told) = fleet.login(&fleet.tap().code).await.outcome else { panic!("it fails") };
    assert_eq!((told.advice, told.answer.expect("WeChat's refusal").errcode), (Advice::FixSetup, 40001));
    assert!(told.detail.expect("words").contains("one access token after the other"));
    fleet.simulator.clear_moods();
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded", "the last token is kept");
}

#[tokio::test]
async fn a_token_that_wechat_does_not_give_costs_nothing_of_what_may_be_replaced() {
    let plan = Plan { source: |_, secret| Source::Classic { secret }, ..Plan::on(Ground::RabbitAndRedis) };
    let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
    let fleet = Plan { limits, ..plan }.start().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    fleet.simulator.invalidate_tokens(None).expect("it knows its apps");
    token_mood(&fleet, Step::errcode(-1), 3);
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    assert_eq!(fleet.simulator.asked_without_codes().classic_token.calls, 1 + 3 + 1);
    assert_eq!(fleet.redis().cli(&["ZCARD", &format!("quicklogin:replaced:{{{APP}}}")]), "1");
}
