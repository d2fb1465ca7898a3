//! `config check`: the settings, read and judged without starting anything. `config show --default`: the reference.

use std::path::Path;

use clap::Subcommand;

use crate::backend::Backend;
use crate::commands::CommandError;
use crate::commands::assemble::no_app;
use crate::commands::output::print;
use crate::config::{BadSettings, DEFAULTS, Settings};
use crate::telemetry::say;

#[derive(Subcommand)]
pub(super) enum Action {
    /// Read the settings, with every secret file, and say whether gateway and worker could start
    Check,
    /// Print settings
    Show {
        /// The commented reference with all defaults
        #[arg(long, required = true)]
        default: bool,
    },
}

pub(super) fn run(
    action: &Action,
    file: Option<&Path>,
    settings: Result<Settings, BadSettings>,
) -> Result<(), CommandError> {
    match action {
        Action::Show { .. } => print(DEFAULTS.trim_end_matches('\n')),
        Action::Check => {
            let settings = settings?;
            settings.check_gateway()?;
            settings.message_keys()?;
            let backend = match settings.backend()? {
                Backend::Embedded => "everything in one process; nothing survives a restart",
                Backend::Fleet { .. } => "a fleet on RabbitMQ and Redis",
            };
            let (apps, who) = (settings.appids().len(), who_can_start(&settings)?);
            for caution in settings.cautions(file)? {
                say(format_args!("warning: {caution}"));
            }
            print(format_args!("ok: {backend}; {apps} app{}{who}", if apps == 1 { "" } else { "s" }))
        }
    }
}

/// A gateway's settings need no secrets; one secret in them means that a worker is meant, and then all must be there.
fn who_can_start(settings: &Settings) -> Result<&'static str, CommandError> {
    if settings.apps.is_empty() && !settings.backend()?.is_embedded() {
        return Err(no_app());
    }
    if settings.lacks_every_secret() {
        return Ok(", without secrets: for a gateway only");
    }
    settings.apps()?;
    settings.sealing()?;
    settings.outbox_key()?;
    Ok("")
}
