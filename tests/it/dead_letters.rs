//! `dead`: what an operator sees of the dead letters, and does about them. Nothing is lost, and no code is shown.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use quicklogin::clock;
use quicklogin::worker::WORN_OUT;

use crate::support::amqp::{Outcome, Publisher};
use crate::support::fleet::{APP, SECRET, SISTER, eventually};
use crate::support::process::Process;
use crate::support::program::{Ended, Servers, Site, post};
use crate::support::rabbit::Broker;

const DEAD: &str = "quicklogin.dead";
const LOGINS: &str = "quicklogin.logins";
const CODE: &str = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A fleet that has run, and somebody else's gateway.
struct Ground {
    servers: Servers,
    site: Site,
    publisher: Publisher,
}

impl Ground {
    /// The queues are there, and nobody works.
    async fn lay() -> Self {
        let servers = Servers::start();
        let app = format!("rabbitmq.delivery_limit = 1\n[[apps]]\nappid = \"{APP}\"\nsecret = \"{SECRET}\"\n");
        let site = Site::with(&servers.settings(&app));
        let publisher = Publisher::connect(servers.vhost.url()).await;
        let ground = Self { servers, site, publisher };
        drop(ground.start_worker());
        ground
    }

    fn start_worker(&self) -> Process {
        self.site.worker()
    }

    fn start_simulator(&self) -> Process {
        self.site.simulator()
    }

    async fn send(&self, body: &str, properties: BasicProperties) {
        let published = self.publisher.publish("quicklogin", "login", body.as_bytes(), properties).await;
        assert_eq!(published.expect("it is connected"), Outcome::Taken);
    }

    /// Puts a letter among the dead ones, as a worker does.
    async fn bury(&self, body: &str, reason: &str, dead_at: u64) {
        let mut headers = FieldTable::default();
        headers.insert("x-quicklogin-reason".into(), AMQPValue::LongString(reason.into()));
        headers.insert("x-quicklogin-dead-at".into(), AMQPValue::LongLongInt(dead_at as i64));
        headers.insert("x-quicklogin-deliveries".into(), AMQPValue::LongLongInt(1));
        headers.insert("traceparent".into(), AMQPValue::LongString(TRACE.into()));
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_headers(headers);
        let published = self.publisher.publish("", DEAD, body.as_bytes(), properties).await;
        assert_eq!(published.expect("it is connected"), Outcome::Taken);
    }

    /// One fresh letter for each name.
    async fn bury_requests(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.bury(&request(&name, clock::now_ms()).to_string(), "tired", clock::now_ms()).await;
        }
    }

    /// Runs `dead` with these arguments; what it says shows no code.
    fn dead(&self, arguments: &[&str]) -> Ended {
        let arguments: Vec<&str> = ["dead"].iter().chain(arguments).copied().collect();
        let ended = self.site.run(&arguments);
        for said in [&ended.stdout, &ended.stderr] {
            assert!(!said.contains(&CODE[..12]) && !said.contains("oOpenId"), "{arguments:?} said {said}");
        }
        ended
    }

    /// The JSON objects that `dead` prints with these arguments.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let ended = self.dead(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    }

    /// The request ids of the letters that are listed with these filters.
    fn listed(&self, filters: &[&str]) -> Vec<String> {
        let arguments: Vec<&str> = ["list", "--json"].iter().chain(filters).copied().collect();
        self.json(&arguments).iter().map(|letter| letter["request_id"].as_str().unwrap_or("-").to_owned()).collect()
    }

    fn ready(&self, queue: &str) -> u64 {
        Broker::shared().queue_depths(&self.servers.vhost)[queue].ready
    }

    async fn is_ready(&self, queue: &str, letters: u64) {
        eventually(&format!("{letters} in {queue}"), async || self.ready(queue) == letters).await;
    }

    /// The request ids of everything in a queue, which is empty afterwards.
    async fn take_all(&self, queue: &str) -> Vec<String> {
        let mut ids = vec![];
        while let Some((body, _)) = self.publisher.get(queue).await {
            let body: Value = serde_json::from_slice(&body).expect("a request");
            ids.push(body["request_id"].as_str().expect("an id").to_owned());
        }
        ids
    }
}

