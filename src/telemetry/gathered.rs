//! Log lines on their way to stderr: appended to a buffer in memory, written by a thread that does nothing else.
//!
//! A thread that logs never writes and never waits for stderr: stderr may be a pipe whose reader has stopped, or a full
//! disk. If the buffer is full, or a write fails, lines are dropped and counted; the count is logged once lines can be
//! written again. WARN and ERROR are written at once, INFO and below up to [`GATHER_FOR`] later, since a write for each
//! line costs a system call each. SIGKILL and abort lose what is in the buffer.
//!
//! tracing-appender's `non_blocking` is not used: it wakes its thread for each line, writes each line by itself, and knows
//! no level.

#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// INFO and below wait no longer than this for other lines.
const GATHER_FOR: Duration = Duration::from_millis(30);
/// The writer does not wait for more lines than this, in bytes.
const GATHER_BYTES: usize = 64 * 1024;
/// The maximum of bytes that wait for the writer; a line beyond it is dropped.
const MAX_BUFFERED: usize = 4 * 1024 * 1024;
/// Linux' PIPE_BUF: if several processes share a pipe, writes up to this length are not mixed with others.
const UNMIXED: usize = 4096;
/// A write to a non-blocking stderr that is full is tried again after this.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// The buffer, and what its writer and those who wait for the writer need.
pub(super) struct Gathered {
    state: Mutex<State>,
    /// Wakes the writer.
    some: Condvar,
    /// Wakes who waits until all is written.
    written: Condvar,
    /// Called for each time that lines are dropped, with their number.
    count_dropped: fn(u64),
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// The writer must not wait for more lines.
    is_urgent: bool,
    /// Every line is urgent, as on a terminal.
    always_urgent: bool,
    /// The writer has taken lines and not written them yet.
    is_writing: bool,
    /// Dropped since the last report.
    dropped: u64,
}

/// Appends one line.
pub(super) struct Appender {
    gathered: &'static Gathered,
    is_urgent: bool,
}

impl Gathered {
    pub(super) fn new(count_dropped: fn(u64)) -> Self {
        Self { state: Mutex::default(), some: Condvar::new(), written: Condvar::new(), count_dropped }
    }

    /// Starts the writer. `report` is called, in its thread, with the number of dropped lines, once lines can be written
    /// again.
    pub(super) fn start_writer(&'static self, to: impl Write + Send + 'static, report: fn(u64)) -> io::Result<()> {
        let (mut out, mut lines) = (Out { to, is_torn: false }, Vec::new());
        let write = move || {
            loop {
                self.take(&mut lines);
                self.write(&mut out, &lines, report);
                lines.clear();
                lines.shrink_to(2 * GATHER_BYTES);
            }
        };
        thread::Builder::new().name("logs".into()).spawn(write).map(drop)
    }

    /// Writes each line at once from now on.
    pub(super) fn write_at_once(&self) {
        lock(&self.state).always_urgent = true;
    }

    /// Appends one line, with its line feed. Never blocks on stderr.
    pub(super) fn append(&self, line: &[u8], is_urgent: bool) {
        let mut state = lock(&self.state);
        if state.lines.len() + line.len() > MAX_BUFFERED {
            state.dropped += 1;
            drop(state);
            return (self.count_dropped)(1);
        }
        let is_first = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        let is_urgent = is_urgent || state.always_urgent || state.lines.len() >= GATHER_BYTES;
        let must_wake = is_first || (is_urgent && !state.is_urgent);
        state.is_urgent |= is_urgent;
        drop(state);
        if must_wake {
            self.some.notify_one();
        }
    }

    /// Waits until all lines are written or dropped, `at_most` so long.
    pub(super) fn flush(&self, at_most: Duration) {
        let mut state = lock(&self.state);
        state.is_urgent = true;
        self.some.notify_one();
        let is_pending = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let waited = self.written.wait_timeout_while(state, at_most, is_pending);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for lines, and for [`GATHER_FOR`] for more of them unless they are urgent; then swaps them for `empty`.
    fn take(&self, empty: &mut Vec<u8>) {
        let state = self.some.wait_while(lock(&self.state), |state| state.lines.is_empty());
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.some.wait_timeout_while(state, GATHER_FOR, |state| !state.is_urgent);
        let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        state.is_urgent = false;
        state.is_writing = true;
        mem::swap(&mut state.lines, empty);
    }

    fn write<W: Write>(&self, out: &mut Out<W>, lines: &[u8], report: fn(u64)) {
        let (mut dropped, mut is_writable) = (0, false);
        for chunk in unmixed(lines) {
            let lost = out.write_all(chunk);
            is_writable = lost == 0;
            dropped += lost;
        }
        if dropped > 0 {
            (self.count_dropped)(dropped);
        }
        let mut state = lock(&self.state);
        state.dropped += dropped;
        let to_report = if is_writable { mem::take(&mut state.dropped) } else { 0 };
        if to_report > 0 {
            // Before those who wait are woken: the report is flushed with the lines.
            drop(state);
            report(to_report);
            state = lock(&self.state);
        }
        state.is_writing = false;
        drop(state);
        self.written.notify_all();
    }
}

/// Where lines are written to.
struct Out<W> {
    to: W,
    /// The last line was written in part only.
    is_torn: bool,
}

impl<W: Write> Out<W> {
    /// Writes whole lines, and answers how many of them are lost.
    fn write_all(&mut self, lines: &[u8]) -> u64 {
        if self.is_torn {
            self.is_torn = self.write_some(b"\n") == 0;
        }
        let written = if self.is_torn { 0 } else { self.write_some(lines) };
        self.is_torn |= written > 0 && lines[written - 1] != b'\n';
        lines[written..].iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Writes until all is written or a write fails, and answers how many bytes are written.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.to.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process has made the pipe that it shares with this one non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TRY_AGAIN_AFTER),
                Err(_) => break,
            }
        }
        written
    }
}

impl<'a> MakeWriter<'a> for &'static Gathered {
    type Writer = Appender;

    fn make_writer(&'a self) -> Appender {
        Appender { gathered: self, is_urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Appender {
        Appender { gathered: self, is_urgent: *metadata.level() <= Level::WARN }
    }
}

impl Write for Appender {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.gathered.append(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A panic leaves nothing half done behind this lock, and must be logged too.
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
