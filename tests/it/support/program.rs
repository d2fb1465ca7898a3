//! The program itself, as an operator starts it: a settings file, a command, what it says, how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Process, folder, free_port, output_of};
use crate::support::rabbit::{Broker, Vhost};
use crate::support::redis::Redis;

const QUICKLOGIN: &str = env!("CARGO_BIN_EXE_quicklogin");
/// A process is up, or down, in this time, on a busy machine too.
const SOON: Duration = Duration::from_secs(60);
/// What a gateway says that can be asked, also one that is served with all else.
pub(crate) const LISTENING: &str = "quicklogin gateway: listening on";

/// A folder with settings, and the processes that were started from it.
pub(crate) struct Site {
    folder: TempDir,
    started: AtomicUsize,
}

/// What a command that has ended said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Site {
    /// A site with these settings.
    pub(crate) fn with(settings: &str) -> Self {
        let site = Self { folder: folder("site"), started: AtomicUsize::new(0) };
        site.change(settings);
        site
    }

    /// Replaces the settings; who runs already reads them when told to.
    pub(crate) fn change(&self, settings: &str) {
        fs::write(self.path().join("quicklogin.toml"), settings).expect("the folder is ours to write");
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(QUICKLOGIN);
        command.current_dir(self.path()).arg("--config").arg("quicklogin.toml").args(arguments).env_clear();
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[])
    }

    /// Runs a command to its end, with these variables.
    pub(crate) fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        let (out, err) = (self.path().join("stdout"), self.path().join("stderr"));
        let file = |path: &Path| fs::File::create(path).expect("the folder is ours to write");
        let mut process = Process::spawn_into("quicklogin", command, file(&out), file(&err), &err);
        let status =
            process.end_within(SOON).unwrap_or_else(|| panic!("{arguments:?} ends; it said {}", process.said()));
        let read = |path: PathBuf| fs::read_to_string(path).expect("it said text");
        Ended { code: status.code(), stdout: read(out), stderr: read(err) }
    }

    /// Runs a command to its end, with its data written here; `stdout` of what it said is empty.
    pub(crate) fn run_into(&self, arguments: &[&str], stdout: fs::File) -> Ended {
        let err = self.path().join("stderr");
        let errors = fs::File::create(&err).expect("the folder is ours to write");
        let mut process = Process::spawn_into("quicklogin", self.command(arguments), stdout, errors, &err);
        let status =
            process.end_within(SOON).unwrap_or_else(|| panic!("{arguments:?} ends; it said {}", process.said()));
        Ended { code: status.code(), stdout: String::new(), stderr: process.said() }
    }

    /// Starts a command that writes here.
    pub(crate) fn start_into(&self, arguments: &[&str], stdout: fs::File, stderr: fs::File) -> Process {
        self.start_into_with(arguments, &[], stdout, stderr)
    }

    /// The same, with these variables.
    pub(crate) fn start_into_with(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
        stdout: fs::File,
        stderr: fs::File,
    ) -> Process {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        Process::spawn_into("quicklogin", command, stdout, stderr, &self.path().join("none"))
    }

    /// Runs a command that succeeds, with this on its standard input, and answers its output.
    pub(crate) fn output_of(&self, arguments: &[&str], input: &str) -> String {
        output_of(self.command(arguments), input)
    }

    /// Starts a command and waits until it has said `ready`.
    pub(crate) fn start(&self, arguments: &[&str], ready: &str) -> Process {
        self.start_with(arguments, &[], ready)
    }

    /// The same, with these variables.
    pub(crate) fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)], ready: &str) -> Process {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        self.spawn(command, arguments, ready)
    }

    fn spawn(&self, command: Command, arguments: &[&str], ready: &str) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.path().join(format!("{}-{number}.log", arguments[0]));
        let mut process = Process::spawn("quicklogin", command, &log);
        let is_ready = || fs::read_to_string(&log).is_ok_and(|said| said.contains(ready));
        process.ready_within(SOON, is_ready).unwrap_or_else(|error| panic!("{error}"));
        process
    }

    /// The same, with at most so many descriptors, whatever the limit of the tests is.
    pub(crate) fn start_with_descriptors(&self, descriptors: u32, arguments: &[&str], ready: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        let line = format!("ulimit -n {descriptors} && exec \"$0\" --config quicklogin.toml \"$@\"");
        command.current_dir(self.path()).env_clear().arg("-c").arg(line).arg(QUICKLOGIN).args(arguments);
        self.spawn(command, arguments, ready)
    }

    /// A worker, when it is consuming.
    pub(crate) fn worker(&self) -> Process {
        self.worker_with(&[])
    }

    /// The same, with these variables.
    pub(crate) fn worker_with(&self, variables: &[(&str, &str)]) -> Process {
        self.start_with(&["worker"], variables, "quicklogin worker: consuming")
    }

    /// A gateway, when it is listening.
    pub(crate) fn gateway(&self) -> Process {
        self.start(&["gateway"], LISTENING)
    }

    /// A simulator, when it knows its apps.
    pub(crate) fn simulator(&self) -> Process {
        self.start(&["simulate"], "quicklogin simulator: a WeChat for")
    }

    /// All that was said by all that was started.
    pub(crate) fn logs(&self) -> String {
        self.log_files().iter().map(|path| fs::read_to_string(path).expect("a log is text")).collect()
    }

    /// Where that is written, process by process.
    pub(crate) fn log_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).expect("the folder is ours");
        let logs = entries.map(|entry| entry.expect("an entry").path());
        logs.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect()
    }
}

