//! Both views over real sockets.

mod platforms;
mod tls;

use std::future::Future;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

const APPID: &str = "wx0123456789abcdef";

/// A served simulator with one app.
struct Served {
    simulator: Simulator,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

async fn served(options: SimulatorOptions) -> Served {
    let simulator = Simulator::new(&options);
    simulator.put_app(AppChange::new(APPID, "secret")).expect("a right app");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(simulator.clone().serve(listener, stop.clone()));
    Served { simulator, address, stop, serving }
}

impl Served {
    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        Client { stream }
    }

    fn mint(&self, step: impl Into<Step>) -> Minted {
        let mint = Mint::of(APPID).script([step.into()]);
        self.simulator.mint(&mint).expect("a code")
    }

    async fn ask(&self, client: &mut Client, code: &str) -> Option<(u16, String)> {
        let token = self.simulator.token_of(APPID).expect("a token");
        let path = format!("/wxa/business/getuserphonenumber?access_token={token}");
        client.call("POST", &path, &format!(r#"{{"code":"{code}"}}"#)).await
    }

    /// Asks on a connection of its own.
    async fn ask_anew(&self, code: &str) -> Option<(u16, String)> {
        let mut client = self.connect().await;
        self.ask(&mut client, code).await
    }

    /// Asks on a connection of its own and hears the head of the answer: how long a body it announces, and what has come
    /// of it.
    async fn begin_to_hear(&self, code: &str) -> (Client, usize, Vec<u8>) {
        let token = self.simulator.token_of(APPID).expect("a token");
        let mut client = self.connect().await;
        let path = format!("/wxa/business/getuserphonenumber?access_token={token}");
        client.send("POST", &path, &format!(r#"{{"code":"{code}"}}"#)).await;
        let (head, body) = client.head().await.expect("a head");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        (client, length.expect("an announced length").parse().expect("a number"), body)
    }

    async fn control(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut client = self.connect().await;
        let (status, body) = client.call(method, path, &body.to_string()).await.expect("an answer");
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

/// As much HTTP as these tests need; `None` where the connection ended before a whole answer.
struct Client {
    stream: TcpStream,
}

impl Client {
    async fn call(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        self.send(method, path, body).await;
        let (head, mut body) = self.head().await?;
        let status = head.get(9..12)?.parse().ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while body.len() < length {
            if self.stream.read_buf(&mut body).await.ok()? == 0 {
                return None;
            }
        }
        Some((status, String::from_utf8(body).expect("text")))
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: wechat\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(request.as_bytes()).await.expect("a sent request");
    }

    /// The head of an answer, and what came of the body with it.
    async fn head(&mut self) -> Option<(String, Vec<u8>)> {
        let mut read = Vec::new();
        loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let body = read.split_off(end + 4);
                return Some((String::from_utf8(read).expect("text"), body));
            }
            if self.stream.read_buf(&mut read).await.ok()? == 0 {
                assert!(read.is_empty(), "half a head");
                return None;
            }
        }
    }

    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        rest
    }
}

fn errcode(answer: Option<(u16, String)>) -> i64 {
    let (status, body) = answer.expect("an answer");
    assert_eq!(status, 200);
    let said: Value = serde_json::from_str(&body).expect("JSON");
    said["errcode"].as_i64().expect("an errcode")
}

/// Whether this takes longer than a hundred milliseconds.
async fn stays_open<T>(act: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_millis(100), act).await.is_err()
}

#[tokio::test]
async fn a_cut_before_leaves_the_code_and_a_cut_after_spends_it() {
    let served = served(SimulatorOptions::default()).await;
    let before = served.mint(Then::CutBefore).code;
    assert_eq!(served.ask_anew(&before).await, None);
    assert_eq!(errcode(served.ask_anew(&before).await), 0);

    let after = served.mint(Then::CutAfter).code;
    assert_eq!(served.ask_anew(&after).await, None);
    assert_eq!(errcode(served.ask_anew(&after).await), 40029);
}

#[tokio::test]
async fn a_cut_in_the_body_sends_half_of_the_answer() {
    let served = served(SimulatorOptions::default()).await;
    let code = served.mint(Then::CutInBody).code;
    let (mut client, length, mut body) = served.begin_to_hear(&code).await;
    body.extend(client.rest().await);
    assert_eq!(body.len(), length / 2);
    assert!(body.starts_with(br#"{"errcode":0,"#));
    assert_eq!(errcode(served.ask_anew(&code).await), 40029);
}

#[tokio::test]
async fn an_answer_that_hangs_in_the_body_has_its_head_and_no_end() {
    let served = served(SimulatorOptions::default()).await;
    let code = served.mint(Then::HangInBody).code;
    let (mut client, ..) = served.begin_to_hear(&code).await;
    assert!(stays_open(client.rest()).await);
    assert_eq!(errcode(served.ask_anew(&code).await), 40029);
}

#[tokio::test]
async fn a_hung_request_gets_no_answer_until_the_server_stops() {
    let served = served(SimulatorOptions::default()).await;
    let before = served.mint(Then::HangBefore).code;
    let after = served.mint(Then::HangAfter).code;
    assert!(stays_open(served.ask_anew(&before)).await);
    assert_eq!(errcode(served.ask_anew(&before).await), 0);
    assert!(stays_open(served.ask_anew(&after)).await);
    assert_eq!(errcode(served.ask_anew(&after).await), 40029);

    let last = served.mint(Then::HangBefore).code;
    let mut client = served.connect().await;
    let (answer, ()) = tokio::join!(served.ask(&mut client, &last), async {
        while served.simulator.asked_of(&last).asked == 0 {
            tokio::task::yield_now().await;
        }
        served.stop.cancel();
    });
    assert_eq!(answer, None);
    served.serving.await.expect("no panic").expect("no error");
    assert_eq!(served.simulator.asked_without_codes().connections_open, 0);
}

#[tokio::test]
async fn a_hung_connection_ends_when_its_client_goes() {
    let served = served(SimulatorOptions::default()).await;
    let code = served.mint(Then::HangBefore).code;
    assert!(stays_open(served.ask_anew(&code)).await);
    while served.simulator.asked_without_codes().connections_open > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_status_and_a_body_are_sent_as_the_step_says() {
    let served = served(SimulatorOptions::default()).await;
    let gone = served.mint(Step::http(502, "<html>bad gateway</html>")).code;
    assert_eq!(served.ask_anew(&gone).await, Some((502, "<html>bad gateway</html>".into())));
    assert_eq!(errcode(served.ask_anew(&gone).await), 0);
}

#[tokio::test]
async fn a_huge_body_is_sent_without_a_length() {
    let served = served(SimulatorOptions::default()).await;
    let code = served.mint(Step::huge(3_000_000)).code;
    let token = served.simulator.token_of(APPID).expect("a token");
    let mut client = served.connect().await;
    let path = format!("/wxa/business/getuserphonenumber?access_token={token}");
    client.send("POST", &path, &format!(r#"{{"code":"{code}"}}"#)).await;
    let (head, body) = client.head().await.expect("a head");
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let mut read = body.len();
    let mut chunk = vec![0; 65_536];
    while read < 3_000_000 {
        read += client.stream.read(&mut chunk).await.expect("more");
    }
}

#[tokio::test]
async fn a_late_answer_is_late() {
    let served = served(SimulatorOptions { latency_ms: 50, ..SimulatorOptions::default() }).await;
    let code = served.mint(Step::normal().late_ms(60)).code;
    let began = std::time::Instant::now();
    assert_eq!(errcode(served.ask_anew(&code).await), 0);
    assert!(began.elapsed() >= Duration::from_millis(110));
}

#[tokio::test]
async fn how_late_the_simulator_itself_is_with_an_answer_is_recorded() {
    let served = served(SimulatorOptions { latency_ms: 200, ..SimulatorOptions::default() }).await;
    let began = std::time::Instant::now();
    let asking = async {
        let code = served.mint(Step::normal()).code;
        errcode(served.ask_anew(&code).await)
    };
    // The whole process stands still past the moment of the answer.
    let standing_still = async {
        while served.simulator.asked_without_codes().phone.calls == 0 {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    assert_eq!(tokio::join!(asking, standing_still).0, 0);
    let late = served.simulator.asked_without_codes().late;
    assert_eq!((late.answers, late.mean_us), (1, late.max_us));
    let at_most = began.elapsed().as_micros() as u64 - 200_000;
    assert!((50_000..=at_most).contains(&late.max_us), "{late:?}: the latency that was set is not counted");
    served.simulator.forget_asked();
    assert_eq!(served.simulator.asked_without_codes().late, Lateness::default());
}

#[tokio::test]
async fn connections_are_kept_alive_and_counted() {
    let served = served(SimulatorOptions::default()).await;
    let mut client = served.connect().await;
    for _ in 0..10 {
        let code = served.mint(Step::normal()).code;
        assert_eq!(errcode(served.ask(&mut client, &code).await), 0);
    }
    let asked = served.simulator.asked_without_codes();
    assert_eq!((asked.connections, asked.connections_open, asked.phone.calls), (1, 1, 10));
    assert!(asked.codes.is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_dropped() {
    let idle = Duration::from_secs(1);
    let served = served(SimulatorOptions { idle, ..SimulatorOptions::default() }).await;
    let mut client = served.connect().await;
    let code = served.mint(Step::normal()).code;
    assert_eq!(errcode(served.ask(&mut client, &code).await), 0);
    let rest = tokio::time::timeout(Duration::from_secs(30), client.rest()).await;
    assert_eq!(rest.expect("an end"), b"");
}

#[tokio::test]
async fn all_of_it_can_be_had_through_the_control_view() {
    let served = served(SimulatorOptions::default()).await;
    let ok = |status: u16| assert_eq!(status, 204);
    let other = json!({"appid":"wx2","secret":"s2","token_life_s":600});
    ok(served.control("POST", "/sim/apps", &other).await.0);
    let (status, refused) = served.control("POST", "/sim/codes", &json!({})).await;
    assert_eq!((status, refused["error"].as_str()), (400, Some("which app?")));

    let wanted = json!({"appid":APPID,"country_code_as":"number","script":["cut_before",{"errcode":-1}]});
    let (status, minted) = served.control("POST", "/sim/codes", &wanted).await;
    assert_eq!((status, minted["phoneNumber"].as_str()), (201, Some("13800000000")));
    let code = minted["code"].as_str().expect("a code");
    let (_, many) = served.control("POST", "/sim/codes", &json!({"appid":APPID,"count":3})).await;
    let numbers: Vec<_> = many.as_array().expect("a list").iter().map(|one| &one["phoneNumber"]).collect();
    assert_eq!(numbers, ["13800000001", "13800000002", "13800000003"]);

    let mood = json!({"endpoint":"phone","calls":1,"step":{"errcode":45011}});
    ok(served.control("POST", "/sim/moods", &mood).await.0);
    assert_eq!(errcode(served.ask_anew(code).await), 45011);
    assert_eq!(served.ask_anew(code).await, None);
    assert_eq!(errcode(served.ask_anew(code).await), -1);
    ok(served.control("POST", "/sim/moods", &json!({"endpoint":"token","step":"cut_before"})).await.0);
    ok(served.control("DELETE", "/sim/moods", &json!({})).await.0);
    ok(served.control("POST", "/sim/latency", &json!({"latency_ms":1})).await.0);

    let token = served.simulator.token_of(APPID).expect("a token");
    ok(served.control("POST", "/sim/tokens/invalidate", &json!({"appid":APPID})).await.0);
    assert_ne!(served.simulator.token_of(APPID).expect("a token"), token);
    ok(served.control("POST", "/sim/tokens/expire", &json!({})).await.0);
    ok(served.control("POST", "/sim/clock", &json!({"advance_ms":300_000})).await.0);
    assert_eq!(errcode(served.ask_anew(code).await), 40029);

    let (_, asked) = served.control("GET", "/sim/asked", &json!({})).await;
    let asked: Asked = serde_json::from_value(asked).expect("the record");
    assert_eq!(asked.codes[code].asked, 4);
    assert_eq!(asked.phone.by_errcode, [(-1, 1), (40029, 1), (45011, 1)].into());
    ok(served.control("DELETE", "/sim/asked", &json!({})).await.0);
    assert_eq!(served.simulator.asked().phone.calls, 0);
    assert_eq!(served.control("GET", "/sim/livez", &json!({})).await.0, 200);
    assert_eq!(served.control("POST", "/sim/moods", &json!({"endpoint":"phone","step":"explode"})).await.0, 400);
    assert_eq!(served.control("GET", "/elsewhere", &json!({})).await.0, 404);
}

#[tokio::test]
async fn tokens_are_fetched_from_both_endpoints() {
    let served = served(SimulatorOptions::default()).await;
    let stable = json!({"grant_type":"client_credential","appid":APPID,"secret":"secret"});
    let (_, stable) = served.control("POST", "/cgi-bin/stable_token", &stable).await;
    let classic = format!("/cgi-bin/token?grant_type=client_credential&appid={APPID}&secret=secret");
    let (_, classic) = served.control("GET", &classic, &json!({})).await;
    assert_eq!((&stable["expires_in"], &classic["expires_in"]), (&json!(7200), &json!(7200)));
    assert_ne!(stable["access_token"], classic["access_token"]);
    let asked = served.simulator.asked_without_codes();
    assert_eq!((asked.tokens[APPID].normal, asked.tokens[APPID].classic), (1, 1));
}
