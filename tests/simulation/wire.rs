//! The way from a worker to WeChat and back. WeChat itself is the product's simulator, asked without a socket; what it
//! was sent it deals with, whatever becomes of the worker that sent it.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::Request;
use quicklogin::machine::Machine as _;
use quicklogin::wechat::{Call, Fault, Heard, StandIn};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::ledger::End;
use crate::machine::SimulatedMachine;
use crate::story::Event;
use crate::world::World;

/// What becomes of one call.
#[derive(Clone, Copy)]
enum Fate {
    Unreachable {
        after: u64,
    },
    /// Before it is sent, or when the answer is heard.
    Panics {
        after: u64,
        sent: bool,
    },
    /// It does not arrive, and nobody says so.
    Lost,
    Arrives {
        after: u64,
        back: Back,
    },
}

#[derive(Clone, Copy)]
enum Back {
    Arrives { after: u64 },
    Lost,
    Cut { after: u64 },
}

/// What a worker on this machine reaches as WeChat.
pub(crate) fn wechat_for(world: &Arc<World>, machine: &Arc<SimulatedMachine>) -> StandIn {
    let (world, machine) = (Arc::clone(world), Arc::clone(machine));
    Arc::new(move |call| -> BoxFuture<'static, _> { Box::pin(carry(Arc::clone(&world), Arc::clone(&machine), call)) })
}

async fn carry(world: Arc<World>, machine: Arc<SimulatedMachine>, call: Call) -> Result<Heard, Fault> {
    let (code, fate) = (code_of(&call), throw(&world, &call));
    let asking = code.as_deref().and_then(|code| world.asks(&machine, code));
    if code.is_none() {
        world.note(Event::AsksForToken(machine.name));
    }
    let mut hearing = Hearing { world: Arc::clone(&world), machine, asking, is_over: false };
    match fate {
        Fate::Unreachable { after } => {
            wait(after).await;
            hearing.ends(End::NotSent);
            return Err(Fault::Unreachable("refused".into()));
        }
        Fate::Panics { after, sent: false } => {
            wait(after).await;
            hearing.panics();
        }
        _ => {}
    }
    let (answers, answer) = oneshot::channel();
    let (arrives, arrived) = oneshot::channel();
    tokio::spawn(at_wechat(world, fate, call, asking, code, answers));
    tokio::spawn(hearing.machine.carry(Box::pin(receive(answer, arrives))));
    let answered = arrived.await;
    if let Fate::Panics { .. } = fate {
        hearing.panics();
    }
    match answered {
        Ok(Some(heard)) => {
            hearing.ends(End::of(&heard));
            Ok(heard)
        }
        Ok(None) | Err(_) => {
            hearing.ends(End::Cut);
            Err(Fault::Unheard("the connection was cut".into()))
        }
    }
}

/// What a connection does, on the worker's machine and beside what waits for it: so when the machine thaws, who waits may
/// be polled before the answer is.
async fn receive(answer: oneshot::Receiver<Option<Heard>>, mut arrives: oneshot::Sender<Option<Heard>>) {
    let answer = tokio::select! {
        biased;
        answer = answer => answer.ok().flatten(),
        () = arrives.closed() => return,
    };
    // Nobody waits any more? Then nobody hears it.
    let _ = arrives.send(answer);
}

/// What happens beyond the worker, and goes on without it.
async fn at_wechat(
    world: Arc<World>,
    fate: Fate,
    call: Call,
    asking: Option<usize>,
    code: Option<String>,
    answers: oneshot::Sender<Option<Heard>>,
) {
    let (after, back) = match fate {
        Fate::Arrives { after, back } => (after, back),
        Fate::Panics { after, .. } => (after, Back::Arrives { after }),
        Fate::Lost | Fate::Unreachable { .. } => return answers_never(answers).await,
    };
    wait(after).await;
    let was_spent = code.as_deref().is_some_and(|code| world.is_spent(code));
    let mut answering = pin!(world.simulator.answer(request(call)));
    let begun = std::future::poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await;
    if let (Some(asking), Some(code)) = (asking, &code) {
        world.arrives(asking, !was_spent && world.is_spent(code));
    }
    let answered = match begun {
        Poll::Ready(answered) => answered,
        Poll::Pending => answering.await,
    };
    let after = match back {
        Back::Lost => return answers_never(answers).await,
        Back::Arrives { after } | Back::Cut { after } => after,
    };
    wait(after).await;
    let answered = answered.filter(|_| matches!(back, Back::Arrives { .. }));
    if let (Some(asking), Some((status, _))) = (asking, &answered) {
        world.answer_is_there(asking, *status);
    }
    // Nobody there any more? Then nobody hears it.
    let _ = answers.send(answered.map(|(status, text)| Heard::whole(status, text)));
}

/// Holds the line open and says nothing.
async fn answers_never(answers: oneshot::Sender<Option<Heard>>) {
    let mut answers = answers;
    answers.closed().await;
}

fn throw(world: &World, call: &Call) -> Fate {
    let (rates, timeout) = (&world.plan.rates, world.plan.setup.timeout_ms);
    let is_first_host = call.url.host() == Some("a.test");
    let away = world.wechat_is_away(is_first_host);
    let mut dice = world.dice();
    let unreachable = |after| Fate::Unreachable { after };
    if away {
        return unreachable(if dice.bool() { 1 } else { timeout / 2 });
    }
    let short = 1..=rates.wire_ms;
    let there = dice.u64(short.clone());
    let back = Back::Arrives { after: dice.u64(short) };
    if world.is_healed() {
        return Fate::Arrives { after: there, back };
    }
    // So late that the call's time may be up.
    let late = timeout / 2..=timeout + timeout / 2;
    let mut falls = |rate: u32| dice.u32(..1000) < rate;
    let (is_late, is_lost, is_cut) = (falls(rates.wire_late), falls(rates.wire_lost), falls(rates.wire_cut));
    let (is_unreachable, panics) = (falls(rates.wire_unreachable), falls(rates.panics));
    let halves = dice.bool();
    match () {
        () if panics => Fate::Panics { after: there, sent: halves },
        () if is_unreachable => unreachable(if halves { 1 } else { timeout / 2 }),
        () if is_lost && halves => Fate::Lost,
        () if is_lost => Fate::Arrives { after: there, back: Back::Lost },
        () if is_cut => Fate::Arrives { after: there, back: Back::Cut { after: 1 } },
        () if is_late && halves => Fate::Arrives { after: dice.u64(late), back },
        () if is_late => Fate::Arrives { after: there, back: Back::Arrives { after: dice.u64(late) } },
        () => Fate::Arrives { after: there, back },
    }
}

async fn wait(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// The code that a call asks for; none if it asks for a token.
fn code_of(call: &Call) -> Option<String> {
    if !call.url.path().ends_with("getuserphonenumber") {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(call.body.as_deref()?).expect("the product's own JSON");
    Some(body["code"].as_str().expect("a code").to_owned())
}

fn request(call: Call) -> Request<Bytes> {
    let method = if call.body.is_some() { "POST" } else { "GET" };
    let target = call.url.path_and_query().expect("it has a path").as_str();
    let request = Request::builder().method(method).uri(target);
    request.body(call.body.unwrap_or_default().into()).expect("a path and a query are a good target")
}

/// A worker that waits for an answer. Dropped before that, it will never hear it.
struct Hearing {
    world: Arc<World>,
    machine: Arc<SimulatedMachine>,
    asking: Option<usize>,
    is_over: bool,
}

impl Hearing {
    fn ends(&mut self, end: End) {
        self.is_over = true;
        if let Some(asking) = self.asking {
            self.world.hears(&self.machine, asking, end);
        }
    }
}

impl Hearing {
    fn panics(&mut self) -> ! {
        self.ends(End::GivenUp);
        self.world.note(Event::Panics { who: self.machine.name });
        panic!("{}", crate::seeds::SIMULATED_PANIC);
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        if let (false, Some(asking)) = (self.is_over, self.asking) {
            self.world.gives_up(&self.machine, asking);
        }
    }
}
