//! The exit codes, each as `--help` says it. Those of bad settings are in `program`, those of drains in `drain`.

use std::net::TcpListener;
use std::time::Duration;

use quicklogin::simulator::Step;
use tokio::time::Instant;

use crate::support::fleet::eventually;
use crate::support::line::Line;
use crate::support::process::Process;
use crate::support::program::Site;

/// A stop at once: last words, last acks, the background; on a busy machine. A drain would have 25 s.
const AT_ONCE: Duration = Duration::from_secs(15);

fn ends_at_once(worker: &mut Process) -> Option<i32> {
    worker.end_within(AT_ONCE).and_then(|status| status.code())
}

#[test]
fn the_help_of_whatever_stops_names_all_exit_codes() {
    let site = Site::with("");
    for arguments in [&["--help"][..], &["worker", "--help"], &["serve", "--help"]] {
        let ended = site.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}");
        let (_, told) = ended.stdout.split_once("Exit codes:\n").expect("they are told");
        let codes: Vec<_> = told.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(codes, ["0", "1", "2", "3", "101"], "{arguments:?}");
    }
}

#[test]
fn what_fails_at_run_time_ends_with_1_and_a_mistaken_word_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it listens");
    let ended = Site::with(&format!("gateway.listen = \"{address}\"")).run(&["serve"]);
    assert_eq!((ended.code, ended.stderr.contains("error: gateway.listen")), (Some(1), true), "{}", ended.stderr);
    let ended = Site::with("").run(&["wroker"]);
    assert_eq!((ended.code, ended.stderr.contains("error: ")), (Some(2), true), "{}", ended.stderr);
}

#[tokio::test]
async fn a_worker_with_nothing_in_hand_ends_with_0_at_either_signal() {
    for signal in [Process::terminate, Process::interrupt] {
        let line = Line::start("").await;
        let mut worker = line.worker();
        signal(&mut worker);
        assert_eq!(ends_at_once(&mut worker), Some(0), "{}", worker.said());
    }
}

#[tokio::test]
async fn a_second_signal_while_redis_is_away_ends_with_3_at_once() {
    let line = Line::start("").await;
    let mut worker = line.worker();
    let tap = line.tap([Step::normal().late_ms(1500)]);
    line.publish(&tap).await;
    eventually("it is asked", async || line.calls() == 1).await;
    line.servers.redis.kill();
    let began = Instant::now();
    worker.terminate();
    eventually("it drains", async || worker.said().contains("taking no more logins")).await;
    worker.interrupt();
    assert_eq!(ends_at_once(&mut worker), Some(3), "{:?} {}", began.elapsed(), worker.said());
    assert!(worker.said().contains("error: stopped while RabbitMQ or Redis was away\nhint: "), "{}", worker.said());
}
