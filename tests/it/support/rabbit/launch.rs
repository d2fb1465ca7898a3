//! Where RabbitMQ is installed, and the commands that start one node of it in a folder of its own.
//!
//! `erl` run directly, seeing only what the server needs, is ready in half the time of the stock script. Where an
//! installation does not look as expected, the stock script it is.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::support::process::{free_port, not_installed, program};

const COOKIE: &str = "quicklogin";

/// What is on this machine.
pub(super) struct Install {
    erl: PathBuf,
    epmd: PathBuf,
    erl_call: PathBuf,
    /// `rabbitmq-server`, but not Debian's wrapper of that name, which changes the user.
    script: PathBuf,
    /// The newest folder of plugins, each a folder with its `ebin`.
    plugins: Option<PathBuf>,
}

impl Install {
    pub(super) fn find() -> Self {
        let Some(found) = Self::search() else { not_installed("RabbitMQ") };
        found
    }

    fn search() -> Option<Self> {
        let erl = program("erl")?;
        let erlang = erl.canonicalize().ok()?.parent()?.parent()?.to_owned();
        let tool = |name: &str| {
            let homes = [matching(&erlang, "erts-"), matching(&erlang.join("lib"), "erl_interface-")].concat();
            program(name).or_else(|| homes.iter().map(|home| home.join("bin").join(name)).find(|file| file.is_file()))
        };
        // The packages of Debian and Fedora, then the one archive that all others unpack.
        let packaged = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        let script = Some(packaged.to_owned()).filter(|file| file.is_file());
        let script = script.or_else(|| program("rabbitmq-server")?.canonicalize().ok())?;
        let mut homes = matching(Path::new("/usr/lib/rabbitmq/lib"), "rabbitmq_server-");
        homes.insert(0, script.parent()?.parent()?.to_owned());
        let plugins =
            homes.iter().rev().map(|home| home.join("plugins")).find(|folder| ebin(folder, "rabbit").is_some());
        Some(Self { epmd: tool("epmd")?, erl_call: tool("erl_call")?, erl, script, plugins })
    }
}

/// How a node is started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Recipe {
    /// `erl` itself, with the server's own applications and no plugin.
    Direct,
    /// RabbitMQ's script.
    Stock,
}

/// One node: its folder, its ports, and the commands that concern it.
pub(super) struct Node {
    install: Install,
    pub(super) name: String,
    folder: PathBuf,
    pub(super) port: u16,
    pub(super) epmd_port: u16,
    dist_port: u16,
}

