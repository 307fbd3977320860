//! The IKE endpoint as a responder, and behind it the initiator that it talks to. The input is a list of things that
//! happen: datagrams of strangers, messages of the true peer as they are, changed on the way or changed before they
//! were sealed (with the keys of the key log), messages that the peer would never send, time, and what the data path
//! says. `endpoints` has what the two can do. Whatever happens, what leaves is an IKE message, and what nobody sealed changes no SA.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis::crypto::aead::{AeadKey, TAG_LEN};
use portcullis::crypto::suite::Cipher;
use portcullis::entropy::SeededEntropy;
use portcullis::ids::{ShapeId, TunnelId};
use portcullis::ike::api::{Input, KeyLog, Output};
use portcullis::ike::config::ChildConfig;
use portcullis::ike::endpoint::Endpoint;
use portcullis::policy::TrafficSelector;
use portcullis::sa::command::SadCommand;
use portcullis::sa::event::SadEvent;
use portcullis::sa::spi::Spi;
use portcullis::secret::Secret;
use portcullis::time::Instant;
use portcullis::wire::ike::chain;
use portcullis::wire::ike::header::{Flags, HEADER_LEN, Header};
use portcullis::wire::ike::message::Message;
use portcullis::wire::ike::numbers::{ExchangeType, PayloadType};
use portcullis::wire::ike::payload::{Auth, Id, Payload};
use portcullis::wire::ike::sealed::{self, CipherShape, FragmentNumber};

use super::endpoints::{A, B, Mode, NOW, address, configuration, moved, tunnel};
use super::ike::framed;
use super::steps::{self, List};

const SHAPE: CipherShape = CipherShape { iv_len: 8, block_len: 1, icv_len: TAG_LEN };
/// Things of one input, so that an input takes bounded time.
const MAX_STEPS: usize = 48;
/// The bit of a step that changes a message: it is cut into pieces instead.
pub(super) const IN_PIECES: u8 = 32;
/// How an input is laid out: the mode, then the steps.
pub const LIST: List = List { prefix: 2, most: MAX_STEPS };
/// Datagrams between the two in one `deliver all`: more is a conversation that does not end.
const MAX_ROUNDS: usize = 512;
/// Datagrams that wait for a side at most; what comes then is lost.
const MAX_WAITING: usize = 32;
/// Pieces that come before their time.
const MAX_EDITS: usize = 16;
/// Inbound SAs of one side: two children, twice over and to spare, in each of a few IKE SAs.
const MOST_CHILDREN: usize = 64;

/// Reads `data` as a list of (what, length, bytes) and lets each happen.
pub fn things(data: &[u8]) {
    let _ = run(data);
}

/// Like [`things`]; how many SAs were installed on each side.
#[must_use]
pub fn run(data: &[u8]) -> [usize; 2] {
    after(data).map_or([0, 0], |world| world.installed)
}

/// Like [`things`]; how many IKE SAs had keys that were learned.
#[must_use]
pub fn ike_sas(data: &[u8]) -> usize {
    after(data).map_or(0, |world| world.keys.len())
}

/// The same conversation with a responder that does not have the key: what it seals is sealed with the keys of IKE_SA_INIT,
/// which anybody makes, and what it sends in the clear goes to the initiator. Neither side may ever install an SA.
pub fn hostile_responder(data: &[u8]) {
    let Some((&[bits, features], mut rest)) = data.split_first_chunk() else { return };
    let mut world = World::new(Mode { bits, features }, true);
    for (what, bytes) in std::iter::from_fn(|| steps::next(&mut rest)).take(MAX_STEPS) {
        world.step(what, bytes);
        assert_eq!(world.installed, [0, 0], "an SA with somebody who does not have the key");
    }
    world.asked();
}

