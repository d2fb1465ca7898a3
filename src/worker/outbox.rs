//! The result outbox: how a worker proves that a result which it could not write to the store comes from a worker.
//!
//! The proof is an HMAC-SHA256 over the result and the owner of its claim. Its key comes from `result.outbox_key`, or from
//! the AppSecret of the result's app: publishers and gateways have neither. What a worker checks before it writes such a
//! result is in `handed_over`.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tracing::warn;

use crate::login::{AppId, RequestId};
use crate::queue::Queue;
use crate::secret::Secret;
use crate::worker::Worker;

/// The longest result that the outbox takes. Results are some 300 bytes, and some 600 if they are encrypted.
pub(super) const MAX_RESULT_BYTES: usize = 8 * 1024;

/// Separates these keys and MACs from all others that are made of the same secrets.
const PURPOSE: &str = "quicklogin result outbox v1";
/// A key that is not derived from an AppSecret has at least so many bytes.
const MIN_KEY_BYTES: usize = 32;

/// What results in the outbox are authenticated with. Only workers have it.
#[derive(Clone)]
pub struct OutboxKey(hmac::Key);

/// Why `result.outbox_key` cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an outbox key is at least {MIN_KEY_BYTES} bytes in base64")]
pub struct BadOutboxKey;

/// Why there is no key for a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKey {
    /// No setting, and no AppSecret that a key could be derived from.
    #[error("there is no key for results of this app; set result.outbox_key")]
    None,
    /// The AppSecret is in a file that cannot be read at the moment.
    #[error("the AppSecret cannot be read: {0}")]
    Unreadable(String),
}

impl OutboxKey {
    /// Reads `result.outbox_key`, in base64 or base64url.
    pub fn new(key_base64: &Secret) -> Result<Self, BadOutboxKey> {
        let text = key_base64.expose().trim();
        let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).map_err(|_| BadOutboxKey)?;
        if bytes.len() < MIN_KEY_BYTES {
            return Err(BadOutboxKey);
        }
        Ok(Self::derived(&bytes, "setting"))
    }

    /// The key that an AppSecret gives. `appid` is the app or the third-party platform whose secret it is.
    pub fn of_app_secret(appid: &AppId, secret: &Secret) -> Self {
        Self::derived(secret.expose().as_bytes(), appid.as_str())
    }

    /// HKDF, so that the key says nothing of the secret, and is none that the secret is used as elsewhere.
    fn derived(secret: &[u8], whose: &str) -> Self {
        let info = [PURPOSE.as_bytes(), b"\0", whose.as_bytes()];
        let secret = Salt::new(HKDF_SHA256, PURPOSE.as_bytes()).extract(secret);
        let key = secret.expand(&info, HMAC_SHA256).expect("a key of 32 bytes can be derived");
        Self(key.into())
    }

    /// Authenticates a result: base64url without padding.
    pub fn sign(&self, request_id: &RequestId, owner: &str, json: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &authenticated(request_id, owner, json)))
    }

    /// Whether a worker has authenticated this, with this key. Takes the same time for each wrong MAC.
    pub(super) fn verifies(&self, mac: &str, request_id: &RequestId, owner: &str, json: &[u8]) -> bool {
        let Ok(mac) = URL_SAFE_NO_PAD.decode(mac) else { return false };
        hmac::verify(&self.0, &authenticated(request_id, owner, json), &mac).is_ok()
    }
}

/// What a MAC is over. Each part has its length in front, so that no two lists of parts give the same bytes.
fn authenticated(request_id: &RequestId, owner: &str, json: &[u8]) -> Vec<u8> {
    let parts = [PURPOSE.as_bytes(), request_id.as_str().as_bytes(), owner.as_bytes(), json];
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

impl fmt::Debug for OutboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutboxKey(***)")
    }
}