impl Node {
    /// Writes all that a node reads into `folder`. `epmd_port`: where the nodes of one cluster find each other.
    pub(super) fn lay_out(folder: &Path, epmd_port: u16) -> Self {
        let (install, folder, port, dist_port) = (Install::find(), folder.to_owned(), free_port(), free_port());
        let node = Self { install, name: format!("quicklogin-{port}@localhost"), folder, port, epmd_port, dist_port };
        let folder = &node.folder;
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("the folder is ours to write");
        write(".erlang.cookie", COOKIE);
        fs::set_permissions(folder.join(".erlang.cookie"), PermissionsExt::from_mode(0o400)).expect("it is our file");
        write("enabled_plugins", "[].");
        write(
            "rabbitmq.config",
            &format!(
                r#"[{{rabbit, [{{tcp_listeners, [{{"127.0.0.1", {port}}}]}}, {{loopback_users, []}}, {{num_tcp_acceptors, 2}},
                    {{log, [{{file, [{{enabled, false}}]}}, {{console, [{{enabled, true}}, {{level, warning}}]}}]}},
                    {{vm_memory_high_watermark, {{absolute, 1073741824}}}}, {{disk_free_limit, 50000000}}]}}]."#
            ),
        );
        node
    }

    pub(super) fn recipes(&self) -> Vec<Recipe> {
        if self.link_libraries().is_some() { vec![Recipe::Direct, Recipe::Stock] } else { vec![Recipe::Stock] }
    }

    /// The names of nodes, in a process of ours: one that a node starts for itself would outlive it.
    pub(super) fn epmd(&self) -> Command {
        let mut command = self.command(&self.install.epmd);
        command.args(["-port", &self.epmd_port.to_string(), "-address", "127.0.0.1", "-relaxed_command_check"]);
        command
    }

    /// The node itself: with either recipe our child becomes the Erlang machine, so signals reach it.
    pub(super) fn server(&self, recipe: Recipe) -> Command {
        let program = if recipe == Recipe::Direct { &self.install.erl } else { &self.install.script };
        let mut command = self.command(program);
        command
            .envs([("ERL_MAX_PORTS", "1024"), ("ERL_MAX_ETS_TABLES", "5000"), ("ERL_CRASH_DUMP_BYTES", "0")])
            .envs([("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1"), ("RABBITMQ_LOGS", "-")])
            .env("RABBITMQ_NODENAME", &self.name)
            .envs([("RABBITMQ_CONF_ENV_FILE", "/dev/null"), ("RABBITMQ_ALLOW_INPUT", "1")])
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.folder.join("data"))
            .env("RABBITMQ_MNESIA_DIR", self.folder.join("data/node"))
            .env("RABBITMQ_LOG_BASE", self.folder.join("log"))
            .env("RABBITMQ_PID_FILE", self.folder.join("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.folder.join("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", self.folder.join("rabbitmq.config"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", self.folder.join("generated"));
        if recipe == Recipe::Direct {
            command
                .env("ERL_LIBS", self.libraries())
                .env("RABBITMQ_PLUGINS_DIR", self.libraries())
                .args("-noshell -s rabbit boot -boot start_sasl +W w".split(' '))
                .args("+sbwt none +sbwtdcpu none +sbwtdio none +stbt u +P 65536 +t 1048576".split(' '))
                .args("-syslog logger [] -syslog syslog_error_logger false".split(' '))
                .args("-kernel prevent_overlapping_partitions false".split(' '));
        }
        // The script leaves this out where input is allowed, and only there does it exec instead of staying our child.
        command.arg("-noinput");
        command
    }

    /// Evaluates what it reads inside the running node; under a name of its own, as two at once may not
    /// share one, and `-r` draws the same name for calls that start together.
    pub(super) fn erl_call(&self) -> Command {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let caller = format!("caller-{}", CALLS.fetch_add(1, Ordering::Relaxed));
        let mut command = self.command(&self.install.erl_call);
        command.args(["-h", &caller, "-name", &self.name, "-c", COOKIE, "-e"]);
        command
    }

    /// Nothing of the caller's environment: a RabbitMQ or Erlang variable of theirs would lead elsewhere.
    fn command(&self, program: &Path) -> Command {
        let erlang = self.install.erl.parent().expect("a program is in a folder").display();
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(&self.folder)
            .env("PATH", format!("{erlang}:/usr/bin:/bin:/usr/sbin:/sbin"))
            .env("LANG", "C.UTF-8")
            .env("HOME", &self.folder)
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command
    }

    fn libraries(&self) -> PathBuf {
        self.folder.join("libraries")
    }

    /// Links the server and what it asks for, and nothing else: what is not there need not be read at start.
    fn link_libraries(&self) -> Option<()> {
        let plugins = self.install.plugins.as_ref()?;
        fs::create_dir(self.libraries()).ok()?;
        // `enough` is used by cuttlefish, which does not say so.
        let mut wanted = vec!["rabbit".to_owned(), "enough".to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            // What is not among the plugins is Erlang's own.
            let Some(ebin) = ebin(plugins, &name).filter(|_| seen.insert(name.clone())) else { continue };
            wanted.extend(applications(&fs::read_to_string(ebin.join(format!("{name}.app"))).ok()?)?);
            let library = ebin.parent()?;
            symlink(library, self.libraries().join(library.file_name()?)).ok()?;
        }
        Some(())
    }
}

/// The names in `{applications, [kernel, stdlib, …]}` of an `.app` file.
fn applications(app: &str) -> Option<Vec<String>> {
    let (_, list) = app.split_once("{applications")?;
    let (list, _) = list.split_once('[')?.1.split_once(']')?;
    Some(list.split(',').map(|name| name.trim().to_owned()).collect())
}

/// `NAME-VERSION/ebin` of a library.
fn ebin(plugins: &Path, name: &str) -> Option<PathBuf> {
    let numbered = |home: &PathBuf| {
        let rest = home.file_name().and_then(|file| file.to_str()).and_then(|file| file.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with("-") && rest[1..].starts_with(|first: char| first.is_ascii_digit()))
    };
    matching(plugins, name).into_iter().find(numbered).map(|home| home.join("ebin")).filter(|ebin| ebin.is_dir())
}

/// Sorted, so that the newest version is last.
fn matching(folder: &Path, start: &str) -> Vec<PathBuf> {
    let is_named =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start));
    let mut paths: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_named).collect();
    paths.sort();
    paths
}
