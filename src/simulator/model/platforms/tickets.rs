//! The tickets of one platform: pushed to it, shown by it in exchange for a component token.

use std::collections::VecDeque;

use super::super::HOUR_MS;
use super::super::errcodes::{TICKET_EXPIRED, TICKET_INVALID};
use crate::simulator::random::Random;

const TICKET_LIFE_MS: u64 = 12 * HOUR_MS;
/// A platform may still use the ticket before the newest one, since a push can come late.
const TICKETS_MOST: usize = 2;

#[derive(Default)]
pub(super) struct Tickets {
    /// The newest one last, each with the time of its minting.
    kept: VecDeque<(String, u64)>,
}

impl Tickets {
    pub(super) fn mint(&mut self, now_ms: u64, random: &mut Random) -> &str {
        if self.kept.len() >= TICKETS_MOST {
            self.kept.pop_front();
        }
        let mut ticket = String::from("ticket@@@");
        random.push_url_safe(&mut ticket, 86);
        self.kept.push_back((ticket, now_ms));
        self.newest().expect("one was just put there")
    }

    pub(super) fn check(&self, ticket: Option<&str>, now_ms: u64) -> Result<(), i64> {
        let known = self.kept.iter().find(|(kept, _)| Some(kept.as_str()) == ticket);
        let (_, minted_at_ms) = known.ok_or(TICKET_INVALID)?;
        if now_ms.saturating_sub(*minted_at_ms) < TICKET_LIFE_MS { Ok(()) } else { Err(TICKET_EXPIRED) }
    }

    pub(super) fn newest(&self) -> Option<&str> {
        self.kept.back().map(|(ticket, _)| ticket.as_str())
    }
}
