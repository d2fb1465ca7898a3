//! The gateway over HTTP, as its callers see it.

use std::collections::BTreeSet;
use std::time::Duration;

use quicklogin::clock;
use quicklogin::simulator::{Mint, Step};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, eventually};
use crate::support::rabbit::Broker;

const OTHER: &str = "wx1111111111111111";

/// A caller of one gateway.
pub(crate) struct Caller<'a> {
    fleet: &'a Fleet,
    http: Client,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(fleet: &'a Fleet) -> Self {
        Self { fleet, http: Client::builder().no_proxy().build().expect("a client") }
    }

    pub(crate) fn post(&self, body: impl Into<String>) -> RequestBuilder {
        let url = format!("{}/v1/logins", self.fleet.url);
        self.http.post(url).header("content-type", "application/json").body(body.into())
    }

    pub(crate) async fn submit(&self, body: &Value) -> (StatusCode, Value) {
        answer(self.post(body.to_string()).send().await.expect("an answer")).await
    }

    /// Submits what must be accepted, and answers the request id.
    pub(crate) async fn accepted(&self, body: &Value) -> String {
        let (status, pending) = self.submit(body).await;
        assert_eq!((status, &pending["status"]), (StatusCode::ACCEPTED, &json!("pending")), "{pending}");
        pending["request_id"].as_str().expect("an id").to_owned()
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.fleet.url)).send().await.expect("an answer")
    }

    async fn result(&self, request_id: &str) -> Value {
        let (status, result) = answer(self.get(&format!("/v1/logins/{request_id}?wait=20")).await).await;
        assert_eq!(status, StatusCode::OK, "{result}");
        result
    }
}

async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.bytes().await.expect("a body");
    (status, serde_json::from_slice(&text).unwrap_or(Value::Null))
}

/// A problem as RFC 9457 wants it.
pub(crate) async fn problem(response: Response, expected: StatusCode) -> Value {
    let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
    let (status, body) = answer(response).await;
    assert_eq!((status, kind.as_str()), (expected, "application/problem+json"), "{body}");
    assert_eq!(body["status"], expected.as_u16());
    assert!(body["type"].is_string() && body["title"].is_string() && body["detail"].is_string(), "{body}");
    body
}

async fn real() -> Fleet {
    Plan::on(Ground::RabbitAndRedis).start().await
}

#[tokio::test]
async fn a_code_goes_in_and_its_phone_number_comes_out() {
    for ground in [Ground::Embedded, Ground::RabbitAndRedis] {
        let fleet = Plan::on(ground).start().await;
        let caller = Caller::of(&fleet);
        let tap = fleet.tap();
        let sent = caller.post(json!({"code": tap.code, "appid": APP}).to_string()).send().await.expect("an answer");
        let location = sent.headers()["location"].to_str().expect("text").to_owned();
        let (status, pending) = answer(sent).await;
        let request_id = pending["request_id"].as_str().expect("an id");
        assert_eq!((status, &location), (StatusCode::ACCEPTED, &format!("/v1/logins/{request_id}")));
        let expected = json!({"request_id": request_id, "status": "pending", "result_url": location});
        assert_eq!(pending, expected);
        let result = caller.result(request_id).await;
        assert_eq!(result["phone_info"]["phoneNumber"], tap.phone_number);
        let again = caller.get(&location).await;
        assert_eq!(again.headers()["cache-control"], "no-store");
        assert_eq!(answer(again).await.1, result, "the result stays, and is the same for everybody");
    }
}

#[tokio::test]
async fn the_same_code_gets_the_same_request_id_and_is_published_once() {
    let fleet = Plan { workers: 0, apps: vec![(APP, SECRET), (OTHER, SECRET)], ..Plan::on(Ground::RabbitAndRedis) };
    let mut fleet = fleet.start().await;
    let tap = fleet.tap();
    let own = json!({"code": tap.code, "appid": APP, "request_id": "mine-1"});
    let mut ids = BTreeSet::new();
    {
        let caller = Caller::of(&fleet);
        ids.insert(caller.accepted(&own).await);
        ids.insert(caller.accepted(&own).await);
        ids.insert(caller.accepted(&json!({"code": tap.code, "appid": APP})).await);
        ids.insert(caller.accepted(&json!({"code": tap.code, "appid": APP, "request_id": "mine-2"})).await);
        assert_eq!(ids.iter().collect::<Vec<_>>(), ["mine-1"]);
        let (_, again) = caller.submit(&own).await;
        assert_eq!(again["repeated"], true, "{again}");
        let other_app = caller.accepted(&json!({"code": tap.code, "appid": OTHER})).await;
        assert_ne!(other_app, "mine-1", "another app's code is another code");
    }
    let depth = Broker::shared().queue_depths(fleet.vhost())["quicklogin.logins"];
    assert_eq!(depth.ready, 2);
    fleet.add_worker();
    let caller = Caller::of(&fleet);
    assert_eq!(caller.result("mine-1").await["phone_info"]["phoneNumber"], tap.phone_number);
    assert_eq!(caller.accepted(&own).await, "mine-1", "also once it has its result");
    assert_eq!(fleet.simulator.asked_of(&tap.code).asked, 2, "once for each app");
}

