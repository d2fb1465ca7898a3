//! A private RabbitMQ: on ports of its own, in a temporary folder, gone when the tests are.
//!
//! One for all tests, a vhost for each ([`Broker::shared`]), or one for a test that hurts it ([`Broker::start`]).
//! A cluster of three is [`Broker::start_cluster`].

mod cluster;
mod launch;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use self::launch::{Node, Recipe};
use super::process::{Process, folder, free_port, output_of};

const START_LIMIT: Duration = Duration::from_secs(120);

/// A running RabbitMQ. Its calls block for some milliseconds, its start for some seconds.
pub(crate) struct Broker {
    // In the order of their end: the folder goes when nobody writes into it any more.
    server: Mutex<Process>,
    /// None: another node's.
    _epmd: Option<Process>,
    node: Node,
    recipe: Recipe,
    vhosts: AtomicU32,
    folder: TempDir,
}

/// A part of a broker that shares nothing with the others: queues, exchanges, policies, connections.
#[derive(Clone, Debug)]
pub(crate) struct Vhost {
    name: String,
    url: String,
    port: u16,
}

impl Vhost {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// With user and password; without a heartbeat or any other setting.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The same by way of another port.
    pub(crate) fn url_at(&self, port: u16) -> String {
        format!("amqp://guest:guest@127.0.0.1:{port}/{}", self.name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// What is in a queue at this moment, and how many consume it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) ready: u64,
    pub(crate) unacked: u64,
    pub(crate) consumers: u64,
}

/// Why RabbitMQ takes no more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alarm {
    Memory,
    Disk,
}

impl Broker {
    /// The broker of this test binary, started by the first who asks. Leave it whole: others are using it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Where the shared one listens.
    pub(crate) fn shared_port() -> u16 {
        Self::shared().node.port
    }

    /// A broker for one test, to be killed, frozen and alarmed.
    pub(crate) fn start() -> Self {
        let folder = folder("rabbit-");
        let node = Node::lay_out(folder.path(), free_port());
        let mut epmd = Process::spawn("epmd", node.epmd(), &folder.path().join("epmd.log"));
        let ready = || TcpStream::connect((Ipv4Addr::LOCALHOST, node.epmd_port)).is_ok();
        epmd.ready_within(START_LIMIT, ready).unwrap_or_else(|error| panic!("{error}"));
        Self::start_node(node, Some(epmd), folder)
    }

    fn start_node(node: Node, epmd: Option<Process>, folder: TempDir) -> Self {
        let mut complaints = String::new();
        for recipe in node.recipes() {
            match serve(&node, recipe, &folder) {
                Ok(server) => {
                    let server = Mutex::new(server);
                    return Self { server, _epmd: epmd, node, recipe, vhosts: AtomicU32::new(0), folder };
                }
                Err(error) => {
                    eprintln!("RabbitMQ does not start the {recipe:?} way: {error}");
                    complaints = error;
                }
            }
        }
        panic!("{complaints}")
    }

    /// An empty vhost, open to guest. It lasts as long as the broker.
    pub(crate) fn vhost(&self) -> Vhost {
        let name = format!("test-{}", self.vhosts.fetch_add(1, Ordering::Relaxed));
        self.eval(&format!(
            r#"rabbit_vhost:add(<<"{name}">>, <<"test">>),
               rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)"#
        ));
        let port = self.node.port;
        Vhost { url: format!("amqp://guest:guest@127.0.0.1:{port}/{name}"), name, port }
    }

