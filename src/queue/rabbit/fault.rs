//! What an error of lapin's is about, and its text for logs.

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// The text without the user name, which RabbitMQ's own texts contain.
pub(super) fn text(error: &lapin::Error) -> String {
    without_user(&error.to_string())
}

/// RabbitMQ closed the channel because an exchange or a queue does not exist.
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    amqp(error).is_some_and(|(kind, _)| matches!(kind, AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)))
}

/// RabbitMQ closed the channel because the user lacks a permission. The connection goes on.
pub(super) fn is_refused(error: &lapin::Error) -> bool {
    amqp(error).is_some_and(|(kind, _)| matches!(kind, AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)))
}

/// RabbitMQ closed the connection because its user, or the node, may have no more channels.
pub(super) fn is_channel_limit(error: &lapin::Error) -> bool {
    amqp(error).is_some_and(|(kind, text)| {
        matches!(kind, AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)) && text.contains("channels opened")
    })
}

/// The connection ended before the message was sent; or over too many channels, and other channels ended with it.
pub(super) fn may_go_again(error: &lapin::Error) -> bool {
    is_channel_limit(error) || matches!(error.kind(), ErrorKind::InvalidConnectionState(_))
}

fn amqp(error: &lapin::Error) -> Option<(&AMQPErrorKind, &str)> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some((error.kind(), error.get_message().as_str())),
        _ => None,
    }
}

fn without_user(text: &str) -> String {
    let Some((before, rest)) = text.split_once("user '") else { return text.to_owned() };
    let after = rest.split_once('\'').map_or("", |(_, after)| after);
    format!("{before}user '***'{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_rabbitmqs_is_kept_but_for_the_user() {
        let rows = [
            (
                "NOT_ALLOWED - access to vhost 'v' refused for user 'canary'",
                "access to vhost 'v' refused for user '***'",
            ),
            ("number of channels opened for user 'canary' has reached the maximum", "for user '***' has reached the"),
            ("NOT_FOUND - no queue 'q' in vhost '/'", "no queue 'q' in vhost '/'"),
            ("for user 'canary", "for user '***'"),
        ];
        for (text, expected) in rows {
            let shown = without_user(text);
            assert!(shown.contains(expected) && !shown.contains("canary"), "{shown}");
        }
    }
}
