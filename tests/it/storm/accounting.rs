//! After the storm: what became of every login, and whether anything happened that must not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quicklogin::clock;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::storm::account::{Account, Elsewhere};
use crate::storm::causes;
use crate::storm::faults::Happened;
use crate::storm::ledger::{Complaint, Ledger, Pages};
use crate::storm::load::Load;
use crate::storm::looking::{Looking, look_up_asked};
use crate::storm::processes::Processes;
use crate::storm::schedule::WORKERS;
use crate::storm::searching;
use crate::support::amqp::Publisher;
use crate::support::fleet::APP;
use crate::support::program::status_of;

/// After the last deadline: a lease that has to run out, and a result to be written.
const AFTER_THE_DEADLINE: Duration = Duration::from_secs(10);
/// What is left in the queues is on its way to its ack; a worker that was cut off connects again.
const WELL_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So many of those that succeeded are asked for once more.
const ONCE_MORE: usize = 300;
/// So many complaints are told with all that the logs have to say.
const TOLD_IN_FULL: usize = 10;

/// What a storm may not do, and what it may.
pub(super) struct Accounting {
    pub(super) processes: Arc<Processes>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) load: Load,
    pub(super) happened: Vec<Happened>,
}

impl Accounting {
    /// Waits until everything is concluded, within bounds, and looks at all of it.
    pub(super) async fn close(&self) -> Account {
        self.settle().await;
        self.wait_until_all_are_well().await;
        self.look_at_all().await;
        let once_more = self.ask_once_more().await;
        look_up_asked(&self.processes, &self.ledger).await;
        self.end_all();
        let publisher = Publisher::connect(self.processes.servers.vhost.url()).await;
        let (dead, garbage) = self.read_dead_letters(&publisher).await;
        let elsewhere = Elsewhere { dead, queued: self.read_queues(&publisher).await };
        let mut pages = self.ledger.open();
        let account = Account::of(&mut pages, &elsewhere, &self.happened);
        let handed_over = searching::search(&self.processes.logs(), &mut pages);
        Account { once_more, garbage, handed_over, ..account }
    }

