//! The mini programs that the simulated WeChat knows, and what their secrets may fetch.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::errcodes::{
    DAILY_LIMIT, INVALID_APPID, INVALID_IP, INVALID_SECRET, MINUTE_LIMIT, SECRET_FROZEN, TOKENS_FORBIDDEN,
};
use super::quota::{Window, day, minute};
use super::tokens::Lifespan;
use crate::simulator::refused::Refused;

/// How long WeChat's own tokens live.
pub(super) const TOKEN_LIFE_S: u64 = 7200;
const STABLE_PER_MINUTE: u32 = 10_000;
const STABLE_PER_DAY: u32 = 500_000;
/// Undocumented for mini programs; the stricter of the reported limits would be 2000.
const CLASSIC_PER_DAY: u32 = 10_000;

/// A mini program to add, or what to change about one; what is left out stays as it is.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppChange {
    /// Which mini program.
    pub appid: String,
    /// Its secret; a new app must have one.
    #[serde(default)]
    pub secret: Option<String>,
    /// Life of the tokens minted from now on; 7200 unless said. The overlap of an old and a new
    /// token is five minutes, or a quarter of this where that is shorter.
    #[serde(default)]
    pub token_life_s: Option<u64>,
    /// Secret frozen: both token endpoints answer 40243, tokens already minted go on working.
    #[serde(default)]
    pub frozen: Option<bool>,
    /// Caller not on the whitelist: both token endpoints answer 40164.
    #[serde(default)]
    pub ip_refused: Option<bool>,
    /// Account punished: both token endpoints answer 50004.
    #[serde(default)]
    pub punished: Option<bool>,
    /// Calls of the phone endpoint in one minute of the clock, beyond which it answers 45011. Of this and of the next
    /// two, `u32::MAX` takes the limit away.
    #[serde(default)]
    pub phone_per_minute: Option<u32>,
    /// Calls of the phone endpoint in one day of China, beyond which it answers 45009.
    #[serde(default)]
    pub phone_per_day: Option<u32>,
    /// Calls of each token endpoint in one day of China, beyond which it answers 45009; unless said, 500,000 of
    /// `stable_token` and 10,000 of `token`.
    #[serde(default)]
    pub token_calls_per_day: Option<u32>,
}

impl fmt::Debug for AppChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AppChange");
        shown.field("appid", &self.appid);
        shown.finish_non_exhaustive()
    }
}

impl AppChange {
    /// An app with this secret, all else as usual.
    #[must_use]
    pub fn new(appid: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { appid: appid.into(), secret: Some(secret.into()), ..Self::default() }
    }
}

#[derive(Default)]
pub(crate) struct Apps {
    all: Vec<App>,
    by_appid: HashMap<Arc<str>, usize>,
}

pub(super) struct App {
    pub(super) index: usize,
    pub(super) appid: Arc<str>,
    secret: String,
    token_life_s: u64,
    frozen: bool,
    ip_refused: bool,
    punished: bool,
    /// The newest token of each endpoint; the endpoints know nothing of each other.
    pub(super) stable: Option<Arc<str>>,
    pub(super) classic: Option<Arc<str>>,
    pub(super) forced_at_ms: Option<u64>,
    pub(super) forced_today: Window,
    stable_this_minute: Window,
    stable_today: Window,
    classic_today: Window,
    token_calls_per_day: Option<u32>,
    phone_per_minute: u32,
    phone_per_day: u32,
    phone_this_minute: Window,
    phone_today: Window,
}

impl Apps {
    pub(crate) fn put(&mut self, change: AppChange) -> Result<(), Refused> {
        let index = match (self.by_appid.get(change.appid.as_str()), &change.secret) {
            (Some(index), _) => *index,
            (None, Some(_)) if !change.appid.is_empty() => self.add(&change.appid),
            (None, _) => {
                return Err(Refused::new("a new app needs an appid and a secret", "send both"));
            }
        };
        let app = &mut self.all[index];
        app.secret = change.secret.unwrap_or_else(|| std::mem::take(&mut app.secret));
        app.token_life_s = change.token_life_s.map_or(app.token_life_s, |life_s| life_s.clamp(1, TOKEN_LIFE_S * 100));
        app.frozen = change.frozen.unwrap_or(app.frozen);
        app.ip_refused = change.ip_refused.unwrap_or(app.ip_refused);
        app.punished = change.punished.unwrap_or(app.punished);
        app.phone_per_minute = change.phone_per_minute.unwrap_or(app.phone_per_minute);
        app.phone_per_day = change.phone_per_day.unwrap_or(app.phone_per_day);
        app.token_calls_per_day = change.token_calls_per_day.or(app.token_calls_per_day);
        Ok(())
    }

