//! lapin's own parser is the judge: what the filter hands on is read by it.

use std::task::Waker;

use lapin::BasicProperties;
use lapin::protocol::basic::parse_properties;
use lapin::protocol::{basic, parse_class};
use lapin::types::{AMQPValue, FieldTable};

use super::*;
use crate::queue::rabbit::envelope::{self, Envelope, TAKEN_BACK, traceparent};

const FRAME_MAX: u32 = 128 * 1024;
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const GBK: &[u8] = b"text/plain; charset=\xd6\xd0\xce\xc4";
const CONTENT_TYPE: u16 = 1 << 15;
const HEADERS: u16 = 1 << 13;
const MESSAGE_ID: u16 = 1 << 7;

/// Bytes that come in chunks of these lengths, and then as they are.
struct Chunks<'a> {
    bytes: &'a [u8],
    lengths: Vec<usize>,
}

impl AsyncRead for Chunks<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        let wanted = self.lengths.first().copied().unwrap_or(usize::MAX);
        let length = wanted.min(to.len()).min(self.bytes.len());
        match self.lengths.first_mut() {
            Some(left) if *left > length => *left -= length,
            Some(_) => drop(self.lengths.remove(0)),
            None => {}
        }
        let (now, later) = self.bytes.split_at(length);
        to[..length].copy_from_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(length))
    }
}

