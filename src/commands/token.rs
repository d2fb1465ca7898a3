//! `token`: what the fleet has of each app's access token, a refresh by hand, and a platform's ticket by hand. No token
//! and no ticket is ever printed.

mod show;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::commands::CommandError;
use crate::commands::assemble::Process;
use crate::commands::output::print;
use crate::config::PlatformEntry;
use crate::connect_fault;
use crate::login::AppId;
use crate::secret::Secret;
use crate::store::{Store, StoreAway};
use crate::token::{KnownApp, Source, TokenFault, Tokens};
use crate::wechat::explained::explain;
use crate::wechat::{Client, Fault};

/// Redis answers in this time, or is away.
const REDIS_WITHIN: Duration = Duration::from_secs(5);
/// A ticket is shorter than this.
const TICKET_BYTES_MOST: u64 = 4096;

#[derive(Subcommand)]
pub(super) enum Action {
    /// Age, source and fetcher of each app's token, and why there is none; never the token itself
    Show {
        /// Only this app
        #[arg(long)]
        app: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Refresh an app's token now, for the whole fleet
    Refresh {
        /// Which app
        #[arg(long)]
        app: String,
        /// End the present token at once, even if WeChat thinks it good: 20 times in 24 hours at most
        #[arg(long)]
        force: bool,
    },
    /// Put in a third-party platform's component_verify_ticket by hand, or have WeChat push it
    Ticket {
        /// Which platform; needed where several are configured
        #[arg(long)]
        platform: Option<String>,
        /// The file that holds the ticket; standard input without it
        file: Option<PathBuf>,
        /// Ask WeChat to push a ticket, now and every ten minutes
        #[arg(long, conflicts_with = "file")]
        push: bool,
    },
}

/// What the three work with.
struct Fleet {
    store: Store,
    client: Client,
    tokens: Tokens,
}

pub(super) async fn run(process: &Process, action: Action) -> Result<(), CommandError> {
    let fleet = Fleet::open(process).await?;
    let done = match action {
        Action::Show { app, json } => show::run(&fleet.tokens, &fleet.store, app.as_deref(), json).await,
        Action::Refresh { app, force } => fleet.refresh(&app, force).await,
        Action::Ticket { platform, push: true, .. } => fleet.start_push(process, platform.as_deref()).await,
        Action::Ticket { platform, file, .. } => fleet.keep_ticket(process, platform.as_deref(), file.as_deref()).await,
    };
    process.finish().await;
    done
}

impl Fleet {
    async fn open(process: &Process) -> Result<Self, CommandError> {
        let backend = process.settings.backend()?;
        if backend.is_embedded() {
            let hint = "set rabbitmq.url and redis.url; a `serve` without them keeps its tokens to itself";
            return Err(CommandError::settings("tokens are shared in Redis, and none is configured", hint));
        }
        let upstream = process.wechat()?;
        let store = process.open(backend)?.store;
        let client = Client::new(&upstream.client).map_err(|error| CommandError::at_run_time(error.to_string()))?;
        let tokens = process.tokens(upstream.apps, &store, &client);
        let until = Instant::now() + REDIS_WITHIN;
        while let Err(away) = store.check_writable().await {
            if Instant::now() >= until {
                return Err(store_away(&away));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { store, client, tokens })
    }

    async fn refresh(&self, appid: &str, force: bool) -> Result<(), CommandError> {
        let app = find(&self.tokens, appid)?;
        if force && !matches!(app.source(), Source::Stable { .. }) {
            let what = format!("app {appid} has token = \"{}\"", app.source().as_str());
            return Err(CommandError::settings(what, "only a stable token can be ended by force"));
        }
        let until = Instant::now() + self.client.timeout() * 4;
        self.tokens.refresh(&app, force, until).await.map_err(|fault| no_token(&app, &fault))?;
        let seen = self.tokens.see(&app).await.map_err(|away| store_away(&away))?;
        match seen.token.and_then(|token| token.expires_at) {
            Some(expires_at) => {
                let left_s = expires_at.saturating_sub(clock::now_ms()) / 1000;
                print(format_args!("{appid}: refreshed, and shared with the fleet; {left_s} s left"))
            }
            None => {
                print(format_args!("{appid}: the token that its owner shows was read; it is the owner's to refresh"))
            }
        }
    }

    async fn keep_ticket(
        &self,
        process: &Process,
        platform: Option<&str>,
        file: Option<&Path>,
    ) -> Result<(), CommandError> {
        let platform = &find_platform(process, platform)?.appid;
        let ticket = read_ticket(file)?;
        let now_s = clock::now_ms() / 1000;
        match self.store.keep_ticket(platform, &ticket, now_s).await.map_err(|away| store_away(&away))? {
            true => {
                print(format_args!("{platform}: the ticket is kept for 12 hours, or until WeChat pushes a newer one"))
            }
            false => print(format_args!("{platform}: the ticket that is there was made later, and stays")),
        }
    }

    async fn start_push(&self, process: &Process, platform: Option<&str>) -> Result<(), CommandError> {
        let platform = find_platform(process, platform)?;
        let secret = platform.read_secret()?;
        let platform = &platform.appid;
        let said = self.client.start_push(platform, &secret).await;
        let unanswered = |fault: Fault| {
            CommandError::at_run_time(fault.to_string())
                .with_hint("can this machine reach wechat.base_url? Asking once more does no harm")
        };
        match said.map_err(unanswered)? {
            None => print(format_args!("{platform}: WeChat pushes a ticket now, and every ten minutes")),
            Some(refusal) => Err(refused(platform.as_str(), refusal.errcode, &refusal.errmsg)),
        }
    }
}

fn find(tokens: &Tokens, appid: &str) -> Result<KnownApp, CommandError> {
    let named = AppId::try_from(appid).ok().and_then(|appid| tokens.app(Some(&appid)));
    named.ok_or_else(|| CommandError::settings(format!("no app {appid} is configured"), "see [[apps]] in the settings"))
}

fn find_platform<'a>(process: &'a Process, named: Option<&str>) -> Result<&'a PlatformEntry, CommandError> {
    process.settings.platform(named).ok_or_else(|| {
        CommandError::settings("no such platform is configured", "see [[platforms]] in the settings, and --platform")
    })
}

