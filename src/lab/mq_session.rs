//! A faithful IBM MQ conversation over a pair of TCP streams: a client that puts and gets, and a queue manager that answers.
//!
//! The order is that of a real client: INITIAL_DATA twice (the first offer is talked down), USERID, CONAUTH, MQCONN, MQOPEN,
//! many MQPUT, heartbeats between them, many MQGET, MQCLOSE, MQDISC. Messages longer than the agreed transmission size are
//! split over segments. Both ends keep a digest of the content that went each way; whoever runs them compares.

use std::io::{self, BufReader};
use std::net::TcpStream;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::mq_segment::{
    self as segment, API_HEADER, CONFIRM_REQUEST, ERROR, FIRST, GMO, LAST, Limits, MD, PMO, Segment, TSHM, kind,
};

/// What the conversation carries.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Messages that the client puts.
    pub puts: u32,
    /// Messages that the client gets.
    pub gets: u32,
    /// Bytes of content in each.
    pub message: usize,
    /// A heartbeat after every so many messages.
    pub heartbeat_every: u32,
}

/// What one end saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Content put, in bytes.
    pub put_bytes: u64,
    /// Content got, in bytes.
    pub got_bytes: u64,
    /// SHA-256 of the content put.
    pub put_digest: [u8; 32],
    /// SHA-256 of the content got.
    pub got_digest: [u8; 32],
    /// Segments sent and received.
    pub segments: u64,
    /// Heartbeats asked and answered.
    pub heartbeats: u64,
}

impl Tally {
    /// Whether the other end saw the same.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self == other
    }
}

const CHANNEL: &str = "DEMO.SVRCONN";
const QUEUE_MANAGER: &str = "QM1";
const QUEUE: &str = "CBP.DECLARATIONS";
/// What the client offers first.
const OFFERED: Limits = Limits { transmission: 65_535, message: 4 << 20, heartbeat: 300 };
/// What the queue manager accepts.
const ACCEPTED: Limits = Limits { transmission: 32_748, message: 4 << 20, heartbeat: 60 };
/// Open for input and output.
const OPEN_OPTIONS: u32 = 0x11;
const HANDLE: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of the channel.
struct Channel {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    transmission: usize,
    multiplexed: bool,
    request: u32,
    put: Sha256,
    got: Sha256,
    tally: Tally,
}

impl Channel {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let writer = stream.try_clone()?;
        Ok(Self {
            reader: BufReader::with_capacity(64 << 10, stream),
            writer,
            transmission: 1024,
            multiplexed: false,
            request: 0,
            put: Sha256::new(),
            got: Sha256::new(),
            tally: Tally::default(),
        })
    }

    fn send(&mut self, kind: u8, flags: u8, body: Vec<u8>) -> io::Result<()> {
        let conversation = self.multiplexed.then_some((1, self.request));
        Segment { kind, flags, conversation, body }.write(&mut self.writer)?;
        self.tally.segments += 1;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Segment> {
        let segment = Segment::read(&mut self.reader, self.transmission)?;
        self.tally.segments += 1;
        if segment.conversation.is_some() != self.multiplexed {
            return Err(segment::bad("the kind of header does not fit the state of the channel"));
        }
        if let Some((_, request)) = segment.conversation {
            self.request = request;
        }
        Ok(segment)
    }

    fn expect(&mut self, kind: u8) -> io::Result<Segment> {
        let segment = self.receive()?;
        if segment.kind == kind { Ok(segment) } else { Err(segment::bad("another segment than the one expected")) }
    }

    /// A call or reply that may not fit one segment: only the first carries the API header.
    fn send_split(&mut self, kind: u8, head: &[u8], content: &[u8]) -> io::Result<()> {
        let room = self.transmission - TSHM;
        let mut body = segment::api_header(head.len() + content.len(), HANDLE);
        body.extend(head);
        let (now, mut rest) = content.split_at(content.len().min(room - body.len()));
        body.extend(now);
        self.send(kind, if rest.is_empty() { FIRST | LAST } else { FIRST }, body)?;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(room));
            rest = later;
            self.send(kind, if rest.is_empty() { LAST } else { 0 }, now.to_vec())?;
        }
        Ok(())
    }

    /// The content of a call or reply whose first segment is `first`, with the `head` bytes before it cut off.
    fn receive_split(&mut self, first: &Segment, head: usize) -> io::Result<Vec<u8>> {
        let (kind, mut last) = (first.kind, first.flags & LAST != 0);
        let length = segment::read_word(&first.body, API_HEADER + head - 4)? as usize;
        let mut content = first.body.get(API_HEADER + head..).unwrap_or_default().to_vec();
        while !last {
            let next = self.expect(kind)?;
            last = next.flags & LAST != 0;
            content.extend(&next.body);
            if content.len() > ACCEPTED.message as usize {
                return Err(segment::bad("a message is longer than was agreed"));
            }
        }
        if content.len() == length { Ok(content) } else { Err(segment::bad("a message is not as long as it says")) }
    }

    fn count_put(&mut self, content: &[u8]) {
        self.put.update(content);
        self.tally.put_bytes += content.len() as u64;
    }

    fn count_got(&mut self, content: &[u8]) {
        self.got.update(content);
        self.tally.got_bytes += content.len() as u64;
    }

    fn finish(self) -> Tally {
        Tally { put_digest: self.put.finalize().into(), got_digest: self.got.finalize().into(), ..self.tally }
    }
}