/// What lapin gets to read, so much at once.
fn read(bytes: &[u8], lengths: &[usize], at_once: usize) -> Vec<u8> {
    let mut filtered = Filtered::new(Chunks { bytes, lengths: lengths.to_vec() }, FRAME_MAX);
    let (mut all, mut buffer) = (vec![], vec![0; at_once]);
    loop {
        match poll(&mut filtered, &mut buffer) {
            0 => return all,
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

fn poll(filtered: &mut Filtered<Chunks<'_>>, to: &mut [u8]) -> usize {
    let polled = Pin::new(filtered).poll_read(&mut Context::from_waker(Waker::noop()), to);
    let Poll::Ready(read) = polled else { panic!("it never waits") };
    read.expect("it never fails")
}

fn filtered(bytes: &[u8]) -> Vec<u8> {
    read(bytes, &[], bytes.len())
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, 1], &(payload.len() as u32).to_be_bytes()[..], payload, &[0xCE]].concat()
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn entry(name: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    [&short(name)[..], &[kind], value].concat()
}

/// A count as RabbitMQ writes it.
fn counted(count: u64) -> Vec<u8> {
    entry(TAKEN_BACK.as_bytes(), b'l', &count.to_be_bytes())
}

/// A payload of a content header: these flags, and these properties.
fn content(flags: u16, properties: &[u8]) -> Vec<u8> {
    [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2][..], &flags.to_be_bytes(), properties].concat()
}

fn headers(entries: &[u8]) -> Vec<u8> {
    content(HEADERS, &long(entries))
}

fn nested(kind: u8, levels: usize) -> Vec<u8> {
    let name: &[u8] = if kind == b'F' { b"\x00" } else { b"" };
    (0..levels).fold(vec![], |inner, _| [name, &[kind], &long(&inner)].concat())
}

fn deliver(consumer: &[u8], exchange: &[u8], routing_key: &[u8]) -> Vec<u8> {
    let tag = [0, 0, 0, 0, 0, 0, 0, 1, 0];
    frame(1, &[&[0, 60, 0, 60][..], &short(consumer), &tag, &short(exchange), &short(routing_key)].concat())
}

/// A delivery with these properties, and one behind it.
fn stream(content_header: &[u8]) -> Vec<u8> {
    let (method, body) = (deliver(b"amq.ctag-1", b"quicklogin", b"login"), frame(3, b"{}"));
    let next = frame(2, &content(CONTENT_TYPE, &short(b"application/json")));
    [&method[..], &frame(2, content_header), &body, &frame(8, b""), &method, &next, &body].concat()
}

/// The properties of the first delivery, as lapin reads them; all else is as it was.
fn properties(bytes: &[u8], content_header: &[u8]) -> BasicProperties {
    let method = deliver(b"amq.ctag-1", b"quicklogin", b"login");
    let rest = bytes.strip_prefix(&method[..]).expect("the method is as it was");
    let length = Head::of(rest).expect("a frame").length;
    let (header, rest) = rest.split_at(length);
    assert_eq!(rest, &stream(content_header)[method.len() + content_header.len() + 8..], "all else is as it was");
    assert!(length <= content_header.len() + 8 && length <= FRAME_MAX as usize && header.ends_with(&[0xCE]));
    assert_eq!(header[7..19], content_header[..12], "the length of the body is as it was");
    let (rest, properties) = parse_properties(&header[19..length - 1]).expect("lapin reads it");
    assert_eq!(rest, b"", "lapin reads all of it");
    properties
}

fn lapin_reads(content_header: &[u8]) -> BasicProperties {
    properties(&filtered(&stream(content_header)), content_header)
}

fn names(properties: &BasicProperties) -> Vec<&str> {
    properties.headers().iter().flat_map(FieldTable::inner).map(|(name, _)| name.as_str()).collect()
}

/// One value of each type.
fn every_type() -> Vec<u8> {
    let simple = [
        (b't', 1),
        (b'b', 1),
        (b'B', 1),
        (b's', 2),
        (b'U', 2),
        (b'u', 2),
        (b'I', 4),
        (b'i', 4),
        (b'f', 4),
        (b'D', 5),
        (b'L', 8),
        (b'l', 8),
        (b'd', 8),
        (b'T', 8),
        (b'V', 0),
    ];
    let mut entries: Vec<u8> =
        simple.iter().flat_map(|(kind, length)| entry(&[*kind], *kind, &[0xFF; 8][..*length])).collect();
    for kind in [b'S', b'x'] {
        entries.extend(entry(&[kind, b'1'], kind, &long(b"\xff\xfe")));
    }
    let inner = [entry(b"inner", b'S', &long(b"text")), entry(b"", b'V', b"")].concat();
    entries.extend(entry(b"table", b'F', &long(&inner)));
    entries.extend(entry(b"array", b'A', &long(&[&b"V"[..], b"F", &long(&inner), b"t\x01"].concat())));
    entries
}

/// Odd content headers, of which nothing may end a session.
fn odd() -> Vec<(&'static str, Vec<u8>)> {
    let trace = entry(b"traceparent", b'S', &long(TRACE.as_bytes()));
    let around = |odd: &[u8]| headers(&[&counted(3), odd, &trace].concat());
    let all_texts: Vec<u8> = (0..10).flat_map(|n| short(&[b'a' + n, 0xD6, 0xD0, 0xC3])).collect();
    vec![
        ("text that is not UTF-8", content(CONTENT_TYPE | MESSAGE_ID, &[short(GBK), short(b"r-1")].concat())),
        ("all texts that are not UTF-8", content(0b1100_0111_1011_1100, &all_texts)),
        ("a character that is cut off", content(CONTENT_TYPE, &short("text/码".as_bytes().split_last().expect("text").1))),
        ("a name that is not UTF-8", around(&entry(GBK, b'V', b""))),
        ("a table that is too deep", around(&entry(b"deep", b'F', &long(&nested(b'F', 2400))))),
        ("an array that is too deep", around(&entry(b"deep", b'A', &long(&nested(b'A', 20_000))))),
        ("as deep as it goes", around(&entry(b"deep", b'F', &long(&nested(b'F', fields::DEEPEST - 2))))),
        ("deeper by one", around(&entry(b"deep", b'F', &long(&nested(b'F', fields::DEEPEST - 1))))),
        ("a name inside that is not UTF-8", around(&entry(b"table", b'F', &long(&entry(b"\xff", b'V', b""))))),
        ("too many values", around(&entry(b"array", b'A', &long(&[b'V'; 100_000])))),
        ("two counts", headers(&[counted(3), trace.clone(), counted(500)].concat())),
        ("an unknown type", headers(&[&counted(3), &trace[..], &entry(b"odd", b'Z', b"zzzz"), &counted(7)].concat())),
        ("an unknown type inside", around(&entry(b"table", b'F', &long(&entry(b"odd", b'Z', b"zzzz"))))),
        ("a value that overruns its table", headers(&[&counted(3), &trace[..], &entry(b"odd", b'S', &[0, 1, 0, 0])].concat())),
        ("a name that overruns its table", headers(&[&counted(3), &trace[..], b"\xffodd"].concat())),
        ("one byte too many in a table", headers(&[&counted(3), &trace[..], b"\x00"].concat())),
        ("a table that overruns its message", content(HEADERS, &[&[0xFF; 4], &counted(3)[..], &trace].concat())),
        ("a text that overruns its message", content(CONTENT_TYPE | MESSAGE_ID, &[&short(b"text")[..], b"\xffr-1"].concat())),
        ("a flag and nothing", content(MESSAGE_ID, b"")),
        ("all flags and nothing", content(0xFFFF, b"")),
        ("bytes behind the last property", content(CONTENT_TYPE, &[&short(b"text")[..], &[0; 1000]].concat())),
        ("properties and no flag", content(0, &[1; 300])),
        ("as long as frames get", around(&entry(b"long", b'S', &long(&vec![b'x'; FRAME_MAX as usize - 134])))),
        ("longer than lapin takes", around(&entry(b"long", b'S', &long(&vec![b'x'; FRAME_MAX as usize])))),
        ("too many headers", headers(
            &[&(0..9000).flat_map(|n| entry(format!("name-{n:05}").as_bytes(), b'V', b"")).collect::<Vec<_>>()[..], &counted(3), &trace].concat()
        )),
        ("longer than is held back", around(&entry(b"long", b'S', &long(&vec![b'x'; HELD_MOST])))),
    ]
}

#[test]
fn lapin_reads_whatever_a_publisher_has_written() {
    for (_, content_header) in odd() {
        lapin_reads(&content_header);
    }
}

#[test]
fn what_is_needed_is_kept_of_odd_headers_wherever_it_stands() {
    for (what, content_header) in odd() {
        let kept = lapin_reads(&content_header);
        let has_needed = content_header.windows(TRACE.len()).any(|bytes| bytes == TRACE.as_bytes());
        if has_needed && what != "longer than is held back" {
            let trace = traceparent(&kept).map(|trace| trace.as_str().to_owned());
            assert_eq!(trace.as_deref(), Some(TRACE), "{what}");
            assert_eq!(envelope::whole_number(&kept, TAKEN_BACK), Some(3), "{what}");
        }
    }
    let kept = lapin_reads(&content(CONTENT_TYPE | MESSAGE_ID, &[short(GBK), short(b"r-1")].concat()));
    assert_eq!(kept.content_type().as_ref().map(|text| text.as_str()), Some("text/plain; charset=????"));
    assert_eq!(kept.message_id().as_ref().map(|text| text.as_str()), Some("r-1"), "a neighbour is as it was");
}

#[test]
fn of_a_header_table_only_what_cannot_be_read_is_replaced() {
    let entries =
        |odd: &[u8]| lapin_reads(&headers(&[&entry(b"a", b't', b"\x01"), odd, &entry(b"z", b'V', b"")].concat()));
    assert_eq!(names(&entries(&entry(b"n\xffame", b'V', b""))), ["a", "n?ame", "z"]);
    let deep = entries(&entry(b"deep", b'F', &long(&nested(b'F', 2400))));
    assert_eq!(names(&deep), ["a", "deep", "z"]);
    let inside = entry(b"in\xffside", b'S', &long(b"text"));
    let repaired = entries(&entry(b"table", b'F', &long(&inside)));
    let table = repaired.headers().as_ref().expect("headers").inner()["table"].clone();
    let mut expected = FieldTable::default();
    expected.insert("in?side".into(), AMQPValue::LongString("text".into()));
    assert_eq!(table, AMQPValue::FieldTable(expected));
    assert_eq!(names(&lapin_reads(&headers(&[entry(b"a", b't', b"\x01"), entry(b"odd", b'Z', b"")].concat()))), ["a"]);
}

#[test]
fn of_two_counts_the_one_that_rabbitmq_wrote_is_read() {
    let kept = lapin_reads(&headers(&[counted(1), counted(500)].concat()));
    assert_eq!(Envelope::of(&kept, true).taken_back, 1);
}

#[test]
fn what_lapin_reads_passes_as_it_is() {
    let flags = 0b1111_1111_1111_1100;
    let texts = |number: u8| (0..number).flat_map(|n| short(&vec![b'a' + n; usize::from(n) * 20])).collect::<Vec<u8>>();
    let all = [texts(2), long(&every_type()), vec![2, 9], texts(4), vec![0xFF; 8], texts(4)].concat();
    let contents = [content(flags, &all), content(0, b""), headers(b""), headers(&nested(b'F', fields::DEEPEST - 1))];
    let tune = frame(1, &[0, 10, 0, 30, 7, 255, 0, 2, 0, 0, 0, 60]);
    let strange =
        [frame(1, &[0, 90, 0, 11]), frame(8, b""), frame(3, &[0xCE; 70_000]), frame(1, &[0; 200_000])].concat();
    for content_header in &contents {
        let bytes = [&tune, &strange, &stream(content_header)[..]].concat();
        assert_eq!(filtered(&bytes), bytes);
        properties(&filtered(&stream(content_header)), content_header);
    }
    let version = b"AMQP\x00\x00\x09\x01 and \x02\x00\x01 whatever follows";
    assert_eq!(filtered(version), version);
}

#[test]
fn however_the_bytes_come_the_same_is_handed_on() {
    for (what, content_header) in odd().into_iter().filter(|(_, header)| header.len() < 1000) {
        let bytes = stream(&content_header);
        let expected = filtered(&bytes);
        for at in 1..bytes.len() {
            assert_eq!(read(&bytes, &[at], 64 * 1024), expected, "{what}, split at {at}");
        }
        for (length, at_once) in [(1, 1), (1, 64), (7, 3), (64, 1), (100, 10)] {
            assert_eq!(read(&bytes, &vec![length; bytes.len()], at_once), expected, "{what}, {length} and {at_once}");
        }
    }
    for (what, content_header) in odd().into_iter().filter(|(_, header)| header.len() >= 1000) {
        let bytes = stream(&content_header);
        let expected = filtered(&bytes);
        for length in [1 << 10, 1 << 16, bytes.len() - 20] {
            assert_eq!(read(&bytes, &vec![length; bytes.len() / length], 70_000), expected, "{what}, {length} at once");
        }
    }
}

#[test]
fn lapin_reads_whatever_dice_make_of_a_content_header() {
    let mut seeds: Vec<Vec<u8>> = odd().into_iter().map(|(_, header)| header).filter(|it| it.len() < 400).collect();
    seeds.push(headers(&every_type()));
    for seed in 0..20_000 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut content_header = seeds[dice.usize(..seeds.len())].clone();
        for _ in 0..dice.usize(1..6) {
            let at = dice.usize(12..content_header.len());
            match dice.u8(..4) {
                0 => content_header[at] = dice.u8(..),
                1 => content_header[at] ^= 1 << dice.u8(..8),
                2 => content_header.insert(at, dice.u8(..)),
                _ if content_header.len() > 14 => drop(content_header.remove(at)),
                _ => {}
            }
        }
        lapin_reads(&content_header);
    }
}

