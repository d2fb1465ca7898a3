//! The walk of one login of the demo, as its caller sees it.

use std::time::Duration;

use reqwest::{StatusCode, header};
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::commands::CommandError;
use crate::commands::demo::cases::{Case, Ending, Expected, How, Shown};
use crate::commands::simulate::SIMULATED_APPID;
use crate::gateway::Pending;
use crate::login::{AppId, Code, LoginRequest, LoginResult, Outcome, RequestId};
use crate::queue::Queue;
use crate::simulator::Simulator;
use crate::traceparent::Traceparent;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// The line as a caller sees it: the gateway's URL, and the queue for those who publish by themselves.
#[derive(Clone)]
pub(super) struct Line {
    url: String,
    http: reqwest::Client,
    simulator: Simulator,
    queue: Queue,
}

impl Line {
    pub(super) fn new(url: String, simulator: Simulator, queue: Queue) -> Self {
        Self {
            url,
            http: reqwest::Client::builder().no_proxy().build().expect("plain HTTP needs nothing"),
            simulator,
            queue,
        }
    }

    pub(super) async fn wait_until_ready(&self) -> Result<(), CommandError> {
        let until = Instant::now() + READY_WITHIN;
        let url = format!("{}/readyz", self.url);
        let mut said = String::from("no answer");
        while Instant::now() < until {
            if let Ok(response) = self.http.get(&url).send().await {
                if response.status() == StatusCode::OK {
                    return Ok(());
                }
                said = response.text().await.unwrap_or_default();
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(CommandError::at_run_time(format!("the line is not ready after {} s: {said}", READY_WITHIN.as_secs()))
            .with_hint("are RabbitMQ and Redis running, and reachable under rabbitmq.url and redis.url?"))
    }

    pub(super) async fn walk(&self, case: Case) -> Shown {
        let Case { title, expected, .. } = case;
        let (ending, took) = self.run(&case).await;
        let as_expected = match (&ending, expected) {
            (Ending::Result(result), Expected::Succeeded) => matches!(result.outcome, Outcome::Succeeded(_)),
            (Ending::Result(result), Expected::Failed(reason)) => result.outcome.as_str() == reason.as_str(),
            (Ending::TurnedAway(status), Expected::TurnedAway(expected)) => *status == expected,
            _ => false,
        };
        Shown { title, ending, took, as_expected }
    }

    async fn run(&self, case: &Case) -> (Ending, Duration) {
        if let How::TokenRevoked = case.how {
            let revoked = self.simulator.invalidate_tokens(Some(SIMULATED_APPID));
            revoked.expect("the simulator knows its own app");
        }
        let minted = self.simulator.mint(&case.mint).expect("the simulator knows these apps");
        if let How::Reused = case.how {
            let _ = self.over_http(&minted.code, SIMULATED_APPID, clock::now_ms()).await;
        }
        let began = Instant::now();
        let now = clock::now_ms();
        let ended = match case.how {
            How::Once | How::TokenRevoked => self.over_http(&minted.code, SIMULATED_APPID, now).await,
            How::OfUnknownApp => self.over_http(&minted.code, "wx0000000000000000", now).await,
            How::Late => self.over_http(&minted.code, SIMULATED_APPID, now - 360_000).await,
            How::ThreeTimes => {
                let first = self.submit(&minted.code, SIMULATED_APPID, now).await;
                let second = self.submit(&minted.code, SIMULATED_APPID, now).await;
                let third = self.over_http(&minted.code, SIMULATED_APPID, now).await;
                match (first, second) {
                    (Ok(Ok(first)), Ok(Ok(second))) if first == second => third,
                    _ => Err("the same code got two request ids".into()),
                }
            }
            How::PublishedTwice => self.by_queue(&minted.code, 2).await,
            How::Reused => self.by_queue(&minted.code, 1).await,
        };
        (ended.unwrap_or_else(Ending::Broken), began.elapsed())
    }

    async fn over_http(&self, code: &str, appid: &str, issued_at: u64) -> Result<Ending, String> {
        match self.submit(code, appid, issued_at).await? {
            Ok(request_id) => self.result(&request_id).await,
            Err(status) => Ok(Ending::TurnedAway(status)),
        }
    }

    /// The request id, or the status that the gateway turned it away with.
    async fn submit(&self, code: &str, appid: &str, issued_at: u64) -> Result<Result<RequestId, u16>, String> {
        let body = serde_json::json!({"code": code, "appid": appid, "issued_at": issued_at}).to_string();
        let request =
            self.http.post(format!("{}/v1/logins", self.url)).header(header::CONTENT_TYPE, "application/json");
        let response = request.body(body).send().await.map_err(|error| error.without_url().to_string())?;
        if response.status() != StatusCode::ACCEPTED {
            return Ok(Err(response.status().as_u16()));
        }
        let body = response.bytes().await.map_err(|error| error.without_url().to_string())?;
        let pending: Pending = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(Ok(pending.request_id))
    }

    async fn result(&self, request_id: &RequestId) -> Result<Ending, String> {
        let url = format!("{}/v1/logins/{request_id}?wait=20", self.url);
        let response = self.http.get(url).send().await.map_err(|error| error.without_url().to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("HTTP {} instead of a result", response.status().as_u16()));
        }
        let body = response.bytes().await.map_err(|error| error.without_url().to_string())?;
        let result = LoginResult::from_json(&body, None).map_err(|unreadable| unreadable.to_string())?;
        Ok(Ending::Result(Box::new(result)))
    }

    /// Publishes past the gateway, as a gateway in another language would.
    async fn by_queue(&self, code: &str, times: usize) -> Result<Ending, String> {
        let request = LoginRequest {
            request_id: RequestId::generate(),
            appid: AppId::try_from(SIMULATED_APPID).ok(),
            code: Code::try_from(code).map_err(|rule| rule.to_string())?,
            openid: None,
            issued_at: Some(clock::now_ms()),
            deadline: None,
        };
        for _ in 0..times {
            self.queue.publish(&request, &Traceparent::generate()).await.map_err(|fault| fault.to_string())?;
        }
        self.result(&request.request_id).await
    }
}
