//! The merchants of one platform: what each granted, and the one refresh token that is good for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::Model;
use super::super::apps::Apps;
use super::super::errcodes::{NOT_AUTHORIZED, REFRESH_TOKEN_INVALID};
use super::super::tokens::Holder;
use super::changes::{AuthorizerChange, AuthorizerState};
use crate::simulator::random::Random;
use crate::simulator::refused::Refused;

/// By index of the merchant's app.
#[derive(Default)]
pub(super) struct Authorizers(BTreeMap<usize, Authorizer>);

pub(super) struct Authorizer {
    pub(super) permission_18: bool,
    withdrawn: bool,
    pub(super) rotates_refresh_token: bool,
    pub(super) refresh_token: String,
    pub(super) authorized_at_ms: u64,
    /// The newest authorizer token.
    pub(super) token: Option<Arc<str>>,
}

impl Model {
    /// Authorises a merchant, or changes what the change names.
    pub(in crate::simulator) fn put_authorizer(
        &mut self,
        change: &AuthorizerChange,
        now_ms: u64,
    ) -> Result<(), Refused> {
        let platform = self.platforms.find(Some(&change.platform))?;
        let app = self.apps.index_or_add(&change.appid)?;
        let authorizers = &mut self.platforms.all[platform].authorizers;
        let authorizer = authorizers.0.entry(app).or_insert_with(|| Authorizer::new(now_ms, &mut self.random));
        let returns = authorizer.withdrawn && change.withdrawn == Some(false);
        authorizer.change(change);
        if returns {
            authorizer.authorized_at_ms = now_ms;
            self.tokens.end_where(|holder| holder == Holder::Merchant { app, platform }, false, now_ms);
        }
        if returns || change.new_refresh_token {
            authorizer.refresh_token = mint_refresh_token(&mut self.random);
        }
        Ok(())
    }
}

impl Authorizers {
    /// The merchant, unless it never authorised the platform or no longer does.
    pub(super) fn standing(&self, app: usize) -> Option<&Authorizer> {
        self.0.get(&app).filter(|authorizer| !authorizer.withdrawn)
    }

    /// The merchant whose refresh token this is, or why WeChat gives no token for it.
    pub(super) fn admit(&mut self, app: Option<usize>, refresh_token: Option<&str>) -> Result<&mut Authorizer, i64> {
        let authorizer = app.and_then(|app| self.0.get_mut(&app)).filter(|authorizer| !authorizer.withdrawn);
        let authorizer = authorizer.ok_or(NOT_AUTHORIZED)?;
        if refresh_token == Some(&authorizer.refresh_token) { Ok(authorizer) } else { Err(REFRESH_TOKEN_INVALID) }
    }

    /// All who stand by their authorisation, with the index of their app.
    pub(super) fn all_standing(&self) -> impl Iterator<Item = (usize, &Authorizer)> {
        let all = self.0.iter().map(|(app, authorizer)| (*app, authorizer));
        all.filter(|(_, authorizer)| !authorizer.withdrawn)
    }

    pub(super) fn knows(&self, app: usize) -> bool {
        self.0.contains_key(&app)
    }

    pub(super) fn states(&self, apps: &Apps) -> Vec<AuthorizerState> {
        let state = |(app, authorizer): (&usize, &Authorizer)| AuthorizerState {
            appid: apps.get(*app).appid.as_ref().to_owned(),
            refresh_token: authorizer.refresh_token.clone(),
            permission_18: authorizer.permission_18,
            withdrawn: authorizer.withdrawn,
        };
        self.0.iter().map(state).collect()
    }
}

impl Authorizer {
    fn new(now_ms: u64, random: &mut Random) -> Self {
        Self {
            permission_18: true,
            withdrawn: false,
            rotates_refresh_token: false,
            refresh_token: mint_refresh_token(random),
            authorized_at_ms: now_ms,
            token: None,
        }
    }

    fn change(&mut self, change: &AuthorizerChange) {
        self.permission_18 = change.permission_18.unwrap_or(self.permission_18);
        self.withdrawn = change.withdrawn.unwrap_or(self.withdrawn);
        self.rotates_refresh_token = change.rotates_refresh_token.unwrap_or(self.rotates_refresh_token);
    }
}

pub(super) fn mint_refresh_token(random: &mut Random) -> String {
    let mut token = String::from("refreshtoken@@@");
    random.push_url_safe(&mut token, 43);
    token
}
