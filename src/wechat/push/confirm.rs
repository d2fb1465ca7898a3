//! WeChat's check of a push URL when an operator enters it: a GET that is to be answered with its `echostr`.

use serde::Deserialize;

use super::{BadPush, MessageKeys, check_fresh};
use crate::login::AppId;

/// Nothing longer is echoed. WeChat's own are numbers of about twenty digits.
const ECHO_CHARS_MOST: usize = 128;

/// The query of WeChat's check.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Confirmation {
    timestamp: String,
    nonce: String,
    signature: String,
    msg_signature: String,
    /// What is to be echoed; encrypted if it is signed with `msg_signature`.
    pub echostr: Option<String>,
}

impl Confirmation {
    /// The platform whose token the check is signed with, and the text to answer.
    pub fn answer<'a>(&self, platforms: &'a [MessageKeys], now_s: u64) -> Result<(&'a AppId, String), BadPush> {
        let keys_and_echo = match self.msg_signature.is_empty() {
            true => self.echo_as_it_is(platforms),
            // A check with both signatures is encrypted unless only the plain one fits.
            false => self.echo_decrypted(platforms).or_else(|bad| self.echo_as_it_is(platforms).map_err(|_| bad)),
        };
        let (keys, echo) = keys_and_echo?;
        check_fresh(&self.timestamp, now_s)?;
        // Letters and digits, mostly: a push that somebody has recorded, with its ticket, must not be decrypted for them.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let is_fit = (1..=ECHO_CHARS_MOST).contains(&echo.len()) && echo.bytes().all(is_plain);
        is_fit.then_some((&keys.platform, echo)).ok_or(BadPush::NoField("echostr"))
    }

    fn echo_as_it_is<'a>(&self, platforms: &'a [MessageKeys]) -> Result<(&'a MessageKeys, String), BadPush> {
        let texts = [self.timestamp.as_str(), &self.nonce];
        let signed = platforms.iter().find(|keys| keys.verify_texts(texts, &self.signature).is_ok());
        signed.map(|keys| (keys, self.echostr.clone().unwrap_or_default())).ok_or(BadPush::WrongSignature)
    }

    fn echo_decrypted<'a>(&self, platforms: &'a [MessageKeys]) -> Result<(&'a MessageKeys, String), BadPush> {
        // A plus sign that was not percent-encoded arrives as a space.
        let encrypted = self.echostr.as_deref().unwrap_or_default().replace(' ', "+");
        let texts = [self.timestamp.as_str(), &self.nonce, &encrypted];
        let mut bad = BadPush::WrongSignature;
        for keys in platforms.iter().filter(|keys| keys.verify_texts(texts, &self.msg_signature).is_ok()) {
            match keys.decrypt_text(&encrypted) {
                Ok(echo) => return Ok((keys, echo)),
                Err(error) => bad = error,
            }
        }
        Err(bad)
    }
}
