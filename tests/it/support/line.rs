//! Workers as processes, to be killed and frozen, between servers of their own; WeChat is the test's, to be looked into.

use std::net::Ipv4Addr;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use quicklogin::login::LoginRequest;
use quicklogin::simulator::{AppChange, CodeAsked, Mint, Simulator, SimulatorOptions, Step};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::amqp::{Outcome, Publisher};
use crate::support::fleet::{APP, SECRET, eventually, request};
use crate::support::process::{Process, free_port};
use crate::support::program::{Servers, Site, app};
use crate::support::rabbit::{Broker, Depth};
use crate::support::redis::Redis;

/// No stop point: WeChat has the request, and has not answered.
pub(crate) const ASKING: &str = "Asking";

pub(crate) struct Line {
    pub(crate) servers: Servers,
    pub(crate) site: Site,
    pub(crate) simulator: Simulator,
    publisher: Publisher,
    /// Where it has one of its own.
    own_broker: Option<Broker>,
    _serving: DropGuard,
}

/// A tap on the button.
pub(crate) struct Tap {
    pub(crate) request: LoginRequest,
    pub(crate) phone_number: String,
}

impl Line {
    /// A line on the broker of all tests, without a worker; `more` are settings.
    pub(crate) async fn start(more: &str) -> Self {
        Self::between(None, Redis::start(), more).await
    }

    /// The same, on this Redis.
    pub(crate) async fn on(redis: Redis, more: &str) -> Self {
        Self::between(None, redis, more).await
    }

    /// A line on a broker of its own, to be hurt.
    pub(crate) async fn on_its_own(broker: Broker, more: &str) -> Self {
        Self::between(Some(broker), Redis::start(), more).await
    }

    async fn between(own_broker: Option<Broker>, redis: Redis, more: &str) -> Self {
        let vhost = own_broker.as_ref().unwrap_or_else(|| Broker::shared()).vhost();
        let servers = Servers { vhost, redis, wechat_port: free_port(), gateway_port: free_port() };
        let site = Site::with(&servers.settings(&format!("{more}\n{}", app(APP, SECRET))));
        let simulator = Simulator::new(&SimulatorOptions { latency_ms: 5, ..SimulatorOptions::default() });
        simulator.put_app(AppChange::new(APP, SECRET)).expect("a good app");
        let stop = CancellationToken::new();
        serve_apart(simulator.clone(), servers.wechat_port, stop.clone());
        let publisher = Publisher::connect(servers.vhost.url()).await;
        Self { servers, site, simulator, publisher, own_broker, _serving: stop.drop_guard() }
    }

    /// A worker, when it is consuming.
    pub(crate) fn worker(&self) -> Process {
        self.worker_with(&[])
    }

    /// The same, with these variables.
    pub(crate) fn worker_with(&self, variables: &[(&str, &str)]) -> Process {
        self.site.worker_with(variables)
    }

    /// The same, and the URL of its own /readyz and /metrics.
    pub(crate) fn worker_with_ops(&self, variables: &[(&str, &str)]) -> (Process, String) {
        let listen = format!("127.0.0.1:{}", free_port());
        let worker = self.worker_with(&[variables, &[("QUICKLOGIN__OPS__LISTEN", &listen)]].concat());
        (worker, format!("http://{listen}"))
    }

    /// A tap whose code has this script at WeChat.
    pub(crate) fn tap(&self, script: impl IntoIterator<Item = Step>) -> Tap {
        let minted = self.simulator.mint(&Mint::of(APP).script(script)).expect("the simulator knows the app");
        Tap { request: request(&minted.code), phone_number: minted.phone_number }
    }

    /// So many of these.
    pub(crate) fn taps(&self, count: usize, script: &[Step]) -> Vec<Tap> {
        (0..count).map(|_| self.tap(script.iter().cloned())).collect()
    }

    pub(crate) async fn publish(&self, tap: &Tap) {
        let properties = Publisher::properties(tap.request.request_id.as_str());
        let published = self.publisher.publish("quicklogin", "login", &tap.request.encode(), properties).await;
        assert_eq!(published.expect("it is connected"), Outcome::Taken);
    }