fn after(data: &[u8]) -> Option<World> {
    let (&[bits, features], rest) = data.split_first_chunk()?;
    let run = |whole: bool| {
        let mut world = World::new(Mode { bits, features }, false);
        world.whole = whole;
        let mut rest = rest;
        let mut regular = true;
        for (what, bytes) in std::iter::from_fn(|| steps::next(&mut rest)).take(MAX_STEPS) {
            regular &= is_regular(what, bytes);
            world.step(what, bytes);
        }
        if regular && (whole || world.cut_some) {
            // Who gets a message in pieces answers in pieces (as small as those), and a step delivers one.
            world.deliver_all();
        }
        world.asked();
        (world, regular)
    };
    let (world, regular) = run(false);
    if regular && world.cut_some && !world.lost_some {
        let installed = run(true).0.installed;
        assert_eq!(world.installed, installed, "a message in pieces is not what it is as a whole");
    }
    Some(world)
}

/// Whether the same comes of a step if its message comes whole: nothing but deliveries, and pieces that are true, said twice
/// or not sealed by anybody.
fn is_regular(what: u8, bytes: &[u8]) -> bool {
    match what & 7 {
        1 => true,
        3 => what & IN_PIECES != 0 && bytes.get(1..).unwrap_or_default().chunks_exact(2).all(|edit| edit[0] & 3 != 3),
        _ => false,
    }
}

/// The keys of an IKE SA, both directions, as the key log gives them.
struct Keys {
    from_initiator: AeadKey,
    from_responder: AeadKey,
}

/// The datagram that was delivered last, to whom, and what that side answered.
#[derive(Default)]
struct Delivered {
    to: usize,
    datagram: Vec<u8>,
    answer: Option<Vec<u8>>,
}

struct World {
    mode: Mode,
    /// The responder has another key, and the datagrams that nobody sealed go to the initiator.
    hostile: bool,
    sides: [Endpoint; 2],
    now: Instant,
    /// To each side: from, to, bytes.
    lines: [VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>; 2],
    keys: BTreeMap<[u64; 2], Keys>,
    newest: Option<[u64; 2]>,
    inbound: [Vec<Spi>; 2],
    installed: [usize; 2],
    last: Delivered,
    /// The port that the conversation is on: 4500 once a NAT was found or pretended.
    port: u16,
    /// The message ID of the next request of each side, as far as it was seen.
    next_id: [u32; 2],
    /// Responses that left since this was emptied.
    answered: Vec<Vec<u8>>,
    /// Nothing is cut into pieces in this run.
    whole: bool,
    /// Something was.
    cut_some: bool,
    /// A line was too full.
    lost_some: bool,
}

impl World {
    fn new(mode: Mode, hostile: bool) -> Self {
        let side = |side: usize| {
            let config = Arc::new(configuration(side, mode, hostile));
            let mut endpoint = Endpoint::new(config, Box::new(SeededEntropy::new(side as u64 + 1)), true);
            if mode.bits & 64 != 0 {
                endpoint.remember_by(Secret::copy_of(&[side as u8; 32]));
            }
            endpoint.set_time_of_day(NOW);
            endpoint
        };
        let mut world = Self {
            mode,
            hostile,
            sides: [side(A), side(B)],
            now: Instant::from_nanos(1_000_000_000_000),
            lines: [VecDeque::new(), VecDeque::new()],
            keys: BTreeMap::new(),
            newest: None,
            inbound: [Vec::new(), Vec::new()],
            installed: [0, 0],
            last: Delivered::default(),
            answered: Vec::new(),
            whole: false,
            cut_some: false,
            lost_some: false,
            port: 500,
            next_id: [2, 0],
        };
        world.input(A, Input::Timeout);
        world.input(B, Input::Timeout);
        world
    }

