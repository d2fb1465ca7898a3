//! The logins that the demo shows.

use std::time::Duration;

use crate::commands::CommandError;
use crate::commands::simulate::SIMULATED_APPID;
use crate::login::{LoginResult, Reason};
use crate::simulator::{AppChange, CountryCodeAs, Mint, Simulator, Step, Then};

/// An app that the simulator knows and the line does not: codes of a sister mini program.
const SISTER_APPID: &str = "wxfedcba9876543210";

/// One kind of login.
pub(super) struct Case {
    /// What is special about it.
    pub(super) title: &'static str,
    /// How it should end.
    pub(super) expected: Expected,
    pub(super) mint: Mint,
    pub(super) how: How,
}

/// How a login should end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Succeeded,
    Failed(Reason),
    /// The gateway says no, with this status, and nothing is published.
    TurnedAway(u16),
}

/// How the code gets into the line.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// Once, over HTTP.
    Once,
    /// Over HTTP three times: an impatient user, a gateway's client that retries.
    ThreeTimes,
    /// Over HTTP, for an app that nobody configured.
    OfUnknownApp,
    /// Over HTTP, long after the tap.
    Late,
    /// Over HTTP, just after every token was revoked.
    TokenRevoked,
    /// Published to the queue twice under one id, as an at-least-once publisher may.
    PublishedTwice,
    /// Over HTTP, and when that has succeeded, the same code once more under another id.
    Reused,
}

/// A login that has concluded.
pub(super) struct Shown {
    pub(super) title: &'static str,
    pub(super) ending: Ending,
    pub(super) took: Duration,
    pub(super) as_expected: bool,
}

pub(super) enum Ending {
    Result(Box<LoginResult>),
    TurnedAway(u16),
    /// The line did not do what it should.
    Broken(String),
}

impl Case {
    /// These come first, since they show the token: fetched by the first, revoked before the second.
    pub(super) fn one_after_another() -> Vec<Self> {
        vec![
            Self::new("a login like most", Expected::Succeeded, normal(), How::Once),
            Self::new("every token was just revoked", Expected::Succeeded, normal(), How::TokenRevoked),
        ]
    }

    pub(super) fn all_at_once() -> Vec<Self> {
        use Expected::{Failed, Succeeded, TurnedAway};
        let busy = || Step::errcode(-1);
        let sisters = Mint::of(SISTER_APPID);
        let forever = scripted(&vec![busy(); 40]);
        vec![
            Self::new("a number from abroad", Succeeded, from_abroad(), How::Once),
            Self::new("an impatient user taps three times", Succeeded, normal(), How::ThreeTimes),
            Self::new("the queue delivers it twice", Succeeded, normal(), How::PublishedTwice),
            Self::new("WeChat is busy twice", Succeeded, scripted(&[busy(), busy()]), How::Once),
            Self::new("WeChat answers HTTP 502", Succeeded, scripted(&[Step::http(502, "bad gateway")]), How::Once),
            Self::new("WeChat throttles for a moment", Succeeded, scripted(&[Step::errcode(45011)]), How::Once),
            Self::new("the line is cut on the way there", Succeeded, scripted(&[Then::CutBefore.into()]), How::Once),
            Self::new(
                "the line is cut on the way back",
                Failed(Reason::InDoubt),
                scripted(&[Then::CutAfter.into()]),
                How::Once,
            ),
            Self::new("a code used before", Failed(Reason::InvalidCode), normal(), How::Reused),
            Self::new("a tap six minutes ago", Failed(Reason::Expired), normal(), How::Late),
            Self::new("a code of a sister app", Failed(Reason::AppMismatch), sisters, How::Once),
            Self::new("an app that nobody configured", TurnedAway(422), normal(), How::OfUnknownApp),
            Self::new(
                "the app may not call this",
                Failed(Reason::NotAllowed),
                scripted(&[Step::errcode(48001)]),
                How::Once,
            ),
            Self::new(
                "an answer that is no answer",
                Failed(Reason::BadAnswer),
                scripted(&[Step::http(200, "<html>")]),
                How::Once,
            ),
            Self::new("WeChat is busy for ever", Failed(Reason::Unavailable), forever, How::Once),
        ]
    }

    fn new(title: &'static str, expected: Expected, mint: Mint, how: How) -> Self {
        Self { title, expected, mint, how }
    }
}

fn normal() -> Mint {
    Mint::of(SIMULATED_APPID)
}

fn scripted(steps: &[Step]) -> Mint {
    normal().script(steps.to_vec())
}

fn from_abroad() -> Mint {
    Mint {
        phone_number: Some("+85251234567".into()),
        pure_phone_number: Some("51234567".into()),
        country_code: Some("852".into()),
        country_code_as: CountryCodeAs::Number,
        ..normal()
    }
}

/// Makes the sister app known to the simulator.
pub(super) fn prepare(simulator: &Simulator) -> Result<(), CommandError> {
    let sister = AppChange::new(SISTER_APPID, "00000000000000000000000000000000");
    simulator.put_app(sister).map_err(|refused| CommandError::at_run_time(format!("the simulator: {refused}")))
}
