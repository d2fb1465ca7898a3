//! Pushes sealed and signed as WeChat does it, and all the ways in which a body is none.

use aes::cipher::BlockEncryptMut;

use super::*;

const PLATFORM: &str = "wxfedcba9876543210";
const TOKEN: &str = "canaryMessageToken";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const SIGNED_S: u64 = 1_413_192_605;
const TICKET: &str = "ticket@@@canaryTicket-_0123456789";

fn app_id(text: &str) -> AppId {
    AppId::try_from(text).expect("a good appid")
}

fn keys_of(platform: &str, token: &str) -> MessageKeys {
    let key = MessageKey::try_from(&Secret::from(KEY)).expect("a good key");
    MessageKeys { platform: app_id(platform), token: token.into(), key }
}

fn keys() -> MessageKeys {
    keys_of(PLATFORM, TOKEN)
}

fn ticket_xml() -> String {
    format!(
        "<xml><AppId><![CDATA[{PLATFORM}]]></AppId><CreateTime>1413192605</CreateTime>\
         <InfoType><![CDATA[component_verify_ticket]]></InfoType>\
         <ComponentVerifyTicket><![CDATA[{TICKET}]]></ComponentVerifyTicket></xml>"
    )
}

fn ticket() -> Push {
    Push::Ticket { ticket: TICKET.into(), created_s: 1_413_192_605 }
}

/// What stands around an inner text, before padding.
fn framed(xml: &[u8], appid: &str) -> Vec<u8> {
    [b"0123456789abcdef", &(xml.len() as u32).to_be_bytes()[..], xml, appid.as_bytes()].concat()
}

fn padded(mut plain: Vec<u8>) -> Vec<u8> {
    let count = LONGEST_PADDING - plain.len() % LONGEST_PADDING;
    plain.resize(plain.len() + count, count as u8);
    plain
}

/// Encrypts whole blocks, as they are.
fn encrypted(mut plain: Vec<u8>) -> String {
    let MessageKey(key) = keys().key;
    let length = plain.len();
    let encryptor = cbc::Encryptor::<Aes256>::new_from_slices(&key, &key[..16]).expect("a key and an IV");
    let bytes = encryptor.encrypt_padded_mut::<NoPadding>(&mut plain, length).expect("whole blocks");
    STANDARD.encode(bytes)
}

fn body_with(encrypted: &str) -> String {
    format!("<xml><AppId><![CDATA[{PLATFORM}]]></AppId><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>")
}

/// The signature of whatever is encrypted, by somebody who knows the token.
fn signature_of(encrypted: &str) -> Signature {
    let (timestamp, nonce) = ("1413192605", "1320562132");
    let mut parts = [TOKEN, timestamp, nonce, encrypted];
    parts.sort_unstable();
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes());
    let msg_signature = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Signature { timestamp: timestamp.into(), nonce: nonce.into(), msg_signature }
}

fn open(body: &[u8], signature: &Signature) -> Result<Push, BadPush> {
    let platforms = [keys_of("wx1", "another token"), keys()];
    let (platform, push) = Envelope::read(body)?.open(&platforms, signature, SIGNED_S)?;
    assert_eq!(platform.as_str(), PLATFORM);
    Ok(push)
}

/// What becomes of blocks that are properly encrypted and signed.
fn open_plain(plain: Vec<u8>) -> Result<Push, BadPush> {
    let encrypted = encrypted(plain);
    open(body_with(&encrypted).as_bytes(), &signature_of(&encrypted))
}

fn open_xml(xml: &str) -> Result<Push, BadPush> {
    open_plain(padded(framed(xml.as_bytes(), PLATFORM)))
}

#[test]
fn a_push_says_what_happened() {
    let changed = |kind| {
        format!("<xml><AppId>{PLATFORM}</AppId><InfoType>{kind}</InfoType><AuthorizerAppid>wx1</AuthorizerAppid></xml>")
    };
    let appid = app_id("wx1");
    let rows = [
        (ticket_xml(), ticket()),
        (changed("authorized"), Push::Authorized { appid: appid.clone() }),
        (changed("updateauthorized"), Push::UpdateAuthorized { appid: appid.clone() }),
        (changed("unauthorized"), Push::Unauthorized { appid }),
        (changed("notify_third_fasteregister"), Push::Other { kind: "notify_third_fasteregister".into() }),
    ];
    for (xml, push) in rows {
        assert_eq!(open_xml(&xml), Ok(push), "{xml}");
    }
}

