//! Asking WeChat for the token that is wanted, inside the budgets that the fleet has for it. Who asks, and what becomes
//! of the answer, is `refresh`'s business.

use std::time::Duration;

use tracing::warn;

use crate::login::WechatAnswer;
use crate::store::Budget;
use crate::token::refresh::Wanted;
use crate::token::source::Fetched;
use crate::token::{KnownApp, TokenFault, Tokens};
use crate::wechat::AccessToken;

/// WeChat's budget of forced refreshes for an app.
const FORCED: Budget =
    Budget { name: "forced", most: 20, within: Duration::from_secs(24 * 60 * 60), apart: Duration::from_secs(30) };
/// Where WeChat makes a new token at each call, it allows some 2,000 calls a day. A WeChat that refuses every token, or
/// another system that fetches the same one, must not use them up: refused tokens are replaced 1,920 times a day at most.
const REPLACED: Budget =
    Budget { name: "replaced", most: 80, within: Duration::from_secs(60 * 60), apart: Duration::ZERO };

impl Tokens {
    /// Fetches a token that will do.
    pub(super) async fn fetch_wanted(&self, app: &KnownApp, wanted: &Wanted) -> Result<Fetched, TokenFault> {
        match wanted {
            Wanted::New { force: true } => self.fetch_by_force(app).await,
            Wanted::OtherThan { failed, refusal, again } if app.source().mints() => {
                self.fetch_from_budget(app, failed, refusal, again.is_some()).await
            }
            Wanted::OtherThan { failed, refusal, again } => {
                self.fetch_other(app, failed, refusal, again.is_some()).await
            }
            Wanted::Valid | Wanted::Fresh | Wanted::New { force: false } => self.fetch_any(app).await,
        }
    }

    /// A token that WeChat did not give costs nothing.
    async fn fetch_from_budget(
        &self,
        app: &KnownApp,
        failed: &AccessToken,
        refusal: &WechatAnswer,
        again: bool,
    ) -> Result<Fetched, TokenFault> {
        let store = &self.0.parts.store;
        if !store.has_left(app.appid(), &REPLACED).await? {
            return Err(TokenFault::RefusedAgain(refusal.clone()));
        }
        let fetched = self.fetch_other(app, failed, refusal, again).await?;
        // Away now? Then this one is not counted; it serves all the same.
        let _ = store.spend(app.appid(), &REPLACED).await;
        Ok(fetched)
    }

    /// Another token than the one that WeChat refuses. Where it gives the same again, that one, if logins may be asked again
    /// with it; only then by force, if the settings allow it, since WeChat allows that so seldom.
    async fn fetch_other(
        &self,
        app: &KnownApp,
        failed: &AccessToken,
        refusal: &WechatAnswer,
        again: bool,
    ) -> Result<Fetched, TokenFault> {
        let fetched = self.fetch_any(app).await?;
        if fetched.token.access_token != *failed {
            return Ok(fetched);
        }
        let (appid, errcode) = (app.appid(), refusal.errcode);
        if again {
            warn!(%appid, errcode, "WeChat refused the access token and gave the same one again: its logins are asked again with it");
            return Ok(fetched);
        }
        warn!(%appid, errcode, "WeChat refuses the access token again and again, and gave the same one again");
        if let Some(renewal) = fetched.renewal {
            // The token is worth nothing; the refresh token that came with it is.
            self.keep_renewal(app, fetched.token, renewal);
        }
        if !app.source().may_force() {
            return Err(TokenFault::StillRefused(refusal.clone()));
        }
        match self.fetch_by_force(app).await {
            Ok(forced) if forced.token.access_token != *failed => Ok(forced),
            Ok(_) | Err(TokenFault::NoForce) => Err(TokenFault::StillRefused(refusal.clone())),
            Err(fault) => Err(fault),
        }
    }

    async fn fetch_any(&self, app: &KnownApp) -> Result<Fetched, TokenFault> {
        let fetched = self.ask_for_token(app.appid(), app.source(), false).await?;
        self.0.parts.meters.token_fetched();
        Ok(fetched)
    }

    async fn fetch_by_force(&self, app: &KnownApp) -> Result<Fetched, TokenFault> {
        if !self.0.parts.store.spend(app.appid(), &FORCED).await? {
            return Err(TokenFault::NoForce);
        }
        warn!(appid = %app.appid(), "refreshing the access token by force: the former one ends at once");
        let forced = self.ask_for_token(app.appid(), app.source(), true).await?;
        self.0.parts.meters.token_fetched();
        Ok(forced)
    }
}
