//! A process that is measured: quicklogin's worker, or the bare pipeline.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::bare;
use crate::ground::{APP, Run, SECRET};
use crate::processes;
use crate::support::process::Process;

/// Who it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Bare,
    Quicklogin,
}

/// It runs until it is dropped, or the benchmark ends.
pub(crate) struct Contestant {
    process: Process,
    pub(crate) started: Instant,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Bare, Self::Quicklogin];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare crates",
            Self::Quicklogin => "quicklogin",
        }
    }

    pub(crate) fn start(self, run: &Run<'_>, slots: u16) -> Contestant {
        let command = match self {
            Self::Bare => bare(run, slots),
            Self::Quicklogin => quicklogin(run, slots),
        };
        let started = Instant::now();
        Contestant { process: Process::spawn(self.name(), command, run.log()), started }
    }
}

fn bare(run: &Run<'_>, slots: u16) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env_clear().envs(run.trust()).envs([
        (bare::QUEUE_URL, run.queue_url().to_owned()),
        (bare::STORE_URL, run.ground.redis.url()),
        (bare::WECHAT_URL, run.ground.wechat.clone()),
        (bare::APPID, APP.to_owned()),
        (bare::SLOTS, slots.to_string()),
    ]);
    command
}

/// With everything on that is on by default.
fn quicklogin(run: &Run<'_>, slots: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quicklogin"));
    command.arg("worker").env_clear().envs(run.trust()).envs([
        ("QUICKLOGIN__RABBITMQ__URL", run.queue_url().to_owned()),
        ("QUICKLOGIN__REDIS__URL", run.ground.redis.url()),
        ("QUICKLOGIN__WECHAT__BASE_URL", run.ground.wechat.clone()),
        ("QUICKLOGIN__APPS", format!("[{{appid = \"{APP}\", secret = \"{SECRET}\"}}]")),
        ("QUICKLOGIN__RABBITMQ__SHARDS", run.shards.to_string()),
        ("QUICKLOGIN__WORKER__SLOTS", slots.to_string()),
        ("QUICKLOGIN__OPS__LISTEN", "127.0.0.1:0".to_owned()),
    ]);
    command
}

impl Contestant {
    /// User and system time of the whole process so far.
    pub(crate) fn cpu(&self) -> Duration {
        processes::cpu(self.process.id())
    }

    /// The most memory that it had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        processes::peak_memory(self.process.id())
    }
}
