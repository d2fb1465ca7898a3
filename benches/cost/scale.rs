//! More workers on the same broker and Redis: what each adds until something else is the limit, with one queue and with
//! several. Each has few slots, so that one worker alone is bounded by them and not by the machine.

use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Kind};
use crate::drain::{cpu_when_done, when_asked};
use crate::ground::Ground;
use crate::plan::Plan;
use crate::processes::{Used, each_us, machine};

const WORKERS: [usize; 4] = [1, 2, 4, 8];
const SHARDS: [u16; 2] = [1, 3];

/// What so many workers did, from the first tenth of the logins to the last.
struct Cell {
    a_second: f64,
    workers_us: f64,
    rabbitmq_us: f64,
    redis_us: f64,
    simulator_us: f64,
    /// Of the machine's cores, whoever used them.
    busy: f64,
}

/// One moment of a run.
struct Look {
    at: Instant,
    asked: u64,
    workers: Duration,
    used: Used,
    machine: (u64, u64),
}

/// Measures and prints.
pub(crate) async fn measure(ground: &Ground, plan: &Plan) {
    let Plan { logins, slots, .. } = plan;
    let most = f64::from(*slots) / Plan::WECHAT_TAKES.as_secs_f64();
    println!("{logins} logins wait, {slots} slots for each worker, which bound one to {most:.0} logins a second\n");
    println!("{:51}CPU, µs a login", "");
    println!(
        "{:>7}{:>8}{:>10}{:>12}{:>12}{:>10}{:>10}{:>8}{:>11}{:>12}",
        "queues",
        "workers",
        "a second",
        "of bound",
        "doubling ×",
        "workers",
        "RabbitMQ",
        "Redis",
        "simulator",
        "CPU in use"
    );
    for shards in SHARDS {
        let mut before = None;
        for workers in WORKERS {
            let cell = cell(ground, plan, shards, workers).await;
            let of_bound = cell.a_second / (most * workers as f64);
            cell.print(shards, workers, of_bound, before.replace(cell.a_second));
        }
    }
}

async fn cell(ground: &Ground, plan: &Plan, shards: u16, workers: usize) -> Cell {
    let logins = ground.mint(plan.logins).await;
    let run = ground.run("scale", shards).await;
    run.publish(&logins, None).await;
    let workers: Vec<_> = (0..workers).map(|_| Kind::Quicklogin.start(&run, plan.slots)).collect();
    let tenth = plan.logins as u64 / 10;
    let began = Look::when_asked(ground, &workers, tenth).await;
    let ended = Look::when_asked(ground, &workers, tenth * 9).await;
    for worker in &workers {
        cpu_when_done(&run, worker).await;
    }
    run.assert_all_succeeded(&logins).await;
    Cell::between(&began, &ended)
}

impl Look {
    async fn when_asked(ground: &Ground, workers: &[Contestant], at_least: u64) -> Self {
        let (at, asked) = when_asked(ground, at_least).await;
        let workers = workers.iter().map(Contestant::cpu).sum();
        Self { at, asked, workers, used: ground.used(), machine: machine() }
    }
}

impl Cell {
    fn between(began: &Look, ended: &Look) -> Self {
        let logins = ended.asked - began.asked;
        let used = ended.used - began.used;
        let (busy, all) = (ended.machine.0 - began.machine.0, ended.machine.1 - began.machine.1);
        Self {
            a_second: logins as f64 / (ended.at - began.at).as_secs_f64(),
            workers_us: each_us(ended.workers - began.workers, logins),
            rabbitmq_us: each_us(used.rabbitmq, logins),
            redis_us: each_us(used.redis, logins),
            simulator_us: each_us(used.simulator, logins),
            busy: busy as f64 / all as f64,
        }
    }

    fn print(&self, shards: u16, workers: usize, of_bound: f64, before: Option<f64>) {
        let added = before.map(|before| format!("{:.2}", self.a_second / before)).unwrap_or_default();
        println!(
            "{shards:>7}{workers:>8}{:>10.0}{:>10.0} %{added:>12}{:>10.1}{:>10.1}{:>8.1}{:>11.1}{:>10.0} %",
            self.a_second,
            of_bound * 100.0,
            self.workers_us,
            self.rabbitmq_us,
            self.redis_us,
            self.simulator_us,
            self.busy * 100.0
        );
    }
}
