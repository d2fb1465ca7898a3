//! WeChat's other hosts: asked while the first surely was not, and only then.

use std::time::Duration;

use quicklogin::login::{Advice, AppId, Outcome, Reason};
use quicklogin::secret::Secret;
use quicklogin::simulator::{AppChange, Mint, Simulator, SimulatorOptions, Step, Then};
use quicklogin::token::{KeptSecret, Source};
use quicklogin::wechat::{Client, Fault, TokenReply};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, app_id, client_settings, eventually, request};
use crate::support::process::free_port;
use crate::support::program::{LISTENING, Site};
use crate::support::road::Road;

/// What a busy machine adds to a time.
const SLACK: Duration = Duration::from_millis(1500);

fn with_hosts(wechat_hosts: usize) -> Plan {
    Plan { wechat_hosts, call_timeout: Duration::from_secs(2), ..Plan::on(Ground::Embedded) }
}

/// A code whose button does this becomes its number, by asking so often.
async fn succeeds(fleet: &Fleet, steps: impl IntoIterator<Item = Step>, attempts: u32) {
    let tap = fleet.tap_with(&Mint::of(APP).script(steps));
    let result = fleet.login(&tap.code).await;
    let Outcome::Succeeded(phone) = &result.outcome else { panic!("{result:?}") };
    assert_eq!((&phone.phone_number, result.attempts), (&tap.phone_number, attempts));
}

async fn fails(fleet: &Fleet, code: &str) -> (Reason, Advice, u32) {
    let result = fleet.login(code).await;
    let Outcome::Failed(failure) = result.outcome else { panic!("it fails: {result:?}") };
    (failure.reason, failure.advice, result.attempts)
}

/// So that no request goes out on a connection that was just cut.
async fn connections_end(fleet: &Fleet) {
    eventually("no connection is left", async || fleet.simulator.asked_without_codes().connections_open == 0).await;
}

#[tokio::test]
async fn where_hosts_refuse_codes_and_tokens_go_to_the_next_and_each_code_once() {
    let sources: [fn(&AppId, KeptSecret) -> Source; 2] =
        [|_, secret| Source::Stable { secret, may_force: false }, |_, secret| Source::Classic { secret }];
    for (source, expected) in sources.into_iter().zip([(1, 0), (0, 1)]) {
        let fleet = Plan { source, ..with_hosts(3) }.start().await;
        fleet.roads.wechat[0].shut().await;
        fleet.roads.wechat[1].shut().await;
        let taps = fleet.simulator.mint_many(&Mint::of(APP), 50).expect("the simulator knows the app");
        let requests: Vec<_> = taps.iter().map(|tap| request(&tap.code)).collect();
        for request in &requests {
            fleet.publish(request).await;
        }
        for request in &requests {
            let result = fleet.result(&request.request_id).await;
            assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 1));
        }
        let asked = fleet.simulator.asked();
        assert_eq!((asked.phone.calls, asked.distinct_codes, asked.codes_asked_more_than_once), (50, 50, 0));
        let tokens = (asked.stable_token.calls, asked.classic_token.calls);
        assert_eq!(tokens, expected);
    }
}

#[tokio::test]
async fn no_other_host_is_asked_once_a_request_may_have_been_sent() {
    let fleet = with_hosts(2).start().await;
    // From the second on, on a connection that was used before.
    succeeds(&fleet, [], 1).await;
    let answers =
        [Step::http(502, ""), Step::http(503, ""), Step::http(504, ""), Step::http(429, ""), Step::errcode(-1)];
    for step in [Then::CutBefore.into(), Then::HangBefore.into()].into_iter().chain(answers) {
        succeeds(&fleet, [step], 2).await;
    }
    for step in [Then::CutAfter, Then::CutInBody, Then::HangAfter] {
        let tap = fleet.tap_with(&Mint::of(APP).script([step.into()]));
        assert_eq!(fails(&fleet, &tap.code).await, (Reason::InDoubt, Advice::NewCode, 2));
    }
    assert_eq!(fleet.roads.wechat[1].taken(), 0);
    fleet.roads.wechat[0].shut().await;
    connections_end(&fleet).await;
    succeeds(&fleet, [], 1).await;
    assert!(fleet.roads.wechat[1].taken() > 0, "it was there all the time");
}

