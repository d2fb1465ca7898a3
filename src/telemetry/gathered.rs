//! Lines on their way out: gathered, and written together, since a line alone costs a call of the system's each time.
//!
//! No line is dropped, however many come: who fills the room writes it out. What WARN or ERROR says is written at once,
//! and all before it. What ends the process with no word to it (SIGKILL, abort, a signal that a command does not listen
//! to) takes with it what came in the last [`AT_THE_LATEST`], and that is of INFO and below. Nothing wakes up where
//! nothing is said.
//!
//! tracing-appender's `non_blocking` is not this: it wakes its thread for each line, writes each line by itself, drops
//! lines or blocks where many come, and knows no level.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// No line waits longer than this.
const AT_THE_LATEST: Duration = Duration::from_millis(30);
/// So many bytes wait at most, and as many again are being written.
const HOLDS: usize = 64 * 1024;
/// Linux' PIPE_BUF: of several processes on one pipe, nobody comes in between what is written so many bytes at a time.
const UNMIXED: usize = 4096;

/// Lines that wait, and where they go.
pub(super) struct Gathered<W> {
    lines: Mutex<Vec<u8>>,
    some: Condvar,
    /// Locked before `lines`, from when lines are taken until they are written: that keeps their order.
    out: Mutex<Out<W>>,
    gathers: AtomicBool,
}

struct Out<W> {
    to: W,
    taken: Vec<u8>,
}

/// Takes one line.
pub(super) struct Taker<W: 'static> {
    gathered: &'static Gathered<W>,
    at_once: bool,
}

impl<W: Write + Send> Gathered<W> {
    /// Writes each line at once, until it is told to gather.
    pub(super) fn into(to: W) -> Self {
        Self {
            lines: Mutex::default(),
            some: Condvar::new(),
            out: Mutex::new(Out { to, taken: Vec::new() }),
            gathers: AtomicBool::new(false),
        }
    }

    /// Gathers from now on, if there is a thread to be had for it.
    pub(super) fn gather(&'static self) {
        let in_time = || {
            loop {
                self.wait_for_some();
                thread::sleep(AT_THE_LATEST);
                self.write_out();
            }
        };
        let spawned = thread::Builder::new().name("logs".into()).spawn(in_time);
        self.gathers.store(spawned.is_ok(), Ordering::Relaxed);
    }

    /// Writes out what is there, and each line at once from now on.
    pub(super) fn end(&self) {
        self.gathers.store(false, Ordering::Relaxed);
        self.write_out();
    }

    /// Returns when all that was taken before is written.
    pub(super) fn write_out(&self) {
        let mut out = lock(&self.out);
        let Out { to, taken } = &mut *out;
        mem::swap(&mut *lock(&self.lines), taken);
        for lines in unmixed(taken) {
            let _nobody_is_left_to_tell = to.write_all(lines);
        }
        taken.clear();
        taken.shrink_to(HOLDS);
    }

    fn take(&self, line: &[u8]) {
        let mut lines = lock(&self.lines);
        while !lines.is_empty() && lines.len() + line.len() > HOLDS {
            drop(lines);
            self.write_out();
            lines = lock(&self.lines);
        }
        let is_first = lines.is_empty();
        lines.extend_from_slice(line);
        drop(lines);
        if is_first {
            self.some.notify_one();
        }
    }

    fn wait_for_some(&self) {
        let lines = self.some.wait_while(lock(&self.lines), |lines| lines.is_empty());
        drop(lines.unwrap_or_else(PoisonError::into_inner));
    }
}

impl<'a, W: Write + Send> MakeWriter<'a> for &'static Gathered<W> {
    type Writer = Taker<W>;

    fn make_writer(&'a self) -> Taker<W> {
        Taker { gathered: self, at_once: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Taker<W> {
        let is_grave = *metadata.level() <= Level::WARN;
        Taker { gathered: self, at_once: is_grave || !self.gathers.load(Ordering::Relaxed) }
    }
}

impl<W: Write + Send> Write for Taker<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.gathered.take(line);
        if self.at_once {
            self.gathered.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gathered.write_out();
        Ok(())
    }
}

/// Whatever panicked: nothing is half done behind these locks, and what panics wants to be told.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many lines at a time as are [`UNMIXED`], or one that is longer.
fn unmixed(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (these, rest) = lines.split_at(end_of_unmixed(lines));
        lines = rest;
        (!these.is_empty()).then_some(these)
    })
}

