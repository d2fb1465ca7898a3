//! Connections that cannot be made: what an operator can do about it, and whether it is this machine's fault.

use std::error::Error;
use std::io;

use crate::fd_limit;

const OUT_OF_DESCRIPTORS: &str = "out of file descriptors";

/// Texts of errors of the system, TLS, RabbitMQ and Redis, and what to do; the first that is found counts. The libraries
/// wrap these errors in types of their own, but keep the texts.
const HINTS: [(&[&str], &str); 20] = [
    (
        &["(os error 24)", "(os error 23)", OUT_OF_DESCRIPTORS],
        "raise the limit of open files (LimitNOFILE= of systemd, --ulimit nofile of Docker, ulimit -n)",
    ),
    (
        &["(os error 99)", "local address or port"],
        "too many connections from this machine to one address, or none of its own addresses fits: see net.ipv4.ip_local_port_range, and IPv6",
    ),
    (&["(os error 12)", "(os error 105)", "out of memory"], "give this machine or container more memory"),
    (
        &["Login was refused"],
        "check user and password in the URL; RabbitMQ accepts the user guest from its own machine only",
    ),
    (&["WRONGPASS", "NOAUTH", "AuthenticationFailed"], "check user and password in the URL"),
    (&["NOPERM"], "grant the Redis user the commands and keys that docs/operating.md lists (ACL SETUSER)"),
    (
        &["ACCESS_REFUSED"],
        "the user lacks a permission; in RabbitMQ grant configure, write and read (rabbitmqctl set_permissions), or declare the queues yourself and set rabbitmq.declare = false",
    ),
    (&["NOT_FOUND"], "declare it, or set rabbitmq.declare = true"),
    (
        &["connection limit", "maximum allowed", "maximum number of channels"],
        "raise the limit on connections or channels of this RabbitMQ user, vhost or node",
    ),
    (
        &["vhost"],
        "check the vhost at the end of rabbitmq.url and the user's permissions there: rabbitmqctl list_vhosts, rabbitmqctl list_permissions -p VHOST",
    ),
    (
        &["UnknownIssuer", "SelfSigned", "CaUsedAsEndEntity"],
        "the certificate's issuer is not trusted: set SSL_CERT_FILE to a PEM file with the CA's certificate, or add that to the system's certificates",
    ),
    (
        &["not valid for name", "NotValidForName"],
        "the certificate is for another name: use the host name that it is for",
    ),
    (&["certificate expired", "Expired", "NotValidYet"], "renew the server's certificate, and check the clocks"),
    (&["invalid peer certificate"], "check the server's certificate"),
    (
        &["CA certificate", "read PEM", "opening directory", "valid certificates"],
        "check SSL_CERT_FILE and SSL_CERT_DIR: PEM files with CA certificates",
    ),
    (
        &["InvalidContentType", "corrupt message"],
        "the port does not speak TLS: use the TLS port, or amqp:// or redis:// without TLS",
    ),
    (&["lookup address"], "check the host name in the URL, and the name service of this machine"),
    (&["Connection refused"], "check that the server runs, and host and port in the URL"),
    (
        &[
            "failed to parse",
            "Parse error",
            "end of file",
            "UnexpectedEof",
            "eof",
            "reset by peer",
            "Broken pipe",
            "broken pipe",
            "disconnected",
            "dropped",
        ],
        "check whether the port expects TLS (amqps://, rediss://) or not; else see the server's log",
    ),
    (
        &["timed out", "timeout"],
        "check host and port, firewalls, the load of the server, and whether the port expects TLS (amqps://, rediss://) or not",
    ),
];

/// What to do about an error with this text.
pub(crate) fn hint(error: &str) -> &'static str {
    let found = HINTS.iter().find(|(texts, _)| texts.iter().any(|text| error.contains(text)));
    found.map_or("see the server's log", |(_, hint)| hint)
}

/// What this machine lacks, if that is why a connection could not be made: it says nothing of the server then.
pub(crate) fn local(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let codes = chain(error).filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error());
    let mut is_of_system = false;
    for code in codes {
        is_of_system = true;
        if let Some(lack) = lack(code) {
            return Some(lack);
        }
    }
    // The resolver does not say why it could not ask.
    let looked_up = || chain(error).any(|error| error.to_string().contains("lookup address"));
    (!is_of_system && looked_up() && fd_limit::is_exhausted()).then_some(OUT_OF_DESCRIPTORS)
}

/// The same, of an error that is no longer at hand.
pub(crate) fn is_local_text(error: &str) -> bool {
    let code = error.rsplit_once("(os error ").and_then(|(_, rest)| rest.split_once(')')?.0.parse().ok());
    code.is_some_and(|code| lack(code).is_some())
}

fn lack(code: i32) -> Option<&'static str> {
    match code {
        libc::EMFILE | libc::ENFILE => Some(OUT_OF_DESCRIPTORS),
        libc::EADDRNOTAVAIL => Some("no local address or port is left"),
        libc::ENOBUFS | libc::ENOMEM => Some("the system is out of memory"),
        _ => None,
    }
}

/// The error and all that caused it. An `io::Error` leaves out what it was made of, so that is looked at too.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| deeper(*error))
}

fn deeper<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_told_from_what_the_server_does() {
        let of_system = io::Error::from_raw_os_error;
        let wrapped = io::Error::other(io::Error::other(of_system(libc::EMFILE)));
        assert_eq!(local(&wrapped), Some(OUT_OF_DESCRIPTORS), "however deep it is");
        for code in [libc::EMFILE, libc::ENFILE, libc::EADDRNOTAVAIL, libc::ENOBUFS, libc::ENOMEM] {
            assert!(local(&of_system(code)).is_some(), "{code}");
            assert!(is_local_text(&format!("a file: {}", of_system(code))), "{code}");
        }
        for code in [libc::ECONNREFUSED, libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ECONNRESET] {
            assert_eq!(local(&of_system(code)), None, "{code}");
            assert!(!is_local_text(&of_system(code).to_string()), "{code}");
        }
        let unknown = io::Error::other("failed to lookup address information: Name or service not known");
        assert_eq!(local(&unknown), None, "there are descriptors");
        assert!(!is_local_text("no such file"));
    }

    #[test]
    fn each_fault_has_its_hint() {
        let rows = [
            ("IO error: Too many open files (os error 24)", "LimitNOFILE"),
            ("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.", "user and password"),
            ("NOT_ALLOWED - vhost none not found", "list_vhosts"),
            ("NOT_ALLOWED - access to vhost 'v' refused for user '***'", "list_permissions"),
            (
                "NOT_ALLOWED - access to vhost 'v' refused for user '***': connection limit (1) is reached",
                "raise the limit",
            ),
            (
                "ACCESS_REFUSED - configure access to exchange 'x' in vhost 'v' refused for user '***'",
                "set_permissions",
            ),
            ("NOT_FOUND - no queue 'q' in vhost 'v'", "rabbitmq.declare = true"),
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            ("invalid peer certificate: certificate not valid for name \"b\"", "host name"),
            ("received corrupt message of type InvalidContentType", "does not speak TLS"),
            ("failed to lookup address information: Name or service not known", "name service"),
            ("Connection refused (os error 111)", "host and port"),
            ("IO error: timed out", "firewalls"),
            ("unexpected end of file", "expects TLS"),
            ("whatever else", "server's log"),
        ];
        for (error, expected) in rows {
            assert!(hint(error).contains(expected), "{error}: {}", hint(error));
        }
    }
}
