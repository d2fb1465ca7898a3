//! Doing what the schedule says, and writing down when it really happened. Every fault heals itself.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use quicklogin::clock;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::storm::processes::{Processes, locked};
use crate::storm::schedule::{Fault, Mood, Planned, Victim};
use crate::support::process::Process;
use crate::support::program::post;

/// From SIGTERM to the end: the drain, the last words, the last acks, the background.
const DRAINED_WITHIN: Duration = Duration::from_secs(25);

/// A fault that has happened.
pub(super) struct Happened {
    pub(super) planned: Planned,
    /// In Unix ms.
    pub(super) began: u64,
    pub(super) ended: u64,
    /// How the worker ended that was told to stop.
    pub(super) drained: Option<Drained>,
}

/// The end of a worker that was told to stop.
pub(super) struct Drained {
    /// None: by a signal, or not in time.
    pub(super) code: Option<i32>,
    /// Nothing where it ended well.
    pub(super) last_lines: String,
}

/// Lets the storm loose; returns when all of it is over and healed.
pub(super) async fn rage(processes: &Arc<Processes>, plan: &[Planned]) -> Vec<Happened> {
    let (began, mut faults) = (Instant::now(), JoinSet::new());
    for planned in plan.iter().copied() {
        sleep_until(began + planned.at).await;
        eprintln!("{planned}");
        let (processes, handle) = (Arc::clone(processes), Handle::current());
        faults.spawn_blocking(move || {
            let began = clock::now_ms();
            let drained = processes.suffer(&planned, &handle);
            Happened { planned, began, ended: clock::now_ms(), drained }
        });
    }
    faults.join_all().await
}

impl Happened {
    /// Whether it can have touched what lasted from then to then, where it is felt for so long after its end.
    pub(super) fn touches(&self, from: u64, to: u64, felt_ms: u64) -> bool {
        self.began <= to && from <= self.ended + felt_ms
    }
}

impl Processes {
    /// One fault after the other, also where a busy machine makes one last longer than planned.
    fn suffer(&self, planned: &Planned, handle: &Handle) -> Option<Drained> {
        let _alone = self.alone_with(planned.fault.victim());
        match planned.fault.victim() {
            Victim::Worker(worker) if planned.fault == Fault::WorkerDrained(worker) => return Some(self.drain(worker)),
            Victim::Worker(worker) => self.hurt_worker(worker, planned),
            Victim::Broker => self.hurt_broker(planned),
            Victim::Store => self.hurt_store(planned),
            Victim::Gateway => self.hurt_gateway(planned),
            Victim::Wechat => handle.block_on(self.upset_wechat(planned)),
        }
        None
    }

    fn hurt_worker(&self, worker: usize, planned: &Planned) {
        let mut worker = locked(&self.workers[worker]);
        if let Fault::WorkerKilled(_) = planned.fault {
            worker.kill();
            *worker = self.another("worker");
        } else {
            worker.freeze();
            sleep(planned.lasts);
            worker.thaw();
        }
    }

    fn drain(&self, worker: usize) -> Drained {
        let mut drained = {
            let mut worker = locked(&self.workers[worker]);
            let fresh = self.another("worker");
            std::mem::replace(&mut *worker, fresh)
        };
        stop(&mut drained)
    }

    fn hurt_broker(&self, planned: &Planned) {
        match planned.fault {
            Fault::BrokerKilled => {
                self.broker.kill();
                sleep(planned.lasts);
                self.broker.restart();
            }
            Fault::BrokerFrozen => {
                self.broker.freeze();
                sleep(planned.lasts);
                self.broker.thaw();
            }
            Fault::BrokerAlarmed => {
                self.broker.memory_alarm(true);
                sleep(planned.lasts);
                self.broker.memory_alarm(false);
            }
            _ => self.broker.close_all_connections(),
        }
    }

    fn hurt_store(&self, planned: &Planned) {
        let redis = &self.servers.redis;
        match planned.fault {
            Fault::StoreKilled => {
                redis.kill();
                sleep(planned.lasts);
                redis.restart();
            }
            Fault::StoreFrozen => {
                redis.freeze();
                sleep(planned.lasts);
                redis.thaw();
            }
            _ => drop(redis.cli(&["CLIENT", "KILL", "TYPE", "normal"])),
        }
    }

    fn hurt_gateway(&self, planned: &Planned) {
        let mut gateway = locked(&self.gateway);
        gateway.kill();
        sleep(planned.lasts);
        *gateway = self.another("gateway");
    }

    async fn upset_wechat(&self, planned: &Planned) {
        let url = format!("{}/sim", self.servers.simulator_url());
        match planned.fault {
            Fault::TokensRevoked => drop(post(&format!("{url}/tokens/invalidate"), &json!({})).await),
            Fault::TokensExpired => drop(post(&format!("{url}/tokens/expire"), &json!({})).await),
            Fault::Mood(mood) => {
                post(&format!("{url}/moods"), &mood_as_json(mood)).await;
                tokio::time::sleep(planned.lasts).await;
                clear_moods(&url).await;
            }
            fault => unreachable!("{fault:?} is not WeChat's"),
        }
    }
}

/// Where every call would spend a code in vain, only a few do.
fn mood_as_json(mood: Mood) -> Value {
    match mood {
        Mood::Busy => json!({"endpoint": "phone", "step": {"errcode": -1}}),
        Mood::BadGateway => json!({"endpoint": "phone", "step": {"status": 502, "body": "bad gateway"}}),
        Mood::Late => json!({"endpoint": "phone", "step": {"delay_ms": 1000}}),
        Mood::Throttling => json!({"endpoint": "phone", "calls": 5, "step": {"errcode": 45011}}),
        Mood::CutBefore => json!({"endpoint": "phone", "calls": 20, "step": "cut_before"}),
        Mood::CutAfter => json!({"endpoint": "phone", "calls": 5, "step": "cut_after"}),
        Mood::HangBefore => json!({"endpoint": "phone", "calls": 20, "step": "hang_before"}),
        Mood::HangAfter => json!({"endpoint": "phone", "calls": 5, "step": "hang_after"}),
        Mood::NoTokens => json!({"endpoint": "token", "step": {"errcode": -1}}),
    }
}

async fn clear_moods(url: &str) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    client.delete(format!("{url}/moods")).send().await.expect("the simulator is spared");
}

/// Tells a process to stop, and sees how it ends.
pub(super) fn stop(process: &mut Process) -> Drained {
    process.terminate();
    let ended = process.end_within(DRAINED_WITHIN);
    let code = ended.and_then(|status| status.code());
    let last_lines = if code == Some(0) { String::new() } else { last_lines(&process.said()) };
    Drained { code, last_lines }
}

fn last_lines(said: &str) -> String {
    let lines: Vec<_> = said.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
