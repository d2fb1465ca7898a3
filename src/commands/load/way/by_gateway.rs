//! As a mini program's own server does it: POST, then a GET that waits. A gateway looks for the results that are waited
//! for every 20 ms, which is in the latency: its callers feel it too.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, StatusCode, header};
use tokio::time::sleep;

use super::Left;
use crate::commands::CommandError;
use crate::gateway::Pending;
use crate::login::{AppId, RequestId};
use crate::secret::Secret;
use crate::simulator::Minted;

/// The longest wait that a gateway grants, in seconds.
const WAIT_S: u32 = 30;
/// A gateway hangs up on connections that are idle for 30 s.
const IDLE_MOST: Duration = Duration::from_secs(20);
/// The pause after a wait that brought no result.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

pub(in crate::commands::load) struct ByGateway {
    http: Client,
    /// `…/v1/logins`.
    logins: String,
    key: Option<Secret>,
    appid: Option<AppId>,
}

impl ByGateway {
    pub(in crate::commands::load) fn new(
        url: &str,
        key: Option<Secret>,
        appid: Option<AppId>,
    ) -> Result<Self, CommandError> {
        let http = Client::builder().no_proxy().pool_idle_timeout(IDLE_MOST).build();
        let http = http.map_err(|error| CommandError::at_run_time(format!("no HTTP client: {error}")))?;
        Ok(Self { http, logins: format!("{}/v1/logins", url.trim_end_matches('/')), key, appid })
    }

    pub(super) async fn log_in(&self, tap: &Minted) -> Left {
        let request_id = match self.submit(tap).await {
            Ok(request_id) => request_id,
            Err(refused) => return Left::Refused(refused),
        };
        let url = format!("{}/{request_id}?wait={WAIT_S}", self.logins);
        loop {
            if let Some(result) = self.result(&url).await {
                return Left::Result(result);
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn submit(&self, tap: &Minted) -> Result<RequestId, String> {
        let mut body = serde_json::json!({"code": tap.code, "issued_at": tap.issued_at});
        if let Some(appid) = &self.appid {
            body["appid"] = appid.as_str().into();
        }
        let request = self.http.post(&self.logins).header(header::CONTENT_TYPE, "application/json");
        let answer = self.with_key(request).body(body.to_string()).send().await.map_err(|_| "unreachable")?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(format!("http_{}", answer.status().as_u16()));
        }
        let body = answer.bytes().await.map_err(|_| "unreachable")?;
        let pending: Pending = serde_json::from_slice(&body).map_err(|_| "no_gateway")?;
        Ok(pending.request_id)
    }

    /// None: not yet, or the gateway cannot say; it is taken in, so ask again.
    async fn result(&self, url: &str) -> Option<Bytes> {
        let answer = self.with_key(self.http.get(url)).send().await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        answer.bytes().await.ok()
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }
}