    fn step(&mut self, what: u8, bytes: &[u8]) {
        match what & 7 {
            // A datagram that nobody sealed: from a stranger, or from the peer's address.
            0 => self.unsealed(what, bytes),
            // The line delivers what waits, both ways, until it is quiet.
            1 => self.deliver_all(),
            // One datagram of the peer, changed on the way.
            2 => {
                let to = if self.hostile { A } else { B };
                let Some((_, _, mut datagram)) = self.lines[to].pop_front() else { return };
                if change(&mut datagram, bytes) {
                    self.unsealed(what, &datagram);
                } else {
                    self.deliver(to, &datagram);
                }
            }
            // One datagram of either, changed before it was sealed.
            3 => {
                let to = if what & 8 == 0 { B } else { A };
                let Some((_, _, datagram)) = self.lines[to].pop_front() else { return };
                if what & IN_PIECES != 0 {
                    return self.in_pieces(to, &datagram, bytes);
                }
                match self.changed_inside(what, &datagram, bytes) {
                    Some(changed) => self.changed(to, &changed),
                    None => self.deliver(to, &datagram),
                }
            }
            // A message that the peer would not send: sealed with its keys, whatever stands inside.
            4 => self.forge(what, B, bytes),
            5 => self.forge(what, A, bytes),
            // Time, and what the data path says.
            6 => self.elapse(what, bytes),
            // What was delivered last, once more; or what waits is lost.
            _ if what & 8 == 0 => self.again(),
            _ => {
                self.lines[B].pop_front();
            }
        }
    }

