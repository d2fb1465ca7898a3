//! Tokens by way of a third-party platform: WeChat's ticket → the platform's token → the merchant's token.
//!
//! A merchant's refresh token is worth an authorisation: it is kept without end, and replaced whenever WeChat returns
//! another. One that WeChat no longer takes is looked up once in the platform's list of merchants.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::backoff::Backoff;
use crate::login::{AppId, WechatAnswer};
use crate::machine;
use crate::secret::Secret;
use crate::store::{Renewal, SharedToken};
use crate::token::source::Fetched;
use crate::token::{App, KnownApp, Parts, Platform, Source, TokenFault, Tokens};
use crate::wechat::errcode;
use crate::wechat::{AccessToken, AuthorizerReply, Fault, MerchantsReply, TokenReply};

/// 61023: the refresh token is not, or no longer, valid. 61003: the merchant does not authorise the platform; who has
/// done so again has a new refresh token.
const MAY_HAVE_CHANGED: [i64; 2] = [61023, 61003];
/// How many merchants are listed in one answer (WeChat would list 500, which is more than we read), and how many answers
/// are asked for.
const MERCHANTS_PER_PAGE: u32 = 200;
const PAGES_MOST: u32 = 100;
/// Pauses while a refresh token waits for the store.
const KEEP_AGAIN: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// A token to come; boxed, since a merchant's is had by way of its platform's.
type Pending<'a> = Pin<Box<dyn Future<Output = Result<AccessToken, TokenFault>> + Send + 'a>>;

/// A platform, and the merchant that it is asked about.
struct Merchant<'a> {
    appid: &'a AppId,
    platform: &'a Platform,
    component: KnownApp,
}

/// What a platform's list of merchants has of one of them.
enum Listed {
    With(Secret),
    /// The merchant is there, and WeChat gives no refresh token for it.
    WithoutToken,
    Nowhere,
}

impl Tokens {
    /// Asks for the platform's own token, with the last ticket that WeChat has pushed.
    pub(super) async fn ask_for_component_token(
        &self,
        platform: &Platform,
    ) -> Result<Result<TokenReply, Fault>, TokenFault> {
        let secret = platform.secret.read().map_err(TokenFault::NoSecret)?;
        let ticket = self.0.parts.store.ticket(&platform.appid).await?;
        let ticket = ticket.ok_or_else(|| TokenFault::NoTicket(platform.appid.clone()))?;
        Ok(self.0.parts.client.component_token(&platform.appid, &secret, &ticket).await)
    }

    /// Asks for a merchant's token with its refresh token; with the one from the list, where WeChat does not take ours.
    pub(super) async fn ask_for_authorizer_token(
        &self,
        appid: &AppId,
        platform: &Platform,
    ) -> Result<Fetched, TokenFault> {
        let merchant = Merchant { appid, platform, component: self.component(platform) };
        let kept = self.0.parts.store.refresh_token(appid, &platform.appid).await?;
        let Some(kept) = kept else {
            let listed = self.look_up(&merchant).await?;
            let listed = match listed {
                Listed::With(refresh_token) => refresh_token,
                Listed::WithoutToken => return Err(TokenFault::NoRefreshToken(platform.appid.clone())),
                Listed::Nowhere => return Err(TokenFault::NotAuthorized(platform.appid.clone())),
            };
            return self.ask_with(&merchant, &listed, None).await;
        };
        match self.ask_with(&merchant, &kept, Some(&kept)).await {
            Err(TokenFault::Refused(refusal)) if MAY_HAVE_CHANGED.contains(&refusal.errcode) => {
                let errcode = refusal.errcode;
                warn!(%appid, platform = %platform.appid, errcode, "the refresh token is refused; looking it up in the list of merchants");
                match self.look_up(&merchant).await? {
                    Listed::With(listed) if listed != kept => self.ask_with(&merchant, &listed, Some(&kept)).await,
                    _ => Err(TokenFault::Refused(refusal)),
                }
            }
            asked => asked,
        }
    }

    /// The platform as it is configured; by itself, where the settings were read again while its merchant's login was in
    /// hand, and know it no more.
    fn component(&self, platform: &Platform) -> KnownApp {
        let configured = self.0.known.load().platforms.get(&platform.appid).cloned();
        configured.unwrap_or_else(|| {
            KnownApp::new(App { appid: platform.appid.clone(), source: Source::Component(platform.clone()) })
        })
    }

