//! A worker that stands still for a while (a paused machine, a laptop's lid) and goes on: at whichever step of a login's
//! walk that was, and whatever another worker has made of the login meanwhile, nothing is spoiled.

use std::time::Duration;

use futures_util::future::join_all;
use quicklogin::simulator::Step;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::amqp::Publisher;
use crate::support::fleet::{APP, SECRET, SOON, eventually, request};
use crate::support::line::{ASKING, Line, Tap};
use crate::support::process::Process;
use crate::support::program::{Servers, Site, get, post};

#[tokio::test]
async fn a_worker_that_was_frozen_while_wechat_answered_hears_the_answer_all_the_same() {
    let servers = Servers::start();
    let settings = format!("wechat.timeout_ms = 3000\n[[apps]]\nappid = \"{APP}\"\nsecret = \"{SECRET}\"");
    let site = Site::with(&servers.settings(&settings));
    let _simulator = site.simulator();
    let mut worker = site.worker();
    let publisher = Publisher::connect(servers.vhost.url()).await;
    let sim = format!("{}/sim", servers.simulator_url());
    let asked = async || get(&format!("{sim}/asked?codes=false")).await["phone"]["calls"].as_u64().unwrap_or(0);
    let late = json!({"appid": APP, "count": 20, "script": [{"delay_ms": 2000}]});
    let taps = post(&format!("{sim}/codes"), &late).await;
    let mut keys = Vec::new();
    for tap in taps.as_array().expect("a list") {
        let login = request(tap["code"].as_str().expect("a code"));
        keys.push(format!("quicklogin:result:{{{}}}", login.request_id));
        publisher.publish("quicklogin", "login", &login.encode(), Default::default()).await.expect("it is connected");
    }
    eventually("all are being asked", async || asked().await == 20).await;
    worker.freeze();
    sleep(Duration::from_millis(3500)).await;
    worker.thaw();
    for key in keys {
        eventually("it has a result", async || servers.redis.get(&key).is_some()).await;
        let result: Value = serde_json::from_str(&servers.redis.get(&key).expect("it is there")).expect("JSON");
        assert_eq!((&result["status"], &result["attempts"]), (&json!("succeeded"), &json!(1)), "{result}");
    }
}

/// A login of which one worker stands still at some step, and which RabbitMQ has given to another.
struct TakenOver {
    line: Line,
    tap: Tap,
    frozen: Process,
    heir: Process,
}

impl TakenOver {
    async fn at(step: &str, script: &[Step]) -> Self {
        let line = Line::start("wechat.timeout_ms = 2500").await;
        let tap = line.tap(script.iter().cloned());
        let frozen = line.worker_stopped_at(step, &tap).await;
        line.broker().close_connections(&line.servers.vhost);
        let heir = line.worker();
        Self { line, tap, frozen, heir }
    }

    /// What the other worker makes of it.
    async fn ends_as(&self, outcome: &str, attempts: u64) {
        assert_eq!(self.line.outcome(&self.tap).await, (outcome.to_owned(), attempts));
        self.line.is_empty().await;
    }

    /// Wakes the one that stood still, and lets both end what they have in hand: so it ends, WeChat asked so often.
    async fn once_woken(mut self, outcome: &str, attempts: u64, asked: u32) {
        self.frozen.thaw();
        let consumes_again = async || self.frozen.said().matches("consuming queue=\"quicklogin.logins\"").count() == 2;
        eventually("it has lost its connection and consumes again", consumes_again).await;
        for worker in [&mut self.frozen, &mut self.heir] {
            worker.terminate();
            let ended = worker.end_within(SOON).expect("it has little in hand");
            assert_eq!(ended.code(), Some(0), "{}", worker.said());
        }
        assert_eq!(self.line.outcome(&self.tap).await, (outcome.to_owned(), attempts));
        assert_eq!(self.line.asked(&self.tap).asked, asked);
        self.line.is_empty().await;
    }
}

#[tokio::test]
async fn woken_before_it_has_asked_a_worker_finds_the_result_and_asks_no_more() {
    let busy = [Step::errcode(-1)];
    let rows: [(_, &[Step], _, _); 5] = [
        ("Taken", &[], 1, 1),
        ("Share", &[], 1, 1),
        ("Claimed", &[], 2, 1),
        ("Token", &[], 2, 1),
        ("Pausing", &busy, 2, 2),
    ];
    let play = async |(step, script, attempts, asked)| {
        let login = TakenOver::at(step, script).await;
        login.ends_as("succeeded", attempts).await;
        login.once_woken("succeeded", attempts, asked).await;
    };
    join_all(rows.map(play)).await;
}

#[tokio::test]
async fn woken_just_before_it_asks_a_worker_asks_in_vain_and_replaces_nothing() {
    let login = TakenOver::at("BeforeAsking", &[]).await;
    login.ends_as("succeeded", 2).await;
    login.once_woken("succeeded", 2, 2).await;
}

#[tokio::test]
async fn woken_while_wechat_answers_a_worker_hears_the_number_and_ends_the_doubt() {
    let login = TakenOver::at(ASKING, &[Step::normal().late_ms(1500)]).await;
    login.ends_as("in_doubt", 2).await;
    login.once_woken("succeeded", 1, 2).await;
}

#[tokio::test]
async fn woken_with_wechats_answer_in_hand_a_worker_brings_the_number_and_ends_the_doubt() {
    let login = TakenOver::at("Answered", &[]).await;
    login.ends_as("in_doubt", 2).await;
    login.once_woken("succeeded", 1, 2).await;
}

#[tokio::test]
async fn woken_while_another_worker_asks_a_worker_brings_the_number_and_keeps_it() {
    let login = TakenOver::at("Answered", &[Step::normal(), Step::errcode(40029).late_ms(1800)]).await;
    eventually("the other one asks", async || login.line.asked(&login.tap).asked == 2).await;
    login.once_woken("succeeded", 1, 2).await;
}

#[tokio::test]
async fn woken_with_its_result_written_a_worker_has_nothing_left_to_do() {
    let play = async |step| {
        let login = TakenOver::at(step, &[]).await;
        login.ends_as("succeeded", 1).await;
        login.once_woken("succeeded", 1, 1).await;
    };
    join_all(["Recorded", "AcksGathered"].map(play)).await;
}