    /// What nobody sealed installs nothing and removes nothing.
    fn unsealed(&mut self, what: u8, datagram: &[u8]) {
        let before = self.inbound.clone();
        let stranger = SocketAddr::from(([203, 0, 113, 99], 500));
        let to = if self.hostile { A } else { B };
        let remote = if what & 8 == 0 { stranger } else { address(1 - to, 500) };
        self.input(to, Input::Datagram { local: address(to, 500), remote, bytes: datagram });
        assert_eq!(self.inbound, before, "a datagram that nobody sealed changed an SA");
    }

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        let port = self.port;
        self.answered.clear();
        self.input(to, Input::Datagram { local: address(to, port), remote: address(1 - to, port), bytes: datagram });
        let answer = self.answered.drain(..).find(|answer| answers(answer, datagram));
        self.last = Delivered { to, datagram: datagram.to_vec(), answer };
        assert!(self.inbound[to].len() <= MOST_CHILDREN, "SAs without a bound");
    }

    /// RFC 7296 §2.1: a request that comes once more is not done once more, and has the same answer, bit for bit.
    fn again(&mut self) {
        let Delivered { to, datagram, answer } = std::mem::take(&mut self.last);
        let before = self.inbound[to].clone();
        self.deliver(to, &datagram);
        if let (Some(first), Ok(header)) = (answer, Header::decode(&datagram))
            && header.exchange != ExchangeType::IKE_SA_INIT
        {
            assert_eq!(self.inbound[to], before, "a request that was answered changed an SA");
            // Once the IKE SA has gone, what answers is in the clear: "no such SA" (RFC 7296 §2.21.4).
            if let Some(second) = self.last.answer.as_ref().filter(|second| is_sealed(second)) {
                assert!(*second == first, "one request, two answers");
            }
        }
    }

    /// A message whose payloads were changed behind the peer's back. Its AUTH payload is worth nothing if it, or the
    /// identity that it proves, is another than before.
    fn changed(&mut self, to: usize, changed: &Changed) {
        let installed = self.installed[to];
        self.deliver(to, &changed.datagram);
        assert!(!changed.proof_is_broken || self.installed[to] == installed, "a broken proof was believed");
    }

    fn deliver_all(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let Some(to) = [B, A].into_iter().find(|to| !self.lines[*to].is_empty()) else { return };
            let Some((local, remote, bytes)) = self.lines[to].pop_front() else { return };
            self.input(to, Input::Datagram { local: remote, remote: local, bytes: &bytes });
        }
        panic!("a conversation that does not end");
    }

    /// Takes a message apart with the keys of the key log.
    fn opened(&self, datagram: &[u8]) -> Option<Opened<'_>> {
        let message = Message::decode(datagram).ok()?;
        let Some(Payload::Sk(closed)) = message.payloads.last() else { return None };
        let keys = self.keys.get(&[message.header.initiator_spi, message.header.responder_spi])?;
        let parts = sealed::parts(&closed.content, SHAPE)?;
        let mut inner = datagram[parts.ciphertext].to_vec();
        let iv = datagram[parts.iv].try_into().ok()?;
        let icv = datagram[parts.icv].try_into().ok()?;
        let key = if message.header.flags.initiator { &keys.from_initiator } else { &keys.from_responder };
        key.open(iv, &datagram[parts.associated], &mut inner, icv).ok()?;
        inner.pop();
        Some(Opened { first: closed.first_inner, header: message.header, inner, key })
    }

    /// The same message in `count` pieces (RFC 7383 §2.5).
    fn cut(&self, datagram: &[u8], count: usize) -> Option<Vec<Vec<u8>>> {
        let Opened { header, first, inner, key } = self.opened(datagram)?;
        let pieces = inner.chunks(inner.len().div_ceil(count).max(1));
        let total = pieces.len() as u16;
        let piece = |(number, piece)| {
            let first = if number == 1 { first } else { PayloadType::NONE };
            seal_as(&header, first, piece, Some(FragmentNumber { number, total }), key)
        };
        Some((1..).zip(pieces).map(piece).collect())
    }

    /// A message comes in pieces. `edits`: how many, then (what, which) of what comes before all of them come in order.
    fn in_pieces(&mut self, to: usize, datagram: &[u8], edits: &[u8]) {
        let (&count, edits) = edits.split_first().unwrap_or((&0, &[]));
        let count = 2 + usize::from(count & 7);
        let pieces = if self.whole { None } else { self.cut(datagram, count) };
        let Some(pieces) = pieces.filter(|pieces| !pieces.is_empty()) else { return self.deliver(to, datagram) };
        self.cut_some = true;
        for edit in edits.chunks_exact(2).take(MAX_EDITS) {
            let mut piece = pieces[usize::from(edit[1]) % pieces.len()].clone();
            match edit[0] & 3 {
                // One that nobody sealed.
                2 => {
                    let before = self.inbound.clone();
                    let place = piece.len() - 1 - usize::from(edit[0] >> 2) % 20;
                    piece[place] ^= 1;
                    self.deliver(to, &piece);
                    assert_eq!(self.inbound, before, "a piece that nobody sealed changed an SA");
                }
                // One of a message that was cut otherwise.
                3 => {
                    let other = self.cut(datagram, 1 + usize::from(edit[0] >> 2)).unwrap_or_default();
                    if let Some(piece) = other.get(usize::from(edit[1]) % other.len().max(1)) {
                        self.deliver(to, piece);
                    }
                }
                _ => self.deliver(to, &piece),
            }
        }
        for piece in &pieces {
            self.deliver(to, piece);
        }
    }

    /// Opens a message, changes what is inside and seals it again. `what` says whether `edits` are read as changes of
    /// payloads or of bytes.
    fn changed_inside(&self, what: u8, datagram: &[u8], edits: &[u8]) -> Option<Changed> {
        let Opened { header, mut first, mut inner, key } = self.opened(datagram)?;
        let before = chain::decode_inner(first, &inner).expect("what is sent decodes");
        if what & 16 == 0 {
            (first, inner) = payload_edits(first, &inner, edits);
        } else {
            change(&mut inner, edits);
        }
        let after = chain::decode_inner(first, &inner).ok();
        let proof_is_broken = header.exchange == ExchangeType::IKE_AUTH
            && after.is_none_or(|after| proof(&after, &header) != proof(&before, &header));
        Some(Changed { datagram: seal(&header, first, &inner, key), proof_is_broken })
    }

    /// `bytes`: exchange, flags, distance of the message ID, and a chain as [`framed`] reads it.
    fn forge(&mut self, what: u8, to: usize, bytes: &[u8]) {
        let Some(spis) = self.newest else { return };
        let Some(keys) = self.keys.get(&spis) else { return };
        let Some(([exchange, flags, distance], rest)) = bytes.split_first_chunk() else { return };
        let from = 1 - to;
        let from_initiator = from == A;
        let request = flags & 1 == 0;
        let id = if request { self.next_id[from] } else { self.next_id[to].wrapping_sub(1) };
        let message_id = if what & 16 == 0 { id } else { id.wrapping_add(u32::from(*distance)).wrapping_sub(128) };
        let header = Header {
            initiator_spi: spis[0],
            responder_spi: spis[1],
            next_payload: PayloadType::SK,
            major: 2,
            minor: 0,
            exchange: ExchangeType(34 + (exchange & 3)),
            flags: Flags { initiator: from_initiator ^ (flags & 2 != 0), version: false, response: !request },
            message_id,
            length: 0,
        };
        let chain = if what & 8 == 0 { framed(rest) } else { rest.to_vec() };
        let (&first, inner) = chain.split_first().unwrap_or((&0, &[]));
        let key = if from_initiator { &keys.from_initiator } else { &keys.from_responder };
        let datagram = seal(&header, PayloadType(first), inner, key);
        if request && what & 16 == 0 {
            self.next_id[from] = message_id.wrapping_add(1);
        }
        self.deliver(to, &datagram);
    }

    fn elapse(&mut self, what: u8, bytes: &[u8]) {
        let &[kind, amount, ..] = bytes else { return };
        let side = usize::from(what >> 3 & 1);
        let known = self.inbound[side].get(usize::from(amount)).copied();
        let inbound = known.or(Spi::new(u32::from(amount) << 8)).or(Spi::new(256)).expect("not reserved");
        let tunnel = TunnelId(u16::from(amount & 1));
        let event = match kind & 15 {
            0 => SadEvent::Acquire { tunnel, shape: ShapeId(u16::from(amount >> 1)) },
            1 => SadEvent::SoftLimit { inbound },
            2 => SadEvent::HardLimit { inbound },
            3 => SadEvent::FirstInbound { inbound },
            4 => SadEvent::ForgeryBudget { inbound },
            5 => SadEvent::PeerMoved {
                inbound,
                remote: address(1 - side, 1024 + u16::from(amount)),
                local: address(side, 4500),
            },
            6 => return self.input(side, Input::Up(tunnel)),
            7 => return self.input(side, Input::Down(tunnel)),
            8 => return self.input(side, Input::Shutdown),
            9 => return self.input(side, Input::InboundSeen(tunnel)),
            10 => {
                let mode = Mode { bits: self.mode.bits ^ amount, ..self.mode };
                let config = Arc::new(configuration(side, mode, self.hostile));
                self.sides[side].reload(self.now, config);
                return self.input(side, Input::Timeout);
            }
            13 => {
                let rekey = Input::Rekey { tunnel, children: amount & 2 != 0, ike: amount & 4 != 0 };
                return self.input(side, rekey);
            }
            14 => {
                let local = if amount & 2 == 0 { moved(side) } else { address(side, 0).ip() };
                return self.input(side, Input::Moved { tunnel, local });
            }
            // Half seconds; or minutes, in which keys grow old.
            _ => {
                let unit = if kind & 15 == 11 { Duration::from_mins(1) } else { Duration::from_millis(500) };
                self.now = self.now + unit * u32::from(amount);
                self.input(A, Input::Timeout);
                return self.input(B, Input::Timeout);
            }
        };
        self.input(side, Input::Sad(event));
    }

    /// Gives `side` something and drains it.
    fn input(&mut self, side: usize, input: Input<'_>) {
        self.sides[side].handle(self.now, input);
        for _ in 0..256 {
            match self.sides[side].poll_output() {
                Output::Timeout(at) => {
                    assert!(at.is_none_or(|at| at > self.now), "a timer that is due was not run");
                    return;
                }
                Output::Transmit { local, remote, bytes } => self.sent(side, local, remote, bytes),
                Output::Sad(command) => self.command(side, &command),
                Output::KeyLog(KeyLog::Ike(line)) => self.learn(&line),
                Output::Event(event) => assert!(serde_json::to_string(&event).is_ok(), "an event that does not print"),
                Output::Keepalive { .. } | Output::Addresses { .. } | Output::KeyLog(KeyLog::Esp(_)) => {}
            }
        }
        panic!("an endpoint that never has done enough");
    }

    /// What leaves is an IKE message.
    fn sent(&mut self, side: usize, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8>) {
        let message = Message::decode(&bytes).expect("what is sent is an IKE message");
        if message.header.flags.response {
            self.answered.push(bytes.clone());
        }
        assert!(bytes.len() >= HEADER_LEN && message.header.major == 2);
        if !message.header.flags.response {
            self.next_id[side] = self.next_id[side].max(message.header.message_id.saturating_add(1));
        }
        // A stranger's answers go nowhere.
        if [address(1 - side, 0).ip(), moved(1 - side)].contains(&remote.ip()) {
            self.port = local.port();
            self.lines[1 - side].push_back((local, remote, bytes));
            self.lost_some |= self.lines[1 - side].len() > MAX_WAITING;
            self.lines[1 - side].truncate(MAX_WAITING);
        }
    }

    fn command(&mut self, side: usize, command: &SadCommand) {
        match command {
            SadCommand::InstallInbound(spec) => {
                assert!(!self.inbound[side].contains(&spec.spi), "an SPI that is in use");
                let asked = tunnel(side, Mode { bits: 0, features: 0 }, self.hostile).children;
                let covers = |ours: &TrafficSelector, granted: &[TrafficSelector]| {
                    !granted.is_empty() && granted.iter().all(|selector| ours.covers(selector))
                };
                // One pair of hosts: never the cross product of two.
                let pair = |child: &ChildConfig| {
                    covers(&child.local, &spec.child.local) && covers(&child.remote, &spec.child.remote)
                };
                assert!(asked.iter().any(pair), "an SA for more than the rules allow");
                self.inbound[side].push(spec.spi);
                self.installed[side] += 1;
            }
            SadCommand::RemoveInbound(spi) => self.inbound[side].retain(|known| known != spi),
            SadCommand::ExpectInbound(_)
            | SadCommand::InstallOutbound(_)
            | SadCommand::RemoveOutbound { .. }
            | SadCommand::Redirect { .. } => {}
        }
    }

    /// What `portcullis status` asks can always be answered.
    fn asked(&self) {
        for side in &self.sides {
            let status = side.status();
            assert!(serde_json::to_string(&status).is_ok_and(|text| !text.is_empty()));
            assert!(side.refused().all(|(reason, _)| !reason.sentence().is_empty()));
            assert!(side.half_open() <= MAX_STEPS, "half-open SAs of nobody");
        }
    }

    /// Reads a line of `ikev2_decryption_table`: of the suites, those with AES-GCM are changed inside and forged.
    fn learn(&mut self, line: &str) {
        if !line.contains("AES-GCM-256") {
            return;
        }
        let fields: Vec<&str> = line.split(',').collect();
        let spi = |at: usize| u64::from_str_radix(fields[at], 16).expect("an SPI");
        let key = |at: usize| AeadKey::new(Cipher::Aes256Gcm16, &unhex(fields[at]));
        let spis = [spi(0), spi(1)];
        self.keys.insert(spis, Keys { from_initiator: key(2), from_responder: key(3) });
        self.newest = Some(spis);
    }
}