    async fn settle(&self) {
        let last_deadline = self.ledger.open().logins.values().map(|login| login.deadline).max().unwrap_or(0);
        let left = Duration::from_millis(last_deadline.saturating_sub(clock::now_ms())) + AFTER_THE_DEADLINE;
        let until = Instant::now() + left;
        while self.ledger.open().pending() > 0 && Instant::now() < until {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Nothing is left in the queues, every worker consumes, and the gateway is ready.
    async fn wait_until_all_are_well(&self) {
        let until = Instant::now() + WELL_WITHIN;
        while let Some(what) = self.what_is_not_well().await {
            if Instant::now() >= until {
                return self.ledger.open().complain(None, what);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn what_is_not_well(&self) -> Option<String> {
        let [logins, results] = ["quicklogin.logins", "quicklogin.results"].map(|queue| self.processes.depth(queue));
        if logins.ready + logins.unacked + results.ready + results.unacked > 0 {
            return Some(format!("the queues are not empty: {logins:?}, {results:?}"));
        }
        if [logins, results].iter().any(|depth| depth.consumers != WORKERS as u64) {
            return Some(format!("it is not the workers that consume: {logins:?}, {results:?}"));
        }
        let ready = status_of(&format!("{}/readyz", self.processes.servers.gateway_url())).await;
        (ready != Some(200)).then(|| format!("the gateway is not ready: {ready:?}"))
    }

    async fn look_at_all(&self) {
        let ids: Vec<_> = self.ledger.open().logins.keys().cloned().collect();
        let mut looking = Looking::at(&self.processes.servers.redis.url());
        looking.look(&ids, &self.ledger).await.expect("Redis is healed");
    }

    /// Publishes some that succeeded once more: how many. WeChat must not be asked for them again.
    async fn ask_once_more(&self) -> usize {
        let chosen: Vec<_> = {
            let pages = self.ledger.open();
            let every = (pages.logins.len() / ONCE_MORE).max(1);
            let succeeded = pages.logins.iter().step_by(every).filter(|(_, login)| login.succeeded());
            succeeded.map(|(id, login)| (id.clone(), login.code.clone())).collect()
        };
        for (id, code) in &chosen {
            let body = json!({"request_id": id, "appid": APP, "code": code, "issued_at": clock::now_ms()}).to_string();
            assert!(self.load.publish(&body).await, "RabbitMQ is healed");
        }
        self.wait_until_all_are_well().await;
        self.look_at_all().await;
        chosen.len()
    }

    /// Nobody has ended by himself, each ends well when he is told to, and those that were told to in the storm did.
    fn end_all(&self) {
        let asleep = self.processes.asleep();
        let asleep = asleep.into_iter().map(|name| format!("{name} has ended by itself"));
        let ended = self.processes.end_all();
        let ended = ended.iter().filter_map(|drained| causes::wrong_end(drained, 0, 0, &[]));
        let drained = self
            .happened
            .iter()
            .filter_map(|one| causes::wrong_end(one.drained.as_ref()?, one.began, one.ended, &self.happened));
        let complaints: Vec<_> = asleep.chain(ended).chain(drained).collect();
        let mut pages = self.ledger.open();
        for what in complaints {
            pages.complain(None, what);
        }
    }

    /// The ids of the logins among them, and how many are garbage; one that is there twice counts once.
    async fn read_dead_letters(&self, publisher: &Publisher) -> (BTreeSet<String>, usize) {
        let found: BTreeSet<_> = bodies(publisher, "quicklogin.dead").await.into_iter().collect();
        let mut pages = self.ledger.open();
        let missing = pages.garbage.iter().filter(|(body, confirmed)| **confirmed && !found.contains(*body)).count();
        if missing > 0 {
            pages.complain(None, format!("{missing} of the garbage are no dead letters"));
        }
        let (known, logins): (Vec<_>, Vec<_>) = found.into_iter().partition(|body| pages.garbage.contains_key(body));
        (logins.iter().filter_map(|body| request_id(body)).collect(), known.len())
    }

    /// The ids of those that are still there, as logins or with their results.
    async fn read_queues(&self, publisher: &Publisher) -> BTreeSet<String> {
        let mut found = bodies(publisher, "quicklogin.logins").await;
        found.extend(bodies(publisher, "quicklogin.results").await);
        found.iter().filter_map(|body| request_id(body)).collect()
    }

    /// Everything that is to be known of what must not have happened.
    pub(super) fn complaints(&self) -> String {
        let pages = self.ledger.open();
        let tell = |complaint: &Complaint| match complaint.request_id.as_deref() {
            Some(id) => format!("{id}: {}{}", complaint.what, self.about(id, &pages)),
            None => complaint.what.clone(),
        };
        let told: Vec<_> = pages.complaints.iter().take(TOLD_IN_FULL).map(tell).collect();
        format!("{} complaints, the first of them:\n{}", pages.complaints.len(), told.join("\n"))
    }

    fn about(&self, id: &str, pages: &Pages) -> String {
        let lines: String =
            searching::lines_about(id, &self.processes.logs()).iter().map(|line| format!("\n    {line}")).collect();
        let Some(login) = pages.logins.get(id) else { return lines };
        let (told_ms, outcome) = match &login.result {
            Some(seen) => (seen.finished_at, &*seen.outcome),
            None => (login.deadline, "nothing"),
        };
        let faults = self.happened.iter().filter(|happened| happened.touches(login.issued_at, told_ms, 0));
        let faults: String =
            faults.map(|one| format!("\n    {} to {}: {}", one.began, one.ended, one.planned)).collect();
        format!("\n    issued at {}, told {outcome} at {told_ms}{faults}{lines}", login.issued_at)
    }
}

/// Takes all that is in a queue.
async fn bodies(publisher: &Publisher, queue: &str) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((body, _)) = publisher.get(queue).await {
        found.push(String::from_utf8_lossy(&body).into_owned());
    }
    found
}

fn request_id(body: &str) -> Option<String> {
    let login: Value = serde_json::from_str(body).ok()?;
    login["request_id"].as_str().map(str::to_owned)
}
