//! A Redis that is not quite one: a proxy in front of a real one that answers some commands by itself, as Redis 5 would, or
//! a proxy that knows fewer commands.
//!
//! On threads of its own, so that a test may block while a process talks to it.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What it answers by itself, as it is on the wire; none: the Redis behind it answers.
pub(crate) type Answers = dyn Fn(&[String]) -> Option<String> + Send + Sync;

pub(crate) struct OddRedis {
    port: u16,
}

impl OddRedis {
    /// In front of the Redis on this port, for as long as the test lasts.
    pub(crate) fn in_front_of(
        port: u16,
        answers: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let odd = Self { port: listener.local_addr().expect("it listens").port() };
        let answers: Arc<Answers> = Arc::new(answers);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let answers = Arc::clone(&answers);
                thread::spawn(move || serve(&client, port, &*answers));
            }
        });
        odd
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// As Redis 5 answers a command that it does not know: with the arguments.
pub(crate) fn unknown(command: &[String]) -> String {
    let arguments: String = command[1..].iter().map(|argument| format!("`{argument}`, ")).collect();
    format!("-ERR unknown command `{}`, with args beginning with: {arguments}\r\n", command[0])
}

fn serve(client: &TcpStream, port: u16, answers: &Answers) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_nodelay(true)?;
    let (mut from_client, mut from_server) = (BufReader::new(client), BufReader::new(&server));
    loop {
        let (mut sent, mut answer) = (vec![], vec![]);
        let command = copy(&mut from_client, &mut sent)?;
        match answers(&command) {
            Some(own) => answer.extend(own.into_bytes()),
            None => {
                (&server).write_all(&sent)?;
                copy(&mut from_server, &mut answer)?;
            }
        }
        (&*client).write_all(&answer)?;
    }
}

/// Copies one value; tells the texts in it.
fn copy(from: &mut impl BufRead, into: &mut Vec<u8>) -> Result<Vec<String>> {
    let mut line = vec![];
    if from.read_until(b'\n', &mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    into.extend(&line);
    let said = String::from_utf8_lossy(&line[1..]).trim_end().to_owned();
    let count: i64 = said.parse().unwrap_or(-1);
    match line[0] {
        b'$' if count >= 0 => {
            let mut text = vec![0; count as usize + 2];
            from.read_exact(&mut text)?;
            into.extend(&text);
            text.truncate(count as usize);
            Ok(vec![String::from_utf8_lossy(&text).into_owned()])
        }
        b'*' => {
            let mut all = vec![];
            for _ in 0..count {
                all.extend(copy(from, into)?);
            }
            Ok(all)
        }
        _ => Ok(vec![said]),
    }
}
