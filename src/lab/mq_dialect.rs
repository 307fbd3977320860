//! Whole MQ conversations as bytes, in the dialects that there are: by level (FAP), byte order and alphabet.
//!
//! What [`mq_session`](super::mq_session) speaks over a connection in one dialect is written down here in all of them, for tests
//! that cut the bytes as they like. Layouts as in [`mq_segment`](super::mq_segment); what a level does not have is left out.

use super::mq_segment::{API_HEADER, CONFIRM_REQUEST, ERROR, FIRST, GMO, LAST, MD, PMO, TSH, TSHM, kind};

/// How a conversation is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Level of formats and protocols.
    pub level: u8,
    /// Integers with their lowest byte first.
    pub little: bool,
    /// EBCDIC instead of ASCII.
    pub ebcdic: bool,
}

impl Dialect {
    /// Every level at which something changes, in both byte orders and alphabets.
    pub fn all() -> impl Iterator<Item = Self> {
        [4, 9, 11, 13, 17].into_iter().flat_map(|level| {
            [(false, false), (true, false), (false, true), (true, true)].into_iter().map(move |(little, ebcdic)| Self {
                level,
                little,
                ebcdic,
            })
        })
    }

    /// The length of INITIAL_DATA.
    #[must_use]
    pub fn initial_data(self) -> usize {
        match self.level {
            0..=3 => 44,
            4..=8 => 102,
            9..=10 => 208,
            _ => 240,
        }
    }

    /// Whether segments carry a conversation and a request.
    fn is_multiplexed(self) -> bool {
        self.level >= 10
    }

    fn connect(self) -> usize {
        match self.level {
            0..=6 => 120,
            7..=11 => 260,
            12..=13 => 332,
            _ => 460,
        }
    }
}

/// What is named in a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The queue manager.
    pub queue_manager: &'a str,
    /// The queue.
    pub queue: &'a str,
}

impl Default for Names<'_> {
    fn default() -> Self {
        Self { channel: "CBP.SVRCONN", queue_manager: "QM1", queue: "CBP.DECLARATIONS" }
    }
}

/// One segment and who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it was the side that opened the connection.
    pub by_opener: bool,
    /// The segment, with its header.
    pub bytes: Vec<u8>,
}

/// The longest segment that is agreed on.
pub const TRANSMISSION: u32 = 32_748;
const OFFERED: u32 = 65_535;
const PUT1: u8 = 0x87;
const SPI: u8 = 0x8c;

/// A client's conversation: it connects, opens a queue, puts and gets messages of `message` bytes, and goes.
#[must_use]
pub fn client(dialect: Dialect, names: &Names<'_>, message: usize) -> Vec<Said> {
    let mut talk = Talk { dialect, said: Vec::new(), request: 0, multiplexed: false };
    talk.initial(names, OFFERED);
    talk.multiplexed = dialect.is_multiplexed();
    talk.initial(names, TRANSMISSION);
    talk.say(true, kind::USERID, FIRST | LAST, &user_id(dialect));
    if dialect.level >= 13 {
        talk.say(true, kind::CONAUTH, FIRST | LAST, &connection_auth(dialect));
    }
    talk.call(kind::CONN, &connect(dialect, names), &[]);
    talk.call(kind::OPEN, &open(dialect, names), &[]);
    for number in 0..3 {
        let content: Vec<u8> = (0..message).map(|at| (at * 7 + number) as u8).collect();
        let mut put = Text::new(dialect);
        put.descriptor();
        put.id("PMO ").word(1).word(0).word(u32::MAX).zeros(16).text("", 96).word(message as u32);
        assert_eq!(put.out.len(), MD + PMO + 4);
        talk.split(true, kind::PUT, &put.out, &content);
        talk.split(false, kind::PUT + kind::REPLY, &put.out[..MD + PMO], &[]);
        talk.say(true, kind::HEARTBEAT, CONFIRM_REQUEST | FIRST | LAST, &[]);
        talk.say(false, kind::HEARTBEAT, FIRST | LAST, &[]);
        let mut get = Text::new(dialect);
        get.descriptor();
        get.id("GMO ").word(1).word(1).word(30_000).zeros(8).text("", 48).word(message as u32);
        assert_eq!(get.out.len(), MD + GMO + 4);
        talk.split(true, kind::GET, &get.out, &[]);
        talk.split(false, kind::GET + kind::REPLY, &get.out, &content);
    }
    if dialect.is_multiplexed() {
        // SOCKET_ACTION goes with the third kind of header.
        let mut action = Text::new(dialect);
        action.word(1).word(0).word(1).word(0).word(0);
        talk.socket_action(&action.out);
    }
    talk.call(kind::CLOSE, &[0; 4], &[]);
    talk.call(kind::DISC, &[], &[]);
    talk.said
}

