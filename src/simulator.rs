//! A WeChat on this machine: a model in plain data with two thin HTTP views on it. `simulate`,
//! `demo`, an embedded `serve` without apps, and every test talk to it over real sockets.
//! It knows nothing of the rest of quicklogin, and it guards nothing: never expose it.
//!
//! The **WeChat view** has WeChat's own routes:
//! `POST /wxa/business/getuserphonenumber`, `POST /cgi-bin/stable_token`, `GET /cgi-bin/token`, and for
//! third-party platforms `POST /cgi-bin/component/…`: `api_component_token`, `api_authorizer_token`,
//! `api_get_authorizer_list`, `api_start_push_ticket`.
//!
//! The **control view** is what the user's phone, an operator and a test do. Bodies and answers are
//! JSON; what is refused is a 400 of `{"error","hint"}`; where nothing is answered it is a 204.
//!
//! | call | body | does |
//! |---|---|---|
//! | `GET /sim/livez` | | answers `ok` |
//! | `POST /sim/apps` | `{"appid":"wx…","secret":"…","token_life_s":7200,"frozen":false,"ip_refused":false,"punished":false,"phone_per_minute":300,"phone_per_day":10000,"token_calls_per_day":2000}` | adds an app, or changes what is named of it |
//! | `POST /sim/codes` | `{"appid":"wx…","phone_number":"+44 7911123456","country_code":"44","country_code_as":"number","openid":"o…","watermark":"missing","age_s":290,"script":["cut_after"]}` | mints a code, as the button would: 201 `{"code","phoneNumber","issued_at"}`. All may be left out, the appid where there is but one |
//! | `POST /sim/codes` | `{"count":1000}` | mints many (at most 100,000): a list |
//! | `POST /sim/moods` | `{"endpoint":"phone","appid":"wx…","calls":10,"step":{"errcode":45011}}` | a [`Step`] for the next calls of `phone`, `token` or `component`; until cleared without `calls` |
//! | `DELETE /sim/moods` | | clears them |
//! | `POST /sim/latency` | `{"latency_ms":80,"jitter_ms":40}` | every answer of the phone endpoint waits 80 to 120 ms |
//! | `POST /sim/tokens/invalidate` | `{"appid":"wx…"}` or nothing | every token of the app, or the component tokens of the platform, are revoked (40001); the next normal call mints another |
//! | `POST /sim/tokens/expire` | the same | the same, of old age (42001) |
//! | `POST /sim/platforms` | `{"appid":"wx…","secret":"…","message_token":"…","message_key":"43 characters","push_url":"http://…","token_life_s":7200,"ip_refused":false}` | adds a third-party platform, or changes what is named of it |
//! | `GET /sim/platforms?appid=wx…` | | what WeChat holds of a platform, [`PlatformState`]: the newest ticket, each merchant's refresh token |
//! | `POST /sim/authorizers` | `{"platform":"wx…","appid":"wx…","permission_18":true,"withdrawn":false,"rotates_refresh_token":false,"new_refresh_token":true}` | makes a merchant authorise a platform, or changes what is named of it |
//! | `POST /sim/platforms/push` | `{"platform":"wx…","kind":"authorized","appid":"wx…","url":"http://…","cdata":true}` | pushes `component_verify_ticket` (unless said), `authorized`, `unauthorized` or `updateauthorized` to the url, or to the push_url: `{"status","answer"}`; without either `{"query","body"}`, to be sent by whoever asked |
//! | `GET /sim/asked` | | the record, [`Asked`]: calls, codes, connections, TLS handshakes, how late answers were; `?codes=false` without the list of codes |
//! | `DELETE /sim/asked` | | resets it |
//! | `POST /sim/clock` | `{"advance_ms":300000}` | turns the simulator's clock on: codes and tokens age at once |
//!
//! A request passes, in this order: its method; the token, and what its merchant granted; the quota; a mood;
//! the body; the script of its code; the code itself. A mood that does not consume comes first of all, as a
//! gateway that is away does.

mod control_view;
mod counts;
mod model;
mod platforms;
mod pushes;
mod random;
mod record;
mod refused;
mod script;
mod server;
mod tls;
mod tokens;
mod wechat_view;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Request;
use hyper::body::Bytes;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::model::apps::AppChange;
pub use self::model::mint::{CountryCodeAs, Mint, Minted, Watermark};
pub use self::model::moods::{Endpoint, Mood};
pub use self::model::platforms::changes::{AuthorizerChange, AuthorizerState, PlatformChange, PlatformState};
pub use self::model::platforms::push::{Push, PushKind, Pushed};
pub use self::pushes::PushAnswered;
pub use self::record::{Asked, CodeAsked, EndpointAsked, Handshakes, Lateness, TokenAsked, TokenLife, TokenSource};
pub use self::refused::Refused;
pub use self::script::{Step, Then};
pub use self::tls::Tls;

use self::counts::Counts;
use self::model::Model;

const CODES_PER_MINT_MOST: usize = 100_000;

/// How the simulator behaves from the start.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// How long a connection may be idle; WeChat's own last about 20 s.
    pub idle: Duration,
    /// How long every answer of the phone endpoint waits, in milliseconds.
    pub latency_ms: u64,
    /// Up to how much longer, in milliseconds, evenly spread.
    pub jitter_ms: u64,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self { idle: Duration::from_secs(20), latency_ms: 0, jitter_ms: 0 }
    }
}

