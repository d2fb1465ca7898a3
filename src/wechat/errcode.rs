//! What WeChat's errcodes mean, by endpoint. Sources: WeChat's documents of `getuserphonenumber`,
//! `getStableAccessToken` and the tokens of third-party platforms, and its list of global return codes.
//!
//! The model is open: an errcode that is not listed is a refusal that is passed on with its number and text. Texts are
//! never matched, since WeChat changes them.

/// The class of an errcode of `getuserphonenumber`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneErrcode {
    /// -1: WeChat is busy.
    Busy,
    /// 40029: the code is unknown, used, or older than five minutes.
    DeadCode,
    /// 40013: the code was made for another app.
    OtherApp,
    /// 40001, 40014, 42001: the token is not, or no longer, valid.
    BadToken,
    /// 45009, 45011: too many calls in a day or a minute.
    Throttled,
    /// This app may not call this endpoint.
    NotAllowed,
    /// Anything else.
    Other,
}

/// The class of an errcode of `getuserphonenumber`.
pub fn of_phone(errcode: i64) -> PhoneErrcode {
    match errcode {
        -1 => PhoneErrcode::Busy,
        40029 => PhoneErrcode::DeadCode,
        40013 => PhoneErrcode::OtherApp,
        40001 | 40014 | 42001 => PhoneErrcode::BadToken,
        45009 | 45011 => PhoneErrcode::Throttled,
        48001 | 48004 | 50002 | 61003 | 61004 | 61007 | 40097 | 40200..=40299 => PhoneErrcode::NotAllowed,
        _ => PhoneErrcode::Other,
    }
}

/// Whether an errcode says that the token is not, or no longer, valid.
pub fn is_bad_token(errcode: i64) -> bool {
    of_phone(errcode) == PhoneErrcode::BadToken
}

/// Whether an errcode proves that the token is good: the call got to where codes are looked at.
pub fn proves_the_token(errcode: i64) -> bool {
    matches!(of_phone(errcode), PhoneErrcode::DeadCode | PhoneErrcode::OtherApp)
}

/// Whether an errcode says that WeChat serves this app no calls at all, whatever the code: not certified, without the
/// permission, limited or punished. 40097 and 402xx are not among them: one odd request may bring them about.
pub fn stops_the_app(errcode: i64) -> bool {
    matches!(errcode, 48001 | 48004 | 50002 | 50004 | 50007 | 61003 | 61004 | 61007)
}

/// Whether an errcode, of whichever endpoint, says that the app or its third-party platform may not call this.
pub fn forbids_the_app(errcode: i64) -> bool {
    stops_the_app(errcode) && of_phone(errcode) == PhoneErrcode::NotAllowed
}

/// The class of an errcode of the token endpoints, those of third-party platforms among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenErrcode {
    /// -1, 45011: goes away by itself within seconds or minutes.
    Passing,
    /// 40164, 61004, 89501 to 89507: WeChat does not know this machine's address; another machine may be served.
    Address,
    /// Everything else, such as 40125 (wrong secret), 40243 (secret frozen): an operator must act.
    Setup,
}

/// The class of an errcode of the token endpoints.
pub fn of_token(errcode: i64) -> TokenErrcode {
    match errcode {
        -1 | 45011 => TokenErrcode::Passing,
        40164 | 61004 | 89501..=89507 => TokenErrcode::Address,
        _ => TokenErrcode::Setup,
    }
}

/// Whether an errcode is about getting a token: a login that meets it hears it from a token endpoint, and not from an
/// exchange.
pub fn is_of_token(errcode: i64) -> bool {
    match errcode {
        40002 | 40125 | 40164 | 40243 | 41002 | 41004 | 50004 | 50007 => true,
        61005 | 61006 | 61011 | 61023 | 61024 => true,
        _ => matches!(errcode, 89501..=89507),
    }
}
