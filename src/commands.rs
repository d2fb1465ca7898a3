//! The command line: one file a command. Data goes to stdout, everything else to stderr.

mod assemble;
mod config;
mod dead;
mod demo;
mod explain;
mod gateway;
mod load;
mod login;
mod output;
mod reload;
mod serve;
mod simulate;
mod token;
mod trusted;
mod worker;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config::{BadSettings, Settings};
use crate::{fd_limit, telemetry};
use assemble::Process;

/// Phone-number logins of WeChat mini programs under heavy traffic: RabbitMQ in, WeChat once, Redis out.
#[derive(Parser)]
#[command(name = "quicklogin", version, after_help = EXIT_CODES, max_term_width = output::COLUMNS)]
pub struct Cli {
    /// Settings in TOML; see `quicklogin config show --default`
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Gateway and worker in one process (the default)
    ///
    /// Without RabbitMQ, Redis and an app in the settings, WeChat is simulated and nothing survives a restart.
    #[command(after_help = EXIT_CODES)]
    Serve,
    /// Take codes from RabbitMQ, exchange them at WeChat, write results to Redis
    ///
    /// The first SIGTERM or SIGINT stops taking: what was asked is finished within worker.drain_s, the rest goes back.
    /// The second stops at once.
    #[command(after_help = EXIT_CODES)]
    Worker,
    /// Take codes over HTTP, publish them, hand out results
    Gateway,
    /// A simulated WeChat on this machine, for trying things out
    ///
    /// It knows the apps of the settings, and gives tokens for their AppSecrets: start it with the fleet's --config.
    /// Without any it knows wx0123456789abcdef, with the AppSecret 0123456789abcdef0123456789abcdef.
    Simulate(simulate::Args),
    /// Run logins of every kind through the whole line and print each result
    Demo(demo::Args),
    /// Exchange one code and print the phone number
    ///
    /// On a fleet a worker must be running; without one, this process asks WeChat itself. It cannot reach into a running
    /// `serve`: use its HTTP there.
    Login(login::Args),
    /// Put the line under a steady load of logins and time each; or find the highest rate that it keeps
    ///
    /// A latency counts from when the login was due, sent late or not. Codes come from a simulator at wechat.base_url,
    /// which the workers must ask too. Without a fleet and without --gateway, the whole line runs in this process. Ends
    /// with 1 when a login has no result or another's number.
    Load(load::Args),
    /// Look at access tokens, refresh one, put in a platform's ticket
    #[command(subcommand)]
    Token(token::Action),
    /// Look at dead letters, replay or drop them
    #[command(subcommand)]
    Dead(dead::Action),
    /// Say what an errcode of WeChat's, or a reason or advice of a result, means
    ///
    /// In English and Chinese: what it means here, when it happens, and who must act.
    Explain(explain::Args),
    /// Look at the settings
    #[command(subcommand)]
    Config(config::Action),
}

/// So many tasks a busy worker polls before it asks the kernel what has come meanwhile.
const POLLS_BETWEEN_LOOKS: u32 = 256;
/// What `log.filter` says when nobody has said anything.
const DEFAULT_FILTER: &str = "info";

/// Why a command did not do what it should.
#[derive(Debug)]
pub struct CommandError {
    what: String,
    hint: Option<String>,
    kind: Kind,
}

/// The exit codes of failures; `EXIT_CODES` tells them to people. clap, too, ends with 2 over usage.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Kind {
    /// Whoever read stdout has gone away.
    ReaderGone = 0,
    AtRunTime = 1,
    UsageOrSettings = 2,
    UncleanStop = 3,
}

/// What `--help` says of them.
const EXIT_CODES: &str = "\
Exit codes:
    0  done, or the reader of stdout left; worker, serve: stopped, all settled
    1  failed at run time
    2  usage or settings
    3  worker, serve: stopped without RabbitMQ or Redis; logins come again
  101  a bug: it panicked";

