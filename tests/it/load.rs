//! `quicklogin load` as an operator runs it: open-loop, both ways in, against a simulator and nothing else.

use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use quicklogin::simulator::{Endpoint, Mint, Minted, Mood, Simulator, Step};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::support::fleet::{APP, SECRET};
use crate::support::line::Line;
use crate::support::process::{Process, free_port};
use crate::support::program::{Ended, Servers, Site, app};

const SOON: Duration = Duration::from_secs(60);
/// The first words of the table, which comes when the load has lasted a second.
const UNDER_WAY: &str = "in flight";
const QUICK: &str = "simulator.latency_ms = 20\nsimulator.jitter_ms = 0";

/// The one JSON object on stdout.
fn summary(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr))
}

/// The same, of a command that says all in one log; and how it ended.
fn end(load: &mut Process) -> (Option<i32>, Value) {
    let code = load.end_within(SOON).and_then(|status| status.code());
    let said = load.said();
    let summary = said.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no summary: {said}"));
    (code, serde_json::from_str(summary).expect("JSON"))
}

fn ms(summary: &Value, of: &str, percentile: &str) -> f64 {
    summary[of][percentile].as_f64().unwrap_or_else(|| panic!("no {of} {percentile} in {summary}"))
}

fn count(summary: &Value, of: &str) -> u64 {
    summary[of].as_u64().unwrap_or_else(|| panic!("no {of} in {summary}"))
}

/// How many wait in the queue, row by row.
fn queued(said: &str) -> Vec<u64> {
    let rows = said.lines().skip_while(|line| !line.contains(UNDER_WAY)).skip(1);
    rows.filter_map(|row| row.split_whitespace().nth(5)?.parse().ok()).collect()
}

/// Logins by way of the queue, on a line whose worker and simulator are the test's.
fn by_queue(line: &Line, more: &[&str], variables: &[(&str, &str)]) -> Process {
    let arguments = [&["load", "--through", "queue", "--json"], more].concat();
    line.site.start_with(&arguments, variables, UNDER_WAY)
}

#[test]
fn a_load_without_a_fleet_runs_the_whole_line_in_one_process() {
    for through in ["gateway", "queue"] {
        let site = Site::with(QUICK);
        let ended = site.run(&["load", "--rate", "40", "--duration", "1500ms", "--through", through, "--json"]);
        let told = summary(&ended);
        assert_eq!(ended.code, Some(0), "{through}: {told} {}", ended.stderr);
        let counts = ["due", "sent", "succeeded", "unsent", "unanswered", "wrong_numbers"].map(|of| count(&told, of));
        assert_eq!((counts, told["through"].as_str()), ([60, 60, 60, 0, 0, 0], Some(through)), "{told}");
        let (p50, max) = (ms(&told, "latency_ms", "p50"), ms(&told, "latency_ms", "max"));
        assert!(p50 >= 20.0 && max >= p50, "{through}: WeChat alone takes 20 ms: {told}");
        assert!(ended.stderr.contains("in this process") && ended.stderr.contains(UNDER_WAY), "{}", ended.stderr);
    }
    let told = Site::with(QUICK).run(&["load", "--rate", "20", "--duration", "500ms"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stdout.contains("10 were due, 10 were sent\n  succeeded   10,"), "{}", told.stdout);
}

#[tokio::test]
async fn a_load_on_a_fleet_goes_in_by_its_gateway_or_its_queue() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&format!("gateway.keys = [\"k-1\"]\n{QUICK}\n{}", app(APP, SECRET))));
    let _simulator = site.simulator();
    let (_gateway, _worker) = (site.gateway(), site.worker());
    for through in ["gateway", "queue"] {
        let ended = site.run(&["load", "--rate", "40", "--duration", "1500ms", "--through", through, "--json"]);
        let told = summary(&ended);
        assert_eq!((ended.code, count(&told, "succeeded")), (Some(0), 60), "{through}: {told} {}", ended.stderr);
        assert!(queued(&ended.stderr).first() < Some(&20), "the worker keeps up: {}", ended.stderr);
        assert!(!queued(&ended.stderr).is_empty(), "RabbitMQ tells how many wait: {}", ended.stderr);
    }
    let strange = Site::with(&servers.settings(&app(APP, SECRET))).run(&["load"]);
    assert_eq!((strange.code, strange.stderr.contains("wants a key")), (Some(2), true), "{}", strange.stderr);
}

