//! WeChat as plain data: three calls, each a synchronous function of the model, the request and the
//! time. What comes back is an [`Outcome`]; sending it, late or never, is `wechat_view.rs`'s part.

pub(super) mod apps;
mod asks;
mod codes;
mod errcodes;
pub(super) mod mint;
pub(super) mod moods;
mod outcome;
mod phone_answer;
mod quota;
mod tallies;
mod tokens;

use serde::Serialize;
use tracing::debug;

use self::apps::Apps;
use self::asks::PhoneAsk;
pub(super) use self::asks::TokenAsk;
use self::codes::Codes;
use self::errcodes::{APPID_MISSING, INVALID_GRANT_TYPE, REQUIRE_GET, REQUIRE_POST, SECRET_MISSING};
use self::moods::{Endpoint, Moods};
pub(super) use self::outcome::{Act, Outcome};
use self::tallies::Tallies;
use self::tokens::{Handed, Holder, Tokens};
use super::random::Random;
use super::record::TokenSource;
use super::script::{Step, Then};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

pub(super) struct Model {
    pub(super) apps: Apps,
    pub(super) codes: Codes,
    pub(super) moods: Moods,
    pub(super) tokens: Tokens,
    pub(super) random: Random,
    pub(super) latency_ms: u64,
    pub(super) jitter_ms: u64,
    tallies: Tallies,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            apps: Apps::default(),
            codes: Codes::default(),
            moods: Moods::default(),
            tokens: Tokens::default(),
            random: Random::new(),
            latency_ms: 0,
            jitter_ms: 0,
            tallies: Tallies::default(),
        }
    }

    /// `POST /wxa/business/getuserphonenumber`. The gateway's checks (method, token, quota) come before
    /// the handler's (body, app, openid, code), and none but the last step spends the code.
    pub(super) fn phone(&mut self, is_post: bool, token: Option<&str>, body: &[u8], now_ms: u64) -> Outcome {
        self.codes.sweep(now_ms);
        let (holder, token_is_good) = self.tokens.check(token, now_ms);
        let app = holder.map(Holder::app);
        let mut admitted = if is_post { token_is_good } else { Err(REQUIRE_POST) };
        let ask = PhoneAsk::read(body);
        let code = ask.as_ref().ok().map(|ask| ask.code.as_ref());
        if let Some(code) = code {
            self.codes.note_asked(code);
        }

        let appid = app.map(|app| self.apps.get(app).appid.as_ref());
        let mut step = self.moods.next(Endpoint::Phone, appid).unwrap_or_else(Step::normal);
        if step.then.consumes() {
            admitted = self.take_phone_quota(admitted, app, now_ms);
        }
        if step.then == Then::Normal
            && let (Ok(()), Some(app), Some(code)) = (admitted, app, code)
            && let Some(scripted) = self.codes.next_step(code, app)
        {
            step = Step { delay_ms: step.delay_ms.saturating_add(scripted.delay_ms), then: scripted.then };
        }

        let said = if step.then.consumes() { self.exchange(admitted, app, &ask, now_ms) } else { Ok(Vec::new()) };
        let late_ms = self.latency_ms.saturating_add(self.random.up_to(self.jitter_ms));
        let step = Step { delay_ms: step.delay_ms.saturating_add(late_ms), then: step.then };
        let outcome = Outcome::of(step, said, now_ms, &mut self.random);
        outcome.act.count_into(&mut self.tallies.phone);
        if let Some(code) = code
            && outcome.act.is_answer()
        {
            self.codes.note_answered(code);
        }
        log("phone", app.map(|app| self.apps.get(app).appid.as_ref()), &outcome.act);
        outcome
    }

    /// `POST /cgi-bin/stable_token`.
    pub(super) fn stable_token(&mut self, is_post: bool, body: &[u8], now_ms: u64) -> Outcome {
        let ask = if is_post { TokenAsk::read(body) } else { Err(REQUIRE_POST) };
        self.token(TokenSource::Stable, ask, now_ms)
    }

    /// `GET /cgi-bin/token`.
    pub(super) fn classic_token(&mut self, is_get: bool, ask: TokenAsk<'_>, now_ms: u64) -> Outcome {
        self.token(TokenSource::Classic, if is_get { Ok(ask) } else { Err(REQUIRE_GET) }, now_ms)
    }

    /// A token as the stable endpoint would give it, counted nowhere.
    pub(super) fn token_of(&mut self, app: usize, now_ms: u64) -> Result<String, i64> {
        let handed = self.tokens.stable(self.apps.get_mut(app), false, now_ms, &mut self.random)?;
        Ok(handed.token.as_ref().to_owned())
    }

    /// What the gateway refuses for another reason is no call that it would count.
    fn take_phone_quota(&mut self, admitted: Result<(), i64>, app: Option<usize>, now_ms: u64) -> Result<(), i64> {
        admitted?;
        self.apps.get_mut(app.expect("a token that is good is an app's")).take_phone_quota(now_ms)
    }

    fn exchange(
        &mut self,
        admitted: Result<(), i64>,
        app: Option<usize>,
        ask: &Result<PhoneAsk<'_>, i64>,
        now_ms: u64,
    ) -> Result<Vec<u8>, i64> {
        admitted?;
        let ask = ask.as_ref().map_err(|errcode| *errcode)?;
        let app = self.apps.get(app.expect("a token that is good is an app's"));
        self.codes.spend(&ask.code, ask.openid.as_deref(), app.index, &app.appid, now_ms)
    }

    fn token(&mut self, source: TokenSource, ask: Result<TokenAsk<'_>, i64>, now_ms: u64) -> Outcome {
        let app = ask.as_ref().ok().and_then(|ask| self.apps.index(ask.appid.as_deref()?));
        if let (Some(app), Ok(ask)) = (app, &ask) {
            self.tallies.note_token_call(app, source, ask.force_refresh);
        }
        let appid = app.map(|app| self.apps.get(app).appid.as_ref());
        let step = self.moods.next(Endpoint::Token, appid).unwrap_or_else(Step::normal);
        let said = if step.then.consumes() { self.hand_out(source, ask, now_ms) } else { Ok(Vec::new()) };
        let outcome = Outcome::of(step, said, now_ms, &mut self.random);
        let (endpoint, asked) = match source {
            TokenSource::Stable => ("stable_token", &mut self.tallies.stable_token),
            TokenSource::Classic => ("token", &mut self.tallies.classic_token),
        };
        outcome.act.count_into(asked);
        log(endpoint, app.map(|app| self.apps.get(app).appid.as_ref()), &outcome.act);
        outcome
    }

    fn hand_out(&mut self, source: TokenSource, ask: Result<TokenAsk<'_>, i64>, now_ms: u64) -> Result<Vec<u8>, i64> {
        let ask = ask?;
        if ask.grant_type.as_deref() != Some("client_credential") {
            return Err(INVALID_GRANT_TYPE);
        }
        let appid = ask.appid.filter(|appid| !appid.is_empty()).ok_or(APPID_MISSING)?;
        let secret = ask.secret.filter(|secret| !secret.is_empty()).ok_or(SECRET_MISSING)?;
        let app = self.apps.admit(&appid, &secret)?;
        let app = self.apps.get_mut(app);
        let handed = match source {
            TokenSource::Stable => {
                app.take_stable_quota(now_ms)?;
                self.tokens.stable(app, ask.force_refresh, now_ms, &mut self.random)?
            }
            TokenSource::Classic => {
                app.take_classic_quota(now_ms)?;
                self.tokens.classic(app, now_ms, &mut self.random)
            }
        };
        Ok(token_body(&handed))
    }
}

/// All that a log may know of a call: never what it carried.
fn log(endpoint: &'static str, appid: Option<&str>, act: &Act) {
    debug!(endpoint, appid, outcome = act.name(), errcode = act.errcode());
}

fn token_body(handed: &Handed) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        access_token: &'a str,
        expires_in: u64,
    }
    serde_json::to_vec(&Answer { access_token: &handed.token, expires_in: handed.expires_in_s })
        .expect("a string and a number are always JSON")
}

#[cfg(test)]
mod tests;