/// What two queue managers say: a message channel that carries messages of `message` bytes.
#[must_use]
pub fn sender(dialect: Dialect, names: &Names<'_>, message: usize) -> Vec<Said> {
    const RESYNC: u8 = 0x02;
    const MESSAGE: u8 = 0x04;
    const STATUS: u8 = 0x05;
    let mut talk = Talk { dialect, said: Vec::new(), request: 0, multiplexed: false };
    talk.initial(names, TRANSMISSION);
    let mut resync = Text::new(dialect);
    resync.id("RSE ").zeros(20);
    talk.say(true, RESYNC, CONFIRM_REQUEST, &resync.out);
    talk.say(false, RESYNC, 0, &resync.out);
    for number in 1..=2 {
        let content = vec![0x5a; message];
        let mut head = Text::new(dialect);
        head.id("MSH ").word(number).word((104 + MD + message) as u32).word(0).word((104 + MD + message) as u32);
        head.id("XQH ").word(1).text(names.queue, 48).text(names.queue_manager, 48);
        head.descriptor();
        head.out.extend(&content);
        let room = TRANSMISSION as usize - TSH;
        let count = head.out.len().div_ceil(room);
        for (place, part) in head.out.chunks(room).enumerate() {
            let first = if place == 0 { FIRST } else { 0 };
            let last = if place + 1 == count { LAST | CONFIRM_REQUEST } else { 0 };
            talk.say(true, MESSAGE, first | last, part);
        }
        let mut status = Text::new(dialect);
        status.word(8).word(0);
        talk.say(false, STATUS, 0, &status.out);
    }
    talk.said
}

struct Talk {
    dialect: Dialect,
    said: Vec<Said>,
    request: u32,
    multiplexed: bool,
}

impl Talk {
    /// INITIAL_DATA of both; the server answers with what it takes.
    fn initial(&mut self, names: &Names<'_>, transmission: u32) {
        let manager = if self.multiplexed { names.queue_manager } else { "" };
        let body = initial(self.dialect, names.channel, manager, transmission, 0);
        self.say(true, kind::INITIAL, CONFIRM_REQUEST | FIRST | LAST, &body);
        let (flags, errors) = if transmission == TRANSMISSION { (0, 0) } else { (ERROR, 0x08) };
        let body = initial(self.dialect, names.channel, names.queue_manager, TRANSMISSION, errors);
        self.say(false, kind::INITIAL, flags | FIRST | LAST, &body);
    }

    fn say(&mut self, by_opener: bool, kind: u8, flags: u8, body: &[u8]) {
        let id = if self.multiplexed { "TSHM" } else { "TSH " };
        self.segment(by_opener, id, kind, flags, body);
    }

    fn socket_action(&mut self, body: &[u8]) {
        self.segment(true, "TSHC", 0x0c, FIRST | LAST, body);
    }