    /// Publishes a login every 20 ms while something goes on.
    pub(crate) async fn load_while(&self, going_on: impl Future<Output = ()>, script: &[Step]) -> Vec<Tap> {
        let (mut taps, mut going_on) = (Vec::new(), pin!(going_on));
        loop {
            tokio::select! {
                biased;
                () = &mut going_on => return taps,
                () = sleep(Duration::from_millis(20)) => {}
            }
            let tap = self.tap(script.iter().cloned());
            self.publish(&tap).await;
            taps.push(tap);
        }
    }

    /// Each has its own number, and WeChat was asked once for it.
    pub(crate) async fn all_succeed_asked_once(&self, taps: &[Tap]) {
        for tap in taps {
            assert_eq!(self.outcome(tap).await, ("succeeded".to_owned(), 1), "{}", tap.request.request_id);
            assert_eq!(self.asked(tap).asked, 1, "{}", tap.request.request_id);
        }
        self.is_empty().await;
    }

    /// How often WeChat was asked for a phone number.
    pub(crate) fn calls(&self) -> u64 {
        self.simulator.asked_without_codes().phone.calls
    }

    /// In this order, and none waits for the confirm of another.
    pub(crate) async fn publish_all(&self, taps: &[Tap]) {
        join_all(taps.iter().map(|tap| self.publish(tap))).await;
    }

    /// The result that is there.
    pub(crate) fn result_now(&self, tap: &Tap) -> Option<Value> {
        let json = self.servers.redis.get(&format!("quicklogin:result:{{{}}}", tap.request.request_id))?;
        Some(serde_json::from_str(&json).expect("a result is JSON"))
    }

    /// The result, as soon as it is there.
    pub(crate) async fn result(&self, tap: &Tap) -> Value {
        eventually("it has a result", async || self.result_now(tap).is_some()).await;
        self.result_now(tap).expect("results stay")
    }

    /// What came of it, in a word, and after how many askings as far as the line knows.
    pub(crate) async fn outcome(&self, tap: &Tap) -> (String, u64) {
        let result = self.result(tap).await;
        let word = match result["status"].as_str().expect("a status") {
            "succeeded" => {
                assert_eq!(result["phone_info"]["phoneNumber"], tap.phone_number.as_str(), "its own number");
                "succeeded"
            }
            _ => result["error"]["reason"].as_str().expect("a reason"),
        };
        (word.to_owned(), result["attempts"].as_u64().expect("a count"))
    }

    /// What WeChat remembers of a code.
    pub(crate) fn asked(&self, tap: &Tap) -> CodeAsked {
        self.simulator.asked_of(tap.request.code.expose())
    }

    /// Publishes a login to a worker that stops dead at this step of it; at `ASKING`, while it waits for WeChat's answer.
    pub(crate) async fn worker_stopped_at(&self, step: &str, tap: &Tap) -> Process {
        let mut worker = self.worker_with(&[("QUICKLOGIN_STOP_AT", step)]);
        self.publish(tap).await;
        let is_there = async || match step {
            ASKING => self.asked(tap).asked == 1,
            step => worker.said().contains(&format!("stopped at {step}")),
        };
        eventually("it comes to that step", is_there).await;
        worker.freeze();
        worker
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.own_broker.as_ref().unwrap_or_else(|| Broker::shared())
    }

    pub(crate) fn depth(&self, queue: &str) -> Depth {
        let depths = self.broker().queue_depths(&self.servers.vhost);
        depths.get(queue).copied().expect("the queue is there")
    }

    /// Nothing is in the queue, nor in anybody's hands.
    pub(crate) async fn is_empty(&self) {
        let all_acked = async || matches!(self.depth("quicklogin.logins"), Depth { ready: 0, unacked: 0, .. });
        eventually("all is acked", all_acked).await;
    }
}

/// WeChat answers also while the test waits for a process and does nothing else.
fn serve_apart(simulator: Simulator, port: u16, stop: CancellationToken) {
    let serving = async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
        simulator.serve(listener, stop).await.expect("it serves");
    };
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serving);
    });
}
