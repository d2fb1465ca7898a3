//! The bare pipeline: deliver → claim → POST → SET → ack, with the same crates in the way that their own examples show, and
//! no logic. It loses logins in every way that there is.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};

/// Set for the process that is to be the pipeline.
pub(crate) const QUEUE_URL: &str = "BARE_QUEUE_URL";
pub(crate) const STORE_URL: &str = "BARE_STORE_URL";
pub(crate) const WECHAT_URL: &str = "BARE_WECHAT_URL";
pub(crate) const APPID: &str = "BARE_APPID";
pub(crate) const SLOTS: &str = "BARE_SLOTS";

#[derive(Deserialize)]
struct Request {
    request_id: String,
    appid: String,
    code: String,
}

#[derive(Serialize)]
struct Ask<'a> {
    code: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    errcode: i64,
    phone_info: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Found<'a> {
    request_id: &'a str,
    status: &'a str,
    appid: &'a str,
    phone_info: &'a serde_json::Value,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

struct Pipeline {
    store: MultiplexedConnection,
    wechat: reqwest::Client,
    url: String,
    token: String,
}

pub(crate) fn is_wanted() -> bool {
    std::env::var_os(QUEUE_URL).is_some()
}

#[tokio::main]
pub(crate) async fn run() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("nobody else installs one");
    let slots = set(SLOTS).parse().expect("a number");
    let pipeline = Arc::new(Pipeline::connect().await);
    let queue = Connection::connect(&set(QUEUE_URL), ConnectionProperties::default()).await.expect("RabbitMQ");
    let channel = queue.create_channel().await.expect("a channel");
    channel.basic_qos(slots, BasicQosOptions::default()).await.expect("a prefetch");
    let consume = channel.basic_consume(
        "quicklogin.logins".into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut deliveries = consume.await.expect("a consumer");
    while let Some(delivery) = deliveries.next().await {
        let (delivery, pipeline) = (delivery.expect("a delivery"), Arc::clone(&pipeline));
        tokio::spawn(async move {
            pipeline.log_in(&delivery.data).await;
            delivery.ack(BasicAckOptions::default()).await.expect("an ack");
        });
    }
}

impl Pipeline {
    async fn connect() -> Self {
        let client = redis::Client::open(set(STORE_URL)).expect("a URL");
        let mut store = client.get_multiplexed_async_connection().await.expect("Redis");
        let token: String = store.get(format!("quicklogin:token:{{{}}}", set(APPID))).await.expect("a token");
        let token: Token = serde_json::from_str(&token).expect("JSON");
        let wechat = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { store, wechat, url: set(WECHAT_URL), token: token.access_token }
    }

    async fn log_in(&self, body: &[u8]) {
        let request: Request = serde_json::from_slice(body).expect("JSON");
        let mut store = self.store.clone();
        let claim = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::EX(60));
        let key = format!("quicklogin:claim:{{{}}}", request.request_id);
        let claimed: bool = store.set_options(key, "1", claim).await.expect("Redis");
        if !claimed {
            return;
        }
        let url = format!("{}/wxa/business/getuserphonenumber?access_token={}", self.url, self.token);
        let ask = serde_json::to_vec(&Ask { code: &request.code }).expect("JSON");
        let ask = self.wechat.post(url).header("content-type", "application/json").body(ask);
        let answer = ask.send().await.expect("WeChat").bytes().await.expect("an answer");
        let answer: Answer = serde_json::from_slice(&answer).expect("JSON");
        let phone_info = answer.phone_info.unwrap_or_else(|| panic!("errcode {}", answer.errcode));
        let found = Found {
            request_id: &request.request_id,
            status: "succeeded",
            appid: &request.appid,
            phone_info: &phone_info,
        };
        let key = format!("quicklogin:result:{{{}}}", request.request_id);
        let found = serde_json::to_vec(&found).expect("JSON");
        let () = store.set_ex(key, found, 600).await.expect("Redis");
    }
}

fn set(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"))
}
