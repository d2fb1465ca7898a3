//! `dead replay` and `dead drop`: letters leave the dead letters.

use std::collections::BTreeMap;

use serde_json::json;

use crate::commands::CommandError;
use crate::commands::assemble::Process;
use crate::commands::dead::entry::{Entry, Refusal};
use crate::commands::dead::filters::Filters;
use crate::commands::dead::{Reader, print};
use crate::telemetry::say;

#[derive(clap::Args)]
pub(in crate::commands) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// Every letter that the filters leave; needed where there is no filter
    #[arg(long)]
    all: bool,
    /// So many letters at most
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// One JSON object for each letter
    #[arg(long)]
    json: bool,
}

/// What is done to a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Replay,
    Drop,
}

/// What was done, or would have been.
#[derive(Default)]
struct Tally {
    done: u64,
    refused: BTreeMap<&'static str, u64>,
}

pub(super) async fn run(process: &Process, verb: Verb, args: Args) -> Result<(), CommandError> {
    if args.filters.is_empty() && !args.all {
        let hint = "give --reason, --appid, --request-id or --since, or --all; --dry-run says what would be done";
        return Err(CommandError::settings("neither a filter nor --all is given", hint));
    }
    let mut reader = Reader::open(process).await?;
    let mut tally = Tally::default();
    let walked = walk(&mut reader, verb, &args, &mut tally).await;
    let left = reader.letters.left();
    say(format_args!("{}", tally.summary(verb, args.dry_run, left)));
    match walked {
        Ok(()) => {
            reader.tell_unread("");
            let failure = tally.failure(&reader, &args);
            reader.close().await?;
            failure.map_or(Ok(()), Err)
        }
        Err(error) => {
            // What went wrong is told; what was read comes back by itself at the latest.
            let _ = reader.close().await;
            Err(error)
        }
    }
}

async fn walk(reader: &mut Reader, verb: Verb, args: &Args, tally: &mut Tally) -> Result<(), CommandError> {
    while args.limit.is_none_or(|limit| tally.done < limit)
        && let Some(entry) = reader.next().await?
    {
        if !args.filters.match_entry(&entry) {
            continue;
        }
        let refusal = entry.refusal.filter(|_| verb == Verb::Replay);
        if refusal.is_none() && !args.dry_run {
            mend(reader, verb, &entry).await?;
        }
        tally.count(refusal);
        tell(&entry, verb, refusal, args);
    }
    Ok(())
}

/// A copy first, and only then away with it.
async fn mend(reader: &mut Reader, verb: Verb, entry: &Entry) -> Result<(), CommandError> {
    if verb == Verb::Replay {
        let id = entry.request_id.as_ref().expect("what is replayed was read as a login request");
        let published = reader.queue.publish_again(&entry.letter, id).await;
        published.map_err(|fault| {
            CommandError::at_run_time(format!("a letter was not replayed: {fault}"))
                .with_hint("it is a dead letter still, and so are those after it; try again")
        })?;
    }
    Ok(reader.letters.remove(&entry.letter).await?)
}

fn tell(entry: &Entry, verb: Verb, refusal: Option<Refusal>, args: &Args) {
    let (action, would) = match refusal {
        None => (verb.done(), format!("would be {}", verb.done())),
        Some(_) => ("refused", "would be refused".into()),
    };
    let refusal = refusal.map(Refusal::as_str);
    if args.json {
        let mut object = entry.to_json();
        object["action"] = json!(action);
        object["refusal"] = json!(refusal);
        object["dry_run"] = json!(args.dry_run);
        return print(object);
    }
    let action = if args.dry_run { &would } else { action };
    match refusal {
        Some(why) => print(entry.after(&format!("{action}, {why}"))),
        None => print(entry.after(action)),
    }
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop => "drop",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Drop => "dropped",
        }
    }
}

impl Tally {
    fn count(&mut self, refusal: Option<Refusal>) {
        match refusal {
            Some(refusal) => *self.refused.entry(refusal.as_str()).or_default() += 1,
            None => self.done += 1,
        }
    }

    /// Why nothing of what was asked for was done. That there are no letters at all is no failure of `--all`.
    fn failure(&self, reader: &Reader, args: &Args) -> Option<CommandError> {
        if self.done > 0 || args.dry_run || args.limit == Some(0) {
            return None;
        }
        if !self.refused.is_empty() {
            let hint = "each says why; `dead show` shows one, `dead drop` removes them";
            return Some(CommandError::at_run_time("no letter was replayed: all were refused").with_hint(hint));
        }
        let hint = "`quicklogin dead list` lists them";
        let none = || CommandError::at_run_time(reader.none(&args.filters)).with_hint(hint);
        (!args.filters.is_empty()).then(none)
    }

    fn summary(&self, verb: Verb, dry_run: bool, left: u64) -> String {
        let would = |done: &str, would_be: &str| if dry_run { format!("would {would_be}") } else { done.to_owned() };
        let mut parts = vec![format!("{} {}", would(verb.done(), verb.as_str()), self.done)];
        if verb == Verb::Replay {
            parts.push(format!("{} {}", would("refused", "refuse"), self.refusals()));
        }
        let left = if dry_run { left.saturating_sub(self.done) } else { left };
        parts.push(format!("{} {left}", would("left", "leave")));
        parts.join(", ")
    }

    fn refusals(&self) -> String {
        let count = |refusal: Refusal| Some(format!("{} {}", refusal.as_str(), self.refused.get(refusal.as_str())?));
        let each: Vec<String> = Refusal::ALL.into_iter().filter_map(count).collect();
        match each.is_empty() {
            true => "0".into(),
            false => format!("{} ({})", self.refused.values().sum::<u64>(), each.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_was_done_and_why_the_rest_was_not() {
        let mut tally = Tally::default();
        for refusal in [None, Some(Refusal::Unreadable), None, Some(Refusal::Expired), None, Some(Refusal::Expired)] {
            tally.count(refusal);
        }
        let summary = |dry_run| tally.summary(Verb::Replay, dry_run, 40);
        assert_eq!(summary(false), "replayed 3, refused 3 (expired 2, unreadable 1), left 40");
        assert_eq!(summary(true), "would replay 3, would refuse 3 (expired 2, unreadable 1), would leave 37");
        assert_eq!(Tally::default().summary(Verb::Drop, false, 0), "dropped 0, left 0");
        assert_eq!(Tally::default().summary(Verb::Replay, false, 7), "replayed 0, refused 0, left 7");
    }
}
