//! People who log in all through the storm: half of them by HTTP, half straight into RabbitMQ, as a gateway in another
//! language would (`by_http`, `by_queue`). Whoever is not confirmed tries again a few times, some come twice, and some
//! send garbage.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use quicklogin::clock;
use quicklogin::simulator::CodeAsked;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::storm::ledger::Ledger;
use crate::storm::login::Login;
use crate::storm::processes::Processes;
use crate::support::amqp::Publisher;
use crate::support::fleet::{APP, request};
use crate::support::program::post;

/// Between two logins: 40 of them a second.
const EVERY: Duration = Duration::from_millis(25);
/// Codes minted at once; they are some seconds old when they are used.
const MINTED: usize = 200;
/// Callers at once. A whole storm without RabbitMQ would be more.
const CALLERS: usize = 1000;
/// How often somebody tries who is not confirmed, and after which pause.
pub(super) const TRIES: usize = 3;
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(1200);
/// Longer than a gateway waits for RabbitMQ.
pub(super) const CONFIRMED_WITHIN: Duration = Duration::from_secs(7);
/// The same for a caller who waits for a result there.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// After this nobody waits any more.
pub(super) const DEADLINE_MS: u64 = 30_000;

/// Where logins go in; cheap to clone.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) processes: Arc<Processes>,
    pub(super) ledger: Arc<Ledger>,
    /// Shared; made anew by the next who needs it.
    pub(super) publisher: Arc<Mutex<Option<Arc<Publisher>>>>,
    pub(super) http: reqwest::Client,
}

/// A code and the number that belongs to it.
#[derive(Clone)]
pub(super) struct Tap {
    pub(super) code: String,
    pub(super) phone: String,
}

/// What one caller does.
enum Caller {
    Http {
        twice: Option<Duration>,
    },
    Direct {
        twice: Option<Duration>,
    },
    /// Without an id, so that nobody can be told.
    Garbage(String),
    /// With an id and no code.
    Incomplete,
}

impl Load {
    pub(super) fn on(processes: &Arc<Processes>, ledger: &Arc<Ledger>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN).build().expect("a client");
        Self { processes: Arc::clone(processes), ledger: Arc::clone(ledger), publisher: Arc::default(), http }
    }

    /// Logs people in for so long; returns when the last of them has been told whether they are accepted.
    pub(super) async fn run(&self, seed: u64, length: Duration) {
        let (began, mut dice, mut pace) = (Instant::now(), Rng::with_seed(seed), interval(EVERY));
        let (room, mut callers, mut taps) = (Arc::new(Semaphore::new(CALLERS)), JoinSet::new(), Vec::new());
        let mut number = 0;
        while began.elapsed() < length {
            pace.tick().await;
            number += 1;
            while let Some(done) = callers.try_join_next() {
                done.expect("a caller does not panic");
            }
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                self.ledger.open().not_accepted += 1;
                continue;
            };
            if taps.is_empty() {
                taps = self.mint().await;
            }
            let (load, tap) = (self.clone(), taps.pop().expect("there are some again"));
            let caller = Caller::number(number, &mut dice);
            callers.spawn(async move {
                load.log_in(caller, tap).await;
                drop(place);
            });
        }
        while let Some(done) = callers.join_next().await {
            done.expect("a caller does not panic");
        }
    }

    async fn mint(&self) -> Vec<Tap> {
        let url = format!("{}/sim/codes", self.processes.servers.simulator_url());
        let minted = post(&url, &json!({"appid": APP, "count": MINTED})).await;
        let text = |tap: &Value, field: &str| tap[field].as_str().expect("a tap").to_owned();
        let taps = minted.as_array().expect("a list");
        taps.iter().map(|tap| Tap { code: text(tap, "code"), phone: text(tap, "phoneNumber") }).collect()
    }

    async fn log_in(&self, caller: Caller, tap: Tap) {
        let accepted = match caller {
            Caller::Http { twice } => self.submit(&tap, twice).await,
            Caller::Direct { twice } => self.publish_login(&tap, twice).await,
            Caller::Garbage(body) => {
                self.ledger.open().garbage.insert(body.clone(), false);
                let confirmed = self.publish_in_tries(&body).await;
                self.ledger.open().garbage.insert(body, confirmed);
                return;
            }
            Caller::Incomplete => {
                let id = request(&tap.code).request_id.to_string();
                let now = clock::now_ms();
                self.write_down(&id, &tap.code, None, now, false);
                let accepted = self.publish_in_tries(&json!({"request_id": id}).to_string()).await;
                self.write_down(&id, &tap.code, None, now, accepted);
                accepted
            }
        };
        if !accepted {
            self.ledger.open().not_accepted += 1;
        }
    }

    pub(super) fn write_down(&self, id: &str, code: &str, phone: Option<&str>, issued_at: u64, accepted: bool) {
        let login = Login {
            code: code.to_owned(),
            phone: phone.map(str::to_owned),
            issued_at,
            deadline: issued_at + DEADLINE_MS,
            accepted,
            result: None,
            asked: CodeAsked::default(),
        };
        self.ledger.open().write_down(id, login);
    }
}

impl Caller {
    fn number(number: u32, dice: &mut Rng) -> Self {
        let twice = (dice.u32(..10) == 0).then(|| Duration::from_millis(dice.u64(..3000)));
        match dice.u32(..100) {
            0 => Self::Incomplete,
            1 => Self::Garbage(format!("garbage {number} is no JSON")),
            2 => Self::Garbage(format!(r#"{{"code":"garbage-{number}"}}"#)),
            _ if number.is_multiple_of(2) => Self::Http { twice },
            _ => Self::Direct { twice },
        }
    }
}
