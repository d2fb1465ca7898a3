//! The verbs about access tokens, in one process.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::login::AppId;
use crate::secret::Secret;
use crate::store::memory::{Expiring, Memory};
use crate::store::tokens::TICKET_LIFE;
use crate::store::{Budget, Renewal, SharedRefusal, SharedState, SharedToken};

#[derive(Default)]
pub(super) struct TokenState {
    tokens: HashMap<AppId, SharedToken>,
    refusals: HashMap<AppId, SharedRefusal>,
    leads: Expiring<AppId, String>,
    /// With the platform that each is worth something for.
    refresh_tokens: HashMap<AppId, (AppId, Secret)>,
    /// When each budget was spent from.
    spent: HashMap<(&'static str, AppId), VecDeque<Instant>>,
    /// With when WeChat made each, in Unix s.
    tickets: Expiring<AppId, (Secret, u64)>,
}

impl Memory {
    pub(in crate::store) fn shared_token(&self, appid: &AppId) -> SharedState {
        let state = &self.state().tokens;
        SharedState { token: state.tokens.get(appid).cloned(), refusal: state.refusals.get(appid).cloned() }
    }

    pub(in crate::store) fn lead_refresh(&self, appid: &AppId, leader: &str, lease: Duration) -> bool {
        let leads = &mut self.state().tokens.leads;
        let mine_or_free = leads.get(appid).is_none_or(|leads| leads == leader);
        if mine_or_free {
            leads.put(appid.clone(), leader.to_owned(), lease);
        }
        mine_or_free
    }

    pub(in crate::store) fn share_token(
        &self,
        appid: &AppId,
        leader: &str,
        token: &SharedToken,
        renewal: Option<&Renewal>,
    ) -> bool {
        let state = &mut self.state().tokens;
        if let Some(Renewal { platform, former, refresh_token }) = renewal {
            let kept = state.refresh_tokens.get(appid).filter(|(of, _)| of == platform).map(|(_, token)| token);
            if kept == former.as_ref() {
                state.refresh_tokens.insert(appid.clone(), (platform.clone(), refresh_token.clone()));
            }
        }
        let leads = state.leads.get(appid).is_some_and(|leads| leads == leader);
        if leads {
            state.leads.remove(appid);
            state.refusals.remove(appid);
            state.tokens.insert(appid.clone(), token.clone());
        }
        leads
    }

    pub(in crate::store) fn end_refresh(&self, appid: &AppId, leader: &str, refusal: Option<&SharedRefusal>) {
        let state = &mut self.state().tokens;
        if state.leads.get(appid).is_some_and(|leads| leads == leader) {
            state.leads.remove(appid);
            if let Some(refusal) = refusal {
                state.refusals.insert(appid.clone(), refusal.clone());
            }
        }
    }

    pub(in crate::store) fn refresh_token(&self, appid: &AppId, platform: &AppId) -> Option<Secret> {
        let state = &self.state().tokens;
        state.refresh_tokens.get(appid).filter(|(of, _)| of == platform).map(|(_, token)| token.clone())
    }

    pub(in crate::store) fn keep_ticket(
        &self,
        platform: &AppId,
        ticket: &Secret,
        created_s: u64,
        latest_s: u64,
    ) -> bool {
        let tickets = &mut self.state().tokens.tickets;
        let is_newer = |earlier_s| (created_s + 1..=latest_s).contains(&earlier_s);
        let newest = tickets.get(platform).is_none_or(|(_, earlier_s)| !is_newer(*earlier_s));
        if newest {
            tickets.put(platform.clone(), (ticket.clone(), created_s), TICKET_LIFE);
        }
        newest
    }

    pub(in crate::store) fn ticket(&self, platform: &AppId) -> Option<Secret> {
        self.state().tokens.tickets.get(platform).map(|(ticket, _)| ticket.clone())
    }

    pub(in crate::store) fn has_left(&self, appid: &AppId, budget: &Budget) -> bool {
        let now = Instant::now();
        let state = &self.state().tokens;
        let spent = state.spent.get(&(budget.name, appid.clone()));
        let lately = spent.into_iter().flatten().filter(|at| now.duration_since(**at) < budget.within);
        lately.count() < budget.most as usize
    }

    pub(in crate::store) fn spend(&self, appid: &AppId, budget: &Budget) -> bool {
        let Budget { name, most, within, apart } = *budget;
        let now = Instant::now();
        let state = &mut self.state().tokens;
        let spent = state.spent.entry((name, appid.clone())).or_default();
        while spent.front().is_some_and(|at| now.duration_since(*at) >= within) {
            spent.pop_front();
        }
        let may = spent.len() < most as usize && spent.back().is_none_or(|at| now.duration_since(*at) >= apart);
        if may {
            spent.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_kept_for_twelve_hours_from_its_last_push() {
        let (memory, platform) = (Memory::default(), AppId::try_from("wx1").expect("a good appid"));
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        assert!(memory.keep_ticket(&platform, &"newer".into(), 2000, 9000));
        tokio::time::advance(hours(11)).await;
        assert!(!memory.keep_ticket(&platform, &"older".into(), 1999, 9000));
        assert!(memory.keep_ticket(&platform, &"newer".into(), 2000, 9000), "the same once more");
        tokio::time::advance(hours(11)).await;
        assert_eq!(memory.ticket(&platform), Some("newer".into()));
        tokio::time::advance(hours(1)).await;
        assert_eq!(memory.ticket(&platform), None);
        assert!(memory.keep_ticket(&platform, &"older".into(), 1999, 9000), "better than none");
        assert!(memory.keep_ticket(&platform, &"of the future".into(), 9000, 9000));
        assert!(memory.keep_ticket(&platform, &"real".into(), 2001, 8999), "no clock says that it can be newer");
    }
}