    /// The named app, or the only one where none is named.
    pub(crate) fn find(&self, appid: Option<&str>) -> Result<usize, Refused> {
        match (appid, self.all.as_slice()) {
            (Some(appid), _) => {
                self.index(appid).ok_or_else(|| Refused::new("no such app here", "add it with POST /sim/apps"))
            }
            (None, [only]) => Ok(only.index),
            (None, _) => Err(Refused::new("which app?", "name one with \"appid\"")),
        }
    }

    pub(super) fn index(&self, appid: &str) -> Option<usize> {
        self.by_appid.get(appid).copied()
    }

    /// The app with this appid: a merchant of a platform need have no secret here.
    pub(super) fn index_or_add(&mut self, appid: &str) -> Result<usize, Refused> {
        match self.index(appid) {
            Some(index) => Ok(index),
            None if appid.is_empty() => Err(Refused::new("which merchant?", "name one with \"appid\"")),
            None => Ok(self.add(appid)),
        }
    }

    pub(super) fn get(&self, index: usize) -> &App {
        &self.all[index]
    }

    pub(super) fn get_mut(&mut self, index: usize) -> &mut App {
        &mut self.all[index]
    }

    /// The app whose secret this is, or why WeChat gives it no token.
    pub(super) fn admit(&self, appid: &str, secret: &str) -> Result<usize, i64> {
        let app = self.get(self.index(appid).ok_or(INVALID_APPID)?);
        match app {
            App { punished: true, .. } => Err(TOKENS_FORBIDDEN),
            App { ip_refused: true, .. } => Err(INVALID_IP),
            App { frozen: true, .. } => Err(SECRET_FROZEN),
            app if app.secret != secret => Err(INVALID_SECRET),
            app => Ok(app.index),
        }
    }

    fn add(&mut self, appid: &str) -> usize {
        let index = self.all.len();
        let appid: Arc<str> = appid.into();
        self.by_appid.insert(Arc::clone(&appid), index);
        self.all.push(App {
            index,
            appid,
            secret: String::new(),
            token_life_s: TOKEN_LIFE_S,
            frozen: false,
            ip_refused: false,
            punished: false,
            stable: None,
            classic: None,
            forced_at_ms: None,
            forced_today: Window::default(),
            stable_this_minute: Window::default(),
            stable_today: Window::default(),
            classic_today: Window::default(),
            token_calls_per_day: None,
            phone_per_minute: u32::MAX,
            phone_per_day: u32::MAX,
            phone_this_minute: Window::default(),
            phone_today: Window::default(),
        });
        index
    }
}

impl App {
    pub(super) fn lifespan(&self) -> Lifespan {
        Lifespan::of(self.token_life_s)
    }

    pub(super) fn take_stable_quota(&mut self, now_ms: u64) -> Result<(), i64> {
        if !self.stable_this_minute.take(minute(now_ms), STABLE_PER_MINUTE) {
            return Err(MINUTE_LIMIT);
        }
        if !self.stable_today.take(day(now_ms), self.token_calls_per_day.unwrap_or(STABLE_PER_DAY)) {
            return Err(DAILY_LIMIT);
        }
        Ok(())
    }

    pub(super) fn take_classic_quota(&mut self, now_ms: u64) -> Result<(), i64> {
        let most = self.token_calls_per_day.unwrap_or(CLASSIC_PER_DAY);
        if self.classic_today.take(day(now_ms), most) { Ok(()) } else { Err(DAILY_LIMIT) }
    }

    pub(super) fn take_phone_quota(&mut self, now_ms: u64) -> Result<(), i64> {
        if !self.phone_this_minute.take(minute(now_ms), self.phone_per_minute) {
            return Err(MINUTE_LIMIT);
        }
        if !self.phone_today.take(day(now_ms), self.phone_per_day) {
            return Err(DAILY_LIMIT);
        }
        Ok(())
    }
}
