//! Where codes come from: the simulated WeChat's button. It is looked first that it is one: the real WeChat is never asked
//! about codes that were made up.

use std::time::Duration;

use reqwest::{Client, StatusCode, Url, header};
use tokio::sync::mpsc;

use crate::commands::CommandError;
use crate::login::AppId;
use crate::simulator::Minted;

const WECHAT: &str = "weixin.qq.com";
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// So many seconds' codes are minted ahead, within these numbers: a simulator that stalls for less holds nobody up.
const AHEAD_S: u32 = 5;
const AHEAD: (u32, u32) = (16, 20_000);
const HINT: &str = "load takes its codes from a simulator: run `quicklogin simulate`, and point wechat.base_url of the \
                    fleet, and of this command, at it, for instance by \
                    QUICKLOGIN__WECHAT__BASE_URL=http://127.0.0.1:8090";

/// The button of a simulated WeChat's app; cheap to clone.
#[derive(Clone)]
pub(super) struct Button {
    http: Client,
    url: String,
    /// The only one that the simulator knows, if none.
    appid: Option<AppId>,
}

/// Codes that were minted ahead; the last is an error where there are no more.
pub(super) type Codes = mpsc::Receiver<Result<Minted, String>>;

impl Button {
    /// Refuses what is no simulator.
    pub(super) async fn of(base_url: &Url, appid: Option<AppId>) -> Result<Self, CommandError> {
        // It need not be asked to know.
        if base_url.host_str().is_some_and(is_wechats) {
            return Err(CommandError::settings("wechat.base_url is the real WeChat", HINT));
        }
        let url = base_url.as_str().trim_end_matches('/').to_owned();
        let http = Client::builder().no_proxy().timeout(ANSWERS_WITHIN).build();
        let http = http.map_err(|error| CommandError::at_run_time(format!("no HTTP client: {error}")))?;
        let mut answer = http.get(format!("{url}/sim/livez")).send().await.map_err(|_| {
            CommandError::at_run_time(format!("wechat.base_url {url} cannot be reached")).with_hint(HINT)
        })?;
        let said = answer.chunk().await.ok().flatten().unwrap_or_default();
        if answer.status() != StatusCode::OK || said.as_ref() != b"ok" {
            return Err(CommandError::settings(format!("wechat.base_url {url} is no simulator"), HINT));
        }
        Ok(Self { http, url, appid })
    }

    /// Where the simulator is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// So many codes, now.
    pub(super) async fn mint(&self, count: u32) -> Result<Vec<Minted>, String> {
        let mut body = serde_json::json!({"count": count});
        if let Some(appid) = &self.appid {
            body["appid"] = appid.as_str().into();
        }
        let request =
            self.http.post(format!("{}/sim/codes", self.url)).header(header::CONTENT_TYPE, "application/json");
        let answer = request.body(body.to_string()).send().await.map_err(|error| error.without_url().to_string())?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| error.without_url().to_string())?;
        if status != StatusCode::CREATED {
            return Err(refusal(status, &body));
        }
        let codes: Vec<Minted> = serde_json::from_slice(&body).map_err(|_| "the simulator's codes cannot be read")?;
        if codes.len() == count as usize {
            Ok(codes)
        } else {
            Err("the simulator gives fewer than it is asked for".into())
        }
    }

    /// Mints `total` codes, no more than those of a few seconds ahead: codes age.
    pub(super) fn mint_ahead(&self, rate: u32, total: u64) -> Codes {
        let ahead = rate.saturating_mul(AHEAD_S).clamp(AHEAD.0, AHEAD.1);
        let (minted, codes) = mpsc::channel(ahead as usize);
        let button = self.clone();
        // Ends by itself once nobody takes any more.
        tokio::spawn(async move {
            let mut left = total;
            while left > 0 {
                let count = u64::from(ahead / 2).min(left);
                let batch = button.mint(u32::try_from(count).expect("not more than half of what is ahead")).await;
                let batch = batch.map_or_else(|fault| vec![Err(fault)], |batch| batch.into_iter().map(Ok).collect());
                left = if batch.last().is_some_and(Result::is_ok) { left - count } else { 0 };
                for code in batch {
                    if minted.send(code).await.is_err() {
                        return;
                    }
                }
            }
        });
        codes
    }
}

fn is_wechats(host: &str) -> bool {
    host.strip_suffix(WECHAT).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The simulator's own words, such as that it knows several apps.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let said: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = said.as_ref().and_then(|said| said["error"].as_str());
    error.map_or_else(
        || format!("the simulator answers HTTP {}", status.as_u16()),
        |error| format!("the simulator: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_real_wechat_is_refused_without_being_asked() {
        for url in ["https://api.weixin.qq.com", "http://sh.api.weixin.qq.com:1/x", "https://weixin.qq.com"] {
            let refused = Button::of(&url.parse().expect("a URL"), None).await.err().expect("it is refused");
            assert_eq!(refused.to_string(), "wechat.base_url is the real WeChat", "{url}");
        }
        assert!(!is_wechats("notweixin.qq.com") && !is_wechats("weixin.qq.com.example"));
    }
}