    /// Asks once; what is returned replaces the `former` refresh token in the store.
    async fn ask_with(
        &self,
        merchant: &Merchant<'_>,
        refresh_token: &Secret,
        former: Option<&Secret>,
    ) -> Result<Fetched, TokenFault> {
        let Merchant { appid, platform, component } = merchant;
        let client = &self.0.parts.client;
        let token = self.component_token(component).await?;
        let mut reply = client.authorizer_token(&token, &platform.appid, appid, refresh_token).await;
        if let Ok(AuthorizerReply::Refused(refusal)) = &reply
            && let Some(other) = self.other_component_token(component, &token, refusal).await?
        {
            reply = client.authorizer_token(&other, &platform.appid, appid, refresh_token).await;
        }
        let (grant, returned) = match reply.map_err(TokenFault::Wechat)? {
            AuthorizerReply::Granted { grant, refresh_token } => (grant, refresh_token),
            AuthorizerReply::Refused(refusal) => return Err(TokenFault::Refused(refusal)),
        };
        let refresh_token = returned.unwrap_or_else(|| refresh_token.clone());
        let renewal = Renewal { platform: platform.appid.clone(), former: former.cloned(), refresh_token };
        let token = self.shared_from_now(grant.access_token, grant.expires_in_s);
        Ok(Fetched { token, renewal: Some(renewal) })
    }

    /// The merchant's refresh token as the platform's list has it.
    async fn look_up(&self, merchant: &Merchant<'_>) -> Result<Listed, TokenFault> {
        let mut best = Listed::Nowhere;
        for page in 0..PAGES_MOST {
            let listed = self.list(merchant, page * MERCHANTS_PER_PAGE).await?;
            if listed.is_empty() {
                break;
            }
            // It may stand there twice, once without.
            for (_, refresh_token) in listed.into_iter().filter(|(appid, _)| appid == merchant.appid.as_str()) {
                if !refresh_token.expose().is_empty() {
                    return Ok(Listed::With(refresh_token));
                }
                best = Listed::WithoutToken;
            }
        }
        Ok(best)
    }

    async fn list(&self, merchant: &Merchant<'_>, offset: u32) -> Result<Vec<(String, Secret)>, TokenFault> {
        let Merchant { platform, component, .. } = merchant;
        let client = &self.0.parts.client;
        let token = self.component_token(component).await?;
        let mut reply = client.merchants(&token, &platform.appid, offset, MERCHANTS_PER_PAGE).await;
        if let Ok(MerchantsReply::Refused(refusal)) = &reply
            && let Some(other) = self.other_component_token(component, &token, refusal).await?
        {
            reply = client.merchants(&other, &platform.appid, offset, MERCHANTS_PER_PAGE).await;
        }
        match reply.map_err(TokenFault::Wechat)? {
            MerchantsReply::Listed(listed) => Ok(listed),
            MerchantsReply::Refused(refusal) => Err(TokenFault::Refused(refusal)),
        }
    }

    /// The platform's own token, which is had by the same path as its merchants'.
    fn component_token<'a>(&'a self, component: &'a KnownApp) -> Pending<'a> {
        Box::pin(self.current(component, self.platform_waits_until()))
    }

    /// Another token of the platform's, where WeChat's refusal is about that one.
    async fn other_component_token(
        &self,
        component: &KnownApp,
        failed: &AccessToken,
        refusal: &WechatAnswer,
    ) -> Result<Option<AccessToken>, TokenFault> {
        if !errcode::is_bad_token(refusal.errcode) {
            return Ok(None);
        }
        self.replaced_component_token(component, failed, refusal).await.map(Some)
    }

    fn replaced_component_token<'a>(
        &'a self,
        component: &'a KnownApp,
        failed: &'a AccessToken,
        refusal: &'a WechatAnswer,
    ) -> Pending<'a> {
        Box::pin(self.replace(component, failed, refusal, false, self.platform_waits_until()))
    }

    fn platform_waits_until(&self) -> Instant {
        Instant::now() + self.0.parts.client.timeout() * 2
    }

    /// Writes a refresh token that the store did not take, as long as it takes: it has no other home.
    pub(super) fn keep_renewal(&self, app: &KnownApp, token: SharedToken, renewal: Renewal) {
        let (tokens, app) = (self.clone(), app.clone());
        machine::spawn(&self.0.parts.tracker, async move {
            let Parts { store, stop, .. } = &tokens.0.parts;
            let keeping = async {
                let mut failures = 0;
                while store.share_token(app.appid(), "", &token, Some(&renewal)).await.is_err() {
                    sleep(KEEP_AGAIN.pause(failures, fastrand::f64())).await;
                    failures += 1;
                }
            };
            if stop.run_until_cancelled(keeping).await.is_none() {
                warn!(appid = %app.appid(), "stopped before a refresh token could be written; it will be looked up in the list");
            }
        });
    }
}
