//! What a test, or an operator, does with third-party platforms: the part of the handle that is about them.

use super::Simulator;
use super::model::Posting;
use super::model::platforms::changes::{AuthorizerChange, PlatformChange, PlatformState};
use super::model::platforms::push::{Push, Pushed};
use super::pushes::{self, PushAnswered};
use super::refused::Refused;

impl Simulator {
    /// Adds a platform, or changes what the change names.
    ///
    /// # Errors
    /// A new platform without a secret, a message token or a message key; a key that is none.
    pub fn put_platform(&self, change: PlatformChange) -> Result<(), Refused> {
        self.with_model(|model, _| model.platforms.put(change))
    }

    /// Makes a merchant authorise a platform, or changes what the change names.
    ///
    /// # Errors
    /// A platform that is not known here, or no appid.
    pub fn put_authorizer(&self, change: &AuthorizerChange) -> Result<(), Refused> {
        self.with_model(|model, now_ms| model.put_authorizer(change, now_ms))
    }

    /// What WeChat holds of a platform: its newest ticket, and its merchants' refresh tokens.
    ///
    /// # Errors
    /// A platform that is not known here, or none named among several.
    pub fn platform(&self, appid: Option<&str>) -> Result<PlatformState, Refused> {
        self.with_model(|model, _| model.platforms.state(appid, &model.apps))
    }

    /// Builds a push as WeChat would send it, a new ticket minted where it is about one, and sends nothing.
    ///
    /// # Errors
    /// A platform or a merchant of it that is not known here.
    pub fn push(&self, push: &Push) -> Result<Pushed, Refused> {
        self.posting(push).map(|posting| posting.pushed)
    }

    /// Builds a push, posts it to its own URL or the platform's, and hears the answer: five seconds at most.
    ///
    /// # Errors
    /// As [`Simulator::push`]; nowhere to push to, or nobody who answers there.
    pub async fn send_push(&self, push: &Push) -> Result<PushAnswered, Refused> {
        pushes::send(self.posting(push)?).await
    }

    pub(super) fn posting(&self, push: &Push) -> Result<Posting, Refused> {
        self.with_model(|model, now_ms| model.push(push, now_ms))
    }
}
