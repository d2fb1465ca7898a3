//! WeChat as plain data: its calls, each a synchronous function of the model, the request and the
//! time. What comes back is an [`Outcome`]; sending it, late or never, is `wechat_view.rs`'s part.

pub(super) mod apps;
mod asks;
mod codes;
mod errcodes;
pub(super) mod mint;
pub(super) mod moods;
mod outcome;
mod phone_answer;
pub(super) mod platforms;
mod quota;
mod tallies;
mod token_calls;
mod tokens;

use tracing::debug;

use self::apps::Apps;
use self::asks::PhoneAsk;
pub(super) use self::asks::TokenAsk;
use self::codes::Codes;
use self::errcodes::{INVALID_CREDENTIAL, REQUIRE_POST};
use self::moods::{Endpoint, Moods};
pub(super) use self::outcome::{Act, Outcome};
use self::platforms::Platforms;
pub(super) use self::platforms::{ComponentCall, ComponentRequest, Posting};
use self::tallies::Tallies;
use self::tokens::{Holder, Tokens};
use super::random::Random;
use super::script::{Step, Then};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

pub(super) struct Model {
    pub(super) apps: Apps,
    pub(super) codes: Codes,
    pub(super) moods: Moods,
    pub(super) platforms: Platforms,
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
            platforms: Platforms::default(),
            tokens: Tokens::default(),
            random: Random::new(),
            latency_ms: 0,
            jitter_ms: 0,
            tallies: Tallies::default(),
        }
    }

    /// `POST /wxa/business/getuserphonenumber`. The gateway's checks (method, token, permission, quota) come before
    /// the handler's (body, app, openid, code), and none but the last step spends the code.
    pub(super) fn phone(&mut self, is_post: bool, token: Option<&str>, body: &[u8], now_ms: u64) -> Outcome {
        self.codes.sweep(now_ms);
        let (holder, token_is_good) = self.tokens.check(token, now_ms);
        let app = holder.and_then(Holder::app);
        let mut admitted =
            if is_post { token_is_good.and_then(|()| self.admit_holder(holder)) } else { Err(REQUIRE_POST) };
        let ask = PhoneAsk::read(body);
        let code = ask.as_ref().ok().map(|ask| ask.code.as_ref());
        if let Some(code) = code {
            self.codes.note_asked(code, now_ms);
        }

        let appid = app.map(|app| self.apps.get(app).appid.as_ref());
        let mut step = self.moods.next(Endpoint::Phone, appid.as_slice()).unwrap_or_else(Step::normal);
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

    /// Whether the holder of a good token may ask for phone numbers.
    fn admit_holder(&self, holder: Option<Holder>) -> Result<(), i64> {
        match holder.expect("a token that is good is somebody's") {
            Holder::App(_) => Ok(()),
            Holder::Merchant { app, platform } => self.platforms.get(platform).admit_phone(app),
            Holder::Platform(_) => Err(INVALID_CREDENTIAL),
        }
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
}

/// All that a log may know of a call: never what it carried.
fn log(endpoint: &'static str, appid: Option<&str>, act: &Act) {
    debug!(endpoint, appid, outcome = act.name(), errcode = act.errcode());
}

#[cfg(test)]
mod tests;
