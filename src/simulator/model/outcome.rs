//! What becomes of a request: the normal answer, or what a step makes of it.

use hyper::body::Bytes;

use super::errcodes::error_body;
use crate::simulator::random::Random;
use crate::simulator::record::EndpointAsked;
use crate::simulator::script::{Step, Then};

/// What becomes of one request, and how long it waits first.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) delay_ms: u64,
    pub(crate) act: Act,
}

#[derive(Debug)]
pub(crate) enum Act {
    Answer {
        status: u16,
        /// What the body says, where it is in WeChat's own shape.
        errcode: Option<i64>,
        headers: Vec<(String, String)>,
        body: Bytes,
    },
    Huge {
        bytes: u64,
    },
    Cut,
    CutInBody(Bytes),
    HangInBody(Bytes),
    Hang,
}

impl Outcome {
    /// Turns what WeChat would say, and what a step makes of it, into what goes out.
    pub(super) fn of(step: Step, said: Result<Vec<u8>, i64>, now_ms: u64, random: &mut Random) -> Self {
        let errcode = said.as_ref().err().copied().unwrap_or(0);
        let mut write = |said: Result<Vec<u8>, i64>| -> Bytes {
            said.unwrap_or_else(|errcode| error_body(errcode, now_ms, random)).into()
        };
        let act = match step.then {
            Then::Normal => Act::answer(errcode, write(said)),
            Then::Errcode { errcode, .. } => Act::answer(errcode, write(Err(errcode))),
            Then::Http { status, body, .. } => {
                Act::Answer { status, errcode: None, headers: vec![], body: body.into() }
            }
            Then::Raw { status, headers, body, .. } => {
                Act::Answer { status, errcode: None, headers, body: body.into() }
            }
            Then::Huge { bytes, .. } => Act::Huge { bytes },
            Then::CutBefore | Then::CutAfter => Act::Cut,
            Then::CutInBody => Act::CutInBody(write(said)),
            Then::HangInBody => Act::HangInBody(write(said)),
            Then::HangBefore | Then::HangAfter => Act::Hang,
        };
        Self { delay_ms: step.delay_ms, act }
    }
}

impl Act {
    fn answer(errcode: i64, body: Bytes) -> Self {
        Self::Answer { status: 200, errcode: Some(errcode), headers: vec![], body }
    }

    pub(super) fn count_into(&self, asked: &mut EndpointAsked) {
        asked.calls += 1;
        match self {
            Self::Cut | Self::CutInBody(_) => asked.cut += 1,
            Self::Hang | Self::HangInBody(_) => asked.hung += 1,
            Self::Answer { .. } | Self::Huge { .. } => asked.answered += 1,
        }
        match self {
            Self::Answer { errcode: Some(errcode), .. } => *asked.by_errcode.entry(*errcode).or_default() += 1,
            Self::Answer { status, .. } => *asked.by_status.entry(*status).or_default() += 1,
            Self::Huge { .. } => *asked.by_status.entry(200).or_default() += 1,
            Self::Cut | Self::CutInBody(_) | Self::HangInBody(_) | Self::Hang => {}
        }
    }

    /// Whether an answer is let go, whole.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Answer { .. } | Self::Huge { .. })
    }

    /// What a log may say of it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "answered",
            Self::Huge { .. } => "huge",
            Self::Cut => "cut",
            Self::CutInBody(_) => "cut in the body",
            Self::HangInBody(_) => "hung in the body",
            Self::Hang => "hung",
        }
    }

    pub(super) fn errcode(&self) -> Option<i64> {
        match self {
            Self::Answer { errcode, .. } => *errcode,
            _ => None,
        }
    }
}
