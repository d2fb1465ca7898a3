//! What `rabbitmq.url` says: one or several brokers, comma-separated.
//!
//! The parser of lapin's own URIs is lenient: it takes a piece of a password for the host, and an IPv6 address for
//! localhost. Here every URL is checked before that parser reads it. An error never repeats a part of the URL, which may
//! hold a password.

use std::net::Ipv6Addr;

use lapin::uri::AMQPUri;

use crate::secret::Secret;

/// A dead broker is noticed after twice this, in seconds; the server's own default would take two minutes.
const HEARTBEAT_S: u16 = 10;
/// The smallest frame size of the protocol, in bytes.
const SMALLEST_FRAME: u32 = 4096;
const PARAMETERS: [&str; 5] = ["frame_max", "channel_max", "heartbeat", "connection_timeout", "auth_mechanism"];

/// The URL of the queue cannot be used. Says why, without the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rabbitmq.url {0}")]
pub struct BadQueueUrl(&'static str);

/// The brokers, at least one.
pub(super) fn parse(urls: &Secret) -> Result<Vec<AMQPUri>, BadQueueUrl> {
    let urls: Vec<_> = urls.expose().split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
    if urls.is_empty() {
        return Err(BadQueueUrl("is empty"));
    }
    urls.into_iter().map(broker).collect()
}

fn broker(url: &str) -> Result<AMQPUri, BadQueueUrl> {
    let bad = |what| Err(BadQueueUrl(what));
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    if !["amqp", "amqps"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return bad(
            "is not amqp:// or amqps://…; several are separated by commas, and a comma in a password is written %2C",
        );
    }
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // Else a piece of a password would pass for the host, be dialled, and be logged.
    if after.contains(['@', '#']) {
        return bad(
            "has an @ or a # after its host; in a password or a vhost, /, ?, # and @ are written %2F, %3F, %23, %40",
        );
    }
    if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return bad("has a space or a control character; written %20 and so on it can be part of a password");
    }
    if !percent_signs_are_good(rest) {
        return bad("has a % that two hexadecimal digits do not follow; in a password, % is written %25");
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (path, query) = after.split_once('?').unwrap_or((after, ""));
    if path == "/" {
        return bad("ends with a / and no vhost after it; leave the / out for the vhost /, or name the vhost");
    }
    check_parameters(query)?;
    let address = ipv6(host)?;
    let has_name = address.is_some() || host.split(':').next().is_some_and(|name| !name.is_empty());
    if !has_name {
        return bad("does not name a host");
    }
    let unreadable = |_| BadQueueUrl("cannot be read; it is amqp://USER:PASSWORD@HOST:PORT/VHOST");
    let mut uri: AMQPUri = url.parse().map_err(unreadable)?;
    if let Some(address) = address {
        // lapin's parser puts localhost in its place.
        uri.authority.host = address.to_string();
    }
    if uri.query.frame_max.is_some_and(|frame_max| frame_max != 0 && frame_max < SMALLEST_FRAME) {
        return bad("has a frame_max below 4096, the protocol's smallest");
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    Ok(uri)
}

/// Each of them known and given once: lapin's parser ignores the others, also those that would ask for more security.
fn check_parameters(query: &str) -> Result<(), BadQueueUrl> {
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, _)) = pair.split_once('=') else {
            return Err(BadQueueUrl("has a parameter without a value; in a password, ? is written %3F"));
        };
        if !PARAMETERS.contains(&name) {
            return Err(BadQueueUrl(
                "has an unknown parameter; known are frame_max, channel_max, heartbeat, connection_timeout and auth_mechanism",
            ));
        }
        if seen.contains(&name) {
            return Err(BadQueueUrl("has a parameter twice"));
        }
        seen.push(name);
    }
    Ok(())
}

/// The address in brackets, if there are any.
fn ipv6(host: &str) -> Result<Option<Ipv6Addr>, BadQueueUrl> {
    let Some(rest) = host.strip_prefix('[') else {
        // Without brackets, its last part would pass for the port.
        let is_bare = host.matches(':').count() > 1;
        return if is_bare { Err(BadQueueUrl("has an IPv6 address without [brackets]")) } else { Ok(None) };
    };
    let address = rest.split_once(']').map(|(address, _)| address).unwrap_or_default();
    if address.contains('%') {
        return Err(BadQueueUrl("has an IPv6 address with a zone; use a host name, or an address without a zone"));
    }
    address.parse().map(Some).map_err(|_| BadQueueUrl("has brackets around what is not an IPv6 address"))
}

fn percent_signs_are_good(text: &str) -> bool {
    let is_good = |after: &str| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    text.split('%').skip(1).all(is_good)
}

#[cfg(test)]
mod tests {
    use lapin::uri::AMQPScheme;

    use super::*;

