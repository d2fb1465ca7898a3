//! What the button is told, and what it gives: the nouns of minting a code.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::simulator::script::Step;

/// A code to mint, as the button would. Everything may be left out.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mint {
    /// The mini program; the only one where none is named.
    pub appid: Option<String>,
    /// `phoneNumber` of the answer; unless given, 13800000000 and counting up.
    pub phone_number: Option<String>,
    /// `purePhoneNumber` of the answer; unless given, the number without its `+CC`.
    pub pure_phone_number: Option<String>,
    /// `countryCode` of the answer; 86 unless given.
    pub country_code: Option<String>,
    /// How `countryCode` is written.
    pub country_code_as: CountryCodeAs,
    /// The user; a request that names another one is refused. Without it any openid will do.
    pub openid: Option<String>,
    /// What the watermark says.
    pub watermark: Watermark,
    /// How long ago the button was tapped, in seconds.
    pub age_s: u64,
    /// What happens on the first, second … asking; normal ones follow.
    pub script: Vec<Step>,
}

impl Mint {
    /// An ordinary code of this app.
    #[must_use]
    pub fn of(appid: impl Into<String>) -> Self {
        Self { appid: Some(appid.into()), ..Self::default() }
    }

    /// The same with this script.
    #[must_use]
    pub fn script(mut self, script: impl IntoIterator<Item = Step>) -> Self {
        self.script = script.into_iter().collect();
        self
    }
}

/// How `countryCode` is written: WeChat's documents disagree with themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountryCodeAs {
    /// `"86"`, as every captured answer has it.
    #[default]
    String,
    /// `86`, as the documented example has it.
    Number,
    /// Left out.
    Absent,
}

/// The watermark of an answer; as JSON `"right"`, `"missing"`, or the appid it wrongly names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Watermark {
    /// It names the app that the code came from.
    #[default]
    Right,
    /// There is none.
    Missing,
    /// It names this app instead.
    Names(String),
}

impl From<String> for Watermark {
    fn from(said: String) -> Self {
        match said.as_str() {
            "right" => Self::Right,
            "missing" => Self::Missing,
            _ => Self::Names(said),
        }
    }
}

/// A code, and what a login with it should come to know.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minted {
    /// 64 lower-case hex digits.
    pub code: String,
    /// The number that one asking will bring.
    #[serde(rename = "phoneNumber")]
    pub phone_number: String,
    /// When the button was tapped, in Unix milliseconds.
    pub issued_at: u64,
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Mint");
        shown.field("appid", &self.appid);
        shown.field("script", &self.script);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Minted(***)")
    }
}

impl Mint {
    /// Whether an answer needs nothing of this but the app and the age.
    pub(super) fn is_ordinary(&self) -> bool {
        self.phone_number.is_none()
            && self.pure_phone_number.is_none()
            && self.country_code.is_none()
            && self.country_code_as == CountryCodeAs::String
            && self.openid.is_none()
            && self.watermark == Watermark::Right
            && self.script.is_empty()
    }
}
