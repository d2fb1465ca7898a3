//! One simulation from begin to end: what all its parts share, and the course of events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use futures_util::FutureExt as _;
use quicklogin::login::{AppId, Code, LoginRequest, LoginResult, Outcome, RequestId};
use quicklogin::queue::Queue;
use quicklogin::simulator::{AppChange, Endpoint, Mint, Mood, Simulator};
use quicklogin::store::Store;
use quicklogin::traceparent::Traceparent;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::ledger::{Asking, End, Ledger, Login, Told};
use crate::machine::{Doom, SimulatedMachine};
use crate::plan::{Happening, Kind, Plan};
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

    /// The first copy is published by whoever has just tapped, or soon after that.
    fn publish(&self, login: usize, copy: usize) {
        let planned = &self.plan.logins[login];
        if self.ledger().logins[login].code.is_empty() {
            self.tap(login, planned.app, &planned.script);
        }
        let issued_at = planned.is_dated.then(|| BEGIN_MS + planned.tapped_at);
        self.submit(login, planned.app, issued_at, planned.deadline.map(|deadline| BEGIN_MS + deadline), copy);
    }

    fn tap(&self, login: usize, app: usize, script: &[quicklogin::simulator::Step]) {
        let mut ledger = self.ledger();
        let tapped = &mut ledger.logins[login];
        tapped.phone = format!("1380000{login:04}");
        tapped.code = match tapped.kind {
            Kind::Unknown | Kind::UnknownApp | Kind::Malformed => format!("no-code-{login}"),
            Kind::Good | Kind::Stale => {
                let age_s = if tapped.kind == Kind::Stale { 301 } else { 0 };
                let phone_number = Some(tapped.phone.clone());
                let mint = Mint { age_s, phone_number, ..Mint::of(app_id(app)) }.script(script.iter().cloned());
                self.simulator.mint(&mint).expect("the app is known").code
            }
        };
        self.codes.lock().expect("nobody panicked with it").insert(tapped.code.clone(), login);
    }

    fn submit(&self, login: usize, app: usize, issued_at: Option<u64>, deadline: Option<u64>, copy: usize) {
        let (kind, code) = {
            let ledger = self.ledger();
            (ledger.logins[login].kind, ledger.logins[login].code.clone())
        };
        let appid = if kind == Kind::UnknownApp { "wx-unknown".to_owned() } else { app_id(app) };
        let request = LoginRequest {
            request_id: request_id(login),
            appid: Some(AppId::try_from(&*appid).expect("a good appid")),
            code: Code::try_from(&*code).expect("a good code"),
            openid: None,
            issued_at,
            deadline,
        };
        let taken = if kind == Kind::Malformed {
            let Queue::Memory(queue) = &self.queue else { unreachable!("it is in memory") };
            queue.publish(format!(r#"{{"request_id":"{}"}}"#, request.request_id).into_bytes(), None)
        } else {
            let trace = Traceparent::generate();
            let publishing = self.queue.publish(&request, &trace);
            publishing.now_or_never().expect("memory answers at once")
        };
        self.ledger().logins[login].copies += usize::from(taken.is_ok());
        self.note(Event::Published { login, copy, taken: taken.is_ok() });
    }

    /// Every login comes once more, and fresh ones that find everything well.
    fn once_more(&self) {
        self.note(Event::Again);
        let planned = self.plan.logins.len();
        for login in 0..planned {
            self.publish(login, self.plan.logins[login].copies.len());
        }
        for app in 0..self.plan.setup.apps {
            for _ in 0..self.plan.setup.workers {
                let (login, now) = (self.ledger().logins.len(), self.now());
                let probe = Login::new(Kind::Good, now, now + SOON.as_millis() as u64);
                self.ledger().logins.push(Login { is_probe: true, ..probe });
                self.tap(login, app, &[]);
                self.submit(login, app, Some(BEGIN_MS + now), None, 0);
            }
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

/// What its parts tell it.
impl World {
    /// The store has carried out a worker's verb.
    pub(crate) fn carried_out(
        &self,
        machine: &Arc<SimulatedMachine>,
        verb: &'static str,
        key: &str,
        became: &'static str,
    ) {
        self.note(Event::Said { who: machine.name, verb, key: key.to_owned(), became });
        let Some(login) = self.ledger().login_of(key) else { return };
        match (verb, became) {
            ("claim", "Mine") | ("extend", "true") => {
                let now = self.now();
                let mut ledger = self.ledger();
                ledger.leases.insert((machine.name, login), now);
                ledger.logins[login].claimed_at.get_or_insert(now);
                let claimed_by = &mut ledger.logins[login].claimed_by;
                if !claimed_by.iter().any(|earlier| earlier.name == machine.name) {
                    claimed_by.push(Arc::clone(machine));
                }
            }
            ("record" | "record_unclaimed", _) => {
                if became == "Written" {
                    rules::on_writing(self, login, machine, verb);
                }
                self.look_at_result(login);
            }
            _ => {}
        }
    }

    fn look_at_result(&self, login: usize) {
        let told = self.result_of(login);
        let before = self.ledger().logins[login].result().cloned();
        if before.as_ref().map(|told| (told.outcome, &told.phone))
            == told.as_ref().map(|told| (told.outcome, &told.phone))
        {
            return;
        }
        if let Some(told) = &told {
            let (outcome, attempts) = (told.outcome, told.attempts);
            self.note(Event::Result { login, outcome, attempts });
        }
        rules::on_result(self, login, before.as_ref(), told.as_ref());
        self.ledger().logins[login].results.extend(told);
        self.recorded.notify_one();
    }

    fn told(&self, result: LoginResult) -> Told {
        let outcome = result.outcome.as_str();
        let phone = match result.outcome {
            Outcome::Succeeded(phone) => Some(phone.phone_number),
            Outcome::Failed(_) => None,
        };
        Told { at: self.now(), outcome, phone, attempts: result.attempts }
    }

    /// A worker sends a code to WeChat. None where the code is nobody's.
    pub(crate) fn asks(&self, machine: &Arc<SimulatedMachine>, code: &str) -> Option<usize> {
        let login = *self.codes.lock().expect("nobody panicked with it").get(code)?;
        let asking = self.ledger().askings.len();
        self.note(Event::Asks { who: machine.name, login, asking });
        rules::on_asking(self, login, machine);
        self.ledger().askings.push(Asking {
            login,
            machine: Arc::clone(machine),
            began: self.now(),
            arrived: None,
            spent: false,
            answer_is_there: false,
            end: None,
            ended: None,
        });
        Some(asking)
    }

    pub(crate) fn arrives(&self, asking: usize, spends: bool) {
        self.note(Event::Arrives { asking, spends });
        let now = self.now();
        let mut ledger = self.ledger();
        ledger.askings[asking].arrived = Some(now);
        ledger.askings[asking].spent = spends;
    }

    pub(crate) fn answer_is_there(&self, asking: usize, status: u16) {
        self.note(Event::Answered { asking, status });
        self.ledger().askings[asking].answer_is_there = true;
    }

    pub(crate) fn hears(&self, machine: &SimulatedMachine, asking: usize, end: End) {
        self.note(Event::Hears { who: machine.name, asking, what: end.as_str() });
        self.ends(asking, end);
    }

    pub(crate) fn gives_up(&self, machine: &SimulatedMachine, asking: usize) {
        self.note(Event::GivesUp { who: machine.name, asking });
        self.ends(asking, End::GivenUp);
        rules::on_giving_up(self, machine, asking);
    }

    fn ends(&self, asking: usize, end: End) {
        let now = self.now();
        let asking = &mut self.ledger().askings[asking];
        (asking.end, asking.ended) = (Some(end), Some(now));
    }

    pub(crate) fn complain(&self, login: Option<usize>, what: String) {
        let what = match login {
            Some(login) => format!("login {login}: {what}"),
            None => what,
        };
        self.note(Event::Broken(what.clone()));
        self.ledger().broken.push(what);
    }

    pub(crate) fn note(&self, event: Event) {
        self.story.lock().expect("nobody panicked with it").note(self.now(), event);
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

    /// Whether the store has a success of this login's.
    pub(crate) fn succeeded(&self, login: usize) -> bool {
        self.result_of(login).is_some_and(|told| told.phone.is_some())
    }

    fn result_of(&self, login: usize) -> Option<Told> {
        let ids = [request_id(login)];
        let found = self.store.results(&ids).now_or_never().expect("it is near").expect("it is there");
        let json = found.into_iter().flatten().next()?;
        Some(self.told(LoginResult::from_json(&json, None).expect("a result of the contract's")))
    }

    pub(crate) fn is_spent(&self, code: &str) -> bool {
        self.simulator.asked_of(code).used
    }
}

impl Login {
    fn new(kind: Kind, tapped_at: u64, due_at: u64) -> Self {
        Self {
            kind,
            code: String::new(),
            phone: String::new(),
            tapped_at,
            time_up: None,
            due_at,
            is_probe: false,
            results: vec![],
            claimed_by: vec![],
            copies: 0,
            claimed_at: None,
            claim_trouble: false,
            store_trouble: false,
        }
    }
}

pub(crate) fn app_id(app: usize) -> String {
    format!("wx{app}")
}

fn request_id(login: usize) -> RequestId {
    RequestId::try_from(format!("login-{login}").as_str()).expect("a good id")
}