    /// A user of this vhost alone, with these patterns for configure, write and read. Answers its URL. Patterns have no
    /// backslash and no quote.
    pub(crate) fn user(&self, vhost: &Vhost, name: &str, [configure, write, read]: [&str; 3]) -> String {
        let Vhost { name: vhost, port, .. } = vhost;
        let user = format!("{vhost}-{name}");
        self.eval(&format!(
            r#"rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"secret">>, <<"test">>),
               rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"{vhost}">>, <<"{configure}">>, <<"{write}">>, <<"{read}">>, <<"test">>)"#
        ));
        format!("amqp://{user}:secret@127.0.0.1:{port}/{vhost}")
    }

    /// Evaluates Erlang inside the broker and returns the value as Erlang writes it. Panics on an exception.
    #[track_caller]
    pub(crate) fn eval(&self, expression: &str) -> String {
        let said = output_of(self.node.erl_call(), &format!("{expression}.\n"));
        let value = said.trim().strip_prefix("{ok, ").and_then(|said| said.strip_suffix('}'));
        value.unwrap_or_else(|| panic!("RabbitMQ answers {expression} with {said}")).to_owned()
    }

    /// Of every queue of a vhost, by name.
    ///
    /// Asks the queues themselves: the numbers that RabbitMQ's own tools show for quorum queues are up to 5 s old.
    /// A queue that is just being made or deleted answers nobody, and is left out.
    pub(crate) fn queue_depths(&self, vhost: &Vhost) -> BTreeMap<String, Depth> {
        let said = self.eval(&format!(
            r#"lists:flatten([try
                 {{resource, _, _, Name}} = amqqueue:get_name(Q),
                 Ask = fun(F) -> {{ok, {{_, N}}, _}} = ra:local_query(amqqueue:get_pid(Q), F), N end,
                 Counts = case amqqueue:get_type(Q) of
                   rabbit_quorum_queue -> [Ask(fun rabbit_fifo:query_messages_ready/1),
                     Ask(fun rabbit_fifo:query_messages_checked_out/1), Ask(fun rabbit_fifo:query_consumer_count/1)];
                   _ -> [N || {{_, N}} <- rabbit_amqqueue:info(Q, [messages_ready, messages_unacknowledged, consumers])]
                 end,
                 io_lib:format("~b ~b ~b ~s;", Counts ++ [Name])
               catch error:_ -> []
               end || Q <- rabbit_amqqueue:list(<<"{}">>)])"#,
            vhost.name
        ));
        let lines = said.trim_matches(['"', '[', ']']).split_terminator(';');
        lines.map(|line| depth(line).unwrap_or_else(|| panic!("{line:?} is no depth of a queue"))).collect()
    }

    /// Closes every connection, as an operator's `close_all_connections` does: `CONNECTION_FORCED`.
    pub(crate) fn close_all_connections(&self) {
        self.eval(r#"rabbit_networking:close_all_connections("test")"#);
    }

    /// The same for one vhost, which is harmless on the shared broker.
    pub(crate) fn close_connections(&self, vhost: &Vhost) {
        self.close_connections_of(vhost, "");
    }

    /// The same for those in it whose name ends so; how many they were.
    pub(crate) fn close_connections_of(&self, vhost: &Vhost, name_ends: &str) -> usize {
        let vhost = &vhost.name;
        let closed = self.eval(&format!(
            r#"length([rabbit_networking:close_connection(P, "test") || [{{pid, P}}, {{vhost, V}}, {{client_properties, C}}] <-
               rabbit_networking:connection_info_all([pid, vhost, client_properties]), V =:= <<"{vhost}">>,
               N <- [case lists:keyfind(<<"connection_name">>, 1, C) of {{_, _, Name}} -> Name; false -> <<>> end],
               lists:suffix("{name_ends}", binary_to_list(N))])"#
        ));
        closed.parse().expect("a number")
    }

    /// RabbitMQ closes every channel of a vhost over a tag that it has never given out (406); how many they were. Each of
    /// their clients has to agree.
    pub(crate) fn fail_channels(&self, vhost: &Vhost) -> usize {
        let vhost = &vhost.name;
        let failed = self.eval(&format!(
            r#"length([receive {{'DOWN', R, _, _, _}} -> closed after 20000 -> exit(open) end || P <- rabbit_channel:list(),
               {{vhost, V}} <- try rabbit_channel:info(P, [vhost]) catch _:_ -> [] end, V =:= <<"{vhost}">>,
               R <- [monitor(process, P)], ok <- [rabbit_channel:do(P, {{'basic.ack', 999999999, false}})]])"#
        ));
        failed.parse().expect("a number")
    }

    /// Deletes a queue and all that is in it, under the feet of its consumers.
    pub(crate) fn delete_queue(&self, vhost: &Vhost, queue: &str) {
        let vhost = &vhost.name;
        self.eval(&format!(
            r#"{{ok, Q}} = rabbit_amqqueue:lookup({{resource, <<"{vhost}">>, queue, <<"{queue}">>}}),
               {{ok, _}} = rabbit_amqqueue:delete(Q, false, false, <<"test">>)"#
        ));
    }

    /// A queue forgets who consumes it, as after a partition, and tells nobody: what they have in hand stays theirs.
    pub(crate) fn forget_consumers(&self, vhost: &Vhost, queue: &str) {
        let vhost = &vhost.name;
        self.eval(&format!(
            r#"{{ok, Q}} = rabbit_amqqueue:lookup({{resource, <<"{vhost}">>, queue, <<"{queue}">>}}),
               {{ok, {{_, Consumers}}, _}} = ra:local_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_consumers/1),
               [{{ok, _, _}} = ra:process_command(amqqueue:get_pid(Q), rabbit_fifo:make_checkout(Id, cancel, #{{}}))
                || Id <- maps:keys(Consumers)]"#
        ));
    }

    /// Queues of names that match `pattern` refuse publishes from `length` messages on.
    pub(crate) fn set_max_length(&self, vhost: &Vhost, pattern: &str, length: u32) {
        let vhost = &vhost.name;
        self.eval(&format!(
            r#"ok = rabbit_policy:set(<<"{vhost}">>, <<"test">>, <<"{pattern}">>,
               [{{<<"max-length">>, {length}}}, {{<<"overflow">>, <<"reject-publish">>}}], 0, <<"queues">>, <<"test">>)"#
        ));
    }

    /// Raises or clears the memory alarm.
    pub(crate) fn memory_alarm(&self, on: bool) {
        self.alarm(Alarm::Memory, on);
    }

    /// Raises or clears an alarm, at once: while it is on, connections that publish are blocked.
    pub(crate) fn alarm(&self, alarm: Alarm, on: bool) {
        let resource = match alarm {
            Alarm::Memory => "memory",
            Alarm::Disk => "disk",
        };
        self.eval(&match on {
            true => format!("rabbit_alarm:set_alarm({{{{resource_limit, {resource}, node()}}, []}})"),
            false => format!("rabbit_alarm:clear_alarm({{resource_limit, {resource}, node()}})"),
        });
    }

    /// SIGKILL; what RabbitMQ has confirmed survives it.
    pub(crate) fn kill(&self) {
        self.end(&mut self.server());
    }

    /// Starts it again on the same ports and data, killing it first if it still runs.
    pub(crate) fn restart(&self) {
        let mut server = self.server();
        self.end(&mut server);
        *server = serve(&self.node, self.recipe, &self.folder).unwrap_or_else(|error| panic!("{error}"));
    }

    /// SIGSTOP: connections stay open, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.server().freeze();
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.server().thaw();
    }

    /// RabbitMQ writes down half a second late which log belongs to a new quorum queue; killed before, it comes back with
    /// the queue deaf and empty. Tests kill sooner after a declare than a fleet does, and are not after that.
    fn end(&self, server: &mut Process) {
        if server.is_awake() {
            self.eval("catch dets:sync(maps:get(directory_rev, maps:get(names, ra_system:fetch(quorum_queues))))");
        }
        server.kill();
    }

    fn server(&self) -> MutexGuard<'_, Process> {
        self.server.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn serve(node: &Node, recipe: Recipe, folder: &TempDir) -> Result<Process, String> {
    let mut server = Process::spawn("RabbitMQ", node.server(recipe), &folder.path().join("broker.log"));
    server.ready_within(START_LIMIT, || speaks_amqp(node.port))?;
    Ok(server)
}

/// The port opens before the broker answers; an answer to the protocol's header is the first method of a connection.
fn speaks_amqp(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut first = [0];
    let answered = stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .and_then(|()| stream.write_all(b"AMQP\0\0\x09\x01"))
        .and_then(|()| stream.read_exact(&mut first));
    answered.is_ok() && first == [1]
}

fn depth(line: &str) -> Option<(String, Depth)> {
    let mut words = line.splitn(4, ' ');
    let mut count = || words.next()?.parse().ok();
    let depth = Depth { ready: count()?, unacked: count()?, consumers: count()? };
    Some((words.next()?.to_owned(), depth))
}
