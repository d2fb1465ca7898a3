//! What `redis.url` says: one Redis, sentinels that know one, or the nodes of a cluster.
//!
//! Nothing is connected here. An error never repeats the URL, which may hold passwords.

use std::fmt::Display;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError};

use crate::secret::Secret;

const SENTINEL_PORT: u16 = 26379;
const SCHEMES: &str = "redis://, redis+sentinel:// or redis+cluster:// (with TLS, rediss://, rediss+sentinel:// or \
                       rediss+cluster://)";

/// The URL of the store cannot be used. Says why, without the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadStoreUrl(String);

/// Where Redis is.
pub(super) enum Address {
    One(ConnectionInfo),
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        /// What they call the master.
        name: String,
        /// Who we are to the master, and which database is ours.
        login: RedisConnectionInfo,
        tls: bool,
    },
    Cluster(Vec<ConnectionInfo>),
}

/// A URL of several hosts, taken apart and not yet understood.
struct Parts<'a> {
    /// What is in front of a host: `redis` or `rediss`.
    scheme: &'a str,
    /// `user:password`, or nothing.
    login: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, BadStoreUrl> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        match scheme {
            "redis" | "rediss" => {
                Parts::of(scheme, rest)?;
                Ok(Self::One(ours(info(url)?)))
            }
            "redis+sentinel" => Self::sentinels(&Parts::of("redis", rest)?),
            "rediss+sentinel" => Self::sentinels(&Parts::of("rediss", rest)?),
            "redis+cluster" => Self::cluster(&Parts::of("redis", rest)?),
            "rediss+cluster" => Self::cluster(&Parts::of("rediss", rest)?),
            _ => Err(bad(format!("must begin with {SCHEMES}"))),
        }
    }

    fn sentinels(parts: &Parts<'_>) -> Result<Self, BadStoreUrl> {
        let (name, db) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        if name.is_empty() {
            return Err(bad("does not say what the sentinels call the master: …host1,host2/NAME"));
        }
        let (mut user, mut password) = ("", "");
        for pair in parts.query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sentinel_username", value)) => user = value,
                Some(("sentinel_password", value)) => password = value,
                _ => return Err(bad("has a parameter that is neither sentinel_username nor sentinel_password")),
            }
        }
        let login = if password.is_empty() { String::new() } else { format!("{user}:{password}") };
        let sentinel = |host: &&str| {
            let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
            let host = if has_port { (*host).to_owned() } else { format!("{host}:{SENTINEL_PORT}") };
            parts.info(&login, &host, "").map(quick)
        };
        let sentinels = parts.hosts.iter().map(sentinel).collect::<Result<_, _>>()?;
        // The host is a stand-in: the sentinels say where the master is.
        let master = ours(parts.info(parts.login, "master", db)?);
        let login = master.redis_settings().clone();
        Ok(Self::Sentinels { sentinels, name: name.to_owned(), login, tls: parts.scheme == "rediss" })
    }

    fn cluster(parts: &Parts<'_>) -> Result<Self, BadStoreUrl> {
        if !parts.path.is_empty() || !parts.query.is_empty() {
            return Err(bad("ends with its hosts where it is a cluster's: a cluster has neither databases nor names"));
        }
        let node = |host: &&str| parts.info(parts.login, host, "").map(ours).map(with_user);
        Ok(Self::Cluster(parts.hosts.iter().map(node).collect::<Result<_, _>>()?))
    }

    /// What must never be printed: every user and password.
    pub(super) fn credentials(&self) -> Vec<Secret> {
        let (nodes, login) = match self {
            Self::One(one) => (std::slice::from_ref(one), None),
            Self::Sentinels { sentinels, login, .. } => (sentinels.as_slice(), Some(login)),
            Self::Cluster(nodes) => (nodes.as_slice(), None),
        };
        let logins = nodes.iter().map(ConnectionInfo::redis_settings).chain(login);
        logins.flat_map(|login| [login.username(), login.password()]).flatten().map(Secret::from).collect()
    }

    /// Hosts and ports, for people.
    pub(super) fn hosts(&self) -> String {
        let nodes = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Sentinels { sentinels: nodes, .. } | Self::Cluster(nodes) => nodes,
        };
        let shown = |node: &ConnectionInfo| match node.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            address => address.to_string(),
        };
        nodes.iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}

