//! `dead`: the dead letters of a fleet, to be looked at, replayed or dropped. No code, openid or payload is ever printed.
//!
//! Letters are read unacked. Whatever ends the command, or whoever else reads at the same time: what was not removed comes
//! back.

mod entry;
mod filters;
mod lines;
mod list;
mod mend;
mod redact;
mod show;

use std::fmt;

use clap::Subcommand;

use crate::backend::Backend;
use crate::commands::CommandError;
use crate::commands::assemble::Process;
use crate::commands::output::print_or_fail_at_end;
use crate::queue::{DeadFault, DeadLetters, RabbitQueue};
use crate::telemetry::say;
use entry::Entry;

#[derive(Subcommand)]
pub(super) enum Action {
    /// One line a letter, the oldest first: its number, since when, which request, why; with --json more
    List(list::Args),
    /// One letter with its headers, and of its body what is no secret
    Show(show::Args),
    /// Publish letters as login requests again, those that still can become a result
    ///
    /// A letter leaves the dead letters when RabbitMQ has confirmed its copy. If this command is killed in between, there
    /// are two of it, which the workers answer once.
    Replay(mend::Args),
    /// Remove letters for good
    Drop(mend::Args),
}

pub(super) async fn run(process: &Process, action: Action) -> Result<(), CommandError> {
    let done = match action {
        Action::List(args) => list::run(Reader::open(process).await?, args).await,
        Action::Show(args) => show::run(Reader::open(process).await?, args).await,
        Action::Replay(args) => mend::run(process, mend::Verb::Replay, args).await,
        Action::Drop(args) => mend::run(process, mend::Verb::Drop, args).await,
    };
    process.finish().await;
    done
}

/// The letters, each with its place.
struct Reader {
    queue: RabbitQueue,
    letters: DeadLetters,
    code_life: std::time::Duration,
    results_queue: String,
    position: u64,
}

impl Reader {
    async fn open(process: &Process) -> Result<Self, CommandError> {
        let Backend::Fleet { rabbitmq, .. } = process.settings.backend()? else {
            let hint = "set rabbitmq.url and redis.url; a `serve` without them keeps its dead letters to itself";
            return Err(CommandError::settings("dead letters are in RabbitMQ, and none is configured", hint));
        };
        let queue = RabbitQueue::new(*rabbitmq, process.shutdown.tracker.clone())
            .map_err(|bad| CommandError::settings(bad.to_string(), "see rabbitmq.url in config/default.toml"))?;
        let letters = queue.dead_letters().await?;
        let code_life = process.settings.limits().code_life;
        let results_queue = process.settings.rabbitmq.results_queue.clone();
        Ok(Self { queue, letters, code_life, results_queue, position: 0 })
    }

    async fn next(&mut self) -> Result<Option<Entry>, CommandError> {
        let Some(letter) = self.letters.next().await? else { return Ok(None) };
        self.position += 1;
        Ok(Some(Entry::new(self.position, letter, self.code_life, &self.results_queue)))
    }

    /// Puts back what was read.
    async fn close(self) -> Result<(), CommandError> {
        Ok(self.letters.put_back().await?)
    }

    /// Says that nothing was found.
    fn none(&self, filters: &filters::Filters) -> &'static str {
        if self.position == 0 || filters.is_empty() { "there are no dead letters" } else { "no dead letter matches" }
    }

    /// Says on stderr that there are more than were read.
    fn tell_unread(&self, hint: &str) {
        let unread = self.letters.unread();
        if unread > 0 {
            say(format_args!("{unread} more were not looked at{hint}"));
        }
        if !self.letters.keeps_order() {
            say(format_args!("they are so many that the others may be behind them now: numbers change"));
        }
    }
}

impl From<DeadFault> for CommandError {
    fn from(fault: DeadFault) -> Self {
        let hint = match fault {
            DeadFault::NoQueue(_) => "a worker or a gateway declares it when it starts; see rabbitmq.dead_queue",
            DeadFault::Away(_) => {
                "is RabbitMQ running at rabbitmq.url, with that user, password and vhost? Letters that were read come back"
            }
        };
        Self::at_run_time(fault.to_string()).with_hint(hint)
    }
}

/// To stdout. Nobody reads any more? The letters are to be dealt with all the same.
fn print(line: impl fmt::Display) {
    print_or_fail_at_end(line);
}
