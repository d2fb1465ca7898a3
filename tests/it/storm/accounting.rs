//! After the storm: what became of every login, and whether anything happened that must not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quicklogin::clock;
use quicklogin::simulator::Asked;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::storm::account::Account;
use crate::storm::faults::Happened;
use crate::storm::ledger::{Complaint, Ledger, Pages};
use crate::storm::load::Load;
use crate::storm::looking::Looking;
use crate::storm::processes::Processes;
use crate::support::amqp::Publisher;
use crate::support::fleet::APP;
use crate::support::program::get;

/// After the last deadline: a lease that has to run out, and a result to be written.
const AFTER_THE_DEADLINE: Duration = Duration::from_secs(10);
/// What is left in the queues is on its way to its ack.
const QUEUES_EMPTY_WITHIN: Duration = Duration::from_secs(20);
/// So many of those that succeeded are asked for once more.
const ONCE_MORE: usize = 300;
/// So many logins' secrets are looked for in the logs.
const SAMPLE: usize = 150;
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
        let mut account = Account { queued: self.empty_queues().await, ..Account::default() };
        self.look_at_all().await;
        (account.dead, account.garbage) = self.read_dead_letters().await;
        let asked = self.asked().await;
        account.count(&mut self.ledger.open(), &asked, &self.happened);
        (account.once_more, account.asked_again) = self.ask_once_more(&asked).await;
        let logs = self.processes.logs();
        account.handed_over = logs.matches("it was handed over").count();
        self.search(&logs);
        for name in self.processes.asleep() {
            self.ledger.open().complain(None, format!("{name} has ended by itself"));
        }
        account
    }

    async fn settle(&self) {
        let last_deadline = self.ledger.open().logins.values().map(|login| login.deadline).max().unwrap_or(0);
        let left = Duration::from_millis(last_deadline.saturating_sub(clock::now_ms())) + AFTER_THE_DEADLINE;
        let until = Instant::now() + left;
        while self.ledger.open().pending() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How many messages are left after a while.
    async fn empty_queues(&self) -> u64 {
        let until = Instant::now() + QUEUES_EMPTY_WITHIN;
        loop {
            let depths = ["quicklogin.logins", "quicklogin.results"].map(|queue| self.processes.depth(queue));
            let left = depths.iter().map(|depth| depth.ready + depth.unacked).sum();
            if left == 0 || Instant::now() >= until {
                if left > 0 {
                    self.ledger.open().complain(None, format!("the queues are not empty: {depths:?}"));
                }
                return left;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn look_at_all(&self) {
        let ids: Vec<_> = self.ledger.open().logins.keys().cloned().collect();
        let mut looking = Looking::at(&self.processes.servers.redis.url());
        looking.look(&ids, &self.ledger).await.expect("Redis is healed");
    }

    /// How many of them are logins, and how many garbage; one that is there twice counts once.
    async fn read_dead_letters(&self) -> (usize, usize) {
        let publisher = Publisher::connect(self.processes.servers.vhost.url()).await;
        let mut found = BTreeSet::new();
        while let Some((body, _)) = publisher.get("quicklogin.dead").await {
            found.insert(String::from_utf8_lossy(&body).into_owned());
        }
        let mut pages = self.ledger.open();
        let missing = pages.garbage.iter().filter(|(body, confirmed)| **confirmed && !found.contains(*body)).count();
        if missing > 0 {
            pages.complain(None, format!("{missing} of the garbage are no dead letters"));
        }
        let (known, logins): (Vec<_>, Vec<_>) = found.into_iter().partition(|body| pages.garbage.contains_key(body));
        for body in &logins {
            let login: Value = serde_json::from_str(body).unwrap_or_default();
            pages.complain(login["request_id"].as_str(), "a login is a dead letter");
        }
        (logins.len(), known.len())
    }

    async fn asked(&self) -> Asked {
        let record = get(&format!("{}/sim/asked", self.processes.servers.simulator_url())).await;
        serde_json::from_value(record).expect("the record")
    }

    /// Publishes some that succeeded once more: how many, and how many of their codes WeChat was asked about again.
    async fn ask_once_more(&self, before: &Asked) -> (usize, usize) {
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
        self.empty_queues().await;
        let after = self.asked().await;
        let mut again = 0;
        for (id, code) in &chosen {
            if before.codes.get(code) != after.codes.get(code) {
                again += 1;
                self.ledger.open().complain(Some(id), "WeChat was asked again after a success");
            }
        }
        self.look_at_all().await;
        (chosen.len(), again)
    }

    /// Nothing secret is in a log, and no panic.
    fn search(&self, logs: &str) {
        let mut pages = self.ledger.open();
        for line in logs.lines().filter(|line| line.contains("panicked at")) {
            pages.complain(None, line);
        }
        if !logs.contains("login concluded") || pages.tokens.is_empty() {
            pages.complain(None, "the logs or the tokens are not there to be searched");
        }
        let every = (pages.logins.len() / SAMPLE).max(1);
        let sample = pages.logins.iter().step_by(every);
        let secrets = sample.flat_map(|(id, login)| {
            [Some(&login.code), login.phone.as_ref()].into_iter().flatten().map(|text| (Some(id.clone()), text.clone()))
        });
        let tokens = pages.tokens.iter().map(|token| (None, token.clone()));
        let told: Vec<_> = secrets.chain(tokens).filter(|(_, secret)| logs.contains(secret.as_str())).collect();
        for (id, _) in told {
            pages.complain(id.as_deref(), "a token, or this login's code or number, is in a log");
        }
    }

    /// Everything that is to be known of what must not have happened.
    pub(super) fn complaints(&self) -> String {
        let (logs, pages) = (self.processes.logs(), self.ledger.open());
        let tell = |complaint: &Complaint| match complaint.request_id.as_deref() {
            Some(id) => format!("{id}: {}{}", complaint.what, self.about(id, &pages, &logs)),
            None => complaint.what.clone(),
        };
        let told: Vec<_> = pages.complaints.iter().take(TOLD_IN_FULL).map(tell).collect();
        format!("{} complaints, the first of them:\n{}", pages.complaints.len(), told.join("\n"))
    }

    fn about(&self, id: &str, pages: &Pages, logs: &str) -> String {
        let lines: String = logs.lines().filter(|line| line.contains(id)).map(|line| format!("\n    {line}")).collect();
        let Some(login) = pages.logins.get(id) else { return lines };
        let told_ms = login.told_ms().unwrap_or(login.deadline);
        let faults = self.happened.iter().filter(|happened| happened.touches(login.issued_at, told_ms));
        let faults: String =
            faults.map(|one| format!("\n    {} to {}: {}", one.began, one.ended, one.planned)).collect();
        let outcome = login.outcome().unwrap_or_default();
        format!("\n    issued at {}, told {outcome} at {told_ms}{faults}{lines}", login.issued_at)
    }
}
