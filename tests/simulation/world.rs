//! One simulation from begin to end: what all its parts share, and the course of events. Who taps and publishes is in
//! `tapping`, and what its parts tell it in `noticing`.

mod noticing;
mod tapping;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use quicklogin::login::RequestId;
use quicklogin::queue::Queue;
use quicklogin::simulator::{AppChange, Endpoint, Mood, Simulator};
use quicklogin::store::Store;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::ledger::{Ledger, Login};
use crate::machine::Doom;
use crate::plan::{Happening, Plan};
use crate::rules;
use crate::story::{Event, Story};
use crate::workers::Workers;

/// The wall clock at the begin, in Unix ms.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// The longest pause of any breaker is over by then.
const QUIET: Duration = Duration::from_secs(100);
/// When all is well, nothing takes longer.
const SOON: Duration = Duration::from_secs(15);

pub(crate) struct World {
    pub(crate) plan: Arc<Plan>,
    pub(crate) simulator: Simulator,
    pub(crate) queue: Queue,
    pub(crate) store: Store,
    pub(crate) workers: Workers,
    begin: Instant,
    dice: Mutex<Rng>,
    ledger: Mutex<Ledger>,
    codes: Mutex<HashMap<String, usize>>,
    story: Mutex<Story>,
    weather: Mutex<Weather>,
    is_healed: AtomicBool,
    recorded: Notify,
}

