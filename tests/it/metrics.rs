//! `/metrics` as a scraper sees it: of a worker, a gateway and `serve`, in the format that it asks for.

use std::process::Command;

use reqwest::{Client, Method, Response};

use crate::support::fleet::{APP, SECRET};
use crate::support::process::{free_port, output_of, program};
use crate::support::program::{LISTENING, Servers, Site, app};

async fn scrape(method: Method, url: &str, accept: &[&str]) -> Response {
    let client = Client::builder().no_proxy().build().expect("a client");
    let request = accept.iter().fold(client.request(method, url), |request, accept| request.header("accept", *accept));
    request.send().await.expect("an answer")
}

fn content_type(response: &Response) -> String {
    response.headers()["content-type"].to_str().expect("text").to_owned()
}

/// In Prometheus' text format, also for HEAD; and in OpenMetrics for those who prefer it.
async fn check(url: &str) {
    for accept in [&[][..], &["*/*"], &["text/plain"], &["application/openmetrics-text;q=0.1, text/plain"]] {
        let response = scrape(Method::GET, url, accept).await;
        assert_eq!(content_type(&response), "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
        let text = response.text().await.expect("text");
        assert!(text.contains("# TYPE quicklogin_logins_total counter\n") && !text.contains("# EOF"), "{text}");
        for outcome in ["succeeded", "in_doubt", "token_unavailable"] {
            assert!(text.contains(&format!("quicklogin_logins_total{{outcome=\"{outcome}\"}} 0\n")), "{text}");
        }
        if let Some(promtool) = program("promtool") {
            let mut command = Command::new(promtool);
            command.args(["check", "metrics"]);
            // It fails on what it warns of, too.
            output_of(command, &text);
        }
    }
    let response = scrape(Method::GET, url, &["text/plain;q=0.2", "application/openmetrics-text; version=1.0.0"]).await;
    assert_eq!(content_type(&response), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(response.headers()["vary"], "accept");
    let open_metrics = response.text().await.expect("text");
    assert!(open_metrics.ends_with("\n# EOF\n"), "{open_metrics}");
    let head = scrape(Method::HEAD, url, &[]).await;
    assert_eq!(
        (head.status().as_u16(), content_type(&head).as_str()),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert_eq!(head.text().await.expect("text"), "");
}

#[tokio::test]
async fn each_process_speaks_the_format_that_is_asked_for_and_promtool_finds_no_fault() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&app(APP, SECRET)));
    let _gateway = site.gateway();
    check(&format!("{}/metrics", servers.gateway_url())).await;
    let ops = format!("127.0.0.1:{}", free_port());
    let _worker = site.worker_with(&[("QUICKLOGIN__OPS__LISTEN", &ops)]);
    check(&format!("http://{ops}/metrics")).await;
    let alone = free_port();
    let site = Site::with(&format!("gateway.listen = \"127.0.0.1:{alone}\"\nsimulator.listen = \"127.0.0.1:0\""));
    let _serve = site.start(&["serve"], LISTENING);
    check(&format!("http://127.0.0.1:{alone}/metrics")).await;
}
