//! The calls of `/cgi-bin/component/…`, each a synchronous function of the model, the request and the time.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::super::errcodes::{APPID_MISSING, INVALID_ARGS, INVALID_CREDENTIAL, REQUIRE_POST, UNKNOWN_COMPONENT};
use super::super::moods::Endpoint;
use super::super::tokens::Holder;
use super::super::{Model, Outcome, log};
use super::asks::ComponentAsk;
use super::authorizers::mint_refresh_token;
use super::push::{Posting, Push};
use crate::simulator::record::TokenSource;
use crate::simulator::script::Step;

const LISTED_MOST: usize = 500;

/// Which of them.
#[derive(Clone, Copy)]
pub(crate) enum ComponentCall {
    /// `api_component_token`
    ComponentToken,
    /// `api_authorizer_token`
    AuthorizerToken,
    /// `api_get_authorizer_list`
    AuthorizerList,
    /// `api_start_push_ticket`
    StartPush,
}

/// What comes in over HTTP.
pub(crate) struct ComponentRequest<'a> {
    pub(crate) is_post: bool,
    pub(crate) token: Option<Cow<'a, str>>,
    pub(crate) body: &'a [u8],
}

impl ComponentCall {
    fn name(self) -> &'static str {
        match self {
            Self::ComponentToken => "component_token",
            Self::AuthorizerToken => "authorizer_token",
            Self::AuthorizerList => "authorizer_list",
            Self::StartPush => "start_push",
        }
    }
}

impl Model {
    /// Answers one call, with a push to post where a ticket was asked for.
    pub(in crate::simulator) fn component(
        &mut self,
        call: ComponentCall,
        request: &ComponentRequest<'_>,
        now_ms: u64,
    ) -> (Outcome, Option<Posting>) {
        let ask = ComponentAsk::read(request.body);
        let about = ask.as_ref().map(ComponentAsk::about).unwrap_or_default();
        let step = self.moods.next(Endpoint::Component, &about).unwrap_or_else(Step::normal);
        let ask = ask.as_ref().map_err(|errcode| *errcode);
        let token = request.token.as_deref();
        let said = match (step.then.consumes(), request.is_post) {
            (false, _) => Ok((Value::Null, None)),
            (true, false) => Err(REQUIRE_POST),
            (true, true) => self.component_answer(call, token, ask, now_ms),
        };
        let (said, posting) = match said {
            Ok((said, posting)) => (Ok(said.to_string().into()), posting),
            Err(errcode) => (Err(errcode), None),
        };
        let outcome = Outcome::of(step, said, now_ms, &mut self.random);
        outcome.act.count_into(self.tallies.component(call));
        // Only what is known here: a careless body may have anything in the place of an appid.
        let platform = about.first().and_then(|appid| self.platforms.index(appid));
        log(call.name(), platform.map(|platform| &*self.platforms.get(platform).appid), &outcome.act);
        (outcome, posting)
    }

    fn component_answer(
        &mut self,
        call: ComponentCall,
        token: Option<&str>,
        ask: Result<&ComponentAsk<'_>, i64>,
        now_ms: u64,
    ) -> Result<(Value, Option<Posting>), i64> {
        Ok(match call {
            ComponentCall::ComponentToken => (self.component_token(ask?, now_ms)?, None),
            ComponentCall::StartPush => (json!({"errcode": 0, "errmsg": "ok"}), self.start_push(ask?, now_ms)?),
            ComponentCall::AuthorizerToken => {
                let platform = self.admit_component(token, ask, now_ms)?;
                (self.authorizer_token(platform, ask?, now_ms)?, None)
            }
            ComponentCall::AuthorizerList => {
                let platform = self.admit_component(token, ask, now_ms)?;
                (self.authorizer_list(platform, ask?)?, None)
            }
        })
    }