    fn segment(&mut self, by_opener: bool, id: &str, kind: u8, flags: u8, body: &[u8]) {
        let multiplexed = id == "TSHM";
        let mut out = Text::new(self.dialect);
        let length = body.len() + if multiplexed { TSHM } else { TSH };
        out.id(id).bytes(&(length as u32).to_be_bytes());
        if multiplexed {
            out.bytes(&1_u32.to_be_bytes()).bytes(&self.request.to_be_bytes());
        }
        out.bytes(&[if self.dialect.little { 2 } else { 1 }, kind, flags, 0]).zeros(8);
        out.word(if self.dialect.little { 0x222 } else { 0x111 });
        out.half(if self.dialect.ebcdic { 500 } else { 819 }).zeros(2).bytes(body);
        self.said.push(Said { by_opener, bytes: out.out });
    }

    fn call(&mut self, kind: u8, body: &[u8], content: &[u8]) {
        self.request += 1;
        self.split(true, kind, body, content);
        self.split(false, kind + kind::REPLY, body, content);
    }

    /// A call or a reply over as many segments as it needs.
    fn split(&mut self, by_opener: bool, kind: u8, head: &[u8], content: &[u8]) {
        let room = TRANSMISSION as usize - if self.multiplexed { TSHM } else { TSH };
        let mut api = Text::new(self.dialect);
        api.bytes(&((API_HEADER + head.len() + content.len()) as u32).to_be_bytes()).word(0).word(0).word(2);
        let whole = [&api.out, head, content].concat();
        let count = whole.len().div_ceil(room);
        for (place, part) in whole.chunks(room).enumerate() {
            let first = if place == 0 { FIRST } else { 0 };
            let last = if place + 1 == count { LAST } else { 0 };
            self.say(by_opener, kind, first | last, part);
        }
    }
}

/// INITIAL_DATA.
#[must_use]
pub fn initial(dialect: Dialect, channel: &str, queue_manager: &str, transmission: u32, errors: u8) -> Vec<u8> {
    let mut out = Text::new(dialect);
    out.id("ID  ").bytes(&[dialect.level, 0x26, 0, errors, 0, 0]).half(0);
    out.word(transmission).word(4 << 20).word(999_999_999).text(channel, 20);
    out.bytes(&[0x51, 0]).half(if dialect.ebcdic { 500 } else { 819 }).text(queue_manager, 48);
    out.word(300).zeros(4).bytes(&[0, 0xff, 0]).bytes(&[0xff; 15]).zeros(6).word(1).zeros(12);
    out.text("MQMM09030500", 12).text("PORTCULLIS_LAB", 48);
    out.out.resize(dialect.initial_data(), 0);
    out.out
}

fn user_id(dialect: Dialect) -> Vec<u8> {
    let mut out = Text::new(dialect);
    out.id("UID ").text("lab", 12).text("", 12);
    if dialect.level >= 5 {
        out.text("lab", 64).zeros(40);
    }
    out.out
}

fn connection_auth(dialect: Dialect) -> Vec<u8> {
    let mut out = Text::new(dialect);
    out.id("CAUT").word(1).word(12).word(12).word(3).word(4).text("lab", 3).text("none", 4);
    out.out
}

/// MQCONN: the queue manager, the application, and behind them what the level has.
fn connect(dialect: Dialect, names: &Names<'_>) -> Vec<u8> {
    let mut out = Text::new(dialect);
    out.text(names.queue_manager, 48).text("portcullis lab", 28).word(6).zeros(40);
    if dialect.connect() > 120 {
        let version = if dialect.level >= 14 { 3 } else { 1 };
        out.id("FCNO").word(version).word(0).zeros(128);
        if version == 3 {
            out.zeros(128);
        }
        out.text("MQMM09030500", 24).text("PORTCULLIS_LAB", 48);
    }
    out.out.resize(dialect.connect(), 0);
    out.out
}

/// MQOPEN of a queue.
fn open(dialect: Dialect, names: &Names<'_>) -> Vec<u8> {
    let mut out = Text::new(dialect);
    out.descriptor_of(names).word(0x11);
    out.out
}

/// MQPUT1 of a message of one byte to a queue.
#[must_use]
pub fn put1(dialect: Dialect, names: &Names<'_>) -> Said {
    let mut out = Text::new(dialect);
    out.descriptor_of(names).descriptor();
    out.id("PMO ").word(1).word(0).word(u32::MAX).zeros(16).text("", 96).word(1).zeros(1);
    lone(dialect, PUT1, &out.out)
}