#[test]
fn texts_of_methods_are_made_utf_8_and_all_else_of_them_is_as_it_was() {
    let (_, class) = parse_class(&filtered(&deliver(b"c\xff", b"\xd6", "码".as_bytes()))[7..]).expect("lapin reads it");
    let lapin::protocol::AMQPClass::Basic(basic::AMQPMethod::Deliver(delivered)) = class else { panic!("a delivery") };
    let texts = [&delivered.consumer_tag, &delivered.exchange, &delivered.routing_key].map(|text| text.as_str());
    assert_eq!((texts, delivered.delivery_tag), (["c?", "?", "码"], 1));
    let cut_off = &"x码".as_bytes()[..3];
    let tag = [0, 0, 0, 0, 0, 0, 0, 1, 1];
    for (what, method) in [
        ("get-ok", [&[0, 60, 0, 71][..], &tag, &short(b"\xff"), &short(b"\xff"), &[0, 0, 0, 9]].concat()),
        ("return", [&[0, 60, 0, 50, 1, 56][..], &short(cut_off), &short(b"\xff"), &short(b"\xff")].concat()),
        ("channel.close", [&[0, 20, 0, 40, 1, 150][..], &short(cut_off), &[0, 50, 0, 10]].concat()),
        ("connection.close", [&[0, 10, 0, 50, 1, 64][..], &short(cut_off), &[0, 0, 0, 0]].concat()),
        ("connection.blocked", [&[0, 10, 0, 60][..], &short(cut_off)].concat()),
    ] {
        let bytes = filtered(&frame(1, &method));
        assert_eq!(bytes.len(), method.len() + 8, "{what}");
        let (rest, _) = parse_class(&bytes[7..bytes.len() - 1]).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(rest, b"", "{what}");
        let cut = frame(1, &method[..5]);
        assert_eq!(filtered(&cut), cut, "{what}, too short");
    }
}

