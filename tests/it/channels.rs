//! RabbitMQ allows few channels: publishes wait for one of those.

use futures_util::future::join_all;
use quicklogin::queue::{Queue, RabbitSettings};
use quicklogin::traceparent::Traceparent;
use tokio_util::task::TaskTracker;

use crate::support::fleet::{rabbit_settings, request};
use crate::support::rabbit::{Broker, Vhost};

/// Publishes so many requests at once, each of which must be taken.
async fn all_are_taken(vhost: &Vhost, url: &str, requests: u64) {
    let settings = RabbitSettings { url: url.into(), ..rabbit_settings(vhost, 1000) };
    let queue = Queue::rabbit(settings, &TaskTracker::new()).expect("good settings");
    let publish = async |n| queue.publish(&request(&format!("code-{n}")), &Traceparent::generate()).await;
    for published in join_all((0..requests).map(publish)).await {
        published.expect("the queue takes it");
    }
    let ready = Broker::shared().queue_depths(vhost)["quicklogin.logins"].ready;
    assert!(ready >= requests, "{ready}");
}

#[tokio::test]
async fn publishes_wait_for_one_of_the_channels_that_the_url_allows() {
    for channel_max in [1, 2, 4] {
        let vhost = Broker::shared().vhost();
        all_are_taken(&vhost, &format!("{}?channel_max={channel_max}", vhost.url()), 100).await;
        assert_eq!(Broker::shared().queue_depths(&vhost)["quicklogin.logins"].ready, 100, "each once");
    }
}

/// RabbitMQ closes the connection that opens one more.
#[tokio::test]
async fn publishes_wait_for_one_of_the_channels_that_their_user_may_have() {
    for limit in [1, 2, 8] {
        let vhost = Broker::shared().vhost();
        let (user, name) = (format!("few-{limit}"), vhost.name());
        Broker::shared().eval(&format!(
            r#"rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"pass">>, <<"test">>),
               rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>),
               ok = rabbit_auth_backend_internal:set_user_limits(<<"{user}">>, "{{\"max-channels\": {limit}}}", <<"test">>)"#
        ));
        let url = vhost.url().replace("guest:guest", &format!("{user}:pass"));
        for _ in 0..3 {
            all_are_taken(&vhost, &url, 30).await;
        }
    }
}