/// MQOPEN by the product's own verb (SPI), as its Java client opens.
#[must_use]
pub fn spi_open(dialect: Dialect, names: &Names<'_>) -> Said {
    let mut out = Text::new(dialect);
    out.word(12).word(1).word(240).id("SPOU").word(1).word(12).id("SPOI").word(1).word(240);
    out.id("LPOO").word(1).word(0x11).word(0).zeros(16).descriptor_of(names);
    lone(dialect, SPI, &out.out)
}

/// A call of any type, alone, as it would stand behind the connection's beginning.
#[must_use]
pub fn lone(dialect: Dialect, kind: u8, body: &[u8]) -> Said {
    let multiplexed = dialect.is_multiplexed();
    let mut talk = Talk { dialect, said: Vec::new(), request: 9, multiplexed };
    talk.split(true, kind, body, &[]);
    talk.said.remove(0)
}

/// Fields, one behind the other.
struct Text {
    dialect: Dialect,
    out: Vec<u8>,
}

impl Text {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, out: Vec::new() }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend(bytes);
        self
    }

    fn zeros(&mut self, count: usize) -> &mut Self {
        self.out.resize(self.out.len() + count, 0);
        self
    }

    fn word(&mut self, value: u32) -> &mut Self {
        self.bytes(&if self.dialect.little { value.to_le_bytes() } else { value.to_be_bytes() })
    }

    fn half(&mut self, value: u16) -> &mut Self {
        self.bytes(&if self.dialect.little { value.to_le_bytes() } else { value.to_be_bytes() })
    }

    fn id(&mut self, id: &str) -> &mut Self {
        self.text(id, id.len())
    }

    fn text(&mut self, text: &str, width: usize) -> &mut Self {
        let mut letters = text.bytes().collect::<Vec<_>>();
        letters.resize(width, b' ');
        let ebcdic = self.dialect.ebcdic;
        self.out.extend(letters.into_iter().map(|letter| if ebcdic { self::ebcdic(letter) } else { letter }));
        self
    }

    /// An object descriptor that names a queue.
    fn descriptor_of(&mut self, names: &Names<'_>) -> &mut Self {
        self.id("OD  ")
            .word(1)
            .word(1)
            .text(names.queue, 48)
            .text(names.queue_manager, 48)
            .text("AMQ.", 48)
            .text("", 12)
    }

    /// A message descriptor.
    fn descriptor(&mut self) -> &mut Self {
        let start = self.out.len();
        let Dialect { little, ebcdic, .. } = self.dialect;
        self.id("MD  ").word(1).word(0).word(8).word(u32::MAX).word(0);
        self.word(if little { 0x222 } else { 0x111 }).word(if ebcdic { 500 } else { 819 });
        self.text("", 8).word(4).word(1).zeros(24 + 24 + 4).text("", 96).text("lab", 12).zeros(32).text("", 32).word(6);
        self.text("portcullis lab", 28).text("2025030112000000", 16).text("", 4);
        assert_eq!(self.out.len() - start, MD);
        self
    }
}

/// A letter in code page 500.
fn ebcdic(letter: u8) -> u8 {
    match letter {
        b'a'..=b'i' => letter - b'a' + 0x81,
        b'j'..=b'r' => letter - b'j' + 0x91,
        b's'..=b'z' => letter - b's' + 0xa2,
        b'A'..=b'I' => letter - b'A' + 0xc1,
        b'J'..=b'R' => letter - b'J' + 0xd1,
        b'S'..=b'Z' => letter - b'S' + 0xe2,
        b'0'..=b'9' => letter - b'0' + 0xf0,
        b' ' => 0x40,
        b'.' => 0x4b,
        b'/' => 0x61,
        b'%' => 0x6c,
        b'_' => 0x6d,
        b'*' => 0x5c,
        _ => 0x6f,
    }
}