#[test]
fn no_content_header_is_longer_than_the_two_sides_have_agreed() {
    let tune = |frame_max: u32| frame(1, &[&[0, 10, 0, 30, 7, 255][..], &frame_max.to_be_bytes(), &[0, 60]].concat());
    let entries = [entry(b"long", b'S', &long(&[b'x'; 5000])), counted(4)].concat();
    let header = frame(2, &headers(&entries));
    for (agreed, expected) in
        [(0, header.len()), (1 << 20, header.len()), (header.len() as u32, header.len()), (4096, 60)]
    {
        let bytes = [tune(agreed), header.clone()].concat();
        let handed_on = filtered(&bytes);
        let length = handed_on.len() - tune(agreed).len();
        assert!(length == expected || (expected == 60 && length < 60), "{agreed}: {length}");
        assert!(handed_on.windows(TAKEN_BACK.len()).any(|bytes| bytes == TAKEN_BACK.as_bytes()), "{agreed}");
    }
}

#[test]
fn what_is_held_back_is_bounded() {
    let header = headers(&entry(b"long", b'S', &long(&vec![b'x'; 4 * HELD_MOST])));
    let bytes = stream(&header);
    let mut filtered = Filtered::new(Chunks { bytes: &bytes, lengths: vec![1000; bytes.len() / 1000] }, FRAME_MAX);
    let mut buffer = vec![0; 1000];
    while poll(&mut filtered, &mut buffer) > 0 {
        let frames = &filtered.frames;
        assert!(frames.held.capacity() + frames.made.capacity() <= HELD_MOST, "{}", frames.held.capacity());
    }
}
