//! Looking into Redis as callers do, all through the storm, so that a result that changes or goes is seen.

use std::sync::Arc;
use std::time::Duration;

use quicklogin::clock;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::storm::ledger::Ledger;
use crate::storm::processes::Processes;
use crate::support::fleet::APP;
use crate::support::program::text;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Keys in one round trip.
const MOST: usize = 500;
/// Redis is frozen for longer at times; that look is given up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// WeChat forgets a code after ten minutes, and how often it was asked about it.
const LOOK_UP_EVERY: Duration = Duration::from_secs(120);

/// One pair of eyes.
pub(super) struct Looking {
    client: redis::Client,
    connection: Option<MultiplexedConnection>,
}

/// Looks and looks again until it is told to stop.
pub(super) async fn look_on(processes: Arc<Processes>, ledger: Arc<Ledger>, stop: CancellationToken) {
    let mut looking = Looking::at(&processes.servers.redis.url());
    let mut looked_up = Instant::now();
    while !stop.is_cancelled() {
        let ids = ledger.open().next_look();
        let _away = looking.look(&ids, &ledger).await;
        if looked_up.elapsed() >= LOOK_UP_EVERY {
            look_up_asked(&processes, &ledger).await;
            looked_up = Instant::now();
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Asks WeChat how often it was asked for each login.
pub(super) async fn look_up_asked(processes: &Processes, ledger: &Ledger) {
    let record = text(&format!("{}/sim/asked", processes.servers.simulator_url())).await;
    ledger.open().note_asked(&serde_json::from_str(&record).expect("the record"));
}

impl Looking {
    pub(super) fn at(url: &str) -> Self {
        Self { client: redis::Client::open(url).expect("the URL is one"), connection: None }
    }

    /// Takes in the results of all these logins, and the token of the moment; none where Redis is away.
    pub(super) async fn look(&mut self, ids: &[String], ledger: &Ledger) -> Option<()> {
        for ids in ids.chunks(MOST) {
            let mut command = redis::cmd("MGET");
            command.arg(format!("quicklogin:token:{{{APP}}}"));
            for id in ids {
                command.arg(format!("quicklogin:result:{{{id}}}"));
            }
            let looked_from = clock::now_ms();
            let mut found = self.ask(&command).await?.into_iter();
            let token = found.next().flatten().and_then(|token| serde_json::from_str::<Value>(&token).ok());
            let mut pages = ledger.open();
            pages.tokens.extend(token.and_then(|token| token["access_token"].as_str().map(str::to_owned)));
            for (id, result) in ids.iter().zip(found) {
                pages.see(id, result, looked_from);
            }
        }
        Some(())
    }

    async fn ask(&mut self, command: &redis::Cmd) -> Option<Vec<Option<String>>> {
        let asking = async {
            if self.connection.is_none() {
                self.connection = self.client.get_multiplexed_async_connection().await.ok();
            }
            command.query_async(self.connection.as_mut()?).await.ok()
        };
        let answer = timeout(ANSWERED_WITHIN, asking).await.ok().flatten();
        if answer.is_none() {
            self.connection = None;
        }
        answer
    }
}