fn seal(header: &Header, first: PayloadType, inner: &[u8], key: &AeadKey) -> Vec<u8> {
    seal_as(header, first, inner, None, key)
}

fn seal_as(
    header: &Header,
    first: PayloadType,
    inner: &[u8],
    fragment: Option<FragmentNumber>,
    key: &AeadKey,
) -> Vec<u8> {
    let laid = sealed::lay_out(header, first, inner, fragment, SHAPE).expect("an input is short");
    let mut bytes = laid.bytes;
    let (head, tail) = bytes.split_at_mut(laid.parts.ciphertext.start);
    let len = laid.parts.ciphertext.len();
    let tag = key.seal([0; 8], &head[laid.parts.associated], &mut tail[..len]);
    tail[len..].copy_from_slice(&tag);
    bytes
}

/// What is inside a message.
struct Opened<'a> {
    header: Header,
    first: PayloadType,
    inner: Vec<u8>,
    key: &'a AeadKey,
}

/// A message that was changed before it was sealed.
struct Changed {
    datagram: Vec<u8>,
    proof_is_broken: bool,
}

/// What the sender of an IKE_AUTH message says it is, and how it proves that.
fn proof<'a>(payloads: &'a [Payload], header: &Header) -> (Vec<&'a Id>, Vec<&'a Auth>) {
    let id = |payload: &'a Payload| match payload {
        Payload::IdI(id) if !header.flags.response => Some(id),
        Payload::IdR(id) if header.flags.response => Some(id),
        _ => None,
    };
    let auth = |payload: &'a Payload| if let Payload::Auth(auth) = payload { Some(auth) } else { None };
    (payloads.iter().filter_map(id).collect(), payloads.iter().filter_map(auth).collect())
}