#[tokio::test]
async fn a_silent_host_is_asked_again_and_no_other() {
    let fleet = Plan { call_timeout: Duration::from_millis(700), ..with_hosts(2) }.start().await;
    succeeds(&fleet, [], 1).await;
    fleet.roads.wechat[0].fall_silent().await;
    connections_end(&fleet).await;
    let before = fleet.roads.wechat[0].taken();
    let tap = fleet.tap();
    let (reason, advice, attempts) = fails(&fleet, &tap.code).await;
    assert_eq!((reason, advice), (Reason::InDoubt, Advice::NewCode));
    assert!(attempts >= 2, "{attempts}");
    assert_eq!((fleet.roads.wechat[0].taken() - before, fleet.roads.wechat[1].taken()), (attempts as usize, 0));
}

#[tokio::test]
async fn a_host_that_comes_back_is_preferred_again() {
    let fleet = with_hosts(2).start().await;
    fleet.roads.wechat[0].shut().await;
    succeeds(&fleet, [], 1).await;
    fleet.roads.wechat[0].open().await;
    let before = fleet.roads.wechat[0].taken();
    eventually("the first host is asked", async || {
        succeeds(&fleet, [], 1).await;
        fleet.roads.wechat[0].taken() > before
    })
    .await;
    fleet.roads.wechat[1].shut().await;
    succeeds(&fleet, [], 1).await;
}

#[tokio::test]
async fn all_hosts_down_is_unavailable_and_spends_no_code() {
    let fleet = with_hosts(3).start().await;
    succeeds(&fleet, [], 1).await;
    for road in &fleet.roads.wechat {
        road.shut().await;
    }
    connections_end(&fleet).await;
    let tap = fleet.tap();
    let began = Instant::now();
    let (reason, advice, attempts) = fails(&fleet, &tap.code).await;
    assert_eq!((reason, advice), (Reason::Unavailable, Advice::TryLater));
    assert!(attempts > 1 && began.elapsed() > Duration::from_secs(1), "to the end of the patience: {attempts}");
    assert_eq!(fleet.asked_for_phones(), 1);
    for road in &fleet.roads.wechat {
        road.open().await;
    }
    assert_eq!(fleet.login(&tap.code).await.outcome.as_str(), "succeeded", "the code is as good as before");
}

/// A simulator behind roads, and a client of theirs that asks for tokens.
struct Street {
    simulator: Simulator,
    roads: Vec<Road>,
    connect_timeout: Duration,
    client: Client,
    _serving: DropGuard,
}

impl Street {
    async fn of(hosts: usize, connect_timeout: Duration, timeout: Duration) -> Self {
        let simulator = Simulator::new(&SimulatorOptions::default());
        simulator.put_app(AppChange::new(APP, SECRET)).expect("a good app");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let stop = CancellationToken::new();
        tokio::spawn(simulator.clone().serve(listener, stop.clone()));
        let roads = Road::several_to(address, hosts).await;
        let urls: Vec<_> = roads.iter().map(Road::url).collect();
        let client = Client::new(&client_settings(&urls, connect_timeout, timeout)).expect("a client");
        Self { simulator, roads, connect_timeout, client, _serving: stop.drop_guard() }
    }

    /// So many calls at once; all must succeed. How many of them waited for a connection in vain.
    async fn waited_of(&self, calls: usize) -> usize {
        let mut under_way = JoinSet::new();
        for _ in 0..calls {
            let client = self.client.clone();
            under_way.spawn(async move { call(&client).await });
        }
        let ended = under_way.join_all().await;
        assert!(ended.iter().all(|(heard, _)| matches!(heard, Ok(TokenReply::Granted(_)))), "{ended:?}");
        ended.iter().filter(|(_, took)| *took >= self.connect_timeout).count()
    }
}

async fn call(client: &Client) -> (Result<TokenReply, Fault>, Duration) {
    let began = Instant::now();
    let heard = client.stable_token(&app_id(APP), &Secret::from(SECRET), false).await;
    (heard, began.elapsed())
}

#[tokio::test]
async fn a_host_that_swallows_connections_is_waited_for_by_one_call_and_then_by_one_at_a_time() {
    let street = Street::of(2, Duration::from_millis(1500), Duration::from_secs(8)).await;
    street.roads[0].vanish().await;
    assert_eq!(street.waited_of(1).await, 1);
    assert_eq!(street.waited_of(30).await, 0, "it is left alone");
    let mut waited = 0;
    eventually("its pause is over", async || {
        waited = street.waited_of(30).await;
        waited > 0
    })
    .await;
    assert_eq!(waited, 1, "one looks, and the others do not wait for it");
    street.roads[0].open().await;
    let before = street.roads[0].taken();
    eventually("it is used again", async || street.waited_of(1).await == 0 && street.roads[0].taken() > before).await;
    assert_eq!(street.simulator.asked().stable_token.calls, street.simulator.asked().stable_token.answered);
}