#[test]
fn every_length_of_text_is_read_whatever_its_padding() {
    for more in 0..=LONGEST_PADDING {
        let xml = format!("{}{}", ticket_xml(), " ".repeat(more));
        assert_eq!(open_xml(&xml), Ok(ticket()), "{more}");
    }
}

/// From the sample code that WeChat's documents offer for download: a user's message, which is no push for a platform,
/// and yet signed and encrypted like one.
#[test]
fn wechats_own_example_is_verified_and_decrypted() {
    let encrypted = "hyzAe4OzmOMbd6TvGdIOO6uBmdJoD0Fk53REIHvxYtJlE2B655HuD0m8KUePWB3+LrPXo87wzQ1QLvbeUgmBM4x6F8PGHQHFVAFmOD2L\
         dJF9FrXpbUAh0B5GIItb52sn896wVsMSHGuPE328HnRGBcrS7C41IzDWyWNlZkyyXwon8T332jisa+h6tEDYsVticbSnyU8dKOIbgU6ux5VT\
         jg3yt+WGzjlpKn6NPhRjpA912xMezR4kw6KWwMrCVKSVCZciVGCgavjIQ6X8tCOp3yZbGpy0VxpAe+77TszTfRd5RJSVO/HTnifJpXgCSUdU\
         ue1v6h0EIBYYI1BD1DlD+C0CR8e6OewpusjZ4uBl9FyJvnhvQl+q5rv1ixrcpCumEPo5MJSgM9ehVsNPfUM669WuMyVWQLCzpu9GhglF2PE=";
    let body = format!(
        "<xml><ToUserName><![CDATA[gh_10f6c3c3ac5a]]></ToUserName><FromUserName><![CDATA[oyORnuP8q7ou2gfYjqLzSIWZf0rs]]>\
         </FromUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
    );
    let signature = Signature {
        timestamp: "1409735669".into(),
        nonce: "1320562132".into(),
        msg_signature: "5d197aaffba7e9b25a30732f161a50dee96bd5fa".into(),
    };
    let envelope = Envelope::read(body.as_bytes()).expect("an envelope");
    assert_eq!(envelope.platform, app_id("gh_10f6c3c3ac5a"), "where there is no AppId");
    let keys = keys_of("wx2c2769f8efd9abc2", "spamtest");
    assert_eq!(keys.verify(&envelope, &signature), Ok(()));
    let xml = keys.decrypt(&envelope).expect("it is decrypted");
    assert!(xml.contains("<Content><![CDATA[abcdteT]]></Content>"), "{xml}");
    assert_eq!(keys.open(&envelope, &signature, 1_409_735_669), Err(BadPush::NoField("InfoType")));
}