fn request(id: &str, issued_at: u64) -> Value {
    json!({"request_id": id, "appid": APP, "code": CODE, "openid": "oOpenId", "issued_at": issued_at})
}

#[tokio::test]
async fn a_workers_letter_tells_why_when_how_often_and_by_whom_and_keeps_what_it_came_with() {
    let ground = Ground::lay().await;
    let worker = ground.start_worker();
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(TRACE.into()));
    let properties = Publisher::properties("m-1").with_timestamp(1_700_000_000).with_headers(headers);
    ground.send(&json!({"code": CODE, "openid": "oOpenId"}).to_string(), properties).await;
    ground.is_ready(DEAD, 1).await;
    drop(worker);
    let listed = ground.json(&["list", "--json"]);
    let shown = ground.json(&["show", "m-1", "--json"]).remove(0);
    assert_eq!((&listed[0]["request_id"], &listed[0]["deliveries"]), (&json!("m-1"), &json!(1)));
    for (name, expected) in [
        ("reason", json!("request_id is missing")),
        ("deliveries", json!(1)),
        ("message_id", json!("m-1")),
        ("content_type", json!("application/json")),
        ("timestamp", json!(1_700_000_000_000_u64)),
        ("traceparent", json!(TRACE)),
        ("replay", json!("without a request id")),
        ("body", json!({"code": "***", "openid": "***"})),
    ] {
        assert_eq!(shown[name], expected, "{name} in {shown}");
    }
    assert!(shown["worker"].as_str().is_some_and(|worker| worker.contains('/')), "host and process id: {shown}");
    let age_ms = clock::now_ms() - shown["dead_at"].as_u64().expect("a time");
    assert!(age_ms < 60_000, "{age_ms} ms ago");
    let text = ground.dead(&["show", "--position", "1"]).stdout;
    assert!(
        text.contains("header        x-quicklogin-reason: \"request_id is missing\"") && text.contains(TRACE),
        "{text}"
    );
    assert_eq!(ground.ready(DEAD), 1);
}

#[tokio::test]
async fn what_rabbitmq_moves_after_too_many_deliveries_is_read_and_replayed_as_new() {
    let ground = Ground::lay().await;
    ground.send(&request("r-1", clock::now_ms()).to_string(), Publisher::properties("r-1")).await;
    let channel = ground.publisher.channel();
    for delivery in 1..=11 {
        eventually("it is there", async || ground.ready(LOGINS) == 1).await;
        let got = channel.basic_get(LOGINS.into(), BasicGetOptions::default()).await.expect("connected");
        let acker = got.expect("a delivery").delivery.acker;
        acker.nack(BasicNackOptions { requeue: true, multiple: false }).await.expect("connected");
        eventually("it is back", async || ground.ready(if delivery < 11 { LOGINS } else { DEAD }) == 1).await;
    }
    let shown = ground.json(&["show", "r-1", "--json"]).remove(0);
    assert_eq!((&shown["reason"], &shown["replay"]), (&json!("delivery_limit"), &json!("possible")), "{shown}");
    assert!(shown["dead_at"].is_u64() && shown["headers"]["x-death"].is_array(), "{shown}");
    assert_eq!(ground.listed(&["--reason", "Delivery", "--since", "10m"]), ["r-1"]);
    let replayed = ground.dead(&["replay", "--request-id", "r-1"]);
    assert_eq!(replayed.stderr.trim(), "replayed 1, refused 0, left 0");
    let again = channel.basic_get(LOGINS.into(), BasicGetOptions::default()).await.expect("connected");
    let again = again.expect("it is a request again").delivery;
    let headers = again.properties.headers().clone().unwrap_or_default();
    let counted = headers.inner().get("x-delivery-count").cloned();
    assert!(counted.is_none_or(|count| count == AMQPValue::LongLongInt(0)), "it is above suspicion: {headers:?}");
    assert!(headers.inner().keys().all(|name| name.as_str() == "x-delivery-count"), "{headers:?}");
    assert_eq!(again.properties.message_id().as_ref().map(|id| id.as_str()), Some("r-1"));
    assert!(again.properties.timestamp().is_some(), "a code of its age");
}

