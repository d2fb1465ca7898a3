//! Third-party platforms through both views, and pushes that really arrive.

use super::*;

const PLATFORM: &str = "wxplatform00000001";
const MERCHANT: &str = "wxmerchant00000001";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

/// A platform that answers one push.
struct Listening {
    listener: TcpListener,
    url: String,
}

impl Listening {
    async fn new(path: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}{path}", listener.local_addr().expect("an address"));
        Self { listener, url }
    }

    /// Takes one push: its first line and its body.
    async fn take(&self, answer: &str) -> (String, String) {
        let accepted = tokio::time::timeout(Duration::from_secs(10), self.listener.accept()).await;
        let (mut stream, _) = accepted.expect("a push").expect("a connection");
        let mut read = Vec::new();
        while !read.ends_with(b"</xml>") {
            assert_ne!(stream.read_buf(&mut read).await.expect("a request"), 0, "the whole of it");
        }
        stream.write_all(answer.as_bytes()).await.expect("an answer");
        let request = String::from_utf8(read).expect("text");
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        (head.lines().next().expect("a first line").to_owned(), body.to_owned())
    }
}

const SUCCESS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nsuccess";

async fn with_platform() -> Served {
    let served = served(SimulatorOptions::default()).await;
    let platform = json!({"appid":PLATFORM,"secret":"s","message_token":"t","message_key":KEY});
    assert_eq!(served.control("POST", "/sim/platforms", &platform).await.0, 204);
    let merchant = json!({"platform":PLATFORM,"appid":MERCHANT});
    assert_eq!(served.control("POST", "/sim/authorizers", &merchant).await.0, 204);
    served
}

impl Served {
    /// A call of WeChat's own view.
    async fn wechat(&self, call: &str, body: &Value) -> Value {
        let (status, said) = self.control("POST", &format!("/cgi-bin/component/{call}"), body).await;
        assert_eq!(status, 200);
        said
    }

    async fn component_token(&self) -> String {
        self.simulator.push(&Push::ticket(PLATFORM)).expect("a push");
        let ticket = self.simulator.platform(None).expect("one platform").ticket;
        let body = json!({"component_appid":PLATFORM,"component_appsecret":"s","component_verify_ticket":ticket});
        let said = self.wechat("api_component_token", &body).await;
        said["component_access_token"].as_str().expect("a token").to_owned()
    }
}

#[tokio::test]
async fn a_phone_number_can_be_had_in_a_merchants_name() {
    let served = with_platform().await;
    let token = served.component_token().await;
    let (_, state) = served.control("GET", &format!("/sim/platforms?appid={PLATFORM}"), &json!({})).await;
    let refresh_token = &state["authorizers"][0]["refresh_token"];
    let body = json!({"component_appid":PLATFORM,"authorizer_appid":MERCHANT,"authorizer_refresh_token":refresh_token});
    let said = served.wechat(&format!("api_authorizer_token?component_access_token={token}"), &body).await;
    assert_eq!(&said["authorizer_refresh_token"], refresh_token);
    let authorizer_token = said["authorizer_access_token"].as_str().expect("a token");
    let code = served.simulator.mint(&Mint::of(MERCHANT)).expect("a code");
    let path = format!("/wxa/business/getuserphonenumber?access_token={authorizer_token}");
    let (_, said) = served.control("POST", &path, &json!({"code":code.code})).await;
    assert_eq!(said["phone_info"]["phoneNumber"], code.phone_number);

    let body = json!({"component_appid":PLATFORM,"offset":0,"count":500});
    let said = served.wechat(&format!("api_get_authorizer_list?access_token={token}"), &body).await;
    assert_eq!((&said["total_count"], &said["list"][0]["refresh_token"]), (&json!(1), refresh_token));
    let mood = json!({"endpoint":"component","appid":PLATFORM,"calls":1,"step":{"errcode":-1}});
    served.control("POST", "/sim/moods", &mood).await;
    let busy = served.wechat(&format!("api_get_authorizer_list?access_token={token}"), &body).await;
    assert_eq!(busy["errcode"], -1);
    served.control("POST", "/sim/tokens/expire", &json!({"appid":PLATFORM})).await;
    let expired = served.wechat(&format!("api_get_authorizer_list?access_token={token}"), &body).await;
    assert_eq!(expired["errcode"], 42001);

    let (_, asked) = served.control("GET", "/sim/asked", &json!({})).await;
    let asked: Asked = serde_json::from_value(asked).expect("the record");
    assert_eq!((asked.component_token.calls, asked.authorizer_token.calls, asked.authorizer_list.calls), (1, 1, 3));
    let sources: Vec<_> = asked.token_lives.iter().map(|life| life.source).collect();
    assert!(sources.contains(&TokenSource::Component) && sources.contains(&TokenSource::Authorizer), "{sources:?}");
}

