//! Where a test has a worker stop dead, or panic: at each step of a login's walk. In a release there is nothing here.
//!
//! In a build with debug assertions, `QUICKLOGIN_STOP_AT=Claimed` stops the process, as SIGSTOP does, when a login comes
//! to that step: to be killed just there, or to be woken later by SIGCONT. `QUICKLOGIN_PANIC_AT=Claimed` panics instead.
//! With `Claimed#3` it is the third login that comes there. Each happens once, and says so on stderr.

/// A step of a login's walk, just behind a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopPoint {
    /// The delivery is in hand, and not yet read.
    Taken,
    /// Its turn has come.
    Share,
    /// The claim is written.
    Claimed,
    /// There is a token to ask with.
    Token,
    /// The lease is held, and nothing is asked yet.
    BeforeAsking,
    /// WeChat's answer is heard.
    Answered,
    /// It is to be asked again after a pause.
    Pausing,
    /// The result is written, and its delivery is not acked.
    Recorded,
    /// Acks are gathered, and RabbitMQ is told of none of them.
    AcksGathered,
}

impl StopPoint {
    /// A login has come to this step.
    #[inline]
    pub fn reached(self) {
        #[cfg(debug_assertions)]
        armed::act(self);
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::StopPoint;

    static STOP: LazyLock<Option<Armed>> = LazyLock::new(|| Armed::by("QUICKLOGIN_STOP_AT"));
    static PANIC: LazyLock<Option<Armed>> = LazyLock::new(|| Armed::by("QUICKLOGIN_PANIC_AT"));

    /// A step, and how many logins still come there before it happens.
    struct Armed {
        step: String,
        left: AtomicU32,
    }

    pub(super) fn act(here: StopPoint) {
        if STOP.as_ref().is_some_and(|armed| armed.goes_off(here)) {
            say(here);
            stop();
        }
        if PANIC.as_ref().is_some_and(|armed| armed.goes_off(here)) {
            panic!("canary: what a panic says may be anybody's secret, at {here:?}");
        }
    }

    impl Armed {
        fn by(variable: &str) -> Option<Self> {
            let wanted = std::env::var(variable).ok()?;
            let (step, nth) = wanted.split_once('#').unwrap_or((&wanted, "1"));
            let nth = nth.parse().expect("a test says which login it means");
            Some(Self { step: step.to_owned(), left: AtomicU32::new(nth) })
        }

        fn goes_off(&self, here: StopPoint) -> bool {
            let one_less = |left: u32| left.checked_sub(1);
            let is_meant = self.step == format!("{here:?}");
            is_meant && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) == Ok(1)
        }
    }

    /// Written at once: nothing else runs once the process has stopped.
    #[expect(clippy::print_stderr, reason = "it is a test that reads it")]
    fn say(here: StopPoint) {
        eprintln!("stopped at {here:?}");
    }

    /// Returns when the process is woken.
    fn stop() {
        #[expect(unsafe_code, reason = "std has no word for it; raise(3) touches no memory")]
        // SAFETY: it only sends a signal to this thread, which stops the whole process.
        unsafe {
            libc::raise(libc::SIGSTOP);
        }
    }
}
