//! `login CODE`: one code through the line, and its result.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock;
use crate::commands::CommandError;
use crate::commands::assemble::{Opened, Process};
use crate::commands::output::{print, print_json};
use crate::login::{
    Advice, AppId, BadName, Code, LoginRequest, LoginResult, OpenId, Outcome, RequestId, UnreadableResult,
};
use crate::printable::printable;
use crate::telemetry::say;
use crate::traceparent::Traceparent;

/// No more is read from standard input, in bytes; a code has 512 at most.
const MAX_INPUT: u64 = 4096;
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub(super) struct Args {
    /// The code that the phone-number button gave; read from standard input if it is left out or `-`
    ///
    /// Prefer standard input: what is on the command line is visible to every user of this machine, in `ps`, and stays in
    /// the shell's history.
    code: Option<String>,
    /// Which app it came from; needed where more than one is configured
    #[arg(long)]
    appid: Option<String>,
    /// Whose code it should be
    #[arg(long)]
    openid: Option<String>,
    /// How long to wait for the result, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=300))]
    wait: u64,
    /// Print the result as it stands in the store
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(process: &Process, args: Args) -> Result<(), CommandError> {
    let request = args.request(&args.code()?)?;
    let backend = process.settings.backend()?;
    let alone = backend.is_embedded();
    let opened = process.open(backend)?;
    if alone {
        start_worker(process, &opened)?;
    }
    let published = opened.queue.publish(&request, &Traceparent::generate()).await;
    published.map_err(|fault| {
        CommandError::at_run_time(format!("the code was not published: {fault}")).with_hint(
            "is RabbitMQ running at rabbitmq.url, with that user, password and vhost? The code is not spent; try again",
        )
    })?;
    let at_most = Duration::from_secs(args.wait);
    let found = wait(&opened, &request.request_id, at_most).await;
    process.finish().await;
    let json = found.ok_or_else(|| {
        CommandError::at_run_time(format!("no result of {} after {} s", request.request_id, args.wait))
            .with_hint("is a worker running? The result may still come; it is kept under this id")
    })?;
    print_result(process, &json, args.json)
}

impl Args {
    /// From the command line, else from standard input: all of it, or one line of a terminal.
    fn code(&self) -> Result<String, CommandError> {
        match self.code.as_deref() {
            None | Some("-") => {}
            Some(code) => return Ok(code.to_owned()),
        }
        let unread = |error: io::Error| CommandError::at_run_time(format!("standard input cannot be read: {error}"));
        let mut input = Vec::new();
        let stdin = io::stdin();
        if stdin.is_terminal() {
            say(format_args!("quicklogin login: the code, then Enter:"));
            let mut line = stdin.lock().take(MAX_INPUT);
            io::BufRead::read_until(&mut line, b'\n', &mut input).map_err(unread)?;
        } else {
            stdin.lock().take(MAX_INPUT).read_to_end(&mut input).map_err(unread)?;
        }
        // One that is too long, or no text, is no code either.
        Ok(String::from_utf8_lossy(&input).trim().to_owned())
    }

    fn request(&self, code: &str) -> Result<LoginRequest, CommandError> {
        let bad =
            |name: &'static str| move |rule: BadName| CommandError::settings(format!("{name} {rule}"), "see --help");
        Ok(LoginRequest {
            request_id: RequestId::generate(),
            appid: self.appid.as_deref().map(AppId::try_from).transpose().map_err(bad("--appid"))?,
            code: Code::try_from(code).map_err(bad("CODE"))?,
            openid: self.openid.as_deref().map(OpenId::try_from).transpose().map_err(bad("--openid"))?,
            issued_at: Some(clock::now_ms()),
            deadline: Some(clock::now_ms().saturating_add(self.wait.saturating_mul(1000))),
        })
    }
}

/// Without a fleet, this process is the worker too.
fn start_worker(process: &Process, opened: &Opened) -> Result<(), CommandError> {
    let worker = process.worker(opened, process.wechat()?)?;
    let consumer = process.consume(opened);
    process.shutdown.tracker.spawn(process.work(opened, worker, consumer));
    Ok(())
}

async fn wait(opened: &Opened, request_id: &RequestId, at_most: Duration) -> Option<bytes::Bytes> {
    let until = Instant::now() + at_most;
    while Instant::now() < until {
        // Away now? Perhaps not the next time.
        let found = opened.store.results(std::slice::from_ref(request_id)).await.unwrap_or_default();
        if let Some(json) = found.into_iter().flatten().next() {
            return Some(json);
        }
        sleep(LOOK_EVERY).await;
    }
    None
}

fn print_result(process: &Process, json: &[u8], as_json: bool) -> Result<(), CommandError> {
    if as_json {
        print_json(String::from_utf8_lossy(json).trim_end())?;
    }
    let result = match LoginResult::from_json(json, process.settings.sealing()?.as_deref()) {
        // Whoever reads the JSON has the key.
        Err(UnreadableResult::NoKey) if as_json => return Ok(()),
        result => result.map_err(|unreadable| CommandError::at_run_time(unreadable.to_string()))?,
    };
    match result.outcome {
        Outcome::Succeeded(phone) => {
            if as_json {
                Ok(())
            } else {
                print(printable(&phone.phone_number))
            }
        }
        Outcome::Failed(failure) => {
            let said = failure.answer.map(|answer| format!(" (WeChat said {}: {})", answer.errcode, answer.errmsg));
            let detail = failure.detail.map(|detail| format!(": {detail}"));
            let what = format!("{}{}{}", failure.reason.as_str(), said.unwrap_or_default(), detail.unwrap_or_default());
            Err(CommandError::at_run_time(what).with_hint(match failure.advice {
                Advice::NewCode => "ask the user to tap the button again: this code is worth nothing any more",
                Advice::TryLater => "try again later, or offer another way to log in",
                Advice::FixRequest => "the request is wrong: check code and appid",
                Advice::FixSetup => "an operator must act: check the app's secret, IP list and permissions",
            }))
        }
    }
}