#[tokio::test]
async fn looking_changes_neither_letters_nor_their_order() {
    let ground = Ground::lay().await;
    let names: Vec<String> = (0..120).map(|n| format!("r-{n}")).collect();
    ground.bury_requests(names.clone()).await;
    let first = ground.dead(&["list"]);
    assert_eq!((first.code, first.stdout.lines().count()), (Some(0), 101), "a heading and 100 lines");
    assert!(first.stderr.contains("20 more were not looked at"), "{}", first.stderr);
    for _ in 0..2 {
        assert_eq!(ground.listed(&["--limit", "1000"]), names);
        assert_eq!(ground.json(&["show", "--position", "7", "--json"])[0]["request_id"], "r-6");
    }
    assert_eq!(ground.ready(DEAD), 120);
    let absent = ground.dead(&["show", "r-500"]);
    assert_eq!((absent.code, absent.stdout.as_str()), (Some(1), ""), "{}", absent.stderr);
    assert_eq!(ground.take_all(DEAD).await, names);
}

#[tokio::test]
async fn each_filter_leaves_what_matches_and_all_of_them_together() {
    let ground = Ground::lay().await;
    let (now, hour) = (clock::now_ms(), 3_600_000);
    ground.bury(&request("old", now - hour).to_string(), "Too Tired", now - hour).await;
    ground.bury(&request("new", now).to_string(), "hungry", now).await;
    let sister = json!({"request_id": "sister", "appid": SISTER, "code": CODE});
    ground.bury(&sister.to_string(), "tired", now).await;
    ground.bury("not json", "tired", now).await;
    for (filters, expected) in [
        (vec!["--reason", "tired"], vec!["old", "sister", "-"]),
        (vec!["--appid", SISTER], vec!["sister"]),
        (vec!["--request-id", "new"], vec!["new"]),
        (vec!["--since", "10m"], vec!["new", "sister", "-"]),
        (vec!["--since", "10m", "--reason", "tired", "--appid", SISTER], vec!["sister"]),
        (vec!["--since", "10m", "--limit", "1"], vec!["new"]),
        (vec!["--reason", "nothing"], vec![]),
    ] {
        assert_eq!(ground.listed(&filters), expected, "{filters:?}");
    }
    for wrong in [vec!["list", "--since", "soon"], vec!["replay"], vec!["drop", "--dry-run"], vec!["show"]] {
        assert_eq!(ground.dead(&wrong).code, Some(2), "{wrong:?}");
    }
    assert_eq!(ground.ready(DEAD), 4);
}

