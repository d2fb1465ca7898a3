//! What Linux tells of processes: the CPU time and the memory of one, and of all that this one has started.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// User and system time of those who share the machine.
#[derive(Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) rabbitmq: Duration,
    pub(crate) redis: Duration,
    pub(crate) simulator: Duration,
}

impl Used {
    /// Of the servers that run at the moment. Workers are called as the simulator is, so that this one goes by its id.
    pub(crate) fn now(simulator: u32) -> Self {
        let mut used = Self { simulator: cpu(simulator), ..Self::default() };
        for (name, cpu) in children() {
            match name.as_str() {
                "beam.smp" => used.rabbitmq += cpu,
                "redis-server" => used.redis += cpu,
                _ => {}
            }
        }
        used
    }
}

impl Sub for Used {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            rabbitmq: self.rabbitmq - before.rabbitmq,
            redis: self.redis - before.redis,
            simulator: self.simulator - before.simulator,
        }
    }
}

/// A time shared by so many logins, in µs.
pub(crate) fn each_us(time: Duration, logins: u64) -> f64 {
    time.as_secs_f64() * 1e6 / logins as f64
}

/// User and system time of a process, in hundredths of a second.
pub(crate) fn cpu(pid: u32) -> Duration {
    Stat::of(pid).expect("it runs, on Linux").cpu
}

/// The time that the cores of this machine spent, in hundredths of a second: busy, and all together.
pub(crate) fn machine() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").expect("Linux has it");
    let line =
        stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).expect("the sum of all cores comes first");
    // user nice system idle iowait irq softirq steal; what follows is in user already.
    let times: Vec<u64> = line.split_whitespace().take(8).map(|time| time.parse().expect("a number")).collect();
    let all = times.iter().sum::<u64>();
    (all - times[3] - times[4], all)
}

/// The most memory that a process had resident, in bytes.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs, on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn children() -> Vec<(String, Duration)> {
    let us = std::process::id();
    let all = fs::read_dir("/proc").expect("Linux has it").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let stats = pids.filter_map(Stat::of).filter(|stat| stat.parent == us);
    stats.map(|stat| (stat.name, stat.cpu)).collect()
}

struct Stat {
    name: String,
    parent: u32,
    cpu: Duration,
}

impl Stat {
    /// None: it is gone.
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // `pid (name) state parent …`; the name may hold spaces.
        let (head, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        let cpu = Duration::from_millis((number(11)? + number(12)?) * 10);
        Some(Self { name: head.split_once('(')?.1.to_owned(), parent: number(1)?.try_into().ok()?, cpu })
    }
}
