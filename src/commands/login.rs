//! `login CODE`: one code through the line, and its result.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock;
use crate::commands::CommandError;
use crate::commands::assemble::{Opened, Process};
use crate::login::{
    Advice, AppId, BadName, Code, LoginRequest, LoginResult, OpenId, Outcome, RequestId, UnreadableResult,
};
use crate::traceparent::Traceparent;

const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub(super) struct Args {
    /// The code that the phone-number button gave
    code: String,
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
    let request = args.request()?;
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
    print(process, &json, args.json)
}

impl Args {
    fn request(&self) -> Result<LoginRequest, CommandError> {
        let bad =
            |name: &'static str| move |rule: BadName| CommandError::settings(format!("{name} {rule}"), "see --help");
        Ok(LoginRequest {
            request_id: RequestId::generate(),
            appid: self.appid.as_deref().map(AppId::try_from).transpose().map_err(bad("--appid"))?,
            code: Code::try_from(self.code.as_str()).map_err(bad("CODE"))?,
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

#[expect(clippy::print_stdout, reason = "the result is what the command is for")]
fn print(process: &Process, json: &[u8], as_json: bool) -> Result<(), CommandError> {
    if as_json {
        println!("{}", String::from_utf8_lossy(json));
    }
    let result = match LoginResult::from_json(json, process.settings.sealing()?.as_deref()) {
        // Whoever reads the JSON has the key.
        Err(UnreadableResult::NoKey) if as_json => return Ok(()),
        result => result.map_err(|unreadable| CommandError::at_run_time(unreadable.to_string()))?,
    };
    match result.outcome {
        Outcome::Succeeded(phone) => {
            if !as_json {
                println!("{}", phone.phone_number);
            }
            Ok(())
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
