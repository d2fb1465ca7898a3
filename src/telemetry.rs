//! Logs, on stderr. What an operator can turn up is ours; libraries stay at warn, since some print credentials, URLs
//! or whole messages below that.
//!
//! On a terminal each line comes as it is said; elsewhere a line of INFO or below may come a moment later, together with
//! others, and is lost to whoever kills the process in that moment: see `gathered`.

mod buffer;
mod gathered;
mod json;
mod stamp;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Stderr};
use std::panic::PanicHookInfo;
use std::sync::LazyLock;

use tracing::{Level, Metadata, error, level_filters::LevelFilter};
use tracing_subscriber::filter::{FilterExt, FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::LogFormat;
use gathered::Gathered;
use json::Json;
use text::Text;

static LINES: LazyLock<Gathered<Stderr>> = LazyLock::new(|| Gathered::into(io::stderr()));

/// The filter's text cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log.filter cannot be read: {0}")]
pub struct BadFilter(String);

/// Dropped at the process's end, which is when what is gathered has to be written.
#[must_use = "dropped early, each line is written by itself"]
pub struct Logs {
    is_first: bool,
}

/// Starts logging to stderr, panics too. A second call, as in tests, changes nothing.
pub fn start(filter: &str, format: LogFormat) -> Result<Logs, BadFilter> {
    let wanted: Targets = filter.parse().map_err(|error| BadFilter(format!("{error}")))?;
    let (lines, is_terminal): (&'static Gathered<Stderr>, _) = (&LINES, io::stderr().is_terminal());
    let layer = fmt::layer().with_ansi(is_terminal).with_writer(lines);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => Box::new(layer.event_format(Text::new())),
        LogFormat::Json => Box::new(layer.with_ansi(false).fmt_fields(JsonFields::new()).event_format(Json::new())),
    };
    let is_first = tracing_subscriber::registry().with(layer.with_filter(wanted.and(keeps_quiet()))).try_init().is_ok();
    if is_first && !is_terminal {
        lines.gather();
    }
    std::panic::set_hook(Box::new(tell_panic));
    Ok(Logs { is_first })
}

/// Says something that is no log line, behind all lines that were said before it.
pub fn say(what: Arguments<'_>) {
    LINES.write_out();
    eprintln!("{what}");
}

impl Drop for Logs {
    fn drop(&mut self) {
        if self.is_first {
            LINES.end();
        }
    }
}

/// Where it was, and what was said if that stands in the source: all else may quote what a login holds.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("***");
    let at = panic.location().map(tracing::field::display);
    error!(at, said, "panicked");
    // Also where the filter leaves out the line itself.
    LINES.write_out();
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
