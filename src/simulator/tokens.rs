//! What a test, or an operator, does with access tokens: the part of the handle that is about them.

use super::Simulator;
use super::refused::Refused;

impl Simulator {
    /// A good access token, as `stable_token` would give it, but counted nowhere.
    ///
    /// # Errors
    /// An app that is not known here.
    pub fn token_of(&self, appid: &str) -> Result<String, Refused> {
        self.with_model(|model, now_ms| {
            let app = model.apps.find(Some(appid))?;
            model
                .token_of(app, now_ms)
                .map_err(|_| Refused::new("no token", "never seen: a normal call has no limit here"))
        })
    }

    /// Revokes every token of one app, those that platforms have for it among them, the component tokens of one
    /// platform, or all: they answer 40001, and the next normal call of `stable_token` mints another.
    ///
    /// # Errors
    /// An appid that is not known here.
    pub fn invalidate_tokens(&self, appid: Option<&str>) -> Result<(), Refused> {
        self.end_tokens(appid, false)
    }

    /// The same, but they answer 42001, as tokens past their life do.
    ///
    /// # Errors
    /// An appid that is not known here.
    pub fn expire_tokens(&self, appid: Option<&str>) -> Result<(), Refused> {
        self.end_tokens(appid, true)
    }

    fn end_tokens(&self, appid: Option<&str>, expired: bool) -> Result<(), Refused> {
        self.with_model(|model, now_ms| {
            match appid.and_then(|appid| model.platforms.index(appid)) {
                Some(platform) => model.tokens.end_of_platform(platform, expired, now_ms),
                None => {
                    let app = appid.map(|appid| model.apps.find(Some(appid))).transpose()?;
                    model.tokens.end(app, expired, now_ms);
                }
            }
            Ok(())
        })
    }
}
