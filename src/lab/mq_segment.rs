//! The segments of an IBM MQ client channel: transmission header, INITIAL_DATA, and the structures inside API calls.
//!
//! Layouts are those that Wireshark's MQ dissector and captures of real clients show; there is no public specification.
//! All integers are big-endian (byte order 1), text is ASCII (CCSID 819). Left out: EBCDIC, compression, XA, asynchronous
//! consume, publish/subscribe. For tests and the demo; the inspection of real traffic lives in `inspect`.

use std::io::{self, Read, Write};

/// Segment types, with the numbers that stand on the wire.
pub mod kind {
    /// INITIAL_DATA: both ends say what they can.
    pub const INITIAL: u8 = 0x01;
    /// The user that opens the channel.
    pub const USERID: u8 = 0x08;
    /// A sign of life.
    pub const HEARTBEAT: u8 = 0x09;
    /// The user's credentials.
    pub const CONAUTH: u8 = 0x0a;
    /// MQCONN; its reply, like that of every call, is 0x10 above.
    pub const CONN: u8 = 0x81;
    /// MQDISC.
    pub const DISC: u8 = 0x82;
    /// MQOPEN.
    pub const OPEN: u8 = 0x83;
    /// MQCLOSE.
    pub const CLOSE: u8 = 0x84;
    /// MQGET.
    pub const GET: u8 = 0x85;
    /// MQPUT.
    pub const PUT: u8 = 0x86;
    /// What a reply's type has above its call's.
    pub const REPLY: u8 = 0x10;
}

/// The other end is asked to confirm.
pub const CONFIRM_REQUEST: u8 = 0x01;
/// The values of INITIAL_DATA are not accepted as they stand.
pub const ERROR: u8 = 0x02;
/// First segment of a message.
pub const FIRST: u8 = 0x10;
/// Last segment of a message.
pub const LAST: u8 = 0x20;

/// Length of a plain transmission header (`TSH `).
pub const TSH: usize = 28;
/// Length of a multiplexed transmission header (`TSHM`).
pub const TSHM: usize = 36;
/// Length of the header before every call and reply.
pub const API_HEADER: usize = 16;
/// Length of INITIAL_DATA from FAP level 11 on.
pub const INITIAL_DATA: usize = 240;
/// Length of a version 1 message descriptor.
pub const MD: usize = 324;
/// Length of version 1 put options.
pub const PMO: usize = 128;
/// Length of version 1 get options.
pub const GMO: usize = 72;

/// One segment, without its header's constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Segment type, see [`kind`].
    pub kind: u8,
    /// Control flags 1.
    pub flags: u8,
    /// Conversation and request number; `None` in the plain header of the first exchange.
    pub conversation: Option<(u32, u32)>,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Segment {
    /// Writes the segment with one call, as a client library does.
    pub fn write(&self, to: &mut impl Write) -> io::Result<usize> {
        let mut out = Vec::with_capacity(TSHM + self.body.len());
        out.extend(if self.conversation.is_some() { b"TSHM" } else { b"TSH " });
        let header = if self.conversation.is_some() { TSHM } else { TSH };
        out.extend(be32(header + self.body.len()));
        if let Some((conversation, request)) = self.conversation {
            out.extend(conversation.to_be_bytes());
            out.extend(request.to_be_bytes());
        }
        out.extend([1, self.kind, self.flags, 0]);
        out.extend([0; 8]); // logical unit of work: none in client traffic
        out.extend(0x0000_0111_u32.to_be_bytes()); // native encoding of a big-endian machine
        out.extend(819_u16.to_be_bytes());
        out.extend([0; 2]);
        out.extend(&self.body);
        to.write_all(&out)?;
        Ok(out.len())
    }

    /// Reads one segment of at most `limit` bytes.
    pub fn read(from: &mut impl Read, limit: usize) -> io::Result<Self> {
        let mut header = [0; TSHM];
        from.read_exact(&mut header[..TSH])?;
        let multiplexed = match &header[..4] {
            b"TSH " => false,
            b"TSHM" => true,
            _ => return Err(bad("a segment starts with neither TSH nor TSHM")),
        };
        let used = if multiplexed { TSHM } else { TSH };
        from.read_exact(&mut header[TSH..used])?;
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = word(4) as usize;
        if length < used || length > limit {
            return Err(bad("a segment is shorter than its header or longer than was agreed"));
        }
        let at = used - 20;
        if header[at] != 1 {
            return Err(bad("a segment is not big-endian"));
        }
        let mut body = vec![0; length - used];
        from.read_exact(&mut body)?;
        let conversation = multiplexed.then(|| (word(8), word(12)));
        Ok(Self { kind: header[at + 1], flags: header[at + 2], conversation, body })
    }
}

