//! Phone numbers sealed at rest: a compact JWE (RFC 7516) with `alg` `dir` and `enc` `A256GCM`.
//!
//! Any JOSE library opens it with the same 32-byte key. The cipher is rustls' own provider; only the envelope is ours.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::secret::Secret;

/// The key that results are sealed with, and the name under which readers find it.
pub struct SealingKey {
    key: LessSafeKey,
    /// The protected header, already in base64url: it is the same for every result.
    header: String,
    name: String,
}

/// Why a key cannot be used or a result not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key's text is not 32 bytes in base64.
    #[error("a sealing key is 32 bytes in base64")]
    BadKey,
    /// Not a compact JWE of this kind, sealed with another key, or changed since.
    #[error("the sealed phone number cannot be opened with this key")]
    Unopenable,
}

impl SealingKey {
    /// Reads a key from base64 or base64url text. `name` becomes the `kid`.
    pub fn new(name: &str, key_base64: &Secret) -> Result<Self, SealError> {
        let text = key_base64.expose().trim();
        let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).map_err(|_| SealError::BadKey)?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::BadKey)?;
        let header = serde_json::json!({"alg": "dir", "enc": "A256GCM", "kid": name}).to_string();
        Ok(Self { key: LessSafeKey::new(key), header: URL_SAFE_NO_PAD.encode(header), name: name.to_owned() })
    }

    /// Seals `plain` under a fresh random nonce.
    pub fn seal(&self, plain: &[u8]) -> String {
        let mut nonce = [0u8; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system's random source works");
        let mut sealed = plain.to_vec();
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.header.as_bytes()),
                &mut sealed,
            )
            .expect("a phone number is far below the cipher's limit");
        let [nonce, sealed, tag] = [&nonce[..], &sealed, tag.as_ref()].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{}..{nonce}.{sealed}.{tag}", self.header)
    }

    /// Opens what [`SealingKey::seal`] made.
    pub fn open(&self, jwe: &str) -> Result<Vec<u8>, SealError> {
        let parts: Vec<&str> = jwe.split('.').collect();
        let [header, "", nonce, sealed, tag] = parts[..] else { return Err(SealError::Unopenable) };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| SealError::Unopenable);
        let nonce = Nonce::try_assume_unique_for_key(&decode(nonce)?).map_err(|_| SealError::Unopenable)?;
        let mut sealed = [decode(sealed)?, decode(tag)?].concat();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(header.as_bytes()), &mut sealed)
            .map_err(|_| SealError::Unopenable)?;
        Ok(plain.to_vec())
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::new("k1", &Secret::from(STANDARD.encode([byte; 32]))).expect("32 bytes")
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_only() {
        let jwe = key(1).seal(b"13800000000");
        assert_eq!(key(1).open(&jwe).as_deref(), Ok(&b"13800000000"[..]));
        assert_eq!(key(2).open(&jwe), Err(SealError::Unopenable));
        assert_eq!(key(1).open("a.b.c"), Err(SealError::Unopenable));
        assert_ne!(jwe, key(1).seal(b"13800000000"), "the nonce is fresh each time");
    }

    #[test]
    fn a_changed_envelope_does_not_open() {
        let jwe = key(1).seal(b"13800000000");
        let other = SealingKey::new("k2", &Secret::from(STANDARD.encode([1; 32]))).expect("32 bytes").seal(b"x");
        let forged =
            format!("{}{}", other.split("..").next().expect("a header"), &jwe[jwe.find("..").expect("dots")..]);
        assert_eq!(key(1).open(&forged), Err(SealError::Unopenable));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for bad in ["", "c2hvcnQ=", "not base64!"] {
            assert_eq!(SealingKey::new("k", &Secret::from(bad)).err(), Some(SealError::BadKey));
        }
    }
}