#[tokio::test]
async fn a_call_ends_in_its_time_however_many_hosts_are_dead_and_is_surely_unsent() {
    let timeout = Duration::from_millis(3200);
    for (connect_ms, swallowing, waits) in [
        (800, [true, true, true], 3),
        (2400, [true, true, true], 1),
        (800, [false, true, false], 1),
        (800, [false; 3], 0),
    ] {
        let connect_timeout = Duration::from_millis(connect_ms);
        let street = Street::of(3, connect_timeout, timeout).await;
        for (road, swallows) in street.roads.iter().zip(swallowing) {
            if swallows { road.vanish().await } else { road.shut().await }
        }
        for _ in 0..2 {
            let (heard, took) = call(&street.client).await;
            assert!(matches!(heard, Err(Fault::Unreachable(_))), "{swallowing:?}: {heard:?}");
            // One wait more of the longer ones would be longer than that.
            let at_most = timeout + SLACK;
            assert!(took >= connect_timeout * waits && took < at_most, "{swallowing:?}: {took:?} for {waits} waits");
        }
    }
}

#[tokio::test]
async fn what_one_host_took_of_a_calls_time_the_next_has_less() {
    let (connect_timeout, timeout) = (Duration::from_millis(2000), Duration::from_millis(5000));
    let street = Street::of(3, connect_timeout, timeout).await;
    street.roads[0].vanish().await;
    street.roads[1].fall_silent().await;
    let (heard, took) = call(&street.client).await;
    assert!(matches!(heard, Err(Fault::Unheard(_))), "{heard:?}");
    assert!(took >= timeout && took < timeout + connect_timeout, "{took:?}");
    assert_eq!((street.roads[1].taken(), street.roads[2].taken()), (1, 0));
}

#[tokio::test]
async fn the_program_uses_the_hosts_of_its_settings_and_tells_each_change_once() {
    let street = Street::of(2, Duration::from_secs(1), Duration::from_secs(4)).await;
    street.roads[0].shut().await;
    let [first, second] = [0, 1].map(|n| street.roads[n].url());
    let gateway = format!("127.0.0.1:{}", free_port());
    let site = Site::with(&format!(
        "gateway.listen = \"{gateway}\"\nwechat.base_url = \"{first}\"\nwechat.hosts = [\"api2\", \"{second}\"]\n\
         [[apps]]\nappid = \"{APP}\"\nsecret = \"{SECRET}\""
    ));
    let process = site.start(&["serve"], LISTENING);
    let succeeds = async || {
        let tap = street.simulator.mint(&Mint::of(APP)).expect("the simulator knows the app");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let submission = format!("{{\"code\":\"{}\"}}", tap.code);
        let submitted = client.post(format!("http://{gateway}/v1/logins")).body(submission);
        let submitted = submitted.header("content-type", "application/json").send().await.expect("it is there");
        let location = submitted.headers()["location"].to_str().expect("a path").to_owned();
        let result = client.get(format!("http://{gateway}{location}?wait=20")).send().await.expect("it is there");
        assert!(result.text().await.expect("text").contains(&tap.phone_number));
    };
    for _ in 0..3 {
        succeeds().await;
    }
    street.roads[0].open().await;
    eventually("it is well again", async || {
        succeeds().await;
        process.said().contains("a host of WeChat's is well again")
    })
    .await;
    let said = process.said();
    let told = |what: &str| said.lines().filter(|line| line.contains(what)).collect::<Vec<_>>();
    let [down] = told("a host of WeChat's cannot be reached")[..] else { panic!("told once: {said}") };
    let [well] = told("a host of WeChat's is well again")[..] else { panic!("told once: {said}") };
    let names = [&first, &second].map(|url| url.trim_start_matches("http://"));
    assert!(down.contains("WARN") && down.contains(names[0]) && down.contains(names[1]), "{down}");
    assert!(well.contains("INFO") && well.contains(names[0]), "{well}");
    assert!(!down.contains("http://") && !well.contains("http://"), "{said}");
}
