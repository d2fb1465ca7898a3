//! `load`: logins at a steady rate, each timed from when it was due, through the gateway or the queue. Or the highest rate
//! that keeps a p99.
//!
//! **Open-loop**: the schedule is fixed at the start and waits for nobody, so that a line that stalls is seen in the
//! latency of every login that was due meanwhile. How late the sender itself was is told beside it.
//!
//! Codes come from a simulated WeChat, and from nowhere else. Without a fleet and without a gateway's URL, the whole line
//! runs in this process too; then both share the machine, and the figures are the machine's.

mod account;
mod args;
mod button;
mod figures;
mod find_max;
mod line;
mod pace;
mod stretch;
mod summary;
mod table;
mod way;

use std::sync::Arc;

use tokio::runtime::Builder;

use crate::commands::CommandError;
use crate::commands::assemble::Process;
use crate::shutdown::Shutdown;
use crate::telemetry::say;
pub(super) use args::Args;
use args::{Goal, Plan};
use line::Line;
use stretch::Load;
use table::Table;

pub(super) async fn run(process: &Process, args: Args) -> Result<(), CommandError> {
    let plan = args.plan()?;
    // Not the process's own: what is in hand at Ctrl-C is waited for, and a line in this process must go on meanwhile.
    let signals = Shutdown::default();
    signals
        .on_signals(plan.grace)
        .map_err(|error| CommandError::at_run_time(format!("signals cannot be listened to: {error}")))?;
    let line = Line::open(process, &plan).await?;
    // A runtime of its own: a line in this process must not keep the sender from its work, nor the sender the line.
    let apart = Builder::new_multi_thread().enable_all().build();
    let apart = apart.map_err(|error| CommandError::at_run_time(format!("no async runtime: {error}")))?;
    let ended = apart.spawn(put_on(line, plan, signals)).await.expect("what a load does does not panic");
    apart.shutdown_background();
    process.finish().await;
    ended
}

async fn put_on(line: Line, plan: Plan, signals: Shutdown) -> Result<(), CommandError> {
    let through = plan.through;
    let load = Arc::new(Load::new(line, &plan, signals.stop).await?);
    say(format_args!("quicklogin load: through the {through}, codes from the simulator at {}", load.button.url()));
    match plan.goal {
        Goal::Hold { duration } => {
            let finished = load.run(plan.rate, duration, Some(Table::begin())).await?;
            summary::tell(&finished, through, plan.json)?;
            summary::check(&finished)
        }
        Goal::FindMax { p99, step } => {
            let rate_most = args::rate_most(plan.grace);
            find_max::run(&load, find_max::Wanted { first: plan.rate, p99, step, rate_most }, through, plan.json).await
        }
    }
}
