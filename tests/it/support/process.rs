//! Processes that end with the tests, however these end, and the folders and ports that they live on.
//!
//! Knows neither RabbitMQ nor Redis.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU16, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::net::TcpSocket;

/// A server of ours, its output in a log file. Dropping it kills it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    frozen: bool,
}

impl Process {
    /// Appends to `log`, so that a restart keeps what came before.
    pub(crate) fn spawn(name: &'static str, command: Command, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("the folder is ours to write");
        let errors = output.try_clone().expect("a descriptor is to be had");
        Self::spawn_into(name, command, output, errors, log)
    }

    /// The same with its output in two files; `log` is the one that people want to read.
    pub(crate) fn spawn_into(name: &'static str, mut command: Command, output: File, errors: File, log: &Path) -> Self {
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = spawn(command).unwrap_or_else(|error| panic!("{name} cannot be run: {error}"));
        Self { name, child, log: log.to_owned(), frozen: false }
    }

    /// As the system knows it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready`; the error is for people, and holds what the process had to say.
    pub(crate) fn ready_within(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<(), String> {
        let mut ended = None;
        let child = &mut self.child;
        let is_ready = wait_until(limit, || {
            ended = child.try_wait().expect("it is our child");
            ended.is_some() || ready()
        });
        match ended {
            None if is_ready => return Ok(()),
            None => Err(format!("was not ready within {limit:?}")),
            Some(status) => Err(format!("ended with {status}")),
        }
        .map_err(|what: String| format!("{} (process {}) {what}; it said:\n{}", self.name, self.id(), self.said()))
    }

    /// SIGKILL, as a crash would be. Returns when it is gone and its ports are free.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// SIGSTOP: its connections stay open, and nothing answers. Returns when the last of its threads has stopped.
    pub(crate) fn freeze(&mut self) {
        signal(self.id(), libc::SIGSTOP).expect("it is our child");
        wait_until_stopped(self.id());
        self.frozen = true;
    }

    /// SIGCONT.
    pub(crate) fn thaw(&mut self) {
        signal(self.id(), libc::SIGCONT).expect("it is our child");
        self.frozen = false;
    }

    /// SIGHUP, as an operator's word that the settings have changed.
    pub(crate) fn hang_up(&mut self) {
        signal(self.id(), libc::SIGHUP).expect("it is our child");
    }

    /// SIGINT, as Ctrl-C would be.
    pub(crate) fn interrupt(&mut self) {
        signal(self.id(), libc::SIGINT).expect("it is our child");
    }

    /// SIGTERM, as an operator's stop would be.
    pub(crate) fn terminate(&mut self) {
        signal(self.id(), libc::SIGTERM).expect("it is our child");
    }

    /// How it ended, if it did within the limit.
    pub(crate) fn end_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut ended = None;
        wait_until(limit, || {
            ended = self.child.try_wait().expect("it is our child");
            ended.is_some()
        });
        ended
    }