/// The client's end: runs the whole conversation.
pub fn client(stream: TcpStream, plan: Plan) -> io::Result<Tally> {
    let mut channel = Channel::new(stream)?;
    let limits = offer(&mut channel)?;
    if limits != ACCEPTED {
        return Err(segment::bad("the second offer was not taken"));
    }
    channel.send(kind::USERID, FIRST | LAST, segment::user_id("demo"))?;
    channel.send(kind::CONAUTH, FIRST | LAST, segment::connection_auth("demo", "not-secret"))?;
    call(&mut channel, kind::CONN, segment::connect(QUEUE_MANAGER, "portcullis demo"))?;
    call(&mut channel, kind::OPEN, segment::open(QUEUE, QUEUE_MANAGER, OPEN_OPTIONS))?;
    let mut content = Content::new(plan.message, 0x50);
    for number in 0..plan.puts {
        let message = content.message(number);
        channel.request += 1;
        channel.send_split(kind::PUT, &segment::put(number, message.len()), message)?;
        channel.count_put(message);
        channel.expect(kind::PUT + kind::REPLY)?;
        heartbeat(&mut channel, plan, number)?;
    }
    for number in 0..plan.gets {
        channel.request += 1;
        channel.send_split(kind::GET, &segment::get(number, plan.message), &[])?;
        let first = channel.expect(kind::GET + kind::REPLY)?;
        let message = channel.receive_split(&first, MD + GMO + 4)?;
        channel.count_got(&message);
        heartbeat(&mut channel, plan, number)?;
    }
    call(&mut channel, kind::CLOSE, vec![0; 4])?;
    call(&mut channel, kind::DISC, Vec::new())?;
    Ok(channel.finish())
}

/// INITIAL_DATA: the first offer goes out with the plain header, what was agreed is repeated with the multiplexed one.
fn offer(channel: &mut Channel) -> io::Result<Limits> {
    let body = segment::initial_data(OFFERED, 0, CHANNEL, "");
    channel.send(kind::INITIAL, CONFIRM_REQUEST | FIRST | LAST, body)?;
    let answer = channel.expect(kind::INITIAL)?;
    let wanted = segment::limits(&answer.body)?;
    let agreed = Limits {
        transmission: wanted.transmission.min(OFFERED.transmission),
        message: wanted.message.min(OFFERED.message),
        heartbeat: wanted.heartbeat.min(OFFERED.heartbeat),
    };
    channel.multiplexed = true;
    let body = segment::initial_data(agreed, 0, CHANNEL, QUEUE_MANAGER);
    channel.send(kind::INITIAL, CONFIRM_REQUEST | FIRST | LAST, body)?;
    let confirmed = channel.expect(kind::INITIAL)?;
    if confirmed.flags & ERROR != 0 || segment::limits(&confirmed.body)? != agreed {
        return Err(segment::bad("the queue manager took its own offer back"));
    }
    channel.transmission = agreed.transmission as usize;
    Ok(agreed)
}

fn call(channel: &mut Channel, kind: u8, body: Vec<u8>) -> io::Result<Segment> {
    channel.request += 1;
    let mut out = segment::api_header(body.len(), HANDLE);
    out.extend(body);
    channel.send(kind, FIRST | LAST, out)?;
    let reply = channel.expect(kind + kind::REPLY)?;
    // Completion code and reason: both zero when the call was carried out.
    if segment::read_word(&reply.body, 4)? != 0 || segment::read_word(&reply.body, 8)? != 0 {
        return Err(segment::bad("a call was refused"));
    }
    Ok(reply)
}