fn end_of_unmixed(lines: &[u8]) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    let last = match lines.get(..UNMIXED) {
        Some(fit) => fit.iter().rposition(is_end).or_else(|| lines.iter().position(is_end)),
        None => None,
    };
    last.map_or(lines.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use tracing::{Subscriber, debug, error, info, subscriber, warn};
    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Remembers each write by itself.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Writes {
        fn all(&self) -> Vec<String> {
            lock(&self.0).clone()
        }
    }

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).push(String::from_utf8(bytes.to_vec()).expect("text"));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// One that gathers, without a thread to write it out.
    fn gathering() -> (&'static Gathered<Writes>, Writes) {
        let (gathered, writes) = written_at_once();
        gathered.gathers.store(true, Ordering::Relaxed);
        (gathered, writes)
    }

    fn written_at_once() -> (&'static Gathered<Writes>, Writes) {
        let writes = Writes::default();
        (Box::leak(Box::new(Gathered::into(writes.clone()))), writes)
    }

    /// Writes only what was said.
    fn log_into(gathered: &'static Gathered<Writes>) -> impl Subscriber {
        let layer = fmt::layer().with_ansi(false).without_time().with_level(false).with_target(false);
        tracing_subscriber::registry().with(layer.with_writer(gathered))
    }

    #[test]
    fn what_is_grave_is_written_at_once_behind_all_that_was_said_before() {
        let (gathered, writes) = gathering();
        subscriber::with_default(log_into(gathered), || {
            debug!("a");
            info!("b");
            assert!(writes.all().is_empty(), "{:?}", writes.all());
            warn!("c");
            assert_eq!(writes.all(), ["a\nb\nc\n"]);
            info!("d");
            error!("e");
            assert_eq!(writes.all(), ["a\nb\nc\n", "d\ne\n"]);
        });
    }

    #[test]
    fn on_a_terminal_each_line_is_written_at_once() {
        let (gathered, writes) = written_at_once();
        subscriber::with_default(log_into(gathered), || {
            info!("a");
            info!("b");
        });
        assert_eq!(writes.all(), ["a\n", "b\n"]);
    }

    #[test]
    fn at_the_end_all_is_written_and_at_once_what_comes_later() {
        let (gathered, writes) = gathering();
        subscriber::with_default(log_into(gathered), || {
            info!("a");
            info!("b");
            gathered.end();
            assert_eq!(writes.all(), ["a\nb\n"]);
            info!("c");
        });
        assert_eq!(writes.all(), ["a\nb\n", "c\n"]);
    }

    #[test]
    fn a_line_that_nothing_follows_is_written_soon_and_so_is_the_next() {
        let (gathered, writes) = written_at_once();
        gathered.gather();
        for (line, written) in [("a\n", "a\n"), ("b\n", "a\nb\n")] {
            gathered.take(line.as_bytes());
            let began = Instant::now();
            while writes.all().concat() != written {
                assert!(began.elapsed() < Duration::from_secs(10), "it is not written: {line}");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn nothing_is_lost_and_no_bound_passed_when_many_say_much() {
        let (gathered, writes) = gathering();
        let say_much = |who: usize| {
            for n in 0..2000 {
                gathered.take(format!("{who} {n} {}\n", "x".repeat(n % 200)).as_bytes());
                assert!(lock(&gathered.lines).len() <= HOLDS);
            }
        };
        thread::scope(|scope| {
            for who in 0..4 {
                scope.spawn(move || say_much(who));
            }
        });
        gathered.end();
        let written = writes.all().concat();
        for who in 0..4 {
            let of_one = written.lines().filter(|line| line.starts_with(&format!("{who} ")));
            let numbers: Vec<usize> =
                of_one.map(|line| line.split(' ').nth(1).expect("it has").parse().expect("a number")).collect();
            assert!(numbers.iter().copied().eq(0..2000), "all, in order: {numbers:?}");
        }
        assert_eq!(written.lines().count(), 8000);
    }

    #[test]
    fn whole_lines_are_written_and_no_more_than_a_pipe_keeps_together() {
        let (gathered, writes) = gathering();
        let lines = [1000, 3095, 1, 4095, 9000, 2, 4094].map(|length| format!("{}\n", "x".repeat(length)));
        for line in &lines {
            gathered.take(line.as_bytes());
        }
        gathered.write_out();
        let lengths: Vec<usize> = writes.all().iter().map(String::len).collect();
        assert_eq!(lengths, [1001, 3098, 4096, 9001, 3, 4095]);
        assert_eq!(writes.all().concat(), lines.concat());
    }

    #[test]
    fn a_line_longer_than_there_is_room_is_written_too() {
        let (gathered, writes) = gathering();
        let long = format!("{}\n", "x".repeat(2 * HOLDS));
        for line in ["a\n", &long, "b\n"] {
            gathered.take(line.as_bytes());
        }
        gathered.write_out();
        assert_eq!(writes.all(), ["a\n", &long, "b\n"]);
    }
}