    /// Everything that it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs, and is not frozen.
    pub(crate) fn is_awake(&mut self) -> bool {
        !self.frozen && self.child.try_wait().expect("it is our child").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

/// Runs a short command with `input`, and panics unless it succeeds within a minute.
#[track_caller]
pub(crate) fn output_of(mut command: Command, input: &str) -> String {
    const LIMIT: Duration = Duration::from_secs(60);
    let said = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command).unwrap_or_else(|error| panic!("{said} cannot be run: {error}"));
    let pid = child.id();
    // One that ends without reading tells us in its status.
    let _unread = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(LIMIT) else {
        let _gone_meanwhile = signal(pid, libc::SIGKILL);
        panic!("{said} did not end within {LIMIT:?}, given {input:?}");
    };
    let output = output.expect("its pipes can be read");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said} ended with {}, given {input:?}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Looks at a fact every 5 ms; false when `limit` is over first.
pub(crate) fn wait_until(limit: Duration, mut fact: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if fact() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Held while a child is made, and by whoever frees a port of ours: until a child becomes its program it has copies of all
/// our sockets, and what is closed here listens on there.
pub(crate) fn no_child_is_made() -> MutexGuard<'static, ()> {
    static MAKING: Mutex<()> = Mutex::new(());
    MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A port that nothing listens on and that no outgoing connection is given, so that a restarted server gets it again.
pub(crate) fn free_port() -> u16 {
    // Linux gives 32768 and up to outgoing connections. Every process starts somewhere else, and none asks twice.
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static ASKED: AtomicU16 = AtomicU16::new(0);
    let _alone = no_child_is_made();
    let start = (std::process::id() * 61 % u32::from(COUNT)) as u16;
    (0..COUNT)
        .map(|_| FIRST + (start + ASKED.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
        .find(|port| is_free(*port))
        .expect("one port of 20000 is free")
}

/// Whether nobody has it, not even bound without listening, as a road that is shut has: std would look past that.
fn is_free(port: u16) -> bool {
    TcpSocket::new_v4().and_then(|socket| socket.bind((Ipv4Addr::LOCALHOST, port).into())).is_ok()
}

/// A temporary folder in cargo's own; what tests killed outright have left there goes with the next start.
pub(crate) fn folder(name: &str) -> TempDir {
    static OURS: OnceLock<PathBuf> = OnceLock::new();
    let ours = OURS.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
        sweep(all);
        let ours = all.join(format!("it-{}", std::process::id()));
        fs::create_dir_all(&ours).expect("cargo's folder for tests can be written");
        ours
    });
    tempfile::Builder::new().prefix(name).tempdir_in(ours).expect("cargo's folder for tests can be written")
}

fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let owner = entry.file_name().to_str().and_then(|name| name.strip_prefix("it-")?.parse::<u32>().ok());
        // A folder of our own number is older than we are.
        if owner.is_some_and(|pid| pid == std::process::id() || !is_alive(pid)) {
            let _next_time = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_alive(pid: u32) -> bool {
    signal(pid, 0).map_or_else(|error| error.raw_os_error() != Some(libc::ESRCH), |()| true)
}

/// Where `name` is installed: on the PATH, or where systems put what only root runs.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let homes = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/opt/homebrew/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(homes).map(|home| home.join(name)).find(|file| file.is_file())
}

/// The end of a test that needs a program which is not here.
#[track_caller]
pub(crate) fn not_installed(what: &str) -> ! {
    panic!(
        "these tests run against a real {what}, and none is installed here.\nhint: run ./scripts/test, which installs \
         it, or install it yourself: apt-get install rabbitmq-server redis-server; brew install rabbitmq redis"
    )
}

/// Spawns from one thread that lives as long as we do: Linux sends the parent's death when the *thread* dies that
/// spawned, and the thread of a test dies with its test.
fn spawn(mut command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                let _making = no_child_is_made();
                // Returns when the child has become its program.
                let _nobody_waits = reply.send(command.spawn());
            }
        });
        orders
    });
    end_with_us(&mut command);
    let (reply, child) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawner never ends");
    child.recv().expect("the spawner answers every order")
}

/// SIGKILL for the child when we die, of whatever cause. Elsewhere than on Linux only `Drop` ends it.
#[cfg(target_os = "linux")]
fn end_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let us = std::process::id();
    let ask = move || {
        #[expect(unsafe_code, reason = "std has no word for it; both calls are async-signal-safe and touch no memory")]
        let (refused, parent) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0, libc::getppid()) };
        // Had we died before the request, nothing would ever come of it.
        let orphaned = u32::try_from(parent) != Ok(us);
        if refused || orphaned { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    };
    #[expect(unsafe_code, reason = "between fork and exec: allocates nothing, locks nothing")]
    unsafe {
        command.pre_exec(ask);
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_command: &mut Command) {}

fn wait_until_stopped(pid: u32) {
    #[expect(unsafe_code, reason = "std has no word for a child that has stopped; the memory is a local of ours")]
    unsafe {
        let mut stopped = std::mem::zeroed();
        libc::waitid(libc::P_PID, pid, &raw mut stopped, libc::WSTOPPED | libc::WNOWAIT);
    }
}

fn signal(pid: u32, number: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).expect("the system gave us this pid");
    #[expect(unsafe_code, reason = "std sends SIGKILL only; kill(2) touches no memory")]
    let status = unsafe { libc::kill(pid, number) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
