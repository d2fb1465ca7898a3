//! The way from a worker to the store and back: it takes a while, verbs and answers get lost on it, and at times nothing
//! gets through. Every verb is an await, so that a crash can come on either side of it.

use std::fmt::{self, Debug, Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use quicklogin::store::Distance;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::machine::SimulatedMachine;
use crate::story::{AWAY, Event};
use crate::world::World;

/// What a worker's Redis client waits for an answer.
const TIMEOUT_MS: u64 = 1000;

pub(crate) struct Road {
    pub(crate) world: Arc<World>,
    pub(crate) machine: Arc<SimulatedMachine>,
}

/// What becomes of one way.
enum Way {
    AtOnce,
    After(u64),
    Lost(u64),
}

impl Distance for Road {
    fn there(&self, verb: &'static str, key: &(dyn Display + Sync)) -> BoxFuture<'static, bool> {
        let (way, key) = (self.throw(), key.to_string());
        self.tell(verb, &key, &way);
        let (world, machine) = (Arc::clone(&self.world), Arc::clone(&self.machine));
        Box::pin(async move {
            let arrives = go(&way).await;
            if !arrives {
                world.note(Event::Said { who: machine.name, verb, key, became: AWAY });
            }
            arrives
        })
    }

    fn back(&self, verb: &'static str, key: &(dyn Display + Sync), answer: &dyn Debug) -> BoxFuture<'static, bool> {
        let key = key.to_string();
        let became = word(verb, answer);
        self.world.carried_out(&self.machine, verb, &key, became);
        let way = self.world.takes(verb).map_or_else(|| self.throw(), Way::After);
        self.tell(verb, &key, &way);
        let (world, machine) = (Arc::clone(&self.world), Arc::clone(&self.machine));
        Box::pin(async move {
            let arrives = go(&way).await;
            if !arrives {
                world.note(Event::Said { who: machine.name, verb, key, became: "the answer is lost" });
            }
            arrives
        })
    }
}

impl Road {
    /// Whoever loses something on its way has trouble from now on, and not only when it is noticed.
    fn tell(&self, verb: &str, key: &str, way: &Way) {
        if matches!(way, Way::Lost(_) | Way::After(500..)) {
            self.world.ledger().trouble_with_store(verb, key);
        }
    }

    fn throw(&self) -> Way {
        let (rates, away) = (&self.world.plan.rates, self.world.store_is_away(self.machine.name.worker));
        let mut dice = self.world.dice();
        if away {
            return Way::Lost(if dice.bool() { 1 } else { TIMEOUT_MS });
        }
        if self.world.is_healed() {
            return Way::AtOnce;
        }
        match dice.u32(..1000) {
            thrown if thrown < rates.store_lost / 2 => Way::Lost(dice.u64(1..=TIMEOUT_MS)),
            thrown if thrown >= 1000 - rates.store_slow => Way::After(dice.u64(200..=2500)),
            _ if dice.bool() => Way::AtOnce,
            _ => Way::After(dice.u64(1..=rates.store_ms)),
        }
    }
}

async fn go(way: &Way) -> bool {
    match way {
        Way::AtOnce => yield_now().await,
        Way::After(ms) | Way::Lost(ms) => sleep(Duration::from_millis(*ms)).await,
    }
    !matches!(way, Way::Lost(_))
}

/// What the store answered, in a word.
fn word(verb: &str, answer: &dyn Debug) -> &'static str {
    if !matches!(verb, "claim" | "extend" | "record" | "record_unclaimed" | "lead_refresh") {
        return "done";
    }
    let mut beginning = Beginning(String::with_capacity(16));
    // It stops when it has heard enough.
    let _ = write!(beginning, "{answer:?}");
    let words = ["Mine", "Held", "Claimed", "Recorded", "Written", "Kept", "NotMine", "true", "false"];
    words.into_iter().find(|word| beginning.0.starts_with(word)).expect("an answer that is known here")
}

/// The first characters of a text, and then an end.
struct Beginning(String);

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() < 8 { Ok(()) } else { Err(fmt::Error) }
    }
}
