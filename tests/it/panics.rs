//! A bug of ours that panics in one login: it has its result, the others feel nothing, and the log says where it was.

use quicklogin::simulator::Step;

use crate::support::line::{Line, Tap};
use crate::support::process::Process;
use crate::support::program::text;

const LOGINS: usize = 10;

/// A line whose worker has panicked over one of ten logins, all in hand at once.
struct Panicked {
    line: Line,
    worker: Process,
    taps: Vec<Tap>,
    ops: String,
}

impl Panicked {
    async fn at(step: &str) -> Self {
        let line = Line::start("").await;
        let (worker, ops) = line.worker_with_ops(&[("QUICKLOGIN_PANIC_AT", step)]);
        let taps = line.taps(LOGINS, &[Step::normal().late_ms(300)]);
        line.publish_all(&taps).await;
        Self { line, worker, taps, ops }
    }

    /// How many logins ended so, after so many askings as the line counts and as WeChat does.
    async fn count(&self, outcome: &str, attempts: u64, asked: u32) -> usize {
        let mut count = 0;
        for tap in &self.taps {
            let is = (self.line.outcome(tap).await, self.line.asked(tap).asked);
            count += usize::from(is == ((outcome.to_owned(), attempts), asked));
        }
        count
    }

    /// The log tells where, and nothing that was in the login; the worker goes on; `answered` are counted.
    async fn is_told_and_over(&mut self, answered: usize) {
        self.line.is_empty().await;
        let said = self.worker.said();
        assert!(said.contains("panicked at=src/stop_point.rs:"), "{said}");
        assert!(!said.contains("canary"), "what a panic says may be a secret: {said}");
        assert!(self.worker.is_awake());
        let metrics = text(&format!("{}/metrics", self.ops)).await;
        assert!(metrics.contains(&format!("\nquicklogin_logins_panicked_total {answered}\n")), "{metrics}");
    }
}

#[tokio::test]
async fn a_login_that_panics_before_it_is_asked_is_unavailable_and_its_code_unspent() {
    for step in ["Share#5", "Claimed#5", "Token#5"] {
        let mut panicked = Panicked::at(step).await;
        assert_eq!(panicked.count("unavailable", 0, 0).await, 1, "{step}");
        assert_eq!(panicked.count("succeeded", 1, 1).await, LOGINS - 1, "{step}");
        panicked.is_told_and_over(1).await;
    }
}

#[tokio::test]
async fn a_login_that_panics_over_wechats_answer_is_in_doubt() {
    let mut panicked = Panicked::at("Answered#5").await;
    assert_eq!(panicked.count("in_doubt", 1, 1).await, 1);
    assert_eq!(panicked.count("succeeded", 1, 1).await, LOGINS - 1);
    panicked.is_told_and_over(1).await;
}

#[tokio::test]
async fn a_login_that_panics_when_its_result_is_written_keeps_it() {
    let mut panicked = Panicked::at("Recorded#5").await;
    assert_eq!(panicked.count("succeeded", 1, 1).await, LOGINS);
    panicked.is_told_and_over(1).await;
}

#[tokio::test]
async fn a_body_whose_reading_panics_is_a_dead_letter() {
    let mut panicked = Panicked::at("Taken#5").await;
    let dead = panicked.taps.remove(4);
    assert_eq!(panicked.count("succeeded", 1, 1).await, LOGINS - 1);
    panicked.is_told_and_over(0).await;
    assert_eq!(panicked.line.depth("quicklogin.dead").ready, 1);
    assert_eq!((panicked.line.result_now(&dead), panicked.line.asked(&dead).asked), (None, 0));
}
