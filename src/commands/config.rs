//! `config check`: the settings, read and judged without starting anything.

use clap::Subcommand;

use crate::backend::Backend;
use crate::commands::Failure;
use crate::config::{BadSettings, DEFAULTS, Settings};

#[derive(Subcommand)]
pub(super) enum Action {
    /// Read the settings, with every secret file, and say whether gateway and worker could start
    Check,
    /// Print the commented reference with all defaults
    ShowDefault,
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn run(action: &Action, settings: Result<Settings, BadSettings>) -> Result<(), Failure> {
    match action {
        Action::ShowDefault => {
            print!("{DEFAULTS}");
            Ok(())
        }
        Action::Check => {
            let settings = settings?;
            let apps = settings.apps()?;
            settings.check_gateway()?;
            let backend = match settings.backend()? {
                Backend::Embedded => "everything in one process; nothing survives a restart",
                Backend::Fleet { .. } => "a fleet on RabbitMQ and Redis",
            };
            println!("ok: {backend}; {} app{}", apps.len(), if apps.len() == 1 { "" } else { "s" });
            Ok(())
        }
    }
}
