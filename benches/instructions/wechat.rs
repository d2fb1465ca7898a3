//! A WeChat that says the same to everybody and at once: as a function, or over HTTP on loopback. It is as little as
//! can be, and always the same, so that what is counted besides it is the product's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use quicklogin::config::Settings;
use quicklogin::wechat::{Call, Client, ClientSettings, Fault, Heard};
use quicklogin::worker::Stop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An app, and what it is told.
pub(crate) struct KnownApp {
    pub(crate) appid: &'static str,
    token: &'static str,
    token_answer: &'static str,
    phone_answer: &'static str,
}

macro_rules! app {
    ($appid:literal, $token:literal) => {
        KnownApp {
            appid: $appid,
            token: $token,
            token_answer: concat!(r#"{"access_token":""#, $token, r#"","expires_in":7200}"#),
            phone_answer: concat!(
                r#"{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"13800138000","purePhoneNumber":"13800138000","#,
                r#""countryCode":"86","watermark":{"timestamp":1637744274,"appid":""#,
                $appid,
                r#""}}}"#
            ),
        }
    };
}

pub(crate) const APPS: [KnownApp; 2] = [
    app!("wx0123456789abcdef", "68_kRXVrUr7eFlvlMmSrLiKEbAKkTzJ7wNGwUnWGEMkTk3qXvpDvDTpVJ3KG2Tf1KyF4kN1"),
    app!("wxfedcba9876543210", "68_9sQm2VbXcLw0RtYpUeIoAaDfGhJkZxCvBnM1qWeRtYuIoPlKjHgFdSaZxCvBnMqW"),
];

pub(crate) enum Wire {
    InProcess,
    Http,
}

/// Stops a worker softly when it has asked for its last login; it is finished by then but for what is in hand.
#[derive(Clone, Default)]
pub(crate) struct Countdown(Arc<Mutex<(usize, Stop)>>);

impl Countdown {
    /// Counts down from here, and says what it will stop.
    pub(crate) fn begin(&self, count: usize) -> Stop {
        let stop = Stop::default();
        *self.0.lock().expect("nobody panicked with it") = (count, stop.clone());
        stop
    }

    fn asked(&self) {
        let (left, stop) = &mut *self.0.lock().expect("nobody panicked with it");
        *left = left.checked_sub(1).expect("each login is asked once");
        if *left == 0 {
            stop.soft.cancel();
        }
    }
}

/// A client of this WeChat, with everything else as in the settings.
pub(crate) async fn client(wire: Wire, settings: &Settings, countdown: &Countdown) -> Client {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let settings = at(address, settings);
    let countdown = countdown.clone();
    let client = match wire {
        Wire::InProcess => Client::in_process(&settings, Arc::new(move |call: Call| stand_in(&call, &countdown))),
        Wire::Http => {
            tokio::spawn(listen(listener, countdown));
            Client::new(&settings)
        }
    };
    client.expect("good settings")
}

fn at(address: SocketAddr, settings: &Settings) -> ClientSettings {
    let base_url = format!("http://{address}").parse().expect("a URL");
    ClientSettings { base_url, hosts: vec![], ..settings.wechat().expect("the defaults are good") }
}

fn stand_in(call: &Call, countdown: &Countdown) -> BoxFuture<'static, Result<Heard, Fault>> {
    let text = answer_to(call.url.query().unwrap_or_default(), call.body.as_deref().unwrap_or_default(), countdown);
    ready(Ok(Heard::whole(200, Bytes::from_static(text.as_bytes())))).boxed()
}

/// An app is known by its token, where it has one.
fn answer_to(url: &str, rest: &[u8], countdown: &Countdown) -> &'static str {
    if let Some(app) = APPS.iter().find(|app| url.ends_with(app.token)) {
        countdown.asked();
        return app.phone_answer;
    }
    let named = |app: &&KnownApp| rest.windows(app.appid.len()).any(|part| part == app.appid.as_bytes());
    APPS.iter().find(named).expect("a token is asked for by appid").token_answer
}

async fn listen(listener: TcpListener, countdown: Countdown) {
    loop {
        let (stream, _) = listener.accept().await.expect("connections are few");
        tokio::spawn(respond(stream, countdown.clone()));
    }
}

/// Answers whoever is connected, request by request, until they hang up. A head is as short as it may be.
async fn respond(mut stream: TcpStream, countdown: Countdown) {
    stream.set_nodelay(true).expect("it is TCP");
    let mut request = Vec::with_capacity(4096);
    while let Ok(1..) = stream.read_buf(&mut request).await {
        // A body is a JSON object without another one in it, and a head has no brace.
        if request.last() != Some(&b'}') {
            continue;
        }
        let url = request.split(|b| *b == b' ').nth(1).expect("a method, a URL");
        let body = answer_to(std::str::from_utf8(url).expect("a URL is ASCII"), &request, &countdown);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.is_err() {
            return;
        }
        request.clear();
    }
}
