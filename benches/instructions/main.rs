//! What `scripts/instructions` counts: logins through the whole line of a worker, on a queue and a store in this
//! process, with all that a worker has: claims, tokens, shares, patience, breakers, metrics, and logs as by default.
//!
//! Nothing is timed here and nothing printed. Valgrind does the counting, and this only tells it from where to where.
//! What RabbitMQ's and Redis' clients cost is not in it.
//!
//! ```text
//! instructions [line|call] [LOGINS]
//! ```
//!
//! `line`: WeChat is a function in this process, so what is counted is ours alone. `call`: WeChat is asked over HTTP, and
//! so what is counted is also hyper's, and that of a responder which is always the same.

mod line;
mod wechat;

use std::hint::black_box;

use quicklogin::commands;
use quicklogin::config::Settings;
use quicklogin::telemetry;

use line::Line;
use wechat::{Countdown, Wire};

/// Walked before, for what is done once: connections, tokens, the first growth of maps.
const UNCOUNTED: usize = 600;
/// Counted, unless it is said how many.
const COUNTED: usize = 100;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let wire = match arguments.next().as_deref() {
        None | Some("line") => Wire::InProcess,
        Some("call") => Wire::Http,
        Some(_) => panic!("the first argument is `line` or `call`"),
    };
    let counted = arguments.next().map_or(COUNTED, |number| number.parse().expect("the second argument is a number"));

    // As the binary begins.
    let settings = Settings::load(None).expect("the defaults are good");
    let _stderr = telemetry::open_stderr().expect("a thread");
    telemetry::start(&settings.log.filter, settings.log.format, true).expect("the default filter is good");
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("there is none before it");
    let runtime = commands::worker_runtime().expect("a runtime");

    let countdown = Countdown::default();
    let client = runtime.block_on(wechat::client(wire, &settings, &countdown));
    let line = Line::new(&settings, client, countdown);
    let mut ids = line.publish(UNCOUNTED);
    runtime.block_on(line.walk(UNCOUNTED));
    ids.extend(line.publish(counted));

    counting_begins_or_ends(UNCOUNTED);
    runtime.block_on(line.walk(counted));
    counting_begins_or_ends(counted);

    runtime.block_on(line.expect_success(&ids));
}

/// Valgrind looks for this name, and begins a new count whenever it comes here.
#[inline(never)]
fn counting_begins_or_ends(walked: usize) {
    black_box(walked);
}
