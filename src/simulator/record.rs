//! The record: who asked what how often. Counters only; it never holds a token or a secret, and the
//! codes that it names are simulated ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was asked since the start or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// `POST /wxa/business/getuserphonenumber`.
    pub phone: EndpointAsked,
    /// `POST /cgi-bin/stable_token`.
    pub stable_token: EndpointAsked,
    /// `GET /cgi-bin/token`.
    pub classic_token: EndpointAsked,
    /// `POST /cgi-bin/component/api_component_token`.
    pub component_token: EndpointAsked,
    /// `POST /cgi-bin/component/api_authorizer_token`.
    pub authorizer_token: EndpointAsked,
    /// `POST /cgi-bin/component/api_get_authorizer_list`.
    pub authorizer_list: EndpointAsked,
    /// `POST /cgi-bin/component/api_start_push_ticket`.
    pub start_push: EndpointAsked,
    /// Calls of the token endpoints by appid, for the apps known here.
    pub tokens: BTreeMap<String, TokenAsked>,
    /// Every token still remembered, oldest first: what one token life cost and served.
    pub token_lives: Vec<TokenLife>,
    /// How many different codes were asked about.
    pub distinct_codes: u64,
    /// How many of them more than once.
    pub codes_asked_more_than_once: u64,
    /// Each code asked about, unless minted more than ten minutes ago.
    pub codes: BTreeMap<String, CodeAsked>,
    /// Connections accepted; fewer than calls where clients keep theirs alive.
    pub connections: u64,
    /// Connections open at this moment; a reset leaves it alone.
    pub connections_open: u64,
    /// TLS handshakes on those connections; none over plain HTTP.
    pub handshakes: Handshakes,
    /// How late the phone endpoint's answers were by the simulator's own doing.
    pub late: Lateness,
}

/// TLS handshakes, as they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshakes {
    /// With new keys and a look at the certificate.
    pub full: u64,
    /// Going on from an earlier connection.
    pub resumed: u64,
    /// Given up by either side, or not finished in time.
    pub failed: u64,
}

/// How long after its moment, which is the call's arrival and its latency, an answer was handed to its socket. About
/// 1 ms is the timer's own; much more means that the simulator is what is being measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// Of so many answers,
    pub answers: u64,
    /// on average, in microseconds,
    pub mean_us: u64,
    /// and at worst, in microseconds.
    pub max_us: u64,
}

/// The calls of one endpoint: every call is answered, cut or left hanging.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointAsked {
    /// All calls.
    pub calls: u64,
    /// Calls whose answer was let go, whole.
    pub answered: u64,
    /// Calls whose connection was dropped.
    pub cut: u64,
    /// Calls that get no answer for ever.
    pub hung: u64,
    /// Answers in WeChat's own shape by errcode; 0 is success.
    pub by_errcode: BTreeMap<i64, u64>,
    /// Scripted answers of another shape by HTTP status.
    pub by_status: BTreeMap<u16, u64>,
}

/// How often one code was asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeAsked {
    /// Requests that named it, whatever came of them.
    pub asked: u32,
    /// Those whose answer was let go, whole.
    pub answered: u32,
    /// Whether it is spent.
    pub used: bool,
    /// When the last of those requests came, in Unix milliseconds; 0 if none did.
    pub last_asked_at: u64,
}

/// Calls of the token endpoints for one app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenAsked {
    /// `stable_token`, normal mode.
    pub normal: u64,
    /// `stable_token` with `force_refresh`.
    pub forced: u64,
    /// `token`.
    pub classic: u64,
}

/// One token's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenLife {
    /// Whose it is: an app's, a merchant's or a platform's.
    pub appid: String,
    /// Which endpoint minted it.
    pub source: TokenSource,
    /// When, in Unix milliseconds.
    pub minted_at: u64,
    /// Token calls that were given it.
    pub handed_out: u64,
    /// Phone calls, or calls of the platform, that came with it while it lived.
    pub asked_with: u64,
}

/// Which endpoint minted a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// `POST /cgi-bin/stable_token`.
    Stable,
    /// `GET /cgi-bin/token`.
    Classic,
    /// `POST /cgi-bin/component/api_component_token`.
    Component,
    /// `POST /cgi-bin/component/api_authorizer_token`.
    Authorizer,
}
