//! What commands write to stdout. Nothing here panics: if the reader has gone away, the command ends quietly with 0, as
//! `quicklogin demo | head -2` should; if stdout cannot be written for another reason, such as a full disk, it fails.
//!
//! What goes to stderr goes through `telemetry::say`.

use std::fmt::{self, Display, Write as _};
use std::io::{self, ErrorKind, Write as _};
use std::sync::{Mutex, PoisonError};

use textwrap::{Options, WordSplitter};

use crate::commands::CommandError;
use crate::printable::is_harmful;

/// Output for people is no wider than this many columns; a Chinese character takes two.
pub(super) const COLUMNS: usize = 80;

static FAILED: Mutex<Option<CommandError>> = Mutex::new(None);

/// Writes a line, or several, as they are.
pub(super) fn print(lines: impl Display) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{lines}").and_then(|()| stdout.flush()).map_err(|error| unwritten(&error))
}

/// Writes JSON on one line; what commands a terminal is escaped in it.
pub(super) fn print_json(json: impl Display) -> Result<(), CommandError> {
    let mut safe = String::new();
    write!(EscapedJson(&mut safe), "{json}").expect("a String takes everything");
    print(safe)
}

/// The same for a command that must do its work whether or not its output is read: the failure comes up at its end.
pub(super) fn print_or_fail_at_end(lines: impl Display) {
    if let Err(failure) = print(lines) {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }
}

/// The failure that was kept for the end of the command.
pub(super) fn failed_before() -> Result<(), CommandError> {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
}

/// Why stdout was not written.
pub(super) fn unwritten(error: &io::Error) -> CommandError {
    match error.kind() {
        ErrorKind::BrokenPipe => CommandError::reader_gone(),
        _ => CommandError::at_run_time(format!("stdout cannot be written: {error}"))
            .with_hint("is the disk full? What the command did is done"),
    }
}

/// The text in lines of at most [`COLUMNS`]; each begins with `indent`, the first with `first`.
pub(super) fn wrapped(text: &str, first: &str, indent: &str) -> String {
    let options = Options::new(COLUMNS).initial_indent(first).subsequent_indent(indent);
    textwrap::fill(text, options.word_splitter(WordSplitter::NoHyphenation))
}

/// Outside of its texts, JSON is ASCII that is not harmful.
struct EscapedJson<'a>(&'a mut String);

impl fmt::Write for EscapedJson<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| match is_harmful(letter) {
            true => letter.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(self.0, "\\u{unit:04x}")),
            false => self.0.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// Put together, so that they are not found here.
    const WRITES: [&str; 4] =
        [concat!("println", "!("), concat!(" print", "!("), concat!("eprint", "!("), concat!("dbg", "!(")];

    #[test]
    fn a_reader_that_is_gone_is_no_failure_and_a_full_disk_is_one() {
        let gone = unwritten(&ErrorKind::BrokenPipe.into());
        assert!(gone.is_silent() && gone.kind as u8 == 0);
        let full = unwritten(&ErrorKind::StorageFull.into());
        assert!(!full.is_silent() && full.kind as u8 == 1 && full.hint().is_some());
    }

    #[test]
    fn lines_for_people_fit_80_columns_in_english_and_chinese() {
        let english = "The token that is there serves to its end; another system fetches tokens all day. ".repeat(3);
        let chinese =
            "当日调用额度已用完。请在后台查看额度，每月可清零十次（多半是其他系统在使用 force_refresh）。".repeat(3);
        for text in [english, chinese] {
            let wrapped = wrapped(&text, "  who: ", "  ");
            let widths: Vec<usize> = wrapped.lines().map(textwrap::core::display_width).collect();
            assert!(widths.iter().all(|width| *width <= COLUMNS), "{wrapped}");
            assert!(widths.len() >= 3 && widths[..widths.len() - 1].iter().all(|width| *width > 60), "{wrapped}");
            let without_spaces = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(without_spaces(&wrapped), without_spaces(&format!("who: {text}")));
        }
    }

    #[test]
    fn json_stays_the_same_without_what_commands_a_terminal() {
        let json = serde_json::json!({"errmsg": "a\u{202e}b\u{9b}\u{7f}\x1b\u{e0041}手"});
        let mut safe = String::new();
        write!(EscapedJson(&mut safe), "{json}").expect("a String takes everything");
        assert!(!safe.contains(is_harmful), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).expect("JSON"), json);
    }

    #[test]
    fn nothing_else_writes_to_stdout_or_stderr() {
        let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the sources are there") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let source = fs::read_to_string(&path).expect("text");
                let writes =
                    |line: &&str| !line.trim_start().starts_with("//") && WRITES.iter().any(|w| line.contains(w));
                found.extend(source.lines().filter(writes).map(|line| format!("{}: {line}", path.display())));
            }
        }
        // The step where a test stops the process; a release has none of it.
        found.retain(|line| !line.contains("src/stop_point.rs:"));
        assert!(found.is_empty(), "println! and the like panic if the reader goes away:\n{}", found.join("\n"));
    }
}
