//! A publisher that puts any bytes into a message's properties: libraries write only what they would read.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::fleet::SOON;
use crate::support::rabbit::Vhost;

/// The longest frame that RabbitMQ takes by default.
pub(crate) const FRAME_MAX: usize = 128 * 1024;
const HEADERS: u16 = 1 << 13;

/// One connection, one channel with confirms.
pub(crate) struct RawPublisher(TcpStream);

/// What a message comes with, as bytes: which properties are there, and these in their order.
#[derive(Clone)]
pub(crate) struct Properties {
    pub(crate) what: &'static str,
    flags: u16,
    bytes: Vec<u8>,
}

impl Properties {
    /// The same with these headers in front of its own; nothing if RabbitMQ does not take so much.
    pub(crate) fn with_headers(&self, entries: &[u8]) -> Option<Self> {
        const BEFORE_HEADERS: [u16; 2] = [1 << 15, 1 << 14];
        let texts = BEFORE_HEADERS.iter().filter(|flag| self.flags & **flag != 0);
        let at = texts.fold(0, |at, _| at + 1 + usize::from(self.bytes[at]));
        let (before, rest) = self.bytes.split_at(at);
        let (own, after): (&[u8], &[u8]) = match self.flags & HEADERS {
            0 => (b"", rest),
            _ => {
                let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                (&rest[4..4 + length], &rest[4 + length..])
            }
        };
        let bytes = [before, &long(&[entries, own].concat()), after].concat();
        (bytes.len() <= FRAME_MAX - 36).then_some(Self { what: self.what, flags: self.flags | HEADERS, bytes })
    }
}

impl RawPublisher {
    pub(crate) async fn connect(vhost: &Vhost) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", vhost.port())).await.expect("RabbitMQ listens");
        let mut raw = Self(stream);
        raw.0.write_all(b"AMQP\0\0\x09\x01").await.expect("it is connected");
        raw.expect(10, 10).await;
        let credentials = [&[0; 4][..], &short(b"PLAIN"), &long(b"\0guest\0guest"), &short(b"en_US")].concat();
        raw.call(0, [10, 11], &credentials).await;
        let mut tune = raw.expect(10, 30).await;
        tune[6..].fill(0);
        raw.call(0, [10, 31], &tune).await;
        raw.call(0, [10, 40], &[&short(vhost.name().as_bytes())[..], &short(b""), b"\0"].concat()).await;
        raw.expect(10, 41).await;
        raw.call(1, [20, 10], &short(b"")).await;
        raw.expect(20, 11).await;
        raw.call(1, [85, 10], b"\0").await;
        raw.expect(85, 11).await;
        raw
    }

    /// Publishes, and waits until RabbitMQ has taken it.
    pub(crate) async fn publish(&mut self, exchange: &str, routing_key: &str, properties: &Properties, body: &[u8]) {
        let address = [&[0, 0][..], &short(exchange.as_bytes()), &short(routing_key.as_bytes()), b"\x01"].concat();
        self.call(1, [60, 40], &address).await;
        let head = [&[0, 60, 0, 0][..], &(body.len() as u64).to_be_bytes(), &properties.flags.to_be_bytes()].concat();
        self.send(2, 1, &[head, properties.bytes.clone()].concat()).await;
        self.send(3, 1, body).await;
        self.expect(60, 80).await;
    }

    async fn call(&mut self, channel: u8, [class, method]: [u8; 2], arguments: &[u8]) {
        self.send(1, channel, &[&[0, class, 0, method], arguments].concat()).await;
    }

    async fn send(&mut self, kind: u8, channel: u8, payload: &[u8]) {
        let frame = [&[kind, 0, channel][..], &long(payload), &[0xCE]].concat();
        self.0.write_all(&frame).await.expect("it is connected");
    }

    /// The arguments of the next method, which must be this one.
    async fn expect(&mut self, class: u8, method: u8) -> Vec<u8> {
        let reading = async {
            let mut head = [0; 7];
            self.0.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let mut payload = vec![0; length + 1];
            self.0.read_exact(&mut payload).await.map(|_| payload)
        };
        let mut payload = timeout(SOON, reading).await.expect("RabbitMQ answers").expect("it is connected");
        let said = String::from_utf8_lossy(&payload).into_owned();
        assert_eq!(payload[..4], [0, class, 0, method], "RabbitMQ says {said}");
        payload.pop();
        payload.split_off(4)
    }
}

pub(crate) fn short(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

pub(crate) fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

pub(crate) fn header(name: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    [&short(name)[..], &[kind], value].concat()
}

pub(crate) fn headers(what: &'static str, entries: &[u8]) -> Properties {
    Properties { what, flags: HEADERS, bytes: long(entries) }
}

fn nested(kind: u8, levels: usize) -> Vec<u8> {
    let name: &[u8] = if kind == b'F' { b"\x01n" } else { b"" };
    (0..levels).fold(vec![], |inner, _| [name, &[kind], &long(&inner)].concat())
}

/// Properties that RabbitMQ takes, and that a consumer may not be able to read.
pub(crate) fn odd() -> Vec<Properties> {
    const GBK: &[u8] = b"text/plain; charset=\xd6\xd0\xce\xc4";
    // Not user_id and expiration, which RabbitMQ looks at.
    let texts: Vec<u8> = (0..8).flat_map(|_| short(GBK)).collect();
    let simple: [(u8, &[u8]); 14] = [
        (b't', b"\x01"),
        (b'b', b"\xff"),
        (b'B', b"\xff"),
        (b's', b"\xff\xff"),
        (b'u', b"\xff\xff"),
        (b'I', &[0xFF; 4]),
        (b'i', &[0xFF; 4]),
        (b'l', &[0xFF; 8]),
        (b'f', &[0; 4]),
        (b'd', &[0; 8]),
        (b'D', &[0xFF; 5]),
        (b'T', &[0xFF; 8]),
        (b'V', b""),
        (b'S', b"\0\0\0\x02\xd6\xd0"),
    ];
    let mut types: Vec<u8> = simple.iter().flat_map(|(kind, value)| header(&[*kind], *kind, value)).collect();
    types.extend(header(b"x", b'x', &long(GBK)));
    types.extend(header(b"A", b'A', &long(&[&b"V"[..], b"t\x01", b"S", &long(GBK)].concat())));
    let longest = header(b"long", b'S', &long(&vec![b'x'; FRAME_MAX - 36]));
    vec![
        Properties { what: "a content type in GBK", flags: 1 << 15, bytes: short(GBK) },
        Properties { what: "a message id in GBK", flags: 1 << 7, bytes: short(GBK) },
        Properties { what: "all texts in GBK", flags: 0b1100_0110_1010_1100, bytes: texts },
        Properties { what: "a priority and a time", flags: 1 << 11 | 1 << 6, bytes: vec![0xFF; 9] },
        headers("a header whose name is GBK", &header(GBK, b'V', b"")),
        headers("a table nested 2,400 levels deep", &header(b"deep", b'F', &long(&nested(b'F', 2400)))),
        headers("an array nested 3,000 levels deep", &header(b"deep", b'A', &long(&nested(b'A', 3000)))),
        headers("10,000 empty values", &header(b"many", b'A', &long(&[b'V'; 10_000]))),
        headers("values of every type", &types),
        headers("headers as long as RabbitMQ takes them", &longest),
        headers("an x-death of its own", &header(b"x-death", b'A', &long(&nested(b'A', 3000)))),
    ]
}
