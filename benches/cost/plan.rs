//! What is to be measured, as the command line says. What it may say is told by `scripts/bench --help`.

use std::process::exit;
use std::time::Duration;

/// What is to be measured.
pub(crate) struct Plan {
    pub(crate) tls: bool,
    pub(crate) scale: bool,
    pub(crate) logins: usize,
    pub(crate) steady: Duration,
    pub(crate) rounds: usize,
    pub(crate) slots: u16,
}

impl Plan {
    pub(crate) const WECHAT_TAKES: Duration = Duration::from_millis(20);
    pub(crate) const STEADY_A_SECOND: u32 = 500;

    /// Ends the process over a mistake.
    pub(crate) fn from_arguments() -> Self {
        let mut plan =
            Self { tls: false, scale: false, logins: 40_000, steady: Duration::from_secs(20), rounds: 3, slots: 256 };
        if std::env::args().any(|argument| argument == "--scale") {
            plan = Self { scale: true, logins: 20_000, slots: 32, ..plan };
        }
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || number(&argument, arguments.next());
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--tls" => plan.tls = true,
                // It was looked for first, since it changes what the others are if nobody says.
                "--scale" => {}
                "--logins" => plan.logins = number().max(1000) as usize,
                "--seconds" => plan.steady = Duration::from_secs(number().into()),
                "--rounds" => plan.rounds = number() as usize,
                "--slots" => plan.slots = number().try_into().unwrap_or(u16::MAX),
                other => wrong(&format!("there is no {other}")),
            }
        }
        plan
    }
}

fn number(of: &str, text: Option<String>) -> u32 {
    let number = text.as_deref().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.unwrap_or_else(|| wrong(&format!("{of} wants a number from 1 on, and has {}", text.unwrap_or_default())))
}

fn wrong(what: &str) -> ! {
    eprintln!("error: {what}\nhint: scripts/bench --help");
    exit(2)
}
