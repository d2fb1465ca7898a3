//! Pushes, opened as a platform would: by the documents of WeChat and with none of the code that sealed them.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockDecryptMut as _, KeyIvInit as _};

use super::*;
use crate::simulator::model::platforms::push::Pushed;

/// 32 bytes, of which `KEY` is the base64 but for its last character's spare bits.
fn key() -> [u8; 32] {
    // The last of 43 characters must end in two clear bits for a strict reader: E instead of G.
    let strict = KEY.replace("ABCDEFG", "ABCDEFE=");
    BASE64_STANDARD.decode(strict).expect("base64").try_into().expect("32 bytes")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split_once(after).unwrap_or_else(|| panic!("{after} in {text}")).0
}

fn parameter<'a>(pushed: &'a Pushed, name: &str) -> &'a str {
    let mut pairs = pushed.query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).unwrap_or_else(|| panic!("{name}")).1
}

fn sha1_of_sorted(mut parts: Vec<&str>) -> String {
    parts.sort_unstable();
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The message within, once signatures, padding, length and addressee are found right.
fn open(pushed: &Pushed) -> String {
    let start = format!("<xml><AppId><![CDATA[{PLATFORM}]]></AppId><Encrypt><![CDATA[");
    assert!(pushed.body.starts_with(&start) && pushed.body.ends_with("]]></Encrypt></xml>"), "{}", pushed.body);
    let encrypt = between(&pushed.body, "<Encrypt><![CDATA[", "]]>");
    let (timestamp, nonce) = (parameter(pushed, "timestamp"), parameter(pushed, "nonce"));
    assert_eq!(parameter(pushed, "encrypt_type"), "aes");
    assert_eq!(parameter(pushed, "signature"), sha1_of_sorted(vec!["message token", timestamp, nonce]));
    let signed = vec!["message token", timestamp, nonce, encrypt];
    assert_eq!(parameter(pushed, "msg_signature"), sha1_of_sorted(signed));

    let mut sealed = BASE64_STANDARD.decode(encrypt).expect("base64");
    assert_eq!(sealed.len() % 32, 0);
    let iv: [u8; 16] = key()[..16].try_into().expect("16 bytes");
    let cipher = cbc::Decryptor::<aes::Aes256>::new(&key().into(), &iv.into());
    let plain = cipher.decrypt_padded_mut::<NoPadding>(&mut sealed).expect("whole blocks");
    let padding = usize::from(*plain.last().expect("bytes"));
    assert!((1..=32).contains(&padding));
    let (plain, padded) = plain.split_at(plain.len() - padding);
    assert!(padded.iter().all(|byte| usize::from(*byte) == padding));
    let length = u32::from_be_bytes(plain[16..20].try_into().expect("4 bytes"));
    let (message, appid) = plain[20..].split_at(length as usize);
    assert_eq!(appid, PLATFORM.as_bytes());
    String::from_utf8(message.to_vec()).expect("text")
}

fn push(component: &mut Component, push: &Push) -> Pushed {
    component.wechat.model.push(push, component.wechat.now_ms).expect("a push").pushed
}

#[test]
fn a_pushed_ticket_opens_and_brings_a_token() {
    let mut component = Component::new();
    let pushed = push(&mut component, &Push::ticket(PLATFORM));
    let message = open(&pushed);
    let ticket = between(&message, "<ComponentVerifyTicket>", "</ComponentVerifyTicket>");
    let seconds = START_MS / 1000;
    assert_eq!(parameter(&pushed, "timestamp"), seconds.to_string());
    assert_eq!(
        message,
        format!(
            "<xml><AppId>{PLATFORM}</AppId><CreateTime>{seconds}</CreateTime>\
             <InfoType>component_verify_ticket</InfoType>\
             <ComponentVerifyTicket>{ticket}</ComponentVerifyTicket></xml>"
        )
    );
    assert!(component.fetch(ticket)["component_access_token"].is_string());
    assert_ne!(push(&mut component, &Push::ticket(PLATFORM)), pushed, "no push is like another");
}

#[test]
fn values_may_come_as_cdata() {
    let mut component = Component::new();
    let message = open(&push(&mut component, &Push { cdata: true, ..Push::ticket(PLATFORM) }));
    let ticket = between(&message, "<ComponentVerifyTicket><![CDATA[", "]]></ComponentVerifyTicket>");
    assert!(component.fetch(ticket)["component_access_token"].is_string());
    assert!(message.contains("<InfoType><![CDATA[component_verify_ticket]]></InfoType>"));
}

#[test]
fn pushes_tell_of_merchants_who_come_change_and_go() {
    let mut component = Component::new();
    let kinds = [
        (PushKind::Authorized, "authorized", true),
        (PushKind::UpdateAuthorized, "updateauthorized", true),
        (PushKind::Unauthorized, "unauthorized", false),
    ];
    for (kind, name, with_code) in kinds {
        let message = open(&push(&mut component, &Push::about(PLATFORM, kind, MERCHANT)));
        assert_eq!(between(&message, "<InfoType>", "</InfoType>"), name);
        assert_eq!(between(&message, "<AuthorizerAppid>", "</AuthorizerAppid>"), MERCHANT);
        assert_eq!(message.contains("<AuthorizationCode>queryauthcode@@@"), with_code);
        let expires =
            format!("<AuthorizationCodeExpiredTime>{}</AuthorizationCodeExpiredTime>", START_MS / 1000 + 3600);
        assert_eq!(message.contains(&expires), with_code);
    }
    assert_eq!(component.state().ticket, None, "none of them is a ticket");
}

#[test]
fn a_push_about_nobody_is_refused() {
    let mut component = Component::new();
    let mut refused = |push: &Push| match component.wechat.model.push(push, START_MS) {
        Ok(_) => panic!("pushed"),
        Err(refused) => refused.to_string(),
    };
    assert_eq!(refused(&Push::ticket("wxnobody")), "no such platform here");
    let nobody = Push { kind: PushKind::Authorized, ..Push::ticket(PLATFORM) };
    assert_eq!(refused(&nobody), "which merchant?");
    let stranger = Push::about(PLATFORM, PushKind::Authorized, OTHER);
    assert_eq!(refused(&stranger), "no such merchant of this platform");
}

#[test]
fn a_ticket_can_be_asked_for_with_the_right_secret_and_goes_where_the_platform_says() {
    let mut component = Component::new();
    let start = |component: &mut Component, secret: &str| {
        let body = json!({"component_appid": PLATFORM, "component_secret": secret}).to_string();
        let request = ComponentRequest { is_post: true, token: None, body: body.as_bytes() };
        let (outcome, posting) = component.wechat.model.component(ComponentCall::StartPush, &request, START_MS);
        (errcode(&answer(outcome)), posting)
    };
    assert_eq!(start(&mut component, "guess").0, 40125);
    assert_eq!(start(&mut component, "").0, 41004);
    let (said, posting) = start(&mut component, "component secret");
    assert!(said == 0 && posting.is_none() && component.state().ticket.is_none(), "there is nowhere to push to");

    let url = Some("http://platform.example/push".to_owned());
    component.put(PlatformChange { appid: PLATFORM.into(), push_url: url.clone(), ..Default::default() });
    assert!(start(&mut component, "guess").1.is_none());
    let (said, posting) = start(&mut component, "component secret");
    let posting = posting.expect("a push");
    assert_eq!((said, posting.url), (0, url));
    assert!(open(&posting.pushed).contains(&component.state().ticket.expect("a ticket")));
}
