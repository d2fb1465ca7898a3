//! Which of WeChat's hosts a call is sent to, and the memory of those that could not be reached.
//!
//! Only of those: a slow answer, a cut or an error of WeChat's moves nothing to another host. Nothing is sent here, and
//! nothing decided: that is `memory`'s. The URLs are `endpoint`'s.

mod memory;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Fault, Heard};
pub(super) use memory::Turn;
use memory::{Change, Memory, Told};

/// WeChat's hosts in the order of preference, and how each is doing.
pub(super) struct Hosts {
    names: Vec<String>,
    /// Spares calls the lock while there is nothing to remember of the first host.
    first_is_well: AtomicBool,
    memory: Mutex<Memory>,
}

impl Hosts {
    /// These hosts, all well. A call ends within `call`, and so does a look at one that was down.
    pub(super) fn new(urls: &[Url], call: Duration) -> Self {
        Self {
            names: urls.iter().map(name).collect(),
            first_is_well: AtomicBool::new(true),
            memory: Mutex::new(Memory::new(urls.len(), call)),
        }
    }

    /// The names, for people.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The host to try now, in a call that has tried these in vain. None: there is no other.
    pub(super) fn turn(&self, tried: &[usize], now: Instant) -> Option<Turn> {
        if tried.is_empty() && self.first_is_well.load(Ordering::Relaxed) {
            return Some(Turn::of_well(0, now));
        }
        self.memory().turn(tried, now)
    }

    /// Takes in what came of a turn, and tells people if that changes anything.
    pub(super) fn learn(&self, turn: Turn, heard: &Result<Heard, Fault>, now: Instant) {
        let told = Told::by(heard);
        if turn.host == 0 && told != Told::Unreachable && self.first_is_well.load(Ordering::Relaxed) {
            return;
        }
        let change = {
            let mut memory = self.memory();
            let change = memory.learn(turn, told, now, fastrand::f64());
            self.first_is_well.store(memory.is_well(0), Ordering::Relaxed);
            change
        };
        let host = &self.names[turn.host];
        match (change, heard) {
            (Some(Change::Well), _) => info!(host, "a host of WeChat's is well again"),
            (Some(Change::Down { instead: Some(other) }), Err(fault)) => {
                warn!(host, using = self.names[other], %fault, "a host of WeChat's cannot be reached, another is used");
            }
            (Some(Change::Down { .. }), Err(fault)) => {
                warn!(host, %fault, "a host of WeChat's cannot be reached, and no other is well");
            }
            _ => {}
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("nothing panics while holding it")
    }
}

impl Told {
    fn by(heard: &Result<Heard, Fault>) -> Self {
        match heard {
            Err(Fault::Unreachable(_)) => Self::Unreachable,
            Err(Fault::Unheard(_)) | Ok(Heard { cut: Some(Fault::Unheard(_)), .. }) => Self::Unheard,
            Err(Fault::Local(_)) => Self::Nothing,
            Ok(_) | Err(Fault::Busy(_) | Fault::Throttled | Fault::Unreadable(_)) => Self::Answered,
        }
    }
}

/// Host and port, and nothing else that a URL may hold.
fn name(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_host_and_port_alone() {
        let names = ["https://u:p@api.weixin.qq.com/a?b=c", "http://127.0.0.1:8090/"].map(|url| {
            let url = url.parse().expect("a URL");
            name(&url)
        });
        assert_eq!(names, ["api.weixin.qq.com", "127.0.0.1:8090"]);
    }
}
