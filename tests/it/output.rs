//! What commands write: to readers that go away or do not read, to full disks, in 80 columns, and in a JSON log nothing
//! but JSON.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::time::Duration;

use quicklogin::simulator::Step;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::amqp::Publisher;
use crate::support::fleet::{APP, SECRET, eventually};
use crate::support::line::Line;
use crate::support::process::free_port;
use crate::support::program::{LISTENING, Servers, Site, app, post, status_of, text};

const SOON: Duration = Duration::from_secs(60);
/// As many bytes as a Linux pipe holds.
const PIPE_HOLDS: usize = 64 * 1024;

const HELPS: [&[&str]; 22] = [
    &["--help"],
    &["--version"],
    &["help"],
    &["help", "load"],
    &["serve", "--help"],
    &["worker", "--help"],
    &["gateway", "--help"],
    &["simulate", "--help"],
    &["demo", "--help"],
    &["login", "--help"],
    &["load", "--help"],
    &["token", "--help"],
    &["token", "show", "--help"],
    &["token", "refresh", "--help"],
    &["token", "ticket", "--help"],
    &["dead", "--help"],
    &["dead", "list", "--help"],
    &["dead", "show", "--help"],
    &["dead", "replay", "--help"],
    &["dead", "drop", "--help"],
    &["explain", "--help"],
    &["config", "--help"],
];
/// Commands that need no server and print data.
const DATA: [&[&str]; 11] = [
    &["explain", "40029"],
    &["explain", "-1", "--json"],
    &["explain", "in_doubt"],
    &["explain", "try-later", "--json"],
    &["config", "check"],
    &["config", "show", "--default"],
    &["demo"],
    &["demo", "--json"],
    &["load", "--rate", "20", "--duration", "1200ms"],
    &["load", "--rate", "20", "--duration", "300ms", "--json"],
    &["load", "--rate", "20", "--find-max", "--p99-ms", "10", "--step", "300ms"],
];

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has it")
}

/// The end of a pipe that nobody reads any more.
fn closed_pipe() -> File {
    OwnedFd::from(pipe().expect("a pipe").1).into()
}

/// A pipe that holds all it can, whose reader does not read.
fn full_pipe() -> (impl Read, File) {
    let (reader, mut writer) = pipe().expect("a pipe");
    writer.write_all(&[b'.'; PIPE_HOLDS]).expect("it holds so much");
    (reader, OwnedFd::from(writer).into())
}