#[tokio::test]
async fn a_good_letter_becomes_a_result_and_the_others_are_refused() {
    let ground = Ground::lay().await;
    let _simulator = ground.start_simulator();
    let minted = post(&format!("{}/sim/codes", ground.servers.simulator_url()), &json!({"appid": APP})).await;
    let code = minted["code"].as_str().expect("a code");
    let now = clock::now_ms();
    ground.bury(&json!({"request_id": "good", "code": code}).to_string(), "tired", now).await;
    ground.bury(&request("late", now - 300_000).to_string(), "tired", now).await;
    ground.bury(&json!({"request_id": "gone", "code": CODE}).to_string(), "tired", now - 300_000).await;
    let impatient = json!({"request_id": "impatient", "code": CODE, "issued_at": now, "deadline": now - 1});
    ground.bury(&impatient.to_string(), "tired", now).await;
    ground.bury(&json!({"code": CODE}).to_string(), "request_id is missing", now).await;
    ground.bury(&format!("code={CODE}"), "the body is not a JSON object", now).await;
    ground.bury(&json!({"request_id": "worn", "code": CODE}).to_string(), WORN_OUT, now).await;
    let counts = "(expired 3, unreadable 1, without a request id 1, has its result 1)";

    let dry = ground.dead(&["replay", "--all", "--dry-run"]);
    assert_eq!(dry.stderr.trim(), format!("would replay 1, would refuse 6 {counts}, would leave 6"));
    assert_eq!((ground.ready(DEAD), ground.ready(LOGINS)), (7, 0), "nothing is changed");
    let replayed = ground.dead(&["replay", "--all"]);
    assert_eq!((replayed.code, replayed.stderr.trim()), (Some(0), &*format!("replayed 1, refused 6 {counts}, left 6")));
    assert!(!format!("{}{}", replayed.stdout, dry.stdout).contains(code), "{}", replayed.stdout);
    assert!(replayed.stdout.contains("refused, expired: "), "{}", replayed.stdout);
    assert_eq!((ground.ready(DEAD), ground.ready(LOGINS)), (6, 1));
    let _worker = ground.start_worker();
    let result = || ground.servers.redis.get("quicklogin:result:{good}");
    eventually("it has a result", async || result().is_some()).await;
    let result: Value = serde_json::from_str(&result().expect("a result")).expect("JSON");
    assert_eq!((&result["status"], &result["attempts"]), (&json!("succeeded"), &json!(1)), "{result}");
    let refused = ground.dead(&["replay", "--all"]);
    let (summary, error) =
        (format!("replayed 0, refused 6 {counts}, left 6"), "error: no letter was replayed: all were refused");
    let said: Vec<&str> = refused.stderr.lines().collect();
    assert_eq!((refused.code, &said[..2]), (Some(1), &[&*summary, error][..]), "{}", refused.stderr);
    assert_eq!(ground.json(&["replay", "--all", "--dry-run", "--json"]).len(), 6, "a dry run has done what was asked");
}

#[tokio::test]
async fn dropped_letters_are_gone_and_no_others() {
    let ground = Ground::lay().await;
    ground.bury_requests(["a", "b", "c"].map(String::from)).await;
    ground.bury("not json", "the body is not a JSON object", clock::now_ms()).await;
    let dry = ground.dead(&["drop", "--reason", "json", "--dry-run"]);
    assert_eq!((dry.stderr.trim(), ground.ready(DEAD)), ("would drop 1, would leave 3", 4));
    let dropped = ground.json(&["drop", "--request-id", "b", "--json"]);
    assert_eq!((&dropped[0]["request_id"], &dropped[0]["action"]), (&json!("b"), &json!("dropped")));
    assert_eq!(ground.dead(&["drop", "--reason", "json"]).stderr.trim(), "dropped 1, left 2");
    assert_eq!(ground.listed(&[]), ["a", "c"]);
    assert_eq!(ground.dead(&["drop", "--all", "--limit", "1"]).stderr.lines().next(), Some("dropped 1, left 1"));
    assert_eq!(ground.take_all(DEAD).await, ["c"]);
    assert_eq!(ground.ready(LOGINS), 0);
}

#[tokio::test]
async fn a_killed_replay_loses_nothing() {
    let ground = Ground::lay().await;
    let names: BTreeSet<String> = (0..1000).map(|n| format!("r-{n}")).collect();
    ground.bury_requests(names.clone()).await;
    let mut replay = ground.site.start(&["dead", "replay", "--all"], "r-20 ");
    replay.kill();
    let replayed = replay.said().lines().count();
    assert!(replayed < 1000, "it is killed in the middle");
    // One letter may be published and not yet away: it is there twice.
    let depths = || (ground.ready(LOGINS), ground.ready(DEAD));
    eventually("all are there", async || matches!(depths().0 + depths().1, 1000 | 1001)).await;
    let (logins, dead) = (ground.take_all(LOGINS).await, ground.take_all(DEAD).await);
    assert!(logins.len() >= replayed && !dead.is_empty(), "{} and {}", logins.len(), dead.len());
    assert_eq!(logins.into_iter().chain(dead).collect::<BTreeSet<_>>(), names);
}

