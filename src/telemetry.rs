//! Logs, on stderr. What an operator can turn up is ours; libraries stay at warn, since some print credentials, URLs
//! or whole messages below that.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::{Level, Metadata, error, level_filters::LevelFilter};
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::LogFormat;

/// The filter's text cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log.filter cannot be read: {0}")]
pub struct BadFilter(String);

/// Starts logging to stderr, panics too. A second call, as in tests, changes nothing.
pub fn start(filter: &str, format: LogFormat) -> Result<(), BadFilter> {
    let wanted: Targets = filter.parse().map_err(|error| BadFilter(format!("{error}")))?;
    let writer = std::io::stderr;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => Box::new(fmt::layer().with_writer(writer).with_ansi(writer().is_terminal())),
        LogFormat::Json => Box::new(fmt::layer().json().flatten_event(true).with_writer(writer)),
    };
    let _ = tracing_subscriber::registry().with(lines.with_filter(wanted).with_filter(keeps_quiet())).try_init();
    std::panic::set_hook(Box::new(tell_panic));
    Ok(())
}

/// Where it was, and what was said if that stands in the source: all else may quote what a login holds.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("***");
    let at = panic.location().map(tracing::field::display);
    error!(at, said, "panicked");
}

/// Passes everything of ours; of others only warnings, and never a returned message, which lapin prints body and all.
fn keeps_quiet() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| {
        let ours = metadata.target().starts_with("quicklogin");
        let shows_bodies = metadata.target().starts_with("lapin::returned_messages");
        ours || (*metadata.level() <= Level::WARN && !shows_bodies)
    })
    .with_max_level_hint(LevelFilter::TRACE)
}