/// Whether a datagram is a message that is sealed as a whole.
fn is_sealed(datagram: &[u8]) -> bool {
    let message = Message::decode(datagram);
    message.is_ok_and(|message| matches!(message.payloads.last(), Some(Payload::Sk(_) | Payload::Skf(_))))
}

/// Whether `answer` is the response to `request`.
fn answers(answer: &[u8], request: &[u8]) -> bool {
    let (Ok(answer), Ok(request)) = (Header::decode(answer), Header::decode(request)) else { return false };
    let of = |header: &Header| (header.initiator_spi, header.exchange, header.message_id);
    !request.flags.response && of(&answer) == of(&request)
}

/// Reads `edits` as a list of (what, which payload, where, value) and writes the chain again with the headers that it
/// should have.
fn payload_edits(first: PayloadType, chain: &[u8], edits: &[u8]) -> (PayloadType, Vec<u8>) {
    // Type, critical, body.
    let mut payloads: Vec<(u8, bool, Vec<u8>)> = Vec::new();
    let (mut kind, mut rest) = (first.0, chain);
    while let Some(([next, flags, high, low], more)) = rest.split_first_chunk() {
        let (body, more) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])) - 4);
        payloads.push((kind, flags & 0x80 != 0, body.to_vec()));
        (kind, rest) = (*next, more);
    }
    for edit in edits.chunks_exact(4) {
        let &[what, which, place, value] = edit else { break };
        let (which, place) = (usize::from(which) % (payloads.len() + 1), usize::from(place));
        let Some((kind, critical, body)) = payloads.get_mut(which) else {
            payloads.push((place as u8, value & 1 != 0, vec![value]));
            continue;
        };
        match what % 8 {
            0 => drop(payloads.remove(which)),
            1 => {
                let again = (*kind, *critical, body.clone());
                payloads.push(again);
            }
            // The selectors behind the count: a port or an address of one of them.
            2 if matches!(PayloadType(*kind), PayloadType::TSI | PayloadType::TSR) && body.len() > 8 => {
                let field = body.len().min(8 + place % 12);
                if let Some(byte) = body.get_mut(field) {
                    *byte = value;
                }
            }
            2 if !body.is_empty() => {
                let place = place % body.len();
                body[place] = value;
            }
            3 => body.truncate(place % (body.len() + 1)),
            4 => payloads.insert(which, (place as u8, value & 1 != 0, vec![value])),
            5 => payloads.swap(which, 0),
            6 => body.insert(place.min(body.len()), value),
            _ => (*kind, *critical) = (place as u8, value & 1 != 0),
        }
    }
    let first = payloads.first().map_or(0, |(kind, ..)| *kind);
    let mut bytes = Vec::new();
    for (at, (_, critical, body)) in payloads.iter().enumerate() {
        let next = payloads.get(at + 1).map_or(0, |(kind, ..)| *kind);
        let [high, low] = (body.len() as u16 + 4).to_be_bytes();
        bytes.extend([next, u8::from(*critical) << 7, high, low]);
        bytes.extend_from_slice(body);
    }
    (PayloadType(first), bytes)
}

/// Reads `edits` as a list of (place, what): a byte set, a byte put in or a byte taken out. Whether anything changed.
fn change(bytes: &mut Vec<u8>, edits: &[u8]) -> bool {
    let before = bytes.clone();
    for edit in edits.chunks_exact(3) {
        let place = usize::from(edit[0]) + usize::from(edit[1] & 0x3f) * 256;
        if bytes.is_empty() {
            break;
        }
        let place = place % bytes.len();
        match edit[1] >> 6 {
            0 | 1 => bytes[place] = edit[2],
            2 => bytes.insert(place, edit[2]),
            _ => {
                bytes.remove(place);
            }
        }
    }
    *bytes != before
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
    (0..text.len() / 2).map(|at| digit(at * 2)).collect()
}
