//! Which seeds are run, how many at once, and how a person is told of those that broke a rule.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Instant;
use std::{env, panic, thread};

use crate::world::{self, Tale};

/// What a panic says that belongs to the simulation.
pub(crate) const SIMULATED_PANIC: &str = "a simulated panic";

/// Few enough for every run of the tests; `scripts/simulation` runs more.
const USUAL: u64 = 2000;
/// So many that broke a rule, and the rest of the seeds is not worth the time.
const BROKEN_MOST: usize = 20;
/// So many tell their whole story.
const TOLD_MOST: usize = 1;

pub(crate) struct Seeds {
    first: u64,
    count: u64,
}

/// What came of running many.
#[derive(Default)]
pub(crate) struct Ran {
    /// Those that broke a rule.
    pub(crate) broken: Vec<Tale>,
    /// What they were about, all together.
    pub(crate) sights: BTreeSet<String>,
}

impl Seeds {
    /// `QUICKLOGIN_SIMULATION_SEEDS` of them, from `QUICKLOGIN_SIMULATION_SEED` on.
    pub(crate) fn from_environment() -> Self {
        Self { first: number("QUICKLOGIN_SIMULATION_SEED", 1), count: number("QUICKLOGIN_SIMULATION_SEEDS", USUAL) }
    }

    /// Enough that each kind of trouble must have been seen.
    pub(crate) fn are_many(&self) -> bool {
        self.count >= USUAL
    }

    /// Runs them all, on all cores.
    pub(crate) fn run(&self) -> Ran {
        keep_simulated_panics_quiet();
        let (began, next, ran) = (Instant::now(), AtomicU64::new(self.first), Mutex::new(Ran::default()));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let cores = number("QUICKLOGIN_SIMULATION_THREADS", cores as u64);
        thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| self.run_some(&next, &ran));
            }
        });
        let mut ran = ran.into_inner().expect("nobody panicked with it");
        ran.broken.sort_by_key(|tale| tale.plan.seed);
        let count = next.into_inner().min(self.first + self.count) - self.first;
        let took = began.elapsed().as_secs_f64();
        eprintln!("{count} seeds from {} on in {took:.1} s, {} of them broke a rule", self.first, ran.broken.len());
        ran
    }

    fn run_some(&self, next: &AtomicU64, ran: &Mutex<Ran>) {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let enough = ran.lock().expect("nobody panicked with it").broken.len() >= BROKEN_MOST;
            if enough || seed >= self.first + self.count {
                return;
            }
            let tale = world::run(seed);
            if self.count == 1 {
                eprintln!("{}", tale.tell());
            }
            let mut ran = ran.lock().expect("nobody panicked with it");
            ran.sights.extend(tale.story.sights());
            if !tale.broken.is_empty() {
                ran.broken.push(tale);
            }
        }
    }
}

/// What a person is to know of seeds that broke a rule: the first in full, and how to see each again.
pub(crate) fn report(broken: &[Tale]) -> String {
    let mut text = format!("{} seeds broke a rule\n", broken.len());
    for tale in broken.iter().take(TOLD_MOST) {
        writeln!(text, "\n{}", tale.tell()).expect("text takes it all");
    }
    for Tale { plan, broken, .. } in broken {
        let seed = plan.seed;
        writeln!(text, "./scripts/simulation --seed {seed} --seeds 1    # {}", broken.join("; "))
            .expect("it takes it all");
    }
    text
}

fn number(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

/// Whoever reads the output is to see panics that nobody planned.
fn keep_simulated_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let said = info.payload();
            let said = said.downcast_ref::<&str>().copied().or(said.downcast_ref::<String>().map(String::as_str));
            if said != Some(SIMULATED_PANIC) {
                usual(info);
            }
        }));
    });
}