/// The servers and ports of a fleet of processes.
pub(crate) struct Servers {
    pub(crate) vhost: Vhost,
    pub(crate) redis: Redis,
    pub(crate) wechat_port: u16,
    pub(crate) gateway_port: u16,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let (vhost, redis) = (Broker::shared().vhost(), Redis::start());
        Self { vhost, redis, wechat_port: free_port(), gateway_port: free_port() }
    }

    /// Settings for this fleet; `more` is appended as it is.
    pub(crate) fn settings(&self, more: &str) -> String {
        let Self { vhost, redis, wechat_port, gateway_port } = self;
        format!(
            "rabbitmq.url = \"{}\"\nredis.url = \"{}\"\nops.listen = \"127.0.0.1:0\"\n\
             gateway.listen = \"127.0.0.1:{gateway_port}\"\nsimulator.listen = \"127.0.0.1:{wechat_port}\"\n\
             wechat.base_url = \"http://127.0.0.1:{wechat_port}\"\n{more}\n",
            vhost.url(),
            redis.url(),
        )
    }

    pub(crate) fn gateway_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway_port)
    }

    pub(crate) fn simulator_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.wechat_port)
    }
}

/// Settings of an app.
pub(crate) fn app(appid: &str, secret: &str) -> String {
    format!("[[apps]]\nappid = \"{appid}\"\nsecret = \"{secret}\"\n")
}

/// What is answered, as JSON; null where it is none.
pub(crate) async fn post(url: &str, body: &Value) -> Value {
    let client = Client::builder().no_proxy().build().expect("a client");
    let request = client.post(url).header("content-type", "application/json").body(body.to_string());
    let text = request.send().await.expect("an answer").bytes().await.expect("a body");
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

/// The same, without a body.
pub(crate) async fn get(url: &str) -> Value {
    let client = Client::builder().no_proxy().build().expect("a client");
    let text = client.get(url).send().await.expect("an answer").bytes().await.expect("a body");
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

/// What is answered, as it is.
pub(crate) async fn text(url: &str) -> String {
    let client = Client::builder().no_proxy().build().expect("a client");
    client.get(url).send().await.expect("an answer").text().await.expect("text")
}

/// The HTTP status of an answer.
pub(crate) async fn status(url: &str) -> u16 {
    status_of(url).await.expect("an answer")
}

/// The status of what is answered; none where nothing is.
pub(crate) async fn status_of(url: &str) -> Option<u16> {
    let client = Client::builder().no_proxy().build().expect("a client");
    Some(client.get(url).send().await.ok()?.status().as_u16())
}
