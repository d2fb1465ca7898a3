//! What a login costs: quicklogin's worker and a bare pipeline of the same crates, in turn, on the same RabbitMQ, Redis and
//! simulated WeChat. Absolute figures are this machine's; the ratios are what to quote.
//!
//! `bare` is the pipeline, `contestant` a process that is measured, `ground` what it runs on, `login` what is published,
//! `drain`, `steady`, `start` and `expired` the measurements, `scale` another, `processes` what the kernel tells of them,
//! `report` what is printed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and progress are what a benchmark is for")]

mod bare;
mod contestant;
mod drain;
mod expired;
mod ground;
mod login;
mod plan;
mod processes;
mod report;
mod scale;
mod start;
mod steady;

#[expect(dead_code, reason = "the tests' own; a benchmark needs some of it")]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod amqp;
    pub(crate) mod process;
    pub(crate) mod rabbit;
    pub(crate) mod redis;
}

use contestant::Kind;
use ground::Ground;
use plan::Plan;
use report::{Figures, Report};

fn main() {
    if bare::is_wanted() {
        return bare::run();
    }
    let plan = Plan::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(plan));
}

async fn measure(plan: Plan) {
    let ground = Ground::lay(&plan).await;
    if plan.scale {
        return scale::measure(&ground, &plan).await;
    }
    let mut report = Report::default();
    for round in 1..=plan.rounds {
        for kind in Kind::ALL {
            eprintln!("round {round} of {}: {}", plan.rounds, kind.name());
            report.add(kind, figures_of(&ground, &plan, kind).await);
        }
    }
    report.print(&plan);
}

async fn figures_of(ground: &Ground, plan: &Plan, kind: Kind) -> Figures {
    Figures {
        drain: drain::measure(ground, plan, kind).await,
        steady: steady::measure(ground, plan, kind).await,
        start: start::measure(ground, plan, kind).await,
        // The bare pipeline knows no deadlines.
        expired: match kind {
            Kind::Quicklogin => Some(expired::measure(ground, plan).await),
            Kind::Bare => None,
        },
    }
}
