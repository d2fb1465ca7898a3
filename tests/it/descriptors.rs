//! The limit of open file descriptors: raised at start, refused if it is too low, and no fault of WeChat's.

use std::collections::BTreeSet;
use std::process::Command;

use quicklogin::simulator::Step;

use crate::support::fleet::eventually;
use crate::support::line::Line;
use crate::support::process::Process;

/// A worker under a shell that sets limits first.
fn worker_after(limits: &str, line: &Line) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{limits}; exec \"$0\" --config quicklogin.toml worker"));
    command.arg(env!("CARGO_BIN_EXE_quicklogin")).current_dir(line.site.path()).env_clear();
    command
}

/// Sets the soft limit of a process that runs.
fn set_soft_limit(process: &Process, soft: impl FnOnce(libc::rlimit) -> u64) {
    let pid = libc::pid_t::try_from(process.id()).expect("the system gave us this pid");
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "std has no word for it; the memory is a local of ours")]
    let failed = unsafe {
        let read = libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limits);
        limits.rlim_cur = soft(limits);
        read + libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limits, std::ptr::null_mut())
    };
    assert_eq!(failed, 0, "the process is ours");
}

/// The limit below which a process has so many numbers of descriptors left.
fn limit_that_leaves(free: u64, process: &Process) -> u64 {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", process.id())).expect("it runs");
    let open: BTreeSet<u64> = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let is_left = |limit: u64| limit - open.range(..limit).count() as u64 == free;
    (0..).find(|limit| is_left(*limit)).expect("numbers have no end")
}

#[tokio::test]
async fn a_soft_limit_is_raised_and_a_hard_limit_that_is_too_low_is_an_error_at_start() {
    let line = Line::start("worker.slots = 256").await;
    let refused = worker_after("ulimit -n 60", &line).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("error: worker.slots = 256") && said.contains("\nhint: ") && said.contains("60"), "{said}");
    let log = line.site.path().join("raised.log");
    let raised = Process::spawn("quicklogin", worker_after("ulimit -S -n 60", &line), &log);
    eventually("it consumes", async || raised.said().contains("quicklogin worker: consuming")).await;
    let taps = line.taps(100, &[Step::normal().late_ms(1000)]);
    line.publish_all(&taps).await;
    line.all_succeed_asked_once(&taps).await;
    assert!(!raised.said().contains("out of file descriptors"), "{}", raised.said());
}

#[tokio::test]
async fn a_worker_out_of_descriptors_does_not_take_wechat_for_away() {
    let line = Line::start("login.patience_s = 60").await;
    let worker = line.worker();
    set_soft_limit(&worker, |_| limit_that_leaves(4, &worker));
    let taps = line.taps(60, &[Step::normal().late_ms(100)]);
    line.publish_all(&taps).await;
    eventually("it says what it lacks", async || worker.said().contains("out of file descriptors")).await;
    line.all_succeed_asked_once(&taps[..30]).await;
    set_soft_limit(&worker, |limits| limits.rlim_max);
    line.all_succeed_asked_once(&taps).await;
    let said = worker.said();
    assert!(!said.contains("WeChat is away"), "{said}");
    assert!(said.contains("LimitNOFILE"), "{said}");
    assert!(said.matches("out of file descriptors").count() <= 4, "{said}");
}
