//! What is printed: for each measure both figures, the medians of all rounds, and their ratio.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contestant::Kind;
use crate::drain::Drain;
use crate::expired::Expired;
use crate::plan::Plan;
use crate::steady::Steady;

/// The simulator is in the way when it takes more than this of all CPU time that a login costs here,
const SIMULATORS_SHARE: f64 = 0.5;
/// or when its answers are later than this, on average; about 1 ms is its timer's own.
const SIMULATOR_LATE_MS: f64 = 3.0;

/// One round of one contestant.
pub(crate) struct Figures {
    pub(crate) drain: Drain,
    pub(crate) steady: Steady,
    pub(crate) start: Duration,
    pub(crate) expired: Option<Expired>,
}

/// All rounds.
#[derive(Default)]
pub(crate) struct Report(BTreeMap<Kind, Vec<Figures>>);

impl Report {
    pub(crate) fn add(&mut self, kind: Kind, figures: Figures) {
        self.0.entry(kind).or_default().push(figures);
    }

    pub(crate) fn print(&self, plan: &Plan) {
        let Plan { logins, rounds, slots, .. } = plan;
        let wechat = if plan.tls { "HTTPS" } else { "HTTP" };
        println!(
            "\n{logins} logins wait, {slots} in flight, WeChat over {wechat} takes {} ms; medians of {rounds} rounds\n",
            Plan::WECHAT_TAKES.as_millis()
        );
        println!("{:34}{:>12}{:>12}{:>9}", "", Kind::Bare.name(), Kind::Quicklogin.name(), "ratio");
        self.row("drained, logins a second", |figures| figures.drain.a_second, 0);
        self.row("CPU of the worker, µs a login", |figures| figures.drain.cpu_us, 1);
        self.row("peak memory, MB", |figures| figures.drain.peak_memory as f64 / 1e6, 1);
        self.row("new connections, of 1000 logins", |figures| figures.drain.connections, 1);
        if plan.tls {
            self.row("TLS handshakes, of 1000 logins", |figures| figures.drain.handshakes, 1);
        }
        self.row("CPU at 500 a second, µs a login", |figures| figures.steady.cpu_us, 1);
        self.row("added latency at 500, p50, ms", |figures| ms(figures.steady.p50), 2);
        self.row("                       p99, ms", |figures| ms(figures.steady.p99), 2);
        self.row("                     p99.9, ms", |figures| ms(figures.steady.p999), 2);
        self.row("start to first login, ms", |figures| ms(figures.start), 0);
        self.expired();
        self.machine();
    }

    fn row(&self, name: &str, figure: impl Fn(&Figures) -> f64, decimals: usize) {
        let [bare, ours] = Kind::ALL.map(|kind| self.median(kind, &figure));
        println!("{name:34}{bare:>12.decimals$}{ours:>12.decimals$}{:>9.2}", ours / bare);
    }

    fn expired(&self) {
        let of = |figure: fn(&Expired) -> f64| {
            let of = |figures: &Figures| figures.expired.as_ref().map(figure).expect("measured with quicklogin");
            self.median(Kind::Quicklogin, &of)
        };
        let asked = self.median(Kind::Quicklogin, &|figures: &Figures| figures.drain.a_second);
        let row = |name, a_second: f64| {
            println!("{name:34}{:>12}{a_second:>12.0}{:>9.2}  (of asked ones)", "", a_second / asked);
        };
        row("expired, logins a second", of(|expired| expired.a_second));
        row("RabbitMQ alone hands out, a second", of(|expired| expired.handed_out));
        println!("{:34}{:>12}{:>12.1}", "CPU of expired ones, µs a login", "", of(|expired| expired.cpu_us));
    }

    /// Who used this machine, and whether the simulator was in the way.
    fn machine(&self) {
        println!("\nCPU on this machine while draining, µs a login:");
        for kind in Kind::ALL {
            let of = |figure: fn(&Drain) -> f64| self.median(kind, &|figures: &Figures| figure(&figures.drain));
            let parts = [of(|d| d.cpu_us), of(|d| d.rabbitmq_us), of(|d| d.redis_us), of(|d| d.simulator_us)];
            let [worker, rabbitmq, redis, simulator] = parts;
            let (share, late_ms) = (simulator / parts.iter().sum::<f64>(), of(|d| d.simulator_late_ms));
            println!(
                "  {:12} worker {worker:.0}, RabbitMQ {rabbitmq:.0}, Redis {redis:.0}, simulator {simulator:.0}, which was \
                 {late_ms:.1} ms late",
                kind.name()
            );
            if share > SIMULATORS_SHARE || late_ms > SIMULATOR_LATE_MS {
                println!(
                    "  the simulator is the bottleneck, with {:.0} % of the CPU time and {late_ms:.1} ms late on average: \
                     what was drained says little of {}",
                    share * 100.0,
                    kind.name()
                );
            }
        }
    }

    fn median(&self, kind: Kind, figure: &impl Fn(&Figures) -> f64) -> f64 {
        let mut figures: Vec<_> = self.0[&kind].iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
