//! Logins in flight while something happens to their fleet, and the account of them afterwards: every code that a gateway
//! has accepted has a result, phone numbers are the right ones, and queues are empty.

use std::collections::BTreeMap;
use std::time::Duration;

use quicklogin::simulator::{Mint, Minted, Step};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::fleet::{APP, Fleet, SOON, eventually};

/// An answer of a gateway's takes no longer, whatever happens; on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Refused, a caller comes back.
const BACK_AFTER: Duration = Duration::from_millis(200);

/// How many logins, over which time, and how long WeChat takes for each.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) logins: usize,
    pub(crate) over: Duration,
    pub(crate) wechat_takes_ms: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self { logins: 150, over: Duration::from_secs(2), wechat_takes_ms: 150 }
    }
}

/// What became of them.
#[derive(Debug)]
pub(crate) struct Account {
    /// By outcome, as in the results.
    pub(crate) by_outcome: BTreeMap<String, usize>,
    /// How many codes WeChat was asked for twice or more.
    pub(crate) asked_again: usize,
    /// How often the gateway refused for a while, with `Retry-After`.
    pub(crate) refused: usize,
    /// The longest that it took to answer.
    pub(crate) longest_answer: Duration,
    pub(crate) logins: usize,
}

/// One login that the gateway has accepted.
struct Accepted {
    request_id: String,
    tap: Minted,
    refused: usize,
    longest_answer: Duration,
}

impl Account {
    /// Nothing is lost, and no code was asked twice.
    pub(crate) fn all_succeeded(&self) {
        let expected = BTreeMap::from([("succeeded".to_owned(), self.logins)]);
        assert_eq!((&self.by_outcome, self.asked_again), (&expected, 0), "{self:?}");
    }
}

impl Load {
    /// Lets something happen when a quarter of them is submitted, and accounts for all of them. The others come from
    /// then on, however late a busy machine is.
    pub(crate) async fn through(self, fleet: &Fleet, trouble: impl AsyncFnOnce()) -> Account {
        let before = fleet.simulator.asked_without_codes();
        let slow = Mint::of(APP).script([Step::normal().late_ms(self.wechat_takes_ms)]);
        let mut taps = fleet.simulator.mint_many(&slow, self.logins).expect("the simulator knows the app");
        let (later, mut callers) = (taps.split_off(self.logins / 4), JoinSet::new());
        let last_of_the_first = self.submit_all(fleet, taps, &mut callers);
        sleep_until(last_of_the_first).await;
        eventually("some are asked", async || fleet.asked_for_phones() > before.phone.calls).await;
        self.submit_all(fleet, later, &mut callers);
        trouble().await;
        let accepted = callers.join_all().await;
        let account = self.close(fleet, accepted).await;
        Account { asked_again: account.asked_again - before.codes_asked_more_than_once as usize, ..account }
    }

    /// From now on, one after the other; answers when the last is due.
    fn submit_all(self, fleet: &Fleet, taps: Vec<Minted>, callers: &mut JoinSet<Accepted>) -> Instant {
        let client = Client::builder().no_proxy().build().expect("a client");
        let mut at = Instant::now();
        for tap in taps {
            callers.spawn(submit(client.clone(), format!("{}/v1/logins", fleet.url), tap, at));
            at += self.over / self.logins as u32;
        }
        at
    }

    async fn close(self, fleet: &Fleet, accepted: Vec<Accepted>) -> Account {
        let mut by_outcome = BTreeMap::new();
        for login in &accepted {
            let key = format!("quicklogin:result:{{{}}}", login.request_id);
            eventually(&format!("{key} is there"), async || fleet.redis().get(&key).is_some()).await;
            let result = fleet.redis().get(&key).expect("it is there");
            *by_outcome.entry(outcome(&result, &login.tap)).or_default() += 1;
        }
        nothing_is_left(fleet).await;
        let asked = fleet.simulator.asked_without_codes();
        Account {
            by_outcome,
            asked_again: asked.codes_asked_more_than_once as usize,
            refused: accepted.iter().map(|login| login.refused).sum(),
            longest_answer: accepted.iter().map(|login| login.longest_answer).max().unwrap_or_default(),
            logins: self.logins,
        }
    }
}

/// A trouble that goes on in rounds of so long, until WeChat is asked once more for a code that it has befallen.
pub(crate) async fn until_one_is_asked_again(fleet: &Fleet, round: Duration, each: impl Fn()) {
    let asked_again = || fleet.simulator.asked_without_codes().codes_asked_more_than_once;
    let before = asked_again();
    eventually("one is asked for again", async || {
        each();
        sleep(round).await;
        asked_again() > before
    })
    .await;
}

/// Every message is acked, and none is dead.
pub(crate) async fn nothing_is_left(fleet: &Fleet) {
    let left = || {
        let depths = fleet.broker().queue_depths(fleet.vhost());
        depths.values().map(|queue| queue.ready + queue.unacked).sum::<u64>()
    };
    eventually("no message is left", async || left() == 0).await;
}

async fn submit(client: Client, url: String, tap: Minted, at: Instant) -> Accepted {
    sleep_until(at).await;
    let body = json!({"code": tap.code}).to_string();
    let (mut refused, mut longest_answer) = (0, Duration::ZERO);
    loop {
        let began = Instant::now();
        let request = client.post(&url).header("content-type", "application/json").body(body.clone());
        let answer = request.timeout(ANSWERED_WITHIN).send().await.expect("a gateway answers");
        longest_answer = longest_answer.max(began.elapsed());
        match answer.status() {
            StatusCode::ACCEPTED => {
                let answer: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
                let request_id = answer["request_id"].as_str().expect("an id").to_owned();
                return Accepted { request_id, tap, refused, longest_answer };
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(answer.headers().contains_key("retry-after"), "a caller is told when to come back");
                refused += 1;
            }
            status => panic!("{status}: {:?}", answer.text().await),
        }
        assert!(at.elapsed() < SOON * 2, "it is accepted at some time");
        sleep(BACK_AFTER).await;
    }
}

/// A success has the right number, or it is none.
fn outcome(result: &str, tap: &Minted) -> String {
    let result: Value = serde_json::from_str(result).expect("JSON");
    match result["status"].as_str() {
        Some("succeeded") => {
            assert_eq!(result["phone_info"]["phoneNumber"], tap.phone_number, "{result}");
            "succeeded".to_owned()
        }
        _ => result["error"]["reason"].as_str().expect("a reason").to_owned(),
    }
}
