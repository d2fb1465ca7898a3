//! The envelope of a push: how WeChat encrypts a message, and how it signs.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockEncryptMut as _, KeyIvInit as _};

use crate::simulator::refused::Refused;

const KEY_BYTES: usize = 32;
/// WeChat pads to twice the cipher's block.
const PADDED_TO: usize = 32;

/// 43 characters hold two bits more than 32 bytes, and keys as WeChat gives them may have them set.
const KEY_BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

#[derive(Clone, Copy)]
pub(super) struct MessageKey([u8; KEY_BYTES]);

impl MessageKey {
    /// Reads an EncodingAESKey.
    pub(super) fn read(text: &str) -> Result<Self, Refused> {
        let bytes = KEY_BASE64.decode(format!("{text}=")).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or_else(|| Refused::new("that is no message_key", "send 43 letters and digits"))
    }

    /// Salt, length, message and appid, padded, encrypted, in base64.
    pub(super) fn seal(&self, salt: [u8; 16], message: &[u8], appid: &str) -> String {
        let length = u32::try_from(message.len()).expect("a message is a few hundred bytes");
        let mut text = [&salt, length.to_be_bytes().as_slice(), message, appid.as_bytes()].concat();
        let padding = PADDED_TO - text.len() % PADDED_TO;
        let byte = u8::try_from(padding).expect("at most 32");
        text.resize(text.len() + padding, byte);

        let iv = self.0.first_chunk::<16>().expect("a key has 32 bytes");
        let cipher = cbc::Encryptor::<aes::Aes256>::new(&self.0.into(), iv.into());
        let length = text.len();
        let sealed = cipher.encrypt_padded_mut::<NoPadding>(&mut text, length).expect("padded to whole blocks");
        STANDARD.encode(sealed)
    }
}

/// SHA-1 of the parts, sorted and put together, in lower-case hex.
pub(super) fn sign<const N: usize>(mut parts: [&str; N]) -> String {
    parts.sort_unstable();
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(40), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes every write");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_wechats_own_sample_code_is_sealed_as_there() {
        let key = MessageKey::read("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG").expect("a key");
        let sealed = key.seal(*b"aaaabbbbccccdddd", "我是中文abcd123".as_bytes(), "wxb11529c136998cb6");
        assert_eq!(sealed, "jn1L23DB+6ELqJ+6bruv21Y6MD7KeIfP82D6gU39rmkgczbWwt5+3bnyg5K55bgVtVzd832WzZGMhkP72vVOfg==");
    }

    #[test]
    fn a_message_that_fills_its_blocks_gets_a_whole_block_of_padding() {
        let key = MessageKey([7; KEY_BYTES]);
        let sealed = key.seal([0; 16], b"12345678", "wxab");
        assert_eq!(STANDARD.decode(sealed).expect("base64").len(), 64);
    }

    #[test]
    fn a_key_of_another_length_or_alphabet_is_refused() {
        for text in ["", "abc", &"a".repeat(42), &"a".repeat(44), &"!".repeat(43)] {
            assert!(MessageKey::read(text).is_err(), "{text}");
        }
        assert!(MessageKey::read(&"9".repeat(43)).is_ok(), "bits that nobody needs");
    }
}
