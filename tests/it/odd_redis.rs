//! A Redis that is older, narrower or set up otherwise than ours: it serves, or it is said plainly why it does not. No
//! error text of a server is printed as it is: it may repeat a password.

use quicklogin::clock;
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::fleet::{APP, Ground, Plan, SECRET, SISTER, eventually, request, settings_at};
use crate::support::odd_redis::{OddRedis, unknown};
use crate::support::process::free_port;
use crate::support::program::{Servers, Site, app, get, post, status, text};
use crate::support::redis::Redis;
use crate::support::topologies::Cluster;

const PASSWORD: &str = "THE-PASSWORD7";

/// Settings of a fleet whose Redis is at this URL.
fn site(servers: &Servers, redis_url: &str, more: &str) -> Site {
    let settings = servers.settings(&format!("{more}\n{}", app(APP, SECRET)));
    Site::with(&settings.replace(&servers.redis.url(), redis_url))
}

/// Knows neither HELLO nor CLIENT nor users, as Redis 5, and wants the password.
fn as_redis_5(command: &[String]) -> Option<String> {
    match (command[0].to_ascii_uppercase().as_str(), &command[1..]) {
        ("HELLO" | "CLIENT", _) => Some(unknown(command)),
        ("AUTH", [password]) if password == PASSWORD => Some("+OK\r\n".into()),
        ("AUTH", [_]) => Some("-ERR invalid password\r\n".into()),
        ("AUTH", _) => Some("-ERR wrong number of arguments for 'auth' command\r\n".into()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_does_not_know_hello_serves_and_its_password_is_in_no_log() {
    for user in ["", "default", "someone"] {
        let servers = Servers::start();
        let odd = OddRedis::in_front_of(servers.redis.port(), as_redis_5);
        let url = format!("redis://{user}:{PASSWORD}@127.0.0.1:{}", odd.port());
        let external = format!(
            "log.filter = \"trace\"\n[[apps]]\nappid = \"{SISTER}\"\ntoken = \"external\"\nexternal.preset = \"wxjava\"\n\
             external.redis_url = \"{url}\""
        );
        let site = site(&servers, &url, &external);
        let _running = (site.simulator(), site.worker());
        let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &json!({"appid": APP})).await;
        let code = minted["code"].as_str().expect("a code");
        let ended = block_in_place(|| site.run(&["login", code, "--appid", APP]));
        assert_eq!(ended.code, Some(0), "{user}: {}", ended.stderr);
        servers.redis.cli(&["SET", &format!("wa:access_token:{SISTER}"), "92_foreign-token"]);
        let shown = block_in_place(|| site.run(&["token", "show", "--json", "--app", SISTER]));
        assert!(shown.stdout.contains("\"valid\":true"), "{user}: {}{}", shown.stdout, shown.stderr);
        let said = format!("{}{}{}{}", site.logs(), ended.stderr, shown.stdout, shown.stderr);
        assert!(said.contains("Redis is connected") && !said.contains(PASSWORD), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_server_answers_with_the_arguments_no_password_is_said() {
    let servers = Servers::start();
    let echo = |command: &[String]| -> Option<String> {
        let quoted: Vec<_> = command[1..].iter().map(|argument| format!("'{argument}'")).collect();
        let args = quoted.join(" ");
        Some(match command[0].to_ascii_uppercase().as_str() {
            "AUTH" => format!("-ERR bad command 'AUTH' {args} {} at once\r\n", command[1..].join(" ")),
            name => format!("-ERR unknown command '{name}', with args beginning with: {args}\r\n"),
        })
    };
    let odd = OddRedis::in_front_of(servers.redis.port(), echo);
    for scheme in ["redis", "redis+cluster"] {
        let url = format!("{scheme}://me:{PASSWORD}@127.0.0.1:{}", odd.port());
        let external = format!(
            "log.filter = \"trace\"\n[[apps]]\nappid = \"{SISTER}\"\ntoken = \"external\"\nexternal.preset = \"wxjava\"\n\
             external.redis_url = \"{url}\""
        );
        let own = site(&servers, &url, "log.filter = \"trace\"");
        let mut gateway = own.gateway();
        eventually("the fault is logged", async || gateway.said().contains("no Redis")).await;
        let shown = block_in_place(|| own.run(&["token", "show"]));
        assert_eq!(shown.code, Some(1), "{}", shown.stderr);
        assert!(shown.stderr.contains("not connected: "), "{}", shown.stderr);
        let others = site(&servers, &servers.redis.url(), &external);
        let of_others = block_in_place(|| others.run(&["token", "show", "--app", SISTER]));
        assert!(of_others.stdout.contains("cannot be read"), "{}{}", of_others.stdout, of_others.stderr);
        gateway.terminate();
        let said = format!("{}{}{}{}", own.logs(), shown.stderr, of_others.stdout, of_others.stderr);
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

/// Refuses a command on keys of several slots, as a proxy or a node of a cluster does.
fn refuses_several(command: &[String]) -> Option<String> {
    let tags: Vec<_> = command[1..].iter().map(|key| key.split(['{', '}']).nth(1)).collect();
    let apart = command[0].eq_ignore_ascii_case("MGET") && tags.iter().any(|tag| *tag != tags[0]);
    apart.then(|| "-CROSSSLOT Keys in request don't hash to the same slot\r\n".into())
}

#[tokio::test]
async fn callers_that_wait_have_their_results_where_no_command_may_name_several_keys() {
    let plan = Plan::on(Ground::RabbitAndRedis);
    let redis = Redis::start();
    let odd = OddRedis::in_front_of(redis.port(), refuses_several);
    let fleet = Plan { store: Some(settings_at(&odd.url())), ..plan }.start().await;
    assert_eq!(status(&format!("{}/readyz", fleet.url)).await, 200);
    let requests: Vec<_> = (0..20).map(|_| request(&fleet.tap().code)).collect();
    let waiting = requests.iter().map(|request| {
        let url = format!("{}/v1/logins/{}?wait=20", fleet.url, request.request_id);
        async move { status(&url).await }
    });
    let publishing = async {
        for request in &requests {
            fleet.publish(request).await;
        }
    };
    let (answered, ()) = tokio::join!(futures_util::future::join_all(waiting), publishing);
    assert_eq!(answered, [200; 20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_on_several_keys_that_is_refused_is_logged_once() {
    let servers = Servers::start();
    let odd = OddRedis::in_front_of(servers.redis.port(), refuses_several);
    let site = site(&servers, &odd.url(), "");
    let gateway = site.gateway();
    let line = "each key is read by itself from now on";
    eventually("it is logged", async || gateway.said().contains(line)).await;
    for _ in 0..3 {
        assert_eq!(status(&format!("{}/readyz", servers.gateway_url())).await, 200);
    }
    assert_eq!(gateway.said().matches(line).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_scripts_on_two_keys_is_told_to_be_of_no_use() {
    let servers = Servers::start();
    let odd = OddRedis::in_front_of(servers.redis.port(), |command| {
        let is_script = command[0].to_ascii_uppercase().starts_with("EVAL");
        let refuses = is_script && command[2] != "1";
        refuses.then(|| "-ERR CROSSSLOT all keys of a script must be in the same slot\r\n".into())
    });
    let site = site(&servers, &odd.url(), "");
    let ops = format!("127.0.0.1:{}", free_port());
    let worker = site.worker_with(&[("QUICKLOGIN__OPS__LISTEN", &ops)]);
    eventually("the log says so", async || worker.said().contains("ignores hash tags")).await;
    let ready = get(&format!("http://{ops}/readyz")).await;
    assert!(ready["detail"].as_str().is_some_and(|detail| detail.contains("ignores hash tags")), "{ready}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_is_named_as_one_redis_is_told_to_be_one() {
    let servers = Servers::start();
    let cluster = block_in_place(Cluster::shared);
    let site = site(&servers, &cluster.nodes[0].url(), "redis.prefix = \"one\"");
    let gateway = site.gateway();
    eventually("the log says so", async || gateway.said().contains("write redis+cluster://")).await;
    let ready = get(&format!("{}/readyz", servers.gateway_url())).await;
    assert_eq!((&ready["ready"], &ready["missing"]), (&json!(false), &json!(["store"])));
    assert!(ready["detail"].as_str().is_some_and(|detail| detail.contains("redis+cluster://")), "{ready}");
}

/// As the page on operating has them.
const LEAST_OF_GATEWAY: &str = "+ping +time +info +config|get +get +mget +set +exists +pttl +pexpire +eval +evalsha";
const LEAST_OF_WORKER: &str = "+ping +time +info +config|get +get +mget +set +exists +del +pttl +pexpire +eval \
     +evalsha +hget +hmget +hset +zadd +zcard +zcount +zrange +zremrangebyscore";

/// Whom the rules are for, the process, and the rules.
fn set_user(servers: &Servers, user: &str, rules: &str) {
    let rules: Vec<_> = rules.split_whitespace().filter(|rule| !rule.is_empty()).collect();
    let user = ["ACL", "SETUSER", user, "reset", "on", ">secret-of-user", "~quicklogin:*"];
    assert_eq!(servers.redis.cli(&[&user, rules.as_slice()].concat()), "OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_rights_that_the_documents_name_are_enough_and_each_that_is_missing_is_named() {
    let page = include_str!("../../docs/operating.md").replace("\\|", "|");
    for rules in [LEAST_OF_GATEWAY, LEAST_OF_WORKER] {
        assert!(page.contains(rules), "{rules}");
    }
    let servers = Servers::start();
    set_user(&servers, "gateway", LEAST_OF_GATEWAY);
    set_user(&servers, "worker", LEAST_OF_WORKER);
    let of = |user: &str| format!("redis://{user}:secret-of-user@127.0.0.1:{}", servers.redis.port());
    let ops = format!("127.0.0.1:{}", free_port());
    let gateway_site = site(&servers, &of("gateway"), "");
    let worker_site = site(&servers, &of("worker"), "");
    let _simulator = worker_site.simulator();
    let worker = worker_site.worker_with(&[("QUICKLOGIN__OPS__LISTEN", &ops)]);
    let gateway = gateway_site.gateway();
    let (of_gateway, of_worker) = (format!("{}/readyz", servers.gateway_url()), format!("http://{ops}/readyz"));
    for url in [&of_gateway, &of_worker] {
        eventually("it is ready", async || status(url).await == 200).await;
    }
    let minted = post(&format!("{}/sim/codes", servers.simulator_url()), &json!({"appid": APP})).await;
    let pending = post(&format!("{}/v1/logins", servers.gateway_url()), &json!({"code": minted["code"]})).await;
    let result_url = format!("{}{}?wait=20", servers.gateway_url(), pending["result_url"].as_str().expect("a URL"));
    assert_eq!(get(&result_url).await["status"], "succeeded");
    eventually("the worker's heartbeat is there", async || servers.redis.keys("quicklogin:worker:*").len() == 1).await;
    let denied = servers.redis.cli(&["ACL", "LOG"]);
    assert_eq!(denied.trim(), "", "nothing was denied");

    for (user, url, rules, names) in [
        ("gateway", &of_gateway, LEAST_OF_GATEWAY, &["eval", "evalsha", "mget", "set", "exists", "get"][..]),
        ("worker", &of_worker, LEAST_OF_WORKER, &["evalsha", "set", "mget", "del", "hset", "hmget", "zadd", "zcount"]),
    ] {
        for name in names {
            let narrower = rules.split_whitespace().filter(|rule| rule[1..] != **name).collect::<Vec<_>>().join(" ");
            set_user(&servers, user, &narrower);
            let mut ready = get(url).await;
            // The script is known already.
            if *name == "eval" {
                servers.redis.cli(&["SCRIPT", "FLUSH"]);
                ready = get(url).await;
            }
            assert_eq!(ready["missing"], json!(["store"]), "{user} without {name}: {ready}");
            let detail = ready["detail"].as_str().unwrap_or_default().to_ascii_lowercase();
            assert!(detail.contains(name), "{user} without {name}: {ready}");
            set_user(&servers, user, rules);
        }
        servers.redis.cli(&["ACL", "SETUSER", user, "resetkeys", "~quicklogin:result:*"]);
        let ready = get(url).await;
        let detail = ready["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("keys quicklogin:") || detail.contains("keys like quicklogin:"), "{user}: {ready}");
        set_user(&servers, user, rules);
    }
    servers.redis.cli(&["ACL", "SETUSER", "gateway", "-evalsha", "-eval"]);
    eventually("the log says so unasked", async || gateway.said().contains("does not let this process do all")).await;
    let tap = json!({"code": format!("c{}", clock::now_ms())});
    let refused = post(&format!("{}/v1/logins", servers.gateway_url()), &tap).await;
    assert_eq!(refused["status"], 503);
    assert!(gateway.said().contains("NOPERM") && !gateway.said().contains("secret-of-user"), "{}", gateway.said());
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_an_hour_off_is_logged_with_its_direction_and_measured() {
    for (by_s, words) in [(3600_i64, "behind the clock of Redis"), (-3600, "ahead of the clock of Redis")] {
        let servers = Servers::start();
        let odd = OddRedis::in_front_of(servers.redis.port(), move |command| {
            let seconds = (clock::now_ms() / 1000) as i64 + by_s;
            let is_time = command[0].eq_ignore_ascii_case("TIME");
            is_time.then(|| format!("*2\r\n${}\r\n{seconds}\r\n$1\r\n0\r\n", seconds.to_string().len()))
        });
        let site = site(&servers, &odd.url(), "");
        let gateway = site.gateway();
        eventually("it is logged", async || gateway.said().contains(words)).await;
        let metrics = text(&format!("{}/metrics", servers.gateway_url())).await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("quicklogin_clock_ahead_seconds "));
        let ahead_s: f64 = line.expect("a gauge").parse().expect("a number");
        assert!((ahead_s + by_s as f64).abs() < 10.0, "{ahead_s}");
        assert_eq!(status(&format!("{}/readyz", servers.gateway_url())).await, 200, "it serves all the same");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_may_delete_keys_is_warned_of_even_if_it_does_not_tell_its_settings() {
    for denied in ["none", "CONFIG", "INFO"] {
        let servers = Servers::start();
        servers.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        servers.redis.cli(&["CONFIG", "SET", "maxmemory", "4mb"]);
        let odd = OddRedis::in_front_of(servers.redis.port(), move |command| {
            command[0].eq_ignore_ascii_case(denied).then(|| "-NOPERM no permissions\r\n".into())
        });
        let site = site(&servers, &odd.url(), "");
        let gateway = site.gateway();
        let words = "maxmemory-policy allkeys-lru";
        eventually("it is warned of", async || gateway.said().contains(words)).await;
        assert!(gateway.said().contains("set maxmemory-policy to noeviction"));
    }
    let servers = Servers::start();
    let gateway = site(&servers, &servers.redis.url(), "");
    let gateway = (gateway.gateway(), gateway);
    eventually("it has looked", async || servers.redis.calls_of("info") > 0).await;
    eventually("it is ready", async || status(&format!("{}/readyz", servers.gateway_url())).await == 200).await;
    assert!(!gateway.0.said().contains("maxmemory-policy"), "{}", gateway.0.said());
}
