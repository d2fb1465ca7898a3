//! Access tokens: minting, overlap, force, death. Every token keeps its own tally, so that "calls
//! per token life" can be read off.

use std::collections::HashMap;
use std::sync::Arc;

use super::MINUTE_MS;
use super::apps::App;
use super::errcodes::{DAILY_LIMIT, INVALID_CREDENTIAL, MALFORMED_TOKEN, TOKEN_EXPIRED, TOKEN_MISSING};
use super::quota::day;
use crate::simulator::random::Random;
use crate::simulator::record::TokenSource;

const FORCED_PER_DAY: u32 = 20;
const FORCED_APART_MS: u64 = 30_000;
/// How long a dead token is remembered, to tell "expired" from "unknown".
const DEAD_KEPT_MS: u64 = 10 * MINUTE_MS;
const MINTS_PER_SWEEP: u32 = 256;
const OVERLAP_MS: u64 = 300_000;

#[derive(Default)]
pub(crate) struct Tokens {
    all: HashMap<Arc<str>, Token>,
    mints_since_sweep: u32,
}

/// In whose name a token speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// A mini program, by its own secret.
    App(usize),
    /// A mini program, through a platform that it authorised.
    Merchant { app: usize, platform: usize },
    /// A platform itself.
    Platform(usize),
}

/// How long the tokens of one holder live.
#[derive(Clone, Copy)]
pub(super) struct Lifespan {
    life_ms: u64,
}

pub(super) struct Token {
    pub(super) holder: Holder,
    pub(super) source: TokenSource,
    pub(super) minted_at_ms: u64,
    dies_at_ms: u64,
    /// What a caller hears once it is dead: 42001 of old age, 40001 when something killed it.
    epitaph: i64,
    pub(super) handed_out: u64,
    pub(super) asked_with: u64,
}

/// A token and how many seconds it has left.
pub(super) struct Handed {
    pub(super) token: Arc<str>,
    pub(super) expires_in_s: u64,
}

impl Holder {
    pub(super) fn app(self) -> Option<usize> {
        match self {
            Self::App(app) | Self::Merchant { app, .. } => Some(app),
            Self::Platform(_) => None,
        }
    }
}

impl Lifespan {
    pub(super) fn of(life_s: u64) -> Self {
        Self { life_ms: life_s * 1000 }
    }

    /// How long an old and a new token work side by side.
    fn overlap_ms(self) -> u64 {
        OVERLAP_MS.min(self.life_ms / 4)
    }
}

impl Tokens {
    /// Whose token this is, if anybody's, and what WeChat's gateway has against it.
    pub(super) fn check(&mut self, token: Option<&str>, now_ms: u64) -> (Option<Holder>, Result<(), i64>) {
        let Some(text) = token.filter(|text| !text.is_empty()) else {
            return (None, Err(TOKEN_MISSING));
        };
        match self.all.get_mut(text) {
            Some(token) if now_ms < token.dies_at_ms => {
                token.asked_with += 1;
                (Some(token.holder), Ok(()))
            }
            Some(token) => (Some(token.holder), Err(token.epitaph)),
            None if is_well_formed(text) => (None, Err(INVALID_CREDENTIAL)),
            None => (None, Err(MALFORMED_TOKEN)),
        }
    }

    /// `stable_token`: the same token again until it comes into its overlap, or forced a new one.
    pub(super) fn stable(
        &mut self,
        app: &mut App,
        force: bool,
        now_ms: u64,
        random: &mut Random,
    ) -> Result<Handed, i64> {
        let force = force && app.forced_at_ms.is_none_or(|at| now_ms.saturating_sub(at) >= FORCED_APART_MS);
        if force {
            if !app.forced_today.take(day(now_ms), FORCED_PER_DAY) {
                return Err(DAILY_LIMIT);
            }
            app.forced_at_ms = Some(now_ms);
            if let Some(current) = &app.stable {
                self.kill(current, now_ms);
            }
        } else if let Some(current) = &app.stable
            && let Some(left_ms) = self.left_ms(current, now_ms)
            && left_ms > app.lifespan().overlap_ms()
        {
            let current = Arc::clone(current);
            return Ok(self.hand(current, now_ms));
        }
        // The old one, unless killed, now lives out its last minutes beside the new one.
        let token = self.mint(Holder::App(app.index), TokenSource::Stable, app.lifespan(), now_ms, random);
        app.stable = Some(Arc::clone(&token));
        Ok(self.hand(token, now_ms))
    }