#[test]
fn a_push_in_json_is_read_like_one_in_xml() {
    let inner = |created: &str| {
        format!(
            r#"{{"AppId":"{PLATFORM}","CreateTime":{created},"InfoType":"component_verify_ticket","ComponentVerifyTicket":"{TICKET}"}}"#
        )
    };
    for created in ["1413192605", "\"1413192605\""] {
        let encrypted = encrypted(padded(framed(inner(created).as_bytes(), PLATFORM)));
        let signature = signature_of(&encrypted);
        for body in [
            format!(r#"{{"AppId":"{PLATFORM}","Encrypt":"{encrypted}"}}"#),
            format!(r#"{{"ToUserName":"{PLATFORM}","Encrypt":"{encrypted}"}}"#),
            format!("\u{feff}\n{{\"Encrypt\":\"{encrypted}\",\"ToUserName\":\"gh_97417a04a28d\",\"more\":[1]}}\n"),
            body_with(&encrypted),
            body_with(&encrypted).replace("AppId", "ToUserName").replace(PLATFORM, "gh_97417a04a28d"),
        ] {
            assert_eq!(open(body.as_bytes(), &signature), Ok(ticket()), "{body}");
        }
    }
    // The platform whose token fits is not the one that the text is for.
    let other = encrypted(padded(framed(inner("1").as_bytes(), "wx1")));
    let body = format!(r#"{{"ToUserName":"gh_97417a04a28d","Encrypt":"{other}"}}"#);
    assert_eq!(open(body.as_bytes(), &signature_of(&other)), Err(BadPush::OtherPlatform));
    let unsigned = Signature::default();
    assert_eq!(open(body.as_bytes(), &unsigned), Err(BadPush::UnknownPlatform));
}

#[test]
fn a_push_that_was_signed_hours_ago_or_in_the_future_is_refused() {
    let encrypted = encrypted(padded(framed(ticket_xml().as_bytes(), PLATFORM)));
    let (platforms, body, signature) = ([keys()], body_with(&encrypted), signature_of(&encrypted));
    let open_at = |now_s| {
        let envelope = Envelope::read(body.as_bytes()).expect("an envelope");
        envelope.open(&platforms, &signature, now_s).map(|(_, push)| push)
    };
    for now_s in [SIGNED_S - 300, SIGNED_S, SIGNED_S + 3600, SIGNED_S + SIGNED_AGO_MOST_S] {
        assert_eq!(open_at(now_s), Ok(ticket()), "{now_s}");
    }
    for now_s in [0, SIGNED_S - 301, SIGNED_S + SIGNED_AGO_MOST_S + 1, u64::MAX / 2] {
        assert_eq!(open_at(now_s), Err(BadPush::Stale), "{now_s}");
    }
    let signed_at = |timestamp: &str| {
        let mut texts = [TOKEN, timestamp, "1", encrypted.as_str()];
        texts.sort_unstable();
        let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, texts.concat().as_bytes());
        let msg_signature = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Signature { timestamp: timestamp.into(), nonce: "1".into(), msg_signature }
    };
    for timestamp in ["", "0", "-1", "soon", "1413192605.5", "99999999999999999999", "18446744073709551615"] {
        let envelope = Envelope::read(body.as_bytes()).expect("an envelope");
        let opened = envelope.open(&platforms, &signed_at(timestamp), SIGNED_S);
        assert_eq!(opened.map(|(_, push)| push), Err(BadPush::Stale), "{timestamp:?}");
    }
}

/// The signature is from WeChat's documents (消息推送, 发起验证), with the token AAAAA.
#[test]
fn wechats_check_of_a_url_is_answered_with_its_echostr() {
    let platforms = [keys(), keys_of("wx1", "AAAAA")];
    let query = |signature: &str, msg_signature: &str, echostr: &str| {
        let json = serde_json::json!({
            "signature": signature, "msg_signature": msg_signature, "echostr": echostr,
            "timestamp": "1714036504", "nonce": "1514711492",
        });
        serde_json::from_value::<Confirmation>(json).expect("a query")
    };
    let theirs = "f464b24fc39322e44b38aa78f5edd27bd1441696";
    let now_s = 1_714_036_504;
    let answer = |query: &Confirmation, now_s| query.answer(&platforms, now_s).map(|(of, echo)| (of.to_string(), echo));
    let good = Ok(("wx1".to_owned(), "4375120948345356249".to_owned()));
    assert_eq!(answer(&query(theirs, "", "4375120948345356249"), now_s), good);
    assert_eq!(answer(&query(theirs, "something", "4375120948345356249"), now_s), good);
    assert_eq!(answer(&query(theirs, "", "1"), now_s + SIGNED_AGO_MOST_S + 1), Err(BadPush::Stale));
    for bad in ["", "a b", "<script>\n", &"x".repeat(1025)] {
        assert_eq!(answer(&query(theirs, "", bad), now_s), Err(BadPush::NoField("echostr")), "{bad:?}");
    }
    for bad in ["", "f464b24fc39322e44b38aa78f5edd27bd1441697", &theirs.to_uppercase()] {
        assert_eq!(answer(&query(bad, "", "1"), now_s), Err(BadPush::WrongSignature), "{bad:?}");
    }
    let sign = |sealed: &str| -> String {
        let mut texts = [TOKEN, "1714036504", "1514711492", sealed];
        texts.sort_unstable();
        let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, texts.concat().as_bytes());
        sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    for recorded in [ticket_xml().replace([' ', '\n'], ""), r#"{"ComponentVerifyTicket":"ticket@@@secret"}"#.to_owned()]
    {
        let sealed = encrypted(padded(framed(recorded.as_bytes(), PLATFORM)));
        let replayed = query("", &sign(&sealed), &sealed);
        assert_eq!(answer(&replayed, now_s), Err(BadPush::NoField("echostr")), "a recorded push is not decrypted");
    }
    let sealed = encrypted(padded(framed(b"4375120948345356249", PLATFORM)));
    let signed = sign(&sealed);
    let good = Ok((PLATFORM.to_owned(), "4375120948345356249".to_owned()));
    for echostr in [sealed.clone(), sealed.replace('+', " ")] {
        assert_eq!(answer(&query("", &signed, &echostr), now_s), good, "{echostr}");
    }
    assert_eq!(answer(&query("", &signed, "4375120948345356249"), now_s), Err(BadPush::WrongSignature));
}

#[test]
fn only_who_knows_the_token_is_believed() {
    let encrypted = encrypted(padded(framed(ticket_xml().as_bytes(), PLATFORM)));
    let body = body_with(&encrypted);
    assert_eq!(open(body.as_bytes(), &signature_of(&encrypted)), Ok(ticket()));
    let good = || signature_of(&encrypted);
    let wrong = [
        Signature::default(),
        Signature { timestamp: "1413192606".into(), ..good() },
        Signature { nonce: String::new(), ..good() },
        Signature { msg_signature: good().msg_signature.to_uppercase(), ..good() },
        Signature { msg_signature: good().msg_signature[..39].into(), ..good() },
        signature_of("something else"),
    ];
    for signature in wrong {
        assert_eq!(open(body.as_bytes(), &signature), Err(BadPush::WrongSignature), "{signature:?}");
    }
}

#[test]
fn a_push_for_another_platform_is_not_taken_for_ours() {
    let encrypted = encrypted(padded(framed(ticket_xml().as_bytes(), PLATFORM)));
    let addressed = |platform| body_with(&encrypted).replace(PLATFORM, platform);
    for (platform, bad) in [("wx1", BadPush::WrongSignature), ("wx2", BadPush::UnknownPlatform)] {
        assert_eq!(open(addressed(platform).as_bytes(), &signature_of(&encrypted)), Err(bad), "{platform}");
    }
    for other in ["wxffffffffffffffff", "", "wxfedcba987654321", "wxfedcba98765432100"] {
        assert_eq!(open_plain(padded(framed(ticket_xml().as_bytes(), other))), Err(BadPush::OtherPlatform), "{other}");
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let no_envelope = |body: &[u8]| assert_eq!(Envelope::read(body).err(), Some(BadPush::NoEnvelope), "{body:?}");
    no_envelope(b"");
    no_envelope(b"{}");
    no_envelope(b"\xff\xfe");
    no_envelope(b"<xml><AppId>wx1</AppId></xml>");
    no_envelope(b"<xml><Encrypt>AAAA</Encrypt></xml>");
    no_envelope(b"<xml><AppId>w x</AppId><Encrypt>AAAA</Encrypt></xml>");
    no_envelope(b"<xml><AppId>wx1</AppId><AppId>wx2</AppId><Encrypt>AAAA</Encrypt></xml>");
    for encrypted in ["A", "####", "AAAA", "YWJjZGVmZ2hpamtsbW5vcA=="] {
        let opened = open(body_with(encrypted).as_bytes(), &signature_of(encrypted));
        assert_eq!(opened, Err(BadPush::Undecryptable), "{encrypted}");
    }
    let rows = [
        ("not XML <", BadPush::NotXml),
        ("<xml><InfoType>authorized</InfoType>", BadPush::NotXml),
        ("<xml/>", BadPush::NoField("InfoType")),
        ("<xml><InfoType>a b</InfoType></xml>", BadPush::NoField("InfoType")),
        ("<xml><InfoType>authorized</InfoType></xml>", BadPush::NoField("AuthorizerAppid")),
        (
            "<xml><InfoType>unauthorized</InfoType><AuthorizerAppid>w x</AuthorizerAppid></xml>",
            BadPush::NoField("AuthorizerAppid"),
        ),
        (
            "<xml><InfoType>component_verify_ticket</InfoType><CreateTime>1</CreateTime></xml>",
            BadPush::NoField("ComponentVerifyTicket"),
        ),
        (
            "<xml><InfoType>component_verify_ticket</InfoType><CreateTime>-1</CreateTime>\
             <ComponentVerifyTicket>t</ComponentVerifyTicket></xml>",
            BadPush::NoField("CreateTime"),
        ),
    ];
    for (xml, bad) in rows {
        assert_eq!(open_xml(xml), Err(bad), "{xml}");
    }
    assert_eq!(open_plain(padded(framed(b"<xml>\xff</xml>", PLATFORM))), Err(BadPush::NotXml));
}

#[test]
fn a_frame_that_does_not_fit_is_no_push() {
    let good = framed(ticket_xml().as_bytes(), PLATFORM);
    for length in [0x7fff_ffff_u32, u32::MAX, good.len() as u32] {
        let mut plain = good.clone();
        plain[RANDOM_BYTES..RANDOM_BYTES + 4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(open_plain(padded(plain)), Err(BadPush::Undecryptable), "{length}");
    }
    for count in [0_u8, 33, 255] {
        let mut plain = padded(good.clone());
        *plain.last_mut().expect("it is padded") = count;
        assert_eq!(open_plain(plain), Err(BadPush::Undecryptable), "padding of {count}");
    }
    let mut uneven = padded(good);
    let last_but_one = uneven.len() - 2;
    uneven[last_but_one] ^= 1;
    assert_eq!(open_plain(uneven), Err(BadPush::Undecryptable), "each byte of the padding says how many they are");
}

#[test]
fn a_body_cut_anywhere_or_with_any_bit_turned_is_never_another_push() {
    let encrypted = encrypted(padded(framed(ticket_xml().as_bytes(), PLATFORM)));
    let (body, signature) = (body_with(&encrypted).into_bytes(), signature_of(&encrypted));
    for length in 0..body.len() {
        assert!(open(&body[..length], &signature).is_err(), "cut after {length}");
    }
    let mut refused = 0;
    for bit in 0..body.len() * 8 {
        let mut turned = body.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        match open(&turned, &signature) {
            Ok(push) => assert_eq!(push, ticket(), "bit {bit}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > body.len() * 7, "{refused} of {}", body.len() * 8);
}

#[test]
fn what_is_signed_may_hold_anything_and_nothing_panics() {
    let good = padded(framed(ticket_xml().as_bytes(), PLATFORM));
    for blocks in 0..good.len() / 16 {
        assert!(open_plain(good[..blocks * 16].to_vec()).is_err(), "{blocks} blocks");
    }
    let mut refused = 0;
    for bit in 0..good.len() * 8 {
        let mut turned = good.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        refused += usize::from(open_plain(turned).is_err());
    }
    assert!(refused > good.len(), "{refused} of {}", good.len() * 8);
}

#[test]
fn a_message_key_is_43_characters_of_base64() {
    let parse = |text: &str| MessageKey::try_from(&Secret::from(text)).map(drop);
    for good in [KEY, &"+".repeat(43), &"/".repeat(43)] {
        assert_eq!(parse(good), Ok(()), "{good}");
    }
    for bad in ["", &KEY[1..], &format!("{KEY}H"), &format!("{KEY}="), &KEY.replace('a', "-"), &KEY.replace('a', " ")] {
        assert_eq!(parse(bad), Err(BadMessageKey), "{bad}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let (keys, push) = (keys(), ticket());
    assert_eq!(format!("{keys:?}"), format!("MessageKeys {{ platform: AppId({PLATFORM:?}), token: ***, key: *** }}"));
    assert_eq!(format!("{push:?}"), "Ticket { ticket: ***, created_s: 1413192605 }");
}