/// Runs the command that the command line names, and says on stderr why it failed, if it did.
pub fn main() -> ExitCode {
    let Ok(_stderr) = telemetry::open_stderr() else {
        // There is no thread, or no descriptor, to say so with.
        return ExitCode::from(Kind::AtRunTime as u8);
    };
    let ended = match Cli::try_parse() {
        Ok(cli) => run(cli).and_then(|()| output::failed_before()),
        // A usage error that stderr does not take is one all the same.
        Err(usage) if usage.use_stderr() => {
            let _unwritten = usage.print();
            return ExitCode::from(Kind::UsageOrSettings as u8);
        }
        Err(help) => help.print().and_then(|()| io::stdout().flush()).map_err(|error| output::unwritten(&error)),
    };
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    if !failure.is_silent() {
        telemetry::say_error(&failure.what, failure.hint());
    }
    failure.exit_code()
}

fn run(cli: Cli) -> Result<(), CommandError> {
    let settings = Settings::load(cli.config.as_deref());
    let command = cli.command.unwrap_or(Command::Serve);
    let serves = matches!(command, Command::Serve | Command::Worker | Command::Gateway | Command::Simulate(_));
    if serves && settings.is_err() && Settings::wants_json_logs(cli.config.as_deref()) {
        telemetry::write_only_json();
    }
    match &command {
        Command::Config(action) => return config::run(action, cli.config.as_deref(), settings),
        Command::Explain(args) => return explain::run(args),
        _ => {}
    }
    let settings = settings?;
    fd_limit::raise();
    let filter = match command {
        // It cuts connections to its simulated WeChat on purpose.
        Command::Demo(_) if settings.log.filter == DEFAULT_FILTER => "warn,quicklogin::wechat=error",
        // What they print is what is to be seen.
        Command::Load(_) | Command::Token(_) | Command::Dead(_) if settings.log.filter == DEFAULT_FILTER => "warn",
        _ => &settings.log.filter,
    };
    telemetry::start(filter, settings.log.format, serves).map_err(|bad| {
        CommandError::settings(bad.to_string(), "log.filter is like \"info,quicklogin::token=debug\"")
    })?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    trusted::warn_of_problems();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("another TLS provider was installed before");
    }
    let runtime = match command {
        Command::Worker => worker_runtime(),
        // A gateway answers many callers at once.
        _ => Builder::new_multi_thread().enable_all().build(),
    };
    let runtime = runtime.map_err(|error| CommandError::at_run_time(format!("no async runtime: {error}")))?;
    runtime.block_on(async {
        let process = Process::new(settings, cli.config);
        match command {
            Command::Serve => serve::run(&process).await,
            Command::Worker => worker::run(&process).await,
            Command::Gateway => gateway::run(&process).await,
            Command::Simulate(args) => simulate::run(&process, args).await,
            Command::Demo(args) => demo::run(process, args).await,
            Command::Load(args) => load::run(&process, args).await,
            Command::Login(args) => login::run(&process, args).await,
            Command::Token(action) => token::run(&process, action).await,
            Command::Dead(action) => dead::run(&process, action).await,
            Command::Config(_) | Command::Explain(_) => unreachable!("answered above"),
        }
    })
}

/// The runtime of a process that is a worker and nothing else: one thread, which costs least. Many workers make a fleet.
pub fn worker_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().event_interval(POLLS_BETWEEN_LOOKS).build()
}

impl CommandError {
    /// Whoever read stdout has gone away, which ends a command quietly.
    fn reader_gone() -> Self {
        Self { what: "whoever read stdout has gone away".into(), hint: None, kind: Kind::ReaderGone }
    }

    fn at_run_time(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, kind: Kind::AtRunTime }
    }

    fn settings(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: Some(hint.into()), kind: Kind::UsageOrSettings }
    }

    /// A worker has stopped in its time, and could not tell RabbitMQ or Redis all of it.
    fn unclean_stop() -> Self {
        let what = "stopped while RabbitMQ or Redis was away".into();
        let hint = "nothing is lost that was not said above: logins that were in hand are delivered again".to_owned();
        Self { what, hint: Some(hint), kind: Kind::UncleanStop }
    }

    fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Whether nothing is said of it.
    fn is_silent(&self) -> bool {
        matches!(self.kind, Kind::ReaderGone)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// 0: the reader of stdout has gone away; 1: failed at run time; 2: usage or settings; 3: stopped, but RabbitMQ or
    /// Redis was away.
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<BadSettings> for CommandError {
    fn from(bad: BadSettings) -> Self {
        Self::settings(bad.to_string(), bad.hint())
    }
}