    /// `token`: always a new one, and only the overlap is left to the one before.
    pub(super) fn classic(&mut self, app: &mut App, now_ms: u64, random: &mut Random) -> Handed {
        let (holder, lifespan) = (Holder::App(app.index), app.lifespan());
        self.renew(holder, TokenSource::Classic, lifespan, &mut app.classic, now_ms, random)
    }

    /// Always a new token in the place of the newest one, to which only the overlap is left.
    pub(super) fn renew(
        &mut self,
        holder: Holder,
        source: TokenSource,
        lifespan: Lifespan,
        newest: &mut Option<Arc<str>>,
        now_ms: u64,
        random: &mut Random,
    ) -> Handed {
        if let Some(former) = newest {
            self.kill(former, now_ms + lifespan.overlap_ms());
        }
        let token = self.mint(holder, source, lifespan, now_ms, random);
        *newest = Some(Arc::clone(&token));
        self.hand(token, now_ms)
    }

    /// Ends every living token of one app, whoever had it, or of all: expired of old age, or revoked.
    pub(crate) fn end(&mut self, app: Option<usize>, expired: bool, now_ms: u64) {
        self.end_where(|holder| app.is_none() || app == holder.app(), expired, now_ms);
    }

    /// The same for the component tokens of a platform; those of its merchants live on.
    pub(crate) fn end_of_platform(&mut self, platform: usize, expired: bool, now_ms: u64) {
        self.end_where(|holder| holder == Holder::Platform(platform), expired, now_ms);
    }

    pub(super) fn end_where(&mut self, ends: impl Fn(Holder) -> bool, expired: bool, now_ms: u64) {
        let living = self.all.values_mut().filter(|token| now_ms < token.dies_at_ms);
        for token in living.filter(|token| ends(token.holder)) {
            token.dies_at_ms = now_ms;
            token.epitaph = if expired { TOKEN_EXPIRED } else { INVALID_CREDENTIAL };
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Token> {
        self.all.values()
    }

    pub(super) fn forget_tallies(&mut self) {
        for token in self.all.values_mut() {
            token.handed_out = 0;
            token.asked_with = 0;
        }
    }

    fn left_ms(&self, token: &str, now_ms: u64) -> Option<u64> {
        self.all.get(token)?.dies_at_ms.checked_sub(now_ms)
    }

    fn kill(&mut self, token: &str, at_ms: u64) {
        if let Some(token) = self.all.get_mut(token)
            && at_ms < token.dies_at_ms
        {
            token.dies_at_ms = at_ms;
            token.epitaph = INVALID_CREDENTIAL;
        }
    }

    fn hand(&mut self, token: Arc<str>, now_ms: u64) -> Handed {
        let known = self.all.get_mut(&token).expect("only known tokens are handed out");
        known.handed_out += 1;
        Handed { expires_in_s: known.dies_at_ms.saturating_sub(now_ms) / 1000, token }
    }

    fn mint(
        &mut self,
        holder: Holder,
        source: TokenSource,
        lifespan: Lifespan,
        now_ms: u64,
        random: &mut Random,
    ) -> Arc<str> {
        self.sweep(now_ms);
        let mut text = String::with_capacity(136);
        text.push_str("92_");
        random.push_url_safe(&mut text, 133);
        let token: Arc<str> = text.into();
        self.all.insert(
            Arc::clone(&token),
            Token {
                holder,
                source,
                minted_at_ms: now_ms,
                dies_at_ms: now_ms + lifespan.life_ms,
                epitaph: TOKEN_EXPIRED,
                handed_out: 0,
                asked_with: 0,
            },
        );
        token
    }

    fn sweep(&mut self, now_ms: u64) {
        self.mints_since_sweep += 1;
        if self.mints_since_sweep >= MINTS_PER_SWEEP {
            self.mints_since_sweep = 0;
            self.all.retain(|_, token| now_ms < token.dies_at_ms + DEAD_KEPT_MS);
        }
    }
}

/// Digits, an underscore, and a good deal of url-safe text.
fn is_well_formed(token: &str) -> bool {
    token.split_once('_').is_some_and(|(prefix, text)| {
        !prefix.is_empty()
            && prefix.bytes().all(|byte| byte.is_ascii_digit())
            && text.len() >= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}