impl Worker {
    /// The key for results of this app. An AppSecret in a file is read each time.
    pub(super) fn outbox_key(&self, appid: Option<&AppId>) -> Result<OutboxKey, NoKey> {
        if let Some(key) = &self.0.outbox_key {
            return Ok(key.clone());
        }
        let app = appid.and_then(|appid| self.0.tokens.app(Some(appid))).ok_or(NoKey::None)?;
        let (whose, secret) = app.source().app_secret(app.appid()).ok_or(NoKey::None)?;
        Ok(OutboxKey::of_app_secret(whose, &secret.read().map_err(NoKey::Unreadable)?))
    }

    /// Warns of apps whose results this worker cannot hand over. In memory nothing is handed over anyway.
    pub fn warn_of_missing_outbox_keys(&self) {
        if matches!(self.0.queue, Queue::Memory(_)) {
            return;
        }
        for app in self.0.tokens.apps() {
            if matches!(self.outbox_key(Some(app.appid())), Err(NoKey::None)) {
                warn!(
                    appid = %app.appid(),
                    "this app has no AppSecret, and result.outbox_key is not set: results that cannot be written before this worker stops are lost"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &[u8] = br#"{"request_id":"r-1","status":"succeeded"}"#;

    fn id(text: &str) -> RequestId {
        RequestId::try_from(text).expect("a good id")
    }

    fn app(text: &str) -> AppId {
        AppId::try_from(text).expect("a good appid")
    }

    fn of_secret(appid: &str, secret: &str) -> OutboxKey {
        OutboxKey::of_app_secret(&app(appid), &secret.into())
    }

    /// By Python's hmac and hashlib.
    #[test]
    fn macs_are_those_of_another_implementation() {
        let key = of_secret("wx0123456789abcdef", "0123456789abcdef0123456789abcdef");
        assert_eq!(key.sign(&id("r-1"), "owner", JSON), "2xhz7DbbEEhK7_MVi9a-v-jAWjJ9xqc_85NnA6Dh3Oo");
        let key = OutboxKey::new(&Secret::from(STANDARD.encode([7; 32]))).expect("32 bytes");
        assert_eq!(key.sign(&id("r-1"), "owner", JSON), "ZXn8kyOiIEu8q1tOCqEVRwVsjbygO6Kouh9-4edYuMo");
    }

    #[test]
    fn a_mac_is_for_one_result_one_owner_and_one_key() {
        let key = of_secret("wx1", "secret");
        let mac = key.sign(&id("r-1"), "owner", JSON);
        assert!(key.verifies(&mac, &id("r-1"), "owner", JSON));
        assert!(!key.verifies(&mac, &id("r-2"), "owner", JSON));
        assert!(!key.verifies(&mac, &id("r-1"), "another", JSON));
        assert!(!key.verifies(&mac, &id("r-1"), "", JSON));
        assert!(!key.verifies(&mac, &id("r-1"), "owner", &JSON[1..]));
        // The same bytes in a row, parted elsewhere.
        assert!(!key.verifies(&key.sign(&id("r-1"), "owner{", &JSON[1..]), &id("r-1"), "owner", JSON));
        for other in [of_secret("wx2", "secret"), of_secret("wx1", "Secret")] {
            assert!(!other.verifies(&mac, &id("r-1"), "owner", JSON));
        }
        for bad in ["", "AAAA", "no base64!", &mac[1..], &format!("{mac}=")] {
            assert!(!key.verifies(bad, &id("r-1"), "owner", JSON), "{bad}");
        }
    }

    #[test]
    fn an_outbox_key_is_at_least_32_bytes_in_base64_and_is_never_printed() {
        let key = OutboxKey::new(&Secret::from(format!(" {}\n", STANDARD.encode([200; 48])))).expect("48 bytes");
        assert_eq!(format!("{key:?}"), "OutboxKey(***)");
        assert!(OutboxKey::new(&Secret::from(URL_SAFE_NO_PAD.encode([200; 32]))).is_ok());
        for bad in ["", "short", "not base64!", &STANDARD.encode([1; 31])] {
            assert_eq!(OutboxKey::new(&Secret::from(bad)).err(), Some(BadOutboxKey), "{bad}");
        }
    }
}
