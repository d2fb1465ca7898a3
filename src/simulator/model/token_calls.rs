//! The two calls that fetch an app's access token for its own secret.

use serde_json::json;

use super::asks::TokenAsk;
use super::errcodes::{APPID_MISSING, INVALID_GRANT_TYPE, REQUIRE_GET, REQUIRE_POST, SECRET_MISSING};
use super::moods::Endpoint;
use super::{Model, Outcome, log};
use crate::simulator::script::Step;

/// Which of both.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Stable,
    Classic,
}

impl Model {
    /// `POST /cgi-bin/stable_token`.
    pub(in crate::simulator) fn stable_token(&mut self, is_post: bool, body: &[u8], now_ms: u64) -> Outcome {
        let ask = if is_post { TokenAsk::read(body) } else { Err(REQUIRE_POST) };
        self.token(Way::Stable, ask, now_ms)
    }

    /// `GET /cgi-bin/token`.
    pub(in crate::simulator) fn classic_token(&mut self, is_get: bool, ask: TokenAsk<'_>, now_ms: u64) -> Outcome {
        self.token(Way::Classic, if is_get { Ok(ask) } else { Err(REQUIRE_GET) }, now_ms)
    }

    /// A token as the stable endpoint would give it, counted nowhere.
    pub(in crate::simulator) fn token_of(&mut self, app: usize, now_ms: u64) -> Result<String, i64> {
        let handed = self.tokens.stable(self.apps.get_mut(app), false, now_ms, &mut self.random)?;
        Ok(handed.token.as_ref().to_owned())
    }

    fn token(&mut self, way: Way, ask: Result<TokenAsk<'_>, i64>, now_ms: u64) -> Outcome {
        let app = ask.as_ref().ok().and_then(|ask| self.apps.index(ask.appid.as_deref()?));
        if let (Some(app), Ok(ask)) = (app, &ask) {
            self.tallies.note_token_call(app, way, ask.force_refresh);
        }
        let appid = app.map(|app| self.apps.get(app).appid.as_ref());
        let step = self.moods.next(Endpoint::Token, appid.as_slice()).unwrap_or_else(Step::normal);
        let said = if step.then.consumes() { self.hand_out(way, ask, now_ms) } else { Ok(Vec::new()) };
        let outcome = Outcome::of(step, said, now_ms, &mut self.random);
        let (endpoint, asked) = match way {
            Way::Stable => ("stable_token", &mut self.tallies.stable_token),
            Way::Classic => ("token", &mut self.tallies.classic_token),
        };
        outcome.act.count_into(asked);
        log(endpoint, app.map(|app| self.apps.get(app).appid.as_ref()), &outcome.act);
        outcome
    }

    fn hand_out(&mut self, way: Way, ask: Result<TokenAsk<'_>, i64>, now_ms: u64) -> Result<Vec<u8>, i64> {
        let ask = ask?;
        if ask.grant_type.as_deref() != Some("client_credential") {
            return Err(INVALID_GRANT_TYPE);
        }
        let appid = ask.appid.filter(|appid| !appid.is_empty()).ok_or(APPID_MISSING)?;
        let secret = ask.secret.filter(|secret| !secret.is_empty()).ok_or(SECRET_MISSING)?;
        let app = self.apps.admit(&appid, &secret)?;
        let app = self.apps.get_mut(app);
        let handed = match way {
            Way::Stable => {
                app.take_stable_quota(now_ms)?;
                self.tokens.stable(app, ask.force_refresh, now_ms, &mut self.random)?
            }
            Way::Classic => {
                app.take_classic_quota(now_ms)?;
                self.tokens.classic(app, now_ms, &mut self.random)
            }
        };
        Ok(json!({"access_token": &*handed.token, "expires_in": handed.expires_in_s}).to_string().into())
    }
}