/// From a file or standard input, never from an argument: those can be seen by every user of the machine.
fn read_ticket(file: Option<&Path>) -> Result<Secret, CommandError> {
    let mut text = String::new();
    let read = match file {
        Some(file) => std::fs::File::open(file).and_then(|file| file.take(TICKET_BYTES_MOST).read_to_string(&mut text)),
        None => std::io::stdin().take(TICKET_BYTES_MOST).read_to_string(&mut text),
    };
    read.map_err(|error| CommandError::at_run_time(format!("the ticket cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(CommandError::settings("there is no ticket", "give a FILE, or write the ticket to standard input")),
        ticket if ticket.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(ticket.into()),
        _ => Err(CommandError::settings("this is no ticket", "it is one line of visible ASCII characters")),
    }
}

fn no_token(app: &KnownApp, fault: &TokenFault) -> CommandError {
    match fault.answer() {
        Some(answer) => refused(app.appid().as_str(), answer.errcode, &answer.errmsg),
        None => CommandError::at_run_time(format!("{}: {fault}", app.appid()))
            .with_hint("`quicklogin token show` says what the fleet has of it"),
    }
}

fn store_away(away: &StoreAway) -> CommandError {
    CommandError::at_run_time(away.to_string()).with_hint(connect_fault::hint(away.why()))
}

fn refused(appid: &str, errcode: i64, errmsg: &str) -> CommandError {
    let error = CommandError::at_run_time(format!("{appid}: WeChat said {errcode}: {errmsg}"));
    match explain(errcode) {
        Some(explanation) => error.with_hint(explanation.english),
        None => error,
    }
}