#[tokio::test]
async fn a_wechat_that_is_no_simulator_is_sent_nothing() {
    let servers = Servers::start();
    let wechat = |url: &str| [("QUICKLOGIN__WECHAT__BASE_URL", url.to_owned())];
    let run = |site: &Site, variables: &[(&str, String)]| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        site.run_with(&["load", "--rate", "1", "--duration", "100ms"], &variables)
    };
    let real = run(&Site::with(&app(APP, SECRET)), &[]);
    assert_eq!((real.code, real.stderr.contains("is the real WeChat")), (Some(2), true), "{}", real.stderr);
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    let _gateway = site.gateway();
    let other = run(&site, &wechat(&servers.gateway_url()));
    assert_eq!((other.code, other.stderr.contains("is no simulator\nhint: ")), (Some(2), true), "{}", other.stderr);
    let nobody = run(&site, &wechat(&format!("http://127.0.0.1:{}", free_port())));
    assert_eq!((nobody.code, nobody.stderr.contains("cannot be reached")), (Some(1), true), "{}", nobody.stderr);
}

#[tokio::test]
async fn workers_that_ask_another_wechat_are_sent_one_login_and_no_more() {
    let line = Line::start("").await;
    let _worker = line.worker();
    let port = free_port();
    let other = format!("http://127.0.0.1:{port}");
    let listen = format!("127.0.0.1:{port}");
    let _other = line.site.start(&["simulate", "--listen", &listen], "a WeChat for");
    let arguments = ["load", "--through", "queue", "--rate", "100", "--duration", "1s"];
    let ended = line.site.run_with(&arguments, &[("QUICKLOGIN__WECHAT__BASE_URL", &other)]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the first login, sent alone, failed: invalid_code"), "{}", ended.stderr);
    assert_eq!(line.calls(), 1);
}

#[tokio::test]
async fn a_line_that_stalls_is_seen_in_every_login_that_was_due_meanwhile() {
    let line = Line::start("").await;
    let mut worker = line.worker();
    let mut load = by_queue(&line, &["--rate", "50", "--duration", "3s"], &[]);
    worker.freeze();
    sleep(Duration::from_secs(1)).await;
    worker.thaw();
    let (code, told) = end(&mut load);
    assert_eq!((code, count(&told, "succeeded")), (Some(0), 150), "{told}");
    // A third of the logins were due in that second, a sixth in its first half.
    let (p50, p90) = (ms(&told, "latency_ms", "p50"), ms(&told, "latency_ms", "p90"));
    assert!(p50 < 500.0 && p90 > 500.0, "one that waits for its results would have sent none meanwhile: {told}");
    assert!(ms(&told, "sender_late_ms", "p90") < 250.0, "the sender went on: {told}");
}

#[tokio::test]
async fn a_sender_that_was_held_up_counts_from_when_each_login_was_due_and_says_so() {
    let line = Line::start("").await;
    let _worker = line.worker();
    let mut load = by_queue(&line, &["--rate", "50", "--duration", "3s"], &[]);
    load.freeze();
    sleep(Duration::from_secs(1)).await;
    load.thaw();
    let (code, told) = end(&mut load);
    assert_eq!((code, count(&told, "succeeded")), (Some(0), 150), "{told}");
    let (latency, late) = (ms(&told, "latency_ms", "p90"), ms(&told, "sender_late_ms", "p90"));
    assert!(latency > 500.0 && late > 500.0 && latency >= late, "{told}");
    assert_eq!(told["kept_pace"], false);
    assert!(load.said().contains("warning: this sender did not keep 50 a second"), "{}", load.said());
}

/// A button that gives every other code with another's number, but for one that is asked for alone.
async fn falsifying_button(simulator: Simulator) -> String {
    let mint = async move |Json(wanted): Json<Value>| {
        let count = usize::try_from(wanted["count"].as_u64().expect("a count")).expect("a small one");
        let mut minted: Vec<Minted> = simulator.mint_many(&Mint::of(APP), count).expect("the app is known");
        minted.iter_mut().skip(1).step_by(2).for_each(|code| code.phone_number.push('0'));
        (axum::http::StatusCode::CREATED, Json(minted))
    };
    let routes = Router::new().route("/sim/livez", get(async || "ok")).route("/sim/codes", post(mint));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    tokio::spawn(quicklogin::http::serve(listener, routes, 100, tokio_util::sync::CancellationToken::new()));
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_brings_anothers_number_is_found_and_ends_with_1() {
    let line = Line::start("").await;
    let _worker = line.worker();
    let button = falsifying_button(line.simulator.clone()).await;
    let variables = [("QUICKLOGIN__WECHAT__BASE_URL", button.as_str())];
    let (code, told) = end(&mut by_queue(&line, &["--rate", "40", "--duration", "1500ms"], &variables));
    assert_eq!((code, count(&told, "wrong_numbers"), count(&told, "succeeded")), (Some(1), 30, 30), "{told}");
}

#[tokio::test]
async fn what_fails_is_counted_by_its_reason() {
    let line = Line::start("").await;
    let _worker = line.worker();
    let mut load = by_queue(&line, &["--rate", "40", "--duration", "5s"], &[]);
    let mood = Mood { endpoint: Endpoint::Phone, appid: None, calls: Some(5), step: Step::errcode(99_999) };
    line.simulator.set_mood(mood).expect("a good mood");
    let (code, told) = end(&mut load);
    assert_eq!((code, &told["failed"], count(&told, "succeeded")), (Some(0), &json!({"refused": 5}), 195), "{told}");
}

#[tokio::test]
async fn what_is_not_taken_or_never_answered_is_counted_by_its_name_and_ends_with_1() {
    let line = Line::start("rabbitmq.max_length = 10").await;
    let mut worker = line.worker();
    let mut load = by_queue(&line, &["--rate", "50", "--duration", "5s", "--grace", "1s"], &[]);
    worker.kill();
    let (code, told) = end(&mut load);
    let refused = count(&told["refused"], "queue_full");
    let (succeeded, unanswered) = (count(&told, "succeeded"), count(&told, "unanswered"));
    assert!(code == Some(1) && refused > 0 && unanswered >= 10, "{told}");
    assert_eq!((count(&told, "sent"), succeeded + unanswered + refused), (250, 250), "none is counted twice: {told}");
    assert!(queued(&load.said()).last() >= Some(&10), "RabbitMQ tells how many wait: {}", load.said());
    assert!(load.said().contains(&format!("error: {unanswered} logins have no result\nhint: ")), "{}", load.said());
}

#[test]
fn a_load_that_is_interrupted_waits_for_what_was_sent_and_sums_up() {
    let site = Site::with(QUICK);
    let mut load = site.start(&["load", "--rate", "40", "--duration", "60s", "--json"], UNDER_WAY);
    load.interrupt();
    let (code, told) = end(&mut load);
    let (sent, succeeded) = (count(&told, "sent"), count(&told, "succeeded"));
    assert_eq!((code, succeeded, &told["stopped"]), (Some(0), sent, &json!(true)), "{told}");
    assert!((1..2400).contains(&sent), "{told}");
}

#[test]
fn the_highest_rate_that_keeps_a_p99_is_found() {
    // Four at once, 50 ms each: 80 a second, and somewhat more for as short as a step is.
    let site = Site::with("worker.slots = 4\nsimulator.latency_ms = 50\nsimulator.jitter_ms = 0");
    let search = ["load", "--find-max", "--rate", "20", "--step", "800ms", "--p99-ms", "1000", "--through", "queue"];
    let ended = site.run(&[&search[..], &["--json"]].concat());
    let told = summary(&ended);
    assert_eq!(ended.code, Some(0), "{told} {}", ended.stderr);
    let rate = count(&told, "rate");
    assert!((10..320).contains(&rate), "{told}");
    assert!(["line", "sender"].contains(&told["limit"].as_str().expect("a word")), "{told}");
    let steps = told["steps"].as_array().expect("a list");
    let shown = |step: &Value| step["shown"].as_str().expect("a word").to_owned();
    let kept = steps.iter().filter(|step| shown(step) == "kept").map(|step| count(step, "rate")).max();
    assert_eq!(kept, Some(rate), "{told}");
    assert!(steps.iter().any(|step| shown(step) != "kept" && ms(step, "latency_ms", "p99") > 1000.0), "{told}");
    let is_row = |line: &&str| line.split_whitespace().take(5).filter(|word| word.parse::<f64>().is_ok()).count() == 5;
    assert_eq!(ended.stderr.lines().filter(is_row).count(), steps.len(), "{}", ended.stderr);
}

#[test]
fn mistakes_in_what_is_asked_for_end_with_2_and_a_hint() {
    let rows: [(&[&str], &str); 8] = [
        (&["--rate", "0"], "--rate 0 is not from 1"),
        (&["--rate", "100001"], "--rate 100001 is not from 1"),
        (&["--rate", "20000"], "more than 100000 in flight"),
        (&["--duration", "60"], "--duration is no duration"),
        (&["--duration", "25h"], "--duration is not from"),
        (&["--through", "queue", "--gateway", "http://127.0.0.1:1"], "--gateway is not for"),
        (&["--gateway", "127.0.0.1:1"], "--gateway is no URL"),
        (&["--find-max", "--p99-ms", "5"], "--p99-ms 5 is not from 10"),
    ];
    for (arguments, expected) in rows {
        let ended = Site::with("").run(&[&["load"], arguments].concat());
        let said = &ended.stderr;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains("error: ") && said.contains("\nhint: ") && said.contains(expected), "{said}");
        assert_eq!(ended.stdout, "");
    }
    let rows: [&[&str]; 5] = [
        &["--find-max", "--duration", "1s"],
        &["--p99-ms", "100"],
        &["--p99-ms", "100", "--duration", "1s"],
        &["--step", "1s", "--duration", "1s"],
        &["--rate", "-1"],
    ];
    for arguments in rows {
        let ended = Site::with("").run(&[&["load"], arguments].concat());
        assert_eq!((ended.code, ended.stderr.contains("error: ")), (Some(2), true), "{}", ended.stderr);
    }
}
