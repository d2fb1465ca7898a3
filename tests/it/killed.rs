//! A worker killed at each step of a login's walk, with another one there: what ARCHITECTURE.md promises, in its time.

use futures_util::future::join_all;
use quicklogin::clock;
use quicklogin::simulator::{Step, Then};

use crate::support::line::{ASKING, Line};

const CALL_MS: u64 = 2000;
/// A call's time and 1.5 s.
const LEASE_MS: u64 = CALL_MS + 1500;
/// For RabbitMQ to deliver again, another worker to look, and WeChat to answer, on a busy machine too.
const BIT_MS: u64 = 5000;

/// Where the worker is killed, what the code's script is, and what becomes of the login.
struct Row {
    step: &'static str,
    script: Vec<Step>,
    outcome: &'static str,
    /// How many askings the result counts.
    attempts: u64,
    /// How many WeChat counts.
    asked: u32,
}

impl Row {
    fn at(step: &'static str, outcome: &'static str, attempts: u64, asked: u32) -> Self {
        Self { step, script: vec![], outcome, attempts, asked }
    }

    fn with_script(self, script: impl Into<Vec<Step>>) -> Self {
        Self { script: script.into(), ..self }
    }

    /// Kills the worker, where a call may take so long, and checks all but the time. Answers how long after its publish
    /// and after the kill the login was finished, in ms.
    async fn play(&self, call_ms: u64) -> (u64, u64) {
        let line = Line::start(&format!("wechat.timeout_ms = {call_ms}")).await;
        let tap = line.tap(self.script.clone());
        let published_at = clock::now_ms();
        let mut victim = line.worker_stopped_at(self.step, &tap).await;
        let _heir = line.worker();
        victim.kill();
        let killed_at = clock::now_ms();
        assert_eq!(line.outcome(&tap).await, (self.outcome.to_owned(), self.attempts), "{}", self.step);
        line.is_empty().await;
        assert_eq!(line.asked(&tap).asked, self.asked, "{}", self.step);
        let finished_at = line.result(&tap).await["finished_at"].as_u64().expect("a time");
        (finished_at - published_at, finished_at.saturating_sub(killed_at))
    }
}

/// The next worker need not wait for anything; a lease would be much longer.
async fn all_end_at_once(rows: impl IntoIterator<Item = Row>) {
    for (_, after_kill) in play(rows, 10 * CALL_MS).await {
        assert!(after_kill < BIT_MS, "{after_kill} ms");
    }
}

/// The next worker waits until the lease is over, and no longer.
async fn all_end_with_the_lease(rows: impl IntoIterator<Item = Row>) {
    for (after_publish, after_kill) in play(rows, CALL_MS).await {
        assert!(after_publish >= LEASE_MS && after_kill < LEASE_MS + BIT_MS, "{after_publish} {after_kill} ms");
    }
}

async fn play(rows: impl IntoIterator<Item = Row>, call_ms: u64) -> Vec<(u64, u64)> {
    let rows: Vec<_> = rows.into_iter().collect();
    join_all(rows.iter().map(|row| row.play(call_ms))).await
}

#[tokio::test]
async fn killed_before_its_claim_a_worker_leaves_a_login_that_nobody_has_touched() {
    all_end_at_once(["Taken", "Share"].map(|step| Row::at(step, "succeeded", 1, 1))).await;
}

#[tokio::test]
async fn killed_before_it_asks_a_worker_leaves_a_code_that_is_asked_once_when_the_lease_is_over() {
    all_end_with_the_lease(["Claimed", "Token", "BeforeAsking"].map(|step| Row::at(step, "succeeded", 2, 1))).await;
}

#[tokio::test]
async fn of_a_code_that_is_dead_at_the_take_over_nobody_can_know_whose_doing_it_was() {
    let dead = |step| Row::at(step, "in_doubt", 2, 1).with_script([Step::errcode(40029)]);
    all_end_with_the_lease(["Claimed", "BeforeAsking"].map(dead)).await;
}

#[tokio::test]
async fn killed_while_wechat_answers_a_worker_leaves_a_code_that_is_in_doubt_if_it_is_spent() {
    all_end_with_the_lease([Row::at(ASKING, "in_doubt", 2, 2).with_script([Step::normal().late_ms(1800)])]).await;
}

#[tokio::test]
async fn killed_while_wechat_answers_a_worker_leaves_a_code_that_is_good_if_it_is_not_spent() {
    all_end_with_the_lease([Row::at(ASKING, "succeeded", 2, 2).with_script([Then::HangBefore.into()])]).await;
}

#[tokio::test]
async fn killed_with_an_answer_that_is_not_written_a_worker_takes_the_number_along() {
    all_end_with_the_lease([Row::at("Answered", "in_doubt", 2, 2)]).await;
}

#[tokio::test]
async fn killed_in_a_pause_a_worker_leaves_a_code_that_is_asked_again() {
    let busy = |script: &[Step], outcome| Row::at("Pausing", outcome, 2, 2).with_script(script);
    let rows = [busy(&[Step::errcode(-1)], "succeeded"), busy(&[-1, 40029].map(Step::errcode), "in_doubt")];
    all_end_with_the_lease(rows).await;
}

#[tokio::test]
async fn killed_before_its_ack_a_worker_leaves_a_login_that_is_only_acked() {
    all_end_at_once(["Recorded", "AcksGathered"].map(|step| Row::at(step, "succeeded", 1, 1))).await;
}
