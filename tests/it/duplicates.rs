//! The same request several times, in the hands of several workers at once.

use std::time::Duration;

use quicklogin::clock;
use quicklogin::simulator::{Step, Then};

use crate::support::line::{ASKING, Line};

/// As many that no worker is spared.
const COPIES: usize = 12;

#[tokio::test]
async fn a_dozen_copies_of_each_request_on_three_workers_ask_once() {
    let line = Line::start("").await;
    let _workers = [line.worker(), line.worker(), line.worker()];
    let taps = line.taps(20, &[Step::normal().late_ms(300)]);
    for _ in 0..COPIES {
        line.publish_all(&taps).await;
    }
    line.all_succeed_asked_once(&taps).await;
}

#[tokio::test]
async fn when_the_worker_that_asks_is_killed_one_of_those_who_wait_with_a_copy_takes_over() {
    let line = Line::start("wechat.timeout_ms = 2000").await;
    let tap = line.tap([Then::HangBefore.into()]);
    let mut asking = line.worker_stopped_at(ASKING, &tap).await;
    let _waiting = [line.worker(), line.worker()];
    for _ in 0..COPIES {
        line.publish(&tap).await;
    }
    asking.kill();
    let killed_at = clock::now_ms();
    assert_eq!(line.outcome(&tap).await, ("succeeded".to_owned(), 2));
    line.is_empty().await;
    assert_eq!(line.asked(&tap).asked, 2, "one of them, once");
    let finished_at = line.result(&tap).await["finished_at"].as_u64().expect("a time");
    let took = Duration::from_millis(finished_at - killed_at);
    assert!(took < Duration::from_millis(3500 + 5000), "a lease and a bit: {took:?}");
}

#[tokio::test]
async fn a_copy_that_comes_after_the_result_is_acked_and_changes_nothing() {
    let line = Line::start("").await;
    let _worker = line.worker();
    let tap = line.tap([]);
    line.publish(&tap).await;
    let result = line.result(&tap).await;
    for _ in 0..COPIES {
        line.publish(&tap).await;
    }
    line.is_empty().await;
    assert_eq!((line.result_now(&tap), line.asked(&tap).asked), (Some(result), 1));
}
