//! A worker with its queue and its store, put together as the binary does it. Two apps, since one alone has all slots
//! and needs no shares.

use quicklogin::clock;
use quicklogin::config::Settings;
use quicklogin::login::{AppId, LoginRequest, RequestId, ResultBody, Status};
use quicklogin::meters::Meters;
use quicklogin::queue::Queue;
use quicklogin::store::Store;
use quicklogin::token::{self, App, KeptSecret, Source, Tokens};
use quicklogin::traceparent::Traceparent;
use quicklogin::wechat::Client;
use quicklogin::worker::{self, Calls, Recent, Worker};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::wechat::{APPS, Countdown};

/// Fewer than by default: all of them are always taken, and valgrind is slow. With hundreds in hand an app would seem
/// slow.
const SLOTS: u16 = 32;
/// More than are ever published.
const QUEUE_HOLDS: usize = 1_000_000;

pub(crate) struct Line {
    worker: Worker,
    queue: Queue,
    store: Store,
    countdown: Countdown,
}

impl Line {
    pub(crate) fn new(settings: &Settings, client: Client, countdown: Countdown) -> Self {
        let (queue, store, meters) = (Queue::in_memory(QUEUE_HOLDS), Store::in_memory(), Meters::new());
        let for_tokens = token::Parts {
            store: store.clone(),
            client: client.clone(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            meters: meters.clone(),
            name: "instructions".into(),
        };
        let worker = Worker::new(worker::Parts {
            store: store.clone(),
            queue: queue.clone(),
            tokens: Tokens::new(APPS.map(|known| app(known.appid)).into(), for_tokens),
            client,
            calls: Calls::default(),
            recent: Recent::default(),
            limits: settings.limits(),
            sealing: settings.sealing().expect("the defaults seal nothing"),
            outbox_key: None,
            simulated: false,
            meters,
        });
        Self { worker, queue, store, countdown }
    }

    /// Puts so many logins into the queue, of all apps in turn.
    pub(crate) fn publish(&self, count: usize) -> Vec<RequestId> {
        APPS.iter().cycle().take(count).map(|app| self.publish_one(app.appid)).collect()
    }

    fn publish_one(&self, appid: &str) -> RequestId {
        let Queue::Memory(memory) = &self.queue else { unreachable!("it is in memory") };
        let (request_id, now_ms) = (RequestId::generate(), clock::now_ms());
        // WeChat's have 64 hex digits.
        let code = request_id.as_str().replace('-', "").repeat(2);
        let request = LoginRequest {
            request_id: request_id.clone(),
            appid: Some(appid.try_into().expect("a good appid")),
            code: code.as_str().try_into().expect("a good code"),
            openid: None,
            issued_at: Some(now_ms),
            deadline: Some(now_ms + 200_000),
        };
        memory.publish(request.encode(), Some(Traceparent::generate())).expect("it holds more");
        request_id
    }

    /// Takes so many logins to their results.
    pub(crate) async fn walk(&self, count: usize) {
        let stop = self.countdown.begin(count);
        let consumer = self.queue.consume(Worker::prefetch(SLOTS), stop.soft.clone());
        let clean = worker::work(self.worker.clone(), consumer, usize::from(SLOTS), &stop).await;
        assert!(clean, "the worker did not stop cleanly");
    }

    /// A count of logins that went another way than to a phone number would be worth nothing.
    pub(crate) async fn expect_success(&self, ids: &[RequestId]) {
        for result in self.store.results(ids).await.expect("it is in memory") {
            let result = result.expect("each login has its result");
            let ResultBody { status, attempts, .. } = serde_json::from_slice(&result).expect("our own JSON");
            assert!(status == Status::Succeeded && attempts == 1, "a login did not succeed at the first asking");
        }
    }
}

fn app(appid: &str) -> App {
    let source = Source::Stable { secret: KeptSecret::Text("secret".into()), may_force: false };
    App { appid: AppId::try_from(appid).expect("a good appid"), source }
}