#[tokio::test]
async fn a_push_goes_where_it_is_told_and_brings_back_what_it_heard() {
    let served = with_platform().await;
    let listening = Listening::new("/pushes?tenant=1").await;
    let push = json!({"platform":PLATFORM,"url":listening.url});
    let ((status, answered), (line, body)) =
        tokio::join!(served.control("POST", "/sim/platforms/push", &push), listening.take(SUCCESS));
    assert_eq!((status, answered), (200, json!({"status":200,"answer":"success"})));
    assert!(line.starts_with("POST /pushes?tenant=1&signature="), "{line}");
    assert!(line.contains("&encrypt_type=aes&msg_signature="), "{line}");
    assert!(body.starts_with("<xml><AppId><![CDATA[wxplatform00000001]]></AppId><Encrypt><![CDATA["), "{body}");

    let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let url = json!({"appid":PLATFORM,"push_url":listening.url});
    assert_eq!(served.control("POST", "/sim/platforms", &url).await.0, 204);
    let push = json!({"platform":PLATFORM,"kind":"unauthorized","appid":MERCHANT});
    let ((status, answered), _) =
        tokio::join!(served.control("POST", "/sim/platforms/push", &push), listening.take(busy));
    assert_eq!((status, answered), (200, json!({"status":503,"answer":""})));
}

#[tokio::test]
async fn a_push_with_nowhere_to_go_is_handed_over() {
    let served = with_platform().await;
    let (status, pushed) = served.control("POST", "/sim/platforms/push", &json!({"platform":PLATFORM})).await;
    let pushed: Pushed = serde_json::from_value(pushed).expect("a query and a body");
    assert!(status == 200 && pushed.query.starts_with("signature=") && pushed.body.ends_with("</xml>"));
    let refused = served.simulator.send_push(&Push::ticket(PLATFORM)).await.expect_err("nowhere");
    assert_eq!(refused.to_string(), "nowhere to push to");
}

#[tokio::test]
async fn a_push_that_nobody_takes_says_so_without_the_url() {
    let served = with_platform().await;
    let Listening { listener, url } = Listening::new("/secret-path").await;
    drop(listener);
    for url in [url.as_str(), "not a url"] {
        let push = json!({"platform":PLATFORM,"url":url});
        let (status, refused) = served.control("POST", "/sim/platforms/push", &push).await;
        assert_eq!((status, &refused["error"]), (400, &json!("the push URL does not answer")));
        assert!(!refused.to_string().contains("secret-path"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_waits_five_seconds_for_an_answer() {
    let simulator = Simulator::default();
    simulator.put_platform(PlatformChange::new(PLATFORM, "s", "t", KEY)).expect("a right platform");
    let listening = Listening::new("/silent").await;
    let push = Push { url: Some(listening.url.clone()), ..Push::ticket(PLATFORM) };
    let began = tokio::time::Instant::now();
    let sent = tokio::time::timeout(Duration::from_secs(60), simulator.send_push(&push)).await;
    let refused = sent.expect("an end").expect_err("nobody answers");
    assert_eq!(refused.to_string(), "the push URL does not answer");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(6), "{waited:?}");
}

#[tokio::test]
async fn a_ticket_that_is_asked_for_arrives() {
    let served = with_platform().await;
    let listening = Listening::new("/").await;
    let change = PlatformChange { appid: PLATFORM.into(), push_url: Some(listening.url.clone()), ..Default::default() };
    served.simulator.put_platform(change).expect("a right change");
    let body = json!({"component_appid":PLATFORM,"component_secret":"s"});
    assert_eq!(served.wechat("api_start_push_ticket", &body).await, json!({"errcode":0,"errmsg":"ok"}));
    let (line, _) = listening.take(SUCCESS).await;
    assert!(line.starts_with("POST /?signature="), "{line}");
    assert_eq!(served.simulator.asked_without_codes().start_push.by_errcode, [(0, 1)].into());
}
