//! What our calls are on the wire, and what is made of answers that no simulator gives.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quicklogin::secret::Secret;
use quicklogin::wechat::{AccessToken, Client, Fault, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::support::fleet::{APP, app_id, client_settings};

const TOKEN: &str = "92_a+token/that=nobody&must see";
const CODE: &str = "a-code-that-nobody-must-see";
const PHONE: &str =
    r#"{"errcode":0,"phone_info":{"phoneNumber":"13800138000","purePhoneNumber":"13800138000","countryCode":"86"}}"#;
const CONNECT: Duration = Duration::from_millis(1500);
const TIMEOUT: Duration = Duration::from_secs(15);

/// Somebody who says the same to everybody, in pieces, and remembers what they were asked. With an empty piece they hang
/// up.
struct Talker {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Talker {
    async fn who_says(pieces: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (heard, pieces) = (Arc::default(), Arc::new(Vec::from_iter(pieces)));
        let remembered = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, Arc::clone(&pieces), Arc::clone(&remembered)));
            }
        });
        Self { address, heard }
    }

    fn client(&self, scheme: &str) -> Client {
        client_of(&format!("{scheme}://{}", self.address))
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics with it").clone()
    }
}

async fn talk(mut stream: TcpStream, pieces: Arc<Vec<String>>, heard: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut bytes).await {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let is_whole =
            text.split_once("\r\n\r\n").is_some_and(|(head, body)| head.starts_with("GET") || !body.is_empty());
        // Who speaks TLS is not understood, and gets the same answer.
        if !is_whole && bytes.first() != Some(&0x16) {
            continue;
        }
        heard.lock().expect("nobody panics with it").push(text);
        bytes.clear();
        for piece in pieces.iter() {
            if piece.is_empty() {
                return;
            }
            // Who has heard enough has hung up.
            let _ = stream.write_all(piece.as_bytes()).await;
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn client_of(url: &str) -> Client {
    Client::new(&client_settings(&[url.to_owned()], CONNECT, TIMEOUT)).expect("a client")
}

async fn exchange(client: &Client) -> Result<Reply, Fault> {
    let code = CODE.try_into().expect("a good code");
    client.exchange(&AccessToken::from(TOKEN.to_owned()), &code, None).await
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn lines_of(request: &str) -> Vec<&str> {
    let (head, body) = request.split_once("\r\n\r\n").expect("a whole request");
    let mut lines: Vec<_> = head.lines().collect();
    lines[1..].sort_unstable();
    lines.push(body);
    lines
}

#[tokio::test]
async fn an_exchange_is_a_post_with_nothing_that_it_does_not_need() {
    let talker = Talker::who_says([answer("200 OK", "", PHONE)]).await;
    let client = talker.client("http");
    for _ in 0..2 {
        let Ok(Reply::Phone(phone)) = exchange(&client).await else { panic!("a phone number was said") };
        assert_eq!(phone.phone_number, "13800138000");
    }
    let (heard, version) = (talker.heard(), env!("CARGO_PKG_VERSION"));
    let body = format!("{{\"code\":\"{CODE}\"}}");
    let expected = [
        "POST /wxa/business/getuserphonenumber?access_token=92_a%2Btoken%2Fthat%3Dnobody%26must+see HTTP/1.1",
        &format!("content-length: {}", body.len()),
        "content-type: application/json",
        &format!("host: {}", talker.address),
        &format!("user-agent: quicklogin/{version}"),
        &body,
    ];
    assert_eq!(heard.iter().map(|request| lines_of(request)).collect::<Vec<_>>(), [expected; 2]);
}

#[tokio::test]
async fn a_token_is_asked_for_with_a_get_that_has_no_body() {
    let talker = Talker::who_says([answer("200 OK", "", r#"{"errcode":40013,"errmsg":""}"#)]).await;
    talker.client("http").classic_token(&app_id(APP), &Secret::from("a secret")).await.expect("an answer");
    let url = format!("http://user:word@{}/tokens?of={APP}", talker.address).parse().expect("a URL");
    let client = client_of("http://127.0.0.1:1");
    client.external_token(&url, None).await.expect("an answer");
    client.external_token(&url, Some(&"a-key".into())).await.expect("an answer");
    let (heard, host) = (talker.heard(), format!("host: {}", talker.address));
    let agent = format!("user-agent: quicklogin/{}", env!("CARGO_PKG_VERSION"));
    let classic = format!("GET /cgi-bin/token?grant_type=client_credential&appid={APP}&secret=a+secret HTTP/1.1");
    let external = format!("GET /tokens?of={APP} HTTP/1.1");
    assert_eq!(lines_of(&heard[0]), [&*classic, &host, &agent, ""]);
    assert_eq!(lines_of(&heard[1]), [&*external, "authorization: Basic dXNlcjp3b3Jk", &host, &agent, ""]);
    assert_eq!(lines_of(&heard[2]), [&*external, "authorization: Bearer a-key", &host, &agent, ""]);
}

#[tokio::test]
async fn an_answer_is_whole_however_it_is_cut_into_pieces() {
    let (first, second) = PHONE.split_at(40);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    for pieces in [
        vec![answer("200 OK", "", PHONE).replace(second, ""), second.to_owned()],
        vec![
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            chunk(first),
            chunk(second),
            chunk(""),
        ],
    ] {
        let talker = Talker::who_says(pieces).await;
        let heard = exchange(&talker.client("http")).await;
        assert!(matches!(&heard, Ok(Reply::Phone(phone)) if phone.phone_number == "13800138000"), "{heard:?}");
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_64_kib_in_whatever_pieces() {
    let too_long = " ".repeat(64 * 1024 - PHONE.len() + 1) + PHONE;
    for (body, is_read) in [(&too_long[1..], true), (&too_long, false)] {
        let (whole, chunks) = (answer("200 OK", "", body), body.as_bytes().chunks(8192));
        let chunks = chunks.map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        let chunked = std::iter::once(chunked).chain(chunks).chain(["0\r\n\r\n".to_owned()]).collect();
        for pieces in [vec![whole], chunked] {
            let heard = exchange(&Talker::who_says(pieces).await.client("http")).await;
            match heard {
                Ok(_) => assert!(is_read),
                Err(fault) => assert!(!is_read && fault.to_string().ends_with("longer than 64 KiB"), "{fault}"),
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_that_cannot_be_read_and_leads_nowhere() {
    let elsewhere = Talker::who_says([answer("200 OK", "", PHONE)]).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let location = format!("Location: http://{}/\r\n", elsewhere.address);
        let talker = Talker::who_says([answer(status, &location, "")]).await;
        let heard = exchange(&talker.client("http")).await;
        assert!(matches!(heard, Err(Fault::Unreadable(_))), "{heard:?}");
        assert_eq!((talker.heard().len(), elsewhere.heard()), (1, vec![]));
    }
    exchange(&elsewhere.client("http")).await.expect("it would have answered");
}

#[tokio::test]
async fn a_peer_that_takes_a_connection_and_never_shakes_hands_is_unreachable_in_the_time_for_connecting() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let client = client_of(&format!("https://{}", silent.local_addr().expect("it listens")));
    let began = Instant::now();
    let heard = exchange(&client).await;
    assert!(matches!(&heard, Err(Fault::Unreachable(why)) if why.contains("in time")), "{heard:?}");
    assert!(began.elapsed() >= CONNECT && began.elapsed() < TIMEOUT / 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_fault_says_what_was_sent_or_where() {
    let says = async |pieces: [&str; 2]| Talker::who_says(pieces.map(str::to_owned)).await;
    let (garbage, hangs_up) = (says(["no HTTP at all\r\n\r\n", ""]).await, says(["", ""]).await);
    let (cut, plain) =
        (says(["HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", ""]).await, says(["what?\r\n\r\n", ""]).await);
    let closed = client_of("http://127.0.0.1:1");
    for (client, expected) in [
        (closed, "WeChat cannot be reached: tcp connect error: Connection refused (os error 111)"),
        (plain.client("https"), "WeChat cannot be reached: received corrupt message of type InvalidContentType"),
        (client_of("http://nowhere.invalid"), "WeChat cannot be reached: dns error: "),
        (garbage.client("http"), "WeChat's answer was not heard: invalid HTTP version parsed"),
        (hangs_up.client("http"), "WeChat's answer was not heard: connection closed before message completed"),
        (cut.client("http"), "WeChat's answer was not heard: error reading a body from connection: "),
    ] {
        let fault = exchange(&client).await.expect_err(expected);
        let said = format!("{fault} {fault:?}");
        assert!(said.starts_with(expected), "{expected}: {said}");
        for secret in [TOKEN, "92_a", "access_token", CODE, "getuserphonenumber", "://"] {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
    }
}