/// What INITIAL_DATA negotiates here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest segment.
    pub transmission: u32,
    /// Longest message.
    pub message: u32,
    /// Seconds between heartbeats on an idle channel.
    pub heartbeat: u32,
}

/// Formats-and-protocols level spoken: the first with multiplexed conversations.
pub const FAP_LEVEL: u8 = 13;

/// Builds INITIAL_DATA. `errors` marks values that are not accepted (bit 0x08: transmission size, 0x80: heartbeat).
#[must_use]
pub fn initial_data(limits: Limits, errors: u8, channel: &str, queue_manager: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(INITIAL_DATA);
    out.extend(b"ID  ");
    out.extend([FAP_LEVEL, 0x26, 0, errors, 0, 0]); // split messages, MQ requests, conversion
    out.extend(0_u16.to_be_bytes()); // messages a batch: none on a client channel
    out.extend(limits.transmission.to_be_bytes());
    out.extend(limits.message.to_be_bytes());
    out.extend(999_999_999_u32.to_be_bytes()); // sequence wrap value
    text(&mut out, channel, 20);
    out.extend([0x51, 0]);
    out.extend(819_u16.to_be_bytes());
    text(&mut out, queue_manager, 48);
    out.extend(limits.heartbeat.to_be_bytes());
    out.extend([0; 4]); // EFL length, second error flags, reserved
    out.extend([0, 0xff]); // header compression: none
    out.extend([0; 1]);
    out.extend([0xff; 15]); // message compression: none
    out.resize(124, 0); // reserved, TLS key reset count
    out.resize(132, 0);
    out.extend(1_u32.to_be_bytes()); // one conversation a socket
    out.resize(148, 0);
    text(&mut out, "MQMM09030500", 12);
    text(&mut out, "PORTCULLIS_DEMO", 48);
    out.resize(INITIAL_DATA, 0);
    out
}

/// Reads the limits out of INITIAL_DATA.
pub fn limits(body: &[u8]) -> io::Result<Limits> {
    if body.get(..4) != Some(b"ID  ") || body.get(4) != Some(&FAP_LEVEL) {
        return Err(bad("INITIAL_DATA is malformed or of another level"));
    }
    let word = |at| read_word(body, at);
    Ok(Limits { transmission: word(12)?, message: word(16)?, heartbeat: word(96)? })
}

/// The header before a call or a reply: length of what follows it and itself, completion, reason, object handle.
#[must_use]
pub fn api_header(length: usize, handle: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(API_HEADER + length);
    out.extend(be32(API_HEADER + length));
    out.extend([0; 8]);
    out.extend(handle.to_be_bytes());
    out
}

/// USERID of a user without a password.
#[must_use]
pub fn user_id(user: &str) -> Vec<u8> {
    let mut out = b"UID ".to_vec();
    text(&mut out, user, 12);
    text(&mut out, "", 12);
    text(&mut out, user, 64);
    out.resize(132, 0); // security ID: none
    out
}

/// CONAUTH with credentials that are nobody's.
#[must_use]
pub fn connection_auth(user: &str, password: &str) -> Vec<u8> {
    let mut out = b"CAUT".to_vec();
    out.extend(1_u32.to_be_bytes()); // user and password
    out.extend(12_u32.to_be_bytes());
    out.extend(12_u32.to_be_bytes());
    out.extend(be32(user.len()));
    out.extend(be32(password.len()));
    text(&mut out, user, 12);
    text(&mut out, password, 12);
    out
}

/// MQCONN and its reply, with a version 3 FCNO.
#[must_use]
pub fn connect(queue_manager: &str, application: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(460);
    text(&mut out, queue_manager, 48);
    text(&mut out, application, 28);
    out.extend(6_u32.to_be_bytes()); // a UNIX application
    out.extend([0; 32 + 4 + 4]); // accounting token, options, further options
    out.extend(b"FCNO");
    out.extend(3_u32.to_be_bytes());
    out.extend([0; 4 + 128 + 128]); // capabilities, connection tag, returned connection tag
    text(&mut out, "MQMM09030500", 24);
    text(&mut out, "PORTCULLIS_DEMO", 48);
    out
}

/// MQOPEN of a queue, and its reply.
#[must_use]
pub fn open(queue: &str, queue_manager: &str, options: u32) -> Vec<u8> {
    let mut out = b"OD  ".to_vec();
    out.extend(1_u32.to_be_bytes());
    out.extend(1_u32.to_be_bytes()); // a queue
    text(&mut out, queue, 48);
    text(&mut out, queue_manager, 48);
    text(&mut out, "AMQ.*", 48);
    text(&mut out, "", 12);
    out.extend(options.to_be_bytes());
    out
}

