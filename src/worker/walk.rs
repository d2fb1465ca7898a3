//! One login's walk, from its turn to its result: which stage comes next. What happens in each is told beside it.

use tokio_util::sync::CancellationToken;

use crate::login::{LoginRequest, Outcome};
use crate::queue::{Delivery, Returns, Settlement};
use crate::stop_point::StopPoint;
use crate::store::Claimed;
use crate::verdict::History;
use crate::worker::Worker;
use crate::worker::arriving::{Login, Turn};
use crate::worker::claiming::Lease;
use crate::worker::shares::{Slot, Standing};
use crate::worker::unasked::Unasked;

/// A login in hand, and how far it has walked; that is true also after a panic on the way.
pub(super) struct Walk<'a> {
    pub(super) worker: &'a Worker,
    pub(super) delivery: &'a Delivery,
    pub(super) login: &'a Login,
    /// After this, it may be given back.
    pub(super) hard: &'a CancellationToken,
    /// Its last claim.
    pub(super) claimed: Option<Claimed>,
    pub(super) history: History,
}

impl<'a> Walk<'a> {
    /// Nothing has happened yet.
    pub(super) fn new(
        worker: &'a Worker,
        delivery: &'a Delivery,
        login: &'a Login,
        hard: &'a CancellationToken,
    ) -> Self {
        Self { worker, delivery, login, hard, claimed: None, history: History::default() }
    }

    /// Waits for the login's turn, and then goes on or answers it unasked. At the soft stop, one that still waits is given
    /// back.
    pub(super) async fn take_turn(&mut self, standing: Standing, soft: &CancellationToken) -> Settlement {
        match self.worker.turn(self.login, standing, soft).await {
            Some(Turn::Unasked(why)) if self.delivery.returns == Returns::Few => self.conclude_unasked(why).await,
            Some(turn) => self.go_on(&turn).await,
            None => Settlement::Requeue,
        }
    }

    /// From the claim to the result; once more, where the claim is lost on the way.
    pub(super) async fn go_on(&mut self, turn: &Turn) -> Settlement {
        StopPoint::Share.reached();
        while let Some(mut lease) = self.worker.claim(&self.login.id).await {
            self.claimed = Some(lease.claimed.clone());
            self.history.learn(lease.claimed.asked, lease.claimed.unheard);
            StopPoint::Claimed.reached();
            match self.conclude(turn, &mut lease).await {
                Some(outcome) => return self.finish(&lease.claimed, outcome).await,
                None if self.hard.is_cancelled() => return Settlement::Requeue,
                // The claim is someone else's now; their result is as good.
                None => {}
            }
        }
        Settlement::Ack
    }

    /// None: the claim was lost to someone else, or given back after a hard stop.
    async fn conclude(&mut self, turn: &Turn, lease: &mut Lease<'_>) -> Option<Outcome> {
        let why = match (turn, &self.login.request) {
            _ if self.is_worn_out(&lease.claimed) => Unasked::WornOut,
            (Turn::Ask(slot), Ok(request)) => return self.ask_in(slot, request, lease).await,
            (Turn::Ask(_), Err(_)) => Unasked::Unservable,
            (Turn::Unasked(why), _) => *why,
        };
        Some(self.unasked_outcome(why))
    }

    /// While it is WeChat that the login waits for, its slot knows.
    async fn ask_in(&mut self, slot: &Slot, request: &LoginRequest, lease: &mut Lease<'_>) -> Option<Outcome> {
        let waits = slot.ask();
        let outcome = self.ask(request, lease).await;
        if let (Some(Outcome::Succeeded(_)), 1) = (&outcome, self.history.asked) {
            waits.succeeded_at_once();
        }
        outcome
    }
}
