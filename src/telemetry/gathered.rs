//! Lines on their way out: gathered, and written together, since a line alone costs a call of the system's each time.
//!
//! No line is dropped, however many come: who fills the room writes it out. What WARN or ERROR says is written at once,
//! and all before it. What ends the process with no word to it (SIGKILL, abort, a signal that a command does not listen
//! to) takes with it what came in the last [`AT_THE_LATEST`], and that is of INFO and below. Nothing wakes up where
//! nothing is said.
//!
//! tracing-appender's `non_blocking` is not this: it wakes its thread for each line, writes each line by itself, drops
//! lines or blocks where many come, and knows no level.

#[cfg(test)]
mod tests;

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
