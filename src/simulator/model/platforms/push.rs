//! What WeChat pushes to a platform: tickets, and that a merchant came, changed or went. Built here, byte for byte as
//! it goes out; sending it is `simulator/pushes.rs`'s part.

use std::fmt;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesCData, BytesText};
use serde::{Deserialize, Serialize};

use super::super::Model;
use super::envelope::sign;
use crate::simulator::refused::Refused;

/// Undocumented; a client has the code exchanged at once.
const AUTHORIZATION_CODE_LIFE_S: u64 = 3600;

/// A push to build or to send.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Which platform.
    pub platform: String,
    /// What about.
    #[serde(default)]
    pub kind: PushKind,
    /// Which merchant, where it is about one.
    #[serde(default)]
    pub appid: Option<String>,
    /// Where to, if not to the platform's own push URL.
    #[serde(default)]
    pub url: Option<String>,
    /// The values within are written as CDATA, as captured pushes have them; plain, as the documents have them, unless
    /// said.
    #[serde(default)]
    pub cdata: bool,
}

/// What a push is about (`InfoType`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum PushKind {
    /// A new ticket.
    #[default]
    #[serde(rename = "component_verify_ticket")]
    Ticket,
    /// A merchant authorised the platform.
    #[serde(rename = "authorized")]
    Authorized,
    /// A merchant withdrew.
    #[serde(rename = "unauthorized")]
    Unauthorized,
    /// A merchant changed what it grants.
    #[serde(rename = "updateauthorized")]
    UpdateAuthorized,
}

/// A push as it goes out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The query: both signatures, the time, the nonce.
    pub query: String,
    /// The body: XML that holds the encrypted message.
    pub body: String,
}

/// A push on its way.
pub(crate) struct Posting {
    /// Where to, if anywhere.
    pub(crate) url: Option<String>,
    pub(crate) pushed: Pushed,
}

impl Push {
    /// A new ticket.
    #[must_use]
    pub fn ticket(platform: impl Into<String>) -> Self {
        Self { platform: platform.into(), kind: PushKind::Ticket, appid: None, url: None, cdata: false }
    }

    /// This about a merchant. It changes nothing about the merchant: that is `put_authorizer`'s part.
    #[must_use]
    pub fn about(platform: impl Into<String>, kind: PushKind, appid: impl Into<String>) -> Self {
        Self { kind, appid: Some(appid.into()), ..Self::ticket(platform) }
    }
}

impl PushKind {
    fn name(self) -> &'static str {
        match self {
            Self::Ticket => "component_verify_ticket",
            Self::Authorized => "authorized",
            Self::Unauthorized => "unauthorized",
            Self::UpdateAuthorized => "updateauthorized",
        }
    }
}

impl fmt::Debug for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pushed(***)")
    }
}

impl Model {
    pub(in crate::simulator) fn push(&mut self, push: &Push, now_ms: u64) -> Result<Posting, Refused> {
        let index = self.platforms.find(Some(&push.platform))?;
        let fields = self.fields(index, push, now_ms)?;
        let message = xml(&fields, push.cdata);
        let mut salt = String::with_capacity(16);
        self.random.push_url_safe(&mut salt, 16);
        let nonce = self.random.up_to(u64::from(u32::MAX)).to_string();

        let platform = self.platforms.get(index);
        let salt = salt.as_bytes().try_into().expect("16 characters are 16 bytes");
        let sealed = platform.message_key.seal(salt, message.as_bytes(), &platform.appid);
        let (token, timestamp) = (platform.message_token.as_str(), (now_ms / 1000).to_string());
        let signature = sign([token, &timestamp, &nonce]);
        let msg_signature = sign([token, &timestamp, &nonce, &sealed]);
        let query = format!(
            "signature={signature}&timestamp={timestamp}&nonce={nonce}&encrypt_type=aes&msg_signature={msg_signature}"
        );
        let body = xml(&[("AppId", platform.appid.as_ref().to_owned()), ("Encrypt", sealed)], true);
        let url = push.url.clone().or_else(|| platform.push_url.clone());
        Ok(Posting { url, pushed: Pushed { query, body } })
    }

    /// The elements of the message; a ticket is minted, and the one before the last forgotten.
    fn fields(&mut self, index: usize, push: &Push, now_ms: u64) -> Result<Vec<(&'static str, String)>, Refused> {
        let now_s = now_ms / 1000;
        let platform = &mut self.platforms.all[index];
        let mut fields = vec![
            ("AppId", platform.appid.as_ref().to_owned()),
            ("CreateTime", now_s.to_string()),
            ("InfoType", push.kind.name().to_owned()),
        ];
        if push.kind == PushKind::Ticket {
            let ticket = platform.tickets.mint(now_ms, &mut self.random);
            fields.push(("ComponentVerifyTicket", ticket.to_owned()));
            return Ok(fields);
        }
        let appid = push.appid.as_deref().ok_or_else(|| Refused::new("which merchant?", "name one with \"appid\""))?;
        if self.apps.index(appid).is_none_or(|app| !platform.authorizers.knows(app)) {
            return Err(Refused::new("no such merchant of this platform", "add it with POST /sim/authorizers"));
        }
        fields.push(("AuthorizerAppid", appid.to_owned()));
        if push.kind != PushKind::Unauthorized {
            let mut code = String::from("queryauthcode@@@");
            self.random.push_url_safe(&mut code, 43);
            fields.push(("AuthorizationCode", code));
            fields.push(("AuthorizationCodeExpiredTime", (now_s + AUTHORIZATION_CODE_LIFE_S).to_string()));
        }
        Ok(fields)
    }
}

fn xml(fields: &[(&str, String)], cdata: bool) -> String {
    let mut writer = Writer::new(Vec::new());
    let written = writer.create_element("xml").write_inner_content(|writer| -> io::Result<()> {
        for (name, value) in fields {
            let element = writer.create_element(*name);
            if cdata && *name != "CreateTime" {
                element.write_cdata_content(BytesCData::new(value.as_str()))?;
            } else {
                element.write_text_content(BytesText::new(value))?;
            }
        }
        Ok(())
    });
    written.expect("a Vec takes every write");
    String::from_utf8(writer.into_inner()).expect("text between names is text")
}
