//! The demo's table: two lines for each login as it concludes, then a summary; 80 columns wide.

use std::io;

use crate::commands::CommandError;
use crate::commands::demo::cases::{Ending, Shown};
use crate::commands::output::{print, print_json, wrapped};
use crate::login::Outcome;
use crate::printable::printable;
use crate::simulator::Asked;
use crate::telemetry::has_colours;

/// As wide as what marks a row.
const INDENT: &str = "     ";

pub(super) struct Table {
    json: bool,
    colours: bool,
    shown: usize,
    succeeded: usize,
    wrong: usize,
}

impl Table {
    pub(super) fn begin(json: bool, on_fleet: bool) -> Result<Self, CommandError> {
        if !json {
            let backend = if on_fleet { "RabbitMQ and Redis" } else { "this process alone (no RabbitMQ, no Redis)" };
            let what = format!("Logins of every kind, from HTTP to the result, on {backend}. WeChat is a simulator.");
            print(format_args!("{}\n", wrapped(&what, "", "")))?;
            print(columns(INDENT, "login, and what came of it", "outcome", "asked", "took"))?;
        }
        Ok(Self { json, colours: has_colours(&io::stdout()), shown: 0, succeeded: 0, wrong: 0 })
    }

    pub(super) fn row(&mut self, shown: &Shown) -> Result<(), CommandError> {
        let Shown { title, ending, took, as_expected } = shown;
        self.shown += 1;
        self.wrong += usize::from(!as_expected);
        let took_ms = took.as_secs_f64() * 1000.0;
        let (outcome, asked, what) = describe(ending);
        self.succeeded += usize::from(outcome == "succeeded");
        if self.json {
            return print_json(serde_json::json!({
                "login": title, "outcome": outcome, "attempts": asked, "took_ms": took_ms.round(),
                "as_expected": as_expected, "detail": what,
            }));
        }
        let mark = match (as_expected, outcome == "succeeded") {
            (false, _) => self.paint("31", "WRONG"),
            (true, true) => self.paint("32", "  ok "),
            (true, false) => self.paint("33", "  -- "),
        };
        print(columns(&mark, title, outcome, &asked.to_string(), &format!("{took_ms:.0} ms")))?;
        print(wrapped(&printable(&what), INDENT, INDENT))
    }

    /// The summary; an error when a login ended otherwise than it should.
    pub(super) fn end(self, asked: &Asked) -> Result<(), CommandError> {
        let Self { shown, succeeded, wrong, .. } = self;
        let refused = shown - succeeded;
        let (calls, codes, tokens) = (asked.phone.calls, asked.distinct_codes, asked.stable_token.calls);
        if self.json {
            print_json(serde_json::json!({
                "logins": shown, "succeeded": succeeded, "failed": refused, "not_as_expected": wrong,
                "wechat_asked": calls, "codes": codes, "token_calls": tokens,
            }))?;
        } else {
            let what = format!(
                "{shown} logins: {succeeded} phone numbers, {refused} told why not and what to do. WeChat was asked \
                 {calls} times for {codes} codes; the token was fetched {tokens} times."
            );
            print(format_args!("\n{}", wrapped(&what, "", "")))?;
        }
        if wrong > 0 {
            return Err(CommandError::at_run_time(format!(
                "{wrong} of {shown} logins ended otherwise than they should"
            )));
        }
        Ok(())
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn columns(mark: &str, login: &str, outcome: &str, asked: &str, took: &str) -> String {
    format!("{mark}{login:<38} {outcome:<17} {asked:>5} {took:>9}")
}

/// Outcome, how often WeChat was asked, and the rest in words.
fn describe(ending: &Ending) -> (&'static str, u32, String) {
    match ending {
        Ending::TurnedAway(status) => {
            ("turned away", 0, format!("HTTP {status} from the gateway; nothing was published"))
        }
        Ending::Broken(why) => ("broken", 0, why.clone()),
        Ending::Result(result) => {
            let what = match &result.outcome {
                Outcome::Succeeded(phone) => {
                    let country = phone.country_code.as_deref().unwrap_or("?");
                    format!("{} (country {country})", phone.phone_number)
                }
                Outcome::Failed(failure) => {
                    let said = failure.answer.as_ref().map(|answer| format!("; WeChat said {}", answer.errcode));
                    format!("caller should: {}{}", failure.advice.as_str(), said.unwrap_or_default())
                }
            };
            (result.outcome.as_str(), result.attempts, what)
        }
    }
}
