//! The workers of a simulation: the product's own, one on each machine, begun again when one has come to its end.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use quicklogin::login::AppId;
use quicklogin::machine;
use quicklogin::meters::Meters;
use quicklogin::store::Store;
use quicklogin::token::{self, App, KeptSecret, Source, Tokens};
use quicklogin::wechat::{Client, ClientSettings};
use quicklogin::worker::{self, Calls, Limits, Stop, Worker};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::distance::Road;
use crate::machine::{Doom, SimulatedMachine};
use crate::story::{Event, Name};
use crate::wire;
use crate::world::{World, app_id};

/// From the hard stop to the end: the product's last words, and a last look at the store.
const ENDS_WITHIN: Duration = Duration::from_millis(1200);
/// The same where that look may take long.
const ENDS_SLOWLY_WITHIN: Duration = Duration::from_secs(8);
/// A result stays for longer than any simulation lasts.
const RESULT_TTL: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(crate) struct Workers(Mutex<State>);

#[derive(Default)]
struct State {
    running: [Option<Running>; 3],
    is_closing: bool,
}

#[derive(Clone)]
struct Running {
    machine: Arc<SimulatedMachine>,
    stop: Stop,
}

impl Workers {
    /// Keeps a worker running until the end of the simulation.
    pub(crate) async fn keep(world: Arc<World>, worker: usize) {
        for life in 1.. {
            let (running, ended) = begin(&world, Name { worker, life });
            world.workers.state().running[worker] = Some(running.clone());
            let Running { machine, .. } = running;
            tokio::select! {
                biased;
                () = machine.gone.cancelled() => {}
                Ok(well) = ended => world.note(Event::Ends { who: machine.name, well }),
            }
            machine.end();
            world.workers.state().running[worker] = None;
            if world.workers.state().is_closing {
                return;
            }
            let pause = if world.is_healed() { 10 } else { world.dice().u64(10..=1500) };
            sleep(Duration::from_millis(pause)).await;
        }
    }

    pub(crate) fn doom(&self, worker: usize, polls: u64, doom: Doom) {
        if let Some(running) = self.running(worker) {
            running.machine.doom(polls, doom);
        }
    }

    /// Stops a worker softly, and hard after so long.
    pub(crate) fn stop(&self, world: &Arc<World>, worker: usize, drain: u64) {
        let Some(Running { machine, stop }) = self.running(worker) else { return };
        stop.soft.cancel();
        let world = Arc::clone(world);
        tokio::spawn(async move {
            sleep(Duration::from_millis(drain)).await;
            if machine.is_gone() {
                return;
            }
            machine.is_stopped_hard();
            stop.hard.cancel();
            let since = world.now();
            let troubled = world.plan.has_store_trouble();
            sleep(if troubled { ENDS_SLOWLY_WITHIN } else { ENDS_WITHIN }).await;
            if !machine.is_gone() && !machine.was_frozen_since(since) {
                world.complain(None, format!("{} goes on after its hard stop", machine.name));
            }
        });
    }

    /// Nothing more befalls any of them.
    pub(crate) fn spare(&self) {
        let running = self.state().running.clone();
        running.iter().flatten().for_each(|running| running.machine.spare());
    }

    /// Stops all of them softly, and returns when the last has ended.
    pub(crate) async fn close(&self, _world: &World) {
        let running = {
            let mut state = self.state();
            state.is_closing = true;
            state.running.clone()
        };
        for Running { machine, stop } in running.iter().flatten() {
            stop.soft.cancel();
            machine.gone.cancelled().await;
        }
    }

    fn running(&self, worker: usize) -> Option<Running> {
        self.state().running[worker].clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked with it")
    }
}

/// Begins a worker on a machine of its own. Where it ends by itself, the receiver is told whether it ended well.
fn begin(world: &Arc<World>, name: Name) -> (Running, oneshot::Receiver<bool>) {
    let most = world.plan.setup.skew_ms as i64;
    let skew_ms = world.dice().i64(-most..=most);
    let machine = SimulatedMachine::new(name, skew_ms, world);
    world.note(Event::Begins { who: name, skew_ms });
    let stop = Stop::default();
    let worker = machine::on(machine.clone(), || assemble(world, &machine, &stop));
    let slots = world.plan.setup.slots;
    let consumer = world.queue.consume(Worker::prefetch(slots as u16), stop.soft.clone());
    let ((ends, ended), stopping) = (oneshot::channel(), stop.clone());
    let runs = quicklogin::machine::Machine::carry(
        &*machine,
        Box::pin(async move {
            let well = worker::work(worker, consumer, slots, &stopping).await;
            // Nobody listens any more? Then the simulation is over.
            let _ = ends.send(well);
        }),
    );
    tokio::spawn(runs);
    (Running { machine, stop }, ended)
}

fn assemble(world: &Arc<World>, machine: &Arc<SimulatedMachine>, stop: &Stop) -> Worker {
    let setup = &world.plan.setup;
    let Store::Memory(memory) = &world.store else { unreachable!("it is in memory") };
    let road = Road { world: Arc::clone(world), machine: Arc::clone(machine) };
    let store = Store::Memory(memory.at(Arc::new(road)));
    let timeout = Duration::from_millis(setup.timeout_ms);
    let mut hosts = ["http://a.test", "http://b.test"].map(|url| url.parse().expect("a URL")).into_iter();
    let settings = ClientSettings {
        base_url: hosts.next().expect("there are two"),
        hosts: hosts.take(setup.hosts - 1).collect(),
        connect_timeout: timeout / 2,
        timeout,
        pool_idle: timeout,
    };
    let client = Client::in_process(&settings, wire::wechat_for(world, machine)).expect("good hosts");
    let meters = METERS.get_or_init(Meters::new);
    let app = |app| {
        let secret = KeptSecret::Text("secret".into());
        let source = match setup.stable_tokens {
            true => Source::Stable { secret, may_force: setup.may_force },
            false => Source::Classic { secret },
        };
        App { appid: AppId::try_from(&*app_id(app)).expect("a good appid"), source }
    };
    let parts = token::Parts {
        store: store.clone(),
        client: client.clone(),
        tracker: TaskTracker::new(),
        stop: stop.hard.clone(),
        meters: meters.clone(),
        name: machine.name.to_string(),
    };
    let tokens = Tokens::new((0..setup.apps).map(app).collect(), parts);
    Worker::new(worker::Parts {
        store,
        queue: world.queue.clone(),
        tokens,
        client,
        calls: Calls::default(),
        recent: worker::Recent::default(),
        limits: Limits {
            code_life: Duration::from_millis(setup.code_life_ms),
            patience: Duration::from_millis(setup.patience_ms),
            result_ttl: RESULT_TTL,
        },
        sealing: None,
        outbox_key: None,
        simulated: false,
        meters: meters.clone(),
    })
}

/// Nobody reads them, and to make them takes longer than a simulation.
static METERS: OnceLock<Meters> = OnceLock::new();