/// What stands before the content of a PUT: message descriptor, put options, length.
#[must_use]
pub fn put(number: u32, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(MD + PMO + 4);
    descriptor(&mut out, number);
    out.extend(b"PMO ");
    out.extend(1_u32.to_be_bytes());
    out.extend([0; 4]);
    out.extend((-1_i32).to_be_bytes());
    out.extend([0; 16]);
    text(&mut out, "", 48);
    text(&mut out, "", 48);
    out.extend(be32(length));
    out
}

/// What stands before the content of a GET's reply, and is a GET when `length` is the largest that is taken.
#[must_use]
pub fn get(number: u32, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(MD + GMO + 4);
    descriptor(&mut out, number);
    out.extend(b"GMO ");
    out.extend(1_u32.to_be_bytes());
    out.extend(1_u32.to_be_bytes()); // wait for a message
    out.extend(30_000_u32.to_be_bytes());
    out.extend([0; 8]);
    text(&mut out, "", 48);
    out.extend(be32(length));
    out
}

fn descriptor(out: &mut Vec<u8>, number: u32) {
    out.extend(b"MD  ");
    out.extend(1_u32.to_be_bytes());
    out.extend(0_u32.to_be_bytes()); // report
    out.extend(8_u32.to_be_bytes()); // datagram
    out.extend((-1_i32).to_be_bytes()); // expires never
    out.extend(0_u32.to_be_bytes()); // feedback
    out.extend(0x0000_0111_u32.to_be_bytes());
    out.extend(819_u32.to_be_bytes());
    text(out, "", 8); // no format: bytes
    out.extend(4_u32.to_be_bytes()); // priority
    out.extend(1_u32.to_be_bytes()); // persistent
    let mut id = b"AMQ PORTCULLIS_DEMO".to_vec();
    id.resize(20, 0);
    id.extend(number.to_be_bytes());
    out.extend(id);
    out.extend([0; 24 + 4]); // correlation, backout count
    text(out, "", 48);
    text(out, "", 48);
    text(out, "demo", 12);
    out.extend([0; 32]);
    text(out, "", 32);
    out.extend(6_u32.to_be_bytes());
    text(out, "portcullis demo", 28);
    text(out, "20250301", 8);
    text(out, "12000000", 8);
    text(out, "", 4);
}

/// The big-endian word at `at`.
pub fn read_word(body: &[u8], at: usize) -> io::Result<u32> {
    body.get(at..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| u32::from_be_bytes(*bytes))
        .ok_or_else(|| bad("a structure is shorter than it must be"))
}

/// An error of the peer's, in words.
#[must_use]
pub fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn be32(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("what the demo sends is shorter than 4 GiB").to_be_bytes()
}

/// Text in a field of fixed length, padded with spaces.
fn text(out: &mut Vec<u8>, value: &str, width: usize) {
    let end = out.len() + width;
    out.extend(value.bytes().take(width));
    out.resize(end, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_lengths_of_real_ones() {
        let limits = Limits { transmission: 32748, message: 4 << 20, heartbeat: 300 };
        assert_eq!(initial_data(limits, 0, "DEMO", "QM").len(), INITIAL_DATA);
        assert_eq!(user_id("demo").len() + TSHM, 168);
        assert_eq!(connect("QM", "app").len(), 460);
        assert_eq!(open("Q", "QM", 0).len(), 168 + 4);
        assert_eq!(put(1, 7).len(), MD + PMO + 4);
        assert_eq!(get(1, 7).len(), MD + GMO + 4);
    }

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        for conversation in [None, Some((1, 77))] {
            let segment = Segment { kind: kind::PUT, flags: FIRST | LAST, conversation, body: vec![1, 2, 3] };
            let mut bytes = Vec::new();
            segment.write(&mut bytes).unwrap();
            assert_eq!(Segment::read(&mut &bytes[..], bytes.len()).unwrap(), segment);
            assert!(Segment::read(&mut &bytes[..], bytes.len() - 1).is_err(), "longer than agreed");
            assert!(Segment::read(&mut &bytes[..bytes.len() - 1], bytes.len()).is_err(), "cut short");
        }
        assert!(Segment::read(&mut &b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"[..], 1024).is_err());
    }

    #[test]
    fn limits_are_read_where_they_were_written() {
        let limits = Limits { transmission: 32748, message: 4 << 20, heartbeat: 300 };
        let body = initial_data(limits, 0, "DEMO.SVRCONN", "QM1");
        assert_eq!(super::limits(&body).unwrap(), limits);
        assert!(super::limits(&body[..99]).is_err());
    }
}
