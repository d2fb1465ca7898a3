//! One connection to one server, logged in with commands that every Redis and every proxy knows.
//!
//! There is no `HELLO` and no `CLIENT`: Redis 5 and many proxies do not know them, and some of those repeat the password
//! in their answer or close the connection.

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError,
    RedisResult, ServerErrorKind,
};

/// A server, and who we are to it.
pub(super) struct Server {
    client: Client,
    login: RedisConnectionInfo,
}

impl Server {
    pub(super) fn new(info: ConnectionInfo) -> RedisResult<Self> {
        let login = info.redis_settings().clone();
        let bare = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        Ok(Self { client: Client::open(info.set_redis_settings(bare))?, login })
    }

    /// Connects, logs in, selects the database and looks whether commands are answered.
    pub(super) async fn dial(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.client.get_multiplexed_async_connection_with_config(config).await?;
        if let Some(password) = self.login.password() {
            log_in(&mut connection, self.login.username(), password).await?;
        }
        if self.login.db() != 0 {
            let select = command("SELECT", &[&self.login.db().to_string()]);
            select.query_async::<()>(&mut connection).await?;
        }
        match command("PING", &[]).query_async::<redis::Value>(&mut connection).await {
            // It answers, and does not let us or nobody ping it.
            Err(error) if is_denied(&error) || is_plain_error(&error) => Ok(connection),
            answer => answer.map(|_| connection),
        }
    }
}

/// A server before Redis 6 has no users, and takes the password alone.
async fn log_in(connection: &mut MultiplexedConnection, user: Option<&str>, password: &str) -> RedisResult<()> {
    let alone = command("AUTH", &[password]);
    let answer = match user {
        None => alone.query_async(connection).await,
        Some(user) => match command("AUTH", &[user, password]).query_async(connection).await {
            Err(error) if says(&error, "wrong number of arguments") => alone.query_async(connection).await,
            answer => answer,
        },
    };
    match answer {
        Err(error) if says(&error, "no password is set") || says(&error, "without any password configured") => Ok(()),
        answer => answer,
    }
}

fn command(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(arguments);
    command
}

fn says(error: &RedisError, words: &str) -> bool {
    error.detail().is_some_and(|detail| detail.to_ascii_lowercase().contains(words))
}

fn is_denied(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}

/// Not about a login that is missing, and not about a server that cannot serve now: those have a code of their own.
fn is_plain_error(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && !["auth", "not permitted"].iter().any(|words| says(error, words))
}