#[tokio::test]
async fn a_request_id_that_was_used_for_another_code_is_refused() {
    let fleet = real().await;
    let caller = Caller::of(&fleet);
    let (first, second) = (fleet.tap(), fleet.tap());
    let id = caller.accepted(&json!({"code": first.code, "request_id": "again"})).await;
    assert_eq!(caller.result(&id).await["phone_info"]["phoneNumber"], first.phone_number);
    let body = json!({"code": second.code, "request_id": "again"}).to_string();
    let refused = problem(caller.post(body).send().await.expect("an answer"), StatusCode::BAD_REQUEST).await;
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("another code")), "{refused}");
    let own = caller.accepted(&json!({"code": second.code})).await;
    assert_eq!(caller.result(&own).await["phone_info"]["phoneNumber"], second.phone_number, "the code is not lost");
}

#[tokio::test]
async fn the_same_code_submitted_many_times_at_once_is_published_once() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let caller = Caller::of(&fleet);
    let body = json!({"code": fleet.tap().code});
    let ids = futures_util::future::join_all((0..20).map(|_| caller.accepted(&body))).await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(Broker::shared().queue_depths(fleet.vhost())["quicklogin.logins"].ready, 1);
}

#[tokio::test]
async fn a_code_that_could_not_be_published_can_be_submitted_again() {
    let fleet = Plan { workers: 0, max_length: 1, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let caller = Caller::of(&fleet);
    // RabbitMQ may overshoot its limit by a message or two.
    let (refused, body) = loop {
        assert!(Broker::shared().queue_depths(fleet.vhost())["quicklogin.logins"].ready < 20, "a queue for 1");
        let body = json!({"code": fleet.tap().code});
        let response = caller.post(body.to_string()).send().await.expect("an answer");
        if response.status() != StatusCode::ACCEPTED {
            break (response, body);
        }
    };
    assert!(refused.headers().contains_key("retry-after"));
    let refused = problem(refused, StatusCode::SERVICE_UNAVAILABLE).await;
    Broker::shared().set_max_length(fleet.vhost(), "nothing-matches-this", 1);
    let publisher = crate::support::amqp::Publisher::connect(fleet.vhost().url()).await;
    publisher.purge("quicklogin.logins").await;
    let mut other = body.clone();
    other["openid"] = json!("oAttacker");
    assert_eq!(caller.submit(&other).await.0, StatusCode::CONFLICT, "bound, though nothing is published yet");
    let mut accepted = Value::Null;
    eventually("there is room again", async || {
        let (status, answer) = caller.submit(&body).await;
        accepted = answer;
        status == StatusCode::ACCEPTED
    })
    .await;
    assert!(accepted.get("repeated").is_none(), "it is published only now: {accepted}");
    let (_, again) = caller.submit(&body).await;
    assert_eq!((&again["request_id"], &again["repeated"]), (&refused["request_id"], &json!(true)), "the first id");
    assert!(publisher.get("quicklogin.logins").await.is_some(), "and now it is published");
}

#[tokio::test]
async fn a_waiting_caller_is_answered_as_soon_as_the_result_is_there() {
    let fleet = real().await;
    let caller = Caller::of(&fleet);
    let tap = fleet.tap_with(&Mint::of(APP).script([Step::normal().late_ms(2500)]));
    let request_id = caller.accepted(&json!({"code": tap.code})).await;
    let path = format!("/v1/logins/{request_id}");
    let not_yet = caller.get(&path).await;
    assert_eq!(not_yet.headers()["retry-after"], "1");
    let (status, body) = answer(not_yet).await;
    assert_eq!((status, body), (StatusCode::ACCEPTED, json!({"request_id": request_id, "status": "pending"})));
    let (three, results) = {
        let wait = || caller.result(&request_id);
        tokio::join!(async { tokio::join!(wait(), wait(), wait()) }, wait())
    };
    assert!(three.0 == results && three.1 == results && three.2 == results);
    assert_eq!(results["phone_info"]["phoneNumber"], tap.phone_number);
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_it_said() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::Embedded) }.start().await;
    let caller = Caller::of(&fleet);
    let request_id = caller.accepted(&json!({"code": fleet.tap().code})).await;
    let began = Instant::now();
    let (status, _) = answer(caller.get(&format!("/v1/logins/{request_id}?wait=1")).await).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let took = began.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn too_many_callers_that_wait_are_told_so() {
    let fleet = Plan { workers: 0, max_waiting: 2, ..Plan::on(Ground::Embedded) }.start().await;
    let caller = Caller::of(&fleet);
    let request_id = caller.accepted(&json!({"code": fleet.tap().code})).await;
    let path = format!("/v1/logins/{request_id}?wait=6");
    let too_many = async {
        eventually("two wait", async || fleet.meters.render().contains("polls_waiting 2")).await;
        caller.get(&path).await
    };
    let (first, second, third) = tokio::join!(caller.get(&path), caller.get(&path), too_many);
    assert_eq!((first.status(), second.status()), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert!(third.headers().contains_key("retry-after"));
    problem(third, StatusCode::TOO_MANY_REQUESTS).await;
    eventually("nobody waits any more", async || fleet.meters.render().contains("polls_waiting 0")).await;
}

#[tokio::test]
async fn a_login_that_can_no_longer_come_is_not_found() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let caller = Caller::of(&fleet);
    for never in ["t-001", "0199c0de-7a11-7000-8000-000000000001", "00000000-0000-4000-8000-000000000000"] {
        problem(caller.get(&format!("/v1/logins/{never}")).await, StatusCode::NOT_FOUND).await;
    }
    problem(caller.get("/v1/logins/a%20b").await, StatusCode::BAD_REQUEST).await;
    let own = caller.accepted(&json!({"code": fleet.tap().code, "request_id": "mine"})).await;
    assert_eq!(caller.get(&format!("/v1/logins/{own}")).await.status(), StatusCode::ACCEPTED);
    let mark = "quicklogin:accepted:{mine}";
    assert!(fleet.redis().ttl_ms(mark).is_some_and(|ttl| ttl <= 300_000), "the mark ends with the login");
    fleet.redis().cli(&["DEL", mark]);
    problem(caller.get(&format!("/v1/logins/{own}")).await, StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_submission_is_said() {
    let fleet = Plan { apps: vec![(APP, SECRET), (OTHER, SECRET)], ..Plan::on(Ground::Embedded) }.start().await;
    let caller = Caller::of(&fleet);
    let huge = json!({"code": "c", "appid": APP, "x": "y".repeat(20_000)}).to_string();
    let rows: Vec<(String, StatusCode, &str)> = vec![
        (String::new(), StatusCode::BAD_REQUEST, "JSON"),
        ("{".into(), StatusCode::BAD_REQUEST, "JSON"),
        ("[]".into(), StatusCode::BAD_REQUEST, "JSON"),
        (json!({"appid": APP}).to_string(), StatusCode::BAD_REQUEST, "code is missing"),
        (json!({"appid": APP, "code": 7}).to_string(), StatusCode::BAD_REQUEST, "code is not a string"),
        (json!({"appid": APP, "code": "c", "request_id": "a b"}).to_string(), StatusCode::BAD_REQUEST, "request_id"),
        (json!({"appid": APP, "code": "c", "issued_at": 1}).to_string(), StatusCode::BAD_REQUEST, "issued_at"),
        (json!({"code": "c"}).to_string(), StatusCode::BAD_REQUEST, "appid is missing"),
        (json!({"code": "c", "appid": "wx9"}).to_string(), StatusCode::UNPROCESSABLE_ENTITY, "no such app"),
        (huge, StatusCode::PAYLOAD_TOO_LARGE, "16 KiB"),
    ];
    for (body, status, detail) in rows {
        let said = problem(caller.post(body.clone()).send().await.expect("an answer"), status).await;
        assert!(said["detail"].as_str().is_some_and(|said| said.contains(detail)), "{body:.60}: {said}");
    }
    let url = format!("{}/v1/logins", fleet.url);
    let form = caller.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body("code=c");
    problem(form.send().await.expect("an answer"), StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
    let put = caller.http.put(&url).send().await.expect("an answer");
    problem(put, StatusCode::METHOD_NOT_ALLOWED).await;
    problem(caller.get("/v2/logins").await, StatusCode::NOT_FOUND).await;
    problem(caller.get("/v1/logins/x?wait=soon").await, StatusCode::BAD_REQUEST).await;
    assert_eq!(fleet.asked_for_phones(), 0);
}

#[tokio::test]
async fn a_submission_is_read_as_other_languages_write_it() {
    let fleet = Plan::on(Ground::Embedded).start().await;
    let caller = Caller::of(&fleet);
    let at = clock::now_ms() + 60_000;
    for (before, fields, behind) in [
        ("\u{feff}", String::new(), ""),
        ("\u{feff}\r\n ", String::new(), "\n\0"),
        ("", format!(r#","issued_at":{at}.0,"deadline":"{at}.0""#), ""),
        ("", format!(r#","issued_at":"{at}","deadline":{at}000e-3"#), ""),
        ("", r#","appid":"","openid":"","issued_at":0,"deadline":"","request_id":"""#.into(), ""),
        ("", r#","appid":null,"openid":null,"issued_at":"0","deadline":0.0,"request_id":null"#.into(), ""),
    ] {
        let tap = fleet.tap();
        let body = format!("{before}{{\"code\":\"{}\"{fields}}}{behind}", tap.code);
        let (status, pending) = answer(caller.post(body.clone()).send().await.expect("an answer")).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body:?}: {pending}");
        let result = caller.result(pending["request_id"].as_str().expect("an id")).await;
        assert_eq!(result["phone_info"]["phoneNumber"], tap.phone_number, "{body:?}: {result}");
    }
    let done = caller.accepted(&json!({"code": fleet.tap().code})).await;
    caller.result(&done).await;
    for wait in ["", "0", "20.0", "2e1", "+20", "%2020", "18446744073709551616", "1e400"] {
        assert_eq!(caller.get(&format!("/v1/logins/{done}?wait={wait}")).await.status(), StatusCode::OK, "{wait}");
    }
    for wait in ["-1", "0.5", "20s", "true", "NaN", "1&wait=2"] {
        problem(caller.get(&format!("/v1/logins/{done}?wait={wait}")).await, StatusCode::BAD_REQUEST).await;
    }
}

#[tokio::test]
async fn a_body_in_another_form_is_refused_with_its_name() {
    let fleet = Plan::on(Ground::Embedded).start().await;
    let caller = Caller::of(&fleet);
    let object = json!({"code": "c"}).to_string();
    let utf16: Vec<u8> = format!("\u{feff}{object}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (body, expected) in [
        (utf16, "UTF-16"),
        (b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), "compressed"),
        (b"[{\"code\":\"c\"}]".to_vec(), "array"),
        (b"{\"code\":\"c\",\"code\":\"d\"}".to_vec(), "code is given more than once"),
    ] {
        let said = problem(caller.post("").body(body).send().await.expect("an answer"), StatusCode::BAD_REQUEST).await;
        assert!(said["detail"].as_str().is_some_and(|said| said.contains(expected)), "{said}");
    }
    for (encoding, status) in [("gzip", 415), ("identity, br", 415), ("identity", 202)] {
        let post = caller.post(json!({"code": fleet.tap().code}).to_string()).header("content-encoding", encoding);
        assert_eq!(post.send().await.expect("an answer").status(), status, "{encoding}");
    }
}

#[tokio::test]
async fn no_response_is_kept_by_a_cache_or_taken_for_html() {
    let fleet = Plan { keys: vec!["key"], workers: 0, max_waiting: 0, ..Plan::on(Ground::Embedded) }.start().await;
    let caller = Caller::of(&fleet);
    let url = format!("{}/v1/logins", fleet.url);
    let signed = |request: RequestBuilder| request.bearer_auth("key");
    let sent = signed(caller.post(json!({"code": fleet.tap().code, "request_id": "mine"}).to_string()));
    let get = |path: &str| caller.http.get(format!("{url}/{path}"));
    let wrong_type = signed(caller.http.post(&url).header("content-type", "text/plain").body("{}"));
    for (request, status) in [
        (sent, 202),
        (signed(get("mine")), 202),
        (signed(get("mine?wait=1")), 429),
        (signed(get("never")), 404),
        (signed(get("%3Cscript%3E")), 400),
        (get("mine"), 401),
        (signed(caller.post("<script>")), 400),
        (signed(caller.post(json!({"code": "c", "appid": "wx9"}).to_string())), 422),
        (signed(caller.post("x".repeat(20_000))), 413),
        (wrong_type, 415),
        (signed(caller.http.put(&url)), 405),
        (signed(caller.http.get(format!("{url}/a/b"))), 404),
    ] {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), status, "{response:?}");
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{status}");
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{status}");
        assert_eq!(
            header("retry-after").is_some(),
            status == 429 || response.url().path().ends_with("mine") && status == 202
        );
        assert_eq!(header("allow").is_some(), status == 405);
        assert!(!response.text().await.expect("text").contains("script"), "{status}");
    }
}

#[tokio::test]
async fn only_callers_with_a_key_are_served_where_there_are_keys() {
    let fleet = Plan { keys: vec!["key-one", "key-two"], ..Plan::on(Ground::Embedded) }.start().await;
    let caller = Caller::of(&fleet);
    let body = json!({"code": fleet.tap().code}).to_string();
    for wrong in [None, Some("Bearer key-three"), Some("Bearer "), Some("Basic key-one"), Some("key-one")] {
        let mut post = caller.post(body.clone());
        if let Some(header) = wrong {
            post = post.header("authorization", header);
        }
        let response = post.send().await.expect("an answer");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        problem(response, StatusCode::UNAUTHORIZED).await;
    }
    problem(caller.get("/v1/logins/x").await, StatusCode::UNAUTHORIZED).await;
    for right in ["Bearer key-one", "bearer key-two"] {
        let sent = caller.post(body.clone()).header("authorization", right).send().await.expect("an answer");
        assert_eq!(sent.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(caller.get("/livez").await.status(), StatusCode::OK, "health needs no key");
}

#[tokio::test]
async fn deadline_and_tap_time_travel_with_the_code() {
    let fleet = real().await;
    let caller = Caller::of(&fleet);
    let late = caller.accepted(&json!({"code": fleet.tap().code, "issued_at": clock::now_ms() - 299_000})).await;
    assert_eq!(caller.result(&late).await["error"]["reason"], "expired");
    let body = json!({"code": fleet.tap().code, "deadline": clock::now_ms() - 1});
    assert_eq!(caller.result(&caller.accepted(&body).await).await["error"]["reason"], "expired");
}

#[tokio::test]
async fn health_tells_the_truth_and_live_depends_on_nobody() {
    let fleet = real().await;
    let caller = Caller::of(&fleet);
    let ready = async || answer(caller.get("/readyz").await).await;
    assert_eq!(ready().await, (StatusCode::OK, json!({"ready": true})));
    fleet.redis().freeze();
    eventually("it is not ready", async || {
        ready().await == (StatusCode::SERVICE_UNAVAILABLE, json!({"ready": false, "missing": ["store"]}))
    })
    .await;
    assert_eq!(caller.get("/livez").await.status(), StatusCode::OK);
    let refused = caller.post(json!({"code": fleet.tap().code}).to_string()).send().await.expect("an answer");
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, StatusCode::SERVICE_UNAVAILABLE).await;
    fleet.redis().thaw();
    eventually("it is ready again", async || ready().await.0 == StatusCode::OK).await;
}

#[tokio::test]
async fn the_api_describes_itself_and_counts() {
    let fleet = real().await;
    let caller = Caller::of(&fleet);
    let id = caller.accepted(&json!({"code": fleet.tap().code})).await;
    caller.result(&id).await;
    let (status, api) = answer(caller.get("/openapi.json").await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(api["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{api}");
    let paths = api["paths"].as_object().expect("paths");
    assert!(paths["/v1/logins"]["post"]["responses"]["202"].is_object());
    assert!(paths["/v1/logins"]["post"]["responses"]["409"].is_object());
    assert!(api["components"]["schemas"]["Pending"]["properties"]["repeated"].is_object());
    assert!(paths["/v1/logins/{request_id}"]["get"]["responses"]["404"].is_object());
    let result = &api["components"]["schemas"]["ResultBody"]["properties"];
    assert!(result["phone_info"].is_object() && result["error"].is_object(), "{result}");
    let metrics = caller.get("/metrics").await.text().await.expect("text");
    for line in ["quicklogin_submitted_total{status=\"202\"} 1", "quicklogin_logins_total{outcome=\"succeeded\"} 1"] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_stopping_gateway_answers_those_who_wait_and_takes_no_more() {
    let mut fleet = Plan { workers: 0, ..Plan::on(Ground::Embedded) }.start().await;
    let waiting = {
        let caller = Caller::of(&fleet);
        let id = caller.accepted(&json!({"code": fleet.tap().code})).await;
        let url = format!("{}/v1/logins/{id}?wait=30", fleet.url);
        tokio::spawn(caller.http.get(url).send())
    };
    eventually("one waits", async || fleet.meters.render().contains("polls_waiting 1")).await;
    let began = Instant::now();
    fleet.stop_gateway();
    let answered = waiting.await.expect("no panic").expect("an answer");
    assert_eq!(answered.status(), StatusCode::ACCEPTED);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let late = async || Client::new().get(format!("{}/livez", fleet.url)).send().await;
    eventually("nobody listens any more", async || late().await.is_err()).await;
}
