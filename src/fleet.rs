//! What each worker says of itself in the store every few seconds, so that an operator's command finds it: what it has in
//! hand, why it gets no access token, which tokens WeChat refused, and for which apps it makes no calls at the moment.
//!
//! It stands beside the work: it only reads what the worker remembers anyway, and nothing waits for it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::clock;
use crate::login::{AppId, UnixMs, WechatAnswer};
use crate::meters::Meters;
use crate::store::{Store, StoreAway};
use crate::token::Trouble;
use crate::verdict::{StopCause, Stopped};
use crate::worker::Worker;

/// A worker that is silent for this time is gone.
const LIFE: Duration = Duration::from_secs(15);
/// Interval between two heartbeats.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Interval between two looks for something new, which is then said at once.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Maximum number of apps that a heartbeat speaks of, and maximum length of what it quotes.
const APPS_MAX: usize = 100;
const QUOTE_MAX: usize = 300;

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Host and process id.
    pub worker: String,
    /// The version of quicklogin.
    pub version: String,
    /// When it started, in Unix ms.
    pub started_at: UnixMs,
    /// When it said this, in Unix ms.
    pub at: UnixMs,
    /// How many logins it exchanges at once at most.
    pub slots: u16,
    /// How many deliveries it has in hand.
    pub in_hand: i64,
    /// The apps that something is wrong with.
    pub apps: Vec<AppState>,
    /// How many more there are.
    #[serde(default)]
    pub more_apps: usize,
    /// WeChat answers no app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wechat_away: Option<Paused>,
}

/// What is wrong with an app, as one worker knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppState {
    /// The mini program, or the third-party platform.
    pub appid: AppId,
    /// Why this worker got no access token when it last asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The access token that WeChat refused last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedToken>,
    /// This worker makes no calls for the app: its circuit breaker is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// Why there was no access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In words.
    pub said: String,
    /// What WeChat said, if it said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// How often in a row.
    pub times: u32,
    /// The last time, in Unix ms.
    pub at: UnixMs,
}

/// A token that WeChat refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedToken {
    /// Which one it is: the beginning of its digest.
    pub token: String,
    /// What WeChat said.
    pub answer: Answer,
    /// When, in Unix ms.
    pub at: UnixMs,
}

/// An open circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// `quota`, `not_served` or `away`.
    pub cause: String,
    /// What WeChat said last, if it said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// When a call may try whether it is over, in Unix ms.
    pub until: UnixMs,
}

/// An answer of WeChat's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its number.
    pub errcode: i64,
    /// Its words.
    pub errmsg: String,
    /// WeChat's number of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
}

/// Writes heartbeats until it is dropped. A store that is away costs a heartbeat and nothing else.
pub async fn beat(store: Store, worker: Worker, name: String, slots: u16, meters: Meters) {
    let started_at = clock::now_ms();
    let (mut said, mut said_at) = (None, Instant::now());
    loop {
        let (apps, wechat_away) = (states(&worker), worker.calls().away().map(paused));
        let news = (apps.iter().map(AppState::without_until).collect::<Vec<_>>(), wechat_away.is_some());
        let is_due = said.as_ref() != Some(&news) || said_at.elapsed() >= BEAT_EVERY;
        if is_due && store.is_connected() {
            let more_apps = apps.len().saturating_sub(APPS_MAX);
            let heartbeat = Heartbeat {
                worker: name.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                started_at,
                at: clock::now_ms(),
                slots,
                in_hand: meters.in_hand(),
                apps: apps.into_iter().take(APPS_MAX).collect(),
                more_apps,
                wechat_away,
            };
            let json = serde_json::to_vec(&heartbeat).expect("text and numbers always serialise");
            match store.note_worker(&name, Bytes::from(json), LIFE).await {
                Ok(()) => (said, said_at) = (Some(news), Instant::now()),
                Err(fault) => {
                    debug!(%fault, "no heartbeat");
                    sleep(BEAT_EVERY).await;
                }
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The last heartbeats of all workers that run, in the order of their names. What cannot be read is left out.
pub async fn workers(store: &Store) -> Result<Vec<Heartbeat>, StoreAway> {
    let found = store.workers().await?;
    let mut read: Vec<Heartbeat> = found.iter().filter_map(|json| serde_json::from_slice(json).ok()).collect();
    read.sort_by(|one, other| one.worker.cmp(&other.worker));
    Ok(read)
}

impl Heartbeat {
    /// What this worker says of an app.
    pub fn app(&self, appid: &AppId) -> Option<&AppState> {
        self.apps.iter().find(|state| state.appid == *appid)
    }
}

/// Whatever is wrong with any app, in the order of their ids.
fn states(worker: &Worker) -> Vec<AppState> {
    let mut states: Vec<AppState> = worker.tokens().troubles().into_iter().map(AppState::of).collect();
    for (appid, stopped, until) in worker.calls().stopped() {
        let paused = Some(paused((stopped, until)));
        match states.iter_mut().find(|state| state.appid == appid) {
            Some(state) => state.paused = paused,
            None => states.push(AppState { appid, fault: None, refused: None, paused }),
        }
    }
    states.sort_by(|one, other| one.appid.cmp(&other.appid));
    states
}

fn paused((stopped, until): (Stopped, UnixMs)) -> Paused {
    let cause = match stopped.cause {
        StopCause::Quota => "quota",
        StopCause::NotServed => "not_served",
        StopCause::Away => "away",
    };
    Paused { cause: cause.into(), answer: stopped.answer.map(Answer::from), until }
}

impl AppState {
    /// As it is, but for the end of a pause: that is no news, and the clock makes it differ by a millisecond.
    fn without_until(&self) -> Self {
        Self { paused: self.paused.clone().map(|paused| Paused { until: 0, ..paused }), ..self.clone() }
    }

    fn of(Trouble { appid, fault, refused }: Trouble) -> Self {
        let fault = fault.map(|(fault, times, at)| Fault {
            said: quote(&fault.to_string()),
            answer: fault.answer().cloned().map(Answer::from),
            times,
            at,
        });
        let refused = refused.map(|(token, answer, at)| RefusedToken { token, answer: answer.into(), at });
        Self { appid, fault, refused, paused: None }
    }
}

impl From<WechatAnswer> for Answer {
    fn from(WechatAnswer { errcode, errmsg, rid }: WechatAnswer) -> Self {
        Self { errcode, errmsg: quote(&errmsg), rid: rid.map(|rid| quote(&rid)) }
    }
}

fn quote(text: &str) -> String {
    text.chars().take(QUOTE_MAX).collect()
}
