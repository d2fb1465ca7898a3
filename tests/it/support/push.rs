//! What WeChat pushes to a third-party platform, made as its documents say: XML, encrypted, signed.
//!
//! Knows nothing of how quicklogin reads it.

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockEncryptMut, KeyIvInit};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quicklogin::clock;
use reqwest::{Client, Response};

/// A platform as WeChat's console knows it.
#[derive(Clone, Copy)]
pub(crate) struct Platform {
    pub(crate) appid: &'static str,
    pub(crate) token: &'static str,
    /// 43 characters, of which the last stands for four bits: one of `AEIMQUYcgkosw048`.
    pub(crate) key: &'static str,
}

/// A push on its way: what is in the query, and the body.
#[derive(Clone)]
pub(crate) struct Push {
    pub(crate) timestamp: String,
    pub(crate) nonce: String,
    pub(crate) signature: String,
    pub(crate) body: String,
}

impl Platform {
    pub(crate) fn ticket(&self, ticket: &str, created_s: u64) -> Push {
        let more = format!("<ComponentVerifyTicket><![CDATA[{ticket}]]></ComponentVerifyTicket>");
        self.push("component_verify_ticket", created_s, &more)
    }

    /// `authorized`, `updateauthorized` or `unauthorized`, by a merchant's app.
    pub(crate) fn change(&self, kind: &str, merchant: &str) -> Push {
        self.push(kind, 1_413_192_760, &format!("<AuthorizerAppid>{merchant}</AuthorizerAppid>"))
    }

    pub(crate) fn push(&self, kind: &str, created_s: u64, more: &str) -> Push {
        let Self { appid, .. } = self;
        self.seal(&format!(
            "<xml><AppId><![CDATA[{appid}]]></AppId>\n<CreateTime>{created_s}</CreateTime>\n\
             <InfoType><![CDATA[{kind}]]></InfoType>\n{more}\n</xml>"
        ))
    }

    /// Any text, encrypted and signed.
    pub(crate) fn seal(&self, text: &str) -> Push {
        let Self { appid, token, .. } = self;
        let encrypted = self.encrypt(text);
        let (timestamp, nonce) = ((clock::now_ms() / 1000).to_string(), fastrand::u32(..).to_string());
        Push {
            signature: sign([token, &timestamp, &nonce, &encrypted]),
            timestamp,
            nonce,
            body: format!(
                "<xml>\n<AppId><![CDATA[{appid}]]></AppId>\n<Encrypt><![CDATA[{encrypted}]]></Encrypt>\n</xml>"
            ),
        }
    }

    /// The query of WeChat's check of a URL.
    pub(crate) fn check(&self, now_s: u64, echo: &str) -> String {
        let (timestamp, nonce) = (now_s.to_string(), fastrand::u32(..).to_string());
        let signature = sign([self.token, &timestamp, &nonce]);
        format!("signature={signature}&timestamp={timestamp}&nonce={nonce}&echostr={echo}")
    }

    /// The same, where what is to be echoed is encrypted.
    pub(crate) fn encrypted_check(&self, now_s: u64, echo: &str) -> String {
        let (timestamp, nonce, echo) = (now_s.to_string(), fastrand::u32(..).to_string(), self.encrypt(echo));
        let signature = sign([self.token, &timestamp, &nonce, &echo]);
        let echo = echo.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}&echostr={echo}")
    }

    fn encrypt(&self, text: &str) -> String {
        let key = STANDARD.decode(format!("{}=", self.key)).expect("43 characters of base64");
        let length = u32::try_from(text.len()).expect("a short text").to_be_bytes();
        let mut bytes = [b"random bytes: 16", &length[..], text.as_bytes(), self.appid.as_bytes()].concat();
        let padding = 32 - bytes.len() % 32;
        bytes.resize(bytes.len() + padding, padding as u8);
        let whole = bytes.len();
        let encryptor = cbc::Encryptor::<Aes256>::new_from_slices(&key, &key[..16]).expect("a key and its IV");
        STANDARD.encode(encryptor.encrypt_padded_mut::<NoPadding>(&mut bytes, whole).expect("whole blocks"))
    }
}

/// WeChat's signature of these texts.
fn sign<const N: usize>(mut texts: [&str; N]) -> String {
    texts.sort_unstable();
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, texts.concat().as_bytes());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Push {
    /// The same, signed at another time.
    pub(crate) fn signed_at(self, by: Platform, at_s: u64) -> Self {
        let timestamp = at_s.to_string();
        let signature = sign([by.token, &timestamp, &self.nonce, self.encrypted()]);
        Self { timestamp, signature, ..self }
    }

    /// The same in JSON, with this name for whom it is for.
    pub(crate) fn in_json(self, name: &str, receiver: &str) -> Self {
        let body = format!("{{\"{name}\":\"{receiver}\",\"Encrypt\":\"{}\"}}", self.encrypted());
        Self { body, ..self }
    }

    fn encrypted(&self) -> &str {
        let (_, rest) = self.body.split_once("<Encrypt><![CDATA[").expect("it is made here");
        rest.split_once("]]>").expect("it is made here").0
    }

    /// Sends it as WeChat does.
    pub(crate) async fn send_to(&self, gateway_url: &str) -> Response {
        let Self { timestamp, nonce, signature, body } = self;
        let url = format!(
            "{gateway_url}/wechat/events?signature=0123456789&timestamp={timestamp}&nonce={nonce}&encrypt_type=aes\
             &msg_signature={signature}"
        );
        let client = Client::builder().no_proxy().build().expect("a client");
        client.post(url).header("content-type", "text/xml").body(body.clone()).send().await.expect("an answer")
    }
}
