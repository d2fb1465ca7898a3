//! The third-party platforms that the simulated WeChat knows, each with the merchants who authorised it. What their
//! calls bring is `platforms/calls.rs`; what WeChat pushes to them is `platforms/push.rs`.

mod asks;
pub(super) mod authorizers;
mod calls;
pub(crate) mod changes;
mod envelope;
pub(crate) mod push;
mod tickets;

use std::collections::HashMap;
use std::sync::Arc;

use self::authorizers::Authorizers;
pub(crate) use self::calls::{ComponentCall, ComponentRequest};
use self::changes::{PlatformChange, PlatformState};
use self::envelope::MessageKey;
pub(crate) use self::push::Posting;
use self::tickets::Tickets;
use super::apps::{Apps, TOKEN_LIFE_S};
use super::errcodes::{
    APPID_MISSING, INVALID_SECRET, NOT_AUTHORIZED, PERMISSION_MISSING, PLATFORM_IP, SECRET_MISSING, UNKNOWN_COMPONENT,
};
use super::tokens::Lifespan;
use crate::simulator::refused::Refused;

#[derive(Default)]
pub(crate) struct Platforms {
    all: Vec<Platform>,
    by_appid: HashMap<Arc<str>, usize>,
}

pub(super) struct Platform {
    index: usize,
    pub(super) appid: Arc<str>,
    secret: String,
    message_token: String,
    message_key: MessageKey,
    push_url: Option<String>,
    token_life_s: u64,
    ip_refused: bool,
    tickets: Tickets,
    /// The newest component token.
    token: Option<Arc<str>>,
    authorizers: Authorizers,
}

impl Platforms {
    pub(crate) fn put(&mut self, change: PlatformChange) -> Result<(), Refused> {
        let key = change.message_key.as_deref().map(MessageKey::read).transpose()?;
        match self.index(&change.appid) {
            Some(index) => self.all[index].change(change, key),
            None => {
                let platform = Platform::new(self.all.len(), change, key)?;
                self.by_appid.insert(Arc::clone(&platform.appid), platform.index);
                self.all.push(platform);
            }
        }
        Ok(())
    }

    /// The named platform, or the only one where none is named.
    pub(crate) fn find(&self, appid: Option<&str>) -> Result<usize, Refused> {
        match (appid, self.all.as_slice()) {
            (Some(appid), _) => self
                .index(appid)
                .ok_or_else(|| Refused::new("no such platform here", "add it with POST /sim/platforms")),
            (None, [only]) => Ok(only.index),
            (None, _) => Err(Refused::new("which platform?", "name one with \"appid\"")),
        }
    }

    pub(crate) fn index(&self, appid: &str) -> Option<usize> {
        self.by_appid.get(appid).copied()
    }

    pub(super) fn get(&self, index: usize) -> &Platform {
        &self.all[index]
    }

    /// What can be read back of the named platform, or of the only one.
    pub(crate) fn state(&self, appid: Option<&str>, apps: &Apps) -> Result<PlatformState, Refused> {
        let platform = self.get(self.find(appid)?);
        Ok(PlatformState {
            appid: platform.appid.as_ref().to_owned(),
            ticket: platform.tickets.newest().map(str::to_owned),
            authorizers: platform.authorizers.states(apps),
        })
    }

    /// The platform whose secret this is, or why WeChat does not listen to it.
    fn admit(&mut self, appid: Option<&str>, secret: Option<&str>) -> Result<&mut Platform, i64> {
        let appid = appid.filter(|appid| !appid.is_empty()).ok_or(APPID_MISSING)?;
        let index = self.index(appid).ok_or(UNKNOWN_COMPONENT)?;
        let platform = &mut self.all[index];
        platform.admit_ip()?;
        let secret = secret.filter(|secret| !secret.is_empty()).ok_or(SECRET_MISSING)?;
        if platform.secret == secret { Ok(platform) } else { Err(INVALID_SECRET) }
    }
}

impl Platform {
    fn new(index: usize, change: PlatformChange, key: Option<MessageKey>) -> Result<Self, Refused> {
        let (PlatformChange { secret: Some(secret), message_token: Some(message_token), .. }, Some(message_key)) =
            (&change, key)
        else {
            return Err(Refused::new(
                "a new platform needs a secret, a message_token and a message_key",
                "send all three with its appid",
            ));
        };
        let mut platform = Self {
            index,
            appid: change.appid.as_str().into(),
            secret: secret.clone(),
            message_token: message_token.clone(),
            message_key,
            push_url: None,
            token_life_s: TOKEN_LIFE_S,
            ip_refused: false,
            tickets: Tickets::default(),
            token: None,
            authorizers: Authorizers::default(),
        };
        platform.change(change, None);
        Ok(platform)
    }

    fn change(&mut self, change: PlatformChange, key: Option<MessageKey>) {
        self.secret = change.secret.unwrap_or_else(|| std::mem::take(&mut self.secret));
        self.message_token = change.message_token.unwrap_or_else(|| std::mem::take(&mut self.message_token));
        self.message_key = key.unwrap_or(self.message_key);
        self.push_url = change.push_url.or_else(|| self.push_url.take()).filter(|url| !url.is_empty());
        self.token_life_s = change.token_life_s.map_or(self.token_life_s, |life_s| life_s.clamp(1, TOKEN_LIFE_S * 100));
        self.ip_refused = change.ip_refused.unwrap_or(self.ip_refused);
    }

    /// Whether a call in the name of this merchant may ask for phone numbers.
    pub(super) fn admit_phone(&self, app: usize) -> Result<(), i64> {
        self.admit_ip()?;
        let authorizer = self.authorizers.standing(app).ok_or(NOT_AUTHORIZED)?;
        if authorizer.permission_18 { Ok(()) } else { Err(PERMISSION_MISSING) }
    }

    /// Whatever a platform calls, WeChat looks at where it calls from.
    fn admit_ip(&self) -> Result<(), i64> {
        if self.ip_refused { Err(PLATFORM_IP) } else { Ok(()) }
    }

    fn lifespan(&self) -> Lifespan {
        Lifespan::of(self.token_life_s)
    }
}
