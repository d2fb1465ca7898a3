//! What WeChat pushes to a third-party platform, from the body of its call to what it says: signature, decryption, XML or
//! JSON. Source: WeChat's documents of third-party platforms (加密解密技术方案, 验证票据, 授权变更通知推送, 消息推送).
//!
//! Pure: no I/O, no clock, and nothing is done about a push here. No error repeats what was sent.

mod confirm;
mod fields;
#[cfg(test)]
mod tests;

use std::fmt;

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD};
use serde::Deserialize;

pub use confirm::Confirmation;

use crate::login::AppId;
use crate::secret::Secret;

/// A push is refused if it was signed longer ago: somebody may have recorded it. WeChat's own have been seen an hour late.
pub const SIGNED_AGO_MOST_S: u64 = 2 * 60 * 60;
/// By how much WeChat's clock and this machine's may differ.
const CLOCKS_DIFFER_MOST_S: u64 = 5 * 60;
/// The inner text begins after so many random bytes and its length.
const RANDOM_BYTES: usize = 16;
/// WeChat pads to 32 bytes, twice the block of AES.
const LONGEST_PADDING: usize = 32;

/// What one platform's pushes are verified and decrypted with.
#[derive(Debug, Clone)]
pub struct MessageKeys {
    /// The component_appid.
    pub platform: AppId,
    /// 消息校验Token.
    pub token: Secret,
    /// 消息加解密Key.
    pub key: MessageKey,
}

/// An EncodingAESKey, decoded; prints as `***`.
#[derive(Clone)]
pub struct MessageKey([u8; 32]);

/// An EncodingAESKey that is none; says the rule, never the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not 43 characters of base64")]
pub struct BadMessageKey;

/// What the query says about a body. Absent means empty, which no signature is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Signature {
    timestamp: String,
    nonce: String,
    msg_signature: String,
}

impl Signature {
    /// Unlike that of any other push that is signed.
    pub fn text(&self) -> &str {
        &self.msg_signature
    }
}

/// A body as it comes: for whom, and what is encrypted. Anybody may have sent it, until it is opened.
pub struct Envelope {
    /// The platform that it names.
    pub platform: AppId,
    /// It names only a receiver (`ToUserName`), which may be an original id (`gh_…`) instead of an appid.
    has_receiver_only: bool,
    encrypted: String,
}

/// What WeChat says.
#[derive(Debug, PartialEq, Eq)]
pub enum Push {
    /// The component_verify_ticket of the moment; comes every ten minutes and lives for twelve hours.
    Ticket {
        /// The ticket.
        ticket: Secret,
        /// When it was made, in Unix s.
        created_s: u64,
    },
    /// A merchant has authorised the platform.
    Authorized {
        /// The merchant's app.
        appid: AppId,
    },
    /// A merchant has changed what the platform may do.
    UpdateAuthorized {
        /// The merchant's app.
        appid: AppId,
    },
    /// A merchant has withdrawn its authorisation.
    Unauthorized {
        /// The merchant's app.
        appid: AppId,
    },
    /// Something that nothing is done about here.
    Other {
        /// Its InfoType: 1 to 64 of `A-Z a-z 0-9 _ -`.
        kind: String,
    },
}

/// Why a body is no push of WeChat's for this platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPush {
    /// Not even the outer XML or JSON.
    #[error("the body is not XML or JSON with AppId and Encrypt")]
    NoEnvelope,
    /// For a platform that we know nothing of.
    #[error("no platform of this AppId is configured with message_token and message_key")]
    UnknownPlatform,
    /// Not sent by WeChat, or our token is not the platform's.
    #[error("msg_signature is wrong: sent by a stranger, or message_token is not as in WeChat's console")]
    WrongSignature,
    /// Signed, but not lately: somebody sends a recorded push, or a clock is wrong.
    #[error("it was signed hours ago or in the future: a recorded push, or this machine's clock is wrong")]
    Stale,
    /// Signed, so that it is our key that is wrong.
    #[error("Encrypt cannot be decrypted: is message_key as in WeChat's console?")]
    Undecryptable,
    /// Signed and decrypted, and yet meant for somebody else.
    #[error("what is encrypted is for another platform")]
    OtherPlatform,
    /// Signed and decrypted, and neither XML nor JSON.
    #[error("what is encrypted is neither XML nor JSON")]
    NotXml,
    /// Signed and decrypted, but a field is missing or cannot be what it should be.
    #[error("what is encrypted has no usable {0}")]
    NoField(&'static str),
}

impl BadPush {
    /// Whether it was signed with our token, and lately, and so most likely sent by WeChat.
    pub fn is_signed(self) -> bool {
        !matches!(self, Self::NoEnvelope | Self::UnknownPlatform | Self::WrongSignature | Self::Stale)
    }
}

impl Envelope {
    /// Reads the body of a call.
    pub fn read(body: &[u8]) -> Result<Self, BadPush> {
        let text = std::str::from_utf8(body).map_err(|_| BadPush::NoEnvelope)?;
        let wanted = fields::texts(text, ["AppId", "ToUserName", "Encrypt"]);
        let [appid, receiver, encrypted] = wanted.map_err(|_| BadPush::NoEnvelope)?;
        let has_receiver_only = appid.is_none();
        let platform = appid.or(receiver).and_then(|appid| AppId::try_from(appid).ok());
        let envelope = platform.zip(encrypted);
        let envelope = envelope.map(|(platform, encrypted)| Self { platform, has_receiver_only, encrypted });
        envelope.ok_or(BadPush::NoEnvelope)
    }

