//! One worker of the fleet at a time asks WeChat for an app's token: it leads, and the others watch the store for what
//! it brings.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::clock;
use crate::login::UnixMs;
use crate::store::{SharedRefusal, SharedState, SharedToken, Store, StoreAway};
use crate::token::refresh::{Missed, Wanted};
use crate::token::source::Fetched;
use crate::token::{KnownApp, TokenFault, Tokens};
use crate::wechat::errcode::{self, TokenErrcode};

/// A leader that dies is succeeded after this; one that lives renews its lead.
const LEAD: Duration = Duration::from_secs(2);
/// How often one that waits for another worker's refresh looks for the token.
const LOOK: Backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(50) };

/// Who leads the refreshing of an app's token, or would like to.
struct Lead<'a> {
    store: &'a Store,
    app: &'a KnownApp,
    /// Unlike any other.
    leader: String,
}

impl Tokens {
    /// A token that will do, from whichever worker brings it.
    pub(super) async fn fetch_for_fleet(&self, app: &KnownApp, wanted: &Wanted) -> Result<SharedToken, Missed> {
        let lead = Lead { store: &self.0.parts.store, app, leader: uuid::Uuid::now_v7().simple().to_string() };
        let at_most = Instant::now() + (self.0.parts.client.timeout() + LEAD) * 2;
        let mut looks = 0;
        while Instant::now() < at_most {
            if let Some(found) = self.look(app, wanted).await? {
                return Ok(found);
            }
            if lead.take().await.map_err(TokenFault::from)? {
                return self.fetch_as_leader(&lead, wanted).await;
            }
            sleep(LOOK.pause(looks, fastrand::f64())).await;
            looks += 1;
        }
        Err(TokenFault::Awaited.into())
    }

    /// What the fleet has: a token that will do, a refusal that is news here, or nothing yet.
    async fn look(&self, app: &KnownApp, wanted: &Wanted) -> Result<Option<SharedToken>, Missed> {
        let SharedState { token, refusal } =
            self.0.parts.store.shared_token(app.appid()).await.map_err(TokenFault::from)?;
        if let Some(token) = token.filter(|token| wanted.is_met_by(token, app.source())) {
            return Ok(Some(token));
        }
        match refusal.filter(|refusal| app.is_news(refusal) && !wanted.is_an_order()) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(None),
        }
    }

    /// Looks once more, since the last leader may just have finished, then asks WeChat and shares what it says.
    async fn fetch_as_leader(&self, lead: &Lead<'_>, wanted: &Wanted) -> Result<SharedToken, Missed> {
        if let Some(found_or_refused) = self.look(lead.app, wanted).await.transpose() {
            lead.end(None).await;
            return found_or_refused;
        }
        let fetched = tokio::select! {
            biased;
            fetched = self.fetch_wanted(lead.app, wanted) => fetched,
            never = lead.keep() => match never {},
        };
        match fetched {
            Ok(fetched) => Ok(self.share(lead, fetched).await),
            Err(fault) => {
                warn!(appid = %lead.app.appid(), %fault, "no access token");
                let refusal = lead.refusal(&fault).await;
                lead.end(refusal.as_ref()).await;
                Err(Missed { fault, refusal })
            }
        }
    }

    /// Shares a fresh token. Where the store is away it serves this worker all the same, and the lead ends by itself.
    async fn share(&self, lead: &Lead<'_>, Fetched { token, renewal }: Fetched) -> SharedToken {
        let app = lead.app;
        let token = SharedToken { source: Some(app.source().label()), ..token };
        let shared = lead.store.share_token(app.appid(), &lead.leader, &token, renewal.as_ref()).await;
        let life_s = (token.expires_at - token.fetched_at) / 1000;
        info!(appid = %app.appid(), life_s, shared = *shared.as_ref().unwrap_or(&false), "access token fetched");
        if let (Err(_), Some(renewal)) = (shared, renewal) {
            self.keep_renewal(app, token.clone(), renewal);
        }
        token
    }
}

impl Lead<'_> {
    /// Takes the lead, or renews it. False: somebody else has it.
    async fn take(&self) -> Result<bool, StoreAway> {
        self.store.lead_refresh(self.app.appid(), &self.leader, LEAD).await
    }

    /// Renews the lead for as long as this is polled.
    async fn keep(&self) -> Infallible {
        loop {
            sleep(LEAD / 3).await;
            // Away, or overtaken? What is fetched serves this worker all the same.
            let _ = self.take().await;
        }
    }

    /// Ends the lead without a token.
    async fn end(&self, refusal: Option<&SharedRefusal>) {
        // Away now? The lead ends by itself.
        let _ = self.store.end_refresh(self.app.appid(), &self.leader, refusal).await;
    }

    /// What the others are told, so that each of them need not ask; none where they may fare better.
    async fn refusal(&self, fault: &TokenFault) -> Option<SharedRefusal> {
        let (answer, same_token) = match fault {
            TokenFault::Refused(answer) if errcode::of_token(answer.errcode) != TokenErrcode::Address => {
                (answer, false)
            }
            TokenFault::StillRefused(answer) => (answer, true),
            _ => return None,
        };
        let credentials = self.app.source().credentials();
        let before = self.store.shared_token(self.app.appid()).await.ok()?.refusal;
        let times = before.filter(|before| before.credentials == credentials).map_or(0, |before| before.times) + 1;
        let (id, answer, heard_at) = (self.leader.clone(), answer.clone(), clock::now_ms());
        Some(SharedRefusal { id, credentials, answer, same_token, times, heard_at })
    }
}

impl KnownApp {
    /// Whether a refusal was heard by another worker since this one last failed, asking with the same, and not so long
    /// ago that somebody should ask again.
    fn is_news(&self, refusal: &SharedRefusal) -> bool {
        let known = self.0.known_refusal.lock().expect("nothing panics while holding it").clone();
        known.as_ref() != Some(&refusal.id) && refusal.counts() && refusal.credentials == self.source().credentials()
    }
}

impl SharedRefusal {
    /// Whether nobody need ask again yet.
    fn counts(&self) -> bool {
        let Missed { fault, .. } = self.clone().into();
        let pause_ms = fault.pause(self.times, 1.0).as_millis() as UnixMs;
        clock::now_ms() < self.heard_at.saturating_add(pause_ms)
    }
}

impl From<SharedRefusal> for Missed {
    fn from(refusal: SharedRefusal) -> Self {
        let answer = refusal.answer.clone();
        let fault = if refusal.same_token { TokenFault::StillRefused(answer) } else { TokenFault::Refused(answer) };
        Self { fault, refusal: Some(refusal) }
    }
}
