//! Stopping: the first signal stops taking, the second, or the end of the patience, stops working.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::worker::Stop;

/// When to stop, and whom to wait for; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// The two stops.
    pub stop: Stop,
    /// Everything that runs in the background.
    pub tracker: TaskTracker,
}

impl Shutdown {
    /// Stops softly at the first SIGTERM or SIGINT, and hard at the second or after `drain`.
    pub fn on_signals(&self, drain: Duration) -> std::io::Result<()> {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = self.stop.clone();
        // Not on the tracker: it outlives everything that a stop waits for.
        tokio::spawn(async move {
            let mut signalled = async || {
                tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = int.recv() => "SIGINT",
                }
            };
            let first = signalled().await;
            info!(signal = first, drain_s = drain.as_secs(), "stopping");
            stop.soft.cancel();
            tokio::select! {
                second = signalled() => warn!(signal = second, "stopping at once"),
                () = sleep(drain) => warn!("not finished in time; stopping at once"),
            }
            stop.hard.cancel();
        });
        Ok(())
    }

    /// Ends what runs in the background and waits for it, at most so long.
    pub async fn finish(&self, at_most: Duration) {
        self.stop.soft.cancel();
        self.stop.hard.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(at_most, self.tracker.wait()).await;
    }
}