/// Until when something is away.
#[derive(Default)]
struct Weather {
    store: u64,
    partitioned: [u64; 3],
    wechat: u64,
    first_host: u64,
    /// Verbs whose next answer takes so long.
    slow: Vec<(&'static str, u64)>,
}

/// How a simulation went.
pub(crate) struct Tale {
    pub(crate) plan: Arc<Plan>,
    pub(crate) story: Story,
    /// The rules that were broken, in words.
    pub(crate) broken: Vec<String>,
}

enum Act {
    Publish { login: usize, copy: usize },
    Garbage,
    Happen(Happening),
    Heal,
}

/// Runs the simulation of this seed, from begin to end.
pub(crate) fn run(seed: u64) -> Tale {
    run_plan(Plan::of(seed))
}

/// Runs this simulation, from begin to end.
pub(crate) fn run_plan(plan: Plan) -> Tale {
    // The product's own dice.
    fastrand::seed(plan.seed);
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets");
    let world = runtime.block_on(async {
        let world = World::new(plan);
        world.live().await;
        world
    });
    let story = std::mem::take(&mut *world.story.lock().expect("nobody panicked with it"));
    let broken = std::mem::take(&mut world.ledger().broken);
    Tale { plan: Arc::clone(&world.plan), story, broken }
}

impl Tale {
    /// The whole story, in words.
    pub(crate) fn tell(&self) -> String {
        self.story.tell(&self.plan)
    }
}

impl World {
    fn new(plan: Plan) -> Arc<Self> {
        let simulator = Simulator::default();
        for app in 0..plan.setup.apps {
            simulator.put_app(AppChange::new(app_id(app), "secret")).expect("a good app");
        }
        Arc::new(Self {
            simulator,
            queue: Queue::in_memory(1000),
            store: Store::in_memory(),
            workers: Workers::default(),
            begin: Instant::now(),
            dice: Mutex::new(Rng::with_seed(plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
            ledger: Mutex::default(),
            codes: Mutex::default(),
            story: Mutex::default(),
            weather: Mutex::default(),
            is_healed: AtomicBool::new(false),
            recorded: Notify::new(),
            plan: Arc::new(plan),
        })
    }

    async fn live(self: &Arc<Self>) {
        for worker in 0..self.plan.setup.workers {
            tokio::spawn(Workers::keep(Arc::clone(self), worker));
        }
        for planned in &self.plan.logins {
            let due_at = rules::due_at(&self.plan, planned);
            let login = Login::new(planned.kind, planned.tapped_at, due_at);
            self.ledger().logins.push(Login { time_up: rules::time_up(&self.plan, planned), ..login });
        }
        for (at, act) in self.agenda() {
            sleep_until(self.begin + Duration::from_millis(at)).await;
            self.act(act);
        }
        self.wait_for_results().await;
        sleep(QUIET).await;
        self.once_more();
        self.wait_for_results().await;
        if timeout(SOON, self.workers.close(self)).await.is_err() {
            self.complain(None, "a worker does not end".into());
        }
        rules::at_the_end(self);
    }

    /// All that is planned, in order.
    fn agenda(&self) -> Vec<(u64, Act)> {
        let mut agenda = vec![(self.plan.heals_at, Act::Heal)];
        agenda.extend(self.plan.happenings.iter().map(|(at, happening)| (*at, Act::Happen(happening.clone()))));
        agenda.extend(self.plan.garbage.iter().map(|at| (*at, Act::Garbage)));
        for (login, planned) in self.plan.logins.iter().enumerate() {
            agenda.extend(planned.copies.iter().enumerate().map(|(copy, at)| (*at, Act::Publish { login, copy })));
        }
        agenda.sort_by_key(|(at, _)| *at);
        agenda
    }

    fn act(self: &Arc<Self>, act: Act) {
        match act {
            Act::Publish { login, copy } => self.publish(login, copy),
            Act::Garbage => {
                self.note(Event::Garbage);
                let Queue::Memory(queue) = &self.queue else { unreachable!("it is in memory") };
                queue.publish(b"nobody's".to_vec(), None).expect("there is room");
            }
            Act::Happen(happening) => {
                self.note(Event::Happens(happening.clone()));
                self.happen(happening);
            }
            Act::Heal => {
                self.note(Event::Healed);
                self.is_healed.store(true, Ordering::Relaxed);
                *self.weather() = Weather::default();
                self.simulator.clear_moods();
                self.workers.spare();
            }
        }
    }

    fn happen(self: &Arc<Self>, happening: Happening) {
        let until = |lasts: u64| self.now() + lasts;
        match happening {
            Happening::Crash { worker, polls } => self.workers.doom(worker, polls, Doom::Crash),
            Happening::Freeze { worker, polls, lasts } => self.workers.doom(worker, polls, Doom::Freeze { lasts }),
            Happening::Stop { worker, drain } => self.workers.stop(self, worker, drain),
            Happening::StoreAway { lasts } => self.weather().store = until(lasts),
            Happening::Slow { verb, ms } => self.weather().slow.push((verb, ms)),
            Happening::Partition { worker, lasts } => self.weather().partitioned[worker] = until(lasts),
            Happening::WechatAway { lasts } => self.weather().wechat = until(lasts),
            Happening::FirstHostAway { lasts } => self.weather().first_host = until(lasts),
            Happening::Mood { step, of_tokens, lasts } => {
                let endpoint = if of_tokens { Endpoint::Token } else { Endpoint::Phone };
                self.simulator.set_mood(Mood { endpoint, appid: None, calls: None, step }).expect("there are few");
                let simulator = self.simulator.clone();
                tokio::spawn(async move {
                    sleep(Duration::from_millis(lasts)).await;
                    simulator.clear_moods();
                });
            }
            Happening::TokensEnd { expired: true } => self.simulator.expire_tokens(None).expect("of all apps"),
            Happening::TokensEnd { expired: false } => self.simulator.invalidate_tokens(None).expect("of all apps"),
        }
    }

    async fn wait_for_results(&self) {
        let last = self.ledger().logins.iter().map(|login| login.due_at).max().unwrap_or_default();
        let until = self.begin + Duration::from_millis(last);
        let all = async {
            while self.ledger().logins.iter().any(|login| login.is_accepted() && login.results.is_empty()) {
                self.recorded.notified().await;
            }
        };
        // The rules say what is missing.
        let _ = tokio::time::timeout_at(until, all).await;
    }
}

/// What its parts ask it.
impl World {
    /// Since the begin, in ms.
    pub(crate) fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// The time of all clocks that are right, in Unix ms.
    pub(crate) fn wall_ms(&self) -> u64 {
        BEGIN_MS + self.now()
    }

    pub(crate) fn dice(&self) -> MutexGuard<'_, Rng> {
        self.dice.lock().expect("nobody panicked with it")
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panicked with it")
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().expect("nobody panicked with it")
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.is_healed.load(Ordering::Relaxed)
    }

    pub(crate) fn store_is_away(&self, worker: usize) -> bool {
        let weather = self.weather();
        self.now() < weather.store.max(weather.partitioned[worker])
    }

    /// How long the answer of this verb is to take, where that is planned.
    pub(crate) fn takes(&self, verb: &str) -> Option<u64> {
        let slow = &mut self.weather().slow;
        let found = slow.iter().position(|(slow, _)| *slow == verb)?;
        Some(slow.remove(found).1)
    }

    pub(crate) fn wechat_is_away(&self, is_first_host: bool) -> bool {
        let weather = self.weather();
        let until = if is_first_host { weather.wechat.max(weather.first_host) } else { weather.wechat };
        self.now() < until
    }

    pub(crate) fn is_spent(&self, code: &str) -> bool {
        self.simulator.asked_of(code).used
    }
}

pub(crate) fn app_id(app: usize) -> String {
    format!("wx{app}")
}

fn request_id(login: usize) -> RequestId {
    RequestId::try_from(format!("login-{login}").as_str()).expect("a good id")
}
