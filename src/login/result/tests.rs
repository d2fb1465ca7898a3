//! Results as they are written, against the contract, and read again.

use super::*;
use crate::login::Watermark;

fn succeeded() -> LoginResult {
    LoginResult {
        request_id: RequestId::try_from("r-1").expect("a good id"),
        appid: AppId::try_from("wx0123456789abcdef").ok(),
        outcome: Outcome::Succeeded(PhoneInfo {
            phone_number: "13800000000".into(),
            pure_phone_number: Some("13800000000".into()),
            country_code: Some("86".into()),
            watermark: Some(Watermark { timestamp: Some(1_637_744_274), appid: Some("wx0123456789abcdef".into()) }),
        }),
        attempts: 1,
        finished_at: 1_637_744_275_123,
        simulated: false,
    }
}

#[test]
fn a_success_is_written_as_the_contract_says() {
    assert_eq!(
        String::from_utf8(succeeded().to_json(None)).expect("UTF-8"),
        r#"{"request_id":"r-1","status":"succeeded","appid":"wx0123456789abcdef","phone_info":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{"timestamp":1637744274,"appid":"wx0123456789abcdef"}},"attempts":1,"finished_at":1637744275123}"#
    );
}

#[test]
fn a_failure_is_written_as_the_contract_says() {
    let answer =
        WechatAnswer { errcode: 40029, errmsg: "invalid code".into(), rid: Some("65f3e9f7-77cf1a1c-0dd74a0e".into()) };
    let failure = Failure { answer: Some(answer), ..Failure::new(Reason::InvalidCode) };
    let result = LoginResult { outcome: Outcome::Failed(failure), ..succeeded() };
    let text = result.to_json(None);
    assert_eq!(
        String::from_utf8_lossy(&text),
        r#"{"request_id":"r-1","status":"failed","appid":"wx0123456789abcdef","error":{"reason":"invalid_code","advice":"new_code","errcode":40029,"errmsg":"invalid code","rid":"65f3e9f7-77cf1a1c-0dd74a0e"},"attempts":1,"finished_at":1637744275123}"#
    );
    assert_eq!(LoginResult::from_json(&text, None), Ok(result));
}

#[test]
fn a_sealed_success_shows_no_number_and_opens_again() {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    let key = SealingKey::new("k1", &text.into()).expect("32 bytes");
    let stored = succeeded().to_json(Some(&key));
    assert!(!String::from_utf8_lossy(&stored).contains("13800000000"));
    assert_eq!(LoginResult::from_json(&stored, Some(&key)), Ok(succeeded()));
    assert_eq!(LoginResult::from_json(&stored, None), Err(UnreadableResult::NoKey));
}

#[test]
fn a_phone_number_prints_as_stars() {
    assert!(!format!("{:?}", succeeded()).contains("138"));
}
