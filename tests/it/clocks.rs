//! Clocks that disagree by half a minute: the publisher's, which says when a login was tapped and how long anybody waits
//! for it, and the worker's, which asks. Codes age at WeChat by WeChat's own clock.

use futures_util::future::join_all;
use quicklogin::clock;
use quicklogin::login::LoginRequest;
use quicklogin::simulator::Mint;

use crate::support::amqp::Publisher;
use crate::support::fleet::{APP, Ground, Plan, request};

const FAST_S: i64 = 30;
const SLOW_S: i64 = -30;

/// A login whose publisher's clock is off by `skew_s`.
struct Row {
    skew_s: i64,
    /// How long ago the button was tapped.
    tapped_s: i64,
    /// For how long from then on somebody waits.
    awaited_s: Option<i64>,
    /// Whether the body says when it was; else the message does.
    in_body: bool,
    outcome: &'static str,
}

impl Row {
    const fn new(skew_s: i64, tapped_s: i64, outcome: &'static str) -> Self {
        Self { skew_s, tapped_s, awaited_s: None, in_body: true, outcome }
    }

    /// What the publisher writes at this moment of its own clock.
    fn written(&self, code: &str) -> LoginRequest {
        let tapped_at = clock::now_ms().saturating_add_signed(1000 * (self.skew_s - self.tapped_s));
        let deadline = self.awaited_s.map(|awaited_s| tapped_at.saturating_add_signed(1000 * awaited_s));
        LoginRequest { issued_at: Some(tapped_at), deadline, ..request(code) }
    }
}

/// A code lives for 240 s by our count, and for 300 s at WeChat.
const ROWS: [Row; 11] = [
    Row::new(FAST_S, 0, "succeeded"),
    Row::new(SLOW_S, 0, "succeeded"),
    // Looks younger than it is, and WeChat still takes it.
    Row::new(FAST_S, 264, "succeeded"),
    // Looks as if its time were up: long before WeChat would say so.
    Row::new(FAST_S, 276, "expired"),
    Row::new(SLOW_S, 204, "succeeded"),
    Row::new(SLOW_S, 216, "expired"),
    Row { in_body: false, ..Row::new(FAST_S, 0, "succeeded") },
    Row { in_body: false, ..Row::new(SLOW_S, 216, "expired") },
    // Nobody waits any more, or so it looks; a publisher that sets deadlines gives them more than the clocks disagree by.
    Row { awaited_s: Some(20), ..Row::new(SLOW_S, 0, "expired") },
    Row { awaited_s: Some(40), ..Row::new(SLOW_S, 0, "succeeded") },
    Row { awaited_s: Some(20), ..Row::new(FAST_S, 40, "succeeded") },
];

#[tokio::test]
async fn clocks_that_disagree_by_half_a_minute_cost_no_code_that_is_good() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let play = async |row: &Row| {
        let tap = fleet.tap_with(&Mint { age_s: row.tapped_s as u64, ..Mint::of(APP) });
        let written = row.written(&tap.code);
        let issued_at = written.issued_at.filter(|_| row.in_body);
        let body = LoginRequest { issued_at, ..written.clone() }.encode();
        let properties = Publisher::properties(written.request_id.as_str());
        let tapped_at_s = written.issued_at.expect("it was tapped") / 1000;
        let properties = if row.in_body { properties } else { properties.with_timestamp(tapped_at_s) };
        publisher.publish("quicklogin", "login", &body, properties).await.expect("it is connected");
        let outcome = fleet.result(&written.request_id).await.outcome;
        let Row { skew_s, tapped_s, .. } = row;
        assert_eq!(outcome.as_str(), row.outcome, "a clock off by {skew_s} s, a tap {tapped_s} s ago");
        let asked = fleet.simulator.asked_of(&tap.code).asked;
        assert_eq!(asked, u32::from(row.outcome == "succeeded"), "what is expired is not asked");
    };
    join_all(ROWS.iter().map(play)).await;
}
