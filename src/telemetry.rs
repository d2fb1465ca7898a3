//! Logs, on stderr. The operator can raise the level of quicklogin's own lines; libraries stay at warn, since some print
//! credentials, URLs or whole messages below that.
//!
//! Everything that this process writes to stderr goes through one buffer and one thread, see `gathered`: no login and no
//! stop waits for stderr.

mod buffer;
mod gathered;
mod json;
mod stamp;
#[cfg(test)]
mod tests;
mod text;

use std::ffi::OsStr;
use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{Level, Metadata, error, level_filters::LevelFilter, warn};
use tracing_subscriber::filter::{FilterExt, FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::LogFormat;
use crate::meters;
use crate::printable::Printable;
use gathered::Gathered;
use json::Json;
use text::Text;

/// A process that ends waits no longer than this until its last lines are written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

static LINES: LazyLock<Gathered> = LazyLock::new(|| Gathered::new(meters::log_lines_dropped));
/// What is no log line, such as an error at the end, is written as JSON too.
static ONLY_JSON: AtomicBool = AtomicBool::new(false);

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// The filter's text cannot be read.
    #[error("log.filter cannot be read: {0}")]
    BadFilter(String),
}

/// Waits, when it is dropped, until what was logged is written, for at most a second.
#[must_use = "dropped early, later lines may be lost"]
pub struct Stderr(());

/// Starts the thread that writes to stderr; until then, and without it, nothing is written. Called once, by the binary.
pub fn open_stderr() -> io::Result<Stderr> {
    let stderr = io::stderr();
    // A descriptor of its own, as std's handle has a lock, which a blocked write would hold.
    let to = File::from(stderr.as_fd().try_clone_to_owned()?);
    LINES.start_writer(to, report_dropped)?;
    if stderr.is_terminal() {
        LINES.write_at_once();
    }
    Ok(Stderr(()))
}

impl Drop for Stderr {
    fn drop(&mut self) {
        LINES.flush(FLUSH_WITHIN);
    }
}

/// Starts logging, panics too. A second call, as in tests, changes nothing. `only_json` is for commands that serve: if the
/// format is JSON, they write no other line.
pub fn start(filter: &str, format: LogFormat, only_json: bool) -> Result<(), NotStarted> {
    let is_json = matches!(format, LogFormat::Json);
    ONLY_JSON.store(is_json && only_json, Ordering::Relaxed);
    let wanted: Targets = filter.parse().map_err(|error| NotStarted::BadFilter(format!("{error}")))?;
    let lines: &'static Gathered = &LINES;
    let layer = fmt::layer().with_ansi(!is_json && has_colours(&io::stderr())).with_writer(lines);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => Box::new(layer.event_format(Text)),
        LogFormat::Json => Box::new(layer.fmt_fields(JsonFields::new()).event_format(Json::new())),
    };
    let _already_started = tracing_subscriber::registry().with(layer.with_filter(wanted.and(keeps_quiet()))).try_init();
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Errors at the end of a process that has not come to [`start`], in the format that its settings name.
pub fn write_only_json() {
    ONLY_JSON.store(true, Ordering::Relaxed);
}

/// Whether colours may be written to this stream: it is a terminal that knows them, and NO_COLOR is not set.
pub fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && wants_colours(std::env::var_os("NO_COLOR").as_deref(), std::env::var_os("TERM").as_deref())
}

/// `NO_COLOR` counts if it is not empty (no-color.org).
fn wants_colours(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

/// Writes a line to stderr that is no log line and that no filter leaves out, behind all lines before it.
pub fn say(what: Arguments<'_>) {
    write_line(Level::INFO, what, None);
}

/// Writes an error and what to do about it, for whoever started this process.
pub fn say_error(what: &str, hint: Option<&str>) {
    write_line(Level::ERROR, format_args!("{what}"), hint);
}

fn write_line(level: Level, what: Arguments<'_>, hint: Option<&str>) {
    let mut line = String::new();
    let written = if ONLY_JSON.load(Ordering::Relaxed) {
        json::write_line(&mut line, level, what, hint)
    } else {
        write_plain_line(&mut line, level, what, hint)
    };
    written.expect("a String takes everything");
    LINES.append(line.as_bytes(), true);
}

fn write_plain_line(line: &mut String, level: Level, what: Arguments<'_>, hint: Option<&str>) -> std::fmt::Result {
    use std::fmt::Write;
    if level == Level::ERROR {
        line.push_str("error: ");
    }
    Printable(&mut *line).write_fmt(what)?;
    line.push('\n');
    if let Some(hint) = hint {
        line.push_str("hint: ");
        Printable(&mut *line).write_str(hint)?;
        line.push('\n');
    }
    Ok(())
}

/// Called in the writer's thread, once lines can be written again.
fn report_dropped(lines: u64) {
    warn!(lines, "log lines were dropped: stderr could not be written");
}

/// Logs where it was, and what was said if that stands in the source: all else may quote what a login holds.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("***");
    let at = panic.location().map(tracing::field::display);
    error!(at, said, "panicked");
}

/// Passes everything of ours; of others only warnings, and nothing of lapin: it prints returned messages with their bodies,
/// and logs each failed attempt to connect as several errors. What it has to say comes back as errors, which are logged
/// where they are handled.
fn keeps_quiet() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| {
        let ours = metadata.target().starts_with("quicklogin");
        let of_lapin = metadata.target() == "lapin" || metadata.target().starts_with("lapin::");
        ours || (*metadata.level() <= Level::WARN && !of_lapin)
    })
    .with_max_level_hint(LevelFilter::TRACE)
}
