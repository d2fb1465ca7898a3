//! SIGHUP: the settings are read again, and their apps take the place of those before, with their secrets and where
//! their tokens come from. Everything else in the settings wants a restart.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::commands::CommandError;
use crate::commands::assemble::{Process, no_app};
use crate::config::Settings;
use crate::gateway::AppIds;
use crate::login::AppId;
use crate::token::App;
use crate::worker::Worker;

/// What is read again.
struct Apps {
    appids: BTreeSet<AppId>,
    platforms: Vec<AppId>,
    /// With the secrets, where they are wanted.
    apps: Vec<App>,
}

impl Process {
    /// Reads the apps again at each SIGHUP: for a worker, and for a gateway.
    pub(super) fn reload_on_hangup(&self, worker: Option<Worker>, gateway: Option<AppIds>) -> Result<(), CommandError> {
        let hangups = signal(SignalKind::hangup())
            .map_err(|error| CommandError::at_run_time(format!("SIGHUP cannot be listened to: {error}")))?;
        let (file, stop) = (self.settings_file.clone(), self.shutdown.stop.soft.clone());
        let started_with = platforms(&self.settings);
        self.shutdown.tracker.spawn(async move {
            stop.run_until_cancelled(reload(hangups, file.as_deref(), &started_with, worker, gateway)).await;
        });
        Ok(())
    }
}

async fn reload(
    mut hangups: Signal,
    file: Option<&Path>,
    started_with: &[AppId],
    worker: Option<Worker>,
    gateway: Option<AppIds>,
) {
    while hangups.recv().await.is_some() {
        let (file, with_secrets) = (file.map(Path::to_owned), worker.is_some());
        let reading = spawn_blocking(move || read(file.as_deref(), with_secrets));
        let Ok(read) = reading.await else { continue };
        let Apps { appids, platforms, apps } = match read {
            Ok(apps) => apps,
            Err(bad) => {
                error!(hint = bad.hint(), "the settings cannot be read again, and all stays as it was: {bad}");
                continue;
            }
        };
        info!(apps = appids.len(), "the apps are read again");
        if let Some(worker) = &worker {
            worker.configure(apps);
        }
        if let Some(gateway) = &gateway {
            gateway.replace(appids);
            if platforms != started_with {
                warn!(
                    "the platforms have changed: this gateway takes their pushes as before until it is started again"
                );
            }
        }
    }
}

/// All of it or nothing: one mistake must not take the other apps away.
fn read(file: Option<&Path>, with_secrets: bool) -> Result<Apps, CommandError> {
    let settings = Settings::load(file)?;
    let appids = settings.appids();
    if appids.is_empty() {
        return Err(no_app());
    }
    let apps = if with_secrets { settings.apps()? } else { vec![] };
    Ok(Apps { appids, platforms: platforms(&settings), apps })
}

fn platforms(settings: &Settings) -> Vec<AppId> {
    settings.platforms.iter().map(|platform| platform.appid.clone()).collect()
}
