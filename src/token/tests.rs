//! Tokens without a fleet and without WeChat: what may happen to an app while its token is wanted.

use std::time::Duration;

use super::*;

const APP: &str = "wx0123456789abcdef";
const PLATFORM: &str = "wx00000000000000c0";

fn app_id(text: &str) -> AppId {
    AppId::try_from(text).expect("a good appid")
}

fn app(source: Source) -> App {
    App { appid: app_id(APP), source }
}

fn merchant() -> App {
    app(Source::Authorizer(Platform { appid: app_id(PLATFORM), secret: KeptSecret::Text("secret".into()) }))
}

/// Tokens of these apps, in a store of their own. Nothing answers at WeChat's address.
fn tokens(apps: Vec<App>) -> Tokens {
    let settings = crate::wechat::ClientSettings {
        base_url: "http://127.0.0.1:9".parse().expect("a URL"),
        hosts: vec![],
        connect_timeout: Duration::from_millis(500),
        timeout: Duration::from_secs(1),
        pool_idle: Duration::from_secs(1),
    };
    let parts = Parts {
        store: Store::in_memory(),
        client: Client::new(&settings).expect("a client"),
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
        meters: Meters::new(),
        name: "test".into(),
    };
    Tokens::new(apps, parts)
}

#[tokio::test]
async fn a_merchant_in_hand_outlives_the_settings_that_knew_its_platform() {
    let tokens = tokens(vec![merchant()]);
    let app = tokens.app(None).expect("it is configured");
    tokens.configure(vec![]);
    let got = tokens.current(&app, Instant::now() + Duration::from_secs(5)).await;
    assert_eq!(got, Err(TokenFault::NoTicket(app_id(PLATFORM))), "it got as far as the platform's ticket");
}

fn external() -> External {
    External::Key(Preset::Wxjava.key(None, None, None).expect("a good preset"))
}

#[tokio::test]
async fn a_token_of_others_is_read_again_within_twelve_seconds() {
    let tokens = tokens(vec![app(Source::External(external()))]);
    let app = tokens.app(None).expect("it is configured");
    for _ in 0..100 {
        let token = tokens.shared_from_now("92_token".to_owned().into(), 7200);
        let read_at = token.fetched_at;
        app.keep(token);
        let refresh_from = app.0.cached.load_full().expect("it was kept").refresh_from;
        assert!((read_at + 10_000..=read_at + 12_000).contains(&refresh_from), "{} ms", refresh_from - read_at);
    }
}

#[tokio::test]
async fn a_life_that_no_token_has_is_not_believed() {
    let token = tokens(vec![]).shared_from_now("92_token".to_owned().into(), u64::MAX);
    assert!(token.expires_at > token.fetched_at);
    assert!(token.expires_at - token.fetched_at <= 30 * 24 * 60 * 60 * 1000);
}