fn heartbeat(channel: &mut Channel, plan: Plan, number: u32) -> io::Result<()> {
    if (number + 1).is_multiple_of(plan.heartbeat_every.max(1)) {
        channel.send(kind::HEARTBEAT, CONFIRM_REQUEST | FIRST | LAST, Vec::new())?;
        channel.expect(kind::HEARTBEAT)?;
        channel.tally.heartbeats += 1;
    }
    Ok(())
}

/// The queue manager's end: answers until the client disconnects.
pub fn server(stream: TcpStream, plan: Plan) -> io::Result<Tally> {
    let mut channel = Channel::new(stream)?;
    let mut content = Content::new(plan.message, 0x47);
    let mut number = 0;
    loop {
        let request = channel.receive()?;
        match request.kind {
            kind::INITIAL if !channel.multiplexed => {
                // Talked down: the error flag and the flags of the values that are too large.
                let body = segment::initial_data(ACCEPTED, 0x08 | 0x80, CHANNEL, QUEUE_MANAGER);
                channel.send(kind::INITIAL, ERROR | FIRST | LAST, body)?;
                channel.multiplexed = true;
            }
            kind::INITIAL => {
                let agreed = segment::limits(&request.body)?;
                let flags = if agreed == ACCEPTED { FIRST | LAST } else { ERROR | FIRST | LAST };
                channel.send(kind::INITIAL, flags, segment::initial_data(ACCEPTED, 0, CHANNEL, QUEUE_MANAGER))?;
                channel.transmission = ACCEPTED.transmission as usize;
            }
            kind::USERID | kind::CONAUTH => {}
            kind::HEARTBEAT => {
                channel.send(kind::HEARTBEAT, FIRST | LAST, Vec::new())?;
                channel.tally.heartbeats += 1;
            }
            kind::CONN | kind::OPEN | kind::CLOSE => {
                let body = request.body.get(API_HEADER..).unwrap_or_default();
                channel.send_split(request.kind + kind::REPLY, body, &[])?;
            }
            kind::PUT => {
                let head = request.body.get(API_HEADER..API_HEADER + MD + PMO).unwrap_or_default().to_vec();
                let message = channel.receive_split(&request, MD + PMO + 4)?;
                channel.count_put(&message);
                channel.send_split(kind::PUT + kind::REPLY, &head, &[])?;
            }
            kind::GET => {
                let message = content.message(number);
                channel.send_split(kind::GET + kind::REPLY, &segment::get(number, message.len()), message)?;
                channel.count_got(message);
                number += 1;
            }
            kind::DISC => {
                channel.send_split(kind::DISC + kind::REPLY, &[], &[])?;
                return Ok(channel.finish());
            }
            _ => return Err(segment::bad("a segment that this queue manager does not know")),
        }
    }
}

/// Repeatable content: bytes that differ from message to message and do not compress.
struct Content {
    bytes: Vec<u8>,
}

impl Content {
    fn new(length: usize, salt: u64) -> Self {
        let mut state = salt;
        let mut bytes = vec![0; length];
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = state.to_be_bytes()[0];
        }
        Self { bytes }
    }

    fn message(&mut self, number: u32) -> &[u8] {
        for (byte, mark) in self.bytes.iter_mut().zip(number.to_be_bytes()) {
            *byte = mark;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    #[test]
    fn both_ends_count_the_same_content_segments_and_heartbeats() {
        let plan = Plan { puts: 5, gets: 3, message: 100_000, heartbeat_every: 2 };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || server(listener.accept().unwrap().0, plan).unwrap());
        let client = client(TcpStream::connect(address).unwrap(), plan).unwrap();
        let server = server.join().unwrap();
        assert!(client.agrees_with(&server), "{client:?} {server:?}");
        assert_eq!((client.put_bytes, client.got_bytes, client.heartbeats), (500_000, 300_000, 3));
        assert_ne!(client.put_digest, client.got_digest);
        // 100,000 bytes and 492 of structures in segments of 32,748: four segments a PUT.
        assert!(client.segments > 8 * 4);
    }

    #[test]
    fn a_client_that_speaks_another_protocol_is_refused() {
        let plan = Plan { puts: 1, gets: 0, message: 1, heartbeat_every: 1 };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || server(listener.accept().unwrap().0, plan));
        TcpStream::connect(address).unwrap().write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n").unwrap();
        assert!(server.join().unwrap().is_err());
    }
}
