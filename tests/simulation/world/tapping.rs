//! Who taps, and what is published of it.

use futures_util::FutureExt as _;
use quicklogin::login::{AppId, Code, LoginRequest};
use quicklogin::queue::Queue;
use quicklogin::simulator::{Mint, Step};
use quicklogin::traceparent::Traceparent;

use super::{BEGIN_MS, SOON, World, app_id, request_id};
use crate::ledger::Login;
use crate::plan::Kind;
use crate::story::Event;

impl World {
    /// The first copy is published by whoever has just tapped, or soon after that.
    pub(super) fn publish(&self, login: usize, copy: usize) {
        let planned = &self.plan.logins[login];
        if self.ledger().logins[login].code.is_empty() {
            self.tap(login, planned.app, &planned.script);
        }
        let issued_at = planned.is_dated.then(|| BEGIN_MS + planned.tapped_at);
        self.submit(login, planned.app, issued_at, planned.deadline.map(|deadline| BEGIN_MS + deadline), copy);
    }

    fn tap(&self, login: usize, app: usize, script: &[Step]) {
        let mut ledger = self.ledger();
        let tapped = &mut ledger.logins[login];
        tapped.phone = format!("1380000{login:04}");
        tapped.code = match tapped.kind {
            Kind::Unknown | Kind::UnknownApp | Kind::Malformed => format!("no-code-{login}"),
            Kind::Good | Kind::Stale => {
                let age_s = if tapped.kind == Kind::Stale { 301 } else { 0 };
                let phone_number = Some(tapped.phone.clone());
                let mint = Mint { age_s, phone_number, ..Mint::of(app_id(app)) }.script(script.iter().cloned());
                self.simulator.mint(&mint).expect("the app is known").code
            }
        };
        self.codes.lock().expect("nobody panicked with it").insert(tapped.code.clone(), login);
    }

    fn submit(&self, login: usize, app: usize, issued_at: Option<u64>, deadline: Option<u64>, copy: usize) {
        let (kind, code) = {
            let ledger = self.ledger();
            (ledger.logins[login].kind, ledger.logins[login].code.clone())
        };
        let appid = if kind == Kind::UnknownApp { "wx-unknown".to_owned() } else { app_id(app) };
        let request = LoginRequest {
            request_id: request_id(login),
            appid: Some(AppId::try_from(&*appid).expect("a good appid")),
            code: Code::try_from(&*code).expect("a good code"),
            openid: None,
            issued_at,
            deadline,
        };
        let taken = if kind == Kind::Malformed {
            let Queue::Memory(queue) = &self.queue else { unreachable!("it is in memory") };
            queue.publish(format!(r#"{{"request_id":"{}"}}"#, request.request_id).into_bytes(), None)
        } else {
            let trace = Traceparent::generate();
            let publishing = self.queue.publish(&request, &trace);
            publishing.now_or_never().expect("memory answers at once")
        };
        self.ledger().logins[login].copies += usize::from(taken.is_ok());
        self.note(Event::Published { login, copy, taken: taken.is_ok() });
    }

    /// Every login comes once more, and fresh ones that find everything well.
    pub(super) fn once_more(&self) {
        self.note(Event::Again);
        let planned = self.plan.logins.len();
        for login in 0..planned {
            self.publish(login, self.plan.logins[login].copies.len());
        }
        for app in 0..self.plan.setup.apps {
            for _ in 0..self.plan.setup.workers {
                let (login, now) = (self.ledger().logins.len(), self.now());
                let probe = Login::new(Kind::Good, now, now + SOON.as_millis() as u64);
                self.ledger().logins.push(Login { is_probe: true, ..probe });
                self.tap(login, app, &[]);
                self.submit(login, app, Some(BEGIN_MS + now), None, 0);
            }
        }
    }
}