    fn one(url: &str) -> AMQPUri {
        let mut uris = parse(&url.into()).unwrap_or_else(|bad| panic!("{url}: {bad}"));
        assert_eq!(uris.len(), 1, "{url}");
        uris.remove(0)
    }

    #[test]
    fn an_ipv6_address_is_the_host() {
        let rows = [
            ("amqp://[::1]:5673", "::1", 5673),
            ("amqp://me:pass@[2001:DB8::7]/vhost", "2001:db8::7", 5672),
            ("amqps://[::ffff:10.0.0.1]", "::ffff:10.0.0.1", 5671),
        ];
        for (url, host, port) in rows {
            let authority = one(url).authority;
            assert_eq!((authority.host.as_str(), authority.port), (host, port), "{url}");
        }
    }

    #[test]
    fn credentials_vhost_and_parameters_are_read_as_they_are_written() {
        let uri = one("AMQPS://m%40e:p%2F%40%3A%25%2C%3F%23:x@rabbit:1/v%2Fh?channel_max=4&heartbeat=0");
        let (user, host) = (&uri.authority.userinfo, &uri.authority.host);
        assert_eq!((user.username.as_str(), user.password.as_str(), host.as_str()), ("m@e", "p/@:%,?#:x", "rabbit"));
        assert_eq!((uri.scheme, uri.vhost.as_str()), (AMQPScheme::AMQPS, "v/h"));
        assert_eq!((uri.query.channel_max, uri.query.heartbeat), (Some(4), Some(0)));
        assert_eq!(one("amqp://rabbit").vhost, "/");
        assert_eq!(one("amqp://rabbit/%2F").vhost, "/");
        assert_eq!(one("amqp://rabbit").query.heartbeat, Some(HEARTBEAT_S));
        let uri = one("amqp://me:p@ss:w@rabbit");
        assert_eq!((uri.authority.userinfo.password.as_str(), uri.authority.host.as_str()), ("p@ss:w", "rabbit"));
        let several = parse(&"amqp://one:1, amqps://two ,".into()).expect("good URLs");
        assert_eq!(several.iter().map(|uri| uri.authority.port).collect::<Vec<_>>(), [1, 5671]);
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_a_part_of_it() {
        let rows = [
            ("", "is empty"),
            (" , ", "is empty"),
            ("http://canary@one", "is not amqp"),
            ("amqp:canary", "is not amqp"),
            ("canary", "is not amqp"),
            ("amqp://me:can,ary@one", "cannot be read"),
            ("amqp://one,me:canary@two", "is not amqp"),
            ("amqp://me:can@ary/canary@one", "written %2F"),
            ("amqp://me:12/canary@one", "written %2F"),
            ("amqp://me:can#ary@one", "written %2F"),
            ("amqp://me:can@ary#canary", "written %2F"),
            ("amqp://me:can?ary@one", "written %2F"),
            ("amqp://can/ary@one", "written %2F"),
            ("amqp://me:can%ary@one", "%25"),
            ("amqp://me:canary%@one", "%25"),
            ("amqp://me:canary%ff@one", "cannot be read"),
            ("amqp://me:can ary@one", "space"),
            ("amqp://me:can\tary@one", "space"),
            ("amqp://me:canary@", "a host"),
            ("amqp://me:canary@:5672", "a host"),
            ("amqp://", "a host"),
            ("amqp:///canary", "a host"),
            ("amqp://me:canary", "cannot be read"),
            ("amqp://me:canary@one:port", "cannot be read"),
            ("amqp://me:canary@one:99999", "cannot be read"),
            ("amqp://me:canary@one/", "no vhost"),
            ("amqp://me:canary@one/?heartbeat=1", "no vhost"),
            ("amqp://me:canary@one/v?password=canary", "unknown parameter"),
            ("amqp://me:canary@one/v?canary", "without a value"),
            ("amqp://me:canary@one?channel_max=canary", "cannot be read"),
            ("amqp://me:canary@one?channel_max=70000", "cannot be read"),
            ("amqp://me:canary@one?heartbeat=1&heartbeat=2", "twice"),
            ("amqp://me:canary@one?auth_mechanism=canary", "cannot be read"),
            ("amqp://me:canary@one?frame_max=1", "4096"),
            ("amqp://me:canary@::1:5672", "without [brackets]"),
            ("amqp://me:canary@[fe80::1%25eth0]", "a zone"),
            ("amqp://me:canary@[canary]", "not an IPv6"),
            ("amqp://me:canary@[::1", "not an IPv6"),
        ];
        for (url, expected) in rows {
            let Err(bad) = parse(&url.into()) else { panic!("{url} is bad") };
            let said = bad.to_string();
            assert!(said.starts_with("rabbitmq.url ") && said.contains(expected), "{url}: {said}");
            assert!(!said.contains("canary") && !said.contains("ary@"), "{url}: {said}");
        }
    }
}
