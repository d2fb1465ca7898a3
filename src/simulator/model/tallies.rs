//! What was asked, counted, and the record as it is read off. Codes and tokens keep their own tallies.

use std::collections::BTreeMap;

use super::token_calls::Way;
use super::tokens::{Holder, Token};
use super::{ComponentCall, Model};
use crate::simulator::record::{Asked, CodeAsked, EndpointAsked, TokenAsked, TokenLife};

#[derive(Default)]
pub(super) struct Tallies {
    pub(super) phone: EndpointAsked,
    pub(super) stable_token: EndpointAsked,
    pub(super) classic_token: EndpointAsked,
    component_token: EndpointAsked,
    authorizer_token: EndpointAsked,
    authorizer_list: EndpointAsked,
    start_push: EndpointAsked,
    /// By index of the app.
    token_calls: Vec<TokenAsked>,
}

impl Tallies {
    pub(super) fn note_token_call(&mut self, app: usize, way: Way, forced: bool) {
        if self.token_calls.len() <= app {
            self.token_calls.resize_with(app + 1, TokenAsked::default);
        }
        let calls = &mut self.token_calls[app];
        match (way, forced) {
            (Way::Stable, false) => calls.normal += 1,
            (Way::Stable, true) => calls.forced += 1,
            (Way::Classic, _) => calls.classic += 1,
        }
    }

    pub(super) fn component(&mut self, call: ComponentCall) -> &mut EndpointAsked {
        match call {
            ComponentCall::ComponentToken => &mut self.component_token,
            ComponentCall::AuthorizerToken => &mut self.authorizer_token,
            ComponentCall::AuthorizerList => &mut self.authorizer_list,
            ComponentCall::StartPush => &mut self.start_push,
        }
    }
}

impl Model {
    pub(in crate::simulator) fn asked(&self, with_codes: bool) -> Asked {
        let appid = |app: usize| self.apps.get(app).appid.as_ref().to_owned();
        let calls = self.tallies.token_calls.iter().enumerate();
        Asked {
            phone: self.tallies.phone.clone(),
            stable_token: self.tallies.stable_token.clone(),
            classic_token: self.tallies.classic_token.clone(),
            component_token: self.tallies.component_token.clone(),
            authorizer_token: self.tallies.authorizer_token.clone(),
            authorizer_list: self.tallies.authorizer_list.clone(),
            start_push: self.tallies.start_push.clone(),
            tokens: calls.map(|(app, calls)| (appid(app), calls.clone())).collect(),
            token_lives: self.token_lives(),
            distinct_codes: self.codes.distinct_asked,
            codes_asked_more_than_once: self.codes.asked_more_than_once,
            codes: if with_codes { self.codes_asked() } else { BTreeMap::new() },
            ..Asked::default()
        }
    }

    pub(in crate::simulator) fn forget_asked(&mut self) {
        self.tallies = Tallies::default();
        self.tokens.forget_tallies();
        self.codes.forget_tallies();
    }

    fn codes_asked(&self) -> BTreeMap<String, CodeAsked> {
        self.codes.asked().map(|(code, asked)| (code.to_owned(), asked)).collect()
    }

    fn token_lives(&self) -> Vec<TokenLife> {
        let appid = |app: usize| self.apps.get(app).appid.as_ref().to_owned();
        let life = |token: &Token| TokenLife {
            appid: match token.holder {
                Holder::App(app) | Holder::Merchant { app, .. } => appid(app),
                Holder::Platform(platform) => self.platforms.get(platform).appid.as_ref().to_owned(),
            },
            source: token.source,
            minted_at: token.minted_at_ms,
            handed_out: token.handed_out,
            asked_with: token.asked_with,
        };
        let mut lives: Vec<_> = self.tokens.iter().map(life).collect();
        lives.sort_by(|a, b| (a.minted_at, &a.appid, a.source).cmp(&(b.minted_at, &b.appid, b.source)));
        lives
    }
}
