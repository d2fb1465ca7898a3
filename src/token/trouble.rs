//! What goes wrong with an app's token, remembered for operators. It decides nothing.

use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};

use crate::clock;
use crate::login::{AppId, UnixMs, WechatAnswer};
use crate::token::{KnownApp, TokenFault, Tokens};
use crate::wechat::AccessToken;

/// Bytes of a token's digest that tell it from others.
const DIGEST_BYTES: usize = 8;

/// What is wrong with an app's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The mini program, or the third-party platform.
    pub appid: AppId,
    /// Why there was none when one was last asked for, how often in a row, and when.
    pub fault: Option<(TokenFault, u32, UnixMs)>,
    /// The digest of the token that WeChat refused last, what it said, and when.
    pub refused: Option<(String, WechatAnswer, UnixMs)>,
}

/// The same, of one app.
#[derive(Default)]
pub(super) struct Troubles(Mutex<Known>);

#[derive(Default)]
struct Known {
    fault: Option<(TokenFault, u32, UnixMs)>,
    refused: Option<(String, WechatAnswer, UnixMs)>,
}

impl Troubles {
    /// No token could be had, for the `times`-th time in a row.
    pub(super) fn no_token(&self, fault: &TokenFault, times: u32) {
        self.change(|known| known.fault = Some((fault.clone(), times, clock::now_ms())));
    }

    /// WeChat refused this token.
    pub(super) fn refused(&self, token: &AccessToken, answer: &WechatAnswer) {
        let token = digest_of(token);
        self.change(|known| {
            // Many logins hear of the same refusal; the first says when it was.
            if known.refused.as_ref().is_none_or(|(earlier, ..)| *earlier != token) {
                known.refused = Some((token, answer.clone(), clock::now_ms()));
            }
        });
    }

    /// WeChat took this token, so it is not refused, or no longer.
    pub(super) fn served(&self, token: &AccessToken) {
        self.change(|known| {
            if known.refused.as_ref().is_some_and(|(refused, ..)| *refused == digest_of(token)) {
                known.refused = None;
            }
        });
    }

    /// There is a token, and it may be another than the one that was refused.
    pub(super) fn has_token(&self, token: &AccessToken) {
        self.change(|known| {
            known.fault = None;
            if known.refused.as_ref().is_some_and(|(refused, ..)| *refused != digest_of(token)) {
                known.refused = None;
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.lock().expect("nothing panics while holding it"))
    }
}

impl Tokens {
    /// All apps and platforms that something is wrong with.
    pub fn troubles(&self) -> Vec<Trouble> {
        let known = self.0.known.load();
        known.apps.values().chain(known.platforms.values()).filter_map(KnownApp::trouble).collect()
    }
}

impl KnownApp {
    fn trouble(&self) -> Option<Trouble> {
        let (fault, refused) = self.0.troubles.change(|known| (known.fault.clone(), known.refused.clone()));
        let is_any = fault.is_some() || refused.is_some();
        is_any.then(|| Trouble { appid: self.appid().clone(), fault, refused })
    }
}

/// What a token is known by where it must not be readable.
pub(super) fn digest_of(token: &AccessToken) -> String {
    use std::fmt::Write;
    let sum = digest(&SHA256, token.expose().as_bytes());
    sum.as_ref()[..DIGEST_BYTES].iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_remembered_until_there_is_another() {
        let (troubles, answer) = (Troubles::default(), WechatAnswer { errcode: 40001, errmsg: "no".into(), rid: None });
        let (one, other) = (AccessToken::from("one".to_owned()), AccessToken::from("other".to_owned()));
        let refused = || troubles.change(|known| known.refused.clone().map(|(token, ..)| token));
        troubles.refused(&one, &answer);
        troubles.no_token(&TokenFault::Store, 1);
        troubles.has_token(&one);
        assert_eq!(refused(), Some(digest_of(&one)), "the same once more");
        assert!(troubles.change(|known| known.fault.is_none()));
        troubles.has_token(&other);
        assert_eq!(refused(), None);
    }
}