    /// To which of these platforms WeChat says what, once it is sure that it is WeChat who says it.
    pub fn open<'a>(
        &self,
        platforms: &'a [MessageKeys],
        signature: &Signature,
        now_s: u64,
    ) -> Result<(&'a AppId, Push), BadPush> {
        let named = platforms.iter().find(|keys| keys.platform == self.platform);
        // What is decrypted says which platform it is for, and is compared with these keys'.
        let signed = || platforms.iter().find(|keys| self.has_receiver_only && keys.verify(self, signature).is_ok());
        let keys = named.or_else(signed).ok_or(BadPush::UnknownPlatform)?;
        keys.open(self, signature, now_s).map(|push| (&keys.platform, push))
    }
}

impl MessageKeys {
    fn open(&self, envelope: &Envelope, signature: &Signature, now_s: u64) -> Result<Push, BadPush> {
        self.verify(envelope, signature)?;
        check_fresh(&signature.timestamp, now_s)?;
        Push::read(&self.decrypt(envelope)?)
    }

    fn verify(&self, envelope: &Envelope, signature: &Signature) -> Result<(), BadPush> {
        let Signature { timestamp, nonce, msg_signature } = signature;
        self.verify_texts([timestamp, nonce, &envelope.encrypted], msg_signature)
    }

    /// Whether these texts are signed with the platform's token.
    fn verify_texts<const N: usize>(&self, texts: [&str; N], signature: &str) -> Result<(), BadPush> {
        let mut signed = [&[self.token.expose()][..], &texts].concat();
        signed.sort_unstable();
        let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, signed.concat().as_bytes());
        let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        verify_slices_are_equal(hex.as_bytes(), signature.as_bytes()).map_err(|_| BadPush::WrongSignature)
    }

    fn decrypt(&self, envelope: &Envelope) -> Result<String, BadPush> {
        self.decrypt_text(&envelope.encrypted)
    }

    /// The inner text. Around it: random bytes and its length in front, the platform's appid and padding behind.
    fn decrypt_text(&self, encrypted: &str) -> Result<String, BadPush> {
        let mut bytes = STANDARD.decode(encrypted).map_err(|_| BadPush::Undecryptable)?;
        let plain = self.key.decrypt(&mut bytes).and_then(unpadded).ok_or(BadPush::Undecryptable)?;
        let (text, appid) = split(plain).ok_or(BadPush::Undecryptable)?;
        if appid != self.platform.as_str().as_bytes() {
            return Err(BadPush::OtherPlatform);
        }
        String::from_utf8(text.to_vec()).map_err(|_| BadPush::NotXml)
    }
}

fn check_fresh(timestamp: &str, now_s: u64) -> Result<(), BadPush> {
    let signed_s: u64 = timestamp.parse().map_err(|_| BadPush::Stale)?;
    let is_fresh = signed_s <= now_s + CLOCKS_DIFFER_MOST_S && now_s <= signed_s.saturating_add(SIGNED_AGO_MOST_S);
    is_fresh.then_some(()).ok_or(BadPush::Stale)
}

impl MessageKey {
    fn decrypt<'a>(&self, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let Self(key) = self;
        let decryptor = cbc::Decryptor::<Aes256>::new_from_slices(key, &key[..16]).expect("32 bytes, and 16 of them");
        // WeChat's padding is longer than a block, which no padding of the crate's is.
        decryptor.decrypt_padded_mut::<NoPadding>(bytes).ok()
    }
}

/// Without the padding: up to 32 bytes, each of which says how many they are.
fn unpadded(plain: &[u8]) -> Option<&[u8]> {
    let count = usize::from(*plain.last()?);
    let (text, padding) = plain.split_at_checked(plain.len().checked_sub(count)?)?;
    let is_padding = (1..=LONGEST_PADDING).contains(&count) && padding.iter().all(|byte| usize::from(*byte) == count);
    is_padding.then_some(text)
}

/// The text and the appid behind it.
fn split(plain: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = plain.get(RANDOM_BYTES..)?.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

impl Push {
    fn read(text: &str) -> Result<Self, BadPush> {
        let names = ["InfoType", "CreateTime", "ComponentVerifyTicket", "AuthorizerAppid"];
        let [kind, created, ticket, appid] = fields::texts(text, names).map_err(|_| BadPush::NotXml)?;
        let kind = kind.filter(|kind| is_name(kind)).ok_or(BadPush::NoField("InfoType"))?;
        let merchant = || {
            let appid = appid.and_then(|appid| AppId::try_from(appid).ok());
            appid.ok_or(BadPush::NoField("AuthorizerAppid"))
        };
        Ok(match kind.as_str() {
            "component_verify_ticket" => Self::Ticket {
                ticket: ticket.ok_or(BadPush::NoField("ComponentVerifyTicket"))?.into(),
                created_s: created.and_then(|s| s.parse().ok()).ok_or(BadPush::NoField("CreateTime"))?,
            },
            "authorized" => Self::Authorized { appid: merchant()? },
            "updateauthorized" => Self::UpdateAuthorized { appid: merchant()? },
            "unauthorized" => Self::Unauthorized { appid: merchant()? },
            _ => Self::Other { kind },
        })
    }

    /// What it is counted as: one of five words, whatever WeChat sends.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ticket { .. } => "ticket",
            Self::Authorized { .. } => "authorized",
            Self::UpdateAuthorized { .. } => "updateauthorized",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Other { .. } => "other",
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

impl TryFrom<&Secret> for MessageKey {
    type Error = BadMessageKey;

    fn try_from(text: &Secret) -> Result<Self, BadMessageKey> {
        // The last of 43 characters has two bits to spare, and WeChat does not care what they are.
        let lenient = GeneralPurpose::new(&ALPHABET, NO_PAD.with_decode_allow_trailing_bits(true));
        let bytes = lenient.decode(text.expose()).map_err(|_| BadMessageKey)?;
        bytes.try_into().map(Self).map_err(|_| BadMessageKey)
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