#[test]
fn a_reader_that_goes_away_ends_every_command_quietly() {
    let site = Site::with("");
    for arguments in HELPS.iter().chain(&DATA) {
        let ended = site.run_into(arguments, closed_pipe());
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        let complaints = ["error", "hint", "panicked"].iter().filter(|word| ended.stderr.contains(*word)).count();
        assert_eq!(complaints, 0, "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_full_disk_is_an_error_of_every_command_that_prints() {
    let site = Site::with("");
    for arguments in HELPS.iter().chain(&DATA) {
        let ended = site.run_into(arguments, full_disk());
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.stderr);
        let said = ended.stderr.contains("error: stdout cannot be written: ") && ended.stderr.contains("\nhint: ");
        assert!(said && !ended.stderr.contains("panicked"), "{arguments:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn commands_on_a_fleet_stand_both_too() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    let _simulator = site.simulator();
    let _worker = site.worker();
    let publisher = Publisher::connect(servers.vhost.url()).await;
    publisher.publish("", "quicklogin.dead", b"{}", Publisher::properties("dead-1")).await.expect("it is connected");
    let code = async || {
        let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &serde_json::json!({})).await;
        minted["code"].as_str().expect("a code").to_owned()
    };
    for json in [&[][..], &["--json"]] {
        for (output, expected) in [(closed_pipe as fn() -> File, 0), (full_disk, 1)] {
            let code = code().await;
            for arguments in
                [&["login", &code][..], &["token", "show"], &["token", "refresh", "--app", APP], &["dead", "list"]]
            {
                let has_json = !arguments.contains(&"refresh");
                let arguments = [arguments, if has_json { json } else { &[] }].concat();
                let ended = site.run_into(&arguments, output());
                assert_eq!(ended.code, Some(expected), "{arguments:?}: {}", ended.stderr);
                assert!(!ended.stderr.contains("panicked"), "{arguments:?}: {}", ended.stderr);
            }
        }
    }
}

#[test]
fn an_error_that_cannot_be_written_keeps_its_exit_code() {
    for output in [full_disk as fn() -> File, closed_pipe] {
        for (settings, arguments, code) in [
            ("worker.slots = 0", &["config", "check"][..], 2),
            ("", &["worker"], 2),
            ("", &["wroker"], 2),
            ("", &["explain", "in_dubt"], 2),
            ("", &["explain", "123456"], 1),
        ] {
            let mut process = Site::with(settings).start_into(arguments, output(), output());
            let ended = process.end_within(SOON).and_then(|status| status.code());
            assert_eq!(ended, Some(code), "{arguments:?}");
        }
    }
}

#[tokio::test]
async fn serve_runs_and_stops_whatever_becomes_of_its_log() {
    let (unread, stuck) = full_pipe();
    for log in [full_disk(), closed_pipe(), stuck] {
        let gateway = free_port();
        let settings = format!(
            "log.filter = \"trace\"\ngateway.listen = \"127.0.0.1:{gateway}\"\nsimulator.listen = \"127.0.0.1:0\""
        );
        let site = Site::with(&settings);
        let mut serve = site.start_into(&["serve"], log.try_clone().expect("a descriptor"), log);
        let (ready, logins) =
            (format!("http://127.0.0.1:{gateway}/readyz"), format!("http://127.0.0.1:{gateway}/v1/logins"));
        eventually("it is ready", async || status_of(&ready).await == Some(200)).await;
        let pending = post(&logins, &serde_json::json!({"code": "no-code-of-the-simulator"})).await;
        let id = pending["request_id"].as_str().expect("an id");
        let result: Value = serde_json::from_str(&text(&format!("{logins}/{id}?wait=20")).await).expect("JSON");
        assert_eq!(result["error"]["reason"], "invalid_code", "{result}");
        let began = Instant::now();
        serve.terminate();
        assert_eq!(serve.end_within(SOON).and_then(|status| status.code()), Some(0));
        assert!(began.elapsed() < Duration::from_secs(10), "a stop waits a second for its log");
    }
    drop(unread);
}

#[tokio::test]
async fn a_worker_whose_log_nobody_reads_loses_no_login_and_counts_the_lines_that_it_drops() {
    let line = Line::start("log.filter = \"trace\"").await;
    let ops = free_port();
    let (unread, stuck) = full_pipe();
    let listen = format!("127.0.0.1:{ops}");
    let mut worker = line.site.start_into_with(
        &["worker"],
        &[("QUICKLOGIN__OPS__LISTEN", &listen)],
        stuck.try_clone().expect("a descriptor"),
        stuck,
    );
    eventually("it is ready", async || status_of(&format!("http://{listen}/readyz")).await == Some(200)).await;
    let mut taps = Vec::new();
    for _ in 0..20 {
        let tap = line.tap([Step::normal()]);
        line.publish(&tap).await;
        taps.push(tap);
    }
    eventually("each is asked", async || line.calls() == 20).await;
    let succeeded = async || {
        let metrics = text(&format!("http://{listen}/metrics")).await;
        metrics.contains("quicklogin_logins_total{outcome=\"succeeded\"} 20\n")
    };
    eventually("each has its number", succeeded).await;
    let began = Instant::now();
    worker.terminate();
    assert_eq!(worker.end_within(SOON).and_then(|status| status.code()), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "a stop waits a second for its log");
    drop(unread);
}

#[tokio::test]
async fn a_json_log_has_no_other_line() {
    let (gateway, simulator) = (free_port(), free_port());
    let json = "log.format = \"json\"\n";
    let listen = format!("gateway.listen = \"127.0.0.1:{gateway}\"\nsimulator.listen = \"127.0.0.1:{simulator}\"");
    let site = Site::with(&format!("{json}{listen}"));
    let mut serve = site.start(&["serve"], LISTENING);
    let taken = site.run(&["serve"]);
    assert_eq!(taken.code, Some(1), "{}", taken.stderr);
    expect_json(&taken.stderr, "gateway.listen");
    let logins = format!("http://127.0.0.1:{gateway}/v1/logins");
    let refusal = serde_json::json!({"errcode": 48001, "errmsg": "\u{202e}a\"b\\\n\u{1b}[31m"}).to_string();
    let script = serde_json::json!({"script": [{"body": refusal}]});
    let minted = post(&format!("http://127.0.0.1:{simulator}/sim/codes"), &script).await;
    let pending = post(&logins, &serde_json::json!({"code": minted["code"]})).await;
    text(&format!("{logins}/{}?wait=20", pending["request_id"].as_str().expect("an id"))).await;
    serve.terminate();
    assert_eq!(serve.end_within(SOON).and_then(|status| status.code()), Some(0));
    expect_json(&serve.said(), "quicklogin gateway: listening on");
    // Settings that cannot be used, in a format that is known all the same.
    for (settings, variables) in [
        (format!("{json}worker.slots = 0"), vec![]),
        ("worker.slots = 0".to_owned(), vec![("QUICKLOGIN__LOG__FORMAT", "json")]),
        (format!("{json}log.filter = \"quicklogin=loud\""), vec![]),
        (format!("{json}gateway.listen = \"0.0.0.0:1\""), vec![]),
    ] {
        let ended = Site::with(&settings).run_with(&["serve"], &variables);
        assert_eq!(ended.code, Some(2), "{settings}");
        expect_json(&ended.stderr, "\"hint\":");
    }
    let for_people = Site::with(&format!("{json}worker.slots = 0")).run(&["config", "check"]);
    assert!(for_people.stderr.starts_with("error: worker.slots is 0"), "{}", for_people.stderr);
}

fn expect_json(log: &str, containing: &str) {
    assert!(log.contains(containing), "{containing} in {log}");
    for line in log.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            object["timestamp"].is_string() && object["level"].is_string() && object["message"].is_string(),
            "{line}"
        );
        assert!(!line.contains(quicklogin::printable::is_harmful), "{line:?}");
    }
}