impl<'a> Parts<'a> {
    fn of(scheme: &'a str, rest: &'a str) -> Result<Self, BadStoreUrl> {
        let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // Else a piece of a password could pass for a host, and be told in a log.
        if after.contains(['@', '#']) {
            return Err(bad(
                "has an @ or a # after its hosts; in a password, /, ?, # and @ are written %2F, %3F, %23, %40",
            ));
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
        if hosts.contains(&"") {
            return Err(bad("has an empty host"));
        }
        let (path, query) = after.split_once('?').unwrap_or((after, ""));
        Ok(Self { scheme, login, hosts, path: path.trim_matches('/'), query })
    }

    fn info(&self, login: &str, host: &str, db: &str) -> Result<ConnectionInfo, BadStoreUrl> {
        let at = if login.is_empty() { "" } else { "@" };
        info(&format!("{}://{login}{at}{host}/{db}", self.scheme))
    }
}

fn info(url: &str) -> Result<ConnectionInfo, BadStoreUrl> {
    url.into_connection_info().map_err(BadStoreUrl::from)
}

/// As the store's own connections are. RESP2, which needs no `HELLO`: Redis 5 and many proxies do not know that command.
fn ours(info: ConnectionInfo) -> ConnectionInfo {
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    quick(info).set_redis_settings(settings)
}

/// A password without a user is the default user's. Said so, a node that needs no password takes it too.
fn with_user(info: ConnectionInfo) -> ConnectionInfo {
    let login = info.redis_settings();
    if login.password().is_none() || login.username().is_some() {
        return info;
    }
    let login = login.clone().set_username("default");
    info.set_redis_settings(login)
}

fn quick(info: ConnectionInfo) -> ConnectionInfo {
    info.set_tcp_settings(tcp())
}

pub(super) fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn bad(what: impl Display) -> BadStoreUrl {
    BadStoreUrl(format!("redis.url {what}"))
}

impl From<RedisError> for BadStoreUrl {
    /// The kind alone: the detail may repeat the URL.
    fn from(error: RedisError) -> Self {
        bad(format_args!("cannot be read: {:?}", error.kind()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        Address::parse(url).unwrap_or_else(|bad| panic!("{url}: {bad}"))
    }

    #[test]
    fn sentinels_are_named_with_the_master_they_know_and_who_we_are_to_it() {
        let url = "rediss+sentinel://me:p%40ss@one:1,[::1],two/mymaster/3?sentinel_password=s%2Fs";
        let Address::Sentinels { sentinels, name, login, tls } = parse(url) else { panic!("{url} is sentinels'") };
        let hosts: Vec<_> = sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect();
        assert_eq!(hosts, ["one:1", "::1:26379", "two:26379"]);
        assert_eq!((name.as_str(), tls), ("mymaster", true));
        assert_eq!((login.username(), login.password(), login.db()), (Some("me"), Some("p@ss"), 3));
        let theirs = sentinels[0].redis_settings();
        assert_eq!((theirs.username(), theirs.password(), theirs.db()), (None, Some("s/s"), 0));
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_nodes() {
        let url = "redis+cluster://me:pass@one:7000, two";
        let Address::Cluster(nodes) = parse(url) else { panic!("{url} is a cluster's") };
        assert_eq!(parse(url).hosts(), "one:7000, two:6379");
        assert!(nodes.iter().all(|node| node.redis_settings().password() == Some("pass")));
        assert!(matches!(parse("rediss+cluster://one"), Address::Cluster(_)));
    }

    #[test]
    fn one_redis_is_named_as_ever() {
        let Address::One(one) = parse("redis://me:pass@one:1/2") else { panic!("it is one") };
        assert_eq!((one.addr().to_string().as_str(), one.redis_settings().db()), ("one:1", 2));
        assert!(matches!(parse("rediss://one"), Address::One(_)));
        for url in ["redis://[::1]:6380", "rediss://me:pass@[::1]:6380/2", "redis+cluster://[::1]:6380"] {
            assert_eq!(parse(url).hosts(), "[::1]:6380");
        }
    }

    #[test]
    fn a_bad_url_is_told_without_repeating_it() {
        let rows = [
            ("", "must begin with redis://"),
            ("http://canary@one", "must begin with redis://"),
            ("redis+sentinel://:canary@one:1", "what the sentinels call the master"),
            ("redis+sentinel://:canary@one:1/?sentinel_password=x", "what the sentinels call the master"),
            ("redis+sentinel://one/m?password=canary", "neither sentinel_username"),
            ("redis+sentinel://one/m?sentinel_password=can@ary", "written %2F"),
            ("redis+sentinel://:canary@one/m/canary", "cannot be read"),
            ("redis+sentinel://:canary@one,,two/m", "empty host"),
            ("redis+cluster://:can/ary@one", "written %2F"),
            ("redis+cluster://:canary@one:port", "cannot be read"),
            ("redis+cluster://:canary@one/1", "neither databases nor names"),
            ("redis+cluster://", "empty host"),
            ("redis://:canary@one:port", "cannot be read"),
            ("redis://:can@ary/0@one", "written %2F"),
            ("redis://:can@ary?canary@one", "written %2F"),
            ("redis://:can@ary#canary", "written %2F"),
        ];
        for (url, expected) in rows {
            let Err(bad) = Address::parse(url) else { panic!("{url} is bad") };
            let said = bad.to_string();
            assert!(said.starts_with("redis.url ") && said.contains(expected), "{url}: {said}");
            assert!(!said.contains("canary") && !said.contains("ary@"), "{url}: {said}");
        }
    }
}