#[tokio::test]
async fn two_operators_replay_each_letter_once() {
    let ground = Ground::lay().await;
    let names: BTreeSet<String> = (0..200).map(|n| format!("r-{n}")).collect();
    ground.bury_requests(names.clone()).await;
    let mut both = [(); 2].map(|()| ground.site.start(&["dead", "replay", "--all"], "replayed: "));
    for replay in &mut both {
        let status = replay.end_within(Duration::from_secs(20)).expect("it ends");
        assert!(status.success(), "{}", replay.said());
    }
    ground.is_ready(DEAD, 0).await;
    let logins = ground.take_all(LOGINS).await;
    assert_eq!((logins.len(), logins.into_iter().collect::<BTreeSet<_>>()), (200, names));
}

#[tokio::test]
async fn letters_stay_dead_where_requests_are_refused() {
    let ground = Ground::lay().await;
    let names: BTreeSet<String> = (0..50).map(|n| format!("r-{n}")).collect();
    ground.bury_requests(names.clone()).await;
    Broker::shared().set_max_length(&ground.servers.vhost, LOGINS, 1);
    let refused = ground.dead(&["replay", "--all"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("\nerror: a letter was not replayed: the queue is full"), "{}", refused.stderr);
    let (logins, dead) = (ground.take_all(LOGINS).await, ground.take_all(DEAD).await);
    assert!(!dead.is_empty(), "{logins:?}");
    // A letter whose copy was refused too late is there twice, as after a crash.
    assert_eq!(logins.into_iter().chain(dead).collect::<BTreeSet<_>>(), names);
}

#[tokio::test]
async fn what_finds_nothing_says_so() {
    let ground = Ground::lay().await;
    let none = "there are no dead letters";
    let said = |arguments: &[&str]| {
        let Ended { code, stdout, stderr } = ground.dead(arguments);
        (code, stdout, stderr.lines().next().unwrap_or_default().to_owned())
    };
    assert_eq!(said(&["list"]), (Some(0), String::new(), none.to_owned()));
    assert_eq!(said(&["list", "--json"]), (Some(0), String::new(), String::new()));
    assert_eq!(said(&["drop", "--all"]), (Some(0), String::new(), "dropped 0, left 0".to_owned()));
    let absent = ground.dead(&["drop", "--request-id", "absent"]);
    assert_eq!((absent.code, absent.stderr.contains(none)), (Some(1), true), "{}", absent.stderr);
    ground.bury_requests(["r-1".to_owned()]).await;
    assert_eq!(said(&["list", "--reason", "another"]), (Some(0), String::new(), "no dead letter matches".to_owned()));
    for verb in ["replay", "drop"] {
        let absent = ground.dead(&[verb, "--request-id", "absent"]);
        assert_eq!((absent.code, absent.stderr.contains("error: no dead letter matches")), (Some(1), true), "{verb}");
    }
    assert_eq!(ground.ready(DEAD), 1);
}

#[tokio::test]
async fn what_is_listed_fits_a_terminal_of_80_columns() {
    let ground = Ground::lay().await;
    let id = "0199c0de-7a11-7000-8000-000000000001";
    for reason in ["tired", "the body is not a JSON object", WORN_OUT, &"very long ".repeat(100)] {
        ground.bury(&request(id, clock::now_ms()).to_string(), reason, clock::now_ms()).await;
    }
    let list = ground.dead(&["list"]).stdout;
    let replay = ground.dead(&["replay", "--all", "--dry-run"]).stdout;
    for line in list.lines().chain(replay.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert_eq!(list.matches(id).count(), 4, "{list}");
    assert!(list.contains("  tired\n") && list.contains("\n      the body is not a JSON object\n"), "{list}");
}

#[test]
fn where_no_fleet_has_run_there_are_no_letters() {
    let alone = Site::with("").run(&["dead", "list"]);
    assert_eq!((alone.code, alone.stderr.contains("hint: set rabbitmq.url")), (Some(2), true), "{}", alone.stderr);
    let servers = Servers::start();
    let new = Site::with(&servers.settings("")).run(&["dead", "list"]);
    assert_eq!((new.code, new.stderr.contains("there is no queue quicklogin.dead")), (Some(1), true), "{}", new.stderr);
}
