//! One stretch of a load: logins at one rate for a time, each on its own, and the account of what became of them.
//!
//! No more is in flight than is due in the time that each is waited for, so memory has a bound whatever the duration.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::commands::CommandError;
use crate::commands::load::account::{Account, Fate, UNREADABLE};
use crate::commands::load::args::Plan;
use crate::commands::load::button::Button;
use crate::commands::load::line::Line;
use crate::commands::load::pace::{Pace, Schedule};
use crate::commands::load::table::Table;
use crate::commands::load::way::{Left, Way};
use crate::login::SealingKey;
use crate::queue::Queue;
use crate::simulator::Minted;
use crate::worker::Stop;

/// The first login has its result in this time, or nothing more is sent.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_WITHIN: Duration = Duration::from_millis(500);
const SAME_WECHAT: &str =
    "do the workers ask this simulator, by their own wechat.base_url? Its codes are worth nothing at another WeChat";
const NO_TOKEN: &str = "`quicklogin token show` says why. A simulator gives tokens for the AppSecrets of its own \
                        settings: start it with the fleet's, `quicklogin --config FILE simulate`";
const NOT_TAKEN: &str =
    "are the gateway (--gateway, or else gateway.listen), RabbitMQ and Redis running, and reachable?";

/// What puts a line under load.
pub(super) struct Load {
    pub(super) button: Button,
    way: Way,
    queue: Option<Queue>,
    sealing: Option<Arc<SealingKey>>,
    grace: Duration,
    /// The soft one ends the sending, the hard one the waiting for what was sent.
    pub(super) stop: Stop,
}

/// A stretch that is over.
pub(super) struct Finished {
    pub(super) schedule: Schedule,
    pub(super) account: Account,
    /// Those that were due while the sender was further behind than a login is waited for.
    pub(super) unsent: u64,
    /// Somebody ended it early.
    pub(super) stopped: bool,
    /// What ended it early.
    pub(super) fault: Option<String>,
}

impl Load {
    /// Sends one login, and nothing more unless it comes back with its number: workers that ask another WeChat than the
    /// one whose codes these are must not be sent a load of them.
    pub(super) async fn new(line: Line, plan: &Plan, stop: Stop) -> Result<Self, CommandError> {
        let (button, sealing, grace) = (line.button.clone(), line.sealing.clone(), plan.grace);
        let (way, queue) = line.way()?;
        let load = Self { button, way, queue, sealing, grace, stop };
        load.send_first().await?;
        Ok(load)
    }

    async fn send_first(&self) -> Result<(), CommandError> {
        let minted = self.button.mint(1).await.map_err(|why| no_codes(&why))?;
        let tap = minted.into_iter().next().ok_or_else(|| no_codes("the simulator gives none"))?;
        let left = timeout(FIRST_WITHIN, self.way.log_in(&tap));
        let Some(left) = self.stop.soft.run_until_cancelled(left).await else {
            return Err(CommandError::at_run_time("stopped before the load began"));
        };
        let (what, hint) = match self.fate(left.ok(), &tap) {
            Fate::Succeeded => return Ok(()),
            Fate::Refused(by) if by == "http_401" => {
                return Err(CommandError::settings(
                    "the gateway wants a key",
                    "give gateway.keys in the settings: the first is sent",
                ));
            }
            Fate::Refused(by) => (format!("was refused: {by}"), NOT_TAKEN),
            Fate::Unanswered => (
                format!("has no result after {} s", FIRST_WITHIN.as_secs()),
                "is a worker running, and does the queue hold much already?",
            ),
            Fate::Failed(UNREADABLE) => {
                ("has a result that cannot be read here".into(), "results are sealed? Give result.key in the settings")
            }
            Fate::Failed(reason @ "token_unavailable") => (format!("failed: {reason}"), NO_TOKEN),
            Fate::Failed(reason) => (format!("failed: {reason}"), SAME_WECHAT),
            Fate::WrongNumber => ("brought another number than its own".into(), SAME_WECHAT),
        };
        let what = format!("the first login, sent alone, {what}; no more were sent");
        Err(CommandError::at_run_time(what).with_hint(hint))
    }

    /// Sends at this rate for this time, then waits for what was sent.
    pub(super) async fn run(
        self: &Arc<Self>,
        rate: u32,
        duration: Duration,
        table: Option<Table>,
    ) -> Result<Finished, CommandError> {
        let schedule = Schedule { rate, duration };
        let mut codes = self.button.mint_ahead(rate, schedule.total());
        // Nothing is due before there are codes.
        let mut first = codes.recv().await;
        let (account, logins) = (Arc::new(Mutex::new(Account::new())), TaskTracker::new());
        let shown = table.map(|table| tokio::spawn(Arc::clone(self).show(table, Arc::clone(&account))));
        let (mut pace, mut unsent, mut fault) = (Pace::begin(schedule), 0, None);
        while let Some(Some(due)) = self.stop.soft.run_until_cancelled(pace.next()).await {
            if due.elapsed() >= self.grace {
                unsent += 1;
                continue;
            }
            let code = match first.take() {
                Some(first) => Some(first),
                None => codes.recv().await,
            };
            match code.expect("as many codes are minted as are due, or it is said why not") {
                Ok(tap) => drop(logins.spawn(Arc::clone(self).log_in(tap, due, Arc::clone(&account)))),
                Err(why) => {
                    fault = Some(format!("there are no more codes: {why}"));
                    break;
                }
            }
        }
        logins.close();
        logins.wait().await;
        if let Some(shown) = shown {
            shown.abort();
        }
        let account = std::mem::replace(&mut *locked(&account), Account::new());
        Ok(Finished { schedule, account, unsent, stopped: self.stop.soft.is_cancelled(), fault })
    }

    async fn log_in(self: Arc<Self>, tap: Minted, due: Instant, account: Arc<Mutex<Account>>) {
        locked(&account).sent(due.elapsed());
        let left = timeout_at(due + self.grace, self.way.log_in(&tap));
        let left = self.stop.hard.run_until_cancelled(left).await.and_then(Result::ok);
        let after = due.elapsed();
        let fate = self.fate(left, &tap);
        locked(&account).ended(fate, after);
    }

    fn fate(&self, left: Option<Left>, tap: &Minted) -> Fate {
        match left {
            None => Fate::Unanswered,
            Some(Left::Refused(by)) => Fate::Refused(by),
            Some(Left::Result(json)) => Fate::of(&json, &tap.phone_number, self.sealing.as_deref()),
        }
    }

    /// Tells how it goes, for ever.
    async fn show(self: Arc<Self>, mut table: Table, account: Arc<Mutex<Account>>) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let queued = match &self.queue {
                Some(queue) => timeout(LOOK_WITHIN, queue.depth()).await.ok().and_then(Result::ok),
                None => None,
            };
            table.row(&mut locked(&account), queued);
        }
    }
}

fn no_codes(why: &str) -> CommandError {
    CommandError::at_run_time(format!("there are no codes: {why}")).with_hint("see --appid; is the simulator running?")
}

fn locked(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().expect("nothing panics while counting")
}
