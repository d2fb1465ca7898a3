//! Starting: from the process to its first login, with a token in Redis.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use tokio::time::timeout;

use crate::contestant::Kind;
use crate::drain::LIMIT;
use crate::ground::Ground;
use crate::plan::Plan;

/// So often; the first of them reads the program from disk.
const STARTS: usize = 6;

/// Redis tells of each result, in the moment when it is written.
pub(crate) struct Results(PubSub);

impl Results {
    pub(crate) async fn of(ground: &Ground) -> Self {
        ground.redis.cli(&["CONFIG", "SET", "notify-keyspace-events", "K$"]);
        let client = redis::Client::open(ground.redis.url()).expect("a URL");
        let mut events = client.get_async_pubsub().await.expect("Redis runs");
        events.psubscribe("__keyspace@0__:quicklogin:result:*").await.expect("Redis runs");
        Self(events)
    }

    /// The id of the next login that has one.
    pub(crate) async fn next(&mut self) -> String {
        let event = self.0.on_message().next().await.expect("Redis runs");
        let (_, id) = event.get_channel_name().rsplit_once('{').expect("a result's key");
        id.trim_end_matches('}').to_owned()
    }
}

/// The median.
pub(crate) async fn measure(ground: &Ground, plan: &Plan, kind: Kind) -> Duration {
    let mut took = vec![];
    for _ in 0..STARTS {
        let logins = ground.mint(1).await;
        let run = ground.run(kind.name(), 1).await;
        let mut results = Results::of(ground).await;
        run.publish(&logins, None).await;
        let contestant = kind.start(&run, plan.slots);
        assert_eq!(timeout(LIMIT, results.next()).await.expect("a result"), logins[0].id);
        took.push(contestant.started.elapsed() - Plan::WECHAT_TAKES);
        run.assert_all_succeeded(&logins).await;
    }
    took.sort();
    took[STARTS / 2 - 1]
}
