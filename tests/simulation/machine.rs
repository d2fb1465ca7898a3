//! A machine that crashes and freezes between any two polls of what it runs, and whose clock may be wrong.
//!
//! A crash takes everything at once, as it is when a process is killed: what was on its way to others is with them, and
//! nothing else is left. While it is frozen nothing on it is polled, though time goes on.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use quicklogin::machine::{self, Machine};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::story::{Event, Name};
use crate::world::World;

/// More polls than this on one machine, and something on it turns in circles.
const POLLS_MOST: u64 = 200_000;

pub(crate) struct SimulatedMachine {
    pub(crate) name: Name,
    pub(crate) skew_ms: i64,
    world: Weak<World>,
    me: Weak<Self>,
    state: Mutex<State>,
    /// When it runs nothing any more, for whatever reason.
    pub(crate) gone: CancellationToken,
}

#[derive(Default)]
struct State {
    condition: Condition,
    /// What it runs; none while that is being polled.
    runs: BTreeMap<u64, Option<BoxFuture<'static, ()>>>,
    carried: u64,
    polls: u64,
    /// What happens after so many more polls.
    doom: Vec<(u64, Doom)>,
    /// To be woken when it thaws.
    asleep: Vec<Waker>,
    /// From when to when it was frozen; the last may not be over.
    frozen: Vec<(u64, Option<u64>)>,
    has_crashed: bool,
    stopped_hard: Option<u64>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Condition {
    #[default]
    Runs,
    Frozen,
    Gone,
}

#[derive(Clone, Copy)]
pub(crate) enum Doom {
    Crash,
    Freeze { lasts: u64 },
}

impl SimulatedMachine {
    pub(crate) fn new(name: Name, skew_ms: i64, world: &Arc<World>) -> Arc<Self> {
        let (state, gone) = (Mutex::default(), CancellationToken::new());
        Arc::new_cyclic(|me| Self { name, skew_ms, world: Arc::downgrade(world), me: me.clone(), state, gone })
    }

    /// Lets this happen after so many more polls.
    pub(crate) fn doom(&self, polls: u64, doom: Doom) {
        if polls == 0 {
            self.suffer(doom);
        } else {
            self.state().doom.push((polls, doom));
        }
    }

    /// Nothing more is to happen to it; it thaws if it is frozen.
    pub(crate) fn spare(&self) {
        self.state().doom.clear();
        self.thaw();
    }

    pub(crate) fn thaw(&self) {
        let mut state = self.state();
        if state.condition != Condition::Frozen {
            return;
        }
        state.condition = Condition::Runs;
        let now = self.world().now();
        if let Some((_, until)) = state.frozen.last_mut() {
            *until = Some(now);
        }
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        self.world().note(Event::Thaws(self.name));
        asleep.into_iter().for_each(Waker::wake);
    }

    /// The end of its process, which takes along whatever is still there.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.condition = Condition::Gone;
        let runs = std::mem::take(&mut state.runs);
        drop(state);
        self.gone.cancel();
        drop(runs);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state().condition == Condition::Runs
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state().condition == Condition::Gone
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.state().has_crashed
    }

    /// When its worker was stopped hard.
    pub(crate) fn stopped_hard(&self) -> Option<u64> {
        self.state().stopped_hard
    }

    pub(crate) fn is_stopped_hard(&self) {
        let now = self.world().now();
        self.state().stopped_hard.get_or_insert(now);
    }

    /// Whether it was frozen at some time since then.
    pub(crate) fn was_frozen_since(&self, since: u64) -> bool {
        self.state().frozen.iter().any(|(_, until)| until.is_none_or(|until| until >= since))
    }

    fn suffer(&self, doom: Doom) {
        let mut state = self.state();
        match (doom, state.condition) {
            (_, Condition::Gone) | (Doom::Freeze { .. }, Condition::Frozen) => {}
            (Doom::Freeze { lasts }, _) => {
                state.condition = Condition::Frozen;
                let now = self.world().now();
                state.frozen.push((now, None));
                drop(state);
                self.world().note(Event::Freezes(self.name));
                let me = self.me.upgrade().expect("it is here");
                tokio::spawn(async move {
                    sleep(Duration::from_millis(lasts)).await;
                    me.thaw();
                });
            }
            (Doom::Crash, _) => {
                state.has_crashed = true;
                drop(state);
                self.world().note(Event::Crashes(self.name));
                self.end();
            }
        }
    }

    fn world(&self) -> Arc<World> {
        self.world.upgrade().expect("the world outlives its machines")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding it")
    }

    /// What it runs under this number, if it may run now.
    fn take(&self, number: u64, cx: &Context<'_>) -> Option<BoxFuture<'static, ()>> {
        let mut state = self.state();
        match state.condition {
            Condition::Gone => None,
            Condition::Frozen => {
                state.asleep.push(cx.waker().clone());
                None
            }
            Condition::Runs => state.runs.get_mut(&number).and_then(Option::take),
        }
    }

    /// Takes it back after a poll, and lets happen what was to happen then.
    fn put_back(&self, number: u64, runs: Option<BoxFuture<'static, ()>>) {
        let mut state = self.state();
        let is_gone = state.condition == Condition::Gone;
        match &runs {
            None => drop(state.runs.remove(&number)),
            Some(_) if is_gone => {}
            Some(_) => drop(state.runs.insert(number, runs)),
        }
        state.polls += 1;
        if state.polls == POLLS_MOST {
            drop(state);
            self.world().complain(None, format!("{} polls without end", self.name));
            return self.suffer(Doom::Crash);
        }
        if state.doom.is_empty() {
            return;
        }
        state.doom.iter_mut().for_each(|(left, _)| *left -= 1);
        let now: Vec<_> = state.doom.iter().filter(|(left, _)| *left == 0).map(|(_, doom)| *doom).collect();
        state.doom.retain(|(left, _)| *left > 0);
        drop(state);
        now.into_iter().for_each(|doom| self.suffer(doom));
    }
}

impl Machine for SimulatedMachine {
    fn now_ms(&self) -> u64 {
        self.world().wall_ms().saturating_add_signed(self.skew_ms)
    }

    fn carry(&self, runs: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let mut state = self.state();
        state.carried += 1;
        let number = state.carried;
        if state.condition != Condition::Gone {
            state.runs.insert(number, Some(runs));
        }
        Box::pin(Carried { machine: self.me.upgrade().expect("it is asked"), number })
    }
}

/// Something that a machine runs, for whoever polls it.
struct Carried {
    machine: Arc<SimulatedMachine>,
    number: u64,
}

impl Future for Carried {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut runs) = self.machine.take(self.number, cx) else { return Poll::Pending };
        let polled = machine::on(self.machine.clone(), || runs.as_mut().poll(cx));
        self.machine.put_back(self.number, polled.is_pending().then_some(runs));
        polled
    }
}
