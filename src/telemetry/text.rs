//! A log line as text, byte for byte as tracing-subscriber's own formatter writes it, except that control and format
//! characters are escaped everywhere. That one makes up fourteen styles for a line without any, writes each letter of a
//! message by itself, and lets fields command the terminal.

use std::error::Error;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::printable::Printable;
use crate::telemetry::buffer;
use crate::telemetry::stamp::Stamp;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const ITALIC: &str = "\x1b[3m";
const RESET: &str = "\x1b[0m";

/// `2021-11-24T08:57:54.123456Z  INFO quicklogin::worker: message name=value name="text"`.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let has_colours = writer.has_ansi_escapes();
        buffer::write_by(&mut writer, |line| {
            write_head(line, *event.metadata().level(), has_colours)?;
            write_spans(line, ctx, has_colours)?;
            write_event(line, event, has_colours)
        })
    }
}

fn write_head(line: &mut String, level: Level, has_colours: bool) -> fmt::Result {
    let level = shown(level);
    if !has_colours {
        Stamp.write(line)?;
        line.extend([" ", level.word, " "]);
        return Ok(());
    }
    line.push_str(DIM);
    Stamp.write(line)?;
    line.extend([RESET, " ", level.colour, level.word, RESET, " "]);
    Ok(())
}

/// The spans that the event is in, of which we have none, and some crates have.
fn write_spans<S, N>(line: &mut String, ctx: &FmtContext<'_, S, N>, has_colours: bool) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let Some(scope) = ctx.event_scope() else { return Ok(()) };
    let (bold, dim, reset) = if has_colours { (BOLD, DIM, RESET) } else { ("", "", "") };
    for span in scope.from_root() {
        line.extend([bold, span.name(), reset]);
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
        if !fields.is_empty() {
            line.extend([bold, "{", reset]);
            write_formatted(line, fields, has_colours)?;
            line.extend([bold, "}", reset]);
        }
        line.extend([dim, ":", reset]);
    }
    line.push(' ');
    Ok(())
}

/// Fields that the crate has formatted, with its own styles if there are colours.
fn write_formatted(line: &mut String, fields: &str, has_colours: bool) -> fmt::Result {
    for (at, part) in fields.split('\x1b').enumerate() {
        let style = [DIM, ITALIC, RESET].into_iter().find(|style| has_colours && part.starts_with(&style[1..]));
        let rest = match style {
            Some(style) if at > 0 => {
                line.push_str(style);
                &part[style.len() - 1..]
            }
            _ if at > 0 => {
                Printable(&mut *line).write_char('\x1b')?;
                part
            }
            _ => part,
        };
        Printable(&mut *line).write_str(rest)?;
    }
    Ok(())
}

fn write_event(line: &mut String, event: &Event<'_>, has_colours: bool) -> fmt::Result {
    let target = event.metadata().target();
    match has_colours {
        true => line.extend([DIM, target, RESET, DIM, ":", RESET, " "]),
        false => line.extend([target, ": "]),
    }
    let mut fields = Fields { line, is_empty: true, has_colours, written: Ok(()) };
    event.record(&mut fields);
    fields.written?;
    line.push('\n');
    Ok(())
}

/// How a level looks.
struct Shown {
    word: &'static str,
    colour: &'static str,
}

fn shown(level: Level) -> Shown {
    let (word, colour) = match level {
        Level::TRACE => ("TRACE", "\x1b[35m"),
        Level::DEBUG => ("DEBUG", "\x1b[34m"),
        Level::INFO => (" INFO", "\x1b[32m"),
        Level::WARN => (" WARN", "\x1b[33m"),
        Level::ERROR => ("ERROR", "\x1b[31m"),
    };
    Shown { word, colour }
}

/// Appends fields, with spaces between them. After one that cannot be written there are no more.
struct Fields<'a> {
    line: &'a mut String,
    is_empty: bool,
    has_colours: bool,
    written: fmt::Result,
}

impl Fields<'_> {
    fn separate(&mut self) {
        if !self.is_empty {
            self.line.push(' ');
        }
        self.is_empty = false;
    }

    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.written.is_err() {
            return;
        }
        self.separate();
        if field.name() != "message" {
            self.name(field, "");
        }
        self.written = Printable(&mut *self.line).write_fmt(value);
    }

    fn name(&mut self, field: &Field, more: &str) {
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        match (self.has_colours, more) {
            (true, "") => self.line.extend([ITALIC, name, RESET, DIM, "=", RESET]),
            (true, more) => self.line.extend([ITALIC, name, RESET, ITALIC, more, RESET, DIM, "=", RESET]),
            (false, more) => self.line.extend([name, more, "="]),
        }
    }

    /// An error, and what it came from.
    fn write_chain(&mut self, field: &Field, error: &(dyn Error + 'static)) -> fmt::Result {
        self.separate();
        if field.name() != "message" {
            self.name(field, "");
        }
        write!(Printable(&mut *self.line), "{error}")?;
        let mut source = error.source();
        if source.is_some() {
            self.line.push(' ');
            self.name(field, ".sources");
        }
        let mut before = "[";
        while let Some(error) = source {
            self.line.push_str(before);
            write!(Printable(&mut *self.line), "{error}")?;
            before = ", ";
            source = error.source();
        }
        if before == ", " {
            self.line.push(']');
        }
        Ok(())
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.write(field, format_args!("{value}"));
        } else if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            self.separate();
            self.name(field, "");
            self.line.extend(["\"", value, "\""]);
        } else {
            self.write(field, format_args!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if self.written.is_ok() {
            self.written = self.write_chain(field, value);
        }
    }
}