/// Columns on a terminal: a Chinese character or sign takes two.
fn columns(line: &str) -> usize {
    line.chars()
        .map(|character| if matches!(character, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{ffe6}') { 2 } else { 1 })
        .sum()
}

#[test]
fn output_fits_80_columns() {
    let site = Site::with("");
    let errcodes = [-1, 0, 40001, 40164, 45009, 48006, 61005, 61023, 89503].map(|errcode| errcode.to_string());
    let words = ["in_doubt", "token_unavailable", "unavailable", "unknown_app", "not_allowed", "fix_setup", "new_code"];
    let explained: Vec<Vec<&str>> =
        errcodes.iter().map(String::as_str).chain(words).map(|word| vec!["explain", word]).collect();
    let is_for_people = |arguments: &&&[&str]| !arguments.contains(&"--json") && arguments[0] != "config";
    let others = HELPS.iter().chain(&DATA).filter(is_for_people).copied();
    let mut printed = 0;
    for arguments in explained.iter().map(Vec::as_slice).chain(others) {
        let ended = site.run(arguments);
        let is_load = arguments[0] == "load";
        for line in ended.stdout.lines().chain(ended.stderr.lines().filter(|line| is_load && !line.contains("hint: ")))
        {
            printed += 1;
            // A line that names what runs where is a log line.
            let is_log = line.starts_with("quicklogin load: ");
            assert!(is_log || columns(line) <= 80, "{arguments:?}, {} columns: {line}", columns(line));
        }
        assert!(!ended.stdout.contains('\u{1b}'), "a pipe gets no colours");
    }
    assert!(printed > 500, "{printed}");
}

#[test]
fn a_word_of_a_result_is_explained_and_one_that_is_misspelled_is_found() {
    let site = Site::with("worker.slots = 0");
    let explained = site.run(&["explain", "in_doubt"]);
    assert_eq!(explained.code, Some(0), "also if the settings are broken: {}", explained.stderr);
    assert!(explained.stdout.contains("the caller: ") && explained.stdout.contains("运维："), "{}", explained.stdout);
    let json: Value = serde_json::from_str(&site.run(&["explain", "fix-setup", "--json"]).stdout).expect("JSON");
    assert_eq!((&json["kind"], &json["reasons"][1]), (&"advice".into(), &"token_unavailable".into()));
    let misspelled = site.run(&["explain", "in_dubt"]);
    assert_eq!((misspelled.code, misspelled.stdout.as_str()), (Some(2), ""));
    assert!(misspelled.stderr.contains("hint: did you mean in_doubt?"), "{}", misspelled.stderr);
    let harmful = site.run(&["explain", "\u{1b}[31mred"]);
    assert_eq!((harmful.code, harmful.stderr.contains('\u{1b}')), (Some(2), false), "{}", harmful.stderr);
    assert!(harmful.stderr.contains("invalid_code"), "all words are named: {}", harmful.stderr);
}
