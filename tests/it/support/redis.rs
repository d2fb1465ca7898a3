//! A private Redis: ready in some 35 ms, so that every test has its own.
//!
//! Several of them, as a cluster or with sentinels, are in `topologies`.

use std::{
    net::Ipv4Addr,
    process::Command,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use redis::{Commands, Connection};
use tempfile::TempDir;

use super::process::{Process, folder, free_port, not_installed, output_of, program};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Redis. Its calls block for a few milliseconds.
pub(crate) struct Redis {
    // In the order of their end: the folder goes when nobody writes into it any more.
    server: Mutex<Process>,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Redis {
    /// Empty, and empty again after a restart.
    pub(crate) fn start() -> Self {
        Self::start_with(None, &[])
    }

    /// Empty, and writes every change to disk before it answers: a killed one comes back with its data.
    pub(crate) fn start_durable() -> Self {
        Self::start_with(None, &["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// With a configuration file of its own, where there is one to be.
    pub(crate) fn start_with(config: Option<&str>, arguments: &[&str]) -> Self {
        let (folder, port) = (folder("redis-"), free_port());
        let file = config.map(|config| {
            let file = folder.path().join("redis.conf");
            std::fs::write(&file, config).expect("the folder is ours to write");
            file.into_os_string().into_string().expect("cargo's folder has a plain name")
        });
        let arguments: Vec<_> =
            file.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect();
        let server = serve(port, &arguments, &folder);
        Self { server: Mutex::new(server), port, arguments, folder }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// What `redis-cli` prints, without the last line's end. Panics when Redis answers with an error.
    #[track_caller]
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program("redis-cli").unwrap_or_else(|| not_installed("Redis with redis-cli")));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-e"]).args(arguments);
        output_of(command, "").trim_end_matches('\n').to_owned()
    }

    /// The same, or nothing when Redis answers with an error.
    pub(crate) fn try_cli(&self, arguments: &[&str]) -> Option<String> {
        let mut command = redis::cmd(arguments[0]);
        command.arg(&arguments[1..]);
        command.query::<redis::Value>(&mut self.connection()).ok().map(|value| format!("{value:?}"))
    }

    /// How often this command was called so far: what a worker looks for again and again, it has looked for.
    pub(crate) fn calls_of(&self, command: &str) -> u64 {
        let told = self.cli(&["INFO", "commandstats"]);
        let calls = told.split(&format!("cmdstat_{command}:calls=")).nth(1).and_then(|calls| calls.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number"))
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.connection().get(key).expect("the key holds text")
    }

    /// In the order of the alphabet.
    pub(crate) fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.connection().keys(pattern).expect("Redis answers");
        keys.sort();
        keys
    }

    /// What is left of a key's life; none for a key that lives for ever, or is not there.
    pub(crate) fn ttl_ms(&self, key: &str) -> Option<u64> {
        let ttl_ms: i64 = redis::cmd("PTTL").arg(key).query(&mut self.connection()).expect("Redis answers");
        u64::try_from(ttl_ms).ok()
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.server().kill();
    }

    /// Starts it again on the same port, killing it first if it still runs.
    pub(crate) fn restart(&self) {
        let mut server = self.server();
        server.kill();
        *server = serve(self.port, &self.arguments, &self.folder);
    }

    /// SIGSTOP: connections stay open, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.server().freeze();
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.server().thaw();
    }

    fn server(&self) -> MutexGuard<'_, Process> {
        self.server.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn connection(&self) -> Connection {
        connect(self.port).expect("Redis runs and is not frozen")
    }
}

fn serve(port: u16, arguments: &[String], folder: &TempDir) -> Process {
    let mut command = Command::new(program("redis-server").unwrap_or_else(|| not_installed("Redis")));
    command
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", &Ipv4Addr::LOCALHOST.to_string(), "--save", ""])
        .arg("--dir")
        .arg(folder.path());
    let mut server = Process::spawn("Redis", command, &folder.path().join("redis.log"));
    let ready = || connect(port).is_ok_and(|mut connection| connection.ping::<()>().is_ok());
    server.ready_within(START_LIMIT, ready).unwrap_or_else(|error| panic!("{error}"));
    server
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

fn connect(port: u16) -> redis::RedisResult<Connection> {
    const LIMIT: Duration = Duration::from_secs(20);
    let connection = redis::Client::open(url(port))?.get_connection_with_timeout(LIMIT)?;
    connection.set_read_timeout(Some(LIMIT))?;
    Ok(connection)
}
