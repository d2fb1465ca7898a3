//! Dynamic codes: what the button mints, what one asking takes, and how often each was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::MINUTE_MS;
use super::errcodes::{INVALID_APPID, INVALID_CODE, INVALID_OPENID};
use super::mint::{Mint, Minted};
use super::phone_answer::phone_body;
use crate::simulator::random::Random;
use crate::simulator::record::CodeAsked;
use crate::simulator::script::Step;

const CODE_LIFE_MS: u64 = 5 * MINUTE_MS;
/// Codes are forgotten this long after they were minted; both kinds answer 40029 by then.
const CODE_KEPT_MS: u64 = 10 * MINUTE_MS;
/// Codes that nobody minted are tallied up to this many and this long.
const STRANGERS_MOST: usize = 10_000;
const STRANGER_CHARS_MOST: usize = 512;
const FIRST_NUMBER: u64 = 13_800_000_000;

#[derive(Default)]
pub(crate) struct Codes {
    all: HashMap<Arc<str>, Code>,
    /// In order of minting, for the sweep.
    minted: VecDeque<(u64, Arc<str>)>,
    strangers: HashMap<Box<str>, CodeAsked>,
    numbers: u64,
    pub(super) distinct_asked: u64,
    pub(super) asked_more_than_once: u64,
}

struct Code {
    app: usize,
    issued_at_ms: u64,
    number: u64,
    tally: CodeAsked,
    /// Whatever is not ordinary about it; most codes have nothing here.
    special: Option<Box<Mint>>,
}

impl Codes {
    pub(crate) fn mint(&mut self, app: usize, mint: &Mint, now_ms: u64, random: &mut Random) -> Minted {
        self.sweep(now_ms);
        let issued_at_ms = now_ms.saturating_sub(mint.age_s.saturating_mul(1000));
        let number = FIRST_NUMBER + self.numbers;
        let mut special = (!mint.is_ordinary()).then(|| Box::new(mint.clone()));
        if let Some(special) = special.as_deref_mut() {
            // Steps are taken from the back.
            special.script.reverse();
        }
        let phone_number = mint.phone_number.clone().unwrap_or_else(|| {
            self.numbers += 1;
            number.to_string()
        });
        let text = random.hex(64);
        let code: Arc<str> = text.as_str().into();
        self.minted.push_back((now_ms, Arc::clone(&code)));
        self.all.insert(code, Code { app, issued_at_ms, number, tally: CodeAsked::default(), special });
        Minted { code: text, phone_number, issued_at: issued_at_ms }
    }

    /// Notes that this code was asked about, whatever comes of it.
    pub(super) fn note_asked(&mut self, code: &str, now_ms: u64) {
        let tally = match self.all.get_mut(code) {
            Some(code) => &mut code.tally,
            None => match self.stranger(code) {
                Some(tally) => tally,
                None => return,
            },
        };
        tally.asked += 1;
        tally.last_asked_at = now_ms;
        let asked = tally.asked;
        self.distinct_asked += u64::from(asked == 1);
        self.asked_more_than_once += u64::from(asked == 2);
    }

    /// Notes that an answer was let go, whole.
    pub(super) fn note_answered(&mut self, code: &str) {
        match self.all.get_mut(code) {
            Some(code) => code.tally.answered += 1,
            None => {
                if let Some(tally) = self.strangers.get_mut(code) {
                    tally.answered += 1;
                }
            }
        }
    }

    /// The next step of this code's script, once its own app asks.
    pub(super) fn next_step(&mut self, code: &str, app: usize) -> Option<Step> {
        let code = self.all.get_mut(code).filter(|code| code.app == app)?;
        code.special.as_mut()?.script.pop()
    }

    /// The one exchange: spends the code and writes the answer, or says what is wrong with it.
    pub(super) fn spend(
        &mut self,
        code: &str,
        openid: Option<&str>,
        app: usize,
        appid: &str,
        now_ms: u64,
    ) -> Result<Vec<u8>, i64> {
        let code = self.all.get_mut(code).ok_or(INVALID_CODE)?;
        if code.app != app {
            return Err(INVALID_APPID);
        }
        let own = code.special.as_ref().and_then(|special| special.openid.as_deref());
        if openid.is_some() && own.is_some() && openid != own {
            return Err(INVALID_OPENID);
        }
        if code.tally.used || now_ms.saturating_sub(code.issued_at_ms) >= CODE_LIFE_MS {
            return Err(INVALID_CODE);
        }
        code.tally.used = true;
        Ok(phone_body(code.number, code.issued_at_ms, code.special.as_deref(), appid))
    }

    pub(crate) fn asked_of(&self, code: &str) -> CodeAsked {
        self.all.get(code).map(|code| code.tally).or_else(|| self.strangers.get(code).copied()).unwrap_or_default()
    }

    /// Every code that was asked about, with its tally.
    pub(super) fn asked(&self) -> impl Iterator<Item = (&str, CodeAsked)> {
        let minted = self.all.iter().map(|(code, known)| (code.as_ref(), known.tally));
        let strangers = self.strangers.iter().map(|(code, tally)| (code.as_ref(), *tally));
        minted.chain(strangers).filter(|(_, tally)| tally.asked > 0)
    }

    pub(super) fn forget_tallies(&mut self) {
        for code in self.all.values_mut() {
            code.tally = CodeAsked { used: code.tally.used, ..CodeAsked::default() };
        }
        self.strangers.clear();
        self.distinct_asked = 0;
        self.asked_more_than_once = 0;
    }

    /// Forgets what is too old to matter, a few at a time: more go than come.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        for _ in 0..4 {
            match self.minted.front() {
                Some((minted_at_ms, code)) if now_ms.saturating_sub(*minted_at_ms) > CODE_KEPT_MS => {
                    self.all.remove(code);
                    self.minted.pop_front();
                }
                _ => return,
            }
        }
    }

    fn stranger(&mut self, code: &str) -> Option<&mut CodeAsked> {
        if !self.strangers.contains_key(code) {
            if self.strangers.len() >= STRANGERS_MOST || code.len() > STRANGER_CHARS_MOST {
                return None;
            }
            self.strangers.insert(code.into(), CodeAsked::default());
        }
        self.strangers.get_mut(code)
    }
}