    /// The platform whose component token this is, once all but the call's own part is in order.
    fn admit_component(
        &mut self,
        token: Option<&str>,
        ask: Result<&ComponentAsk<'_>, i64>,
        now_ms: u64,
    ) -> Result<usize, i64> {
        let (holder, token_is_good) = self.tokens.check(token, now_ms);
        token_is_good?;
        let Some(Holder::Platform(index)) = holder else {
            return Err(INVALID_CREDENTIAL);
        };
        let platform = self.platforms.get(index);
        platform.admit_ip()?;
        let appid = ask?.component_appid.as_deref().filter(|appid| !appid.is_empty()).ok_or(APPID_MISSING)?;
        // What WeChat says to one platform's token beside another's appid is documented nowhere.
        if *appid == *platform.appid { Ok(index) } else { Err(UNKNOWN_COMPONENT) }
    }

    /// Always a new token, and only the overlap is left to the one before.
    fn component_token(&mut self, ask: &ComponentAsk<'_>, now_ms: u64) -> Result<Value, i64> {
        let platform = self.platforms.admit(ask.component_appid.as_deref(), ask.component_appsecret.as_deref())?;
        platform.tickets.check(ask.component_verify_ticket.as_deref(), now_ms)?;
        let (holder, lifespan) = (Holder::Platform(platform.index), platform.lifespan());
        let newest = &mut platform.token;
        let handed = self.tokens.renew(holder, TokenSource::Component, lifespan, newest, now_ms, &mut self.random);
        Ok(json!({"component_access_token": &*handed.token, "expires_in": handed.expires_in_s}))
    }

    /// The same for a merchant, in exchange for its refresh token, which may change with that.
    fn authorizer_token(&mut self, platform: usize, ask: &ComponentAsk<'_>, now_ms: u64) -> Result<Value, i64> {
        let appid = ask.authorizer_appid.as_deref().filter(|appid| !appid.is_empty()).ok_or(APPID_MISSING)?;
        let app = self.apps.index(appid);
        let platform = &mut self.platforms.all[platform];
        let lifespan = platform.lifespan();
        let authorizer = platform.authorizers.admit(app, ask.authorizer_refresh_token.as_deref())?;
        let app = app.expect("only a known app is admitted");
        let holder = Holder::Merchant { app, platform: platform.index };
        let newest = &mut authorizer.token;
        let handed = self.tokens.renew(holder, TokenSource::Authorizer, lifespan, newest, now_ms, &mut self.random);
        if authorizer.rotates_refresh_token {
            authorizer.refresh_token = mint_refresh_token(&mut self.random);
        }
        Ok(json!({
            "authorizer_access_token": &*handed.token,
            "expires_in": handed.expires_in_s,
            "authorizer_refresh_token": authorizer.refresh_token,
        }))
    }

    /// A page of the merchants, with the refresh token of each.
    fn authorizer_list(&self, platform: usize, ask: &ComponentAsk<'_>) -> Result<Value, i64> {
        let (Some(offset), Some(count @ 0..=LISTED_MOST)) = (ask.offset, ask.count) else {
            return Err(INVALID_ARGS);
        };
        let authorizers = &self.platforms.get(platform).authorizers;
        let page = authorizers.all_standing().skip(offset).take(count).map(|(app, authorizer)| {
            json!({
                "authorizer_appid": &*self.apps.get(app).appid,
                "refresh_token": authorizer.refresh_token,
                "auth_time": authorizer.authorized_at_ms / 1000,
            })
        });
        let list: Vec<_> = page.collect();
        Ok(json!({"total_count": authorizers.all_standing().count(), "list": list}))
    }

    /// A new ticket to post, where the platform says where to.
    fn start_push(&mut self, ask: &ComponentAsk<'_>, now_ms: u64) -> Result<Option<Posting>, i64> {
        let platform = self.platforms.admit(ask.component_appid.as_deref(), ask.component_secret.as_deref())?;
        if platform.push_url.is_none() {
            return Ok(None);
        }
        let push = Push::ticket(&*platform.appid);
        Ok(Some(self.push(&push, now_ms).expect("a ticket can always be pushed to a known platform")))
    }
}