/// A handle on one simulated WeChat; clones share it.
#[derive(Clone)]
pub struct Simulator {
    shared: Arc<Shared>,
}

struct Shared {
    model: Mutex<Model>,
    idle: Duration,
    /// The wall clock at the start; from then on time is tokio's, which tests can pause.
    started: (Instant, u64),
    ahead_ms: AtomicU64,
    counts: Counts,
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new(&SimulatorOptions::default())
    }
}

impl Simulator {
    /// A WeChat that knows no app yet.
    #[must_use]
    pub fn new(options: &SimulatorOptions) -> Self {
        let mut model = Model::new();
        model.latency_ms = options.latency_ms;
        model.jitter_ms = options.jitter_ms;
        Self {
            shared: Arc::new(Shared {
                model: Mutex::new(model),
                idle: options.idle,
                started: (Instant::now(), wall_clock_ms()),
                ahead_ms: AtomicU64::new(0),
                counts: Counts::default(),
            }),
        }
    }

    /// Serves both views until the stop, which ends every connection at once.
    ///
    /// # Errors
    /// None as yet: what goes wrong with one connection does not end the others.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        server::serve(self, listener, None, stop).await
    }

    /// The same over TLS, and HTTP/1.1 in it; errors are as there.
    pub async fn serve_tls(self, listener: TcpListener, tls: Tls, stop: CancellationToken) -> io::Result<()> {
        server::serve(self, listener, Some(tls), stop).await
    }

    /// Answers a call of the WeChat view without a socket: status and body, late or never where that is to happen. None
    /// where the connection would be dropped. Pushes that a call asks for are not sent.
    pub async fn answer(&self, call: Request<Bytes>) -> Option<(u16, Bytes)> {
        wechat_view::answer_in_process(self, call).await
    }

    /// Adds an app, or changes what the change names.
    ///
    /// # Errors
    /// A new app without a secret.
    pub fn put_app(&self, change: AppChange) -> Result<(), Refused> {
        self.with_model(|model, _| model.apps.put(change))
    }

    /// Mints a code, as the button in the mini program would.
    ///
    /// # Errors
    /// An app that is not known here, or none named among several.
    pub fn mint(&self, mint: &Mint) -> Result<Minted, Refused> {
        self.with_model(|model, now_ms| {
            let app = model.apps.find(mint.appid.as_deref())?;
            Ok(model.codes.mint(app, mint, now_ms, &mut model.random))
        })
    }

    /// Mints `count` codes alike, each with a number of its own unless the number is given.
    ///
    /// # Errors
    /// As [`Simulator::mint`].
    pub fn mint_many(&self, mint: &Mint, count: usize) -> Result<Vec<Minted>, Refused> {
        self.with_model(|model, now_ms| {
            let app = model.apps.find(mint.appid.as_deref())?;
            Ok((0..count).map(|_| model.codes.mint(app, mint, now_ms, &mut model.random)).collect())
        })
    }

    /// Makes a step happen to the next calls of an endpoint, after the moods already set.
    ///
    /// # Errors
    /// More than a thousand moods at once.
    pub fn set_mood(&self, mood: Mood) -> Result<(), Refused> {
        self.with_model(|model, _| model.moods.set(mood))
    }

    /// Ends every mood.
    pub fn clear_moods(&self) {
        self.with_model(|model, _| model.moods.clear());
    }

    /// How long every answer of the phone endpoint waits from now on.
    pub fn set_latency(&self, latency_ms: u64, jitter_ms: u64) {
        self.with_model(|model, _| (model.latency_ms, model.jitter_ms) = (latency_ms, jitter_ms));
    }

    /// Turns the simulator's clock on, so that codes and tokens age at once.
    pub fn advance_ms(&self, ms: u64) {
        self.shared.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// The record of what was asked, with every code.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.shared.counts.beside(self.with_model(|model, _| model.asked(true)))
    }

    /// The record without the list of codes, which is quick however many there are.
    #[must_use]
    pub fn asked_without_codes(&self) -> Asked {
        self.shared.counts.beside(self.with_model(|model, _| model.asked(false)))
    }

    /// How often this code was asked about, and whether it is spent.
    #[must_use]
    pub fn asked_of(&self, code: &str) -> CodeAsked {
        self.with_model(|model, _| model.codes.asked_of(code))
    }

    /// Sets every count of the record to nothing; spent codes stay spent.
    pub fn forget_asked(&self) {
        self.with_model(|model, _| model.forget_asked());
        self.shared.counts.forget();
    }

    /// The one way to the model and the one place that reads the clock.
    fn with_model<T>(&self, act: impl FnOnce(&mut Model, u64) -> T) -> T {
        // A panic under the lock leaves counts at worst half counted: go on.
        let mut model = self.shared.model.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut model, self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        let (instant, wall_ms) = self.shared.started;
        let since_ms = u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX);
        wall_ms.saturating_add(since_ms).saturating_add(self.shared.ahead_ms.load(Ordering::Relaxed))
    }
}

fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
